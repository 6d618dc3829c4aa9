"""Ridge regression with a penalty per band of features: how much of what they predict each band carries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.bands import TrainingBands, band_candidates, search_weights
from nfas_lightning.functional.batches import split_targets
from nfas_lightning.functional.checks import check_option, with_float64, working_dtype
from nfas_lightning.functional.correlation import MIN_ROWS, average_folds, correlate, squared_correlation
from nfas_lightning.functional.folds import contiguous_folds, inner_blocks
from nfas_lightning.functional.missing import column_patterns
from nfas_lightning.functional.ridge import Selection, bytes_per_target, check_encoding, default_alphas
from nfas_lightning.functional.ridge_solver import one_thread_if_small
from nfas_lightning.functional.standardization import Scaling, standardize

__all__ = ["BandedResult", "banded_ridge_cv"]


@dataclass(frozen=True)
class BandedResult:
    """Scores of a banded encoding model, and the part of each band.

    Attributes:
        r: (R,) correlation of held-out responses with what all bands predict, averaged over folds.
        r2: (R,) ``max(r, 0)^2``.
        r_parts: (B, R) parts of `r`, see `banded_ridge_cv`; they add up to it.
        r2_parts: (B, R) parts of `r2`; they add up to it, and a part may be negative.
        fold_r: (folds, R) `r` of each fold.
        weights: (folds, R, B) chosen weights of the bands; a band's penalty is alpha over its weight.
        alphas: (folds, R) chosen alpha.
        inner_score: (folds, R) best inner cross-validated 1 - SSE / SST.
        fold: (T,) index of the fold that tested each row, -1 for none.
        preds: (T, R) out-of-fold predictions; None where they were not kept.
        target: (T, R) what they were correlated with; likewise.
    """

    r: Tensor
    r2: Tensor
    r_parts: Tensor
    r2_parts: Tensor
    fold_r: Tensor
    weights: Tensor
    alphas: Tensor
    inner_score: Tensor
    fold: Tensor
    preds: Tensor | None
    target: Tensor | None


@with_float64
def banded_ridge_cv(
    X: Tensor,
    Y: Tensor,
    widths: Sequence[int],
    *,
    groups: Tensor | None = None,
    n_folds: int = 5,
    gap: int = 0,
    alphas: Tensor | None = None,
    selection: Selection = "folds",
    nuisances: Tensor | None = None,
    scaling: Scaling | Sequence[Scaling] = "unit",
    n_inner_folds: int = 5,
    weights: Tensor | int | None = None,
    seed: int = 0,
    keep_preds: bool = True,
    target_batch: int | None = None,
) -> BandedResult:
    r"""Fit ridge regression with one penalty per band in contiguous cross-validation.

    .. math:: \hat w_r = \arg\min_w \|y_r - \sum_b X_b w_b\|^2 + \sum_b \frac{\alpha_r}{\gamma_{rb}} \|w_b\|^2

    That is ridge regression on :math:`[\sqrt{\gamma_1} X_1, \dots, \sqrt{\gamma_B} X_B]`: folds, standardized
    features, nuisances and the choice of alpha are those of `ridge_cv`, which this is for a single band.
    Weights are chosen per response and outer fold, with alpha, by the inner score on the training rows: among
    equal weights, each band alone, and random points of the simplex. With all inner products of a band
    computed once, a candidate costs one eigendecomposition per fold, which all responses and alphas share.

    What bands predict, :math:`\hat y = \sum_b \hat y_b`, adds up, and so do their covariances with the
    held-out response. The product measure of a band is its part of the correlation, and of its square:

    .. math:: r_b = \frac{\mathrm{cov}(\hat y_b, y)}{\sigma_{\hat y} \sigma_y}, \quad \sum_b r_b = r, \qquad
              r^2_b = r \, r_b \text{ where } r > 0, \text{ else } 0

    Args:
        X: (T, P) features of all bands side by side.
        Y: (T, R) responses, NaN where missing.
        widths: B numbers of columns, in the order of `X`; their sum is P.
        groups: (T,) run or story of each row, see `ridge_cv`, as for the other choices.
        n_folds: folds wanted.
        gap: rows dropped around test blocks.
        alphas: (A,) penalties to choose from; None: `default_alphas` of a band's mean width.
        selection: ``"folds"`` or ``"loo"``.
        nuisances: (T, Q) regressors to remove from features and responses.
        scaling: ``"unit"`` or ``"common"``, within each band; one for all bands, or one per band.
        n_inner_folds: inner folds of ``selection="folds"``.
        weights: (C, B) candidates, non-negative, or how many there are to be, see `draw_band_weights`; None:
            12 per band.
        seed: of the draws.
        keep_preds: keep the out-of-fold predictions and their targets.
        target_batch: responses to work on at a time; None: as memory allows.

    Returns:
        `BandedResult` in the working dtype. NaN where responses, features or predictions are constant in a
        fold.

    Raises:
        ValueError: widths that do not add up, weights that are no weights, or as `ridge_cv`.

    Reference:
        Nunez-Elizalde et al. (2019), NeuroImage 197, 482-492, doi:10.1016/j.neuroimage.2019.04.012; Dupre la
        Tour et al. (2022), NeuroImage 264, 119728, doi:10.1016/j.neuroimage.2022.119728; Pratt (1987), Proc.
        Second Int. Tampere Conf. in Statistics, 245-260.

    Example:
        >>> X = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
        >>> result = banded_ridge_cv(X, X[:, :1] + X[:, 1:2], (2, 2), weights=8)
        >>> (result.r2_parts / result.r2).round(decimals=1).T
        tensor([[1., 0.]])
    """
    scalings = [scaling] * len(widths) if isinstance(scaling, str) else list(scaling)
    for option in scalings:
        check_option("scaling", option, get_args(Scaling))
    if alphas is None:
        alphas = default_alphas(max(1, round(X.shape[-1] / max(1, len(widths)))))
    X, Y, alphas, groups, nuisances = check_encoding(X, Y, groups, alphas, selection, nuisances)
    if not widths or min(widths) < 1 or sum(widths) != X.shape[1]:
        raise InputError(
            f"widths must be positive and add up to the {X.shape[1]} columns of X, got {list(widths)}."
        )
    if len(scalings) != len(widths):
        raise InputError(f"scaling must be one, or one per band, {len(widths)}, got {len(scalings)}.")
    candidates = band_candidates(weights, len(widths), seed).to(X.device)
    folds = contiguous_folds(len(X), groups=groups, n_folds=n_folds, gap=gap, device=X.device)
    dtype, n_rois, n_bands = working_dtype(X, Y), Y.shape[1], len(widths)
    empty = X.new_full((len(folds), n_rois), torch.nan, dtype=dtype)
    fold_r, chosen, inner = empty, empty.clone(), empty.clone()
    fold_parts = empty.expand(n_bands, -1, -1).clone()
    shares = empty[..., None].repeat(1, 1, n_bands)
    kept = [Y.new_full(Y.shape, torch.nan, dtype=dtype) for _ in range(2 * keep_preds)]
    fold = torch.full((len(X),), -1, device=X.device)
    observed = torch.stack([(~Y[test].isnan()).sum(0) >= MIN_ROWS for _, test in folds])
    with one_thread_if_small(X):
        for index, (train, test) in enumerate(folds):
            fold[test] = index
            for columns, seen in column_patterns(Y[train]):
                rows = train[seen]
                if len(rows) < 2:
                    continue
                blocks = [] if selection == "loo" else inner_blocks(train, seen, groups, gap, n_inner_folds)
                bands = TrainingBands(X, widths, rows, test, nuisances, scalings)
                per_target = bytes_per_target(len(X), X.shape[1], len(alphas), len(blocks))
                per_target += 8 * n_bands * len(test)
                for part in split_targets(len(columns), per_target, X.device, target_batch):
                    some = columns[part]
                    y = standardize(Y[:, some], rows, test, nuisances)
                    choice = search_weights(bands, candidates, alphas, blocks, y.train, dtype)
                    preds = bands.predict(y.train, candidates, choice).to(dtype)
                    preds = preds.masked_fill(y.constant, torch.nan)
                    target = y.test.to(dtype).masked_fill(y.constant, torch.nan)
                    whole = preds.sum(0)
                    fold_r[index, some] = correlate(whole, target)
                    fold_parts[:, index, some] = _parts(preds, whole, target)
                    chosen[index, some] = choice.alphas.to(dtype).masked_fill(y.constant, torch.nan)
                    inner[index, some] = choice.inner_score.to(dtype).masked_fill(y.constant, torch.nan)
                    shares[index, some] = candidates[choice.candidate].to(dtype)
                    for place, values in zip(kept, (whole, target), strict=False):
                        place[test[:, None], some] = values
                del bands  # the next fold's are as large
    fold_r = fold_r.masked_fill(~observed, torch.nan)
    # a fold whose predictions are constant has no parts either
    fold_parts = fold_parts.masked_fill(fold_r.isnan(), torch.nan)
    r, r_parts = average_folds(fold_r, observed), average_folds(fold_parts, observed)
    return BandedResult(
        r=r,
        r2=squared_correlation(r),
        r_parts=r_parts,
        r2_parts=r_parts * r.clamp(min=0),
        fold_r=fold_r,
        weights=shares,
        alphas=chosen,
        inner_score=inner,
        fold=fold,
        preds=kept[0] if keep_preds else None,
        target=kept[1] if keep_preds else None,
    )


def _parts(preds: Tensor, whole: Tensor, target: Tensor) -> Tensor:
    """Return parts (B, R) of the correlation of `whole` with `target` (m, R), its bands being (B, m, R)."""
    observed = ~target.isnan()
    n = observed.sum(0)

    def deviations(values: Tensor) -> Tensor:
        values = torch.where(observed, values, 0).double()
        left: Tensor = torch.where(observed, values - values.sum(-2, keepdim=True) / n, 0)
        return left

    y = deviations(target)
    size = torch.linalg.vector_norm(deviations(whole), dim=0) * torch.linalg.vector_norm(y, dim=0)
    parts: Tensor = (deviations(preds) * y).sum(1) / size
    return parts.to(whole.dtype)
