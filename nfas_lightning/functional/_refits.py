"""Cross-validated fits of many moved copies of the same responses, as a few matrix products.

Features, folds and penalties stay, so what a fold predicts is one linear map of the responses, whatever these
are. A correlation does not see the responses' mean and scale, so neither is computed again for a copy.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nfas_lightning.functional._encoding_rows import nuisance_map
from nfas_lightning.functional.checks import is_constant
from nfas_lightning.functional.ridge import RidgeBasis

__all__ = ["FoldMap", "constant_in_training", "fold_map", "refit_scores"]


class FoldMap(NamedTuple):
    """One fold as maps of all T responses of a copy; training columns alone are not zero.

    Attributes:
        test: (m,) rows that the fold tests.
        train: (T,) 1 where a row trains, else 0.
        coordinates: (k, T) responses to coordinates on the features' left singular vectors. These are
            orthogonal to the constant and to the nuisances, which so drop out.
        loadings: (m, k) coordinates, once shrunk, to predictions of the test rows less their mean.
        shrinkage: (A, k) of each penalty that some ROI chose.
        choice: (R,) which of them.
        nuisances: (m, T) what the nuisances predict for the test rows, None without.
        smoothers: (A, m, T) all of it in one matrix a penalty, where that is less work; else None.
    """

    test: Tensor
    train: Tensor
    coordinates: Tensor
    loadings: Tensor
    shrinkage: Tensor
    choice: Tensor
    nuisances: Tensor | None
    smoothers: Tensor | None


def fold_map(
    basis: RidgeBasis,
    train: Tensor,
    test: Tensor,
    n_rows: int,
    alphas: Tensor,
    nuisances: Tensor | None,
    dtype: torch.dtype,
) -> FoldMap:
    """Build a fold's maps in float64 and cast them.

    Args:
        basis: decomposition of the fold's features.
        train: (n,) rows.
        test: (m,) rows.
        n_rows: T.
        alphas: (R,), NaN for an ROI that was not trained.
        nuisances: (T, Q) or None.
        dtype: of the responses.
    """

    def widen(columns: Tensor) -> Tensor:
        wide = columns.new_zeros(len(columns), n_rows)
        wide[:, train] = columns
        return wide.to(dtype)

    chosen, choice = torch.unique(alphas.double().nan_to_num(nan=1.0), return_inverse=True)
    s, loadings = basis.eigenvalues, basis.test - basis.test.mean(0)
    flat = is_constant(loadings.abs().amax(0), basis.test.abs().amax(0), dtype)
    loadings = loadings.masked_fill(flat, 0)
    shrinkage = s.sqrt() / (s + chosen[:, None])
    smoothers = None
    n_axes, n_test = len(s), len(test)
    if n_test * n_rows <= n_axes * (n_rows + n_test):
        smoothers = torch.stack([widen((loadings * row) @ basis.train.T) for row in shrinkage])
    explained = None
    if nuisances is not None:
        _, new, inverse, _ = nuisance_map(nuisances, train, test)
        explained = widen(new @ inverse)
    return FoldMap(
        test=test,
        train=widen(s.new_ones(1, len(train)))[0],
        coordinates=widen(basis.train.T),
        loadings=loadings.to(dtype),
        shrinkage=shrinkage.to(dtype),
        choice=choice,
        nuisances=explained,
        smoothers=smoothers,
    )


def refit_scores(fold: FoldMap, copies: Tensor, rois: Tensor, *, joint: bool = False) -> Tensor:
    """Correlate a fold's predictions with the copies it was refitted on.

    Args:
        fold: the maps.
        copies: (C, T, M) copies of C ROIs, of about unit variance and zero mean over all rows.
        rois: (C,) which ROIs they are.
        joint: predict the copies as they are by features and nuisances, not what the nuisances leave of them.

    Returns:
        (C, M); NaN where predictions or test responses are constant.
    """
    choice = fold.choice[rois]
    if fold.smoothers is not None:
        preds = torch.bmm(fold.smoothers[choice], copies)
    else:
        preds = fold.loadings @ ((fold.coordinates @ copies) * fold.shrinkage[choice][:, :, None])
    first, last = int(fold.test[0]), int(fold.test[-1])
    together = last - first + 1 == len(fold.test)
    target = copies[:, first : last + 1] if together else copies[:, fold.test]
    if fold.nuisances is not None:
        explained = fold.nuisances @ copies
        if joint:
            preds = preds + explained - explained.mean(1, keepdim=True)
        else:
            target = target - explained
    # predictions have mean zero over the test rows, so the target's mean drops out of the product
    square, mean = torch.linalg.vector_norm(target, dim=1).square(), target.mean(1)
    variance = square - len(fold.test) * mean.square()
    power = torch.linalg.vector_norm(preds, dim=1)
    r: Tensor = (preds * target).sum(1) / (power * variance.clamp(min=0).sqrt())
    still = is_constant(variance, square, r.dtype) | (power == 0)
    return r.clamp(-1, 1).masked_fill(still, float("nan"))


def constant_in_training(folds: list[FoldMap], copies: Tensor) -> Tensor:
    """Return (folds, C, M) booleans: a copy's training rows do not vary, and its predictions are rounding."""
    train = torch.stack([fold.train for fold in folds])
    weights = train / train.sum(1, keepdim=True)
    mean, square = weights @ copies, weights @ copies.square()
    return is_constant(square - mean.square(), square, copies.dtype).movedim(1, 0)
