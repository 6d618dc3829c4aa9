"""The spectrum over depth as a metric."""

import pytest
import torch

from nfas_lightning.functional.dmd import dmd
from nfas_lightning.metrics import DepthSpectrum
from tests.helpers.metrics import found, ragged, splits, update

pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")


def test_spectrum_equals_dmd_and_finds_a_planted_rotation():
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    x = torch.randn(12, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    H = torch.stack([x @ torch.linalg.matrix_power(turn, depth) for depth in range(5)], dim=1)
    result = found(update(DepthSpectrum(centering="center"), H, splits(12, 5)))
    assert sorted(result["eigenvalues"].imag.tolist()) == pytest.approx([-0.8, 0.8])
    assert result["distance_to_unit_circle"] < 1e-6
    assert result["reconstruction_error"] < 1e-6
    torch.testing.assert_close(result["weights"], dmd(H, centering="center").coefficients.abs())


def test_depths_change_their_widths_within_no_epoch():
    metric, states = DepthSpectrum(), ragged()
    metric.update(states, torch.arange(60))
    with pytest.raises(ValueError, match=r"of widths \[8, 6, 9, 5, 7\], got \[7, 5, 9, 6, 8\]"):
        metric.update(states[::-1], torch.arange(60, 120))
    with pytest.raises(ValueError, match=r"trajectory\[1\] must have shape \(B=60, D\), got \(59, 6\)"):
        metric.update([states[0], states[1][1:], *states[2:]], torch.arange(60))
    with pytest.raises(ValueError, match="kind must be one of"):
        DepthSpectrum(state_space="flat")
    metric.reset()
    metric.update(states[::-1], torch.arange(60))
