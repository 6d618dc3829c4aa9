"""Clusters of neighboring targets: MNE's masses and p values, and how often noise is significant."""

import itertools

import mne
import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.stats import binom

from nfas_lightning.functional.clusters import cluster_masses, cluster_test, grid_edges

RING = torch.tensor([[i, (i + 1) % 8] for i in range(8)])


def adjacency_of(edges, n):
    i, j = edges.numpy()
    return sparse.coo_matrix((np.ones(2 * len(i)), (np.r_[i, j], np.r_[j, i])), shape=(n, n))


def test_the_neighbors_are_mnes():
    ring = adjacency_of(RING.T, 8)
    ours = adjacency_of(grid_edges(RING, 8, 5), 40).toarray()
    theirs = mne.stats.combine_adjacency(ring, 5).toarray()
    np.testing.assert_array_equal(ours + np.eye(40) > 0, theirs > 0)


def test_masses_and_p_values_are_mnes():
    """The same sign flips, all of them, of t values over eight subjects."""
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((8, 8, 10))
    maps[:, 2:5, 3:7] += 0.9
    flat = maps.reshape(8, 80)
    signs = np.array(list(itertools.product([1, -1], repeat=8)))
    mean = signs @ flat / 8
    t = torch.from_numpy(mean / np.sqrt((np.mean(flat**2, 0) - mean**2) / 7))
    edges = grid_edges(RING, 8, 10)
    # MNE leaves out the flip of all signs, the last one here, and counts the data itself among the flips
    found = cluster_test(t[0], t[:-1], edges, threshold=1.5, standardize=False)
    _, clusters, p, _ = mne.stats.permutation_cluster_1samp_test(
        flat, threshold=1.5, tail=1, n_permutations=256, adjacency=adjacency_of(edges, 80),
        out_type="mask", verbose="error",
    )  # fmt: skip
    assert len(clusters) == int(found.cluster.max()) + 1 == 3
    for mask, expected in zip(clusters, p, strict=True):
        (number,) = set(found.cluster[torch.from_numpy(mask)].tolist())
        assert (found.cluster == number).sum() == mask.sum()
        assert found.p_value[found.cluster == number].tolist() == pytest.approx([expected] * mask.sum())
    assert min(p) < 0.05 < max(p)
    masses = [float(t[0][found.cluster == number].sum()) for number in range(len(clusters))]
    assert masses == sorted(masses, reverse=True)
    label, mass = cluster_masses(t[:1], edges, 1.5)
    assert sorted(mass[mass > 0].tolist(), reverse=True) == pytest.approx(masses)
    assert torch.equal(label[0] >= 0, t[0] > 1.5)


def test_noise_is_significant_as_often_as_it_may_be():
    generator = torch.Generator().manual_seed(1)
    edges, smallest = grid_edges(RING, 8, 8), []
    for _ in range(100):
        draws = torch.randn(20, 8, 11, generator=generator).unfold(2, 4, 1).mean(-1).flatten(1)
        smallest.append(float(cluster_test(draws[0], draws[1:], edges, threshold=1.3).p_value.min()))
    assert sum(p < 0.101 for p in smallest) <= binom.ppf(0.999, 100, 0.1)
    assert sum(p < 0.101 for p in smallest) >= binom.ppf(0.001, 100, 0.1)


def test_targets_without_a_score_belong_to_no_cluster():
    draws = torch.randn(50, 5, generator=torch.Generator().manual_seed(2))
    observed = torch.tensor([9.0, 9.0, float("nan"), 9.0, 0.0])
    found = cluster_test(observed, draws, grid_edges(torch.empty(0, 2, dtype=torch.long), 1, 5))
    assert found.cluster.tolist() == [0, 0, -1, 1, -1]
    assert found.p_value.isnan().tolist() == [False, False, True, False, False]
    with pytest.raises(ValueError, match="at least one permutation, got none"):
        cluster_test(observed, draws[:0], grid_edges(RING, 8, 5)[:, :0])
