"""What of a benchmark lies under a folder: found, missing, unreadable, against the official counts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nfas_lightning.data.bids import add_sub, strip_sub
from nfas_lightning.data.files import read_npz
from nfas_lightning.data.tables import read_csv
from nfas_lightning.datamodules.catalogue.benchmark import Benchmark, find_benchmarks
from nfas_lightning.datamodules.catalogue.inspector import FileState, Inspector


@dataclass(frozen=True)
class Row:
    """One line of a check: what was looked for, and found.

    `expected` is None where nobody says how many there should be; `unreadable` holds names, and why. Without
    what is not `needed` a benchmark is complete, if all of it is absent.
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


@dataclass(frozen=True)
class Check:
    """The rows of one benchmark, and the folder where it lies."""

    benchmark: Benchmark
    folder: Path
    rows: tuple[Row, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing that is needed is missing and nothing is unreadable."""
        return all(row.complete for row in self.rows)


def check_folder(
    root: Path, *, subjects: Sequence[str] | None = None, deep: bool = False, progress: bool = True
) -> list[Check]:
    """Check every benchmark under a folder.

    Sizes and first and last bytes are looked at, so a tree of thousands of scans takes a moment: enough for
    git-annex pointers, dangling links, empty and truncated files, not for a flipped bit.

    Args:
        root: a benchmark's own folder, or the one that holds several.
        subjects: expect these alone, with or without ``sub-``; None: all of the official data set.
        deep: read every byte, and compare checksums where a format has them.
        progress: show a bar on standard error.

    Returns:
        One check per benchmark; none if nothing is recognized.
    """
    inspector = Inspector(deep=deep, progress=progress)
    return [
        Check(benchmark, folder, tuple(benchmark.load("check")(folder, inspector, subjects)))
        for benchmark, folder in find_benchmarks(root)
    ]


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


def known_files_row(
    what: str,
    folder: Path,
    paths: Sequence[Path],
    inspector: Inspector,
    *,
    needed: bool = True,
    note: str = "",
) -> tuple[Row, dict[Path, FileState]]:
    """Look at files whose names are known, so that the missing ones can be named."""
    here = [path for path in paths if os.path.lexists(path)]
    absent = [str(path.relative_to(folder)) for path in paths if path not in here]
    expected = len(paths)
    return file_row(
        what, folder, here, inspector, expected=expected, missing=absent, needed=needed, note=note
    )


def table_row(what: str, path: Path, inspector: Inspector) -> Row:
    """Look at one file that must be there."""
    return known_files_row(what, path.parent, [path], inspector)[0]


def read_row(row: Row, name: str, what: str, expected: int, read: Callable[[], int]) -> Row:
    """Return the row of what a reader counts in a file that `row` found whole, or of why it refuses it."""
    if not row.complete:
        return row
    try:
        return Row(what, read(), expected)
    except ValueError as error:
        return Row(what, 0, expected, unreadable=((name, str(error)),))


def archive_row(what: str, path: Path, inspector: Inspector, shapes: Mapping[str, tuple[int, ...]]) -> Row:
    """Look at an archive of arrays that must be there, and read those that `shapes` names."""
    row = table_row(what, path, inspector)
    row = read_row(row, path.name, what, 1, lambda: bool(read_npz(path, dict(shapes))))
    key, shape = next(iter(shapes.items()))
    return replace(row, note=f"{key} {shape}") if row.complete else row


def participants_row(
    folder: Path,
    inspector: Inspector,
    subjects: Sequence[str] | None,
    official: int,
    groups: Mapping[str, int] | None = None,
) -> Row:
    """Check participants.tsv of a BIDS data set and count who is in it.

    `subjects` are expected, None for all of the `official` number; `groups` maps beginnings of subjects'
    names, which stand for all who have them, to how many those are.
    """
    path = folder / "participants.tsv"
    listed: set[str] = set()

    def read() -> int:
        listed.update(read_csv(path, ["participant_id"], sep="\t")["participant_id"].astype(str))
        return len(listed)

    whole = table_row("participants.tsv", path, inspector)
    row = read_row(whole, path.name, "participants", official, read)
    if not listed:
        return row
    note = "in participants.tsv"
    if subjects is None:
        return replace(row, note=note)
    chosen = {name: n for name, n in (groups or {}).items() if name in subjects}
    wanted = [add_sub(name) for name in subjects if name not in chosen]
    absent = tuple(name for name in wanted if name not in listed)
    of_groups = sum(strip_sub(name).startswith(tuple(chosen)) for name in listed)
    expected = len(wanted) + sum(chosen.values())
    return Row("participants", len(wanted) - len(absent) + of_groups, expected, absent, note=note)
