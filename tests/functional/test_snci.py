"""SNCI against a plain loop, scipy's noncentral t and its own null."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from nfas_lightning.functional.relabeling import permutations
from nfas_lightning.functional.snci import convergence, snci, snci_bootstrap, snci_noise, snci_permutation


def normal(m, r, level=3.0, seed=0):
    return level + torch.randn(m, r, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(2, 6), min_size=1, max_size=4),
    n_rois=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_equals_a_plain_loop(sizes, n_rois, seed):
    scores = np.random.default_rng(seed).uniform(0, 1, (sum(sizes), n_rois))
    labels = [f"m{g}" for g, size in enumerate(sizes) for _ in range(size)]
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled = torch.from_numpy(scores[order]), [labels[i] for i in order]
    for g in range(len(sizes)):
        group = scores[[label == f"m{g}" for label in labels]]
        mean, std = group.mean(0), group.std(0, ddof=1)
        np.testing.assert_allclose(snci(*shuffled)[g], mean / std)
        np.testing.assert_allclose(snci(*shuffled, form="db")[g], 20 * np.log10(mean / std))
        np.testing.assert_allclose(snci(*shuffled, form="bounded")[g], mean**2 / (mean**2 + std**2))


def test_groups_come_in_sorted_order_and_scale_drops_out():
    scores = normal(6, 4)
    labels = ["vision", "audio", "language"] * 2
    reference = snci(scores, labels)
    torch.testing.assert_close(reference[0], snci(scores[1::3], ["audio"] * 2)[0])
    torch.testing.assert_close(snci(7 * scores, labels), reference)
    torch.testing.assert_close(snci(scores, [10, 2, 3] * 2)[0], reference[0])  # 2 sorts before 10


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_policy(dtype):
    result = snci(normal(6, 4).to(dtype), list("aaabbb"))
    assert result.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    # the inputs are rounded, the arithmetic is not
    torch.testing.assert_close(
        result.double(), snci(normal(6, 4).to(dtype).double(), list("aaabbb")), rtol=1e-6, atol=0
    )


def test_exact_agreement_keeps_its_sign():
    scores = torch.tensor([[0.1, -0.1, 0.0], [0.1, -0.1, 0.0], [0.1, -0.1, 0.0]])
    with pytest.warns(UserWarning, match="score 0 at 1 ROIs"):
        ratio = snci(scores, ["a"] * 3)[0]
    assert ratio[:2].tolist() == [float("inf"), float("-inf")]
    assert ratio[2].isnan()
    with pytest.warns(UserWarning, match="score 0 at 1 ROIs"):
        assert snci(scores, ["a"] * 3, form="bounded")[0, :2].tolist() == [1, 1]


def test_convergence_is_high_only_where_every_group_agrees():
    scores = torch.tensor([[1.0, 1.0], [1.01, 1.01], [1.0, 0.1], [1.02, 2.0]])
    result = convergence(scores, list("aabb"))
    assert result[0] > 0.99
    assert result[1] < 0.5
    torch.testing.assert_close(result, snci(scores, list("aabb"), form="bounded").amin(0))


@pytest.mark.parametrize("n", [4, 15])
def test_interval_is_that_of_the_noncentral_t(n):
    scores = normal(n, 3)
    low, high = snci_bootstrap(scores, ["a"] * n, n_bootstrap=200_000)
    t = snci(scores, ["a"] * n).numpy() * np.sqrt(n)
    np.testing.assert_allclose(low, special.nctdtrinc(n - 1, 0.975, t) / np.sqrt(n), rtol=0.02)
    np.testing.assert_allclose(high, special.nctdtrinc(n - 1, 0.025, t) / np.sqrt(n), rtol=0.02)


@pytest.mark.parametrize("n", [4, 8, 15])
def test_interval_covers(n):
    # 3,000 ROIs with a true SNCI of 3: a standard error of 0.4 %
    low, high = snci_bootstrap(normal(n, 3000), ["a"] * n, n_bootstrap=4999, seed=1)
    assert ((low < 3) & (high > 3)).double().mean() == pytest.approx(0.95, abs=0.02)


def test_interval_of_skewed_and_clipped_scores_covers_too():
    generator = torch.Generator().manual_seed(0)
    r2 = (0.3 + 0.1 * torch.randn(8, 2000, generator=generator)).clamp(min=0) ** 2
    many = (0.3 + 0.1 * torch.randn(1, 10**6, generator=generator)).clamp(min=0) ** 2
    truth = many.mean() / many.std()
    low, high = snci_bootstrap(r2, ["a"] * 8, n_bootstrap=1999)
    assert ((low < truth) & (high > truth)).double().mean() > 0.93


def test_interval_follows_the_form():
    scores = normal(5, 200, level=0.4)  # levels so low that some intervals pass through zero
    low, high = snci_bootstrap(scores, ["a"] * 5, n_bootstrap=999)
    crossing = (low < 0) & (high > 0)
    assert crossing.any()
    bounded = snci_bootstrap(scores, ["a"] * 5, n_bootstrap=999, form="bounded")
    assert (bounded.low[crossing] == 0).all()
    assert ((bounded.low >= 0) & (bounded.low <= bounded.high) & (bounded.high <= 1)).all()
    db = snci_bootstrap(scores, ["a"] * 5, n_bootstrap=999, form="db")
    assert (db.low[low < 0] == float("-inf")).all()
    torch.testing.assert_close(db.high[high > 0], 20 * high[high > 0].log10())


def test_permutation_p_against_a_plain_loop():
    scores = normal(9, 1)
    scores[:3] = 3 + (scores[:3] - 3) * 0.5
    labels = np.array(list("aaabbbccc"))
    generator = np.random.default_rng(0)
    values = scores[:, 0].numpy()

    def ratio(chosen):
        return chosen.mean() / chosen.std(ddof=1)

    null = [ratio(values[generator.permutation(labels) == "a"]) for _ in range(2000)]
    expected = np.mean(np.array(null) >= ratio(values[labels == "a"]) * (1 - 1e-10))
    assert snci_permutation(scores, list(labels))[0, 0] == pytest.approx(expected, abs=0.03)


def test_permutation_p_is_uniform_under_the_null():
    p = torch.cat(
        [
            snci_permutation(normal(12, 40, seed=s), list("aaaabbbbcccc"), n_permutations=199, seed=s)
            for s in range(40)
        ],
        1,
    )
    assert (p <= 0.05).double().mean() == pytest.approx(0.05, abs=0.015)


def test_seeded_and_global_generator_untouched():
    scores = normal(8, 5)
    before = torch.random.get_rng_state()
    first = snci_bootstrap(scores, list("aaaabbbb"), n_bootstrap=99, seed=3)
    again = snci_bootstrap(scores, list("aaaabbbb"), n_bootstrap=99, seed=3)
    snci_permutation(scores, list("aaaabbbb"), n_permutations=9)
    assert torch.equal(first.low, again.low)
    assert torch.equal(before, torch.random.get_rng_state())


def test_one_model_is_nan():
    with pytest.warns(UserWarning, match="'b' has one model"):
        result = snci(normal(3, 2), list("aab"))
    assert result[1].isnan().all()
    assert result[0].isfinite().all()
    with pytest.warns(UserWarning, match="one model"):
        low, _ = snci_bootstrap(normal(3, 2), list("aab"), n_bootstrap=99)
    assert low[1].isnan().all()
    with pytest.warns(UserWarning, match="one model"):
        p = snci_permutation(normal(3, 2), list("aab"), n_permutations=9)
    assert p[1].isnan().all()


def test_no_spread_is_inf_but_no_score_at_all_is_nan():
    scores = torch.tensor([[0.1, 0.0], [0.1, 0.0], [0.1, 0.0]])
    with pytest.warns(UserWarning, match="score 0 at 1 ROIs"):
        result = snci(scores, list("aaa"))
    assert result[0, 0] == float("inf")
    assert result[0, 1].isnan()
    with pytest.warns(UserWarning, match="score the same at 1 ROIs"):
        assert snci(scores[:, :1], list("aaa"), form="bounded") == 1
    with pytest.warns(UserWarning, match="score the same"):
        low, high = snci_bootstrap(scores[:, :1], list("aaa"), n_bootstrap=99)
    assert low.isnan().all()
    assert high.isnan().all()


def test_missing_scores_are_nan_where_they_are():
    scores = normal(6, 3)
    scores[0, 1] = float("nan")
    with pytest.warns(UserWarning, match="missing scores at 1 ROIs"):
        result = snci(scores, list("aaabbb"))
    assert result.isnan().tolist() == [[False, True, False], [False, False, False]]
    with pytest.warns(UserWarning, match="missing"):
        p = snci_permutation(scores, list("aaabbb"), n_permutations=9)
    assert p[:, 1].isnan().all()
    assert p[:, [0, 2]].isfinite().all()


def test_negative_mean_has_no_decibels():
    scores = -normal(4, 1)
    assert snci(scores, list("aaaa")) < 0
    assert snci(scores, list("aaaa"), form="db").isnan().all()


def test_errors_say_what_to_do():
    scores = normal(4, 2)
    with pytest.raises(ValueError, match="groups must hold a label for each of the 4 rows, got 3"):
        snci(scores, list("aab"))
    with pytest.raises(ValueError, match="form must be one of 'ratio', 'db', 'bounded', got 'dB'"):
        snci(scores, list("aabb"), form="dB")
    with pytest.raises(ValueError, match="at least two, got one"):
        convergence(scores, list("aaaa"))
    with pytest.raises(ValueError, match="at least two groups"):
        snci_permutation(scores, list("aaaa"))
    with pytest.raises(ValueError, match="confidence must lie between"):
        snci_bootstrap(scores, list("aabb"), confidence=95)


def test_permutation_p_is_the_count_over_the_relabelings_that_were_drawn():
    scores = normal(10, 4, level=2.0, seed=3) * torch.tensor([1.0, 1e3, 1e-3, -1.0]).double()
    labels = np.array(list("aaaabbbccc"))
    p = snci_permutation(scores, labels.tolist(), n_permutations=60, seed=2)
    orders = permutations(10, 60, 2).numpy()
    for g, name in enumerate("abc"):
        for r in range(4):
            values = scores[:, r].numpy()
            drawn = [values[labels[order] == name] for order in (np.arange(10), *orders)]
            ratios = [chosen.mean() / chosen.std(ddof=1) for chosen in drawn]
            assert float(p[g, r]) == pytest.approx(np.mean(np.array(ratios) >= ratios[0]))


@pytest.mark.parametrize("m", [2, 5, 15])
def test_noise_of_signed_scores_follows_f(m):
    f = stats.f.ppf(0.95, 1, m - 1)  # bounded = t^2 / (t^2 + M) with t^2 ~ F(1, M - 1)
    assert snci_noise(m, value="r") == pytest.approx(f / (f + m), abs=0.015)


def test_noise_of_squares_tends_to_a_sixth_and_few_models_agree_by_chance():
    assert snci_noise(2000, share=0.5, n_draws=500) == pytest.approx(1 / 6, abs=0.01)
    assert snci_noise(3) > snci_noise(5) > snci_noise(15) > 1 / 6
    scores = torch.randn(5, 4000, generator=torch.Generator().manual_seed(1)).clamp(min=0) ** 2
    with pytest.warns(UserWarning, match="nothing to agree on"):  # no model is above zero at a few
        bounded = snci(scores.double(), ["g"] * 5, form="bounded").nan_to_num(0.0)
    assert float((bounded < snci_noise(5)).double().mean()) == pytest.approx(0.95, abs=0.01)
    with pytest.raises(ValueError, match="n_models"):
        snci_noise(1)
    with pytest.raises(ValueError, match="value"):
        snci_noise(3, value="db")
