"""Groups of models and seeded relabeling: what the permutation tests share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from nfas_lightning.errors import InputError, InputTypeError
from nfas_lightning.functional.checks import check_count, seeded_generator

__all__ = [
    "BLOCK",
    "check_permutations",
    "distinct_partitions",
    "encode_labels",
    "group_sizes",
    "membership",
    "permutations",
    "relabeling_p",
    "shuffled_membership",
]

# Permuted statistics equal to the observed one up to rounding are ties: the sum runs in another order.
TIE = 1e-10
# Elements of one block of relabelings: at most 128 MiB in float64, whatever the number of permutations.
BLOCK = 2**24


def encode_labels(groups: Sequence[object] | Tensor, n: int) -> tuple[Tensor, tuple[Any, ...]]:
    """Return integer codes (n,) and the distinct labels in sorted order.

    Args:
        groups: n strings or n integers.
        n: expected length.

    Raises:
        ValueError: another length, or a missing label.
        TypeError: labels of several kinds, which have no order.

    Example:
        >>> codes, names = encode_labels(["vision", "audio", "vision"], 3)
        >>> codes.tolist(), names
        ([1, 0, 1], ('audio', 'vision'))
    """
    values = groups.tolist() if hasattr(groups, "tolist") else list(groups)
    if len(values) != n:
        raise InputError(f"groups must name a group for each of the {n} rows, got {len(values)} labels.")
    missing = [i for i, value in enumerate(values) if value is None or value != value]
    if missing:
        raise InputError(f"groups must be strings or integers, got a missing label at row {missing[0]}.")
    try:
        names = tuple(sorted(set(values)))
    except TypeError as error:
        kinds = sorted({type(value).__name__ for value in values})
        raise InputTypeError(
            f"groups must all be strings or all be integers, got {', '.join(kinds)}."
        ) from error
    position = {value: i for i, value in enumerate(names)}
    return torch.tensor([position[value] for value in values]), names


def group_sizes(codes: Tensor, n_groups: int) -> Tensor:
    """Return (G,) sizes of the groups, where a test between groups is possible.

    Raises:
        ValueError: fewer than two groups, or no group with two members.
    """
    sizes = torch.bincount(codes, minlength=n_groups)
    if n_groups < 2:
        raise InputError(f"groups must name at least two groups to compare, got {n_groups}.")
    if int(sizes.max()) < 2:
        raise InputError(f"groups must put two members in at least one group, got {n_groups} groups of one.")
    return sizes


def check_permutations(n_permutations: int) -> None:
    """Raise unless at least one permutation is asked for."""
    check_count("n_permutations", n_permutations, 1)


def permutations(n: int, count: int, seed: int) -> Tensor:
    """Return (count, n) random permutations, drawn on the CPU so that devices agree.

    Args:
        n: items to permute.
        count: permutations.
        seed: seed of a generator of its own; the global one is untouched.
    """
    generator = seeded_generator(seed)
    return torch.rand(count, n, generator=generator, dtype=torch.float64).argsort(dim=1)


def membership(codes: Tensor, n_groups: int, device: torch.device) -> Tensor:
    """Return (M, 1, G) membership in float64: the observed labels, laid out as one relabeling."""
    return torch.eye(n_groups, dtype=torch.float64, device=device)[codes.to(device)][:, None]


def shuffled_membership(
    codes: Tensor, n_groups: int, count: int, seed: int, device: torch.device, width: int = 1
) -> Iterator[Tensor]:
    """Yield blocks (M, P, G) of memberships under `count` random relabelings, in float64.

    `width` is how many numbers per row, relabeling and group the caller holds at once: it bounds the block.
    """
    eye = torch.eye(n_groups, dtype=torch.float64, device=device)
    step = max(1, BLOCK // (len(codes) * n_groups * width))
    for order in torch.split(permutations(len(codes), count, seed), step):
        yield eye[codes[order.T].to(device)]


def relabeling_p(observed: Tensor, null: Iterable[Tensor], count: int) -> Tensor:
    """Return p = (1 + #{null >= observed}) / (1 + count), in (0, 1]; NaN where nothing was observed.

    Args:
        observed: statistic of any shape (...).
        null: blocks (P, ...) of permuted statistics.
        count: number of permuted statistics in all.
    """
    threshold = observed * (1 - TIE * observed.sign())
    exceed = sum(((block >= threshold).sum(0) for block in null), torch.zeros_like(observed))
    return torch.where(observed.isnan(), observed, (1 + exceed) / (1 + count))


def distinct_partitions(sizes: Tensor) -> int:
    """Return how many ways M labeled items split into unnamed groups of these sizes: 1 / the smallest p."""
    ways, left = 1, int(sizes.sum())
    for size in sizes.tolist():
        ways *= math.comb(left, size)
        left -= size
    for _, same in itertools.groupby(sorted(sizes.tolist())):
        ways //= math.factorial(len(list(same)))
    return ways
