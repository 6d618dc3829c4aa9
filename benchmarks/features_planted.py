"""Trajectories with known dynamics, and responses that one part of them drives."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["DEPTHS", "DRIVERS", "planted"]

DRIVERS = ("lasting", "turning", "fading", "lasting+turning")
DEPTHS = (4, 5, 7, 13, 31)


def planted(
    seed: int, depth: int, driver: str, *, n: int = 200, width: int = 48, units: int = 6, n_rois: int = 8
) -> tuple[Tensor, Tensor]:
    """Return a trajectory (N, L, D) and responses (N, R) with as much noise as signal.

    `units` directions are carried on unchanged, `units` turn by 0.3 rad per block, and `units` fade to 0.6 of
    their size at each block. Every block adds noise of its own, grows by 5 % and has a mean.

    Args:
        seed: of everything.
        depth: L.
        driver: which part responses follow, one of `DRIVERS`.
        n: N.
        width: D.
        units: directions of each part.
        n_rois: R.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    lasting, first, second, fading = (normal(n, units) for _ in range(4))
    basis = torch.linalg.qr(normal(width, width))[0][: 3 * units].view(3, units, width)
    states = []
    for block in range(depth):
        angle = torch.tensor(0.3 * block)
        turning = angle.cos() * first + angle.sin() * second
        signal = lasting @ basis[0] + 1.2 * turning @ basis[1] + 1.5 * 0.6**block * fading @ basis[2]
        states.append(1.05**block * (signal + (units / width) ** 0.5 * normal(n, width)) + 2)
    parts = {"lasting": [lasting], "turning": [first, second], "fading": [fading]}
    source = torch.cat([part for name in driver.split("+") for part in parts[name]], dim=1)
    Y = source @ normal(source.shape[1], n_rois)
    return torch.stack(states, dim=1), Y / Y.std(0) + normal(n, n_rois)
