"""Linear encoding: ridge regression from features to each ROI, scored on held-out volumes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from nfas_lightning.errors import FailureError, InputError
from nfas_lightning.functional.checks import (
    check_device,
    check_finite,
    check_option,
    check_shape,
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
from nfas_lightning.functional.missing import column_patterns
from nfas_lightning.functional.ridge_solver import decompose_features, inner_errors, one_thread_if_small
from nfas_lightning.functional.standardization import Scaling, standardize

if TYPE_CHECKING:
    from nfas_lightning.functional.ridge_model import RidgeModel

__all__ = [
    "MANY_AT_EDGE",
    "EncodingResult",
    "Scaling",
    "Selection",
    "check_encoding",
    "default_alphas",
    "observed_folds",
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


@dataclass(frozen=True)
class EncodingResult:
    """Scores and out-of-fold predictions of one encoding model.

    Attributes:
        r: (R,) signed correlation, averaged over the folds in which three or more rows of the ROI were
            observed; large is good. With nuisances it is partial: they are removed from both sides.
        r2: (R,) its square, negative r clipped to 0 unless asked otherwise.
        r_joint: (R,) correlation of the whole responses with what nuisances and features predict together;
            `r` without nuisances.
        r2_joint: (R,) its square, as `r2`.
        preds: (T, R) out-of-fold predictions, in responses standardized by their fold's training statistics.
            NaN where a row was never tested or its fold could not be trained.
        target: (T, R) what `preds` was correlated with: the responses without nuisances, standardized alike.
        joint_preds: (T, R) what nuisances and features predict together, in the same units.
        joint_target: (T, R) what `joint_preds` was correlated with: the responses with their nuisances.
        alphas: (folds, R) chosen alpha; NaN where an ROI could not be trained.
        fold_at_edge: (folds, R) 1 where that is the smallest or the largest of the grid, else 0.
        grid_too_short: share of folds and ROIs at an end of the grid beyond which the score would change.
        fold_r: (folds, R) signed correlation of each fold.
        fold_r_joint: (folds, R) the same for `r_joint`.
        inner_score: (folds, R) best inner cross-validated 1 - SSE / SST on that fold's training rows. Feature
            sets that are chosen by it are chosen without the test rows.
        fold: (T,) index of the fold that tested each row, -1 for none.
        n_volumes: (R,) rows that were observed and tested in folds that are scored; fewer than T where
            responses are missing.
        scaling: of the features, as given.
        model: the same regression fitted to all rows, if `keep_model` asked for it; else None.
    """

    r: Tensor
    r2: Tensor
    r_joint: Tensor
    r2_joint: Tensor
    preds: Tensor
    target: Tensor
    joint_preds: Tensor
    joint_target: Tensor
    alphas: Tensor
    fold_at_edge: Tensor
    grid_too_short: float
    fold_r: Tensor
    fold_r_joint: Tensor
    inner_score: Tensor
    fold: Tensor
    n_volumes: Tensor
    scaling: Scaling = "unit"
    model: RidgeModel | None = None

    def predict(self, X: Tensor, nuisances: Tensor | None = None) -> Tensor:
        """Predict the responses (T, R) to new features (T, P), in their own units; see `RidgeModel.predict`.

        Raises:
            RuntimeError: the model was not kept.
        """
        if self.model is None:
            raise FailureError("No model was kept to predict with: call ridge_cv(..., keep_model=True).")
        return self.model.predict(X, nuisances)

    @property
    def alpha_at_edge(self) -> Tensor:
        """(R,) share of folds whose alpha is the smallest or the largest of the grid."""
        return self.fold_at_edge.nanmean(0)


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
    float32 at least.

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
    preds, target, joint_preds, joint_target = (torch.full_like(Y, float("nan")) for _ in range(4))
    chosen, inner, short = (Y.new_full((len(folds), Y.shape[1]), float("nan")) for _ in range(3))
    fold = torch.full((len(X),), -1, device=X.device)
    with one_thread_if_small(X):
        for index, (train, test) in enumerate(folds):
            fold[test] = index
            for columns, observed in column_patterns(Y[train]):
                rows = train[observed]
                if len(rows) < 2:
                    continue
                inside = (
                    [] if selection == "loo" else inner_blocks(train, observed, groups, gap, n_inner_folds)
                )
                fit = _fit_fold(X, Y[:, columns], rows, test, alphas, inside, nuisances, scaling)
                place = (test[:, None], columns)
                preds[place], target[place], joint_preds[place], joint_target[place] = fit[:4]
                chosen[index, columns], inner[index, columns], short[index, columns] = fit[4:]
    observed = observed_folds(Y, fold, len(folds))
    fold_r, r = _score_folds(preds, target, observed, fold)
    fold_joint, joint = _score_folds(joint_preds, joint_target, observed, fold)
    undefined, share = int(r.isnan().sum()), float(short.double().nanmean().nan_to_num(nan=0.0))
    if undefined and warn:
        warnings.warn(
            f"{undefined} of {len(r)} ROIs score NaN: in some fold their responses, the features or the "
            "predictions are constant, or too few responses are observed.",
            stacklevel=2,
        )
    if share > MANY_AT_EDGE and warn:
        warnings.warn(
            f"{100 * share:.0f} % of all folds and ROIs choose the smallest or the largest alpha of the grid "
            "where one beyond it could score otherwise: give alphas that reach further.",
            stacklevel=2,
        )
    ends = torch.stack([alphas.min(), alphas.max()]).to(Y.dtype)
    tested = observed[fold] & (fold >= 0)[:, None]
    result = EncodingResult(
        r=r,
        r2=squared_correlation(r, negative),
        r_joint=joint,
        r2_joint=squared_correlation(joint, negative),
        preds=preds,
        target=target,
        joint_preds=joint_preds,
        joint_target=joint_target,
        alphas=chosen,
        fold_at_edge=torch.isin(chosen, ends).to(Y.dtype).masked_fill(chosen.isnan(), float("nan")),
        grid_too_short=share,
        fold_r=fold_r,
        fold_r_joint=fold_joint,
        inner_score=inner,
        fold=fold,
        n_volumes=(tested & ~target.isnan() & ~preds.isnan()).sum(0),
        scaling=scaling,
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
    )
    return replace(result, model=model)


def default_alphas(n_features: int) -> Tensor:
    """Return 19 alphas, 1e-4 to 1e5 times P: for standardized features P is a mean squared row norm."""
    return n_features * torch.logspace(-4, 5, 19, dtype=torch.float64)


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
    if bool(Y.isinf().any()):
        raise InputError("Y must not be infinite: mark missing values with NaN.")
    if groups is not None:
        check_shape("groups", groups, "T", T=len(X))
        groups = groups.to(X.device)
    if nuisances is not None:
        check_shape("nuisances", nuisances, "T Q", T=len(X))
        check_finite("nuisances", nuisances)
        nuisances = nuisances.to(X.device)
    for name, values in (("X", X), ("Y", Y), ("nuisances", nuisances)):
        if values is None or values.dtype is not torch.float64:
            continue
        large = values.abs() > _LARGEST
        if bool(large.any()):
            row, column = large.nonzero()[0].tolist()
            raise InputError(
                f"{name} must lie within {_LARGEST:g}, since squares of larger values overflow, got "
                f"{float(values[row, column]):g} in row {row} of column {column}: rescale {name}."
            )
    if alphas is None:
        alphas = default_alphas(X.shape[1])
    check_shape("alphas", alphas, "A")
    if not len(alphas) or not bool((alphas > 0).all()):
        raise InputError(f"alphas must be positive, at least one, got {alphas.tolist()}.")
    dtype = working_dtype(X, Y)
    return X.to(dtype), Y.to(dtype), alphas.to(X.device, torch.float64), groups, nuisances


def _fit_fold(
    X: Tensor,
    Y: Tensor,
    train: Tensor,
    test: Tensor,
    alphas: Tensor,
    blocks: list[tuple[Tensor, Tensor]],
    nuisances: Tensor | None,
    scaling: Scaling,
) -> tuple[Tensor, ...]:
    """Choose alphas on the training rows, predict the test rows.

    Returns:
        preds, target and both of the joint score, (m, R); alphas, inner scores, and 1 where a wider grid
        could change these, (R,).
    """
    x = standardize(X, train, test, nuisances, scaling)
    y = standardize(Y, train, test, nuisances)
    basis = decompose_features(x.train, x.test, x.fixed)
    untrained = y.constant | (basis.eigenvalues.numel() == 0)
    errors = inner_errors(basis, y.train, alphas, blocks, Y.dtype)
    least, best = errors.min(0)
    inner = (1 - least / y.train.square().sum(0)).masked_fill(untrained, float("nan")).to(Y.dtype)
    preds = basis.predict(y.train, alphas[best])
    joint = y.explained + preds.masked_fill(y.constant, 0)
    short = _is_too_short(basis.eigenvalues, alphas, best, 1 - errors / y.train.square().sum(0))
    chosen = alphas[best].to(Y.dtype)
    return (
        preds.to(Y.dtype).masked_fill(untrained, float("nan")),
        y.test.to(Y.dtype).masked_fill(y.constant, float("nan")),
        joint.to(Y.dtype)
        if basis.eigenvalues.numel()
        else torch.full_like(joint, float("nan"), dtype=Y.dtype),
        y.whole.to(Y.dtype),
        *(values.masked_fill(untrained, float("nan")) for values in (chosen, inner, short.to(Y.dtype))),
    )


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


def observed_folds(Y: Tensor, fold: Tensor, n_folds: int) -> Tensor:
    """Tell in which folds an ROI has enough responses for a correlation, (folds, R), from Y (T, R)."""
    return torch.stack([(~Y[fold == i].isnan()).sum(0) >= MIN_ROWS for i in range(n_folds)])


def _score_folds(preds: Tensor, target: Tensor, observed: Tensor, fold: Tensor) -> tuple[Tensor, Tensor]:
    """Correlate within folds, (folds, R), and average over those in which an ROI was observed, (R,)."""
    scored = torch.stack([correlate(preds[fold == i], target[fold == i]) for i in range(len(observed))])
    scored = scored.masked_fill(~observed, float("nan"))
    return scored, average_folds(scored, observed)
