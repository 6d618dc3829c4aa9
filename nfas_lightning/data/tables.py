"""Tables that people write: a file, column or cell that is wrong is named, with what to do about it."""

from __future__ import annotations

import csv
import io
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nfas_lightning.data.files import require_file
from nfas_lightning.errors import InputError

_TOO_LARGE = "That is beyond single precision (3.4e38): rescale the column."
_LARGEST = float(np.finfo(np.float32).max)


def _separator(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def parse_csv(
    path: Path,
    *,
    sep: str | None = None,
    keep_default_na: bool = True,
    text: Sequence[str] = (),
    names: Sequence[str] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Read a table in UTF-8: the one reader of all tables.

    Blank lines are no rows, except between the rows of a single column, where they are empty cells.

    Args:
        path: the file.
        sep: what stands between two cells; None: a tab in ``.tsv``, else a comma.
        keep_default_na: read ``NA``, ``null`` and the like as missing.
        text: columns that are not made numbers.
        names: of the columns of a table without a header; None: the first row names them.
        options: of `pandas.read_csv`.
    """
    require_file(path)
    sep = sep or _separator(path)
    header = {"header": "infer"} if names is None else {"header": None, "names": list(names)}
    try:
        content = _without_blank_ends(path.read_text(encoding="utf-8-sig"))
        single = len(first_row(io.StringIO(content), sep)) == 1
        with warnings.catch_warnings():
            # pandas would take surplus cells for row labels and shift the values of a row
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table: pd.DataFrame = pd.read_csv(
                io.StringIO(content),
                sep=sep,
                keep_default_na=keep_default_na,
                dtype=dict.fromkeys(text, str),
                index_col=False,
                skip_blank_lines=not single,
                **header,
                **options,
            )
    except pd.errors.ParserWarning as error:
        wanted = "a name above each column" if names is None else f"the columns {', '.join(names)}"
        raise InputError(
            f"{path} must have {wanted}, got rows of more cells. Quote cells with {sep!r}; leave row numbers "
            "out, index=False."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} must be text in UTF-8, got bytes of another encoding ({error}): save it as UTF-8."
        ) from error
    except (ValueError, csv.Error) as error:
        raise InputError(
            f"{path} must be a table with {sep!r} between cells and in every row as many as in the first "
            f"({str(error).strip()})."
        ) from error
    return table


def _without_blank_ends(text: str) -> str:
    first = text.rfind("\n", 0, len(text) - len(text.lstrip(" \n"))) + 1
    last = text.find("\n", len(text.rstrip(" \n")))
    return text[first : last if last >= 0 else None]


def first_row(file: io.StringIO | Path, sep: str = ",") -> list[str]:
    """Return the cells of the first row as they are: pandas renames those that are empty or repeated."""
    lines = io.StringIO(file.read_text(encoding="utf-8-sig")) if isinstance(file, Path) else file
    return next((row for row in csv.reader(lines, delimiter=sep) if row), [])


def check_columns(table: pd.DataFrame, columns: Sequence[str], path: Path | str) -> None:
    """Raise if a table lacks a column; `path` is where it came from, or what errors call it."""
    if absent := [column for column in columns if column not in table]:
        got = list(map(str, table))
        is_one = len(got) == 1 and isinstance(path, Path)
        hint = f" Does {_separator(Path(path))!r} stand between its cells?" if is_one else ""
        raise InputError(
            f"{path} must have the columns {list(columns)}, missing {absent}, got {got[:8]}.{hint}"
        )


def read_csv(
    path: Path, columns: Sequence[str], *, sep: str | None = None, text: Sequence[str] = ()
) -> pd.DataFrame:
    """Read a table that has these columns and a row; words such as "null" stay words. See `parse_csv`."""
    table = parse_csv(path, sep=sep, keep_default_na=False, text=text)
    check_columns(table, columns, path)
    if table.empty:
        raise InputError(f"{path.name} must have at least one row, got none.")
    return table


def read_numbers(path: Path, what: str, *, missing: bool, advice: str) -> pd.DataFrame:
    """Read a table of numbers, float64, with a name above each column; `what` and `advice` are for errors."""
    table = parse_csv(path)
    names = [name.strip() for name in first_row(path, _separator(path))]
    named = [name for name in names if name and not name.startswith("Unnamed: ")]
    if named and pd.to_numeric(pd.Series(named), errors="coerce").notna().all():
        raise InputError(f"The first row of {path} must name the {what}, got numbers alone: {named[:3]}.")
    if len(named) < len(names):
        nameless = [place for place, name in enumerate(names, 1) if name not in named]
        raise InputError(
            f"Every column of {path} must be one of the {what} and have a name, got none for column "
            f"{nameless[:5]}. Leave row numbers out with to_csv(path, index=False)."
        )
    if repeated := [name for name, times in Counter(names).items() if times > 1]:
        raise InputError(f"{path} must name each column once, got more than once: {repeated[:5]}.")
    return as_numbers(table, list(table.columns), path, missing=missing, advice=advice)


def as_numbers(
    table: pd.DataFrame, columns: Sequence[str], path: Path | str, *, missing: bool, advice: str
) -> pd.DataFrame:
    """Return the table with these columns as float64, empty cells, if they may be `missing`, as NaN.

    Path is where the table came from, or what errors call it; `advice` is what to do about another cell.
    """
    read: dict[str, pd.Series[Any]] = {}
    for column in columns:
        given = table[column]
        empty = given.isna()
        if pd.api.types.is_numeric_dtype(given):
            read[column] = given.astype("float64")
        else:
            empty |= given.astype(str).str.strip() == ""
            read[column] = pd.to_numeric(given.mask(empty), errors="coerce").astype("float64")
        wrong = ~(read[column].abs() <= _LARGEST)
        if missing:
            wrong &= ~empty
        if len(rows := np.flatnonzero(wrong)):
            got = "nothing" if empty.iloc[rows[0]] else repr(str(given.iloc[rows[0]]))
            others = f" ({len(rows)} rows are like that)" if len(rows) > 1 else ""
            advice = _TOO_LARGE if np.isfinite(read[column].iloc[rows[0]]) else advice
            raise InputError(
                f"{path}: column {column!r} must hold finite numbers{' or nothing' if missing else ''}, got "
                f"{got} in row {rows[0] + 1} below the header{others}. {advice}"
            )
    return pd.DataFrame({name: read.get(name, table[name]) for name in map(str, table)}, index=table.index)


def as_text(table: pd.DataFrame, column: str, path: Path) -> list[str]:
    """Return a column as strings, none of them empty."""
    words = table[column].fillna("").astype(str)  # a row that ends early
    if len(rows := np.flatnonzero(words.str.strip() == "")):
        raise InputError(
            f"{path}: column {column!r} must hold text in every row, got nothing in row {rows[0] + 1} below "
            "the header."
        )
    return list(words)
