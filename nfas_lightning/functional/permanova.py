"""PERMANOVA over a distance matrix: do groups of models sit in different places?"""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nfas_lightning.functional.checks import check_distances
from nfas_lightning.functional.fdr import fdr
from nfas_lightning.functional.relabeling import (
    BLOCK,
    Labels,
    Relabeling,
    check_permutations,
    encode_labels,
    group_sizes,
    permutations,
    shuffled_membership,
)

__all__ = ["PairwiseResult", "PermutationResult", "permanova", "permanova_pairwise"]

# A sum within groups below this share of all squared distances is rounding: its groups hold identical models.
_ROUNDING = 1e-14
# Permuted sums this close, relatively, are ties: their factors were float32. Ties count against significance.
_TIE = 2e-6
# Numbers worked on at a time on a CPU: they stay in its cache, and below the size from which torch spreads
# elementwise operations over threads, which here would mostly wait for each other.
_CHUNK = 2**15


class PermutationResult(NamedTuple):
    """A statistic and its permutation p value.

    Attributes:
        statistic: () float64.
        p_value: () float64 in (0, 1]; small is evidence.
        n_groups: G.
        n_permutations: P, random relabelings beside the observed one.
    """

    statistic: Tensor
    p_value: Tensor
    n_groups: int
    n_permutations: int


class PairwiseResult(NamedTuple):
    """One PERMANOVA per pair of groups.

    Attributes:
        pairs: K = G (G - 1) / 2 pairs of labels, in sorted order.
        statistic: (K,) pseudo-F.
        p_value: (K,) permutation p.
        q_value: (K,) Benjamini-Hochberg q over the pairs.
    """

    pairs: tuple[tuple[Any, Any], ...]
    statistic: Tensor
    p_value: Tensor
    q_value: Tensor


def permanova(
    distances: Tensor,
    groups: Labels,
    *,
    strata: Labels | None = None,
    units: Labels | None = None,
    n_permutations: int = 9999,
    seed: int = 0,
) -> PermutationResult:
    r"""Test whether groups differ in location (or spread) in a distance space.

    .. math:: F = \frac{SS_A / (G - 1)}{SS_W / (M - G)}, \quad
        SS_W = \sum_g \frac{1}{n_g} \sum_{i<j \in g} d_{ij}^2, \quad
        SS_A = \frac{1}{M} \sum_{i<j} d_{ij}^2 - SS_W

    All relabelings are one matrix product over the pairs of models, on the device of `distances`; they are
    drawn on the CPU, so devices agree. F is float64; permuted sums within 2e-6 of the observed one are ties.
    Unequal spread alone can make F large: read `permdisp` beside it.

    Args:
        distances: (M, M) symmetric, zero on the diagonal.
        groups: M strings or integers, the group of each model.
        strata: M strings or integers: labels change places among models of one stratum alone, as with vegan's
            ``strata``; None: among all.
        units: M strings or integers: models of one unit (a family) keep one label, and whole units exchange
            theirs; None: each model by itself.
        n_permutations: P random relabelings; p is no smaller than 1 / (P + 1).
        seed: seed of the relabelings; the global generator is untouched.

    Returns:
        `PermutationResult`; higher pseudo-F is further apart. NaN with a warning if all distances are zero.

    Raises:
        ValueError: no distance matrix, one group, only groups of one, or strata of one group each.

    Reference:
        Anderson (2001), Austral Ecology 26, 32-46, doi:10.1111/j.1442-9993.2001.01070.pp.x.

    Example:
        >>> V = torch.tensor([[0.0], [0.1], [0.2], [1.0], [1.1], [1.2]])
        >>> result = permanova(torch.cdist(V, V), ["a", "a", "a", "b", "b", "b"], n_permutations=999)
        >>> f"F = {result.statistic:.1f}, p = {result.p_value:.2f}"
        'F = 150.0, p = 0.10'
    """
    squared = check_distances(distances) ** 2
    check_permutations(n_permutations)
    labels = Relabeling.read(groups, len(squared), strata, units)
    codes, names = labels.codes, labels.names
    sizes = group_sizes(codes, len(names)).to(squared)
    total = squared.sum() / (2 * len(squared))
    if total == 0:
        warnings.warn("All distances are zero: PERMANOVA has nothing to compare, F is NaN.", stacklevel=2)
        nan = torch.full_like(total, float("nan"))
        return PermutationResult(nan, nan, len(names), n_permutations)
    within = _within(squared, codes.to(squared.device), sizes)
    statistic = ((total - within) / (len(names) - 1)) / (within / (len(squared) - len(names)))
    # total is fixed: F* >= F where the sum within groups is no larger; equal up to rounding is a tie
    if units is None:
        null = _within_shuffled(squared, labels, sizes, n_permutations, seed)
    else:
        blocks = shuffled_membership(labels, n_permutations, seed, squared.device)
        null = torch.cat([_within_members(squared, members) for members in blocks])
    threshold = within.clamp(min=_ROUNDING * squared.sum()) * (1 + _TIE)
    p_value = (1 + (null <= threshold).sum().double()) / (1 + n_permutations)
    return PermutationResult(statistic, p_value, len(names), n_permutations)


