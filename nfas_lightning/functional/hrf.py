"""Hemodynamic response functions: differences of two gamma densities, and their exact integrals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from nfas_lightning.functional.checks import check_option

__all__ = ["HRF_LENGTH", "HRFModel", "hrf", "hrf_integral"]

HRFModel = Literal["spm", "glover"]

HRF_LENGTH = 32.0
"""Seconds after which a response counts as over."""


@dataclass(frozen=True)
class _GammaDifference:
    """Shapes and scale (s) of the peak and the undershoot, and the undershoot's share."""

    peak_shape: float
    undershoot_shape: float
    scale: float
    ratio: float


_SHAPES: dict[HRFModel, _GammaDifference] = {
    "spm": _GammaDifference(6.0, 16.0, 1.0, 1 / 6),
    "glover": _GammaDifference(6 / 0.9, 12 / 0.9, 0.9, 0.48),
}


def hrf(times: Tensor, kind: HRFModel = "spm") -> Tensor:
    r"""Evaluate a hemodynamic response to an impulse at time 0.

    .. math:: h(t) = \frac{g(t; a_1, b) - \rho\, g(t; a_2, b)}{\int_0^{32} \cdot\; dt}, \quad
              g(t; a, b) = \frac{t^{a-1} e^{-t/b}}{\Gamma(a)\, b^a}

    SPM: a = 6 and 16, b = 1 s, rho = 1/6. Glover: a b = 6 and 12 s, b = 0.9 s, rho = 0.48.

    Args:
        times: seconds since the event, any shape.
        kind: ``"spm"`` or ``"glover"``.

    Returns:
        Responses per second, same shape, float64: unit area over 32 s, 0 outside.

    Raises:
        ValueError: an unknown kind.

    Reference:
        Friston et al. (1998), NeuroImage 7, 30-40, doi:10.1006/nimg.1997.0306; Glover (1999), NeuroImage 9,
        416-429, doi:10.1006/nimg.1998.0419.

    Example:
        >>> hrf(torch.tensor([0.0, 5.0, 16.0])).round(decimals=3)
        tensor([ 0.0000,  0.2110, -0.0190], dtype=torch.float64)
    """
    check_option("hrf", kind, get_args(HRFModel))
    shape = _SHAPES[kind]
    t = times.double().clamp(min=0)
    peak, undershoot = (_density(t, a, shape.scale) for a in (shape.peak_shape, shape.undershoot_shape))
    value = (peak - shape.ratio * undershoot) / _area(torch.tensor(HRF_LENGTH).double(), shape).to(t.device)
    return value.masked_fill((times < 0) | (times > HRF_LENGTH), 0)


def hrf_integral(times: Tensor, kind: HRFModel = "spm") -> Tensor:
    """Integrate `hrf` from 0 to each time: 0 before the event, 1 from 32 s on; exact, float64."""
    check_option("hrf", kind, get_args(HRFModel))
    shape = _SHAPES[kind]
    t = times.double().clamp(min=0, max=HRF_LENGTH)
    return _area(t, shape) / _area(torch.full_like(t, HRF_LENGTH), shape)


def _density(t: Tensor, a: float, scale: float) -> Tensor:
    """Gamma density of shape a; xlogy keeps t = 0 finite."""
    return torch.exp(torch.xlogy(t.new_tensor(a - 1), t / scale) - t / scale - math.lgamma(a)) / scale


def _area(t: Tensor, shape: _GammaDifference) -> Tensor:
    """Integral of the unnormalized difference from 0 to t, by the incomplete gamma function."""
    peak, undershoot = (
        torch.special.gammainc(t.new_tensor(a), t / shape.scale)
        for a in (shape.peak_shape, shape.undershoot_shape)
    )
    area: Tensor = peak - shape.ratio * undershoot
    return area
