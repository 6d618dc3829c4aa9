"""Groups of models and seeded relabeling: what the permutation tests share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypedDict

import torch
from torch import Tensor

from nfas_lightning.errors import InputError, InputTypeError
from nfas_lightning.functional.checks import check_count, seeded_generator

__all__ = [
    "BLOCK",
    "TIE",
    "Labels",
    "Relabeling",
    "Restriction",
    "check_permutations",
    "encode_labels",
    "group_sizes",
    "membership",
    "permutations",
    "relabeling_p",
    "shuffled_membership",
]

Labels: TypeAlias = Sequence[object] | Tensor

# Permuted statistics equal to the observed one up to rounding are ties: the sum runs in another order.
TIE = 1e-10
# Elements of one block of relabelings: at most 128 MiB in float64, whatever the number of permutations.
BLOCK = 2**24


def encode_labels(
    groups: Sequence[object] | Tensor, n: int, name: str = "groups"
) -> tuple[Tensor, tuple[Any, ...]]:
    """Return integer codes (n,) and the distinct labels in sorted order.

    Args:
        groups: n strings or n integers.
        n: expected length.
        name: of the argument, for messages.

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
        raise InputError(f"{name} must hold a label for each of the {n} rows, got {len(values)}.")
    missing = [i for i, value in enumerate(values) if value is None or value != value]
    if missing:
        raise InputError(f"{name} must be strings or integers, got a missing label at row {missing[0]}.")
    try:
        names = tuple(sorted(set(values)))
    except TypeError as error:
        kinds = sorted({type(value).__name__ for value in values})
        raise InputTypeError(
            f"{name} must all be strings or all be integers, got {', '.join(kinds)}."
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


class Restriction(TypedDict):
    """Which labels may change places: keywords of the permutation tests, see `permanova`."""

    strata: Labels | None
    units: Labels | None


class Relabeling(NamedTuple):
    """Groups of n models, and which of their labels may change places.

    Attributes:
        codes: (n,) codes of the groups.
        names: G labels in sorted order.
        strata: (n,) codes: labels change places inside a stratum alone; None: anywhere.
        units: (n,) codes: models of one unit keep one label, units exchange theirs; None: each model alone.
    """

    codes: Tensor
    names: tuple[Any, ...]
    strata: Tensor | None = None
    units: Tensor | None = None

    @classmethod
    def read(
        cls, groups: Labels, n: int, strata: Labels | None = None, units: Labels | None = None
    ) -> Relabeling:
        """Check labels of n models.

        Raises:
            ValueError: another length, a missing label, a unit of several groups or strata, or no relabeling
                that is allowed changes anything.
        """
        codes, names = encode_labels(groups, n)
        found = None if strata is None else encode_labels(strata, n, "strata")[0]
        whole = None if units is None else encode_labels(units, n, "units")[0]
        self = cls(codes, names, found, whole)
        if whole is not None:
            for name, inside in (("group", codes), ("stratum", found)):
                if inside is not None and not torch.equal(inside, inside[self._first()][whole]):
                    raise InputError(f"units are exchanged whole: expected one {name} in each, got several.")
        if found is not None and len(torch.unique(torch.stack([found, codes]), dim=1).T) == found.max() + 1:
            raise InputError(
                f"Each of the {int(found.max()) + 1} strata holds one group, so no relabeling inside strata "
                "changes anything: groups and strata are confounded, and there is no such test."
            )
        return self

    def _first(self) -> Tensor:
        """Return the row of the first model of every unit, (U,)."""
        assert self.units is not None
        n_units = int(self.units.max()) + 1
        rows = torch.arange(len(self.units)).flip(0)
        return rows.new_empty(n_units).index_put((self.units.flip(0),), rows)

    def draw(self, count: int, seed: int) -> Tensor:
        """Return (count, n) random relabelings of `codes`."""
        if self.units is None:
            return self.codes[permutations(len(self.codes), count, seed, self.strata)]
        first = self._first()
        strata = None if self.strata is None else self.strata[first]
        return self.codes[first][permutations(len(first), count, seed, strata)][:, self.units]

    @property
    def distinct(self) -> int:
        """Number of relabelings that differ where groups have no names: 1 / the smallest p."""
        rows = torch.arange(len(self.codes)) if self.units is None else self._first()
        codes = self.codes[rows]
        strata = torch.zeros_like(codes) if self.strata is None else self.strata[rows]
        counts = torch.zeros(int(strata.max()) + 1, len(self.names), dtype=torch.int64)
        counts.index_put_((strata, codes), torch.ones_like(codes), accumulate=True)
        return _distinct_partitions(counts)


def permutations(n: int, count: int, seed: int, strata: Tensor | None = None) -> Tensor:
    """Return (count, n) random permutations, drawn on the CPU so that devices agree.

    Args:
        n: items to permute.
        count: permutations.
        seed: seed of a generator of its own; the global one is untouched.
        strata: (n,) codes; items change places inside their stratum. None: all are one stratum.
    """
    keys = torch.rand(count, n, generator=seeded_generator(seed), dtype=torch.float64)
    if strata is None:
        return keys.argsort(dim=1)
    drawn = torch.empty(count, n, dtype=torch.int64)
    drawn[:, strata.argsort(stable=True)] = (keys + strata).argsort(dim=1)
    return drawn


def membership(codes: Tensor, n_groups: int, device: torch.device) -> Tensor:
    """Return (M, 1, G) membership in float64: the observed labels, laid out as one relabeling."""
    return torch.eye(n_groups, dtype=torch.float64, device=device)[codes.to(device)][:, None]


def shuffled_membership(
    labels: Relabeling, count: int, seed: int, device: torch.device, width: int = 1
) -> Iterator[Tensor]:
    """Yield blocks (M, P, G) of memberships under `count` random relabelings, in float64.

    `width` is how many numbers per row, relabeling and group the caller holds at once: it bounds the block.
    """
    n, n_groups = len(labels.codes), len(labels.names)
    eye = torch.eye(n_groups, dtype=torch.float64, device=device)
    step = max(1, BLOCK // (n * n_groups * width))
    for drawn in torch.split(labels.draw(count, seed), step):
        yield eye[drawn.T.to(device)]


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


def _distinct_partitions(counts: Tensor) -> int:
    """Return the number of partitions of models into unnamed groups, given counts (S, G) in each stratum."""
    ways = 1
    for stratum in counts.tolist():
        left = sum(stratum)
        for size in stratum:
            ways *= math.comb(left, size)
            left -= size
    # groups with equal counts in every stratum can exchange their names
    for _, same in itertools.groupby(sorted(counts.T.tolist())):
        ways //= math.factorial(len(list(same)))
    return ways
