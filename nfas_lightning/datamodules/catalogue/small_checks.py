"""Alice, the natural sounds and atlases on disk."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from nfas_lightning.data.files import read_npz
from nfas_lightning.datamodules.alice.alice_reader import read_scan, read_words
from nfas_lightning.datamodules.catalogue.check_rows import Row, file_row, table_row
from nfas_lightning.datamodules.catalogue.inspector import Inspector
from nfas_lightning.datamodules.natural_sounds.natural_sounds_reader import read_sounds

__all__ = ["alice_rows", "atlas_rows", "natural_sounds_rows"]

_N_WORDS = 2127
_SERIES: dict[str, tuple[int, ...]] = {
    "bold_6mm": (27, 362, 6),
    "bold_10mm": (27, 362, 6),
    "motion": (27, 362, 6),
    "word_rate_hrf": (362,),
    "sound_power_hrf": (362,),
}
_COMPONENTS: dict[str, tuple[int, ...]] = {"R": (165, 6)}
_SOUNDS: dict[str, tuple[int, ...]] = {"audio": (165, 32_000)}


def alice_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check the series and the words; these files are small and are read whole."""
    del subjects
    rows = [_arrays("series", folder / "roi_timeseries.npz", inspector, _SERIES)]
    if rows[0].complete:
        try:
            for radius in ("6mm", "10mm"):
                read_scan(folder, radius)
        except ValueError as error:
            rows = [Row("series", 0, 1, unreadable=(("roi_timeseries.npz", str(error)),))]
    row = table_row("word table", folder / "words.csv", inspector)
    if row.complete:
        try:
            row = Row("words", len(read_words(folder).words), _N_WORDS)
        except ValueError as error:
            row = Row("words", 0, _N_WORDS, unreadable=(("words.csv", str(error)),))
    text = [path for path in (folder / "alice_chapter1.txt",) if os.path.lexists(path)]
    printed = file_row("printed text", folder, text, inspector, needed=False, note="punctuation; optional")
    return [*rows, row, printed[0]]


def natural_sounds_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check both archives; they are small and are read whole."""
    del subjects
    rows = [
        _arrays("components", folder / "components.npz", inspector, _COMPONENTS),
        _arrays("sounds", folder / "sounds_16k.npz", inspector, _SOUNDS),
    ]
    if all(row.complete for row in rows):
        try:
            read_sounds(folder)
        except ValueError as error:
            # its message begins with the name of the file
            rows.append(Row("names", 0, 1, unreadable=((folder.name, str(error)),)))
    return rows


def _arrays(what: str, path: Path, inspector: Inspector, shapes: dict[str, tuple[int, ...]]) -> Row:
    row = table_row(what, path, inspector)
    if not row.complete:
        return row
    note = ", ".join(f"{key} {shape}" for key, shape in list(shapes.items())[:1])
    try:
        read_npz(path, dict(shapes))
    except ValueError as error:
        return Row(what, 0, 1, unreadable=((path.name, str(error)),))
    return Row(what, 1, 1, note=note)


def atlas_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check annotations, which come in pairs, and label images."""
    del subjects
    annotations = sorted(folder.glob("*.annot"))
    names = {path.name for path in annotations}
    partners = {_other_side(name) for name in names}
    absent = sorted(name for name in partners if name not in names)
    rows = []
    if annotations:
        rows.append(file_row("annotations", folder, annotations, inspector, missing=absent)[0])
    images = sorted(folder.glob("**/*.nii*"))
    if images:
        rows.append(file_row("label images", folder, images, inspector)[0])
    return rows


def _other_side(name: str) -> str:
    """Return the name of the other hemisphere's file: lh for rh and back."""
    return re.sub(r"(?<![a-z])([lr])h(?![a-z])", lambda m: f"{'r' if m[1] == 'l' else 'l'}h", name, count=1)
