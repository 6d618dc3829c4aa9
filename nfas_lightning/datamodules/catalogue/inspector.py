"""Is a file whole? Told from its size, its first bytes and its last ones, or by reading all of it."""

from __future__ import annotations

import gzip
import json
import re
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from rich.console import Console
from rich.progress import track

from nfas_lightning.data.files import require_file
from nfas_lightning.data.regions.brain_images import read_gifti
from nfas_lightning.data.regions.label_files import read_annotation
from nfas_lightning.data.safe_pickle import read_pickle
from nfas_lightning.errors import InputError

_CHUNK = 2**22
_READERS = 8
# a pickle of a whole brain takes its size in memory
_ONE_AT_A_TIME = threading.Lock()
_UNSIZED_WAV = (0, 0xFFFFFFFF)


class _BrokenError(InputError):
    """What is wrong with a file, in a few words."""


@dataclass(frozen=True)
class FileState:
    """What was found out about one file: why it can't be used, and the lengths of an image's axes."""

    problem: str | None = None
    shape: tuple[int, ...] = ()


class Inspector:
    """Looks at files, several at a time, with a progress bar.

    Args:
        deep: read everything and compare checksums where a format has them; else first and last bytes alone.
        progress: show a bar on standard error.
    """

    def __init__(self, *, deep: bool = False, progress: bool = True) -> None:
        self.deep = deep
        self.progress = progress

    def look(self, what: str, files: Iterable[Path]) -> dict[Path, FileState]:
        """Return the state of each file, in order."""
        paths = list(files)
        # file systems over a network answer slowly, but several questions at once
        with ThreadPoolExecutor(_READERS) as pool:
            states = track(
                pool.map(self._state, paths),
                what,
                len(paths),
                console=Console(stderr=True),
                transient=True,
                disable=not self.progress,
            )
            return dict(zip(paths, states, strict=True))

    def _state(self, path: Path) -> FileState:
        try:
            require_file(path)
            return FileState(shape=self._content(path))
        except PermissionError:
            return FileState("no permission to read it")
        except _BrokenError as error:
            return FileState(str(error))
        except (FileNotFoundError, IsADirectoryError, ValueError) as error:
            return FileState(shorten(str(error)))
        except OSError as error:
            return FileState(f"can't be read: {error.strerror or error}")

    def _content(self, path: Path) -> tuple[int, ...]:
        name = path.name.lower()
        if name.endswith((".nii", ".nii.gz")):
            return _nifti(path, deep=self.deep)
        suffix = next((suffix for suffix in _QUICK if name.endswith(suffix)), "")
        if suffix:
            _QUICK[suffix](path)
        if self.deep:
            _DEEP.get(suffix, _read_all)(path)
        return ()


def shorten(message: str) -> str:
    """Take what came out of an error of `require_file`: "must be ..., got WHAT (...): do this"."""
    found = re.search(r"\bgot (.*?)(?= \(|: |$)", message, flags=re.DOTALL)
    return found.group(1) if found else message