def permanova_pairwise(
    distances: Tensor,
    groups: Labels,
    *,
    strata: Labels | None = None,
    units: Labels | None = None,
    n_permutations: int = 9999,
    seed: int = 0,
) -> PairwiseResult:
    """Run PERMANOVA on each pair of groups, with Benjamini-Hochberg q values over the pairs.

    A pair of two single models has nothing to test: NaN with a warning, and it does not count in q.

    Args:
        distances: (M, M) symmetric, zero on the diagonal.
        groups: M strings or integers, the group of each model.
        strata: see `permanova`; a pair that no stratum holds is NaN with a warning.
        units: see `permanova`.
        n_permutations: random relabelings per pair.
        seed: seed of every pair's relabelings.

    Returns:
        `PairwiseResult`, one entry per pair.

    Raises:
        ValueError: no distance matrix, one group, or only groups of one.

    Reference:
        Anderson (2001), Austral Ecology 26, 32-46, doi:10.1111/j.1442-9993.2001.01070.pp.x.

    Example:
        >>> V = torch.tensor([[0.0], [0.1], [1.0], [1.1], [3.0], [3.1]])
        >>> result = permanova_pairwise(torch.cdist(V, V), list("aabbcc"), n_permutations=99)
        >>> result.pairs
        (('a', 'b'), ('a', 'c'), ('b', 'c'))
    """
    check_distances(distances)
    codes, names = encode_labels(groups, len(distances))
    sizes = group_sizes(codes, len(names)).tolist()
    restrictions = [None if by is None else encode_labels(by, len(codes))[0] for by in (strata, units)]
    pairs = list(itertools.combinations(range(len(names)), 2))
    results = []
    for first, second in pairs:
        if sizes[first] == sizes[second] == 1:
            warnings.warn(
                f"{names[first]!r} and {names[second]!r} hold one model each: their PERMANOVA is NaN.",
                stacklevel=2,
            )
            results.append((float("nan"), float("nan")))
            continue
        rows = ((codes == first) | (codes == second)).nonzero().squeeze(1)
        block = distances[rows.to(distances.device)][:, rows.to(distances.device)]
        inside, whole = (None if by is None else by[rows] for by in restrictions)
        if inside is not None and not _crossed(codes[rows], inside):
            warnings.warn(
                f"No stratum holds both {names[first]!r} and {names[second]!r}: their PERMANOVA is NaN.",
                stacklevel=2,
            )
            results.append((float("nan"), float("nan")))
            continue
        result = permanova(
            block, codes[rows], strata=inside, units=whole, n_permutations=n_permutations, seed=seed
        )
        results.append((float(result.statistic), float(result.p_value)))
    table = torch.tensor(results, dtype=torch.float64, device=distances.device)
    labeled = tuple((names[first], names[second]) for first, second in pairs)
    return PairwiseResult(labeled, table[:, 0], table[:, 1], fdr(table[:, 1]))


def _crossed(codes: Tensor, strata: Tensor) -> bool:
    """Whether any stratum holds two groups."""
    return any(len(torch.unique(codes[strata == stratum])) > 1 for stratum in torch.unique(strata))


def _within(squared: Tensor, codes: Tensor, sizes: Tensor) -> Tensor:
    """Within-group sum of squares () of squared distances (M, M)."""
    weights = (codes[:, None] == codes) / (2 * sizes[codes])
    within = (squared * weights).sum()
    # identical models inside every group leave rounding only; a ratio of it would be arbitrary
    return torch.where(within <= _ROUNDING * squared.sum(), torch.zeros_like(within), within)


def _within_members(squared: Tensor, members: Tensor) -> Tensor:
    """Within-group sum of squares (P,) under memberships (M, P, G), whose groups may change in size."""
    sums = (squared @ members.flatten(1)).view_as(members)
    return ((sums * members).sum(0) / (2 * members.sum(0)).clamp(min=1)).sum(-1)


def _within_shuffled(squared: Tensor, labels: Relabeling, sizes: Tensor, count: int, seed: int) -> Tensor:
    """Return the within-group sum of squares (count,) under random relabelings.

    Relabeling i, j is the product of permutation i, which reorders the distances, with permutation j, which
    reorders the labels: sqrt(P) draws of each kind give P relabelings, uniform and pairwise independent, so
    that the p value keeps the expectation and the variance of P separate draws. A relabeling's sum runs over
    pairs of models, distance times weight, and so all of them are one matrix product over the pairs. Nothing
    is subtracted: factors in float32, added up in float64, leave a relative error below 1e-6.
    """
    n, device = len(squared), squared.device
    side = math.isqrt(count - 1) + 1
    # one permutation per column: a pair of models then selects whole rows
    drawn = permutations(n, 2 * side, seed, labels.strata).view(2, side, n).mT.contiguous().to(device)
    reorder, codes = drawn[0], labels.codes.to(device).take(drawn[1])
    weights = (1 / sizes).float().take(codes)
    single = squared.float().view(-1)
    within = squared.new_zeros(side, side)
    pairs = torch.triu_indices(n, n, 1, device=device)
    step = max(1, (_CHUNK if device.type == "cpu" else BLOCK) // side)
    for first, second in (chunk.unbind() for chunk in torch.split(pairs, step, dim=1)):
        place = torch.add(reorder.index_select(0, second), reorder.index_select(0, first), alpha=n)
        shuffled = single.index_select(0, place.view(-1)).view_as(place)
        together = codes.index_select(0, first) == codes.index_select(0, second)
        within += shuffled.T @ (weights.index_select(0, first) * together)
    return within.view(-1)[:count]
