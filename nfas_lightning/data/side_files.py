"""Files of known names in a folder of somebody's data: found as csv or tsv, and misspelled ones named."""

from __future__ import annotations

import difflib
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

__all__ = ["check_unread", "find_table"]

# a word of a file's name this close to one that is known was meant to be it
_CLOSE = 0.75
_TABLES = {".csv", ".tsv"}
_KINDS = {*_TABLES, ".npy", ".npz", ".txt", ".xls", ".xlsx", ".mat", ".parquet"}


def find_table(folder: Path, name: str) -> Path | None:
    """Return NAME.csv or NAME.tsv, whichever is in the folder, or None.

    Raises:
        ValueError: both are.
    """
    found = [path for path in (folder / f"{name}.csv", folder / f"{name}.tsv") if os.path.lexists(path)]
    if len(found) > 1:
        raise ValueError(f"{folder} must hold {name} once, got {[path.name for path in found]}: remove one.")
    return found[0] if found else None


def check_unread(folder: Path, read: Sequence[str], tables: Sequence[str]) -> None:
    """Say which files of a folder nothing reads.

    Args:
        folder: that they lie in.
        read: names that are read.
        tables: names, without suffix, of the tables that may be there.

    Raises:
        ValueError: a file's name is close to that of a table that is not there: its content would be missing
            without a word.
    """
    left = sorted(
        path
        for path in folder.iterdir()
        if not path.is_dir()
        and path.suffix.lower() in _KINDS
        and path.name not in read
        and path.name[0] != "."
    )
    there = {Path(name).stem for name in read}
    for path in left:
        words = re.split(r"[^a-z]+", path.stem.lower())
        meant = [name for name in tables if difflib.get_close_matches(name, words, n=1, cutoff=_CLOSE)]
        if missing := [name for name in meant if name not in there]:
            raise ValueError(
                f"{path} is not read: did you mean {missing[0]}.csv (or .tsv)? Rename it, or move it out of "
                "the folder."
            )
    others = [path.name for path in left if path.suffix.lower() in {*_TABLES, ".npy"}]
    if others:
        warnings.warn(
            f"{folder}: not read, as their names are none that stimuli, responses or tables "
            f"({', '.join(tables)}) go by: {others[:5]}.",
            stacklevel=2,
        )
