"""Silhouette of groups over a distance matrix, with a permutation p value."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from nfas_lightning.functional.checks import check_distances
from nfas_lightning.functional.relabeling import (
    Labels,
    Relabeling,
    check_permutations,
    group_sizes,
    membership,
    relabeling_p,
    shuffled_membership,
)

__all__ = ["SilhouetteResult", "silhouette", "silhouette_samples"]


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
    distances: Tensor,
    groups: Labels,
    *,
    strata: Labels | None = None,
    units: Labels | None = None,
    n_permutations: int = 9999,
    seed: int = 0,
) -> SilhouetteResult:
    r"""Measure how much nearer a model is to its own group than to the next one.

    .. math:: s_i = \frac{b_i - a_i}{\max(a_i, b_i)}

    with a_i the mean distance to the other members of i's group and b_i the smallest mean distance to another
    group. A model alone in its group scores 0. Computed in float64 on the device of `distances`.

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
        `SilhouetteResult`; higher is better separated. NaN with a warning where all distances are zero.

    Raises:
        ValueError: no distance matrix, one group, only groups of one, or strata of one group each.

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
    labels = Relabeling.read(groups, len(wide), strata, units)
    codes, names = labels.codes, labels.names
    group_sizes(codes, len(names))
    if not bool(wide.any()):
        warnings.warn(
            "All distances are zero: the silhouette has nothing to compare, it is NaN.", stacklevel=2
        )
        nan = torch.full((len(wide),), float("nan"), dtype=wide.dtype, device=wide.device)
        return SilhouetteResult(nan[0], nan[0], nan, n_permutations)
    samples = _samples(wide, membership(codes, len(names), wide.device))[0]
    blocks = shuffled_membership(labels, n_permutations, seed, wide.device, width=4)
    null = (_samples(wide, members).mean(1) for members in blocks)
    p_value = relabeling_p(samples.mean(), null, n_permutations)
    return SilhouetteResult(samples.mean(), p_value, samples, n_permutations)


def silhouette_samples(sums: Tensor, members: Tensor) -> Tensor:
    """Return the silhouette of every model (...), from sums of its distances to the models of each group.

    Args:
        sums: (..., M, G) sums of distances.
        members: (..., M, G) float64 membership, one in each row.
    """
    own = members.bool()
    sizes = members.sum(-2, keepdim=True)
    others = (members * (sizes - 1)).sum(-1)
    within = (sums * members).sum(-1) / others.clamp(min=1)
    nearest = (sums / sizes).masked_fill(own, float("inf")).amin(-1)
    score = (nearest - within) / torch.maximum(nearest, within)
    # alone in its group, or on top of its own group and another one: neither near nor far
    undecided = (others == 0) | score.isnan()
    return score.masked_fill_(undecided, 0.0)


def _samples(distances: Tensor, members: Tensor) -> Tensor:
    """Silhouette of every model (P, M) under memberships (M, P, G); groups may change in size."""
    sums = (distances @ members.flatten(1)).view_as(members)
    return silhouette_samples(sums.transpose(0, 1), members.transpose(0, 1))
