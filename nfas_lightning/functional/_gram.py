"""One pass over a depth trajectory: inner products between depths, sums, centering.

Nothing here keeps a copy of the trajectory: it is read in chunks of stimuli, each raised to float64, because
a Gram matrix squares the condition number of what it is made from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Centering",
    "DepthStatistics",
    "center_gram",
    "chunks",
    "depth_gram",
    "standardize",
    "unit_moments",
]

Centering = Literal["none", "center", "scale", "zscore"]

# Values raised to float64 at a time: 2 MB stays in a CPU's cache, 128 MB keeps an accelerator busy.
_CHUNK_CPU, _CHUNK_ACCELERATOR = 2**18, 2**24
# About eight eps of float32, squared: what `checks.is_constant` allows, on the scale of a power.
_NO_VARIANCE = 1e-12


class DepthStatistics(NamedTuple):
    """Additive statistics of a stimulus set: two sets' statistics add up to those of their union.

    Attributes:
        gram: (L, L) float64, K = sum_n H_n H_n^T of the raw states.
        sums: (L, D) float64, sum over stimuli.
        n_stimuli: N.
    """

    gram: Tensor
    sums: Tensor
    n_stimuli: int


def double_device(device: torch.device) -> torch.device:
    """Return `device`, or the CPU where `device` has no float64 (Apple's MPS)."""
    return torch.device("cpu") if device.type == "mps" else device


def has_no_variance(variance: Tensor, power: Tensor) -> Tensor:
    """Tell whose variance is so small a share of the power about zero that it holds rounding, not stimuli."""
    return variance <= _NO_VARIANCE * power


def chunks(H: Tensor) -> Iterator[slice]:
    """Cut (N, ...) into slices of stimuli that are small once in float64."""
    values = _CHUNK_CPU if double_device(H.device).type == "cpu" else _CHUNK_ACCELERATOR
    step = max(1, values * len(H) // max(1, H.numel()))
    for start in range(0, len(H), step):
        yield slice(start, min(start + step, len(H)))


def standardize(H: Tensor, mean: Tensor | None, scale: Tensor | None, *, out: Tensor | None = None) -> Tensor:
    """Return (H - mean) / scale in float64; a unit whose scale is zero becomes zero.

    Args:
        H: (B, L, D).
        mean: see `depth_gram`.
        scale: see `depth_gram`.
        out: float64 of B or more stimuli to write into, so that a loop touches the same memory again; the
            result is its first B.
    """
    if out is None:
        Z = H.to(device=double_device(H.device)).to(torch.float64, copy=True)
    else:
        Z = out[: len(H)].copy_(H)
    if mean is not None:
        Z -= mean
    if scale is not None:
        Z *= torch.where(scale > 0, 1 / scale, 0)
    return Z


def stimulus_grams(H: Tensor, mean: Tensor | None = None, scale: Tensor | None = None) -> Tensor:
    """Return (N, L, L) float64: one Gram a stimulus, of the standardized states."""
    n, depth, _ = H.shape
    grams = torch.empty(n, depth, depth, dtype=torch.float64, device=double_device(H.device))
    buffer: Tensor | None = None
    for part in chunks(H):
        Z = buffer = standardize(H[part], mean, scale, out=buffer)
        torch.bmm(Z, Z.mT, out=grams[part])
    return grams


def depth_gram(H: Tensor, mean: Tensor | None = None, scale: Tensor | None = None) -> Tensor:
    """Return the Gram over depth, K = sum_n H_n H_n^T.

    Args:
        H: (N, L, D) depth trajectory, any floating dtype.
        mean: (L, D) taken off first; None: nothing.
        scale: (L, 1) or (L, D) divided by, after the mean; None: nothing.

    Returns:
        (L, L) float64, symmetric, on the device of `H`. A sum over stimuli: batches add up.

    Example:
        >>> H = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0))
        >>> torch.allclose(depth_gram(H), depth_gram(H[:2]) + depth_gram(H[2:]))
        True
    """
    gram = torch.zeros(H.shape[1], H.shape[1], dtype=torch.float64, device=double_device(H.device))
    buffer: Tensor | None = None
    for part in chunks(H):
        Z = buffer = standardize(H[part], mean, scale, out=buffer)
        gram += torch.bmm(Z, Z.mT).sum(dim=0)
    return gram


def depth_statistics(H: Tensor) -> DepthStatistics:
    """Return Gram and sums of (N, L, D) in one pass."""
    device = double_device(H.device)
    gram = torch.zeros(H.shape[1], H.shape[1], dtype=torch.float64, device=device)
    sums = torch.zeros(H.shape[1:], dtype=torch.float64, device=device)
    buffer: Tensor | None = None
    for part in chunks(H):
        Z = buffer = standardize(H[part], None, None, out=buffer)
        gram += torch.bmm(Z, Z.mT).sum(dim=0)
        sums += Z.sum(dim=0)
    return DepthStatistics(gram, sums, len(H))


def unit_moments(H: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (ddof = 0) over stimuli of every unit at every depth, both (L, D).

    Two passes, so that a mean far above the deviation costs no digits.
    """
    mean = sum_over_stimuli(H) / len(H)
    squares = torch.zeros_like(mean)
    for part in chunks(H):
        squares += standardize(H[part], mean, None).square_().sum(dim=0)
    variance = squares / len(H)
    return mean, variance.masked_fill(has_no_variance(variance, variance + mean.square()), 0).sqrt()


def sum_over_stimuli(H: Tensor) -> Tensor:
    """Return (L, D) float64 sums over stimuli."""
    device = double_device(H.device)
    sums = torch.zeros(H.shape[1:], dtype=torch.float64, device=device)
    if H.dtype == torch.float32 and device.type == "cpu":
        # a product with ones reads at the speed of memory; sixteen terms lose no digit that float32 had
        for block in torch.split(H, 16):
            sums += (block.new_ones(1, len(block)) @ block.reshape(len(block), -1)).view_as(sums)
        return sums
    for part in chunks(H):
        sums += H[part].to(device).sum(dim=0, dtype=torch.float64)
    return sums


def center_gram(
    statistics: DepthStatistics, centering: Centering
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Turn raw statistics into the Gram after centering, its mean (L, D) and its scale (L, 1).

    Centering needs no second look at the states: with S the sums, the centered Gram is K - S S^T / N, and the
    Frobenius norm of each centered layer is the root of its diagonal.

    Raises:
        ValueError: `zscore`, which scales each unit and so cannot be recovered from the Gram.
    """
    gram, sums, count = statistics
    if centering == "none":
        return gram, None, None
    if centering == "zscore":
        raise ValueError(
            "centering='zscore' scales each unit and cannot be recovered from the Gram and the sums: stream "
            "it in two passes (unit_moments, then depth_gram(H, mean, scale)), or use 'none', 'center' or "
            "'scale'."
        )
    centered = gram - sums @ sums.T / count
    mean = sums / count
    if centering == "center":
        return centered, mean, None
    norm = centered.diagonal().clamp(min=0).sqrt()
    inverse = torch.where(norm > 0, 1 / norm, 0)
    return centered * inverse[:, None] * inverse, mean, norm[:, None]


def depths_without_variance(power: Tensor, mean: Tensor | None, count: int) -> Tensor:
    """Return the indices of depths at which every stimulus has the same state.

    Args:
        power: (L,) sum over stimuli and units of the squared *centered* states.
        mean: (L, D) mean over stimuli.
        count: N.
    """
    if mean is None:
        return torch.empty(0, dtype=torch.int64)
    total = power + count * mean.square().sum(dim=1)
    return has_no_variance(power, total).nonzero().flatten().cpu()
