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
