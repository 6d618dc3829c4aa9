"""When a block predicts best, and how that changes over depth."""

from __future__ import annotations

import torch
from torch import Tensor

from nfas_lightning.functional.checks import check_shape

__all__ = ["depth_slope", "peak_times"]


def peak_times(curves: Tensor, times: Tensor) -> Tensor:
    """Return the time at which each curve is highest, between samples by the parabola through three of them.

    Args:
        curves: (..., K), K >= 1.
        times: (K,) evenly spaced, ascending.

    Returns:
        (...) in the units of `times`; NaN where a curve has a NaN.

    Raises:
        ValueError: the sizes differ.

    Example:
        >>> times = torch.linspace(0, 1, 11)
        >>> round(float(peak_times(-((times - 0.43) ** 2), times)), 3)
        0.43
    """
    check_shape("times", times, "K", K=curves.shape[-1])
    times = times.to(curves)
    top = curves.argmax(-1, keepdim=True)
    peak = times[top[..., 0]]
    if len(times) > 2:
        inner = top.clamp(1, len(times) - 2)
        before, at, after = (curves.gather(-1, inner + step)[..., 0] for step in (-1, 0, 1))
        bend = before - 2 * at + after
        # an end of the window has no neighbor on one side; a plateau has no bend
        between = (top == inner)[..., 0] & (bend < 0)
        shift = 0.5 * (before - after) / torch.where(between, bend, 1)
        peak = torch.where(between, peak + shift * (times[1] - times[0]), peak)
    return peak.masked_fill(curves.isnan().any(-1), float("nan"))


def depth_slope(peaks: Tensor) -> Tensor:
    """Return how much later the last block peaks than the first, by least squares over all blocks.

    Args:
        peaks: (..., L) times of blocks in the order of depth, L >= 2, taken as evenly spaced.

    Returns:
        (...) in the units of `peaks`; NaN where a block has none.

    Example:
        >>> round(float(depth_slope(torch.tensor([0.1, 0.15, 0.2]))), 3)
        0.1
    """
    depth = torch.linspace(-0.5, 0.5, peaks.shape[-1], dtype=peaks.dtype, device=peaks.device)
    return (peaks * depth).sum(-1) / depth.square().sum()
