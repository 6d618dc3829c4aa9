"""Confounds taken out of autocorrelated series, against generalized least squares written out."""

import numpy as np
import pytest
import torch
from scipy.linalg import block_diag, toeplitz
from scipy.signal import lfilter

from nfas_lightning.functional.confounds import _ar1_coefficient, regress_out, regress_out_ar1


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
