"""Files of data folders: is the content here, what is it called, what is its hash."""

from __future__ import annotations

import difflib
import errno
import hashlib
import json
import os
import re
import time
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray

from nfas_lightning.errors import InputError, MissingFileError
from nfas_lightning.writing import write_text

__all__ = [
    "check_unread",
    "content_hash",
    "find_folder",
    "find_table",
    "read_npz",
    "require_file",
    "sha256_file",
]

# git-annex itself takes no file of more than 32 KiB for a pointer
_LARGEST_POINTER = 32 * 1024
_GET = "fetch the content with `datalad get {path}` (or `nfas data get`), then run again"


def require_file(path: str | os.PathLike[str]) -> Path:
    """Return the path if the file's content is on this disk.

    Args:
        path: a file of a data set; it may be a link.

    Returns:
        The path as given, links not resolved.

    Raises:
        FileNotFoundError: nothing is there, a link points nowhere, or a git-annex pointer stands in for the
            content.
        IsADirectoryError: a folder is there.
        ValueError: the file is empty.
    """
    path = Path(path)
    get = _GET.format(path=path)
    if path.is_symlink() and not path.exists():
        target = os.readlink(path)
        kind = "its git-annex content, which is not on this disk" if _is_annex(target) else "nothing"
        raise MissingFileError(f"{path} must be a file, got a link to {kind} ({target}): {get}.")
    if not path.exists():
        raise MissingFileError(f"{path} must be a file, got nothing: check the root, or {get}.")
    if path.is_dir():
        raise IsADirectoryError(f"{path} must be a file, got a folder: name the file inside it.")
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"{path} must hold data, got an empty file: delete it and {get}.")
    if size <= _LARGEST_POINTER:
        with path.open("rb") as file:
            start = file.read(1024).decode("utf-8", errors="replace")
        if _is_annex(start.splitlines()[0]):
            raise MissingFileError(
                f"{path} must hold data, got a git-annex pointer of {size} bytes (a text file that stands in "
                f"for the content): {get}."
            )
    return path


def _is_annex(text: str) -> bool:
    return "annex/objects" in text.replace("\\", "/")


# what zipfile, zlib and numpy's header parser raise on bytes that are damaged
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, TokenError, RuntimeError)


def find_folder(root: str | os.PathLike[str] | None, name: str, wanted: Sequence[str], how: str = "") -> Path:
    """Find the folder of one benchmark and check that what it must hold is there.

    `root` may be the benchmark's own folder or the folder that holds it; without it the environment
    variable ``NFAS_DATA`` is used.

    Args:
        root: where to look, or None for ``NFAS_DATA``.
        name: the benchmark's folder name inside the data folder.
        wanted: names of files and folders that it must hold.
        how: sentences that errors end with: the layout, and how to get the data.

    Raises:
        FileNotFoundError: no root is known, or the folder or something in it is missing.
    """
    layout = f"{name}/ with {', '.join(wanted)}"
    advice = f" {how}" if how else ""
    given = root if root is not None else os.environ.get("NFAS_DATA")
    if not given:
        raise MissingFileError(
            f"No data folder given: expected {layout}. Pass root=..., or set NFAS_DATA to the folder that "
            f"holds {name}/.{advice}"
        )
    base = Path(given).expanduser()
    missing: dict[Path, list[str]] = {}
    for folder in (base / name, base):
        missing[folder] = [part for part in wanted if not (folder / part).exists()]
        if not missing[folder]:
            return folder
    folder = base / name if (base / name).is_dir() else base
    held = "It is no folder"
    if folder.is_dir():
        held = f"It holds {', '.join(sorted(path.name for path in folder.iterdir())[:8]) or 'nothing'}"
    source = "root" if root is not None else "NFAS_DATA"
    raise MissingFileError(
        f"{source} = {base} must hold {layout}; missing in {folder}: {', '.join(missing[folder])}. {held}. "
        f"Point root= or NFAS_DATA at the folder that holds {name}/.{advice}"
    )


