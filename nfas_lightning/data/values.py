"""Numbers that people hold, as tensors; responses among them, checked."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from nfas_lightning.data.pairing import row_orders, take_rows
from nfas_lightning.errors import InputError


def to_tensor(what: str, value: Any) -> Tensor:
    """Copy a tensor, array, table, or nested lists of numbers into a tensor; masked values become NaN."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    array = np.array(_unmasked(value))
    if array.dtype == object and isinstance(value, pd.DataFrame | pd.Series):
        # booleans beside numbers, or pandas's own kinds of missing
        table = pd.DataFrame(value)
        array = table.apply(pd.to_numeric, errors="coerce").to_numpy("float64", na_value=np.nan)
        for row, column in np.argwhere(np.isnan(array) & table.notna().to_numpy()):
            raise InputError(
                f"{what} must hold numbers, got {table.iloc[row, column]!r} in row {row} of column "
                f"{table.columns[column]!r} (counted from 0)."
            )
        array = array.reshape(np.shape(value))
    if array.dtype.kind not in "biufc":
        first = array.flat[0] if array.size else None
        raise InputError(
            f"{what} must hold numbers, got {array.dtype} such as {str(first)!r}: convert text with "
            ".astype(float)."
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


def one_table(responses: Any) -> tuple[Any, pd.Index | None, list[str] | None]:
    """Return responses as one array or table, with the index and the names of its columns.

    A list of tables, one per subject, becomes an array (S, T, R): rows in the order of the first table's
    index, columns in that of its names.
    """
    if isinstance(responses, pd.DataFrame):
        return responses, responses.index, _column_names(responses)
    tables = list(responses) if isinstance(responses, list | tuple) else []
    if not tables or not all(isinstance(table, pd.DataFrame) for table in tables):
        return responses, None, None
    named = {f"responses[{s}]": table for s, table in enumerate(tables)}
    orders = row_orders({name: table.index for name, table in named.items()})
    first = tables[0]
    arrays = []
    for name, table in named.items():
        if len(table) != len(first) or set(table.columns) != set(first.columns):
            raise InputError(
                "The table of every subject must have the rows and the columns of the first, got "
                f"{len(table)} rows and {list(table.columns)[:5]} in {name}."
            )
        arrays.append(to_tensor(name, take_rows(table[list(first.columns)], orders[name])))
    return torch.stack(arrays), first.index, _column_names(first)


def _column_names(table: pd.DataFrame) -> list[str] | None:
    """Return the names of a table's columns, None where pandas numbered them."""
    if pd.api.types.is_integer_dtype(table.columns) and table.columns.equals(pd.RangeIndex(table.shape[1])):
        return None
    for place in np.flatnonzero(table.columns.isna()).tolist():
        raise InputError(
            f"Every column of responses must have the name of its ROI, got {table.columns[place]!r} for "
            f"column {place} (counted from 0)."
        )
    return [str(name) for name in table.columns]


_LABELS = {
    "id", "index", "idx", "row", "row_number", "item", "trial", "subject", "sub", "participant", "session",
    "run", "block", "stimulus", "stimulus_id", "stim_id", "image", "image_id", "volume", "onset",
}  # fmt: skip


def check_no_labels(what: str, names: Sequence[str], values: Tensor | None = None) -> None:
    """Refuse columns that label or count rows and measure nothing.

    No name may be pandas' own for a column without one; of responses (S, T, R), no column may hold row
    numbers, or whole numbers under the name of a label.
    """
    wrong = {i: "is pandas' name for a column without one"
             for i, name in enumerate(names) if re.fullmatch(r"Unnamed: \d+", name)}  # fmt: skip
    if values is not None:
        rows = values[0].double()
        counts = (rows.diff(dim=0) == 1).all(dim=0) & (rows[0] == rows[0].round()) & (len(rows) > 2)
        counts &= ~counts.all()  # nobody's ROIs, but no labels of them either
        whole = (rows == rows.round()).all(dim=0)
        for place in counts.nonzero()[:, 0].tolist():
            wrong.setdefault(place, f"holds row numbers, from {rows[0, place]:g} on")
        for place, name in enumerate(names):
            if name.strip().lower() in _LABELS and bool(whole[place]):
                wrong.setdefault(place, "holds whole numbers under the name of a label")
    if wrong:
        place, why = min(wrong.items())
        raise InputError(
            f"Every column of {what} counts as data, but column {place} ({names[place]!r}) {why}: leave it "
            "out, in files with to_csv(path, index=False)."
        )


def as_values(responses: Any, rois: Sequence[str]) -> Tensor:
    """Return responses (T, R) or (S, T, R) as (S, T, R) floating point; `rois` are for messages."""
    values = to_tensor("responses", responses)
    if values.ndim not in (2, 3) or not values.dtype.is_floating_point:
        raise InputError(
            "responses must be floating point of shape (T, R), or (S, T, R) for subjects, got "
            f"{tuple(values.shape)} of {values.dtype}: use .astype('float32')."
        )
    values = values[None] if values.ndim == 2 else values
    if 0 in values.shape:
        raise InputError(
            "responses must hold a subject, a row and an ROI at least, got shape (S, T, R) = "
            f"{tuple(values.shape)}."
        )
    if bool(values.isinf().any()):
        raise InputError("responses must not be infinite: write NaN where a value is missing.")
    n_rois = values.shape[-1]
    names = [*rois, *(f"column {place}" for place in range(len(rois), n_rois))][:n_rois]
    check_no_labels("responses", names, values)
    _warn_of_stand_ins(values, names)
    missing = values.isnan()
    lost = int(missing.flatten(0, 1).all(dim=0).sum())
    empty = missing.flatten(1).all(dim=1).nonzero()[:, 0].tolist()
    # a mask is a choice
    if bool(missing.any()) and (lost or empty or not isinstance(responses, np.ma.MaskedArray)):
        warnings.warn(
            f"responses hold {int(missing.sum())} NaN of {values.numel()} values, and {lost} of {n_rois} "
            "ROIs have no value at all: missing values are masked per ROI."
            + (f" The subjects at {empty[:5]} have no value: leave them out." if empty else ""),
            stacklevel=2,
        )
    return values


def _warn_of_stand_ins(values: Tensor, names: Sequence[str]) -> None:
    """Warn of ROIs that hold one extreme value many times over, far from all others."""
    found: dict[float, dict[str, int]] = {}
    # many small steps, which NumPy takes in one thread: several would wait for one another on a busy machine
    columns = np.ascontiguousarray(values.detach().cpu().flatten(0, 1).double().numpy().T)
    for name, column in zip(names, columns, strict=True):
        for value in _stand_ins(column[~np.isnan(column)]):
            found.setdefault(value, {})[name] = int((column == value).sum())
    for value, times in found.items():
        some = ", ".join(map(repr, list(times)[:3])) + (", ..." if len(times) > 3 else "")
        warnings.warn(
            f"responses hold {value:g} {sum(times.values())} times in {len(times)} of {len(names)} ROIs "
            f"({some}), far from all other values, as a stand-in for missing ones does: write NaN for these.",
            stacklevel=3,
        )


# a value is a stand-in where it comes often and lies this many times the range of all others away from them
_FAR = 5.0
_OFTEN = 3
_NINES = re.compile(r"-?99+(\.0)?")  # -999 and the like mean "missing" even once


def _stand_ins(column: NDArray[np.float64]) -> list[float]:
    """Return the lowest and the highest value (n,), if they are stand-ins for missing values."""
    out = []
    for extreme in (column.min(), column.max()) if len(column) else ():
        rest = column[column != extreme]
        count = len(column) - len(rest)
        if len(rest) <= count or (count < _OFTEN and not _NINES.fullmatch(str(float(extreme)))):
            continue
        low, high = rest.min(), rest.max()
        if high > low and min(abs(extreme - low), abs(extreme - high)) > _FAR * (high - low):
            out.append(float(extreme))
    return out
