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

from nfas_lightning.data.files import content_hash, require_file
from nfas_lightning.errors import InputError, MissingFileError


def natural_key(path: str | os.PathLike[str]) -> tuple[Any, ...]:
    """Return what to sort paths by so that digits count as numbers: 2 comes before 10.

    Example:
        >>> sorted(["img10.png", "img2.png", "img1.png"], key=natural_key)
        ['img1.png', 'img2.png', 'img10.png']
    """
    path = Path(path)
    parts = [re.split(r"([0-9]+)", part) for part in (*path.parent.parts, path.stem)]
    return [[int(p) if p.isdecimal() else p for p in part] for part in parts], path.suffix


def list_files(folder: str | os.PathLike[str], suffixes: Sequence[str]) -> list[Path]:
    """Return the files of a folder that end so, one at least, in the order of their names, 2 before 10."""
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
    """Return a sentence that names the files of a folder that do not count."""
    left = [p.name for p in folder.iterdir() if p.suffix.lower() not in suffixes and p.name[0] != "."]
    if not left:
        return ""
    return f" Not read, as their names do not end in {', '.join(suffixes)}: {sorted(left)[:5]}."


class StimulusFiles(Dataset[Tensor]):
    """Base of the files that are stimuli of a `StimulusSet`: entry i is file i.

    Args:
        paths: the files, in the order of the responses.
        in_order: True: no warning asks whether ``img10`` was to come before ``img2``.
        cache: folder that remembers the files' hashes; None: none.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    kind: ClassVar[str] = "stimulus"
    choices = ""  # what beside the files decides the stimuli, for the hash

    def __init__(
        self, paths: Sequence[str | os.PathLike[str]], *, in_order: bool = False, cache: Path | None = None
    ) -> None:
        name = type(self).__name__
        if isinstance(paths, (str, os.PathLike)) or not len(paths):
            raise InputError(
                f"paths must list {self.kind} files in the order of the responses, got {paths!r}. "
                f"{name}.from_folder(folder) takes all of a folder."
            )
        self.paths, self.cache = [Path(path) for path in paths], cache
        if not in_order and (swapped := _text_order([os.fspath(path) for path in paths])):
            warnings.warn(
                f"paths are in the order of text, {swapped[0]} before {swapped[1]}: are the responses, too? "
                f"Then say in_order=True; else sort with natural_key, as {name}.from_folder does.",
                stacklevel=3,
            )

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str], *args: Any, **options: Any) -> Self:
        """Take all files of a folder that end as such files do, img2 before img10; see the class."""
        return cls(list_files(folder, cls.suffixes), *args, **options)

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """The sha256 of each file, read once; nothing is decoded."""
        return tuple(str(content_hash(require_file(path), self.cache)) for path in self.paths)

    def sha256(self) -> str:
        """Hash the files and `choices`; nothing is decoded."""
        return hashlib.sha256((self.choices + "".join(self.hashes)).encode()).hexdigest()


def stimulus_paths(stimuli: Any) -> list[Path] | None:
    """Return the files that stimuli are read from, None where they are none."""
    return stimuli.paths if isinstance(stimuli, StimulusFiles) else None


def _text_order(paths: list[str]) -> tuple[str, str] | None:
    """Return the first path sorted as text that numbers would put elsewhere, and the one they put there."""
    if paths != sorted(paths) and paths != [str(path) for path in sorted(map(Path, paths))]:
        return None
    pairs = zip(paths, sorted(paths, key=natural_key), strict=True)
    return next(((Path(path).name, Path(after).name) for path, after in pairs if path != after), None)
