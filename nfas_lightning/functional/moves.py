"""Moves of responses in time, which keep what they are and break what links them to features.

Rotations, permutations of blocks, and random phases. Every kind is drawn as (M, T) numbers, all ROIs alike.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nfas_lightning.functional.checks import check_count, check_finite, check_shape, seeded_generator

__all__ = ["block_moves", "phase_moves", "shift_moves", "turn_phases"]

_FEW = 2**20  # rotations that are numbered and drawn without repetition; among more, repeats are rare


def shift_moves(
    n_rows: int, *, groups: Tensor | None = None, n_moves: int = 1000, min_shift: int = 0, seed: int = 0
) -> Tensor:
    """Draw distinct circular shifts, one of every group of rows, from all but the one that moves nothing.

    All rotations form a group, which makes ``(1 + #) / (1 + M)`` a p value: small ones belong to it. A series
    has no more rotations than rows, so there may be fewer than were asked for.

    Args:
        n_rows: T.
        groups: (T,) rows that rotate together (runs, folds), None: all.
        n_moves: M wanted; all rotations are returned where they are no more than that.
        min_shift: smallest shift in rows, either way. Above 0 the neighbors of the observed score are
            missing from its null, which makes p too small, the more the slower the series.
        seed: of the shifts.

    Returns:
        (M, T) row indices: ``Y[moves[m]]`` are the moved responses.

    Raises:
        ValueError: a group too short to be shifted by min_shift both ways, or nothing that can rotate.

    Example:
        >>> shift_moves(4)
        tensor([[3, 0, 1, 2],
                [2, 3, 0, 1],
                [1, 2, 3, 0]])
    """
    groups = _check_moves(n_rows, groups, n_moves)
    if min_shift < 0:
        raise ValueError(f"min_shift must be 0 or more rows, got {min_shift}.")
    parts = [(groups == label).nonzero()[:, 0] for label in torch.unique(groups)]
    shortest = min(len(rows) for rows in parts)
    if shortest < 2 * min_shift:
        raise ValueError(
            f"min_shift={min_shift} needs runs (or folds) of at least {2 * min_shift} rows, got "
            f"one of {shortest}: lower min_shift or n_folds."
        )
    counts = [len(rows) - max(0, 2 * min_shift - 1) for rows in parts]
    still = int(min_shift == 0)  # number 0 is then the rotation that moves nothing
    total = math.prod(counts) - still
    if not total:
        raise ValueError(
            "Runs (or folds) of one row can't rotate: give longer ones, or no null, n_permutations=0."
        )
    generator = seeded_generator(seed)
    if total <= _FEW:
        number = torch.arange(total) if total <= n_moves else torch.randperm(total, generator=generator)
        number = number[:n_moves] + still
    moves = torch.empty(min(total, n_moves), n_rows, dtype=torch.long)
    for rows, count in zip(parts, counts, strict=True):
        if total <= _FEW:
            shifts, number = number % count, number // count
        else:
            shifts = torch.randint(count, (n_moves,), generator=generator)
        moves[:, rows] = rows[(torch.arange(len(rows)) - shifts[:, None] - min_shift) % len(rows)]
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
        block_length: rows in a block; a group's last may be shorter. Long against the autocorrelation, or the
            null is too narrow; 1 where rows are independent.
        together: (T,) labels of rows that depend on one another, such as repetitions of a stimulus, and move
            as one: labels of equally many rows change places, wherever they stand. None: none do.
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
            raise ValueError(
                "Responses change places within their run (or fold), and a run of one row has none to change "
                "with: give longer runs; none at all, where the rows are independent of one another; or no "
                "null, n_permutations=0."
            )
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
        raise ValueError(
            f"Rows that stay together can change places with as many others only, got {len(sizes)} labels of "
            f"{sizes[:5]} rows, no two alike: no permutation test is possible, so set n_permutations=0."
        )
    return moves


def phase_moves(n_rows: int, *, groups: Tensor | None = None, n_moves: int = 1000, seed: int = 0) -> Tensor:
    """Draw random phases, one a frequency of every group of rows, for `turn_phases`.

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
    There are as many surrogates as one asks for, where a series has only T rotations: p can be smaller. The
    price is an assumption, that responses are Gaussian or at least linear.

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
