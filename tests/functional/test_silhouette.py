"""Silhouette against scikit-learn and its own null."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import silhouette_samples, silhouette_score

from nfas_lightning.functional.embedding import distances
from nfas_lightning.functional.permanova import permanova
from nfas_lightning.functional.permdisp import permdisp
from nfas_lightning.functional.relabeling import relabeling_p
from nfas_lightning.functional.silhouette import silhouette
from nfas_lightning.functional.snci import snci_bootstrap, snci_permutation


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


@pytest.mark.parametrize("observed", [2.0, -2.0, 1e-200, 0.0])
def test_permuted_statistics_equal_up_to_rounding_are_ties(observed):
    observed = torch.tensor(observed, dtype=torch.float64)
    step = 1e-13 * observed.abs()
    null = torch.stack([observed - step, observed, observed + step, observed - 1, observed + 1])
    # the observed one, three ties and one that is larger, of six
    assert float(relabeling_p(observed, [null[:2], null[2:]], 5)) == pytest.approx(5 / 6)
    assert relabeling_p(torch.tensor(float("nan")), [null], 5).isnan()


@pytest.mark.parametrize(
    "test",
    [
        lambda V, labels, seed: silhouette(torch.cdist(V, V), labels, n_permutations=49, seed=seed).p_value,
        lambda V, labels, seed: permanova(torch.cdist(V, V), labels, n_permutations=49, seed=seed).p_value,
        lambda V, labels, seed: permdisp(torch.cdist(V, V), labels, n_permutations=49, seed=seed).p_value,
        lambda V, labels, seed: snci_permutation(V, labels, n_permutations=49, seed=seed)[0, 0],
        lambda V, labels, seed: snci_bootstrap(V, labels, n_bootstrap=49, seed=seed).low[0, 0],
    ],
    ids=["silhouette", "permanova", "permdisp", "snci_permutation", "snci_bootstrap"],
)
def test_a_seed_decides_the_draws_and_the_global_generator_does_not(test):
    V = torch.randn(12, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    drawn = {float(test(V, list("aaaabbbbcccc"), seed)) for seed in range(8)}
    assert len(drawn) > 1
    state = torch.get_rng_state()
    assert test(V, list("aaaabbbbcccc"), 3) == test(V, list("aaaabbbbcccc"), 3)
    assert torch.equal(torch.get_rng_state(), state)
