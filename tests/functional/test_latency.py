"""When a curve peaks, and how that changes over depth."""

import numpy as np
import pytest
import torch

from nfas_lightning.functional.latency import depth_slope, gradient, peak_times

TIMES = torch.arange(-10, 50, dtype=torch.float64) / 100


def bumps(centers, width=0.05):
    return torch.exp(-(((TIMES - torch.tensor(centers, dtype=torch.float64)[:, None]) / width) ** 2) / 2)


def test_peaks_lie_between_samples():
    centers = [0.083, 0.1, 0.217]
    assert peak_times(bumps(centers), TIMES).tolist() == pytest.approx(centers, abs=2e-4)
    parabola = 3 - (TIMES - 0.1234) ** 2
    assert float(peak_times(parabola, TIMES, smoothing=0)) == pytest.approx(0.1234)
    noisy = bumps([0.2] * 50) + 0.1 * torch.randn(50, 60, generator=torch.Generator().manual_seed(0))
    rough, smooth = ((peak_times(noisy, TIMES, smoothing=s) - 0.2).abs().mean() for s in (0, 0.02))
    assert smooth < rough / 2


def test_peaks_at_an_end_on_a_plateau_and_without_a_score():
    curves = torch.stack([TIMES, -TIMES, bumps([0.1])[0].clamp(max=0.5), bumps([0.1])[0]])
    curves[3, 5] = float("nan")
    found = peak_times(curves, TIMES).tolist()
    assert found[:3] == pytest.approx([0.49, -0.1, 0.1])
    assert np.isnan(found[3])
    with pytest.raises(ValueError, match="times"):
        peak_times(curves, TIMES[1:])


def test_the_slope_is_that_of_least_squares():
    peaks = torch.rand(4, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = np.polyfit(np.linspace(0, 1, 7), peaks.T.numpy(), 1)[0]
    np.testing.assert_allclose(depth_slope(peaks).numpy(), expected)


def test_the_gradient_is_zero_for_one_shape_whatever_the_heights():
    heights = torch.tensor([0.1, 0.5, 0.3], dtype=torch.float64)[:, None]
    same, later = heights * bumps([0.1] * 3), heights * bumps([0.1, 0.15, 0.2])
    for curves, sign in ((same, 0), (later, 1), (later.flip(0), -1)):
        course = curves.mean(0)
        center = float((course**2 * TIMES).sum() / (course**2).sum())
        found = float(gradient(curves, TIMES, course))
        assert np.sign(round(found, 6)) == sign
        plain = sum(
            depth * weight * (t - center) * r
            for depth, curve in zip((-0.5, 0, 0.5), curves, strict=True)
            for weight, t, r in zip(course.tolist(), TIMES.tolist(), curve.tolist(), strict=True)
        )
        assert found == pytest.approx(plain, abs=1e-9)
