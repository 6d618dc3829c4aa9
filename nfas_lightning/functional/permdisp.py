"""PERMDISP over a distance matrix: do groups of models differ in spread?"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from nfas_lightning.functional.embedding import gram_from_distances
from nfas_lightning.functional.labels import (
    BLOCK,
    check_permutations,
    encode_labels,
    group_sizes,
    permutations,
    relabelling_p,
)
from nfas_lightning.functional.permanova import PermutationResult, check_distances

__all__ = ["permdisp"]


def permdisp(
    distances: Tensor, labels: Sequence[object] | Tensor, *, n_permutations: int = 9999, seed: int = 0
) -> PermutationResult:
    r"""Test whether groups differ in spread: ANOVA of each model's distance to its group's centroid.

    .. math:: z_i = \lVert x_i - \bar x_{g(i)} \rVert, \quad F = \text{one-way ANOVA F of } z

    The space is that of principal coordinates; directions with a negative eigenvalue (distances that no
    Euclidean space holds) are dropped, as scikit-bio does. F equals scikit-bio's centroid test with all
    dimensions kept.

    The p value differs on purpose. Shuffling the models themselves, the usual test, also mixes the groups'
    locations, and can reject far too often where groups sit apart, which is the case PERMDISP is wanted for.
    So each group's deviations are written in n_g - 1 orthonormal contrasts, which are exchangeable for normal
    scores wherever the groups sit, and these are shuffled, too. Scores of skewed distributions, as r2 often
    has, need the first test, distant groups the second: p is the larger of the two, valid where either is.

    Args:
        distances: (M, M) symmetric, zero on the diagonal.
        labels: M strings or integers.
        n_permutations: P random shuffles; p is no smaller than 1 / (P + 1).
        seed: seed of the shuffles; the global generator is untouched.

    Returns:
        `PermutationResult`; higher F is less equal spread. NaN with a warning where no group spreads.

    Raises:
        ValueError: no distance matrix, one group, or only groups of one.

    Reference:
        Anderson (2006), Biometrics 62, 245-253, doi:10.1111/j.1541-0420.2005.00440.x.

    Example:
        >>> V = torch.tensor([[0.0], [0.1], [0.3], [1.0], [5.0], [9.5]])
        >>> result = permdisp(torch.cdist(V, V), list("aaabbb"), n_permutations=99)
        >>> f"F = {result.statistic:.1f}"
        'F = 4.2'
    """
    gram = gram_from_distances(check_distances(distances), positive=True)
    check_permutations(n_permutations)
    codes, names = encode_labels(labels, len(gram))
    sizes = group_sizes(codes, len(names), "labels")
    order = codes.argsort(stable=True).to(gram.device)
    helmert = (_helmert(int(size)) for size in sizes)
    contrasts = torch.block_diag(*helmert).to(gram)  # type: ignore[no-untyped-call]  # torch has no types here
    # (M - G, M - G) inner products of the contrast vectors, group after group
    inner = contrasts @ gram[order][:, order] @ contrasts.T
    if float(inner.diagonal().max()) <= 1e-14 * float(gram.diagonal().max()):
        warnings.warn("No group has any spread: PERMDISP has nothing to compare, F is NaN.", stacklevel=2)
        nan = torch.full((), float("nan"), dtype=gram.dtype, device=gram.device)
        return PermutationResult(nan, nan, len(names), n_permutations)
    spread = sizes.tolist()
    identity = torch.arange(len(inner), device=gram.device)[:, None]
    observed = _f_of_shuffles(inner, identity, spread)[0]
    placed = gram[order][:, order]
    p_value = torch.stack(
        [
            _p_value(observed, inner, _f_of_shuffles, spread, n_permutations, seed),
            _p_value(observed, placed, _f_of_models, spread, n_permutations, seed),
        ]
    ).amax()
    return PermutationResult(observed, p_value, len(names), n_permutations)


def _p_value(
    observed: Tensor,
    inner: Tensor,
    f_of: Callable[[Tensor, Tensor, list[int]], Tensor],
    sizes: list[int],
    n_permutations: int,
    seed: int,
) -> Tensor:
    """Compare F with that of what inner products (K, K) are of, shuffled."""
    step = max(1, BLOCK // (4 * max(sizes) ** 2))
    blocks = torch.split(permutations(len(inner), n_permutations, seed), step)
    null = (f_of(inner, block.T.to(inner.device), sizes) for block in blocks)
    return relabelling_p(observed, null, n_permutations)


def _helmert(n: int) -> Tensor:
    """Orthonormal contrasts (n - 1, n): rows of unit norm, orthogonal to each other and to the mean."""
    rows = torch.tril(torch.ones(n, n, dtype=torch.float64), -1)[1:]
    rows -= torch.diag(torch.arange(n, dtype=torch.float64))[1:]
    return torch.nn.functional.normalize(rows, dim=1)


def _f_of_shuffles(inner: Tensor, shuffles: Tensor, sizes: list[int]) -> Tensor:
    """F (P,) of distances to centroids, the contrast vectors (M - G) dealt out by shuffles (M - G, P)."""
    distances = []
    for block, size in zip(_dealt(inner, shuffles, [n - 1 for n in sizes]), sizes, strict=True):
        helmert = _helmert(size).to(inner)
        distances.append(((block @ helmert) * helmert).sum(1))
    return _f(distances)


def _f_of_models(gram: Tensor, shuffles: Tensor, sizes: list[int]) -> Tensor:
    """F (P,) of distances to centroids, the models themselves dealt out by shuffles (M, P)."""
    distances = []
    for block in _dealt(gram, shuffles, sizes):
        mean = block.mean(2)
        distances.append(block.diagonal(dim1=1, dim2=2) - 2 * mean + mean.mean(1, keepdim=True))
    return _f(distances)


def _dealt(inner: Tensor, shuffles: Tensor, counts: list[int]) -> Iterator[Tensor]:
    """Yield the inner products (P, n, n) of what each group is dealt."""
    start = 0
    for count in counts:
        rows = shuffles[start : start + count].T
        start += count
        yield inner[rows[:, :, None], rows[:, None, :]]


def _f(squared: list[Tensor]) -> Tensor:
    """One-way ANOVA F (P,) of distances, given squared: (P, n_g) a group."""
    distances = [part.clamp(min=0).sqrt() for part in squared]
    n, n_groups = sum(z.shape[1] for z in distances), len(distances)
    grand = torch.cat(distances, dim=1).mean(1)
    between = sum(len(z[0]) * (z.mean(1) - grand) ** 2 for z in distances)
    within = sum(((z - z.mean(1, keepdim=True)) ** 2).sum(1) for z in distances)
    return torch.as_tensor((between / (n_groups - 1)) / (within / (n - n_groups)))
