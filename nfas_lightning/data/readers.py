"""Safe readers of data folders: nothing is unpickled, and a wrong file says what was expected."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nfas_lightning.data.tables import parse_csv

__all__ = ["data_folder", "pick", "read_csv", "read_npz", "sha256_file"]


def data_folder(root: str | os.PathLike[str] | None, name: str, files: Sequence[str]) -> Path:
    """Find the folder of one benchmark and check that its files are there.

    `root` may be the benchmark's own folder or the folder that holds it; without it the environment
    variable ``NFAS_DATA`` is used.

    Args:
        root: where to look, or None for ``NFAS_DATA``.
        name: the benchmark's folder name inside the data folder.
        files: file names it must hold.

    Raises:
        FileNotFoundError: no root is known, or the folder or a file is missing.
    """
    layout = f"{name}/ with {', '.join(files)}"
    given = root if root is not None else os.environ.get("NFAS_DATA")
    if not given:
        raise FileNotFoundError(
            f"No data folder given: expected {layout}. Pass root=..., or set NFAS_DATA to the folder that "
            f"holds {name}/."
        )
    base = Path(given).expanduser()
    for folder in (base / name, base):
        missing = [file for file in files if not (folder / file).is_file()]
        if not missing:
            return folder
    folder = base / name if (base / name).is_dir() else base
    missing = [file for file in files if not (folder / file).is_file()]
    source = "root" if root is not None else "NFAS_DATA"
    raise FileNotFoundError(
        f"{source} = {base} must hold {layout}; missing in {folder}: {', '.join(missing)}. Point root= or "
        f"NFAS_DATA at the folder that holds {name}/."
    )


def read_npz(path: Path, shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, NDArray[np.generic]]:
    """Read arrays of an npz archive without unpickling, and check keys, shapes and finiteness.

    Args:
        path: the archive.
        shapes: wanted arrays and their shapes; None stands for any length.

    Raises:
        ValueError: a key is absent, a shape differs, or a value is NaN or infinite.
    """
    out: dict[str, NDArray[np.generic]] = {}
    with np.load(path, allow_pickle=False) as archive:
        for key, shape in shapes.items():
            if key not in archive.files:
                raise ValueError(f"{path.name} must hold {key!r}, got only {sorted(archive.files)}.")
            value = archive[key]
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
            out[key] = value
    return out


def read_csv(path: Path, columns: Sequence[str], *, sep: str = ",", text: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table and check its columns; words such as "null" stay words.

    Args:
        path: the file.
        columns: that it must have.
        sep: what stands between two cells.
        text: columns that are text whatever they look like: ``007`` keeps its zeros.

    Raises:
        ValueError: a column is absent, there is no row, or `parse_csv` refuses the file.
    """
    table = parse_csv(path, sep=sep, keep_default_na=False, text=text)
    absent = [column for column in columns if column not in table.columns]
    if absent:
        raise ValueError(f"{path.name} must have the columns {list(columns)}, missing {absent}.")
    if table.empty:
        raise ValueError(f"{path.name} must have at least one row, got none.")
    return table


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pick(what: str, wanted: Sequence[str] | None, available: Sequence[str]) -> list[int]:
    """Return the positions of `wanted` in `available` (all of them for None).

    Raises:
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
    if isinstance(wanted, str):
        raise TypeError(f"{what} must be a list of names, got the string {wanted!r}: write [{wanted!r}].")
    if len(wanted) == 0 or len(set(wanted)) != len(wanted):
        raise ValueError(f"{what} must name at least one, each once, got {list(wanted)}.")
    position = {name: i for i, name in enumerate(available)}
    for name in wanted:
        if name not in position:
            close = difflib.get_close_matches(name, available, n=3, cutoff=0.0)
            raise ValueError(
                f"{what} has no {name!r}; did you mean {', '.join(close)}? There are {len(available)} in all."
            )
    return [position[name] for name in wanted]
