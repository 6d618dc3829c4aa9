"""Which rows and names belong together: by an index that two tables share, else by place."""

from __future__ import annotations

import difflib
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from nfas_lightning.errors import InputError, InputTypeError

Order = NDArray[np.intp]


def index_of(value: Any) -> pd.Index | None:
    """Return the index of a table or column, None of anything else."""
    return value.index if isinstance(value, pd.DataFrame | pd.Series) else None


def row_orders(
    indices: Mapping[str, pd.Index | None], names: Sequence[Sequence[Any]] = ()
) -> dict[str, Order | None]:
    """Return the order of each argument's rows in which row i of all belongs together; None: as they are.

    An index in order (0, 1, 2, ..., or other ascending numbers, as a filtered table has) means the place. Any
    other is compared with that of the first argument, or with `names`: the same labels in another order give
    an order, and nothing else is guessed.

    Args:
        indices: by argument, its index, None where it has none; the first decides the order.
        names: other labels of the first argument's rows: ids, file names.

    Example:
        >>> orders = row_orders({"stimuli": pd.Index(["b", "a"]), "responses": pd.Index(["a", "b"])})
        >>> orders["stimuli"], orders["responses"].tolist()
        (None, [1, 0])
    """
    first, *others = indices
    own = indices[first]
    keys = [key for key in (pd.Index(list(given)) for given in names) if key.is_unique]
    tables = [own] if own is not None and own.is_unique else []
    orders: dict[str, Order | None] = dict.fromkeys(indices)
    is_matched = own is None or _in_order(own)
    moved, placed = "", ""
    for what in others:
        index = indices[what]
        if index is None:
            placed = placed or what
            continue
        # an index that only counts rows is compared with another table's, not with names
        order = _match(index, tables if _is_plain(index) else keys + tables)
        if order is not None:
            is_matched = True
            if (order != np.arange(len(order))).any():
                orders[what], moved = order, moved or what
                if own is not None and _is_plain(index) != _is_plain(own):
                    # a new table counts its rows from 0 whatever order it is in: it may mean its place
                    warnings.warn(
                        f"{what} goes by its index, in another order than its rows, to match that of "
                        f"{first}. If rows go by place, give both with .reset_index(drop=True).",
                        stacklevel=3,
                    )
        elif own is not None and not (_is_plain(index) or _is_plain(own)):
            if not index.equals(own):
                raise InputError(
                    f"The index of {what} ({_some(index)}) must have the labels of that of {first} "
                    f"({_some(own)}), each once. If rows go by place, give both with .reset_index(drop=True)."
                )
            is_matched = True
        elif _in_order(index):
            placed = placed or what
        else:
            raise InputError(_alone(what, index, first))
    if not is_matched:
        assert own is not None
        raise InputError(_alone(first, own, placed or "what belongs to its rows"))
    if moved and placed:
        raise InputError(
            f"{moved} goes by its index, in another order than {first}, and {placed} has none to show "
            f"which rows it belongs to: give it the same index, or {moved}.reset_index(drop=True)."
        )
    return orders


def take_rows(value: Any, order: Order | None, axis: int = 0) -> Any:
    """Return the rows in this order, tables without their index: what was paired goes by place."""
    if isinstance(value, pd.DataFrame | pd.Series):
        return (value if order is None else value.iloc[order]).reset_index(drop=True)
    if order is None:
        return value
    if isinstance(value, Tensor | np.ndarray):
        return value[(slice(None),) * axis + (order,)]
    return [value[place] for place in order]


def _match(index: pd.Index, keys: Sequence[pd.Index]) -> Order | None:
    """Return where the labels of the first key that has the same ones, also as text, are in an index."""
    if not index.is_unique:
        return None
    for key in (key for key in keys if len(key) == len(index)):
        pairs = [(key, index)]
        if key.nlevels == index.nlevels == 1:
            pairs.append((key.astype(str), index.astype(str)))
        for one, other in pairs:
            order = other.get_indexer(one)
            if other.is_unique and (order >= 0).all():
                return order.astype(np.intp)
    return None


def _is_plain(index: pd.Index) -> bool:
    """Whether an index is that of a table, or of tables below one another without a new one."""
    if not pd.api.types.is_integer_dtype(index.dtype) or index.hasnans or not len(index):
        return not len(index)
    values = index.to_numpy(dtype=np.int64)
    return bool(values[0] == 0 and ((values[1:] == 0) | (np.diff(values) == 1)).all())


