"""What a mode of depth dynamics does on its way through a network: it persists, grows, decays or turns."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_count
from nfas_lightning.functional.depth_modes import DMDResult, Phase, combine_depths

__all__ = ["ModeKinds", "combine_modes", "mode_kinds"]

_ROUNDING = 1e-9  # share of the largest amplitude below which a mode has no part in the trajectory
_QUARTER = math.pi / 2


class ModeKinds(NamedTuple):
    """Modes in words and numbers, (r,) each.

    Attributes:
        modulus: factor by which a mode changes from block to block.
        depth_constant: blocks in which it falls to 1/e; negative where it grows, by e; infinite at modulus 1.
        turn: degrees per block, 0 to 180.
        kinds: ``"persistent"``, ``"growing"``, ``"decaying"`` or ``"turning"``.
    """

    modulus: Tensor
    depth_constant: Tensor
    turn: Tensor
    kinds: tuple[str, ...]


def mode_kinds(eigenvalues: Tensor, n_depths: int) -> ModeKinds:
    r"""Say what modes do between the first and the last of L depths.

    With :math:`\lambda = \rho e^{i \theta}` a mode falls to 1/e in :math:`-1 / \ln \rho` blocks. It is
    *turning* where it turns by a quarter or more, :math:`|\theta| t \ge \pi / 2`, in the time that it has: t
    is L - 1 blocks, or fewer in which it falls or grows by e. Else it is *persistent* where it changes by
    less than e between the first and the last depth, or *growing* or *decaying*. The bounds are ours.

    Args:
        eigenvalues: (r,) complex, see `dmd`.
        n_depths: L.

    Returns:
        `ModeKinds`, float64.

    Raises:
        ValueError: fewer than two depths.

    Example:
        >>> found = mode_kinds(torch.tensor([1.0, 1.3, 0.6, 0.9j]), n_depths=9)
        >>> found.kinds
        ('persistent', 'growing', 'decaying', 'turning')
        >>> found.turn
        tensor([ 0.,  0.,  0., 90.], dtype=torch.float64)
    """
    check_count("n_depths", n_depths, 2)
    values = eigenvalues.to(torch.complex128)
    rate, angle = values.abs().log(), values.angle().abs()
    blocks = (1 / rate.abs()).clamp(max=n_depths - 1)
    kinds = [
        "turning"
        if turned >= _QUARTER - _ROUNDING
        else "persistent"
        if abs(change) < 1
        else "growing"
        if change > 0
        else "decaying"
        for turned, change in zip((angle * blocks).tolist(), (rate * (n_depths - 1)).tolist(), strict=True)
    ]
    return ModeKinds(values.abs(), -1 / rate, angle.rad2deg(), tuple(kinds))


def combine_modes(
    H: Tensor, result: DMDResult, *, phase: Phase = "quadrature", device: torch.device | None = None
) -> list[tuple[int, Tensor]]:
    r"""Return each mode's part of every stimulus, from all depths.

    .. math:: \min_z \sum_l \lVert x_l - \sum_j \lambda_j^l z_j \rVert^2, \qquad z = V^+ x, \quad
              V_{lj} = \lambda_j^l

    A stimulus's trajectory is fitted as the sum of the modes, whose courses over depth are known. That reads
    all depths, where `combine_depths` reads what a mode has in the first one; of exact dynamics both are one.

    Args:
        H: (N, L, D) depth trajectory.
        result: of ``dmd(H, operator="joint")``.
        phase: see `combine_depths`.
        device: that does the work, see `dmd`.

    Returns:
        Position of the mode in ``result.eigenvalues`` and its features, (N, D) or (N, 2 D); a conjugate pair
        is one mode. From the slowest decay to the fastest.

    Raises:
        ValueError: another operator, whose modes are not those of all stimuli.

    Reference:
        Askham and Kutz (2018), SIAM J. Appl. Dyn. Syst. 17, 380-416, doi:10.1137/M1124176.
    """
    if result.operator != "joint":
        raise InputError(f'Modes to combine are those of operator="joint", got {result.operator!r}.')
    courses = result.eigenvalues.cpu()[None] ** torch.arange(result.mode_coefficients.shape[-1])[:, None]
    fitted = replace(result, mode_coefficients=torch.linalg.pinv(courses).to(result.eigenvalues.device))
    least = _ROUNDING * float(result.amplitudes.max())
    there = (result.eigenvalues.imag >= 0) & (result.amplitudes > least)
    order = result.eigenvalues.abs().argsort(descending=True, stable=True)
    return [
        (int(place), combine_depths(H, replace(fitted, stable_index=place), phase=phase, device=device))
        for place in order[there[order]].unbind()
    ]
