"""Missing responses: columns that miss the same rows share the work."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["column_patterns"]


def column_patterns(Y: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Group the columns of Y (T, R) by which rows are NaN.

    Returns:
        (columns, observed) pairs: column indices, and the (T,) mask of rows that all of them have.

    Example:
        >>> nan = float("nan")
        >>> [(c.tolist(), o.tolist()) for c, o in column_patterns(torch.tensor([[nan, 1.0], [2.0, 3.0]]))]
        [([1], [True, True]), ([0], [False, True])]
    """
    missing = Y.isnan()
    if not bool(missing.any()):
        return [(torch.arange(Y.shape[1], device=Y.device), ~missing.any(1))]
    patterns, member = torch.unique(missing, dim=1, return_inverse=True)
    return [((member == i).nonzero()[:, 0], ~patterns[:, i]) for i in range(patterns.shape[1])]
