"""PERMDISP over a distance matrix: do groups of models differ in spread?"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nfas_lightning.functional.checks import check_distances
from nfas_lightning.functional.embedding import gram_from_distances
from nfas_lightning.functional.permanova import PermutationResult
from nfas_lightning.functional.relabeling import (
    BLOCK,
    Labels,
    Relabeling,
    check_permutations,
    group_sizes,
    permutations,
    relabeling_p,
)

__all__ = ["permdisp"]

_MEDIAN_STEPS = 100  # Weiszfeld steps: distances are then right to about 1e-6, far closer than two shuffles


def permdisp(
    distances: Tensor,
    groups: Labels,
    *,
    strata: Labels | None = None,
    n_permutations: int = 9999,
    seed: int = 0,
) -> PermutationResult:
    r"""Test whether groups differ in spread: ANOVA of each model's distance to its group's centroid.

    .. math:: z_i = \lVert x_i - \bar x_{g(i)} \rVert, \quad F = \text{one-way ANOVA F of } z

    The space is that of principal coordinates; directions with a negative eigenvalue (distances that no
    Euclidean space holds) are dropped, as scikit-bio does. F equals scikit-bio's centroid test with all
    dimensions kept.

    The p value differs on purpose. Shuffling the models themselves, the usual test, also mixes the groups'
    locations, and can reject far too often where groups sit apart, which is the case PERMDISP is wanted for.
    Two tests that do not see where a group sits stand in, and p is the larger of theirs. The first writes
    each group's deviations in n_g - 1 orthonormal contrasts, exchangeable for normal scores, and shuffles
    these: it is right for small groups, and too bold for skewed scores. The second shuffles the distances to
    the group's spatial median, times sqrt(n_g / (n_g - 1)): the median takes the skewness out, as in Brown
    and Forsythe's test of variances.

    With `strata`, F is that of the second test's distances, to the median of the group inside the stratum,
    which change places inside strata: about a median over strata, distances would hold where strata sit.

    Args:
        distances: (M, M) symmetric, zero on the diagonal.
        groups: M strings or integers, the group of each model.
        strata: M strings or integers: labels change places among models of one stratum alone, as with vegan's
            ``strata``; None: among all.
        n_permutations: P random shuffles; p is no smaller than 1 / (P + 1).
        seed: seed of the shuffles; the global generator is untouched.

    Returns:
        `PermutationResult`; higher F is less equal spread. NaN with a warning where no group spreads.

    Raises:
        ValueError: no distance matrix, one group, only groups of one, or strata of one group each.

    Reference:
        Anderson (2006), Biometrics 62, 245-253, doi:10.1111/j.1541-0420.2005.00440.x; Brown and Forsythe
        (1974), J. Am. Stat. Assoc. 69, 364-367, doi:10.1080/01621459.1974.10482955.

    Example:
        >>> V = torch.tensor([[0.0], [0.1], [0.3], [1.0], [5.0], [9.5]])
        >>> result = permdisp(torch.cdist(V, V), list("aaabbb"), n_permutations=99)
        >>> f"F = {result.statistic:.1f}"
        'F = 4.2'
    """
    gram = gram_from_distances(check_distances(distances), positive=True)
    check_permutations(n_permutations)
    labels = Relabeling.read(groups, len(gram), strata)
    codes, names = labels.codes, labels.names
    sizes = group_sizes(codes, len(names))
    if labels.strata is not None:
        return _inside_strata(gram, labels, n_permutations, seed)
    order = codes.argsort(stable=True).to(gram.device)
    placed = gram[order][:, order]
    spread = sizes.tolist()
    contrasts = torch.block_diag(*map(_helmert, spread)).to(gram)  # type: ignore[no-untyped-call]  # untyped in torch
    # (M - G, M - G) inner products of the contrast vectors, group after group
    inner = contrasts @ placed @ contrasts.T
    if float(inner.diagonal().max()) <= 1e-14 * float(gram.diagonal().max()):
        warnings.warn("No group has any spread: PERMDISP has nothing to compare, F is NaN.", stacklevel=2)
        nan = torch.full((), float("nan"), dtype=gram.dtype, device=gram.device)
        return PermutationResult(nan, nan, len(names), n_permutations)
    identity = torch.arange(len(inner), device=gram.device)[:, None]
    observed = _f_of_contrasts(inner, identity, spread)[0]
    medians = torch.cat([_to_median(block) for block in _blocks(placed, spread) if len(block) > 1])
    p_value = torch.maximum(
        _p_value(inner, _f_of_contrasts, spread, None, n_permutations, seed),
        _p_value(medians, _f_of_distances, spread, None, n_permutations, seed),
    )
    return PermutationResult(observed, p_value, len(names), n_permutations)


def _inside_strata(gram: Tensor, labels: Relabeling, n_permutations: int, seed: int) -> PermutationResult:
    """Compare spreads about the medians of cells, a group in a stratum each; a cell of one has none."""
    codes, strata = labels.codes, labels.strata
    assert strata is not None
    n_groups = len(labels.names)
    cells, sizes = torch.unique(
        codes * (int(strata.max()) + 1) + strata, return_inverse=True, return_counts=True
    )[1:]
    rows = cells.argsort(stable=True)  # group after group
    order = rows.to(gram.device)
    blocks = _blocks(gram[order][:, order], sizes.tolist())
    values = torch.cat([gram.new_zeros(0), *(_to_median(block) for block in blocks if len(block) > 1)])
    kept = rows[(sizes > 1).repeat_interleave(sizes)]
    spread = torch.bincount(codes[kept], minlength=n_groups).tolist()
    if min(spread) < 2 or not bool((values > 1e-7 * gram.diagonal().max().sqrt()).any()):
        warnings.warn(
            "Spread inside strata needs two models of each group in some stratum, some distance apart: "
            "PERMDISP is NaN.",
            stacklevel=3,
        )
        nan = gram.new_full((), torch.nan)
        return PermutationResult(nan, nan, n_groups, n_permutations)
    observed = _f_of_distances(values, torch.arange(len(values), device=gram.device)[:, None], spread)[0]
    p_value = _p_value(values, _f_of_distances, spread, strata[kept], n_permutations, seed)
    return PermutationResult(observed, p_value, n_groups, n_permutations)


def _p_value(
    values: Tensor,
    f_of: Callable[[Tensor, Tensor, list[int]], Tensor],
    sizes: list[int],
    strata: Tensor | None,
    n_permutations: int,
    seed: int,
) -> Tensor:
    """Compare the F of K things, exchangeable inside strata (K,), with that of their shuffles."""
    identity = torch.arange(len(values), device=values.device)[:, None]
    observed = f_of(values, identity, sizes)[0]
    step = max(1, BLOCK // (4 * max(sizes) ** 2))
    blocks = torch.split(permutations(len(values), n_permutations, seed, strata), step)
    null = (f_of(values, block.T.to(values.device), sizes) for block in blocks)
    return relabeling_p(observed, null, n_permutations)


def _helmert(n: int) -> Tensor:
    """Orthonormal contrasts (n - 1, n): rows of unit norm, orthogonal to each other and to the mean."""
    rows = torch.tril(torch.ones(n, n, dtype=torch.float64), -1)[1:]
    rows -= torch.diag(torch.arange(n, dtype=torch.float64))[1:]
    return torch.nn.functional.normalize(rows, dim=1)


def _f_of_contrasts(inner: Tensor, shuffles: Tensor, sizes: list[int]) -> Tensor:
    """F (P,) of distances to centroids, the contrast vectors (M - G) dealt out by shuffles (M - G, P)."""
    distances, start = [], 0
    for size in sizes:
        rows = shuffles[start : start + size - 1].T
        start += size - 1
        helmert = _helmert(size).to(inner)
        dealt = inner[rows[:, :, None], rows[:, None, :]]
        distances.append(((dealt @ helmert) * helmert).sum(1).clamp(min=0).sqrt())
    return _f(distances)


def _f_of_distances(distances: Tensor, shuffles: Tensor, sizes: list[int]) -> Tensor:
    """F (P,) of distances (K,) of the models that are not alone, dealt out by shuffles (K, P)."""
    dealt, start = [], 0
    for size in sizes:
        if size == 1:  # alone in its group, at distance zero from it, like an empty set of contrasts
            dealt.append(distances.new_zeros(shuffles.shape[1], 1))
            continue
        dealt.append(distances[shuffles[start : start + size].T])
        start += size
    return _f(dealt)


def _blocks(gram: Tensor, sizes: list[int]) -> Iterator[Tensor]:
    """Yield the inner products (n, n) of each group's models."""
    start = 0
    for size in sizes:
        yield gram[start : start + size, start : start + size]
        start += size


