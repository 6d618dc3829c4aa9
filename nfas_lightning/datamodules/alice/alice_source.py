"""Where Alice comes from: two archives on Google Drive, whose text files become what the benchmark reads."""

from __future__ import annotations

import re
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import requests
from numpy.typing import NDArray

from nfas_lightning.data.stimuli.word_times import read_textgrid
from nfas_lightning.datamodules.catalogue.download import TIMEOUT, TransferError, UnreachableError
from nfas_lightning.datamodules.catalogue.source import Choice, Job, Plan, Source
from nfas_lightning.errors import InputError, MissingFileError
from nfas_lightning.writing import write_text, write_whole

GOOGLE_DRIVE = "https://drive.usercontent.google.com/download"
"""Address that sends a public file of Google Drive without a page in between."""

ARCHIVES = {
    "alice_data_shared.zip": "0By_8Ci8eoDI4Q3NwUEFPRExIeG8",
    "alice_stim_shared.zip": "0By_8Ci8eoDI4d2I4bEF1VEZKZjA",
}
"""Google Drive's id of each archive, by the name that it gets here."""

# The text files that are read come to a few MB; an archive that claims more than this is another one.
_MOST_BYTES = 2**28
_READ = (".txt", ".TextGrid")
_ROIS = ("LATL", "RATL", "LPTL", "LIPL", "LPreM", "LIFG")
_TR = 2.0
_PADDING_S = 20.0  # of silence before the story; ten volumes, which the release has cut off
_VOLUMES = 362
_CUT = 10


class _AliceSource(Source):
    converts = True

    def plan(self, folder: Path, choice: Choice) -> Plan:
        """Ask how large the archives are, which go into ``release`` below the folder; see `Source.plan`."""
        del choice
        jobs = []
        for name, identity in ARCHIVES.items():
            url = f"{GOOGLE_DRIVE}?{urlencode({'id': identity, 'export': 'download', 'confirm': 't'})}"
            kind = "series" if "data" in name else "stimuli"
            jobs.append(Job(name, url, folder / "release" / name, _size(url, name), "", kind))
        return Plan(folder / "release", jobs)

    def convert(self, folder: Path, release: Path | None) -> list[str]:
        """Write ``roi_timeseries.npz`` and ``words.csv``; see `Source.convert`.

        The archives stay, what was unpacked of them does not.
        """
        if release is not None:
            return convert_release(release, folder)
        with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=folder) as place:
            for name in ARCHIVES:
                _unpack(folder / "release" / name, Path(place) / Path(name).stem)
            return convert_release(Path(place), folder)


SOURCE = _AliceSource()


def _size(url: str, name: str) -> int:
    """Return the bytes that an answer announces; its body is left unread."""
    try:
        response = requests.get(url, stream=True, timeout=TIMEOUT)
    except requests.RequestException as error:
        raise UnreachableError(f"{name}: Google Drive can't be asked ({error}).") from error
    with response:
        if not response.ok:
            raise TransferError(f"{name}: Google Drive answers {response.status_code} {response.reason}.")
        kind = response.headers.get("Content-Type", "")
        if kind.startswith("text/html"):
            page = next(response.iter_content(2**16), b"").decode(errors="replace")
            title = re.search(r"<title>\s*(.*?)\s*</title>", page, re.DOTALL | re.IGNORECASE)
            raise TransferError(
                f"{name} must come as an archive, Google Drive sends a page"
                + (f" ({title.group(1)})" if title else "")
                + "."
            )
        told = response.headers.get("Content-Length", "")
        if not told.isdigit():
            raise TransferError(f"{name}: the server does not say how large it is.")
        return int(told)


def _unpack(archive: Path, place: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if member.filename.endswith(_READ)]
            if (n_bytes := sum(member.file_size for member in members)) > _MOST_BYTES:
                raise InputError(
                    f"{archive} must hold a few MB of text, got {n_bytes:,} bytes: it is another archive."
                )
            # extract() keeps members below `place`, and compares the CRC of each
            for member in members:
                opened.extract(member, place)
    # zipfile raises RuntimeError where an archive has a password or an odd compression
    except (zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise InputError(
            f"{archive} must be a whole zip archive without a password ({error}): delete it and run again, "
            "or unpack what the authors' page gives and name the folder with --source."
        ) from error


def convert_release(source: Path, folder: Path) -> list[str]:
    """Read the unpacked release and write ``roi_timeseries.npz`` and ``words.csv``.

    Args:
        source: holds ``6mm/sNN-timecourses.txt``, ``10mm/...``, ``sNN-rp_*.txt``, ``sNN-rate.txt``,
            ``sNN-sndpwr.txt`` and the TextGrid, at any depth.
        folder: made, and written to.

    Returns:
        Lines for the user: who was left out and why, and how many listeners there are.
    """
    # a Mac's archiver adds a "._" twin to every file
    grids = [path for path in sorted(source.rglob("*.TextGrid")) if not path.name.startswith("._")]
    series = {path.name.split("-")[0]: path for path in sorted(source.rglob("6mm/s*-timecourses.txt"))}
    if len(grids) != 1 or not series:
        raise MissingFileError(
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
        raise MissingFileError(f"{source} has no complete listener: {next(iter(notes.values()))}")
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
    table = ["word,onset_s,offset_s,onset_scan_s"]
    for word, onset, offset in zip(words.words, words.onset, words.offset, strict=True):
        table.append(f"{word},{onset:.4f},{offset:.4f},{onset - _PADDING_S:.4f}")
    write_text(folder / "words.csv", "\n".join(table) + "\n")

    def save(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_whole(folder / "roi_timeseries.npz", save)
    lines = [
        f"{subject}{'' if subject in kept else ' is left out'}: {note}" for subject, note in notes.items()
    ]
    return [*lines, f"{len(kept)} listeners and the words are in {folder}."]


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
            raise MissingFileError(f"expected one {pattern}, got {len(found)}")
        try:
            values = np.loadtxt(found[0], dtype=np.float32, ndmin=2)
        except ValueError as error:
            raise InputError(f"{found[0].name} must hold numbers in columns ({error})") from error
        # motion may still have the volumes that were cut off the series
        values = values[_CUT:] if len(values) == _VOLUMES + _CUT else values
        if values.shape != (_VOLUMES, columns):
            raise InputError(f"{found[0].name} must hold ({_VOLUMES}, {columns}) numbers, got {values.shape}")
        if not np.isfinite(values).all():
            raise InputError(f"{found[0].name} must be finite, got NaN or infinite values")
        out[key] = values
    return out
