"""When a block predicts best, and how that changes over depth."""

from __future__ import annotations

import torch
from torch import Tensor

from nfas_lightning.functional.checks import check_shape

__all__ = ["depth_slope", "gradient", "peak_times"]


def peak_times(curves: Tensor, times: Tensor, *, smoothing: float = 0.02) -> Tensor:
    """Return the time at which each curve is highest, between samples by the parabola through three of them.

    Args:
        curves: (..., K), K >= 1.
        times: (K,) evenly spaced, ascending.
        smoothing: standard deviation, in the units of `times`, of the Gaussian that curves are smoothed with:
            noise makes the highest point of a round peak jump.

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
    if smoothing:
        kernel = torch.exp(-((times[:, None] - times) ** 2) / (2 * smoothing**2))
        curves = curves @ (kernel / kernel.sum(0))
    top = curves.argmax(-1, keepdim=True)
    peak = times[top[..., 0]]
    missing = curves.isnan().any(-1)
    if len(times) > 2:
        inner = top.clamp(1, len(times) - 2)
        before, at, after = (curves.gather(-1, inner + step)[..., 0] for step in (-1, 0, 1))
        bend = before - 2 * at + after
        # an end of the window has no neighbor on one side; a plateau has no bend
        between = (top == inner)[..., 0] & (bend < 0)
        shift = 0.5 * (before - after) / torch.where(between, bend, 1)
        peak = torch.where(between, peak + shift * (times[1] - times[0]), peak)
    return peak.masked_fill(missing, float("nan"))


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


def gradient(curves: Tensor, times: Tensor, course: Tensor) -> Tensor:
    r"""Return how much better late blocks predict late and early blocks early than the other way round.

    .. math:: g = \sum_l \sum_k d_l\, c_k\, (t_k - \bar t)\, r_{lk}, \quad
              \bar t = \sum_k t_k c_k^2 / \sum_k c_k^2

    with depths d from -1/2 to 1/2, and c the course of all blocks together, negative values as 0. It is 0
    where every block has that course, whatever its height, and near 0 where no block predicts: noise, whose
    peaks lie anywhere, weighs little here.

    Args:
        curves: (..., L, K) scores of blocks by lag.
        times: (K,) lags.
        course: (K,) mean over the blocks of the data, the same for their null.

    Returns:
        (...); positive where later blocks predict later.

    Example:
        >>> times = torch.tensor([0.1, 0.2])
        >>> round(float(gradient(torch.eye(2), times, torch.tensor([0.5, 0.5]))), 3)
        0.025
    """
    check_shape("times", times, "K", K=curves.shape[-1])
    check_shape("course", course, "K", K=curves.shape[-1])
    depth = torch.linspace(-0.5, 0.5, curves.shape[-2], dtype=curves.dtype, device=curves.device)
    times, weight = times.to(curves), course.to(curves).clamp(min=0)
    late = weight * (times - (times * weight**2).sum() / weight.square().sum())
    return torch.einsum("...lk,l,k->...", curves, depth, late)
