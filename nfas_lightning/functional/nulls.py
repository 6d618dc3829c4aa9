"""What a score would be by chance: responses moved in time, and the p value.

Moves keep what responses are and break what links them to features: rotations, permutations of blocks, and
random phases. Every kind is drawn as (M, T) numbers that all ROIs share. `circular_shift_null` and
`block_permutation_null` move the responses under fixed predictions, which is right for predictions that were
fitted on other data. For cross-validated ones it rejects too often: use `ridge_null.ridge_null`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import (
    check_count,
    check_finite,
    check_shape,
    seeded_generator,
    working_dtype,
)
from nfas_lightning.functional.correlation import MIN_ROWS, average_folds, correlate

__all__ = [
    "block_moves",
    "block_permutation_null",
    "circular_shift_null",
    "permutation_p",
    "phase_moves",
    "shift_moves",
    "table_size",
    "turn_phases",
]

# numbers in one gathered table of moved responses: 8 MB in float64, which a CPU's cache can hold, and 256 MB,
# which keep an accelerator busy
_CHUNK_CPU, _CHUNK_ACCELERATOR = 2**20, 2**25
_FEW = 2**20  # rotations that are numbered and drawn without repetition; among more, repeats are rare


def circular_shift_null(
    preds: Tensor,
    Y: Tensor,
    fold: Tensor,
    *,
    groups: Tensor | None = None,
    n_permutations: int = 1000,
    seed: int = 0,
) -> Tensor:
    """Correlate predictions with responses that were rotated in time.

    Rotation keeps the autocorrelation of both sides, which is what makes a slow feature correlate with slow
    noise; r is averaged over folds as the score is. Only for predictions fitted on other data, such as
    another subject or other runs; see `ridge_null` for cross-validated ones.

    Args:
        preds: (T, R) predictions.
        Y: (T, R) what they are correlated with. NaN moves along, and pairs with a NaN are left out.
        fold: (T,) test fold of each row, -1 for none.
        groups: (T,) rows that rotate together: the runs where folds are parts of one, since every seam of a
            rotation breaks the autocorrelation. None: the rows of a fold.
        n_permutations: M wanted; fewer where there are fewer rotations.
        seed: of the shifts; all ROIs share them, so the null keeps their dependence.

    Returns:
        (M, R) correlations under the null; NaN for an ROI whose predictions or responses are constant.

    Raises:
        ValueError: shapes that disagree, or folds of one row.

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
    moves = shift_moves(len(Y), groups=groups, n_moves=n_permutations, seed=seed)
    return _moved_null(preds, Y, fold, moves)


def block_permutation_null(
    preds: Tensor, Y: Tensor, fold: Tensor, *, block_length: int, n_permutations: int = 1000, seed: int = 0
) -> Tensor:
    """Correlate predictions with responses whose blocks of time changed places, fold by fold.

    Only for predictions fitted on other data; see `ridge_null` for cross-validated ones.

    Args:
        preds: (T, R) predictions.
        Y: (T, R) what they are correlated with; NaN as in `circular_shift_null`.
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
        raise InputError("null must hold at least one permutation, got none.")
    p = (1 + (null >= observed).sum(0)).to(null.dtype) / (1 + len(null))
    return p.masked_fill(observed.isnan() | null.isnan().any(0), float("nan"))


def _tested(preds: Tensor, Y: Tensor, fold: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Validate, and keep the rows that a fold tests."""
    check_shape("preds", preds, "T R")
    check_shape("Y", Y, "T R", T=preds.shape[0], R=preds.shape[1])
    check_shape("fold", fold, "T", T=len(preds))
    kept = fold >= 0
    if not bool(kept.any()):
        raise InputError("fold must put at least one row in a fold: every entry is negative.")
    return preds[kept], Y[kept], fold[kept]


