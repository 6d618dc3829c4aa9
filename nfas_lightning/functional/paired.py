"""Interval and sign-flip test of a mean difference between paired scores."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from scipy.special import stdtrit
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_finite, check_shape

__all__ = ["PairedResult", "paired_test"]

# Rounding must not tell a flip that changes nothing from the differences as they are.
_TIE = 1e-9


class PairedResult(NamedTuple):
    """A mean difference and what is known of it.

    Attributes:
        mean: mean over units.
        low, high: limits of its confidence interval; NaN for a single unit.
        p_value: two-sided, of the sign-flip test; no less than 2 / 2^M, and 1 for a single unit.
    """

    mean: float
    low: float
    high: float
    p_value: float


def paired_test(
    differences: Tensor, *, confidence: float = 0.95, n_permutations: int = 9999, seed: int = 0
) -> PairedResult:
    r"""Test whether paired differences have mean zero, and say how large the mean is.

    .. math:: \bar d \pm t_{M-1}\, \frac{s}{\sqrt M}, \qquad
              p = \frac{\#\{\,|\textstyle\sum_m \pm d_m| \ge |\sum_m d_m|\,\}}{2^M}

    If the two scores of a unit can be exchanged, each sign is as likely as the other. All 2^M signs are tried
    where there are no more than `n_permutations` + 1 of them; else as many are drawn, and p = (1 + #) /
    (1 + draws).

    Args:
        differences: (M,) one per independent unit: first score minus second.
        confidence: of the interval, in (0, 1).
        n_permutations: draws where not all signs can be tried.
        seed: of the draws.

    Returns:
        `PairedResult`, computed in float64.

    Raises:
        ValueError: no differences, values that are not finite, numbers out of range.

    Reference:
        Fisher (1935), The Design of Experiments, section 21; Phipson and Smyth (2010), Stat. Appl. Genet.
        Mol. Biol. 9, 39, doi:10.2202/1544-6115.1585.

    Example:
        >>> result = paired_test(torch.tensor([0.25, 0.5, 0.25, 0.125, 0.375]))
        >>> result.mean, result.p_value
        (0.3, 0.0625)
        >>> round(result.low, 3), round(result.high, 3)
        (0.123, 0.477)
    """
    check_shape("differences", differences, "M")
    check_finite("differences", differences)
    m = len(differences)
    if not m:
        raise InputError("differences must hold at least one unit, got none.")
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, got {confidence}.")
    if n_permutations < 1:
        raise InputError(f"n_permutations must be at least 1, got {n_permutations}.")
    d = differences.cpu().double()
    mean = float(d.mean())
    half = math.nan
    if m > 1:
        half = float(stdtrit(m - 1, (1 + confidence) / 2)) * float(d.std()) / math.sqrt(m)
    return PairedResult(mean, mean - half, mean + half, _sign_flip_p(d, n_permutations, seed))


def _sign_flip_p(d: Tensor, n_permutations: int, seed: int) -> float:
    """Return the two-sided p of differences (M,): of all signs, or of those that are drawn."""
    m = len(d)
    least = d.sum().abs() - _TIE * d.abs().sum()
    if 2**m <= n_permutations + 1:
        flipped = (torch.arange(2**m)[:, None] >> torch.arange(m)) & 1
        return float(((1 - 2 * flipped).double() @ d).abs().ge(least).double().mean())
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(2, (n_permutations, m), generator=generator, dtype=torch.int8)
    reached = ((1 - 2 * signs).double() @ d).abs() >= least
    return (1 + int(reached.sum())) / (1 + n_permutations)
