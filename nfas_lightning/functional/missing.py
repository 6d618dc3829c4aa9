"""Missing responses: columns that miss the same rows share the work."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["align_subjects", "column_patterns", "everything", "has_missing"]

_ALIGNING_STEPS = 30  # each leaves the share of missing values of what was left


def column_patterns(Y: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Group the columns of Y (T, R) by which rows are NaN, or of a boolean Y by which are True.

    Returns:
        (columns, observed) pairs: column indices, and the (T,) mask of rows that all of them have.

    Example:
        >>> nan = float("nan")
        >>> [(c.tolist(), o.tolist()) for c, o in column_patterns(torch.tensor([[nan, 1.0], [2.0, 3.0]]))]
        [([1], [True, True]), ([0], [False, True])]
    """
    missing = Y if Y.dtype is torch.bool else Y.isnan()
    if not bool(missing.any()):
        return everything(len(Y), Y.shape[1], Y.device)
    patterns, member = torch.unique(missing, dim=1, return_inverse=True)
    return [((member == i).nonzero()[:, 0], ~patterns[:, i]) for i in range(patterns.shape[1])]


def everything(n_rows: int, n_columns: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Return the single pattern of columns without a missing row."""
    return [(torch.arange(n_columns, device=device), torch.ones(n_rows, dtype=torch.bool, device=device))]


def has_missing(Y: Tensor) -> bool:
    """Tell whether any value is NaN, without a copy of them: the least of several is NaN if one is."""
    return bool(Y.numel()) and bool(Y.amin().isnan())


def align_subjects(Y: Tensor, runs: Tensor | None = None) -> Tensor:
    r"""Take the offsets between subjects off responses of which some are missing.

    A mean over the subjects that have a value steps wherever one is missing whose responses lie higher than
    the others'. Offsets come from the least squares fit of :math:`y_{st} = m_t + a_s` in each run; their mean
    stays. Complete ROIs are returned as they are: there an offset only shifts the mean.

    Args:
        Y: (S, T, R) responses, NaN where missing.
        runs: (T,) rows with offsets of their own; None: one offset for all.

    Returns:
        (S, T, R) responses in the dtype of `Y`.

    Example:
        >>> nan = float("nan")
        >>> align_subjects(torch.tensor([[[1.0], [2.0], [3.0]], [[9.0], [10.0], [nan]]])).nanmean(0).T
        tensor([[5., 6., 7.]])
    """
    lacking = Y.isnan().any(1).any(0) & ~Y.isnan().all(1).all(0)
    if len(Y) < 2 or not bool(lacking.any()):
        return Y
    aligned = Y.clone()
    columns = lacking.nonzero()[:, 0]
    labels = torch.zeros(Y.shape[1], device=Y.device) if runs is None else runs.to(Y.device)
    for label in torch.unique(labels):
        rows = (labels == label).nonzero()[:, 0]
        part = Y[:, rows[:, None], columns].double()
        offset = part.nanmean(1, keepdim=True)
        for _ in range(_ALIGNING_STEPS):
            mean = (part - offset).nanmean(0, keepdim=True)
            offset = (part - mean).nanmean(1, keepdim=True)
        aligned[:, rows[:, None], columns] = (part - offset + offset.nanmean(0, keepdim=True)).to(Y.dtype)
    return aligned