def _to_median(gram: Tensor) -> Tensor:
    """Distances (n,) to the spatial median, times sqrt(n / (n - 1)) so that small groups spread alike.

    Weiszfeld's iteration on the weights of the models, from the centroid: the median is a weighted mean.
    """
    n = len(gram)
    weights = gram.new_full((n,), 1 / n)
    precision = torch.finfo(gram.dtype)  # a model at the median would weigh infinitely
    floor = (precision.eps * gram.diagonal().amax().sqrt()).clamp(min=precision.tiny)
    for _ in range(_MEDIAN_STEPS):
        pulled = gram @ weights
        distances = (gram.diagonal() - 2 * pulled + weights @ pulled).clamp(min=0).sqrt()
        weights = 1 / distances.clamp(min=floor)
        weights = weights / weights.sum()
    adjusted: Tensor = distances * (n / (n - 1)) ** 0.5
    return adjusted


def _f(distances: list[Tensor]) -> Tensor:
    """One-way ANOVA F (P,) of distances (P, n_g) a group."""
    n, n_groups = sum(z.shape[1] for z in distances), len(distances)
    grand = torch.cat(distances, dim=1).mean(1)
    between = sum(len(z[0]) * (z.mean(1) - grand) ** 2 for z in distances)
    within = sum(((z - z.mean(1, keepdim=True)) ** 2).sum(1) for z in distances)
    return torch.as_tensor((between / (n_groups - 1)) / (within / (n - n_groups)))
