"""Silhouette against scikit-learn and its own null."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import silhouette_samples, silhouette_score

from nfas_lightning.functional.embedding import distances
from nfas_lightning.functional.silhouette import silhouette


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=2, max_size=4),
    n_rois=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_equals_scikit_learn(sizes, n_rois, seed):
    if max(sizes) == 1:
        return
    V = torch.randn(sum(sizes), n_rois, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    D = distances(V)
    result = silhouette(D, labels, n_permutations=1)
    np.testing.assert_allclose(
        result.samples, silhouette_samples(D.numpy(), labels, metric="precomputed"), atol=1e-8
    )
    expected = silhouette_score(D.numpy(), labels, metric="precomputed")
    assert result.statistic == pytest.approx(expected, abs=1e-8)


def test_p_value_against_a_plain_loop():
    V = torch.randn(12, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    labels = np.repeat([0, 1, 2], 4)
    V[:, 0] += 0.7 * torch.from_numpy(labels)
    D = distances(V)
    generator = np.random.default_rng(0)
    observed = silhouette_score(D.numpy(), labels, metric="precomputed")
    null = [
        silhouette_score(D.numpy(), generator.permutation(labels), metric="precomputed") for _ in range(600)
    ]
    expected = np.mean(np.array(null) >= observed)
    assert silhouette(D, labels, n_permutations=9999).p_value == pytest.approx(expected, abs=0.04)


def test_null_is_uniform_and_clusters_are_found():
    p = []
    for seed in range(200):
        V = torch.randn(12, 5, generator=torch.Generator().manual_seed(seed))
        p.append(silhouette(distances(V), list("aaaabbbbcccc"), n_permutations=39, seed=seed).p_value)
    assert 0.004 < (torch.stack(p) <= 0.05).double().mean() < 0.096
    V[:4] += 10
    V[4:8] -= 10
    result = silhouette(distances(V), list("aaaabbbbcccc"), n_permutations=999)
    assert result.statistic > 0.7
    assert result.p_value < 0.01


def test_degenerate_input():
    with pytest.warns(UserWarning, match="nothing to compare"):
        result = silhouette(torch.zeros(4, 4), list("aabb"))
    assert result.samples.isnan().all()
    assert result.p_value.isnan()
    with pytest.raises(ValueError, match="at least two groups"):
        silhouette(torch.zeros(4, 4), list("aaaa"))
