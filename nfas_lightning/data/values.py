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

__all__ = ["as_values", "check_no_labels", "column_names", "one_table", "to_tensor"]


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
            raise InputError(
                f"{what} must hold numbers, got {pd.DataFrame(value).iloc[row, column]!r} in row {row} of "
                f"column {pd.DataFrame(value).columns[column]!r} (rows counted from 0). Leave out columns of "
                "text, and write NaN where a value is missing."
            )
        array = array.reshape(np.shape(value))
    if array.dtype.kind not in "biufc":
        first = array.flat[0] if array.size else None
        raise InputError(
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


# a value is a stand-in where it comes often and lies this many times the range of all others away from them
_FAR = 5.0
_OFTEN = 3
_NINES = re.compile(r"-?99+(\.0)?")  # -999 and the like mean "missing" even once
_NAMELESS = re.compile(r"Unnamed: \d+")  # pandas' name of a column that had none
_LABELS = {
    "id", "index", "idx", "row", "row_number", "item", "trial", "subject", "sub", "participant", "session",
    "run", "block", "stimulus", "stimulus_id", "stim_id", "image", "image_id", "volume", "onset",
}  # fmt: skip


def one_table(responses: Any) -> tuple[Any, pd.Index | None, list[str] | None]:
    """Return what was given as responses as one array or table, with the index and the names of its columns.

    A list of tables, one per subject, becomes an array (S, T, R): rows in the order of the first table's
    index, columns in that of its names.

    Raises:
        ValueError: tables whose columns or rows are not the same.
    """
    if isinstance(responses, pd.DataFrame):
        return responses, responses.index, column_names(responses)
    tables = list(responses) if isinstance(responses, list | tuple) else []
    if not tables or not all(isinstance(table, pd.DataFrame) for table in tables):
        return responses, None, None
    names = [f"responses[{s}]" for s in range(len(tables))]
    orders = row_orders({name: table.index for name, table in zip(names, tables, strict=True)})
    arrays = []
    for name, table in zip(names, tables, strict=True):
        if len(table) != len(tables[0]) or set(table.columns) != set(tables[0].columns):
            raise InputError(
                f"The table of every subject must have the rows and the columns of the first, got "
                f"{len(table)} rows and {list(table.columns)[:5]} in {name}, {len(tables[0])} and "
                f"{list(tables[0].columns)[:5]} in the first."
            )
        arrays.append(to_tensor(name, take_rows(table[list(tables[0].columns)], orders[name])))
    return torch.stack(arrays), tables[0].index, column_names(tables[0])


def column_names(table: pd.DataFrame) -> list[str] | None:
    """Return the names of a table's columns, None where pandas numbered them.

    Raises:
        ValueError: a column without a name.
    """
    if pd.api.types.is_integer_dtype(table.columns) and table.columns.equals(pd.RangeIndex(table.shape[1])):
        return None
    nameless = [place for place, name in enumerate(table.columns) if pd.isna(name)]
    if nameless:
        raise InputError(
            f"Every column of responses must have the name of its ROI, got {table.columns[nameless[0]]!r} "
            f"for column {nameless[0]} (counted from 0)."
        )
    return [str(name) for name in table.columns]


def check_no_labels(what: str, names: Sequence[str], values: Tensor | None = None) -> None:
    """Refuse columns that label or count rows and measure nothing.

    Args:
        what: what errors call the table.
        names: R names of its columns.
        values: (S, T, R) responses, whose columns are none that hold row numbers, or whole numbers under the
            name of a label; None: the columns may be anything that has a name.

    Raises:
        ValueError: a column that pandas named for want of a name, or one as above.
    """
    wrong = {place: "is pandas' name for a column without one" for place, name in enumerate(names)
             if _NAMELESS.fullmatch(name)}  # fmt: skip
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
            f"Every column of {what} counts as data, but column {place} ({names[place]!r}) {why}: "
            "leave it out. Where row numbers were written into a file, write it with "
            "to_csv(path, index=False)."
        )


def as_values(responses: Any, rois: Sequence[str]) -> Tensor:
    """Return responses as (S, T, R) floating point.

    Args:
        responses: (T, R), or (S, T, R) for subjects.
        rois: names of the R columns, for the messages; as many as there are.

    Raises:
        ValueError: another shape or kind of number, nothing, infinite values, or what `check_no_labels`
            refuses.
    """
    values = to_tensor("responses", responses)
    if values.ndim not in (2, 3) or not values.dtype.is_floating_point:
        raise InputError(
            "responses must be floating point of shape (T, R), or (S, T, R) for subjects, got "
            f"{tuple(values.shape)} of {values.dtype}. Integers: convert with .astype('float32'); one ROI: "
            "responses[:, None]."
        )
    values = values[None] if values.ndim == 2 else values
    if 0 in values.shape:
        raise InputError(
            f"responses must hold a subject, a row and an ROI at least, got shape (S, T, R) = "
            f"{tuple(values.shape)}."
        )
    if bool(values.isinf().any()):
        raise InputError("responses must not be infinite: write NaN where a value is missing.")
    names = [*rois, *(f"column {place}" for place in range(len(rois), values.shape[-1]))]
    names = names[: values.shape[-1]]
    check_no_labels("responses", names, values)
    _warn_of_stand_ins(values, names)
    missing = int(values.isnan().sum())
    lost = int(values.isnan().all(dim=1).all(dim=0).sum())
    empty = values.isnan().flatten(1).all(dim=1).nonzero().flatten().tolist()
    # whoever masks some values has said so
    if missing and (lost or empty or not isinstance(responses, np.ma.MaskedArray)):
        warnings.warn(
            f"responses hold {missing} NaN of {values.numel()} values, and {lost} of {values.shape[-1]} ROIs "
            "have no value at all: missing values are masked per ROI."
            + (f" The subjects at {empty[:5]} have no value: leave them out." if empty else ""),
            stacklevel=2,
        )
    return values


def _warn_of_stand_ins(values: Tensor, names: Sequence[str]) -> None:
    """Say which ROIs hold one extreme value many times over, far from all others."""
    found: dict[float, list[str]] = {}
    times: dict[float, int] = {}
    # many small steps, which NumPy takes in one thread: several would wait for one another on a busy machine
    columns = np.ascontiguousarray(values.detach().cpu().flatten(0, 1).double().numpy().T)
    for name, column in zip(names, columns, strict=True):
        for value in _stand_ins(column[~np.isnan(column)]):
            found.setdefault(value, []).append(name)
            times[value] = times.get(value, 0) + int((column == value).sum())
    for value, rois in found.items():
        some = ", ".join(map(repr, rois[:3])) + (", ..." if len(rois) > 3 else "")
        warnings.warn(
            f"responses hold {value:g} {times[value]} times in {len(rois)} of {len(names)} ROIs ({some}), "
            "far from all other values, as a stand-in for missing ones does: it is taken as a response. "
            f"Write NaN where a value is missing, as in np.where(responses == {value:g}, np.nan, responses).",
            stacklevel=3,
        )


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
