"""Files as stimuli, and the order of their names."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor
from torch.utils.data import Dataset

from nfas_lightning.data.files import require_file, sha256_file
from nfas_lightning.errors import InputError, MissingFileError

__all__ = ["StimulusFiles", "list_files", "natural_key", "stimulus_paths"]

_DIGITS = re.compile(r"([0-9]+)")


def natural_key(path: str | os.PathLike[str]) -> tuple[Any, ...]:
    """Return what to sort paths by so that digits count as numbers: 2 comes before 10.

    Example:
        >>> sorted(["img10.png", "img2.png", "img1.png"], key=natural_key)
        ['img1.png', 'img2.png', 'img10.png']
    """
    path = Path(path)
    parts = [*path.parent.parts, path.stem]
    return [[int(p) if p.isdecimal() else p for p in _DIGITS.split(part)] for part in parts], path.suffix


def list_files(folder: str | os.PathLike[str], suffixes: Sequence[str]) -> list[Path]:
    """Return the files of a folder that end so, in the order of their names, 2 before 10.

    Raises:
        FileNotFoundError: there is no such folder, or no such file in it.
    """
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise MissingFileError(f"{place} must be a folder with files {', '.join(suffixes)}, got none.")
    found = [path for path in place.iterdir() if path.suffix.lower() in suffixes and path.name[0] != "."]
    if not found:
        raise MissingFileError(
            f"{place} must hold files {', '.join(suffixes)}, it has none.{unread_files(place, suffixes)}"
        )
    return sorted(found, key=natural_key)


def unread_files(folder: Path, suffixes: Sequence[str]) -> str:
    """Say which files of a folder do not count."""
    left = [p.name for p in folder.iterdir() if p.suffix.lower() not in suffixes and p.name[0] != "."]
    if not left:
        return ""
    return f" Not read, as their names do not end in {', '.join(suffixes)}: {sorted(left)[:5]}."


class StimulusFiles(Dataset[Tensor]):
    """Base of the files that are stimuli of a `StimulusSet`: entry i is file i.

    Args:
        paths: the files, in the order of the responses.
        in_order: True: that is their order, and nobody asks whether ``img10`` was to come before ``img2``.

    Raises:
        ValueError: no path, or a single one.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    kind: ClassVar[str] = "stimulus"

    def __init__(self, paths: Sequence[str | os.PathLike[str]], *, in_order: bool = False) -> None:
        name = type(self).__name__
        if isinstance(paths, (str, os.PathLike)) or not len(paths):
            raise InputError(
                f"paths must list {self.kind} files in the order of the responses, got {paths!r}. "
                f"{name}.from_folder(folder) takes all of a folder, img2 before img10."
            )
        self.paths = [Path(path) for path in paths]
        if not in_order and (swapped := _text_order([os.fspath(path) for path in paths])):
            warnings.warn(
                f"paths are in the order of text, {swapped[0]} before {swapped[1]}: are the responses, too? "
                f"If their rows go by number, take {name}.from_folder(folder) or "
                "sorted(paths, key=nfas_lightning.data.natural_key); else say in_order=True.",
                stacklevel=3,
            )

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str], *args: Any, **options: Any) -> Self:
        """Take all files of a folder whose names end as such files do, in the order of their names.

        Digits count as numbers: img2 comes before img10.

        Args:
            folder: that holds them.
            args: as the class takes them after its paths.
            options: likewise.

        Raises:
            FileNotFoundError: there is no such folder, or no such file in it.
        """
        return cls(list_files(folder, cls.suffixes), *args, **options)

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """The sha256 of each file, read once; nothing is decoded."""
        return tuple(self.hash_file(require_file(path)) for path in self.paths)

    def hash_file(self, path: Path) -> str:
        """Return the sha256 of a file."""
        return sha256_file(path)

    def choices(self) -> str:
        """Return what beside the files decides the stimuli."""
        return ""

    def sha256(self) -> str:
        """Hash the files and `choices`; nothing is decoded."""
        digest = hashlib.sha256(self.choices().encode())
        for value in self.hashes:
            digest.update(value.encode())
        return digest.hexdigest()


def stimulus_paths(stimuli: Any) -> list[Path] | None:
    """Return the files that stimuli are read from, None where they are none."""
    return stimuli.paths if isinstance(stimuli, StimulusFiles) else None


def _text_order(paths: list[str]) -> tuple[str, str] | None:
    """Return the first path sorted as text that numbers would put elsewhere, and the one they put there."""
    if paths != sorted(paths) and paths != [str(path) for path in sorted(map(Path, paths))]:
        return None
    for path, after in zip(paths, sorted(paths, key=natural_key), strict=True):
        if path != after:
            return Path(path).name, Path(after).name
    return None
