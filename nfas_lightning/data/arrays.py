"""Anything array-like that people hold, as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

__all__ = ["to_tensor"]


def to_tensor(what: str, value: Any) -> Tensor:
    """Copy numbers into a tensor, so that what the user holds is neither shared nor changed.

    Args:
        what: what errors call it.
        value: a tensor, array, data frame, or nested lists. What a masked array masks becomes NaN.

    Raises:
        ValueError: it holds anything but numbers.

    Example:
        >>> to_tensor("confounds", pd.DataFrame({"x": [1.0, 2.0]})).shape
        torch.Size([2, 1])
    """
    if isinstance(value, Tensor):
        return value.detach().clone()
    array = np.array(_unmasked(value))
    if array.dtype == object and isinstance(value, pd.DataFrame | pd.Series):
        # booleans beside numbers, or pandas's own kinds of missing
        array = pd.DataFrame(value).apply(pd.to_numeric, errors="coerce").to_numpy("float64", na_value=np.nan)
        lost = np.isnan(array) & pd.DataFrame(value).notna().to_numpy()
        if lost.any():
            row, column = map(int, np.argwhere(lost)[0])
            raise ValueError(
                f"{what} must hold numbers, got {pd.DataFrame(value).iloc[row, column]!r} in row {row} of "
                f"column {pd.DataFrame(value).columns[column]!r} (rows counted from 0). Leave out columns of "
                "text, and write NaN where a value is missing."
            )
        array = array.reshape(np.shape(value))
    if array.dtype.kind not in "biufc":
        first = array.flat[0] if array.size else None
        raise ValueError(
            f"{what} must hold numbers, got {array.dtype} such as {str(first)!r}. Convert text with "
            ".astype(float), and write NaN where a value is missing."
        )
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


def _unmasked(value: Any) -> Any:
    """Return a masked array, or a list of such, with NaN where it is masked."""
    if isinstance(value, list | tuple) and any(isinstance(part, np.ma.MaskedArray) for part in value):
        return [_unmasked(part) for part in value]
    if not isinstance(value, np.ma.MaskedArray):
        return value
    if not np.ma.is_masked(value):
        return value.data
    return np.ma.filled(value if value.dtype.kind in "fc" else value.astype(np.float64), np.nan)
