"""Folds that respect time: whole runs, or contiguous blocks with a gap around them."""

from __future__ import annotations

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_count, check_shape

__all__ = ["connected_groups", "contiguous_folds", "count_folds", "inner_blocks"]


def contiguous_folds(
    n_volumes: int,
    *,
    groups: Tensor | None = None,
    n_folds: int = 5,
    gap: int = 0,
    device: torch.device | None = None,
) -> list[tuple[Tensor, Tensor]]:
    """Split volumes into contiguous folds, never shuffled.

    More than one group (run, story): whole groups are held out, in order of appearance; more groups than
    `n_folds` are shared out contiguously, fewer give one fold each. One group: `n_folds` contiguous blocks,
    and the `gap` volumes on either side of the test block are left out of training, because the hemodynamic
    response and slow noise carry the test block's signal into them. There is no gap between groups.

    Args:
        n_volumes: T.
        groups: (T,) run or story of each volume, None for a single one.
        n_folds: number of folds wanted, at least 2.
        gap: volumes dropped on either side of a test block.
        device: of the indices; None: that of `groups`, or the CPU.

    Returns:
        One (train_index, test_index) pair per fold, both ascending; each volume is tested exactly once.

    Raises:
        ValueError: fewer volumes than folds, a gap that is no whole number, or one that leaves a fold without
            training volumes.

    Example:
        >>> for train, test in contiguous_folds(6, n_folds=3, gap=1):
        ...     print(train.tolist(), test.tolist())
        [3, 4, 5] [0, 1]
        [0, 5] [2, 3]
        [0, 1, 2] [4, 5]
        >>> [test.tolist() for _, test in contiguous_folds(5, groups=torch.tensor([0, 0, 2, 2, 2]))]
        [[0, 1], [2, 3, 4]]
    """
    if groups is not None:
        check_shape("groups", groups, "T", T=n_volumes)
        device = groups.device if device is None else device
        groups = groups.to(device)
    rows = torch.arange(n_volumes, device=device)
    folds = []
    for test, guard in _split_rows(rows, groups=groups, n_folds=n_folds, gap=gap):
        keep = torch.ones(n_volumes, dtype=torch.bool, device=device)
        keep[test] = False
        keep[guard] = False
        if not bool(keep.any()):
            raise InputError(
                f"A gap of {gap} volumes leaves no training data beside a test block of {len(test)} of "
                f"{n_volumes} volumes: lower gap or raise n_folds."
            )
        folds.append((rows[keep], test))
    return folds


def connected_groups(labels: Tensor, others: Tensor) -> Tensor:
    """Return the smallest groups that part neither the rows of one label nor those of one other, (T,).

    Args:
        labels: (T,) of each row, say its stimulus.
        others: (T,) likewise, say its run.

    Example:
        >>> connected_groups(torch.tensor([0, 1, 0, 2]), torch.tensor([0, 0, 1, 2]))
        tensor([0, 0, 0, 3])
    """
    groups = torch.arange(len(labels), device=labels.device)
    while True:
        before = groups
        for given in (labels, others):
            _, member = torch.unique(given.to(groups.device), return_inverse=True)
            least = torch.full_like(groups, len(groups)).scatter_reduce(0, member, groups, "amin")
            groups = least[member]
        if torch.equal(groups, before):
            return groups


def count_folds(n_groups: int, n_folds: int) -> int:
    """Return how many folds `contiguous_folds` makes of so many groups: no more than there are to hold out.

    Example:
        >>> count_folds(1, 5), count_folds(2, 5), count_folds(12, 5)
        (5, 2, 5)
    """
    return n_folds if n_groups == 1 else min(n_folds, n_groups)


def _split_rows(
    rows: Tensor, *, groups: Tensor | None = None, n_folds: int = 5, gap: int = 0
) -> list[tuple[Tensor, Tensor]]:
    """Share `rows` out into held-out blocks, each with the rows that must leave training with it.

    Args:
        rows: (n,) ascending volume indices to share out: all volumes, or those of a training set.
        groups: (n,) group of each row, None for a single one.
        n_folds: number of folds wanted.
        gap: volumes around a held-out block; their distance is counted in volume indices.

    Returns:
        (held_out, guard) pairs of *positions in rows*, both ascending; guard is empty between groups.

    Raises:
        ValueError: fewer rows than folds, fewer than 2 folds, or a gap that is negative or no whole number.
    """
    check_count("n_folds", n_folds, 2)
    check_count("gap", gap, 0, unit="volumes")
    positions = torch.arange(len(rows), device=rows.device)
    nothing = positions[:0]
    group_of_row = torch.zeros_like(rows) if groups is None else groups
    ordered = list(dict.fromkeys(group_of_row.tolist()))
    if len(ordered) > 1:
        parts = torch.tensor_split(torch.tensor(ordered), count_folds(len(ordered), n_folds))
        return [(positions[torch.isin(group_of_row, part.to(rows.device))], nothing) for part in parts]
    if len(rows) < n_folds:
        raise InputError(
            f"n_folds={n_folds} contiguous folds need at least that many volumes, got {len(rows)}: "
            "lower n_folds."
        )
    blocks = []
    for held in torch.tensor_split(positions, n_folds):
        distance_below, distance_above = rows[held[0]] - rows, rows - rows[held[-1]]
        near = (distance_below.clamp(min=0) + distance_above.clamp(min=0)) <= gap
        near[held] = False
        blocks.append((held, positions[near]))
    return blocks


def inner_blocks(
    train: Tensor, observed: Tensor, groups: Tensor | None, gap: int, n_inner_folds: int
) -> list[tuple[Tensor, Tensor]]:
    """Return the inner folds of training rows (n,), of which the ROI has those that `observed` (n,) marks.

    Returns:
        (held_out, guard) positions among the observed rows; blocks without an observed row are dropped.

    Raises:
        ValueError: a gap that leaves nothing to train on.
    """
    own = None if groups is None else groups[train]
    if own is not None and len(torch.unique(own)) > len(torch.unique(own[observed])) == 1:
        # observed in one run of several: as in training on a single run, its blocks are held out
        train, own = train[observed], None
        observed = torch.ones_like(train, dtype=torch.bool)
    blocks = _split_rows(train, groups=own, n_folds=min(n_inner_folds, len(train)), gap=gap)
    number = observed.cumsum(0) - 1  # of a training row, among the observed ones
    inside = [(number[held[observed[held]]], number[guard[observed[guard]]]) for held, guard in blocks]
    inside = [(held, guard) for held, guard in inside if len(held)]
    if any(len(held) + len(guard) >= int(observed.sum()) for held, guard in inside):
        raise InputError(
            f"A gap of {gap} rows around inner blocks leaves nothing to train on inside a fold of "
            f"{int(observed.sum())} observed training rows: lower gap or n_folds, raise n_inner_folds, or "
            'take selection="loo".'
        )
    return inside
