"""Alice on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nfas_lightning.datamodules.alice.alice_reader import ALICE_FILES, read_scan, read_words
from nfas_lightning.datamodules.catalogue.check_rows import Row, archive_row, file_row, table_row
from nfas_lightning.datamodules.catalogue.inspector import Inspector

__all__ = ["alice_rows"]

_N_WORDS = 2127
_SHAPES: dict[str, tuple[int, ...]] = {
    "bold_6mm": (27, 362, 6),
    "bold_10mm": (27, 362, 6),
    "motion": (27, 362, 6),
    "word_rate_hrf": (362,),
    "sound_power_hrf": (362,),
}


def alice_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check the series and the words, which are read whole; one file holds all subjects."""
    del subjects
    series, words = (folder / name for name in ALICE_FILES)
    rows = [archive_row("series", series, inspector, _SHAPES)]
    if rows[0].complete:
        try:
            for radius in ("6mm", "10mm"):
                read_scan(folder, radius)
        except ValueError as error:
            rows = [Row("series", 0, 1, unreadable=((series.name, str(error)),))]
    row = table_row("word table", words, inspector)
    if row.complete:
        try:
            row = Row("words", len(read_words(folder).words), _N_WORDS)
        except ValueError as error:
            row = Row("words", 0, _N_WORDS, unreadable=((words.name, str(error)),))
    text = [path for path in (folder / "alice_chapter1.txt",) if os.path.lexists(path)]
    note = "punctuation; optional"
    return [*rows, row, file_row("printed text", folder, text, inspector, needed=False, note=note)[0]]
