"""Silhouette of groups over a distance matrix, with a permutation p value."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nfas_lightning.functional.checks import check_distances
from nfas_lightning.functional.relabeling import (
    check_permutations,
    encode_labels,
    group_sizes,
    membership,
    relabeling_p,
    shuffled_membership,
)

__all__ = ["SilhouetteResult", "silhouette"]


class SilhouetteResult(NamedTuple):
    """Silhouette of a grouping.

    Attributes:
        statistic: () mean over models, in [-1, 1].
        p_value: () float64 in (0, 1]; small is evidence.
        samples: (M,) silhouette of each model, in [-1, 1].
        n_permutations: P, random relabelings beside the observed one.
    """

    statistic: Tensor
    p_value: Tensor
    samples: Tensor
    n_permutations: int


def silhouette(
    distances: Tensor, groups: Sequence[object] | Tensor, *, n_permutations: int = 9999, seed: int = 0
) -> SilhouetteResult:
    r"""Measure how much nearer a model is to its own group than to the next one.

    .. math:: s_i = \frac{b_i - a_i}{\max(a_i, b_i)}

    with a_i the mean distance to the other members of i's group and b_i the smallest mean distance to another
    group. A model alone in its group scores 0. Computed in float64 on the device of `distances`.

    Args:
        distances: (M, M) symmetric, zero on the diagonal.
        groups: M strings or integers, the group of each model.
        n_permutations: P random relabelings; p is no smaller than 1 / (P + 1).
        seed: seed of the relabelings; the global generator is untouched.

    Returns:
        `SilhouetteResult`; higher is better separated. NaN with a warning where all distances are zero.

    Raises:
        ValueError: no distance matrix, one group, or only groups of one.

    Reference:
        Rousseeuw (1987), J. Comput. Appl. Math. 20, 53-65, doi:10.1016/0377-0427(87)90125-7.

    Example:
        >>> V = torch.tensor([[0.0], [1.0], [9.0], [10.0]])
        >>> result = silhouette(torch.cdist(V, V), ["a", "a", "b", "b"], n_permutations=99)
        >>> result.samples
        tensor([0.8947, 0.8824, 0.8824, 0.8947], dtype=torch.float64)
    """
    wide = check_distances(distances)
    check_permutations(n_permutations)
    codes, names = encode_labels(groups, len(wide))
    sizes = group_sizes(codes, len(names)).to(wide)
    if not bool(wide.any()):
        warnings.warn(
            "All distances are zero: the silhouette has nothing to compare, it is NaN.", stacklevel=2
        )
        nan = torch.full((len(wide),), float("nan"), dtype=wide.dtype, device=wide.device)
        return SilhouetteResult(nan[0], nan[0], nan, n_permutations)
    samples = _samples(wide, membership(codes, len(names), wide.device), sizes)[:, 0]
    blocks = shuffled_membership(codes, len(names), n_permutations, seed, wide.device, width=4)
    null = (_samples(wide, members, sizes).mean(0) for members in blocks)
    p_value = relabeling_p(samples.mean(), null, n_permutations)
    return SilhouetteResult(samples.mean(), p_value, samples, n_permutations)


def _samples(distances: Tensor, members: Tensor, sizes: Tensor) -> Tensor:
    """Silhouette of every model under memberships (M, P, G), (M, P)."""
    sums = (distances @ members.reshape(len(members), -1)).view_as(members)
    own = members.bool()
    others = sizes - 1
    within = (sums * members).sum(-1) / (members @ others).clamp(min=1)
    nearest = (sums / sizes).masked_fill_(own, float("inf")).amin(-1)
    score = (nearest - within) / torch.maximum(nearest, within)
    # alone in its group, or on top of its own group and another one: neither near nor far
    undecided = (members @ others == 0) | score.isnan()
    return score.masked_fill_(undecided, 0.0)
