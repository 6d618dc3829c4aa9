"""PERMANOVA and PERMDISP against scikit-bio, brute force, and their own null."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from skbio.stats.distance import DistanceMatrix
from skbio.stats.distance import permanova as skbio_permanova
from skbio.stats.distance import permdisp as skbio_permdisp

from nfas_lightning.functional.embedding import distances
from nfas_lightning.functional.permanova import permanova, permanova_pairwise
from nfas_lightning.functional.permdisp import permdisp
from nfas_lightning.functional.relabeling import Relabeling
from tests.helpers.groups import models, plain_f


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=2, max_size=4),
    n_rois=st.integers(2, 9),
    seed=st.integers(0, 99),
)
def test_statistics_equal_scikit_bio(sizes, n_rois, seed):
    # groups of one or two have equal distances to their center, so PERMDISP's F lacks a denominator
    assume(max(sizes) >= 3)
    V, labels = models(sizes, n_rois, seed=seed)
    D = distances(V)
    dm = DistanceMatrix(D.numpy())
    expected = skbio_permanova(dm, labels, permutations=0)["test statistic"]
    assert permanova(D, labels, n_permutations=1).statistic == pytest.approx(expected, rel=1e-8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-bio warns of negative eigenvalues at rounding level
        expected = skbio_permdisp(dm, labels, test="centroid", permutations=0, dimensions=len(labels))
    assert permdisp(D, labels, n_permutations=1).statistic == pytest.approx(
        expected["test statistic"], rel=1e-8
    )


def test_p_value_is_that_of_all_relabelings():
    V, labels = models((3, 4), shift=0.6, seed=3)
    D = distances(V)
    observed = plain_f(D.numpy(), labels)
    everyone = set(itertools.permutations(labels))
    exact = np.mean([plain_f(D.numpy(), list(p)) >= observed * (1 - 1e-10) for p in everyone])
    result = permanova(D, labels, n_permutations=20000)
    assert result.statistic == pytest.approx(observed)
    assert result.p_value == pytest.approx(exact, abs=0.01)
    assert 0.02 < exact < 0.9


def test_two_product_permutations_are_no_different_from_separate_draws():
    V, labels = models((5, 5, 5), shift=0.25, seed=5)
    D = distances(V)
    generator = np.random.default_rng(0)
    squared = D.numpy() ** 2
    codes = np.repeat(np.arange(3), 5)

    def within(c):
        return sum(squared[np.ix_(c == g, c == g)].sum() for g in range(3)) / 10

    null = np.array([within(generator.permutation(codes)) for _ in range(4000)])
    expected = (1 + (null <= within(codes) * (1 + 1e-10)).sum()) / 4001
    draws = [float(permanova(D, labels, n_permutations=4000, seed=seed).p_value) for seed in range(20)]
    binomial = np.sqrt(expected * (1 - expected) / 4000)
    assert np.mean(draws) == pytest.approx(expected, abs=4 * binomial)
    assert np.std(draws) == pytest.approx(binomial, rel=0.6)


@pytest.mark.parametrize("test", [permanova, permdisp])
def test_null_is_uniform(test):
    data = [distances(models((6, 6, 6), seed=seed)[0]) for seed in range(200)]
    labels = models((6, 6, 6))[1]
    p = torch.stack([test(D, labels, n_permutations=39, seed=1000 + i).p_value for i, D in enumerate(data)])
    # 3 binomial standard errors about 5 % and 50 %
    assert 0.004 < (p <= 0.05).double().mean() < 0.096
    assert 0.39 < (p <= 0.5).double().mean() < 0.61


def test_each_test_finds_its_own_effect_only():
    V, labels = models((12, 12), n_rois=10)
    shifted = V.clone()
    shifted[12:] += 2
    assert permanova(distances(shifted), labels, n_permutations=999).p_value < 0.01
    assert permdisp(distances(shifted), labels, n_permutations=999).p_value > 0.05
    spread = V.clone()
    spread[12:] *= 4
    assert permdisp(distances(spread), labels, n_permutations=999).p_value < 0.01


def test_order_of_models_and_dtype_do_not_matter():
    V, labels = models((4, 5, 6), shift=0.5)
    order = torch.randperm(15, generator=torch.Generator().manual_seed(1))
    D = distances(V)
    shuffled = D[order][:, order], [labels[i] for i in order]
    for test in (permanova, permdisp):
        reference = test(D, labels, n_permutations=99)
        assert test(*shuffled, n_permutations=99).statistic == pytest.approx(
            float(reference.statistic), rel=1e-10
        )
        single = test(torch.cdist(V.float(), V.float()), labels, n_permutations=99)
        assert single.statistic == pytest.approx(float(reference.statistic), rel=1e-4)
        assert single.statistic.dtype == torch.float64


def test_seeded_and_global_generator_untouched():
    V, labels = models((5, 5), shift=0.3)
    D = distances(V)
    before = torch.random.get_rng_state()
    first = permanova(D, labels, n_permutations=199, seed=1)
    assert first.p_value == permanova(D, labels, n_permutations=199, seed=1).p_value
    assert first.p_value != permanova(D, labels, n_permutations=199, seed=2).p_value
    permdisp(D, labels, n_permutations=19)
    assert torch.equal(before, torch.random.get_rng_state())


def test_pairwise():
    V, labels = models((5, 5, 5))
    V[10:] += 5
    D = distances(V)
    result = permanova_pairwise(D, labels, n_permutations=199)
    assert result.pairs == (("g0", "g1"), ("g0", "g2"), ("g1", "g2"))
    assert result.statistic[1] == pytest.approx(
        plain_f(
            D[[*range(5), *range(10, 15)]][:, [*range(5), *range(10, 15)]].numpy(), labels[:5] + labels[10:]
        )
    )
    assert result.p_value[0] > 0.05 > result.q_value[1] >= result.p_value[1]
    with pytest.warns(UserWarning, match="one model each"):
        lonely = permanova_pairwise(D, ["a"] * 13 + ["b", "c"], n_permutations=9)
    assert lonely.statistic[2].isnan()
    assert lonely.q_value[:2].isfinite().all()


def test_smallest_p_counts_the_observed_labels():
    V, labels = models((9, 9), shift=20.0)
    assert permanova(distances(V), labels, n_permutations=99).p_value == pytest.approx(0.01)
    V[9:] = V[9:] - V[9:].mean(0) + 20
    V[9:] *= 50
    assert permdisp(distances(V), labels, n_permutations=99).p_value == pytest.approx(0.01)


def test_tied_relabelings_count():
    # two models against two: every third relabeling is the observed partition, so p is near 1/3
    D = distances(torch.tensor([[0.0], [0.1], [5.0], [5.1]]))
    assert permanova(D, list("aabb"), n_permutations=9999).p_value == pytest.approx(1 / 3, abs=0.03)
    assert Relabeling.read(list("aabb"), 4).distinct == 3
    assert Relabeling.read(list("aabbb"), 5).distinct == 10


def test_degenerate_input():
    zero = torch.zeros(4, 4)
    for test in (permanova, permdisp):
        with pytest.warns(UserWarning, match="nothing to compare"):
            result = test(zero, list("aabb"))
        assert result.statistic.isnan()
        assert result.p_value.isnan()
        with pytest.raises(ValueError, match="at least two groups"):
            test(zero, list("aaaa"))
        with pytest.raises(ValueError, match="4 groups of one"):
            test(zero, list("abcd"))
        with pytest.raises(ValueError, match="the 4 rows, got 3"):
            test(zero, list("aab"))
        with pytest.raises(ValueError, match="finite"):
            test(torch.full((4, 4), float("nan")), list("aabb"))
        with pytest.raises(ValueError, match="symmetric"):
            test(torch.tensor([[0.0, 1.0], [2.0, 0.0]]), list("aa"))
        with pytest.raises(ValueError, match="zero on the diagonal"):
            test(torch.eye(4), list("aabb"))
        with pytest.raises(ValueError, match="negative"):
            test(torch.tensor([[0.0, -1.0], [-1.0, 0.0]]), list("aa"))
        with pytest.raises(ValueError, match=r"must have shape \(M=2, M=2\), got \(2, 3\)"):
            test(torch.zeros(2, 3), list("aa"))
        with pytest.raises(ValueError, match="n_permutations must be at least 1"):
            test(zero, list("aabb"), n_permutations=0)
    with pytest.raises(ValueError, match="missing label at row 1"):
        permanova(zero, ["a", None, "b", "b"])
    with pytest.raises(TypeError, match="all be strings or all be integers"):
        permanova(zero, ["a", 1, "b", "b"])
