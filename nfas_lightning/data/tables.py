"""Tables that people write: a file, column or cell that is wrong is named, with what to do about it."""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nfas_lightning.data.files import require_file
from nfas_lightning.errors import InputError

__all__ = [
    "as_numbers",
    "as_text",
    "check_columns",
    "first_row",
    "parse_csv",
    "read_csv",
    "read_numbers",
    "separator",
]


_TOO_LARGE = "That is beyond single precision (3.4e38): rescale the column, say in other units."
_LARGEST = float(np.finfo(np.float32).max)


def separator(path: Path) -> str:
    """Return what stands between two cells of a table: a tab in ``.tsv``, else a comma."""
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
    """Read a table in UTF-8, with or without a byte-order mark: the one reader of all tables.

    Blank lines are no rows, unless the table has one column: there a blank line above another row is an empty
    cell.

    Args:
        path: the file.
        sep: what stands between two cells; None: what its name says, see `separator`.
        keep_default_na: read ``NA``, ``null`` and the like as missing.
        text: columns that are not made numbers.
        names: of the columns of a table without a header; None: the first row names them.
        options: of `pandas.read_csv`.

    Raises:
        FileNotFoundError: there is no such file, or its content was not fetched.
        ValueError: it is empty, not UTF-8, no table, or a row has more cells than the header.
    """
    if not path.is_file() or path.stat().st_size:  # an empty one is told of below
        require_file(path)
    sep = separator(path) if sep is None else sep
    try:
        with warnings.catch_warnings():
            # without index_col pandas takes surplus cells for row labels, and every value of a row stands
            # under the next column's name
            warnings.simplefilter("error", pd.errors.ParserWarning)
            read: Any = partial(
                pd.read_csv,
                path,
                sep=sep,
                encoding="utf-8-sig",
                keep_default_na=keep_default_na,
                dtype=dict.fromkeys(text, str),
                header="infer" if names is None else None,
                names=None if names is None else list(names),
                index_col=False,
                **options,
            )
            table: pd.DataFrame = read()
            if table.shape[1] == 1 and (ends := _blank_ends(path)):
                before, after = ends
                n_rows = len(read(skip_blank_lines=False, skiprows=before)) - after
                table = read(skip_blank_lines=False, skiprows=before, nrows=n_rows)
    except pd.errors.ParserWarning as error:
        wanted = "a name above each column" if names is None else f"the columns {', '.join(names)}"
        raise InputError(
            f"{path} must have {wanted}, got rows of more cells. Quote cells that hold {sep!r}; where the "
            "first cells are row numbers, write the table with to_csv(path, index=False)."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} must be text in UTF-8, got bytes of another encoding ({error}). Save it as UTF-8; in "
            "Python, path.write_text(path.read_text('latin-1'), 'utf-8') does, if it is Latin-1."
        ) from error
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{path} must have a header and rows, got an empty file: write it again.") from error
    except ValueError as error:
        raise InputError(
            f"{path} must be a table with {sep!r} between cells and in every row as many as in the first "
            f"({str(error).strip()}). Quote cells that hold {sep!r}."
        ) from error
    return table


def _blank_ends(path: Path) -> tuple[int, int] | None:
    """Count the blank lines above and below a table; None where there is none between its rows."""
    with path.open(encoding="utf-8-sig") as file:
        blank = [not line.strip() for line in file]
    before, after = (len(list(takewhile(bool, lines))) for lines in (blank, reversed(blank)))
    return (before, after) if any(blank[before : len(blank) - after]) else None


def check_columns(
    table: pd.DataFrame, columns: Sequence[str], path: Path | str, *, sep: str | None = None
) -> None:
    """Raise if a table lacks a column.

    Args:
        table: as it was read.
        columns: that it must have.
        path: where it came from, or what errors call it.
        sep: what stood between two cells; None: what the file's name says.

    Raises:
        ValueError: one is absent.
    """
    absent = [column for column in columns if column not in table]
    if absent:
        got = list(map(str, table))
        hint = ""
        if len(got) == 1 and isinstance(path, Path):
            hint = f" Does {separator(path) if sep is None else sep!r} stand between its cells?"
        raise InputError(
            f"{path} must have the columns {list(columns)}, missing {absent}, got {got[:8]}.{hint}"
        )


