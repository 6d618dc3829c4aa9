"""The order of stimuli: sorted by id, each once. The one place that sorts and deduplicates them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["first_of_each"]


def first_of_each(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Find the first row of each stimulus, in the order of the ids.

    The order of batches, the number of processes and the duplicates of padded samplers then make no
    difference.

    Args:
        ids: (rows,) integers, in any order, possibly repeated.

    Returns:
        (N,) the first row of each distinct id, ids ascending; and (rows,) which of these N stimuli each row
        is of.

    Example:
        >>> first_of_each(torch.tensor([7, 3, 7]))
        (tensor([1, 0]), tensor([1, 0, 1]))
    """
    distinct, place = torch.unique(ids, return_inverse=True)
    rows = torch.arange(len(ids), device=ids.device)
    first = rows.new_full((len(distinct),), len(ids)).scatter_reduce(0, place, rows, "amin")
    return first, place
