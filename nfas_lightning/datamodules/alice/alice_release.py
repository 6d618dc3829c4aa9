"""Alice as its authors release it, text files and a TextGrid, into the two files that the benchmark reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfas_lightning.data.stimuli.word_times import read_textgrid
from nfas_lightning.writing import write_text, write_whole

__all__ = ["convert_alice"]

_ROIS = ("LATL", "RATL", "LPTL", "LIPL", "LPreM", "LIFG")
_TR = 2.0
_PADDING_S = 20.0  # of silence before the story; ten volumes, which the release has cut off
_VOLUMES = 362
_CUT = 10


def convert_alice(source: Path, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Read the unpacked release and write ``roi_timeseries.npz`` and ``words.csv``.

    Args:
        source: holds ``6mm/sNN-timecourses.txt``, ``10mm/...``, ``sNN-rp_*.txt``, ``sNN-rate.txt``,
            ``sNN-sndpwr.txt`` and the TextGrid, at any depth.
        folder: made, and written to.

    Returns:
        The listeners, and remarks by listener: why one was left out.

    Raises:
        FileNotFoundError: no listener is complete, or there is no TextGrid.
        ValueError: a file is not what it should be.
    """
    # a Mac's archiver adds a "._" twin to every file
    grids = [path for path in sorted(source.rglob("*.TextGrid")) if not path.name.startswith("._")]
    series = {path.name.split("-")[0]: path for path in sorted(source.rglob("6mm/s*-timecourses.txt"))}
    if len(grids) != 1 or not series:
        raise FileNotFoundError(
            f"{source} must hold the unpacked release of Alice: 6mm/sNN-timecourses.txt and one TextGrid, "
            f"got {len(series)} such series and {len(grids)} TextGrids."
        )
    kept: dict[str, dict[str, NDArray[np.float32]]] = {}
    notes: dict[str, str] = {}
    for subject in sorted(series):
        try:
            kept[subject] = _listener(source, subject)
        except (FileNotFoundError, ValueError) as error:
            notes[subject] = str(error)
    if not kept:
        raise FileNotFoundError(f"{source} has no complete listener: {next(iter(notes.values()))}")
    first = next(iter(kept.values()))
    arrays: dict[str, Any] = {
        key: np.stack([own[key] for own in kept.values()]) for key in ("bold_6mm", "bold_10mm", "motion")
    }
    for subject, own in kept.items():
        for key in ("rate", "sndpwr"):
            # what was heard is the same for all, and kept once
            if not np.allclose(own[key], first[key], rtol=1e-3, atol=1e-6):
                notes[subject] = f"its {key} differs from that of {next(iter(kept))}, which is used for all"
    arrays |= {"word_rate_hrf": first["rate"][:, 0], "sound_power_hrf": first["sndpwr"][:, 0]}
    arrays |= {"subjects": np.array(list(kept)), "rois": np.array(_ROIS), "tr": np.array(_TR)}
    words = read_textgrid(grids[0], silence=("sp",))
    lines = ["word,onset_s,offset_s,onset_scan_s"]
    for word, onset, offset in zip(words.words, words.onset, words.offset, strict=True):
        lines.append(f"{word},{onset:.4f},{offset:.4f},{onset - _PADDING_S:.4f}")
    write_text(folder / "words.csv", "\n".join(lines) + "\n")

    def save(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_whole(folder / "roi_timeseries.npz", save)
    return list(kept), notes


def _listener(source: Path, subject: str) -> dict[str, NDArray[np.float32]]:
    wanted = {
        "bold_6mm": (f"6mm/{subject}-timecourses.txt", len(_ROIS)),
        "bold_10mm": (f"10mm/{subject}-timecourses.txt", len(_ROIS)),
        "motion": (f"{subject}-rp_*.txt", 6),
        "rate": (f"{subject}-rate.txt", 1),
        "sndpwr": (f"{subject}-sndpwr.txt", 1),
    }
    out = {}
    for key, (pattern, columns) in wanted.items():
        found = sorted(source.rglob(pattern))
        if len(found) != 1:
            raise FileNotFoundError(f"expected one {pattern}, got {len(found)}")
        try:
            values = np.loadtxt(found[0], dtype=np.float32, ndmin=2)
        except ValueError as error:
            raise ValueError(f"{found[0].name} must hold numbers in columns ({error})") from error
        # motion may still have the volumes that were cut off the series
        values = values[_CUT:] if len(values) == _VOLUMES + _CUT else values
        if values.shape != (_VOLUMES, columns):
            raise ValueError(f"{found[0].name} must hold ({_VOLUMES}, {columns}) numbers, got {values.shape}")
        if not np.isfinite(values).all():
            raise ValueError(f"{found[0].name} must be finite, got NaN or infinite values")
        out[key] = values
    return out
