"""Statistics of a space beside those of its control."""

import itertools
import warnings

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.metrics import silhouette_score

from nfas_lightning.functional.controls import STATISTICS, compare_spaces, exchange_test, moved_responses
from nfas_lightning.functional.embedding import distances
from nfas_lightning.functional.permanova import permanova
from nfas_lightning.functional.snci import convergence, snci

GROUPS = list("aabbbc")


def spaces(seed=0, effect=0.0, groups=GROUPS, n_rois=5):
    generator = torch.Generator().manual_seed(seed)
    both = torch.rand(2, len(groups), n_rois, generator=generator, dtype=torch.float64)
    for m, group in enumerate(groups):
        both[0, m, "abc".index(group)] += effect
    return both.unbind(0)


@pytest.mark.parametrize("metric", ["euclidean", "correlation"])
def test_statistics_are_those_of_each_space(metric):
    result = compare_spaces(*spaces(), GROUPS, metric=metric, n_permutations=9)
    for given, found in zip(spaces(), (result.first, result.second), strict=True):
        V, groups = given[:5], GROUPS[:5]  # one model of its own counts in nothing
        D = distances(V, metric)
        f = [scipy.stats.f_oneway(V[:2, r], V[2:, r]).statistic for r in range(5)]
        eta = np.mean([value / (value + 3) for value in f])  # F = (SSB / 1) / (SSW / 3)
        expected = [
            float(permanova(D, groups, n_permutations=1).statistic),
            silhouette_score(D.numpy(), groups, metric="precomputed"),
            eta,
            float(snci(V, groups, form="bounded").mean()),
            float(convergence(V, groups).mean()),
        ]
        assert found.numpy() == pytest.approx(np.array(expected), rel=1e-9), STATISTICS
    assert torch.equal(result.difference, result.first - result.second)


def test_p_is_that_of_every_exchange():
    trained, untrained = spaces(3, effect=0.3)
    result = compare_spaces(trained, untrained, GROUPS, n_permutations=999)
    assert result.n_permutations == 2**5 - 1  # half of 2^6: the others change the sign alone
    differences = []
    for signs in itertools.product((False, True), repeat=6):
        mask = torch.tensor(signs)[:, None]
        first, second = (torch.where(mask, a, b)[:5] for a, b in ((untrained, trained), (trained, untrained)))
        f = [float(permanova(distances(V), GROUPS[:5], n_permutations=1).statistic) for V in (first, second)]
        differences.append(abs(f[0] - f[1]))
    exact = np.mean(np.array(differences) >= differences[0] - 1e-9)
    assert float(result.p_value[0]) == pytest.approx(exact)


def test_vectors_are_what_geometry_sees_and_scores_what_agreement_sees():
    scores = spaces(1)
    vectors = tuple((V - V.mean(1, keepdim=True)) / V.std(1, keepdim=True) for V in scores)
    plain, given = (compare_spaces(*scores, GROUPS, vectors=v, n_permutations=9) for v in (None, vectors))
    assert torch.equal(plain.first[3:], given.first[3:])
    assert float(given.first[0]) == pytest.approx(
        float(permanova(distances(vectors[0][:5]), GROUPS[:5], n_permutations=1).statistic)
    )


def test_the_null_holds_and_an_effect_is_found():
    groups = list("aaabbbccc")
    null = [compare_spaces(*spaces(s, groups=groups), groups, n_permutations=99, seed=s) for s in range(200)]
    rate = (torch.stack([result.p_value for result in null]) <= 0.05).double().mean(0)
    assert bool((rate <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5).all()), rate
    assert bool((rate > 0.004).all()), rate
    found = [
        compare_spaces(*spaces(s, effect=1.0, groups=groups), groups, n_permutations=99) for s in range(20)
    ]
    assert float((torch.stack([result.p_value for result in found])[:, :3] <= 0.05).double().mean()) > 0.8