def read_npz(path: Path, shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, NDArray[np.generic]]:
    """Read arrays of an npz archive without unpickling, and check keys, shapes and finiteness.

    Args:
        path: the archive.
        shapes: wanted arrays and their shapes; None stands for any length.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no such archive or is damaged, a key is absent, a shape differs, or a value is
            NaN or infinite.
    """
    names, out = _npz_arrays(path, list(shapes))
    for key, shape in shapes.items():
        if key not in out:
            raise InputError(f"{path.name} must hold {key!r}, got only {sorted(names)}.")
        value = out[key]
        fits = value.ndim == len(shape) and all(
            want in (None, have) for want, have in zip(shape, value.shape, strict=True)
        )
        if not fits:
            wanted = tuple("any" if n is None else n for n in shape)
            raise InputError(
                f"{path.name}: {key!r} must have shape {wanted}, got {value.shape}. Is the file complete?"
            )
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            bad = int((~np.isfinite(value)).sum())
            raise InputError(f"{path.name}: {key!r} must be finite, got {bad} NaN or infinite values.")
    return out


def _npz_arrays(path: Path, keys: Sequence[str]) -> tuple[list[str], dict[str, NDArray[np.generic]]]:
    """Return the names of all arrays, and those of `keys` that are there."""
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise InputError("it holds one array, as numpy.save writes")
        with archive:
            return archive.files, {key: archive[key] for key in keys if key in archive.files}
    except (*_DAMAGED, OSError) as error:
        # an offset that damage made negative; other errors of the system are no fault of the file's content
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise InputError(
            f"{path} must be an archive of arrays that numpy.savez wrote, but can't be read ({error}): it is "
            "cut short, damaged or of another kind. Delete it and fetch it again."
        ) from error


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# a word of a file's name this close to one that is known was meant to be it
_CLOSE = 0.75
_TABLES = {".csv", ".tsv"}
_KINDS = {*_TABLES, ".npy", ".npz", ".txt", ".xls", ".xlsx", ".mat", ".parquet"}


def find_table(folder: Path, name: str) -> Path | None:
    """Return NAME.csv or NAME.tsv, whichever is in the folder, or None.

    Raises:
        ValueError: both are.
    """
    found = [path for path in (folder / f"{name}.csv", folder / f"{name}.tsv") if os.path.lexists(path)]
    if len(found) > 1:
        raise InputError(f"{folder} must hold {name} once, got {[path.name for path in found]}: remove one.")
    return found[0] if found else None


def check_unread(folder: Path, read: Sequence[str], tables: Sequence[str]) -> None:
    """Say which files of a folder nothing reads.

    Args:
        folder: that they lie in.
        read: names that are read.
        tables: names, without suffix, of the tables that may be there.

    Raises:
        ValueError: a file's name is close to that of a table that is not there: its content would be missing
            without a word.
    """
    left = sorted(
        path
        for path in folder.iterdir()
        if not path.is_dir()
        and path.suffix.lower() in _KINDS
        and path.name not in read
        and path.name[0] != "."
    )
    there = {Path(name).stem for name in read}
    for path in left:
        words = re.split(r"[^a-z]+", path.stem.lower())
        meant = [name for name in tables if difflib.get_close_matches(name, words, n=1, cutoff=_CLOSE)]
        if missing := [name for name in meant if name not in there]:
            raise InputError(
                f"{path} is not read: did you mean {missing[0]}.csv (or .tsv)? Rename it, or move it out of "
                "the folder."
            )
    others = [path.name for path in left if path.suffix.lower() in {*_TABLES, ".npy"}]
    if others:
        warnings.warn(
            f"{folder}: not read, as their names are none that stimuli, responses or tables "
            f"({', '.join(tables)}) go by: {others[:5]}.",
            stacklevel=2,
        )


# a file that changes again within a clock tick keeps its time: what is younger is hashed anew
_SETTLED_S = 2.0


def content_hash(path: Path, cache: Path | None, *, compute: bool = True) -> str | None:
    """Return the sha256 of a file, remembered in the cache by its place, size and times.

    A remembered hash is taken while resolved path, size, modification and change time (both in nanoseconds)
    are the same. A file that was written in the last two seconds is not remembered yet.

    Args:
        path: the file.
        cache: folder of the cache, or None to remember nothing.
        compute: False: return None instead of reading the file.
    """
    resolved = path.resolve()
    status = resolved.stat()
    identity = [str(resolved), status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    note = None
    if cache is not None:
        note = cache / "hashes" / f"{hashlib.sha256(str(resolved).encode()).hexdigest()}.json"
        try:
            known = json.loads(note.read_text(encoding="utf-8"))
            if known["file"] == identity:
                return str(known["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # absent or damaged: a note is worth no more than the time to hash the file
    if not compute:
        return None
    value = sha256_file(resolved)
    settled = time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED_S
    if note is not None and settled:
        write_text(note, json.dumps({"file": identity, "sha256": value}))
    return value
