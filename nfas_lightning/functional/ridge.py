"""Linear encoding: ridge regression from features to each ROI, scored on held-out volumes."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.batches import split_targets
from nfas_lightning.functional.checks import (
    check_device,
    check_finite,
    check_option,
    check_shape,
    with_float64,
    working_dtype,
)
from nfas_lightning.functional.correlation import (
    MIN_ROWS,
    Negative,
    average_folds,
    correlate,
    squared_correlation,
)
from nfas_lightning.functional.folds import contiguous_folds, inner_blocks
from nfas_lightning.functional.missing import column_patterns, everything, has_missing
from nfas_lightning.functional.ridge_held_out import inner_errors
from nfas_lightning.functional.ridge_result import EncodingResult, Predictions
from nfas_lightning.functional.ridge_solver import (
    Errors,
    RidgeBasis,
    decompose_features,
    one_thread_if_small,
)
from nfas_lightning.functional.standardization import Scaling, Standardized, standardize

__all__ = [
    "MANY_AT_EDGE",
    "EncodingResult",
    "Predictions",
    "Scaling",
    "Selection",
    "bytes_per_target",
    "check_encoding",
    "default_alphas",
    "ridge_cv",
]

Selection = Literal["folds", "loo"]

# A penalty this many times the largest eigenvalue leaves all directions within a tenth of one common factor:
# predictions then correlate above .998 with those of any larger penalty. One this many times below the
# smallest eigenvalue is no penalty; nor is there anything to win below one where the inner score, a share of
# variance, rises by no more than a hundredth per decade.
_BEYOND = 10.0
_FLAT = 1e-2
MANY_AT_EDGE = 0.1
"""Share of folds and targets at an end of the grid above which there is a warning."""
_LARGEST = 1e150  # sums of squares are float64


class _FoldScores(NamedTuple):
    """What a fold gives for each response (R,), or all folds (folds, R); `short`: the grid may be."""

    alphas: Tensor
    inner_score: Tensor
    short: Tensor
    r: Tensor
    r_joint: Tensor
    volumes: Tensor


@with_float64
def ridge_cv(
    X: Tensor,
    Y: Tensor,
    *,
    groups: Tensor | None = None,
    n_folds: int = 5,
    gap: int = 0,
    alphas: Tensor | None = None,
    selection: Selection = "folds",
    nuisances: Tensor | None = None,
    scaling: Scaling = "unit",
    negative: Negative = "clip",
    n_inner_folds: int = 5,
    keep_model: bool = False,
    keep_preds: bool = True,
    target_batch: int | None = None,
    warn: bool = True,
) -> EncodingResult:
    r"""Fit ridge regression in contiguous cross-validation and score it per ROI.

    .. math:: \hat w_r = \arg\min_w \|y_r - X w\|^2 + \alpha_r \|w\|^2

    In every fold features and responses are standardized by their training mean and standard deviation, and
    nuisances are removed from both by a regression fitted on the training rows. That equals a fit of
    nuisances without a penalty and features with one, so one fit scores what both predict together
    (`r_joint`) and what the features add (`r`). Alpha is chosen per ROI on the training rows, by summed
    squared error; inner fits refit the intercept and keep the fold's scale. Gram matrices and eigenvectors
    are float64, as are alphas too small for float32; the rest runs in the widest dtype of `X` and `Y`,
    float32 at least. Responses are worked on in batches, which share all that depends on the features alone.

    Args:
        X: (T, P) features. A constant column has no effect.
        Y: (T, R) responses. NaN marks a missing value: the ROI is fitted and scored without that row.
        groups: (T,) run or story of each row; if there are several, whole groups are held out.
        n_folds: folds wanted, see `contiguous_folds`.
        gap: rows dropped from training on either side of a test block, in outer and inner folds.
        alphas: (A,) positive penalties to choose from, on the scale of the sum of squares; None:
            `default_alphas`.
        selection: ``"folds"``, contiguous inner folds, or ``"loo"``, leave-one-out in closed form (no gap).
        nuisances: (T, Q) regressors to remove from features and responses.
        scaling: ``"unit"`` divides each feature by its own standard deviation. ``"common"`` divides all by
            one, the root of their mean variance, so that rotating the features changes nothing: for principal
            components and other coordinates of a `StateSpace`, where the small ones are noise that would
            weigh as much as the large.
        negative: r2 of a negative r: ``"clip"`` gives 0, ``"square"`` its square.
        n_inner_folds: inner folds of ``selection="folds"``.
        keep_model: also fit to all rows (see `ridge_fit`), so that the result can `predict` new ones.
        keep_preds: keep the out-of-fold predictions and their targets, which are as large as `Y` each.
        target_batch: responses to work on at a time, without influence on the scores; None: see
            `bytes_per_target`.
        warn: False leaves the warnings to a caller of many fits.

    Returns:
        An `EncodingResult`. Constant responses, features or predictions score NaN, with a warning. There is
        another warning where more than a tenth of all folds and ROIs choose an alpha at an end of the grid
        beyond which the score would change.

    Raises:
        ValueError: shapes or devices that disagree, values that are not finite, too few rows for the folds.

    Reference:
        Dupre la Tour et al. (2022), NeuroImage 264, 119728, doi:10.1016/j.neuroimage.2022.119728.

    Example:
        >>> X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
        >>> result = ridge_cv(X, X @ torch.tensor([[1.0], [0.5], [0.0]]))
        >>> bool(result.r > 0.999), tuple(result.preds.shape)
        (True, (60, 1))
    """
    check_option("negative", negative, get_args(Negative))
    check_option("scaling", scaling, get_args(Scaling))
    X, Y, alphas, groups, nuisances = check_encoding(X, Y, groups, alphas, selection, nuisances)
    folds = contiguous_folds(len(X), groups=groups, n_folds=n_folds, gap=gap, device=X.device)
    dtype, n_rois = working_dtype(X, Y), Y.shape[1]
    found = _FoldScores(
        *(X.new_full((len(folds), n_rois), float("nan"), dtype=dtype) for _ in _FoldScores._fields)
    )
    observed = torch.ones(len(folds), n_rois, dtype=torch.bool, device=X.device)
    n_kept = (2 if nuisances is None else 4) if keep_preds else 0
    kept = [Y.new_full(Y.shape, float("nan"), dtype=dtype) for _ in range(n_kept)]
    fold = torch.full((len(X),), -1, device=X.device)
    missing = Y.isnan() if has_missing(Y) else None
    with one_thread_if_small(X):
        for index, (train, test) in enumerate(folds):
            fold[test] = index
            is_seen = (len(test) if missing is None else (~missing[test]).sum(0)) >= MIN_ROWS
            observed[index] = is_seen
            patterns = (
                everything(len(train), n_rois, X.device)
                if missing is None
                else column_patterns(missing[train])
            )
            for columns, seen in patterns:
                rows = train[seen]
                if len(rows) < 2:
                    continue
                inside = [] if selection == "loo" else inner_blocks(train, seen, groups, gap, n_inner_folds)
                x = standardize(X, rows, test, nuisances, scaling)
                basis = decompose_features(x.train, x.test, x.fixed)
                errors = inner_errors(basis, alphas, inside, dtype, len(columns))
                per_target = bytes_per_target(len(X), X.shape[1], len(alphas), len(inside))
                for part in split_targets(len(columns), per_target, X.device, target_batch):
                    some = columns[part]
                    y = standardize(Y[:, some], rows, test, nuisances)
                    scores, preds = _fit_targets(basis, errors, alphas, y, dtype, nuisances is not None)
                    for place, values in zip(found, scores, strict=True):
                        place[index, some] = values
                    for place, values in zip(kept, preds, strict=False):
                        place[test[:, None], some] = values
                del x, basis, errors  # the next fold's are as large
    fold_r, fold_joint = (values.masked_fill(~observed, float("nan")) for values in (found.r, found.r_joint))
    r, joint = average_folds(fold_r, observed), average_folds(fold_joint, observed)
    volumes = (found.volumes.nan_to_num(nan=0.0) * observed).long()
    short = found.short
    undefined, share = int(r.isnan().sum()), float(short.double().nanmean().nan_to_num(nan=0.0))
    if undefined and warn:
        warnings.warn(
            f"{undefined} of {len(r)} ROIs score NaN: in some fold their responses, the features or the "
            "predictions are constant, or too few responses are observed.",
            stacklevel=3,  # through with_float64
        )
    if share > MANY_AT_EDGE and warn:
        warnings.warn(
            f"{100 * share:.0f} % of all folds and ROIs choose the smallest or the largest alpha of the grid "
            "where one beyond it could score otherwise: give alphas that reach further.",
            stacklevel=3,  # through with_float64
        )
    ends = torch.stack([alphas.min(), alphas.max()]).to(dtype)
    result = EncodingResult(
        r=r,
        r2=squared_correlation(r, negative),
        r_joint=joint,
        r2_joint=squared_correlation(joint, negative),
        alphas=found.alphas,
        fold_at_edge=torch.isin(found.alphas, ends).to(dtype).masked_fill(found.alphas.isnan(), float("nan")),
        grid_too_short=share,
        fold_r=fold_r,
        fold_r_joint=fold_joint,
        fold_observed=observed,
        fold_volumes=volumes,
        inner_score=found.inner_score,
        fold=fold,
        n_volumes=volumes.sum(0),
        scaling=scaling,
        predictions=Predictions(*kept, *kept[: 4 - n_kept]) if keep_preds else None,
    )
    if not keep_model:
        return result
    from nfas_lightning.functional.ridge_model import ridge_fit  # which checks its input as this does

    model = ridge_fit(
        X,
        Y,
        groups=groups,
        gap=gap,
        alphas=alphas,
        selection=selection,
        nuisances=nuisances,
        scaling=scaling,
        n_inner_folds=n_inner_folds,
        target_batch=target_batch,
    )
    return replace(result, model=model)


def default_alphas(n_features: int) -> Tensor:
    """Return 19 alphas, 1e-4 to 1e5 times P: for standardized features P is a mean squared row norm."""
    return n_features * torch.logspace(-4, 5, 19, dtype=torch.float64)


def bytes_per_target(n_rows: int, n_features: int, n_alphas: int, n_blocks: int) -> int:
    """Return the bytes of workspace that one response takes in a fit, float64 where that could be needed.

    Args:
        n_rows: T.
        n_features: P.
        n_alphas: A.
        n_blocks: inner folds; 0: leave-one-out.

    Example:
        >>> bytes_per_target(3000, 1000, 19, 5)  # so that 1,074 responses take 256 MiB
        263656
    """
    longest = -(-n_rows // n_blocks) if n_blocks else 0
    copies = 5 * n_rows + (3 if n_blocks else 1) * n_alphas
    return 8 * copies + 4 * ((2 * n_blocks + 3) * min(n_rows, n_features) + 2 * n_alphas * longest)


def check_encoding(
    X: Tensor,
    Y: Tensor,
    groups: Tensor | None,
    alphas: Tensor | None,
    selection: Selection,
    nuisances: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Validate, cast to the working dtype, and bring what is small to the device of `X`."""
    check_shape("X", X, "T P")
    check_shape("Y", Y, "T R", T=len(X))
    check_device("Y", Y, "X", X)
    check_option("selection", selection, get_args(Selection))
    if not X.shape[1]:
        raise InputError("X must have at least one feature, got none.")
    check_finite("X", X)
    if groups is not None:
        check_shape("groups", groups, "T", T=len(X))
        groups = groups.to(X.device)
    if nuisances is not None:
        check_shape("nuisances", nuisances, "T Q", T=len(X))
        check_finite("nuisances", nuisances)
        nuisances = nuisances.to(X.device)
    for name, values in (("X", X), ("Y", Y), ("nuisances", nuisances)):
        if values is not None:
            _check_size(name, values)
    if alphas is None:
        alphas = default_alphas(X.shape[1])
    check_shape("alphas", alphas, "A")
    if not len(alphas) or not bool((alphas > 0).all()):
        raise InputError(f"alphas must be positive, at least one, got {alphas.tolist()}.")
    return X, Y, alphas.to(X.device, torch.float64), groups, nuisances