def test_draws_are_chunked_seeded_and_leave_the_global_generator_alone(monkeypatch):
    groups = list("aaaaabbbbbcccc")
    given = spaces(0, groups=groups)
    state = torch.get_rng_state()
    once, again = (compare_spaces(*given, groups, n_permutations=50, seed=4) for _ in range(2))
    other = compare_spaces(*given, groups, n_permutations=50, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(once.p_value, again.p_value)
    assert not torch.equal(once.p_value, other.p_value)
    monkeypatch.setattr("nfas_lightning.functional.controls.BLOCK", 8 * 14**2 * 7)
    chunked = compare_spaces(*given, groups, n_permutations=50, seed=4)
    assert torch.equal(chunked.p_value, once.p_value)


def test_what_is_undefined_has_no_p():
    trained, untrained = spaces(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = compare_spaces(trained, torch.zeros_like(untrained), GROUPS, n_permutations=9)
    assert result.p_value[3:].isnan().all()  # all controls score zero: nothing to agree on
    with pytest.raises(ValueError, match="two groups of two models"):
        compare_spaces(trained, untrained, list("aabcde"))
    with pytest.raises(ValueError, match="control"):
        compare_spaces(trained, untrained[:4], GROUPS)
    with pytest.raises(ValueError, match="finite"):
        compare_spaces(trained, untrained.log().log(), GROUPS)
    with pytest.raises(ValueError, match="n_pairs must be at least 1"):
        exchange_test(lambda rows: rows[:, :1], 0)


def shared_noise(seed, groups, n_rois=30, n_draws=0, own=0.5, signal=0.0):
    """Scores of networks that predict nothing and read one stream per group: noise that groups share."""
    random = np.random.default_rng(seed)
    codes = np.unique(groups, return_inverse=True)[1]
    spaces = []
    for _ in range(1 + n_draws):
        common = random.standard_normal((codes.max() + 1, n_rois))[codes]
        r = 0.05 * (common + own * random.standard_normal((len(groups), n_rois)))
        spaces.append(r + signal * (len(spaces) == 0) * np.eye(3).repeat(10, axis=1)[codes])
    r2 = torch.from_numpy(np.maximum(np.array(spaces), 0) ** 2)
    return r2[0], r2[1:]


def test_common_noise_is_no_cluster_beyond_moved_responses():
    groups = list("aaaabbbbcccc")
    relabeled, moved, found = [], [], []
    for seed in range(100):
        scores, null = shared_noise(seed, groups, n_draws=39)
        relabeled.append(float(permanova(distances(scores), groups, n_permutations=39).p_value))
        moved.append(float(moved_responses(scores, null, groups).p_value))
        if seed < 20:
            scores, null = shared_noise(seed, groups, n_draws=39, signal=0.3)
            found.append(float(moved_responses(scores, null, groups).p_value))
    assert np.mean(np.array(relabeled) <= 0.05) > 0.9  # relabeling takes common noise for a cluster
    assert np.mean(np.array(moved) <= 0.05) <= 0.05 + 3 * (0.05 * 0.95 / 100) ** 0.5
    assert np.mean(np.array(moved) <= 0.5) == pytest.approx(0.5, abs=0.16)
    assert max(found) == 1 / 40


def test_the_statistic_is_the_sum_of_squares_between_groups():
    V = torch.randn(7, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    groups = torch.tensor([0, 0, 1, 1, 1, 2, 2])
    means = torch.stack([V[groups == g].mean(0) for g in range(3)])
    expected = sum(float((groups == g).sum() * ((means[g] - V.mean(0)) ** 2).sum()) for g in range(3))
    result = moved_responses(V, torch.stack([V, 0.5 * V, 2 * V]), groups)
    assert float(result.statistic) == pytest.approx(expected)
    assert (result.n_draws, float(result.p_value)) == (3, 3 / 4)  # the same space and twice it reach it
    with pytest.raises(ValueError, match="null"):
        moved_responses(V, V[None, :5], groups)
