"""Antialiased resizing of images; the filters are Pillow's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["INTERPOLATIONS", "resample"]

INTERPOLATIONS = ("bicubic", "bilinear", "lanczos")
_LOBES = 3  # of the Lanczos filter


def resample(image: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    """Resize images with an antialiased filter, one axis after the other, as images of bytes are resized.

    Args:
        image: (B, C, H, W), in [0, 1].
        size: new (height, width).
        interpolation: one of `INTERPOLATIONS`. Bicubic and Lanczos overshoot at edges; what does is clamped
            after each axis, since bytes hold no more.

    Returns:
        (B, C, height, width), in [0, 1].

    Example:
        >>> resample(torch.ones(1, 3, 8, 8), (5, 4), "lanczos").shape
        torch.Size([1, 3, 5, 4])
    """
    height, width = size
    if interpolation == "lanczos":  # which torch has in its newest versions alone
        image = (image @ _lanczos(image.shape[-1], width).to(image).T).clamp(0, 1)
        return (_lanczos(image.shape[-2], height).to(image) @ image).clamp(0, 1)
    for new in ((image.shape[-2], width), (height, width)):
        if new != tuple(image.shape[-2:]):
            image = F.interpolate(image, new, mode=interpolation, align_corners=False, antialias=True)
            image = image.clamp(0, 1)
    return image


def _lanczos(old: int, new: int) -> Tensor:
    """Weights (new, old) of the old pixels in each new one; each row sums to one."""
    scale = old / new
    width = max(scale, 1.0)  # a smaller image is smoothed first
    centers = (torch.arange(new, dtype=torch.float64) + 0.5) * scale
    pixels = torch.arange(old, dtype=torch.float64) + 0.5
    distance = (pixels - centers[:, None]) / width
    weights = torch.sinc(distance) * torch.sinc(distance / _LOBES) * (distance.abs() < _LOBES)
    return weights / weights.sum(1, keepdim=True)
