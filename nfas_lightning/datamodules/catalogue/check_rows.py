"""One line of a check: how many of something there are, and what is the matter with the others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nfas_lightning.datamodules.catalogue.inspector import FileState, Inspector

__all__ = ["Row", "file_row", "table_row"]


@dataclass(frozen=True)
class Row:
    """What was looked for, and found.

    Attributes:
        what: name.
        found: how many are there and readable.
        expected: how many there should be; None: nobody says.
        missing: names of what should be there.
        unreadable: names, and why.
        note: whatever else is worth saying.
        needed: whether the benchmark is incomplete without; else it may be absent altogether.
    """

    what: str
    found: int
    expected: int | None = None
    missing: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    note: str = ""
    needed: bool = True

    @property
    def complete(self) -> bool:
        """Whether this line is as it should be."""
        if self.unreadable:
            return False
        if not self.needed and not self.found:
            return True
        return not self.missing and (self.found > 0 if self.expected is None else self.found == self.expected)

    @property
    def n_missing(self) -> int:
        """How many are not there at all: neither readable nor unreadable."""
        short = 0 if self.expected is None else self.expected - self.found - len(self.unreadable)
        return max(short, len(self.missing))


def file_row(
    what: str,
    folder: Path,
    files: Iterable[Path],
    inspector: Inspector,
    *,
    expected: int | None = None,
    missing: Sequence[str] = (),
    needed: bool = True,
    note: str = "",
) -> tuple[Row, dict[Path, FileState]]:
    """Look at files and count them; returns the line and the states."""
    states = inspector.look(what, files)
    bad = tuple((str(path.relative_to(folder)), s.problem) for path, s in states.items() if s.problem)
    row = Row(what, len(states) - len(bad), expected, tuple(missing), bad, note, needed)
    return row, states


def table_row(what: str, path: Path, inspector: Inspector) -> Row:
    """Look at one file that must be there."""
    if not os.path.lexists(path):
        return Row(what, 0, 1, (path.name,))
    return file_row(what, path.parent, [path], inspector, expected=1)[0]
