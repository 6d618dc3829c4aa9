"""Confounds taken out of autocorrelated series, against generalized least squares written out."""

import numpy as np
import pytest
import torch
from nilearn.glm.first_level.design_matrix import create_cosine_drift
from scipy.linalg import block_diag, toeplitz
from scipy.signal import lfilter

from nfas_lightning.functional.confounds import (
    _ar1_coefficient,
    high_pass_basis,
    regress_out,
    regress_out_ar1,
)

TR = 2.0


def slow(rng, n_volumes, n_columns, rho=0.9):
    white = rng.standard_normal((n_volumes + 200, n_columns))
    return lfilter([1.0], [1.0, -rho], white, axis=0)[200:] * (1 - rho**2) ** 0.5


def generalized_least_squares(y, confounds, rho, lengths):
    """Residual of one column, the noise's covariance rho^|i - j| within each run."""
    inverse = np.linalg.inv(block_diag(*(toeplitz(rho ** np.arange(n)) for n in lengths)))
    Q = np.column_stack([np.ones(len(y)), confounds])
    return y - Q @ np.linalg.solve(Q.T @ inverse @ Q, Q.T @ inverse @ y)


@pytest.mark.parametrize("lengths", [(80,), (30, 50)])
def test_equals_generalized_least_squares(lengths):
    rng = np.random.default_rng(0)
    confounds, Y = slow(rng, 80, 2), np.column_stack([slow(rng, 80, 2), slow(rng, 80, 2, rho=0.3)])
    runs = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    got = regress_out_ar1(torch.from_numpy(Y), torch.from_numpy(confounds), runs).numpy()
    for column in range(Y.shape[1]):
        # two rounds: coefficients from the residuals of least squares, then from the better ones
        residual = regress_out(torch.from_numpy(Y[:, [column]]), torch.from_numpy(confounds))
        for _ in range(2):
            rho = float(_ar1_coefficient(residual, runs.diff() == 0))
            expected = generalized_least_squares(Y[:, column], confounds, rho, lengths)
            residual = torch.from_numpy(expected)[:, None]
        np.testing.assert_allclose(got[:, column], expected, atol=1e-8)


def test_leaves_more_of_slow_noise_than_least_squares():
    rng = np.random.default_rng(1)
    confounds, noise = slow(rng, 300, 3), slow(rng, 300, 200)
    Y = torch.from_numpy(noise + confounds @ np.ones((3, 200)))
    noise = torch.from_numpy(noise - noise.mean(0))
    errors = [
        (method(Y, torch.from_numpy(confounds)) - noise).var(0).mean()
        for method in (regress_out, regress_out_ar1)
    ]
    assert errors[1] < 0.6 * errors[0]


def test_coefficient_of_a_known_process():
    rng = np.random.default_rng(2)
    rho = _ar1_coefficient(
        torch.from_numpy(slow(rng, 20000, 1, rho=0.7)), torch.ones(19999, dtype=torch.bool)
    )
    assert float(rho) == pytest.approx(0.7, abs=0.02)


def test_missing_rows_stay_missing_and_touch_no_other_column():
    rng = np.random.default_rng(3)
    confounds, Y = torch.from_numpy(slow(rng, 60, 2)), torch.from_numpy(slow(rng, 60, 3))
    complete = regress_out_ar1(Y, confounds)
    Y[10:20, 1] = float("nan")
    got = regress_out_ar1(Y, confounds)
    assert got.isnan().sum() == 10
    torch.testing.assert_close(got[:, [0, 2]], complete[:, [0, 2]])
    # rows 10 to 19 are gone for that column: two streaks, as two runs have
    streaks = torch.tensor([0] * 10 + [1] * 40)
    kept = [*range(10), *range(20, 60)]
    expected = regress_out_ar1(Y[kept][:, [1]], confounds[kept], streaks)
    torch.testing.assert_close(got[kept][:, [1]], expected)


@pytest.mark.parametrize(("n", "tr", "cutoff"), [(100, 2.0, 1 / 128), (362, 1.5, 0.01), (400, 0.5, 1 / 60)])
def test_high_pass_matches_nilearn(n, tr, cutoff):
    expected = create_cosine_drift(cutoff, np.arange(n) * tr)[:, :-1]
    assert np.abs(high_pass_basis(n, tr, cutoff).numpy() - expected).max() < 1e-6


def test_high_pass_edges():
    assert high_pass_basis(10, 2.0).shape == (10, 0)  # 20 s hold no 128 s wave
    assert high_pass_basis(8, 2.0, 10.0).shape == (8, 7)
    assert high_pass_basis(96, 2.0, 1 / 128).shape == (96, 3)  # a whole number of half waves counts
    assert high_pass_basis(350, 0.7, 1 / 70).shape == (350, 7)  # and does where 7 rounds to 6.99...
    with pytest.raises(ValueError, match="must be positive, got 0"):
        high_pass_basis(0, 2.0)


def test_regress_out_matches_least_squares_by_run_and_around_nan():
    generator = torch.Generator().manual_seed(2)
    Y = torch.randn(3, 50, 4, generator=generator).double()
    C = torch.randn(50, 2, generator=generator).double()
    runs = torch.arange(50) // 20
    Y[1, [3, 30], 2] = torch.nan
    cleaned = regress_out(Y, C, runs)
    for s in range(3):
        for k in range(4):
            for run in range(3):
                rows = (runs == run) & ~Y[s, :, k].isnan()
                design = np.column_stack([np.ones(int(rows.sum())), C[rows]])
                y = Y[s, rows, k].numpy()
                expected = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
                np.testing.assert_allclose(cleaned[s, rows, k].numpy(), expected, atol=1e-12)
    assert torch.equal(cleaned.isnan(), Y.isnan())


def test_regress_out_survives_redundant_and_tiny_confounds():
    t = torch.linspace(-1, 1, 40).double()[:, None]
    Y = torch.randn(40, 2, generator=torch.Generator().manual_seed(3)).double()
    for unit in (1e-9, 1e-20, 1e20):
        confounds = torch.cat([t, unit * t**2, 3 * t + 7, torch.ones_like(t), 0 * t], 1)
        torch.testing.assert_close(regress_out(Y, confounds), regress_out(Y, torch.cat([t, t**2], 1)))
    assert regress_out(Y.float(), confounds).dtype == torch.float32
    torch.testing.assert_close(regress_out(Y, torch.zeros(40, 0)), Y - Y.mean(0))


def test_a_constant_series_leaves_zeros_and_no_rounding():
    confounds = torch.randn(80, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    Y = torch.full((80, 3), 0.1, dtype=torch.float64) * torch.tensor([1.0, 1e8, -3.0])
    assert not regress_out(Y, confounds).any()
    assert not regress_out(Y.float(), confounds).any()
