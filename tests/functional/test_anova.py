"""ANOVA against scipy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import f_oneway, false_discovery_control

from nfas_lightning.functional.anova import anova


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    n_rois=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_equals_scipy(sizes, n_rois, seed):
    if max(sizes) == 1:
        return
    values = np.random.default_rng(seed).normal(5, 1, (sum(sizes), n_rois))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    expected = f_oneway(*(values[labels == g] for g in range(len(sizes))))
    result = anova(torch.from_numpy(values), labels)
    np.testing.assert_allclose(result.statistic, expected.statistic, rtol=1e-8)
    np.testing.assert_allclose(result.p_value, expected.pvalue, rtol=1e-8, atol=1e-300)
    np.testing.assert_allclose(
        result.q_value, false_discovery_control(expected.pvalue), rtol=1e-8, atol=1e-300
    )


def test_eta_squared_is_the_share_between_groups():
    values = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, 0.0], [7.0, 2.0]], dtype=torch.float64)
    result = anova(values, list("aabb"))
    # ROI 1: 16 of 20 between groups; ROI 2: equal means
    assert result.eta_squared.tolist() == pytest.approx([0.8, 0.0])
    assert result.p_value[1] == 1


def test_far_from_zero_loses_no_digits():
    values = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    near, far = anova(values, list("aaaabbbbcccc")), anova(values + 1e6, list("aaaabbbbcccc"))
    torch.testing.assert_close(near.statistic, far.statistic, rtol=1e-7, atol=0)

    whole = torch.tensor([[1.0], [4], [2], [7], [9], [5]], dtype=torch.float64)
    near, far = anova(whole, list("aaabbb")), anova(whole + 2**45, list("aaabbb"))
    torch.testing.assert_close(near.statistic, far.statistic, rtol=1e-12, atol=0)


def test_null_rejects_as_often_as_it_says():
    values = torch.randn(12, 4000, generator=torch.Generator().manual_seed(0))
    assert (anova(values, list("aaaabbbbcccc")).p_value < 0.05).double().mean() == pytest.approx(
        0.05, abs=0.012
    )


def test_degenerate_input():
    values = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    values[1, 0] = float("nan")
    values[:, 1] = torch.tensor([0.3, 0.3, 0.7, 0.7])
    with (
        pytest.warns(UserWarning, match="1 of 3 ROIs do not vary inside any group"),
        pytest.warns(UserWarning, match="1 of 3 ROIs have a missing score"),
    ):
        result = anova(values, list("aabb"))
    for column in result:
        assert column.isnan().tolist() == [True, True, False]
    assert result.q_value[2] == result.p_value[2]
    with pytest.raises(ValueError, match="at least two groups"):
        anova(values, list("aaaa"))
    with pytest.raises(ValueError, match=r"values must have shape \(M, R\)"):
        anova(values[0], list("aabb"))