def read_numbers(path: Path, what: str, *, missing: bool, advice: str) -> pd.DataFrame:
    """Read a table each column of which counts: names in the first row, numbers below.

    Args:
        path: a file of comma-separated values, or tab-separated ones (``.tsv``).
        what: what the columns are, for the messages.
        missing: cells may be empty, which reads as NaN.
        advice: what to do about a cell that is no number.

    Returns:
        float64, one named column each.

    Raises:
        ValueError: a column has no name, all names are numbers, a name comes twice, or `parse_csv` or
            `as_numbers` refuses.
    """
    table = parse_csv(path)
    names = [name.strip() for name in first_row(path, separator(path))]
    named = [name for name in names if name and not name.startswith("Unnamed: ")]
    if named and all(map(_is_number, named)):
        raise InputError(
            f"The first row of {path} must name the {what}, got numbers alone: {named[:3]}. Write the names "
            "above the values: pd.DataFrame(values, columns=names).to_csv(path, index=False)."
        )
    if len(named) < len(names):
        nameless = [place + 1 for place, name in enumerate(names) if name not in named]
        raise InputError(
            f"Every column of {path} must be one of the {what} and have a name, got none for column "
            f"{nameless[:5]}. Where it holds row numbers or labels, write the table with "
            "to_csv(path, index=False); else name it."
        )
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise InputError(
            f"{path} must name each column once, got more than once: {repeated[:5]}. Rename one."
        )
    return as_numbers(table, list(table.columns), path, missing=missing, advice=advice)


def first_row(path: Path, sep: str) -> list[str]:
    """Return the cells of the first row as they stand: pandas renames those that are empty or come again."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return next((row for row in csv.reader(file, delimiter=sep) if row), [])


def as_numbers(
    table: pd.DataFrame, columns: Sequence[str], path: Path | str, *, missing: bool, advice: str
) -> pd.DataFrame:
    """Return the table with these columns as float64, empty cells as NaN.

    Args:
        table: with these columns.
        columns: their names.
        path: where the table came from, or what errors call it.
        missing: cells may be empty.
        advice: what to do about a cell that is no number.

    Raises:
        ValueError: a cell holds text, an infinite value or one beyond single precision, or nothing where
            `missing` is false.

    Example:
        >>> table = pd.DataFrame({"onset": ["0", "2.5"]})
        >>> as_numbers(table, ["onset"], Path("events.csv"), missing=False, advice="")["onset"].tolist()
        [0.0, 2.5]
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
        # computations in single precision would take what is larger for infinite
        wrong = ~(read[column].abs() <= _LARGEST)
        if missing:
            wrong &= ~empty
        rows = np.flatnonzero(wrong)
        if len(rows):
            got = "nothing" if empty.iloc[rows[0]] else repr(str(given.iloc[rows[0]]))
            others = f" ({len(rows)} rows are like that)" if len(rows) > 1 else ""
            raise InputError(
                f"{path}: column {column!r} must hold finite numbers{' or nothing' if missing else ''}, got "
                f"{got} in row {rows[0] + 1} below the header{others}. "
                + (advice if not np.isfinite(read[column].iloc[rows[0]]) else _TOO_LARGE)
            )
    return pd.DataFrame({name: read.get(name, table[name]) for name in map(str, table)}, index=table.index)


def as_text(table: pd.DataFrame, column: str, path: Path) -> list[str]:
    """Return a column as strings.

    Raises:
        ValueError: a cell is empty.
    """
    words = table[column].fillna("").astype(str)  # a row that ends early
    rows = np.flatnonzero(words.str.strip() == "")
    if len(rows):
        raise InputError(
            f"{path}: column {column!r} must hold text in every row, got nothing in row {rows[0] + 1} below "
            "the header. Leave rows without text out."
        )
    return list(words)


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def read_csv(
    path: Path, columns: Sequence[str], *, sep: str | None = None, text: Sequence[str] = ()
) -> pd.DataFrame:
    """Read a table and check its columns; words such as "null" stay words.

    Args:
        path: the file.
        columns: that it must have.
        sep: what stands between two cells; None: a tab in ``.tsv``, else a comma.
        text: columns that are text whatever they look like: ``007`` keeps its zeros.

    Raises:
        ValueError: a column is absent, there is no row, or `parse_csv` refuses the file.
    """
    table = parse_csv(path, sep=sep, keep_default_na=False, text=text)
    check_columns(table, columns, path, sep=sep)
    if table.empty:
        raise InputError(f"{path.name} must have at least one row, got none.")
    return table
