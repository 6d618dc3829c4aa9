"""Alice: BOLD of 27 listeners to twelve minutes of a story (Brennan et al. 2016)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nfas_lightning.data.files import read_npz
from nfas_lightning.data.tables import read_csv
from nfas_lightning.datamodules.catalogue.check_rows import Row, archive_row, file_row, read_row, table_row
from nfas_lightning.datamodules.catalogue.inspector import Inspector
from nfas_lightning.errors import InputError

ALICE_FILES = ("roi_timeseries.npz", "words.csv")
ALICE_TEXT = "alice_chapter1.txt"
_RADII = ("6mm", "10mm")


class _Scan(NamedTuple):
    """BOLD (S, T, R), motion (S, T, 6), and word rate and sound power (T, 2), both convolved already."""

    bold: Tensor
    motion: Tensor
    acoustic: Tensor
    subjects: list[str]
    rois: list[str]
    tr: float


def read_scan(folder: Path, radius: str) -> _Scan:
    """Read the series of one radius, and check that their shapes agree.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: an array is missing or has another shape.
    """
    bold, path = f"bold_{radius}", folder / ALICE_FILES[0]
    convolved = ("word_rate_hrf", "sound_power_hrf")
    arrays = read_npz(
        path,
        {
            bold: (None, None, None),
            "motion": (None, None, 6),
            **dict.fromkeys(convolved, (None,)),
            "subjects": (None,),
            "rois": (None,),
            "tr": (),
        },
    )
    rois, subjects = ([str(name) for name in arrays[key]] for key in ("rois", "subjects"))
    n_volumes = len(arrays[convolved[0]])
    wanted: dict[str, tuple[int, ...]] = {
        bold: (len(subjects), n_volumes, len(rois)),
        "motion": (len(subjects), n_volumes, 6),
        convolved[1]: (n_volumes,),
    }
    for key, shape in wanted.items():
        if arrays[key].shape != shape:
            raise InputError(f"{path.name}: {key!r} must have shape {shape}, got {arrays[key].shape}.")
    acoustic = torch.from_numpy(np.stack([arrays[key] for key in convolved], axis=1))
    motion = torch.from_numpy(arrays["motion"])
    return _Scan(torch.from_numpy(arrays[bold]), motion, acoustic, subjects, rois, float(arrays["tr"]))


class _Words(NamedTuple):
    """N words, (N,) seconds on the scan's clock, and the chapter as it was printed, where that is here."""

    words: list[str]
    onsets: Tensor
    text: str | None


def read_words(folder: Path) -> _Words:
    """Read the words and when they were heard.

    Raises:
        FileNotFoundError: the table is missing.
        ValueError: a column is missing, or the words are not in the order of their onsets.
    """
    table = read_csv(folder / ALICE_FILES[1], ("word", "onset_s", "offset_s", "onset_scan_s"))
    onsets = torch.from_numpy(table["onset_scan_s"].to_numpy(dtype=np.float64, copy=True))
    durations = torch.from_numpy((table["offset_s"] - table["onset_s"]).to_numpy(dtype=np.float64, copy=True))
    # a shuffled or re-timed table would pair silently otherwise
    for wrong, rule in (
        ((onsets.diff() <= 0).nonzero() + 1, "onset_scan_s must increase from word to word"),
        ((durations <= 0).nonzero(), "offset_s must come after onset_s"),
    ):
        if len(wrong):
            word = int(wrong[0])
            raise InputError(
                f"words.csv: {rule}, but word {word} starts at {float(onsets[word]):g} s and lasts "
                f"{float(durations[word]):g} s. Is the table sorted, and each word there once?"
            )
    printed = folder / ALICE_TEXT
    text = printed.read_text(encoding="utf-8") if printed.is_file() else None
    return _Words([str(word).strip() for word in table["word"]], onsets, text)


_SHAPES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("bold_6mm", "bold_10mm", "motion"), (27, 362, 6)),
    **dict.fromkeys(("word_rate_hrf", "sound_power_hrf"), (362,)),
}


def alice_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check the series and the words, which are read whole; one file holds all subjects."""
    del subjects
    series, words = (folder / name for name in ALICE_FILES)
    whole = archive_row("series", series, inspector, _SHAPES)
    read = read_row(whole, series.name, "series", 1, lambda: all(read_scan(folder, r) for r in _RADII))
    word_row = table_row("word table", words, inspector)
    text = [path for path in (folder / ALICE_TEXT,) if os.path.lexists(path)]
    note = "punctuation; optional"
    return [
        whole if read.complete else read,
        read_row(word_row, words.name, "words", 2127, lambda: len(read_words(folder).words)),
        file_row("printed text", folder, text, inspector, needed=False, note=note)[0],
    ]
