"""One pass over a depth trajectory: inner products between depths, sums, centering.

Nothing here keeps a copy of the trajectory: it is read in chunks of stimuli, each raised to float64, because
a Gram matrix squares the condition number of what it is made from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_finite, double_device

__all__ = [
    "Centering",
    "center_gram",
    "check_gram",
    "chunks",
    "depth_gram",
    "depth_statistics",
    "has_no_variance",
    "leading_directions",
    "standardize_depths",
    "stimulus_grams",
    "sum_over_stimuli",
    "unit_moments",
]

Centering = Literal["none", "center", "scale", "zscore"]

# Values raised to float64 at a time: 2 MB stays in a CPU's cache, 128 MB keeps an accelerator busy.
_CHUNK_CPU, _CHUNK_ACCELERATOR = 2**18, 2**24
# About eight eps of float32, squared: what `checks.is_constant` allows, on the scale of a power.
_NO_VARIANCE = 1e-12


def has_no_variance(variance: Tensor, power: Tensor) -> Tensor:
    """Tell whose variance is so small a share of the power about zero that it is rounding."""
    return variance <= _NO_VARIANCE * power


def chunks(H: Tensor, device: torch.device | None = None) -> Iterator[slice]:
    """Cut (N, ...) into slices of stimuli that are small once in float64 on the device that works."""
    values = _CHUNK_CPU if double_device(device or H.device).type == "cpu" else _CHUNK_ACCELERATOR
    step = max(1, values * len(H) // max(1, H.numel()))
    for start in range(0, len(H), step):
        yield slice(start, min(start + step, len(H)))


def standardize_depths(
    H: Tensor,
    mean: Tensor | None,
    scale: Tensor | None,
    device: torch.device | None = None,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """Return (H - mean) / scale of (B, L, D) in float64; a unit whose scale is zero becomes zero.

    `out` is float64 for B or more stimuli to write into, so that a loop touches the same memory again; the
    result is its first B.
    """
    if out is None:
        Z = H.to(device=double_device(device or H.device)).to(torch.float64, copy=True)
    else:
        Z = out[: len(H)].copy_(H)
    if mean is not None:
        Z -= mean
    if scale is not None:
        Z *= torch.where(scale > 0, 1 / scale, 0)
    return Z


def stimulus_grams(
    H: Tensor,
    mean: Tensor | None = None,
    scale: Tensor | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Return (N, L, L) float64: one Gram per stimulus, of the standardized states."""
    n, depth, _ = H.shape
    grams = torch.empty(n, depth, depth, dtype=torch.float64, device=double_device(device or H.device))
    buffer: Tensor | None = None
    for part in chunks(H, device):
        Z = buffer = standardize_depths(H[part], mean, scale, device, out=buffer)
        torch.bmm(Z, Z.mT, out=grams[part])
    return grams


def depth_gram(
    H: Tensor,
    mean: Tensor | None = None,
    scale: Tensor | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Return the Gram over depth, K = sum_n H_n H_n^T.

    Args:
        H: (N, L, D) depth trajectory, any floating dtype.
        mean: (L, D) subtracted first; None: nothing.
        scale: (L, 1) or (L, D), divisor after the mean; None: 1.
        device: that does the work, see `dmd`.

    Returns:
        (L, L) float64, symmetric, on the device that did the work. A sum over stimuli: batches add up.

    Example:
        >>> H = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0))
        >>> torch.allclose(depth_gram(H), depth_gram(H[:2]) + depth_gram(H[2:]))
        True
    """
    return depth_statistics(H, mean, scale, device)[0]


def depth_statistics(
    H: Tensor,
    mean: Tensor | None = None,
    scale: Tensor | None = None,
    device: torch.device | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the Gram (L, L) and the sums over stimuli (L, D) of the standardized states, in one pass."""
    device = double_device(device or H.device)
    gram = torch.zeros(H.shape[1], H.shape[1], dtype=torch.float64, device=device)
    sums = torch.zeros(H.shape[1:], dtype=torch.float64, device=device)
    buffer: Tensor | None = None
    for part in chunks(H, device):
        Z = buffer = standardize_depths(H[part], mean, scale, device, out=buffer)
        gram += torch.bmm(Z, Z.mT).sum(dim=0)
        sums += Z.sum(dim=0)
    return gram, sums


