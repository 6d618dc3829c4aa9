"""What a score would be by chance: responses moved in time.

The two nulls of this file move the responses under predictions that stay. That is right for predictions that
were fitted on other data. For cross-validated ones it rejects too often: use `ridge_null.ridge_null`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nfas_lightning.functional.checks import check_shape
from nfas_lightning.functional.correlation import average_folds, correlate

__all__ = ["block_moves", "block_permutation_null", "circular_shift_null", "permutation_p", "shift_moves"]

CHUNK = 2**22  # numbers in one gathered table of moved responses: 32 MB in float64


def shift_moves(
    n_rows: int, *, groups: Tensor | None = None, n_moves: int = 1000, min_shift: int = 1, seed: int = 0
) -> Tensor:
    """Draw circular shifts: in every group of n rows one shift of min_shift .. n - min_shift rows.

    Args:
        n_rows: T.
        groups: (T,) rows that rotate together (runs, folds), None: all.
        n_moves: M.
        min_shift: smallest shift in rows, at least 1.
        seed: of the shifts.

    Returns:
        (M, T) row indices: ``Y[moves[m]]`` are the moved responses.

    Raises:
        ValueError: a group too short to be shifted by min_shift both ways.

    Example:
        >>> shift_moves(4, n_moves=1, min_shift=2)
        tensor([[2, 3, 0, 1]])
    """
    groups = _check_moves(n_rows, groups, n_moves)
    if min_shift < 1:
        raise ValueError(f"min_shift must be at least 1 row, got {min_shift}.")
    generator = torch.Generator().manual_seed(seed)
    moves = torch.empty(n_moves, n_rows, dtype=torch.long)
    for label in torch.unique(groups):
        rows = (groups == label).nonzero()[:, 0]
        n = len(rows)
        if n < 2 * min_shift:
            raise ValueError(
                f"min_shift={min_shift} needs runs (or folds) of at least {2 * min_shift} rows, got "
                f"one of {n}: lower min_shift or n_folds."
            )
        shifts = torch.randint(min_shift, n - min_shift + 1, (n_moves, 1), generator=generator)
        moves[:, rows] = rows[(torch.arange(n) - shifts) % n]
    return moves


def block_moves(
    n_rows: int, *, groups: Tensor | None = None, n_moves: int = 1000, block_length: int = 1, seed: int = 0
) -> Tensor:
    """Draw permutations of blocks: every group is cut into blocks that change places.

    Args:
        n_rows: T.
        groups: (T,) rows that stay together (runs, folds), None: all.
        n_moves: M.
        block_length: rows in a block; a group's last may be shorter. Long against the autocorrelation, or the
            null is too narrow; 1 where rows are independent.
        seed: of the permutations.

    Returns:
        (M, T) row indices: ``Y[moves[m]]`` are the moved responses.

    Raises:
        ValueError: a group of fewer than two blocks.

    Example:
        >>> block_moves(5, n_moves=1, block_length=2, seed=1).sort().values
        tensor([[0, 1, 2, 3, 4]])
    """
    groups = _check_moves(n_rows, groups, n_moves)
    generator = torch.Generator().manual_seed(seed)
    moves = torch.empty(n_moves, n_rows, dtype=torch.long)
    for label in torch.unique(groups):
        rows = (groups == label).nonzero()[:, 0]
        if not 1 <= block_length < len(rows):
            raise ValueError(
                f"block_length must leave at least two blocks in every run (or fold): one has "
                f"{len(rows)} rows, got {block_length}."
            )
        block = torch.arange(len(rows)) // block_length
        # a random key a block, shared by its rows: a stable sort moves blocks and keeps the order inside
        keys = torch.rand(n_moves, int(block[-1]) + 1, generator=generator)
        moves[:, rows] = rows[keys[:, block].argsort(dim=1, stable=True)]
    return moves


def circular_shift_null(
    preds: Tensor, Y: Tensor, fold: Tensor, *, n_permutations: int = 1000, min_shift: int = 1, seed: int = 0
) -> Tensor:
    """Correlate predictions with responses that were rotated in time, fold by fold.

    Rotation keeps the autocorrelation of both sides, which is what makes a slow feature correlate with slow
    noise; r is averaged over folds as the score is. Only for predictions fitted on other data, as a model of
    another subject or of other runs; see `ridge_null` for cross-validated ones.

    Args:
        preds: (T, R) predictions.
        Y: (T, R) what they are correlated with. NaN moves along, and pairs with a NaN are left out.
        fold: (T,) test fold of each row, -1 for none.
        n_permutations: M.
        min_shift: smallest shift in rows; take at least the length of the haemodynamic response.
        seed: of the shifts; all ROIs share them, so the null keeps their dependence.

    Returns:
        (M, R) correlations under the null; NaN for an ROI whose predictions or responses are constant.

    Raises:
        ValueError: shapes that disagree, or a fold too short to be shifted by min_shift both ways.

    Reference:
        Harris (2020), A shift test for independence in generic time series, doi:10.48550/arXiv.2012.06862.

    Example:
        >>> t = torch.arange(40.0)[:, None]
        >>> null = circular_shift_null(t.sin(), t.sin(), torch.zeros(40, dtype=torch.long), min_shift=3)
        >>> null.shape, bool((null < 0.999).all())
        (torch.Size([1000, 1]), True)
    """
    preds, Y, fold = _tested(preds, Y, fold)
    moves = shift_moves(len(Y), groups=fold, n_moves=n_permutations, min_shift=min_shift, seed=seed)
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
        block_length: rows in a block, see `block_moves`.
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


def _check_moves(n_rows: int, groups: Tensor | None, n_moves: int) -> Tensor:
    """Validate, and return the groups on the CPU, where moves are drawn."""
    if n_moves < 1:
        raise ValueError(f"n_permutations must be at least 1, got {n_moves}.")
    groups = torch.zeros(n_rows) if groups is None else groups.cpu()
    check_shape("groups", groups, "T", T=n_rows)
    return groups


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
    chunks = torch.split(moves.to(Y.device), max(1, CHUNK // Y.numel()))
    null = []
    for chunk in chunks:
        moved = Y[chunk].movedim(0, 1)  # (T, moves, R)
        beside = preds[:, None].expand_as(moved)
        parts = [fold == label for label in torch.unique(fold)]
        scored = torch.stack([correlate(beside[rows], moved[rows]) for rows in parts], 1)
        both = ~(beside.isnan() | moved.isnan())
        null.append(average_folds(scored, torch.stack([both[rows].sum(0) >= 2 for rows in parts], 1)))
    return torch.cat(null)
