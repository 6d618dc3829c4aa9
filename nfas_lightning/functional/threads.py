"""How many threads a computation takes: one, where several would wait for each other more than they work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["one_thread_if_small"]

# Multiplications of a Gram matrix, up to which one thread needs less than about a second for a fit. Beside a
# busy process, threads that wait for one another at every small factorization are ten times slower than one,
# see docs/performance.md; from here on a second thread saves more than that can cost.
_SMALL = 5e8


@contextmanager
def one_thread_if_small(X: Tensor) -> Iterator[None]:
    """Work in one thread inside where features (T, P) on a CPU are few; then in as many as before.

    Args:
        X: (T, P) whose Gram matrices are to be decomposed.
    """
    before = torch.get_num_threads()
    if X.device.type != "cpu" or X.ndim != 2 or before == 1 or X.numel() * min(X.shape) > _SMALL:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
