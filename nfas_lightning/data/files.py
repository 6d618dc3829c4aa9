"""Files of data folders: is the content here, and what is its hash."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray

from nfas_lightning.errors import InputError, MissingFileError
from nfas_lightning.writing import write_text

_LARGEST_POINTER = 32 * 1024  # git-annex takes no larger file for a pointer
# what zipfile, zlib and numpy's header parser raise on bytes that are damaged
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, TokenError, RuntimeError)


def require_file(path: str | os.PathLike[str]) -> Path:
    """Return the path as given; raise unless the file's content is on this disk."""
    path = Path(path)
    get = f"fetch the content with `datalad get {path}` (or `nfas data get`)"
    if path.is_symlink() and not path.exists():
        target = os.readlink(path)
        kind = "its git-annex content, which is not on this disk" if _is_annex(target) else "nothing"
        raise MissingFileError(f"{path} must be a file, got a link to {kind} ({target}): {get}.")
    if not path.exists():
        raise MissingFileError(f"{path} must be a file, got nothing: check the root, or {get}.")
    if path.is_dir():
        raise IsADirectoryError(f"{path} must be a file, got a folder: name the file inside it.")
    if not (size := path.stat().st_size):
        raise InputError(f"{path} must hold data, got an empty file: delete it and {get}.")
    if size <= _LARGEST_POINTER:
        with path.open("rb") as file:
            if _is_annex(file.readline(1024).decode("utf-8", errors="replace")):
                raise MissingFileError(
                    f"{path} must hold data, got a git-annex pointer of {size} bytes: {get}."
                )
    return path


@contextmanager
def reading(path: Path | str, what: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn what a library raises on a file that is not `what` it must be into one clear error."""
    try:
        yield
    except errors as error:
        raise InputError(
            f"{path} must be {what}, but can't be read ({error}): it is cut short or damaged, download it "
            "again."
        ) from error


def _is_annex(text: str) -> bool:
    return "annex/objects" in text.replace("\\", "/")


def find_folder(root: str | os.PathLike[str] | None, name: str, wanted: Sequence[str], how: str = "") -> Path:
    """Find the folder of one benchmark and check that what it must hold is there.

    Args:
        root: the benchmark's own folder or the one that holds it; None: environment variable ``NFAS_DATA``.
        name: the benchmark's folder name inside the data folder.
        wanted: names of files and folders that it must hold.
        how: sentences that errors end with: the layout, and how to get the data.
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
    for folder in (base / name, base):
        if all((folder / part).exists() for part in wanted):
            return folder
    folder = base / name if (base / name).is_dir() else base
    held = "It is no folder"
    if folder.is_dir():
        held = f"It holds {', '.join(sorted(path.name for path in folder.iterdir())[:8]) or 'nothing'}"
    missing = ", ".join(part for part in wanted if not (folder / part).exists())
    raise MissingFileError(
        f"{'NFAS_DATA' if root is None else 'root'} = {base} must hold {layout}; missing in {folder}: "
        f"{missing}. {held}. Point it at the folder that holds {name}/.{advice}"
    )


def read_npz(path: Path, shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, NDArray[np.generic]]:
    """Read arrays of an npz archive without unpickling: these keys, of these shapes (None: any), finite."""
    require_file(path)
    # OSError: an offset that damage made negative
    with reading(path, "an archive of arrays that numpy.savez wrote", *_DAMAGED, OSError):
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise InputError("it holds one array, as numpy.save writes")
        with archive:
            names, out = archive.files, {key: archive[key] for key in shapes if key in archive.files}
    for key, shape in shapes.items():
        if key not in out:
            raise InputError(f"{path.name} must hold {key!r}, got only {sorted(names)}.")
        got = out[key].shape
        if len(got) != len(shape) or any(want not in (None, n) for want, n in zip(shape, got, strict=True)):
            wanted = tuple("any" if n is None else n for n in shape)
            raise InputError(
                f"{path.name}: {key!r} must have shape {wanted}, got {got}. Is the file complete?"
            )
        if out[key].dtype.kind == "f" and (bad := int((~np.isfinite(out[key])).sum())):
            raise InputError(f"{path.name}: {key!r} must be finite, got {bad} NaN or infinite values.")
    return out


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# a file that changes again within a clock tick keeps its time: what is younger is hashed anew
_SETTLED_S = 2.0


def content_hash(path: Path, cache: Path | None, *, compute: bool = True) -> str | None:
    """Return the sha256 of a file, remembered in the cache while its place, size and times stay the same.

    Without a cache nothing is remembered; with ``compute=False`` what is not remembered is None.
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
    if note is not None and time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED_S:
        write_text(note, json.dumps({"file": identity, "sha256": value}))
    return value
