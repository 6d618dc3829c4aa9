"""Linear encoding: ridge regression from features to each ROI, scored on held-out volumes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from nfas_lightning.functional.checks import (
    check_device,
    check_finite,
    check_option,
    check_shape,
    is_constant,
    working_dtype,
)
from nfas_lightning.functional.correlation import (
    MIN_ROWS,
    Negative,
    average_folds,
    correlate,
    squared_correlation,
)
from nfas_lightning.functional.folds import contiguous_folds, split_rows
from nfas_lightning.functional.missing import column_patterns
from nfas_lightning.functional.ridge import decompose, held_out_errors, leave_one_out_errors
from nfas_lightning.functional.threads import one_thread_if_small

__all__ = ["EncodingResult", "Scaling", "Selection", "default_penalties", "ridge_cv"]

Selection = Literal["folds", "loo"]
Scaling = Literal["unit", "common"]


@dataclass(frozen=True)
class EncodingResult:
    """Scores and out-of-fold predictions of one encoding model.

    Attributes:
        r: (R,) signed correlation, averaged over the folds in which three rows and more of the ROI were
            observed; large is good.
        r2: (R,) its square, negative r clipped to 0 unless asked otherwise.
        preds: (T, R) out-of-fold predictions, in responses standardised by their fold's training statistics.
            NaN where a row was never tested or its fold could not be trained.
        target: (T, R) what `preds` was correlated with: the responses, nuisances removed, standardised alike.
        penalties: (folds, R) chosen penalty; NaN where an ROI could not be trained.
        fold_r: (folds, R) signed correlation of each fold.
        inner_score: (folds, R) best inner cross-validated 1 - SSE / SST on that fold's training rows: choose
            among feature sets by it and the test rows stay unseen.
        fold: (T,) index of the fold that tested each row, -1 for none.
        n_volumes: (R,) rows that were observed and tested in folds that are scored; fewer than T where
            responses are missing.
        scaling: of the features, as given.
    """

    r: Tensor
    r2: Tensor
    preds: Tensor
    target: Tensor
    penalties: Tensor
    fold_r: Tensor
    inner_score: Tensor
    fold: Tensor
    n_volumes: Tensor
    scaling: Scaling = "unit"


def default_penalties(n_features: int) -> Tensor:
    """Return 15 penalties, 1e-2 to 1e5 times P: for standardised features P is a mean squared row norm."""
    return n_features * torch.logspace(-2, 5, 15, dtype=torch.float64)


def ridge_cv(
    X: Tensor,
    Y: Tensor,
    *,
    groups: Tensor | None = None,
    n_folds: int = 5,
    gap: int = 0,
    penalties: Tensor | None = None,
    selection: Selection = "folds",
    nuisances: Tensor | None = None,
    scaling: Scaling = "unit",
    negative: Negative = "clip",
    n_inner_folds: int = 5,
    warn: bool = True,
) -> EncodingResult:
    r"""Fit ridge regression in contiguous cross-validation and score it per ROI.

    .. math:: \hat w_r = \arg\min_w \|y_r - X w\|^2 + \lambda_r \|w\|^2

    In every fold features and responses are standardised by their training mean and standard deviation (see
    `scaling`), and nuisances are partialled out of both by a regression fitted on the training rows. The
    penalty is chosen per ROI on those rows alone, by summed squared error. One eigendecomposition per fold
    (and per pattern of missing responses) serves every penalty and every ROI, and inner folds where these
    are small; inner fits refit the intercept and keep the fold's scale. Gram matrices and eigenvectors are
    float64, as are penalties too small for float32; the rest runs in the widest dtype of `X` and `Y`,
    float32 at least.

    Args:
        X: (T, P) features. A constant column carries nothing and has no effect.
        Y: (T, R) responses. NaN marks a missing value: the ROI is fitted and scored without that row.
        groups: (T,) run or story of each row; more than one, and whole groups are held out.
        n_folds: folds wanted, see `contiguous_folds`.
        gap: rows dropped from training on either side of a test block, outer and inner alike.
        penalties: (A,) positive candidates, on the scale of the sum of squares; None: `default_penalties`.
        selection: ``"folds"``, contiguous inner folds, or ``"loo"``, leave-one-out in closed form (no gap).
        nuisances: (T, Q) regressors to partial out of features and responses.
        scaling: ``"unit"`` divides each feature by its own standard deviation; ``"common"`` divides all by
            one, the root of their mean variance, so that rotating the features changes nothing: for principal
            components and other coordinates of a `StateSpace`, where the small ones are noise and would
            weigh as much as the large.
        negative: what r2 makes of a negative r: ``"clip"`` or ``"square"``.
        n_inner_folds: inner folds of ``selection="folds"``.
        warn: False leaves it to a caller of many fits to say which ROIs score NaN, once.

    Returns:
        An `EncodingResult`. Constant responses, features or predictions score NaN, with a warning.

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
    X, Y, penalties, groups, nuisances = _update(X, Y, groups, penalties, selection, nuisances)
    folds = contiguous_folds(len(X), groups=groups, n_folds=n_folds, gap=gap, device=X.device)
    preds, target = (torch.full_like(Y, float("nan")) for _ in range(2))
    chosen, inner = (Y.new_full((len(folds), Y.shape[1]), float("nan")) for _ in range(2))
    fold = torch.full((len(X),), -1, device=X.device)
    with one_thread_if_small(X):
        for index, (train, test) in enumerate(folds):
            fold[test] = index
            blocks = []
            if selection == "folds":
                train_groups = None if groups is None else groups[train]
                n_blocks = min(n_inner_folds, len(train))
                blocks = split_rows(train, groups=train_groups, n_folds=n_blocks, gap=gap)
            for columns, observed in column_patterns(Y[train]):
                rows = train[observed]
                if len(rows) < 2:
                    continue
                held_out, seen = blocks, observed
                if (
                    blocks
                    and groups is not None
                    and len(torch.unique(groups[train])) > len(torch.unique(groups[rows])) == 1
                ):
                    # observed in one run of several: as in training on a single run, its blocks are held out
                    held_out = split_rows(rows, n_folds=min(n_inner_folds, len(rows)), gap=gap)
                    seen = torch.ones_like(rows, dtype=torch.bool)
                inside = _observed_blocks(held_out, seen, gap)
                fit = _fit_fold(X, Y[:, columns], rows, test, penalties, inside, nuisances, scaling)
                place = (test[:, None], columns)
                preds[place], target[place], chosen[index, columns], inner[index, columns] = fit
    return _compute(Y, preds, target, chosen, inner, fold, scaling, negative, warn)


