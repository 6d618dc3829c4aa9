"""What of a benchmark lies under a folder: found, missing, unreadable, against the official counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nfas_lightning.datamodules.catalogue.check_rows import Row
from nfas_lightning.datamodules.catalogue.entries import CATALOGUE, Entry
from nfas_lightning.datamodules.catalogue.inspector import Inspector
from nfas_lightning.datamodules.catalogue.small_checks import alice_rows, atlas_rows, natural_sounds_rows
from nfas_lightning.datamodules.catalogue.video_checks import algonauts_rows, bold_moments_rows
from nfas_lightning.datamodules.little_prince.little_prince_check import little_prince_rows
from nfas_lightning.datamodules.narratives.narratives_check import narratives_rows

__all__ = ["Check", "check_folder", "find_benchmarks"]

_ROWS: dict[str, Callable[[Path, Inspector, Sequence[str] | None], list[Row]]] = {
    "algonauts2021": algonauts_rows,
    "bold_moments": bold_moments_rows,
    "narratives": narratives_rows,
    "little_prince": little_prince_rows,
    "alice": alice_rows,
    "natural_sounds": natural_sounds_rows,
    "atlases": atlas_rows,
}


@dataclass(frozen=True)
class Check:
    """One benchmark's table.

    Attributes:
        entry: the benchmark.
        folder: where it lies.
        rows: what was looked for.
    """

    entry: Entry
    folder: Path
    rows: tuple[Row, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing that is needed is missing and nothing is unreadable."""
        return all(row.complete for row in self.rows)


def find_benchmarks(root: Path) -> list[tuple[Entry, Path]]:
    """Find the benchmarks that lie in `root` itself or in a folder of it, by the names of files alone.

    Raises:
        FileNotFoundError: there is no such folder.
        NotADirectoryError: it is a file.
    """
    if not root.exists():
        raise FileNotFoundError(f"{root} must be a folder, got nothing: check the path.")
    if not root.is_dir():
        raise NotADirectoryError(f"{root} must be a folder, got a file: name the folder that holds it.")
    own = [entry for entry in CATALOGUE.values() if entry.lies_in(root)]
    # the derivatives of a data set look like a data set themselves
    others = [entry for entry in CATALOGUE.values() if entry not in own]
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir())
    below = [(entry, folder) for folder in folders for entry in others if entry.lies_in(folder)]
    return [*((entry, root) for entry in own), *below]


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
        A table a benchmark; none if nothing is recognized.
    """
    inspector = Inspector(deep=deep, progress=progress)
    return [
        Check(entry, folder, tuple(_ROWS[entry.name](folder, inspector, subjects)))
        for entry, folder in find_benchmarks(root)
    ]