def _in_order(index: pd.Index) -> bool:
    """Whether an index is in the order of the rows: plain, or ascending numbers or times."""
    kind = index.dtype
    counts = pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)
    if not counts and not pd.api.types.is_datetime64_any_dtype(kind) and kind.kind != "m":
        return False
    return _is_plain(index) or bool(index.is_monotonic_increasing and index.is_unique)


def _alone(what: str, index: pd.Index, other: str) -> str:
    return (
        f"{what} has an index that is not in order ({_some(index)}), and {other} has none with these labels. "
        f"If rows go by place, give {what}.reset_index(drop=True); else give both the same labels."
    )


def _some(index: pd.Index) -> str:
    return ", ".join(map(repr, index[:4].tolist())) + (", ..." if len(index) > 4 else "")


def _as_list(labels: Any) -> list[Any]:
    """Return labels as Python's own values: NumPy's and torch's neither equal nor print like them."""
    values: list[Any] = labels.tolist() if hasattr(labels, "tolist") else list(labels)
    return values


def as_runs(runs: Any, n_volumes: int) -> tuple[Tensor, dict[Any, int]]:
    """Return the number of each row's run, (T,), and of each label: its own, where all are whole."""
    labels = _as_list(runs)
    if np.shape(labels) != (n_volumes,):
        raise InputError(f"runs must have shape (T={n_volumes},), got {np.shape(labels)}.")
    missing = pd.isna(pd.Series(labels, dtype=object)).to_numpy().nonzero()[0]
    if len(missing):
        raise InputError(f"runs must name the run of every row, got none for {list(map(int, missing[:5]))}.")
    distinct = dict.fromkeys(labels)
    whole = all(isinstance(run, int) or (isinstance(run, float) and run.is_integer()) for run in distinct)
    numbers = {run: int(run) if whole else place for place, run in enumerate(distinct)}
    return torch.tensor([numbers[run] for run in labels]), numbers


def event_runs(runs: Any, numbers: Mapping[Any, int] | None) -> Tensor | None:
    """Return the number of each event's run, (E,), by the `numbers` of `as_runs`.

    None where nothing names the run of a volume, and events are of one run.
    """
    labels = _as_list(runs)
    distinct = list(dict.fromkeys(labels))
    if numbers is None:
        if len(distinct) == 1:
            return None
        raise InputError(
            f"events name {len(distinct)} runs, {distinct[:5]}, but nothing names the run of each volume: "
            "give runs (T,), or in a folder volumes.csv with a column 'run'."
        )
    if lost := [run for run in distinct if run not in numbers]:
        raise InputError(
            f"Every run with events needs volumes, got none for the runs {lost[:5]}: runs names "
            f"{list(numbers)[:5]}."
        )
    return torch.tensor([numbers[run] for run in labels])


def as_names(what: str, given: Any, count: int) -> list[str]:
    """Return `count` unique names, of labels of any kind."""
    labels = _as_list(given)
    names = list(map(str, labels))
    missing = [i for i, label in enumerate(labels) if label is None or label is pd.NA or label != label]
    if missing:
        raise InputError(f"{what} must name each, got none at {missing[:5]} (counted from 0).")
    if np.shape(labels) != (count,) or len(set(names)) != count:
        repeated = sorted(name for name, times in Counter(names).items() if times > 1)
        more = f"; more than once: {repeated[:5]}" if repeated else ""
        raise InputError(f"{what} must be {count} unique names, got {len(names)}: {names[:5]}{more}.")
    return names


def name_list(what: str, given: Sequence[str], spell: Callable[[str], str] = str) -> list[str]:
    """Return names that somebody gave, each once, as `spell` writes them."""
    if isinstance(given, str):
        raise InputTypeError(f"{what} must be a list of names, got the string {given!r}: write [{given!r}].")
    names = [spell(name) for name in given]
    if not names or len(set(names)) != len(names):
        raise InputError(f"{what} must name at least one, each once, got {list(given)}.")
    return names


def pick(what: str, wanted: Sequence[str] | None, available: Sequence[str]) -> list[int]:
    """Return the positions of `wanted` in `available` (all of them for None)."""
    if len(set(available)) != len(available):
        raise InputError(f"{what} must have unique names in the data, got {list(available)}.")
    if wanted is None:
        return list(range(len(available)))
    position = {name: i for i, name in enumerate(available)}
    names = name_list(what, wanted)
    for name in (name for name in names if name not in position):
        close = difflib.get_close_matches(name, available, n=3, cutoff=0.0)
        raise InputError(
            f"{what} has no {name!r}; did you mean {', '.join(close)}? There are {len(available)} in all."
        )
    return [position[name] for name in names]
