from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from nilearn.signal import clean

from nfas_lightning.data.regions.cleaning import clean_series, motion_regressors, zscore


@pytest.fixture
def series():
    return torch.randn(120, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 100


def test_equals_nilearn(series):
    confounds = torch.randn(120, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ours = clean_series(series, tr=2.0, high_pass=1 / 128, confounds=confounds)
    theirs = clean(
        series.numpy(),
        t_r=2.0,
        filter="cosine",
        high_pass=1 / 128,
        detrend=False,
        standardize="zscore_sample",
        confounds=confounds.numpy(),
    )
    # nilearn may keep one cosine fewer where the cut-off falls between two: correlate, do not subtract
    for column in range(3):
        assert np.corrcoef(ours[:, column], theirs[:, column])[0, 1] > 0.999


def test_drift_and_motion_are_gone(series):
    t = torch.arange(120.0)[:, None].double()
    motion = torch.cat([torch.sin(t / 3), torch.cos(t / 7)], dim=1)
    dirty = series + 50 * torch.cos(torch.pi * (t + 0.5) / 120) + 20 * motion[:, :1]
    confounds = motion_regressors(motion)
    torch.testing.assert_close(
        clean_series(dirty, tr=2.0, confounds=confounds),
        clean_series(series, tr=2.0, confounds=confounds),
        atol=1e-5,
        rtol=1e-5,
    )


def test_first_volumes_go_after_the_regression(series):
    cleaned = clean_series(series, tr=2.0, drop_volumes=10)
    assert cleaned.shape == (110, 3)
    torch.testing.assert_close(cleaned.mean(0), torch.zeros(3).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(cleaned.std(0, correction=0), torch.ones(3).double())
    whole = clean_series(series, tr=2.0)[10:]
    torch.testing.assert_close(cleaned, zscore(whole))


@pytest.mark.parametrize("kind", [np.asarray, pd.DataFrame])
def test_arrays_and_tables_are_taken_too(series, kind):
    confounds = torch.randn(120, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = clean_series(series, tr=2.0, confounds=confounds)
    held = kind(series.numpy())
    torch.testing.assert_close(clean_series(held, tr=2.0, confounds=kind(confounds.numpy())), expected)
    np.testing.assert_array_equal(held, series.numpy())


def test_a_derivative_without_its_first_volume_is_named(series):
    confounds = pd.DataFrame({"trans_x": np.arange(120.0), "trans_x_derivative1": [np.nan] + [1.0] * 119})
    with pytest.raises(
        ValueError, match=r"confounds must be finite, .*\{'trans_x_derivative1': 1\}.* with 0"
    ):
        clean_series(series, tr=2.0, confounds=confounds)
    assert clean_series(series, tr=2.0, confounds=confounds.fillna(0)).isfinite().all()
    with pytest.raises(ValueError, match="confounds must hold numbers, got 'n/a' in row 0 of column 'fd'"):
        clean_series(series, tr=2.0, confounds=pd.DataFrame({"fd": ["n/a"] + ["0.1"] * 119}))
    with pytest.raises(ValueError, match=r"confounds must have shape \(T=120, C\), got \(120,\)"):
        clean_series(series, tr=2.0, confounds=confounds["trans_x"])


def test_a_parcel_without_voxels_stays_missing(series):
    with_gap = torch.cat([series, torch.full((120, 1), torch.nan).double()], dim=1)
    cleaned = clean_series(with_gap, tr=2.0)
    assert cleaned[:, 3].isnan().all()
    torch.testing.assert_close(cleaned[:, :3], clean_series(series, tr=2.0))
    with_gap[0, 0] = torch.nan  # one volume alone is an error
    with pytest.raises(ValueError, match="series must be finite, got 1 NaN"):
        clean_series(with_gap, tr=2.0)


def test_a_constant_column_is_nan_never_zero(series):
    flat = torch.cat([series, torch.full((120, 1), 7.0).double()], dim=1)
    cleaned = clean_series(flat, tr=2.0)
    assert cleaned[:, 3].isnan().all()
    assert cleaned[:, :3].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_the_filter_empties_is_nan(series, dtype):
    t = (torch.arange(120)[:, None].double() + 0.5) / 120
    drift = 1000 + 50 * torch.cos(torch.pi * t)
    assert clean_series(drift.to(dtype), tr=2.0).isnan().all()
    assert clean_series((drift + 1e-2 * (series[:, :1] - 100)).to(dtype), tr=2.0).isfinite().all()


@pytest.mark.parametrize("dim", [0, 1])
def test_missing_values_are_left_out_of_a_zscore(series, dim):
    series[5, 1] = torch.nan
    values = series if dim == 0 else series.T
    scored = zscore(values, dim).numpy()
    mean, std = (f(values.numpy(), axis=dim, keepdims=True) for f in (np.nanmean, np.nanstd))
    np.testing.assert_allclose(scored, (values.numpy() - mean) / std, rtol=1e-9)
    assert np.isnan(scored).sum() == 1


@pytest.mark.parametrize("n", [3, 7, 10, 49, 120])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zscore_of_rounding_is_nan(n, dtype):
    constant = torch.full((n, 4), 0.1, dtype=dtype) * torch.tensor([1, 7, 1e5, -3e-5], dtype=dtype)
    assert zscore(constant).isnan().all()
    last_place = 1 + (torch.arange(n)[:, None] % 2).to(dtype) * torch.finfo(dtype).eps
    assert zscore(constant * last_place).isnan().all()


@pytest.mark.parametrize("tr", [0.8, 2.0, 3.1])
def test_drifts_are_those_of_the_repetition_time(series, tr):
    t = (torch.arange(120)[:, None].double() + 0.5) / 120
    # the cut-off passes 2 T tr f half waves of the scan
    edge = int(2 * 120 * tr / 128)
    slow, fast = torch.cos(torch.pi * edge * t), torch.cos(torch.pi * (edge + 1) * t)
    cleaned = clean_series(series, tr=tr)
    assert (cleaned.T @ slow).abs().max() < 1e-5 * 120
    torch.testing.assert_close(clean_series(series + 50 * slow, tr=tr), cleaned, atol=1e-5, rtol=0)
    kept = clean_series(series + 50 * fast, tr=tr)
    assert ((kept.T @ fast) / (120 / 2) ** 0.5 / 120**0.5 > 0.99).all()


def test_motion_regressors():
    motion = torch.tensor([[1.0], [3.0], [2.0]])
    assert motion_regressors(motion).tolist() == [[1.0, 0.0], [3.0, 2.0], [2.0, -1.0]]


def test_bad_input(series):
    with pytest.raises(ValueError, match="drop_volumes must leave two"):
        clean_series(series, tr=2.0, drop_volumes=119)
    with pytest.raises(ValueError, match=r"confounds must have shape \(T=120, C\)"):
        clean_series(series, tr=2.0, confounds=torch.zeros(5, 1))
    series[3, 1] = torch.nan
    with pytest.raises(ValueError, match="series must be finite"):
        clean_series(series, tr=2.0)