def _update(
    X: Tensor,
    Y: Tensor,
    groups: Tensor | None,
    penalties: Tensor | None,
    selection: Selection,
    nuisances: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Validate, cast to the working dtype, and bring what is small to the device of `X`."""
    check_shape("X", X, "T P")
    check_shape("Y", Y, "T R", T=len(X))
    check_device("Y", Y, "X", X)
    check_option("selection", selection, get_args(Selection))
    if not X.shape[1]:
        raise ValueError("X must have at least one feature, got none.")
    check_finite("X", X)
    if bool(Y.isinf().any()):
        raise ValueError("Y must not be infinite: mark missing values with NaN.")
    if groups is not None:
        check_shape("groups", groups, "T", T=len(X))
        groups = groups.to(X.device)
    if nuisances is not None:
        check_shape("nuisances", nuisances, "T Q", T=len(X))
        check_finite("nuisances", nuisances)
        nuisances = nuisances.to(X.device)
    if penalties is None:
        penalties = default_penalties(X.shape[1])
    check_shape("penalties", penalties, "A")
    if not len(penalties) or not bool((penalties > 0).all()):
        raise ValueError(f"penalties must be positive, at least one, got {penalties.tolist()}.")
    dtype = working_dtype(X, Y)
    return X.to(dtype), Y.to(dtype), penalties.to(X.device, torch.float64), groups, nuisances


def _fit_fold(
    X: Tensor,
    Y: Tensor,
    train: Tensor,
    test: Tensor,
    penalties: Tensor,
    blocks: list[tuple[Tensor, Tensor]],
    nuisances: Tensor | None,
    scaling: Scaling,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Choose penalties on the training rows, predict the test rows: preds, target, penalties, inner score."""
    x_train, x_test, _ = standardise(X, train, test, nuisances, scaling)
    y_train, y_test, y_constant = standardise(Y, train, test, nuisances)
    basis = decompose(x_train, x_test)
    untrained = y_constant | (basis.eigenvalues.numel() == 0)
    if blocks:
        errors = held_out_errors(basis, y_train, penalties, blocks, Y.dtype)
    else:
        errors = leave_one_out_errors(basis, y_train, penalties, Y.dtype)
    least, best = errors.min(0)
    inner = (1 - least / y_train.square().sum(0)).masked_fill(untrained, float("nan")).to(Y.dtype)
    preds = basis.predict(y_train, penalties[best]).masked_fill(untrained, float("nan")).to(Y.dtype)
    chosen = penalties[best].to(Y.dtype)
    target = y_test.to(Y.dtype).masked_fill(y_constant, float("nan"))
    return preds, target, chosen.masked_fill(untrained, float("nan")), inner


def standardise(
    values: Tensor, train: Tensor, test: Tensor, nuisances: Tensor | None, scaling: Scaling = "unit"
) -> tuple[Tensor, Tensor, Tensor]:
    """Standardise by training statistics, nuisances removed first; and which columns are constant (now 0)."""
    # copies, worked in place: fresh memory costs more than these operations
    inside, outside = values[train].double(), values[test].double()
    magnitude, mean = _largest(inside), inside.mean(0)
    inside -= mean
    outside -= mean
    spread = _largest(inside)
    constant = is_constant(spread, magnitude, values.dtype)
    if nuisances is not None:
        known, new = nuisances[train].double(), nuisances[test].double()
        mean, scale = known.mean(0), known.std(0, correction=0)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        known, new = (known - mean) / scale, (new - mean) / scale
        weights = torch.linalg.pinv(known) @ inside
        inside -= known @ weights
        outside -= new @ weights
        # a column that the nuisances explain leaves rounding, which must not be blown up to unit variance
        constant |= _largest(inside) <= torch.finfo(values.dtype).eps ** 0.7 * spread
    deviation = torch.linalg.vector_norm(inside, dim=0) / len(train) ** 0.5
    if scaling == "common":
        varying = deviation[~constant]
        deviation = torch.full_like(deviation, float(varying.square().mean().sqrt()))
    factor = torch.where(constant, 0, 1 / deviation)
    inside *= factor
    outside *= factor
    return inside, outside, constant


def _largest(values: Tensor) -> Tensor:
    """Largest modulus of each column."""
    return torch.maximum(values.amax(0), -values.amin(0))


def _observed_blocks(
    blocks: list[tuple[Tensor, Tensor]], observed: Tensor, gap: int
) -> list[tuple[Tensor, Tensor]]:
    """Inner blocks as positions among the observed training rows; blocks that nobody observed are dropped."""
    inside = [(_renumber(held, observed), _renumber(guard, observed)) for held, guard in blocks]
    inside = [(held, guard) for held, guard in inside if len(held)]
    if any(len(held) + len(guard) >= int(observed.sum()) for held, guard in inside):
        raise ValueError(
            f"A gap of {gap} rows around inner blocks leaves nothing to train on inside a fold of "
            f"{int(observed.sum())} observed training rows: lower gap or n_folds, raise n_inner_folds, or "
            'take selection="loo".'
        )
    return inside


def _renumber(positions: Tensor, observed: Tensor) -> Tensor:
    """Translate positions among all training rows into positions among the observed ones."""
    return (observed.cumsum(0) - 1)[positions[observed[positions]]]


def observed_folds(Y: Tensor, fold: Tensor, n_folds: int) -> Tensor:
    """Tell in which folds an ROI has enough responses for a correlation, (folds, R), from Y (T, R)."""
    return torch.stack([(~Y[fold == i].isnan()).sum(0) >= MIN_ROWS for i in range(n_folds)])


def _compute(
    Y: Tensor,
    preds: Tensor,
    target: Tensor,
    chosen: Tensor,
    inner: Tensor,
    fold: Tensor,
    scaling: Scaling,
    negative: Negative,
    warn: bool,
) -> EncodingResult:
    """Correlate within folds and average over the folds in which an ROI was observed."""
    scored = torch.stack([correlate(preds[fold == i], target[fold == i]) for i in range(len(chosen))])
    observed = observed_folds(Y, fold, len(chosen))
    scored = scored.masked_fill(~observed, float("nan"))
    r = average_folds(scored, observed)
    undefined = int(r.isnan().sum())
    if undefined and warn:
        warnings.warn(
            f"{undefined} of {len(r)} ROIs score NaN: in some fold their responses, the features or the "
            "predictions are constant, or too few responses are observed.",
            stacklevel=3,
        )
    tested = observed[fold] & (fold >= 0)[:, None]
    n_volumes = (tested & ~target.isnan() & ~preds.isnan()).sum(0)
    return EncodingResult(
        r=r,
        r2=squared_correlation(r, negative),
        preds=preds,
        target=target,
        penalties=chosen,
        fold_r=scored,
        inner_score=inner,
        fold=fold,
        n_volumes=n_volumes,
        scaling=scaling,
    )
