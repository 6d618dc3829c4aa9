"""Linear encoding: ridge regression from features to each ROI, scored on held-out volumes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor

from nfas_lightning.functional._encoding_rows import (
    Scaling,
    Selection,
    check_encoding,
    default_alphas,
    inner_blocks,
    inner_errors,
    standardize,
)
from nfas_lightning.functional.checks import check_option
from nfas_lightning.functional.correlation import (
    MIN_ROWS,
    Negative,
    average_folds,
    correlate,
    squared_correlation,
)
from nfas_lightning.functional.folds import contiguous_folds
from nfas_lightning.functional.missing import column_patterns
from nfas_lightning.functional.ridge import decompose
from nfas_lightning.functional.ridge_model import RidgeModel, ridge_fit
from nfas_lightning.functional.threads import one_thread_if_small

__all__ = ["MANY_AT_EDGE", "EncodingResult", "Scaling", "Selection", "default_alphas", "ridge_cv"]

# A penalty this many times the largest eigenvalue leaves all directions within a tenth of one common factor:
# predictions then correlate above .998 with those of any larger penalty. One this many times below the
# smallest eigenvalue is no penalty; nor is there anything to win below one where the inner score, a share of
# variance, rises by no more than a hundredth per decade.
_BEYOND = 10.0
_FLAT = 1e-2
MANY_AT_EDGE = 0.1  # share of folds and targets at an end of the grid that is told


@dataclass(frozen=True)
class EncodingResult:
    """Scores and out-of-fold predictions of one encoding model.

    Attributes:
        r: (R,) signed correlation, averaged over the folds in which three rows and more of the ROI were
            observed; large is good. With nuisances it is partial: of what they leave of both sides.
        r2: (R,) its square, negative r clipped to 0 unless asked otherwise.
        r_joint: (R,) correlation of the whole responses with what nuisances and features predict together;
            `r` without nuisances.
        r2_joint: (R,) its square, as `r2`.
        preds: (T, R) out-of-fold predictions, in responses standardized by their fold's training statistics.
            NaN where a row was never tested or its fold could not be trained.
        target: (T, R) what `preds` was correlated with: the responses, nuisances removed, standardized alike.
        joint_preds: (T, R) what nuisances and features predict together, in the same units.
        joint_target: (T, R) what `joint_preds` was correlated with: the responses with their nuisances.
        alphas: (folds, R) chosen penalty; NaN where an ROI could not be trained.
        fold_at_edge: (folds, R) 1 where that is the least or the largest of the grid, else 0.
        grid_too_short: share of folds and ROIs at an end of the grid beyond which the score would change.
        fold_r: (folds, R) signed correlation of each fold.
        fold_r_joint: (folds, R) the same for `r_joint`.
        inner_score: (folds, R) best inner cross-validated 1 - SSE / SST on that fold's training rows: choose
            among feature sets by it and the test rows stay unseen.
        fold: (T,) index of the fold that tested each row, -1 for none.
        n_volumes: (R,) rows that were observed and tested in folds that are scored; fewer than T where
            responses are missing.
        scaling: of the features, as given.
        model: the same regression fitted to all rows, where it was to be kept; None else.
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
        """Predict the responses to new features (T, P) in their own units, (T, R); see `RidgeModel.predict`.

        Raises:
            RuntimeError: the model was not kept.
        """
        if self.model is None:
            raise RuntimeError("No model was kept to predict with: call ridge_cv(..., keep_model=True).")
        return self.model.predict(X, nuisances)

    @property
    def alpha_at_edge(self) -> Tensor:
        """(R,) share of folds whose penalty is the least or the largest of the grid."""
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

    .. math:: \hat w_r = \arg\min_w \|y_r - X w\|^2 + \lambda_r \|w\|^2

    In every fold features and responses are standardized by their training mean and standard deviation (see
    `scaling`), and nuisances are partialled out of both by a regression fitted on the training rows. That is
    the fit of nuisances without a penalty and features with one, so that one fit scores what both predict
    together (`r_joint`) and what the features add (`r`). The penalty is chosen per ROI on those rows alone,
    by summed squared error. One eigendecomposition per fold (and per pattern of missing responses) serves
    every penalty and every ROI, and inner folds where these are small; inner fits refit the intercept and
    keep the fold's scale. Gram matrices and eigenvectors are float64, as are penalties too small for float32;
    the rest runs in the widest dtype of `X` and `Y`, float32 at least.

    Args:
        X: (T, P) features. A constant column carries nothing and has no effect.
        Y: (T, R) responses. NaN marks a missing value: the ROI is fitted and scored without that row.
        groups: (T,) run or story of each row; more than one, and whole groups are held out.
        n_folds: folds wanted, see `contiguous_folds`.
        gap: rows dropped from training on either side of a test block, outer and inner alike.
        alphas: (A,) positive candidates, on the scale of the sum of squares; None: `default_alphas`.
        selection: ``"folds"``, contiguous inner folds, or ``"loo"``, leave-one-out in closed form (no gap).
        nuisances: (T, Q) regressors to partial out of features and responses.
        scaling: ``"unit"`` divides each feature by its own standard deviation; ``"common"`` divides all by
            one, the root of their mean variance, so that rotating the features changes nothing: for principal
            components and other coordinates of a `StateSpace`, where the small ones are noise and would
            weigh as much as the large.
        negative: what r2 makes of a negative r: ``"clip"`` or ``"square"``.
        n_inner_folds: inner folds of ``selection="folds"``.
        keep_model: also fit to all rows (see `ridge_fit`), so that the result can `predict` new ones.
        warn: False leaves it to a caller of many fits to say which ROIs score NaN, once.

    Returns:
        An `EncodingResult`. Constant responses, features or predictions score NaN, with a warning; another
        where more than a tenth of all folds and ROIs take a penalty at an end of the grid beyond which the
        score would change.

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
    rows_of = tuple(torch.full_like(Y, float("nan")) for _ in range(4))
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
                for whole, part in zip(rows_of, fit[:4], strict=True):
                    whole[place] = part
                chosen[index, columns], inner[index, columns], short[index, columns] = fit[4:]
    ends = torch.stack([alphas.min(), alphas.max()]).to(Y.dtype)
    result = _compute(
        Y,
        rows_of,
        chosen,
        inner,
        fold,
        at_edge=torch.isin(chosen, ends).to(Y.dtype).masked_fill(chosen.isnan(), float("nan")),
        short=short,
        scaling=scaling,
        negative=negative,
        warn=warn,
    )
    if not keep_model:
        return result
    kept = ridge_fit(
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
    return replace(result, model=kept)


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
    """Choose penalties on the training rows, predict the test rows.

    Returns:
        preds, target and both of the joint score, (m, R); penalties, inner scores, and 1 where a wider grid
        could change these, (R,).
    """
    x = standardize(X, train, test, nuisances, scaling)
    y = standardize(Y, train, test, nuisances)
    basis = decompose(x.train, x.test, x.fixed)
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
    """Tell whose best penalty (R,) lies at an end of the grid beyond which the score would change.

    Args:
        eigenvalues: of the features.
        alphas: (A,) the grid.
        best: (R,) the place in it that was chosen.
        scores: (A, R) inner scores.
    """
    if not eigenvalues.numel() or len(alphas) == 1:  # a penalty that was given is no grid
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


def score_folds(preds: Tensor, target: Tensor, observed: Tensor, fold: Tensor) -> tuple[Tensor, Tensor]:
    """Correlate within folds, (folds, R), and average over those in which an ROI was observed, (R,)."""
    scored = torch.stack([correlate(preds[fold == i], target[fold == i]) for i in range(len(observed))])
    scored = scored.masked_fill(~observed, float("nan"))
    return scored, average_folds(scored, observed)


def _compute(
    Y: Tensor,
    rows_of: tuple[Tensor, ...],
    chosen: Tensor,
    inner: Tensor,
    fold: Tensor,
    *,
    at_edge: Tensor,
    short: Tensor,
    scaling: Scaling,
    negative: Negative,
    warn: bool,
) -> EncodingResult:
    """Correlate within folds and average over the folds in which an ROI was observed."""
    preds, target, joint_preds, joint_target = rows_of
    observed = observed_folds(Y, fold, len(chosen))
    fold_r, r = score_folds(preds, target, observed, fold)
    fold_joint, joint = score_folds(joint_preds, joint_target, observed, fold)
    undefined = int(r.isnan().sum())
    if undefined and warn:
        warnings.warn(
            f"{undefined} of {len(r)} ROIs score NaN: in some fold their responses, the features or the "
            "predictions are constant, or too few responses are observed.",
            stacklevel=3,
        )
    share = float(short.double().nanmean().nan_to_num(nan=0.0))
    if share > MANY_AT_EDGE and warn:
        warnings.warn(
            f"{100 * share:.0f} % of all folds and ROIs take the least or the largest penalty of the grid "
            "where one beyond it could score otherwise: give alphas that reach further.",
            stacklevel=3,
        )
    tested = observed[fold] & (fold >= 0)[:, None]
    n_volumes = (tested & ~target.isnan() & ~preds.isnan()).sum(0)
    return EncodingResult(
        r=r,
        r2=squared_correlation(r, negative),
        r_joint=joint,
        r2_joint=squared_correlation(joint, negative),
        preds=preds,
        target=target,
        joint_preds=joint_preds,
        joint_target=joint_target,
        alphas=chosen,
        fold_at_edge=at_edge,
        grid_too_short=share,
        fold_r=fold_r,
        fold_r_joint=fold_joint,
        inner_score=inner,
        fold=fold,
        n_volumes=n_volumes,
        scaling=scaling,
    )
