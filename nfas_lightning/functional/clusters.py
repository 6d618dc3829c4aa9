"""Cluster-based permutation test over channels and lags, or any targets of which some are neighbors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_shape

__all__ = ["ClusterTest", "cluster_masses", "cluster_test", "grid_edges"]

_AT_ONCE = 2**22  # edges, over several maps, that are looked at together


class ClusterTest(NamedTuple):
    """What a cluster test found.

    Attributes:
        cluster: (V,) which cluster a target belongs to, numbered from 0 by falling mass; -1 for none.
        p_value: (V,) p of that cluster, corrected for all targets; 1 outside clusters, NaN without a score.
    """

    cluster: Tensor
    p_value: Tensor


def grid_edges(neighbors: Tensor, n_channels: int, n_lags: int) -> Tensor:
    """Return which targets are neighbors where target c * K + k is channel c at lag k.

    Args:
        neighbors: (E, 2) pairs of neighboring channels, each once; at the same lag they are neighbors, and so
            is a channel with itself one lag later.
        n_channels: C.
        n_lags: K.

    Returns:
        (2, E * K + C * (K - 1)) pairs of targets.

    Example:
        >>> grid_edges(torch.tensor([[0, 1]]), 2, 2).T.tolist()
        [[0, 2], [1, 3], [0, 1], [2, 3]]
    """
    lags = torch.arange(n_lags)
    across = (neighbors.T.reshape(2, -1, 1) * n_lags + lags).flatten(1)
    start = (torch.arange(n_channels)[:, None] * n_lags + lags[:-1]).flatten()
    return torch.cat([across, torch.stack([start, start + 1])], dim=1)


def cluster_masses(maps: Tensor, edges: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Sum a statistic over each cluster of connected targets that exceed a threshold.

    Args:
        maps: (B, V) statistics; NaN is in no cluster.
        edges: (2, E) pairs of neighbors.
        threshold: what a target must exceed.

    Returns:
        (B, V) label, the lowest target of the cluster that a target is in, -1 for none; and (B, V) mass of
        the cluster of that lowest target, 0 elsewhere.

    Example:
        >>> chain = torch.tensor([[0, 1, 2], [1, 2, 3]])
        >>> label, mass = cluster_masses(torch.tensor([[3.0, 4.0, 0.0, 5.0]]), chain, 2)
        >>> label.tolist(), mass.tolist()
        ([[0, 0, -1, 3]], [[7.0, 0.0, 0.0, 5.0]])
    """
    check_shape("maps", maps, "B V")
    check_shape("edges", edges, "two E", two=2)
    inside = maps > threshold
    label = torch.arange(maps.shape[1], device=maps.device).expand(maps.shape).clone()
    i, j = edges.to(maps.device)
    for some in torch.split(torch.arange(len(maps), device=maps.device), max(1, _AT_ONCE // max(1, len(i)))):
        part, both = label[some], inside[some][:, i] & inside[some][:, j]
        while True:  # both ends of an edge take the lower label, and every label the one of its label
            lower = torch.minimum(part[:, i], part[:, j])
            new = part
            for end in (i, j):
                ends = end.expand(len(some), -1)
                new = new.scatter_reduce(1, ends, torch.where(both, lower, part[:, end]), "amin")
            new = new.gather(1, new)
            if torch.equal(new, part):
                break
            part = new
        label[some] = part
    mass = torch.zeros_like(maps).scatter_add(1, label, torch.where(inside, maps, 0))
    return label.masked_fill(~inside, -1), mass


def cluster_test(
    observed: Tensor, null: Tensor, edges: Tensor, *, threshold: float = 2.326, standardize: bool = True
) -> ClusterTest:
    r"""Test clusters of targets by their mass against the largest mass of every draw of the null.

    .. math:: p = \frac{1 + \#\{\max_c m^*_c \ge m\}}{1 + P}, \quad m = \sum_{v \in c} z_v

    Args:
        observed: (V,) statistics, large is evidence.
        null: (P, V) the same statistics under the null, moved alike for all targets.
        edges: (2, E) pairs of neighbors, see `grid_edges`.
        threshold: that a target must exceed to be in a cluster. It decides how clusters look, not whether
            the test is valid; 2.326 is p = .01 of a standard normal.
        standardize: first turn each target's statistics into z over all draws and the observed one, which
            are exchangeable; False: they are comparable already.

    Returns:
        `ClusterTest`. A p holds for the cluster as a whole, not for each of its targets.

    Raises:
        ValueError: shapes that disagree, or an empty null.

    Reference:
        Maris and Oostenveld (2007), J. Neurosci. Methods 164, 177-190, doi:10.1016/j.jneumeth.2007.03.024.

    Example:
        >>> null = torch.randn(99, 5, generator=torch.Generator().manual_seed(0))
        >>> edges = grid_edges(torch.empty(0, 2, dtype=torch.long), 1, 5)
        >>> found = cluster_test(torch.tensor([0.0, 4, 4, 0, 0]), null, edges)
        >>> found.cluster.tolist(), [round(float(p), 2) for p in found.p_value]
        ([-1, 0, 0, -1, -1], [1.0, 0.01, 0.01, 1.0, 1.0])
    """
    check_shape("observed", observed, "V")
    check_shape("null", null, "P V", V=len(observed))
    if not len(null):
        raise InputError("null must hold at least one permutation, got none.")
    maps = torch.cat([observed[None].to(null), null])
    if standardize:
        maps = (maps - maps.mean(0)) / maps.std(0)
    label, mass = cluster_masses(maps, edges, threshold)
    largest = mass[1:].amax(1)
    p = (1 + (largest[:, None] >= mass[0]).sum(0)).to(maps.dtype) / (1 + len(null))
    inside = label[0] >= 0
    seeds = torch.unique(label[0][inside])
    rank = torch.full_like(label[0], -1)
    rank[seeds[mass[0, seeds].argsort(descending=True)]] = torch.arange(len(seeds), device=rank.device)
    where = label[0].clamp(min=0)
    return ClusterTest(
        torch.where(inside, rank[where], -1),
        torch.where(inside, p[where], 1.0).masked_fill(observed.isnan().to(p.device), float("nan")),
    )