def _moved_null(preds: Tensor, Y: Tensor, fold: Tensor, moves: Tensor) -> Tensor:
    """Correlate preds (T, R) with Y moved by each of (M, T), within folds, averaged over them: (M, R)."""
    moves, size = moves.to(Y.device), table_size(Y.device)
    parts = [(fold == label).nonzero()[:, 0] for label in torch.unique(fold)]
    null = torch.empty(len(moves), Y.shape[1], dtype=working_dtype(preds, Y), device=Y.device)
    for some in torch.split(torch.arange(len(moves)), max(1, size // Y.numel())):
        for rois in torch.split(torch.arange(Y.shape[1]), max(1, size // (len(Y) * len(some)))):
            moved = Y[:, rois][moves[some]].movedim(0, 1)  # (T, moves, R)
            beside = preds[:, None, rois].expand_as(moved)
            scored = torch.stack([correlate(beside[rows], moved[rows]) for rows in parts], 1)
            both = ~(beside.isnan() | moved.isnan())
            seen = torch.stack([both[rows].sum(0) >= MIN_ROWS for rows in parts], 1)
            null[some[:, None], rois] = average_folds(scored, seen)
    return null


def table_size(device: torch.device) -> int:
    """Return how many numbers a table of moved responses may hold on `device`."""
    return _CHUNK_CPU if device.type == "cpu" else _CHUNK_ACCELERATOR


def shift_moves(n_rows: int, *, groups: Tensor | None = None, n_moves: int = 1000, seed: int = 0) -> Tensor:
    """Draw distinct circular shifts, one of every group of rows, from all but the one that moves nothing.

    All rotations form a group, which makes ``(1 + #) / (1 + M)`` a p value: small ones belong to it. A series
    has no more rotations than rows, so there may be fewer than `n_moves`.

    Args:
        n_rows: T.
        groups: (T,) rows that rotate together (runs, folds), None: all.
        n_moves: M wanted; all rotations are returned where they are no more than that.
        seed: of the shifts.

    Returns:
        (M, T) row indices: ``Y[moves[m]]`` are the moved responses.

    Raises:
        ValueError: nothing that can rotate.

    Example:
        >>> shift_moves(4)
        tensor([[3, 0, 1, 2],
                [2, 3, 0, 1],
                [1, 2, 3, 0]])
    """
    groups = _check_moves(n_rows, groups, n_moves)
    parts = [(groups == label).nonzero()[:, 0] for label in torch.unique(groups)]
    counts = [len(rows) for rows in parts]
    total = math.prod(counts) - 1  # number 0 is the rotation that moves nothing
    if not total:
        raise InputError(
            "Runs (or folds) of one row can't rotate: give longer ones, or no null, n_permutations=0."
        )
    generator = seeded_generator(seed)
    if total <= _FEW:
        number = torch.arange(total) if total <= n_moves else torch.randperm(total, generator=generator)
        number = number[:n_moves] + 1
    moves = torch.empty(min(total, n_moves), n_rows, dtype=torch.long)
    for rows, count in zip(parts, counts, strict=True):
        if total <= _FEW:
            shifts, number = number % count, number // count
        else:
            shifts = torch.randint(count, (n_moves,), generator=generator)
        moves[:, rows] = rows[(torch.arange(count) - shifts[:, None]) % count]
    return moves


def block_moves(
    n_rows: int,
    *,
    groups: Tensor | None = None,
    n_moves: int = 1000,
    block_length: int = 1,
    together: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Draw permutations of blocks: every group is cut into blocks that change places.

    Args:
        n_rows: T.
        groups: (T,) rows that stay together (runs, folds), None: all.
        n_moves: M.
        block_length: rows in a block; a group's last may be shorter. Blocks must be long compared with the
            autocorrelation, or the null is too narrow; 1 where rows are independent.
        together: (T,) labels of rows that depend on one another, such as repetitions of a stimulus, and move
            as one: labels of equally many rows change places, in any group. None: no rows do.
        seed: of the permutations.

    Returns:
        (M, T) row indices: ``Y[moves[m]]`` are the moved responses.

    Raises:
        ValueError: a group of fewer than two blocks, or no two labels of equally many rows.

    Example:
        >>> block_moves(5, n_moves=1, block_length=2, seed=1).sort().values
        tensor([[0, 1, 2, 3, 4]])
    """
    groups = _check_moves(n_rows, groups, n_moves)
    generator = seeded_generator(seed)
    if together is not None:
        check_shape("together", together, "T", T=n_rows)
        return _moves_of_labels(together.cpu(), n_moves, generator)
    moves = torch.empty(n_moves, n_rows, dtype=torch.long)
    for label in torch.unique(groups):
        rows = (groups == label).nonzero()[:, 0]
        if len(rows) == 1:
            raise InputError(
                "Responses change places within their run (or fold), which a run of one row does not allow: "
                "give longer runs; no runs, if the rows are independent of one another; or no null, "
                "n_permutations=0."
            )
        if not 1 <= block_length < len(rows):
            raise InputError(
                f"block_length must leave at least two blocks in every run (or fold): one has "
                f"{len(rows)} rows, got {block_length}."
            )
        block = torch.arange(len(rows)) // block_length
        # one random key per block: a stable sort moves blocks and keeps the order of their rows
        keys = torch.rand(n_moves, int(block[-1]) + 1, generator=generator)
        moves[:, rows] = rows[keys[:, block].argsort(dim=1, stable=True)]
    return moves


def _moves_of_labels(labels: Tensor, n_moves: int, generator: torch.Generator) -> Tensor:
    """Exchange the rows (T,) of labels that have equally many of them; their order inside a label stays."""
    members = [(labels == label).nonzero()[:, 0] for label in torch.unique(labels)]
    sizes = [len(rows) for rows in members]
    moves = torch.arange(len(labels)).repeat(n_moves, 1)
    still = True
    for size in sorted(set(sizes)):
        places = torch.stack([rows for rows in members if len(rows) == size])
        if len(places) > 1:
            still = False
            order = torch.rand(n_moves, len(places), generator=generator).argsort(dim=1)
            moves[:, places.flatten()] = places[order].flatten(1)
    if still:
        raise InputError(
            f"Rows that stay together can change places with as many others only, got {len(sizes)} labels of "
            f"{sizes[:5]} rows, no two alike: no permutation test is possible, so set n_permutations=0."
        )
    return moves


def phase_moves(n_rows: int, *, groups: Tensor | None = None, n_moves: int = 1000, seed: int = 0) -> Tensor:
    """Draw random phases, one per frequency of every group of rows, for `turn_phases`.

    Args:
        n_rows: T.
        groups: (T,) rows that are one series (runs), None: all.
        n_moves: M.
        seed: of the phases.

    Returns:
        (M, T) float64 radians: a group's first n // 2 + 1 rows hold its frequencies, the others 0.

    Example:
        >>> phase_moves(5, n_moves=2).shape
        torch.Size([2, 5])
    """
    groups = _check_moves(n_rows, groups, n_moves)
    generator = seeded_generator(seed)
    angles = torch.zeros(n_moves, n_rows, dtype=torch.float64)
    for label in torch.unique(groups):
        rows = (groups == label).nonzero()[:, 0]
        inside = rows[1 : (len(rows) + 1) // 2]
        drawn = torch.rand(n_moves, len(inside) + 1, generator=generator, dtype=torch.float64)
        angles[:, inside] = 2 * math.pi * drawn[:, 1:]
        if len(rows) % 2 == 0:  # the fastest frequency is real: it keeps or turns its sign
            angles[:, rows[len(rows) // 2]] = math.pi * (drawn[:, 0] > 0.5)
    return angles


def turn_phases(Y: Tensor, angles: Tensor, groups: Tensor | None = None) -> Tensor:
    r"""Turn the phases of time series; their spectra stay.

    .. math:: y^*_t = \frac{1}{T} \sum_k \hat y_k e^{i (2 \pi k t / T + \varphi_k)}, \quad
              \varphi_{-k} = -\varphi_k

    Autocorrelations stay, as under rotation, and so do correlations between ROIs, which share their phases.
    There is no limit on the number of surrogates, where a series has only T rotations, so p can be smaller.
    It assumes that responses are Gaussian or at least linear.

    Args:
        Y: (T, R) responses.
        angles: (M, T) from `phase_moves`.
        groups: (T,) as given to `phase_moves`.

    Returns:
        (M, T, R) surrogates in the dtype of `Y`.

    Raises:
        ValueError: shapes that disagree, or responses that are missing or infinite: they have no spectrum.

    Reference:
        Theiler et al. (1992), Physica D 58, 77-94, doi:10.1016/0167-2789(92)90102-S; Prichard and Theiler
        (1994), Phys. Rev. Lett. 73, 951-954, doi:10.1103/PhysRevLett.73.951.

    Example:
        >>> Y = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> surrogate = turn_phases(Y, phase_moves(50, n_moves=1))[0]
        >>> torch.allclose(torch.fft.rfft(surrogate, dim=0).abs(), torch.fft.rfft(Y, dim=0).abs())
        True
    """
    check_shape("Y", Y, "T R")
    check_finite("Y", Y)
    check_shape("angles", angles, "M T", T=len(Y))
    groups = _check_moves(len(Y), groups, 1)
    turned = Y.new_empty(len(angles), *Y.shape)
    for label in torch.unique(groups):
        rows = (groups == label).nonzero()[:, 0].to(Y.device)
        spectrum = torch.fft.rfft(Y[rows].double(), dim=0)
        angle = angles.to(Y.device)[:, rows[: len(spectrum)], None]
        spectra = spectrum * torch.polar(torch.ones_like(angle), angle)
        turned[:, rows] = torch.fft.irfft(spectra, n=len(rows), dim=1).to(Y)
    return turned


def _check_moves(n_rows: int, groups: Tensor | None, n_moves: int) -> Tensor:
    """Validate, and return the groups on the CPU, where moves are drawn."""
    check_count("n_permutations", n_moves, 1)
    groups = torch.zeros(n_rows) if groups is None else groups.cpu()
    check_shape("groups", groups, "T", T=n_rows)
    return groups
