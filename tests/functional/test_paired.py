"""Paired differences against scipy's permutation test and t interval."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nfas_lightning.functional.paired import paired_test


@settings(max_examples=25, deadline=None, derandomize=True)
@given(m=st.integers(2, 11), shift=st.floats(-1, 1), seed=st.integers(0, 99))
def test_equals_scipy_where_all_signs_are_tried(m, shift, seed):
    d = np.random.default_rng(seed).normal(shift, 1, m)
    result = paired_test(torch.from_numpy(d))
    expected = stats.permutation_test(
        (d, np.zeros(m)), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    )
    assert result.p_value == pytest.approx(expected.pvalue)
    interval = stats.ttest_1samp(d, 0).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high))
    assert result.mean == pytest.approx(d.mean())


def test_drawn_signs_agree_with_all_of_them():
    d = torch.randn(13, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.5
    drawn = paired_test(d, n_permutations=7000)  # 2 ** 13 is more
    assert paired_test(d, n_permutations=2**13).p_value == pytest.approx(drawn.p_value, abs=0.01)
    assert drawn == paired_test(d, n_permutations=7000)
    assert drawn.p_value != paired_test(d, n_permutations=7000, seed=1).p_value


def test_p_is_uniform_where_nothing_is_to_be_found_and_intervals_cover():
    p, covered = [], []
    for seed in range(400):
        d = torch.randn(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        result = paired_test(d)
        p.append(result.p_value)
        covered.append(result.low <= 0 <= result.high)
    assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.08
    assert 0.92 < np.mean(covered) < 0.98


def test_sides_and_bounds():
    d = torch.tensor([0.1, 0.2, 0.3, 0.15])
    result = paired_test(d)
    assert result.p_value == pytest.approx(2 / 2**4)  # all of one sign is the most that four units can say
    mirrored = paired_test(-d)
    assert mirrored.p_value == result.p_value
    assert (mirrored.low, mirrored.high) == pytest.approx((-result.high, -result.low))
    wide = paired_test(d, confidence=0.99)
    assert wide.low < result.low < result.high < wide.high
    alone = paired_test(d[:1])
    assert alone.p_value == 1
    assert math.isnan(alone.low)
    assert paired_test(torch.zeros(5)) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, "at least one unit, got none"),
        ([1.0, math.nan], {}, "differences must be finite"),
        ([[1.0]], {}, r"differences must have shape \(M,\)"),
        ([1.0], {"confidence": 1}, "confidence must lie between 0 and 1, got 1"),
        ([1.0], {"n_permutations": 0}, "n_permutations must be at least 1, got 0"),
    ],
)
def test_refused(values, options, message):
    with pytest.raises(ValueError, match=message):
        paired_test(torch.tensor(values), **options)
