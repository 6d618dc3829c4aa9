"""What a score would be by chance: responses moved in time.

The two nulls of this file move the responses under predictions that stay. That is right for predictions that
were fitted on other data. For cross-validated ones it rejects too often: use `ridge_null.ridge_null`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nfas_lightning.functional.checks import check_shape
from nfas_lightning.functional.correlation import MIN_ROWS, average_folds, correlate
from nfas_lightning.functional.moves import block_moves, shift_moves

__all__ = ["block_permutation_null", "circular_shift_null", "permutation_p"]

# numbers in one gathered table of moved responses: 8 MB in float64, which a CPU's cache can hold, and 256 MB,
# which keep an accelerator busy
_CHUNK_CPU, _CHUNK_ACCELERATOR = 2**20, 2**25


def table_size(device: torch.device) -> int:
    """Return how many numbers a table of moved responses may hold on `device`."""
    return _CHUNK_CPU if device.type == "cpu" else _CHUNK_ACCELERATOR


def circular_shift_null(
    preds: Tensor,
    Y: Tensor,
    fold: Tensor,
    *,
    groups: Tensor | None = None,
    n_permutations: int = 1000,
    min_shift: int = 0,
    seed: int = 0,
) -> Tensor:
    """Correlate predictions with responses that were rotated in time.

    Rotation keeps the autocorrelation of both sides, which is what makes a slow feature correlate with slow
    noise; r is averaged over folds as the score is. Only for predictions fitted on other data, as a model of
    another subject or of other runs; see `ridge_null` for cross-validated ones.

    Args:
        preds: (T, R) predictions.
        Y: (T, R) what they are correlated with. NaN moves along, and pairs with a NaN are left out.
        fold: (T,) test fold of each row, -1 for none.
        groups: (T,) rows that rotate together; give the runs where folds are parts of one, for every seam of
            a rotation breaks the autocorrelation. None: the rows of a fold.
        n_permutations: M wanted; fewer where there are fewer rotations.
        min_shift: smallest rotation in rows, either way. Above 0 the neighbors of the observed score are
            missing from the null, which makes p too small, the more the slower the series.
        seed: of the shifts; all ROIs share them, so the null keeps their dependence.

    Returns:
        (M, R) correlations under the null; NaN for an ROI whose predictions or responses are constant.

    Raises:
        ValueError: shapes that disagree, or a fold too short to be shifted by min_shift both ways.

    Reference:
        Harris (2020), A shift test for independence in generic time series, doi:10.48550/arXiv.2012.06862.

    Example:
        >>> t = torch.arange(40.0)[:, None]
        >>> null = circular_shift_null(t.sin(), t.sin(), torch.zeros(40, dtype=torch.long))
        >>> null.shape, bool((null < 0.999).all())
        (torch.Size([39, 1]), True)
    """
    if groups is not None:
        check_shape("groups", groups, "T", T=len(fold))
        groups = groups[fold >= 0]
    preds, Y, fold = _tested(preds, Y, fold)
    groups = fold if groups is None else groups
    moves = shift_moves(len(Y), groups=groups, n_moves=n_permutations, min_shift=min_shift, seed=seed)
    return _moved_null(preds, Y, fold, moves)


def block_permutation_null(
    preds: Tensor, Y: Tensor, fold: Tensor, *, block_length: int, n_permutations: int = 1000, seed: int = 0
) -> Tensor:
    """Correlate predictions with responses whose blocks of time changed places, fold by fold.

    Only for predictions fitted on other data; see `ridge_null` for cross-validated ones.

    Args:
        preds: (T, R) predictions.
        Y: (T, R) what they are correlated with. NaN moves along, and pairs with a NaN are left out.
        fold: (T,) test fold of each row, -1 for none.
        block_length: rows in a block; a fold's last may be shorter. Long against the autocorrelation, or the
            null is too narrow; 1 where rows are independent.
        n_permutations: M.
        seed: of the permutations; all ROIs share them.

    Returns:
        (M, R) correlations under the null; NaN for an ROI whose predictions or responses are constant.

    Raises:
        ValueError: shapes that disagree, or a fold of fewer than two blocks.

    Example:
        >>> t = torch.arange(40.0)[:, None]
        >>> fold = torch.zeros(40, dtype=torch.long)
        >>> block_permutation_null(t, t, fold, block_length=10, n_permutations=5).shape
        torch.Size([5, 1])
    """
    preds, Y, fold = _tested(preds, Y, fold)
    moves = block_moves(len(Y), groups=fold, n_moves=n_permutations, block_length=block_length, seed=seed)
    return _moved_null(preds, Y, fold, moves)


def permutation_p(observed: Tensor, null: Tensor) -> Tensor:
    """Return one-sided p values, (1 + #{null >= observed}) / (1 + P).

    Args:
        observed: (R,) statistics, large is evidence.
        null: (P, R) the same statistics under the null.

    Returns:
        (R,) p in [1 / (1 + P), 1]; NaN where the statistic or any of its null is NaN.

    Raises:
        ValueError: the shapes disagree, or the null is empty.

    Reference:
        Phipson and Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9, 39, doi:10.2202/1544-6115.1585.

    Example:
        >>> permutation_p(torch.tensor([2.0, 0.0]), torch.tensor([[0.0, 1.0], [1.0, -1.0], [0.5, 0.0]]))
        tensor([0.2500, 0.7500])
    """
    check_shape("observed", observed, "R")
    check_shape("null", null, "P R", R=len(observed))
    if not len(null):
        raise ValueError("null must hold at least one permutation, got none.")
    p = (1 + (null >= observed).sum(0)).to(null.dtype) / (1 + len(null))
    return p.masked_fill(observed.isnan() | null.isnan().any(0), float("nan"))


def _tested(preds: Tensor, Y: Tensor, fold: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Validate, and keep the rows that a fold tests."""
    check_shape("preds", preds, "T R")
    check_shape("Y", Y, "T R", T=preds.shape[0], R=preds.shape[1])
    check_shape("fold", fold, "T", T=len(preds))
    kept = fold >= 0
    if not bool(kept.any()):
        raise ValueError("fold must give at least one row a fold: every entry is negative.")
    return preds[kept], Y[kept], fold[kept]


def _moved_null(preds: Tensor, Y: Tensor, fold: Tensor, moves: Tensor) -> Tensor:
    """Correlate preds (T, R) with Y moved by each of (M, T), within folds, averaged over them: (M, R)."""
    chunks = torch.split(moves.to(Y.device), max(1, table_size(Y.device) // Y.numel()))
    null = []
    for chunk in chunks:
        moved = Y[chunk].movedim(0, 1)  # (T, moves, R)
        beside = preds[:, None].expand_as(moved)
        parts = [fold == label for label in torch.unique(fold)]
        scored = torch.stack([correlate(beside[rows], moved[rows]) for rows in parts], 1)
        both = ~(beside.isnan() | moved.isnan())
        null.append(average_folds(scored, torch.stack([both[rows].sum(0) >= MIN_ROWS for rows in parts], 1)))
    return torch.cat(null)