def unit_moments(H: Tensor, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (ddof = 0) over stimuli of every unit at every depth, both (L, D).

    Two passes, so that a mean far above the deviation costs no digits.
    """
    mean = sum_over_stimuli(H, device) / len(H)
    squares = torch.zeros_like(mean)
    for part in chunks(H, device):
        squares += standardize_depths(H[part], mean, None, device).square_().sum(dim=0)
    variance = squares / len(H)
    return mean, variance.masked_fill(has_no_variance(variance, variance + mean.square()), 0).sqrt()


def sum_over_stimuli(H: Tensor, device: torch.device | None = None) -> Tensor:
    """Return (L, D) float64 sums over stimuli."""
    device = double_device(device or H.device)
    sums = torch.zeros(H.shape[1:], dtype=torch.float64, device=device)
    if H.dtype == torch.float32 and device.type == "cpu":
        # a product with ones reads at the speed of memory; sixteen terms lose no digit that float32 had
        for block in torch.split(H, 16):
            sums += (block.new_ones(1, len(block)) @ block.reshape(len(block), -1)).view_as(sums)
        return sums
    for part in chunks(H, device):
        sums += H[part].to(device).sum(dim=0, dtype=torch.float64)
    return sums


def center_gram(
    gram: Tensor, sums: Tensor, count: int, centering: Centering
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Turn the Gram (L, L) and the sums (L, D) of N raw states into those after centering.

    This needs no second look at the states: with S the sums, the centered Gram is K - S S^T / N, and the
    Frobenius norm of each centered layer is the root of its diagonal. ``"zscore"`` scales each unit, which
    the Gram does not hold: it takes `unit_moments` and then ``depth_gram(H, mean, scale)``.

    Returns:
        Gram (L, L), mean (L, D) and scale (L, 1); None for what the centering does not have.
    """
    if centering == "none":
        return gram, None, None
    centered = gram - sums @ sums.T / count
    mean = sums / count
    if centering == "center":
        return centered, mean, None
    norm = centered.diagonal().clamp(min=0).sqrt()
    inverse = torch.where(norm > 0, 1 / norm, 0)
    return centered * inverse[:, None] * inverse, mean, norm[:, None]


def check_gram(gram: Tensor, H: Tensor) -> None:
    """Raise if the Gram of `H` is not finite, and say where `H` is not.

    NaN and infinity reach the Gram, which is far smaller than `H`: nothing is read twice while all is well.
    """
    if not bool(torch.isfinite(gram.sum())):
        check_finite("H", H)
        raise InputError("H must be small enough to be squared in float64: rescale it.")


def leading_directions(
    H: Tensor, mean: Tensor | None, scale: Tensor | None, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Return left singular vectors (D, K) and singular values (K,) of all but the last states.

    From the Gram of the smaller side: D x D, or transitions x transitions where D is larger.
    """
    n, depth, width = H.shape
    device = double_device(device or H.device)
    if width <= n * (depth - 1):
        gram = torch.zeros(width, width, dtype=torch.float64, device=device)
        for part in chunks(H, device):
            X = standardize_depths(H[part], mean, scale, device)[:, :-1].flatten(0, 1)
            gram += X.T @ X
    else:
        X = standardize_depths(H, mean, scale, device)[:, :-1].flatten(0, 1)
        gram = X @ X.T
    check_gram(gram, H)
    squares, vectors = torch.linalg.eigh(gram)
    s, vectors = squares.clamp(min=0).sqrt().flip(0), vectors.flip(1)
    if width > n * (depth - 1):
        vectors = X.T @ vectors * torch.where(s > 0, 1 / s, 0)
    return vectors, s
