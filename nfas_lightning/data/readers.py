"""Safe readers of data folders: nothing is unpickled, and a wrong file says what was expected."""

from __future__ import annotations

import difflib
import errno
import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tokenize import TokenError

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nfas_lightning.data.tables import check_columns, parse_csv

__all__ = ["find_folder", "name_list", "pick", "read_csv", "read_npz", "sha256_file"]

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
        raise FileNotFoundError(
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
    raise FileNotFoundError(
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
            raise ValueError(f"{path.name} must hold {key!r}, got only {sorted(names)}.")
        value = out[key]
        fits = value.ndim == len(shape) and all(
            want in (None, have) for want, have in zip(shape, value.shape, strict=True)
        )
        if not fits:
            wanted = tuple("any" if n is None else n for n in shape)
            raise ValueError(
                f"{path.name}: {key!r} must have shape {wanted}, got {value.shape}. Is the file complete?"
            )
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            bad = int((~np.isfinite(value)).sum())
            raise ValueError(f"{path.name}: {key!r} must be finite, got {bad} NaN or infinite values.")
    return out


def _npz_arrays(path: Path, keys: Sequence[str]) -> tuple[list[str], dict[str, NDArray[np.generic]]]:
    """Return the names of all arrays, and those of `keys` that are there."""
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ValueError("it holds one array, as numpy.save writes")
        with archive:
            return archive.files, {key: archive[key] for key in keys if key in archive.files}
    except (*_DAMAGED, OSError) as error:
        # an offset that damage made negative; other errors of the system are no fault of the file's content
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise ValueError(
            f"{path} must be an archive of arrays that numpy.savez wrote, but can't be read ({error}): it is "
            "cut short, damaged or of another kind. Delete it and fetch it again."
        ) from error


def read_csv(
    path: Path, columns: Sequence[str], *, sep: str | None = None, text: Sequence[str] = ()
) -> pd.DataFrame:
    """Read a table and check its columns; words such as "null" stay words.

    Args:
        path: the file.
        columns: that it must have.
        sep: what stands between two cells; None: a tab in ``.tsv``, else a comma.
        text: columns that are text whatever they look like: ``007`` keeps its zeros.

    Raises:
        ValueError: a column is absent, there is no row, or `parse_csv` refuses the file.
    """
    table = parse_csv(path, sep=sep, keep_default_na=False, text=text)
    check_columns(table, columns, path, sep=sep)
    if table.empty:
        raise ValueError(f"{path.name} must have at least one row, got none.")
    return table


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def name_list(what: str, given: Sequence[str], spell: Callable[[str], str] = str) -> list[str]:
    """Return names that somebody gave, as `spell` writes them.

    Raises:
        TypeError: one string instead of a list.
        ValueError: there is none, or one comes twice.

    Example:
        >>> name_list("subjects", ["b", "a"], str.upper)
        ['B', 'A']
    """
    if isinstance(given, str):
        raise TypeError(f"{what} must be a list of names, got the string {given!r}: write [{given!r}].")
    names = [spell(name) for name in given]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"{what} must name at least one, each once, got {list(given)}.")
    return names


def pick(what: str, wanted: Sequence[str] | None, available: Sequence[str]) -> list[int]:
    """Return the positions of `wanted` in `available` (all of them for None).

    Raises:
        TypeError: one string instead of a list.
        ValueError: a name is unknown, repeated on either side, or none is left.

    Example:
        >>> pick("subjects", ["s2"], ["s1", "s2"])
        [1]
        >>> pick("subjects", ["s3"], ["s1", "s2"])
        Traceback (most recent call last):
        ...
        ValueError: subjects has no 's3'; did you mean s2, s1? There are 2 in all.
    """
    if len(set(available)) != len(available):
        raise ValueError(f"{what} must have unique names in the data, got {list(available)}.")
    if wanted is None:
        return list(range(len(available)))
    names = name_list(what, wanted)
    position = {name: i for i, name in enumerate(available)}
    for name in names:
        if name not in position:
            close = difflib.get_close_matches(name, available, n=3, cutoff=0.0)
            raise ValueError(
                f"{what} has no {name!r}; did you mean {', '.join(close)}? There are {len(available)} in all."
            )
    return [position[name] for name in names]
