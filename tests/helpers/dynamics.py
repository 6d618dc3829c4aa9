"""Trajectories of known dynamics, and the comparison of their eigenvalues."""

from __future__ import annotations

import torch


def random_walk(n=12, depth=7, width=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, depth, width, generator=generator, dtype=torch.float64).cumsum(dim=1).to(dtype)


def linear(A, x0, depth):
    """States x0 A^l, rows are stimuli."""
    return torch.stack([x0 @ torch.linalg.matrix_power(A, power) for power in range(depth)], dim=1)


def same_set(got, wanted, atol):
    """Order of eigenvalues carries no meaning: match each to the nearest."""
    distance = (got[:, None] - wanted[None]).abs()
    order = distance.argmin(dim=1)
    assert len(set(order.tolist())) == len(wanted)
    assert distance.gather(1, order[:, None]).max() < atol
    return order.numpy()


def planted_modes(n=120, depth=8, width=6, seed=0):
    """A mode that persists, one that decays by half, a pair that turns: trajectory, and features by kind."""
    generator = torch.Generator().manual_seed(seed)
    parts = torch.randn(4, n, width, generator=generator, dtype=torch.float64)
    level = torch.arange(depth, dtype=torch.float64)
    turn = 0.98**level * torch.stack([torch.cos(0.7 * level), torch.sin(0.7 * level)])
    courses = torch.stack([level**0, 0.5**level, *turn])
    H = torch.einsum("kl,knd->nld", courses, parts)
    return H, {"persistent": parts[0], "decaying": parts[1], "turning": torch.cat([parts[2], parts[3]], 1)}
