"""`nfas data list` and `nfas data check`: what the benchmarks are, and what of them is here."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from nfas_lightning.cli.messages import refuse, say_loading
from nfas_lightning.datamodules.catalogue.benchmark import benchmarks, find_benchmarks
from nfas_lightning.terminal import stdout_console

if TYPE_CHECKING:
    from nfas_lightning.datamodules.catalogue.check_rows import Check, Row

__all__ = ["check_data", "list_data", "names"]

_SHOWN = 8
_TOLD = ("name", "title", "modality", "license", "size", "access", "reference")


def list_data(*, root: str | None = None) -> list[dict[str, str]]:
    """List the benchmarks: what each is, license, size, how to get it, and what of it is here.

    Where NeuralSet is installed, those studies of its catalogue follow that `NeuralSetDataModule` reads.

    Args:
        root: folder to look into; None: ``NFAS_DATA``, if it is set.
    """
    given = root or os.environ.get("NFAS_DATA")
    here: dict[str, list[str]] = {}
    for benchmark, folder in find_benchmarks(Path(given).expanduser()) if given else []:
        here.setdefault(benchmark.name, []).append(f"{folder.name}: {benchmark.glance(folder)}")
    columns = (Column("name", no_wrap=True), Column("what", overflow="fold"), "here")
    table = Table(*columns, title="Benchmarks", show_lines=True)
    for benchmark in benchmarks().values():
        present = here.get(benchmark.name, ["-" if given or not benchmark.folder else "name a --root"])
        table.add_row(benchmark.name, _about(vars(benchmark)), escape("\n".join(present)))
    stdout_console().print(table)
    listed = [
        {**{field: getattr(benchmark, field) for field in _TOLD}, "here": "; ".join(here.get(name, []))}
        for name, benchmark in benchmarks().items()
    ]
    return listed + _list_studies()


def _about(told: Mapping[str, Any]) -> str:
    """One field per line: seven columns do not fit a terminal."""
    return escape("\n".join([told["title"], *(f"{field}: {told[field]}" for field in _TOLD[2:])]))


def _list_studies() -> list[dict[str, str]]:
    """Print the studies of NeuralSet, or one line that says what they take."""
    if not has_neuralset():
        stdout_console().print(
            escape(
                "Studies of NeuralSet (fMRI, MEG, EEG, intracranial EEG) are listed with Python 3.12 or "
                "later and pip install 'nfas-lightning[neuralset]'."
            )
        )
        return []
    say_loading("PyTorch")
    from nfas_lightning.datamodules.recordings.neuralset_datamodule import studies

    columns = (Column("name", no_wrap=True), Column("what", overflow="fold"))
    table, found = Table(*columns, title="Studies of NeuralSet", show_lines=True), studies()
    for study in found:
        table.add_row(study["name"], _about(study))
    stdout_console().print(table)
    return [{**study, "here": ""} for study in found]


def has_neuralset() -> bool:
    """Whether NeuralSet is here, which needs Python 3.12 or later."""
    return tuple(sys.version_info) >= (3, 12) and find_spec("neuralset") is not None


def check_data(
    root: str | None = (),  # type: ignore[assignment]  # an empty tuple says that the word may be left out
    *,
    subjects: str | None = None,
    deep: bool = False,
) -> None:
    """Check the benchmarks under a folder: found, missing, unreadable, against the official counts.

    Ends with code 0 if all that is needed is there and readable, 1 if something is missing or unreadable,
    2 if nothing is recognized.

    Args:
        root: a benchmark's own folder, or the one that holds several; without it, ``NFAS_DATA``.
        subjects: expect these alone, with commas between: ``001,002``, ``EN057``; ``EN`` stands for all who
            heard English.
        deep: read every byte and compare checksums where a format has them; the usual check reads sizes and
            first and last bytes.
    """
    say_loading("PyTorch")
    from nfas_lightning.datamodules.catalogue.check_rows import check_folder

    given = root or os.environ.get("NFAS_DATA")
    if not given:
        refuse("nfas data check", "which folder? Name it, or set NFAS_DATA to it.")
    folder = Path(given).expanduser()
    try:
        checks = check_folder(folder, subjects=names(subjects), deep=deep, progress=sys.stderr.isatty())
    except (FileNotFoundError, NotADirectoryError) as error:
        refuse("nfas data check", str(error))
    if not checks:
        known = ", ".join(name for name, benchmark in benchmarks().items() if benchmark.folder)
        refuse(
            "nfas data check",
            f"neither {folder} nor a folder in it looks like {known}. "
            "docs/data.md shows how each must look; `nfas data get` brings what may be downloaded.",
        )
    for check in checks:
        _print_check(check)
    if not all(check.complete for check in checks):
        raise SystemExit(1)


def names(text: str | None) -> list[str] | None:
    """Split names at commas and spaces; None stays None.

    Example:
        >>> names("EN057, EN058"), names(None)
        (['EN057', 'EN058'], None)
    """
    return None if text is None else text.strip("[]").replace(",", " ").split()


def _print_check(check: Check) -> None:
    table = Table("what", title=escape(f"{check.benchmark.name}: {check.folder}"), title_justify="left")
    for column in ("found", "official", "missing", "unreadable"):
        table.add_column(column, justify="right")
    table.add_column("", overflow="fold")
    for row in check.rows:
        table.add_row(
            escape(row.what), *_counts(row), escape(row.note), style=None if row.complete else "bold"
        )
    console = stdout_console()
    console.print(table)
    for row in check.rows:
        _print_names(console, f"missing {row.what}", row.missing if row.needed or row.found else ())
        _print_names(
            console, f"unreadable {row.what}", [f"{path}: {reason}" for path, reason in row.unreadable]
        )
    console.print("complete" if check.complete else "NOT complete", "\n", sep="")


def _counts(row: Row) -> tuple[str, str, str, str]:
    expected = "-" if row.expected is None else f"{row.expected:,}"
    missing, unreadable = (f"{n:,}" if n else "-" for n in (row.n_missing, len(row.unreadable)))
    return f"{row.found:,}", expected, missing, unreadable


def _print_names(console: Console, title: str, lines: Sequence[str]) -> None:
    for line in lines[:_SHOWN]:
        console.print(escape(f"  {title}: {line}"), soft_wrap=True, highlight=False)
    if len(lines) > _SHOWN:
        console.print(escape(f"  {title}: and {len(lines) - _SHOWN:,} more"))
