"""The natural sounds on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nfas_lightning.datamodules.catalogue.check_rows import Row, archive_row
from nfas_lightning.datamodules.catalogue.inspector import Inspector
from nfas_lightning.datamodules.natural_sounds.natural_sounds_reader import NATURAL_SOUNDS_FILES, read_sounds

__all__ = ["natural_sounds_rows"]

_SHAPES: tuple[dict[str, tuple[int, ...]], ...] = ({"R": (165, 6)}, {"audio": (165, 32_000)})


def natural_sounds_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check both archives, which are read whole; `subjects` changes nothing, there is one."""
    del subjects
    rows = [
        archive_row(what, folder / name, inspector, shapes)
        for what, name, shapes in zip(("components", "sounds"), NATURAL_SOUNDS_FILES, _SHAPES, strict=True)
    ]
    if all(row.complete for row in rows):
        try:
            read_sounds(folder)
        except ValueError as error:
            # its message begins with the name of the file
            rows.append(Row("names", 0, 1, unreadable=((folder.name, str(error)),)))
    return rows