def _read_all(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(_CHUNK):
            pass


def _nifti(path: Path, *, deep: bool) -> tuple[int, ...]:
    try:
        image = nib.load(path)
        proxy: Any = image.dataobj
        shape = tuple(map(int, image.shape))
        size = proxy.offset + int(np.prod(shape, dtype=np.int64)) * image.get_data_dtype().itemsize
    except (EOFError, OSError, ValueError, zlib.error, ImageFileError, HeaderDataError) as error:
        raise _BrokenError("its header can't be read") from error
    if not path.name.lower().endswith(".gz"):
        if path.stat().st_size < size:
            raise _BrokenError(f"cut short: {path.stat().st_size:,} bytes of {size:,}")
        if deep:
            _read_all(path)
        return shape
    told = struct.unpack("<I", _ends(path, 0, 4)[1])[0]
    # the last four bytes are the length of what was compressed; in a file of several parts, of the last one
    if deep or told != size % 2**32:
        _gzip_whole(path, size)
    return shape


def _gzip_whole(path: Path, size: int) -> None:
    read = 0
    try:
        with gzip.open(path) as stream:
            while piece := stream.read(_CHUNK):
                read += len(piece)
    except EOFError as error:
        raise _BrokenError(f"cut short: its gzip stream ends after {read:,} bytes of {size:,}") from error
    except (OSError, zlib.error) as error:
        raise _BrokenError(f"damaged: {error}") from error
    if read < size:
        raise _BrokenError(f"cut short: {read:,} bytes of {size:,} uncompressed")


def _gifti(path: Path) -> None:
    start, end = _ends(path, 4096, 256)
    if b"<GIFTI" not in start:
        raise _BrokenError("no GIfTI file")
    if not end.rstrip().endswith(b"</GIFTI>"):
        raise _BrokenError("cut short: it does not end as a GIfTI file does")


def _ends(path: Path, n_first: int, n_last: int) -> tuple[bytes, bytes]:
    """Return the first and the last bytes of a file."""
    with path.open("rb") as file:
        start = file.read(n_first)
        file.seek(max(0, path.stat().st_size - n_last))
        return start, file.read()


def _gifti_arrays(path: Path) -> None:
    side = re.search(r"hemi-([LR])", path.name)
    try:
        read_gifti(path, side.group(1) if side else "L")
    except ValueError as error:
        raise _BrokenError(str(error).removeprefix(path.name).strip()) from error


def _wav(path: Path) -> None:
    start, _ = _ends(path, 12, 0)
    if len(start) < 12 or start[:4] not in (b"RIFF", b"RF64") or start[8:] != b"WAVE":
        raise _BrokenError("no wav file")
    told = struct.unpack("<I", start[4:8])[0]
    if start[:4] == b"RIFF" and told not in _UNSIZED_WAV and path.stat().st_size < told + 8:
        raise _BrokenError(f"cut short: {path.stat().st_size:,} bytes of {told + 8:,}")


def _mp4(path: Path) -> None:
    """Walk the boxes at the top of the file: they must fill it, and one must be the index."""
    size, position, kinds = path.stat().st_size, 0, []
    with path.open("rb") as file:
        while position < size:
            file.seek(position)
            head = file.read(16)
            if len(head) < 8:
                raise _BrokenError("cut short inside a box")
            length = struct.unpack(">I", head[:4])[0]
            if length == 1 and len(head) == 16:
                length = struct.unpack(">Q", head[8:])[0]
            elif length == 0:  # to the end of the file
                length = size - position
            kinds.append(head[4:8])
            if length < 8 or kinds[0] != b"ftyp":
                raise _BrokenError("no mp4 file")
            position += length
    if position != size:
        raise _BrokenError(f"cut short: {size:,} bytes of {position:,}")
    if b"moov" not in kinds:
        raise _BrokenError("no index (moov) in it")


def _pickle(path: Path) -> None:
    start, end = _ends(path, 1, 1)
    if start not in (b"\x80", b"(", b"}", b"]", b"c"):
        raise _BrokenError("no pickle")
    if end != b".":
        raise _BrokenError("cut short: it does not end as a pickle does")


def _pickle_content(path: Path) -> None:
    """Read it as data alone: what it asks for is never run."""
    with _ONE_AT_A_TIME:
        try:
            read_pickle(path)
        except ValueError as error:
            raise _BrokenError(str(error).removeprefix(str(path)).strip()) from error


def _npz(path: Path, *, deep: bool = False) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            if deep and (bad := archive.testzip()) is not None:
                raise _BrokenError(f"damaged: the checksum of {bad} differs")
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise _BrokenError(f"cut short or damaged ({error})") from error


def _json(path: Path) -> None:
    try:
        json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _BrokenError(f"no JSON ({error})") from error


def _text(path: Path, n_bytes: int = 4096) -> None:
    start, _ = _ends(path, n_bytes, 0)
    if b"\0" in start and not start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _BrokenError("no text: it holds zero bytes")


def _annotation(path: Path) -> None:
    try:
        read_annotation(path)
    except ValueError as error:
        raise _BrokenError("no FreeSurfer annotation") from error


_TEXTS = (".csv", ".tsv", ".txt", ".textgrid")
_QUICK: dict[str, Callable[[Path], None]] = {
    ".gii": _gifti,
    ".wav": _wav,
    ".mp4": _mp4,
    ".pkl": _pickle,
    ".npz": _npz,
    ".json": _json,
    ".annot": _annotation,
    **dict.fromkeys(_TEXTS, _text),
}
# what a deep check does beside that; files of all other kinds are read to their end
_DEEP: dict[str, Callable[[Path], None]] = {
    ".gii": _gifti_arrays,
    ".pkl": _pickle_content,
    ".npz": partial(_npz, deep=True),
    **dict.fromkeys(_TEXTS, partial(_text, n_bytes=-1)),
}
