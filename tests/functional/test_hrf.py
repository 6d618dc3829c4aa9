"""Hemodynamic response functions and their integrals."""

import numpy as np
import pytest
import torch
from nilearn.glm.first_level import glover_hrf, spm_hrf

from nfas_lightning.functional.hrf import HRF_LENGTH, hrf, hrf_integral

TR = 2.0


TIMES = TR * torch.arange(60, dtype=torch.float64)


def relative(value, expected):
    return np.abs(value - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(("kind", "oracle"), [("spm", spm_hrf), ("glover", glover_hrf)])
def test_hrf_matches_nilearn(kind, oracle):
    steps = 2000  # nilearn's kernel starts one step late, so it needs a fine grid
    expected = oracle(TR, oversampling=steps) * steps / TR
    times = torch.linspace(0, HRF_LENGTH, len(expected), dtype=torch.float64)
    # SPM's undershoot is 1/6 of the peak; nilearn rounds it to 0.167
    assert relative(hrf(times, kind).numpy(), expected) < 2e-3


@pytest.mark.parametrize("kind", ["spm", "glover"])
def test_integral_is_the_area_under_the_hrf(kind):
    times = torch.linspace(0, 40, 40001, dtype=torch.float64)
    area = torch.cumulative_trapezoid(hrf(times, kind), times)
    torch.testing.assert_close(hrf_integral(times[1:], kind), area, atol=2e-6, rtol=0)
    assert hrf_integral(torch.tensor([-1.0, 0.0, 32.0, 99.0]), kind).tolist() == [0, 0, 1, 1]