def _check_size(name: str, values: Tensor) -> None:
    """Raise where a value (T, ...) is infinite or too large for its square; NaN passes."""
    for part in split_targets(values.shape[1], 16 * len(values), values.device):
        large = values[:, part].abs() > _LARGEST
        if not bool(large.any()):
            continue
        row, column = large.nonzero()[0].tolist()
        value = float(values[row, part.start + column])
        if value in (float("inf"), -float("inf")):
            raise InputError(f"{name} must not be infinite: mark missing values with NaN.")
        raise InputError(
            f"{name} must lie within {_LARGEST:g}, since squares of larger values overflow, got {value:g} in "
            f"row {row} of column {part.start + column}: rescale {name}."
        )


def _fit_targets(
    basis: RidgeBasis, errors: Errors, alphas: Tensor, y: Standardized, dtype: torch.dtype, joint: bool
) -> tuple[_FoldScores, Predictions]:
    """Choose alphas on the training rows, predict and score the test rows; `joint`: there are nuisances."""
    nan = float("nan")
    untrained = y.constant | (basis.eigenvalues.numel() == 0)
    losses = errors(y.train)
    best, total = losses.argmin(0), y.train.square().sum(0)
    shares = 1 - losses / total
    preds = basis.predict(y.train, alphas[best], dtype).to(dtype)
    parts = [preds.masked_fill(untrained, nan), y.test.to(dtype).masked_fill(y.constant, nan)]
    r = r_joint = correlate(*parts)
    if joint:
        both = (y.explained + preds.masked_fill(y.constant, 0)).to(dtype)
        parts += [both if basis.eigenvalues.numel() else torch.full_like(both, nan), y.whole.to(dtype)]
        r_joint = correlate(*parts[2:])
    inner, short = shares.gather(0, best[None])[0], _is_too_short(basis.eigenvalues, alphas, best, shares)
    chosen, inner, short = (
        values.to(dtype).masked_fill(untrained, nan) for values in (alphas[best], inner, short)
    )
    volumes = (~(parts[0].isnan() | parts[1].isnan())).sum(0).to(dtype)
    scores = _FoldScores(chosen, inner, short, r, r_joint, volumes)
    return scores, Predictions(*parts, *parts[: 4 - len(parts)])


def _is_too_short(eigenvalues: Tensor, alphas: Tensor, best: Tensor, scores: Tensor) -> Tensor:
    """Tell whose best alpha (R,) lies at an end of the grid beyond which the score would change.

    Args:
        eigenvalues: of the features.
        alphas: (A,) the grid.
        best: (R,) the place in it that was chosen.
        scores: (A, R) inner scores.
    """
    if not eigenvalues.numel() or len(alphas) == 1:  # a single alpha is no grid
        return torch.zeros_like(best, dtype=torch.bool)
    least, second = alphas.argsort()[:2]
    decades = (alphas[second] / alphas[least]).log10()
    slope = (scores[least] - scores[second]) / decades
    chosen = alphas[best]
    bottom = (chosen == alphas[least]) & (chosen * _BEYOND > eigenvalues[0]) & (slope > _FLAT)
    top = (chosen == alphas.max()) & (chosen < _BEYOND * eigenvalues[-1])
    found: Tensor = bottom | top
    return found
