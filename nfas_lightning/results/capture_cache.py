"""Captured trajectories, kept under their capture keys: what was captured once is scored many times."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from safetensors import SafetensorError

from nfas_lightning.errors import InputError
from nfas_lightning.hooks.shards import read_about, read_shard, write_shard
from nfas_lightning.hooks.trajectory import Trajectory
from nfas_lightning.writing import cache_dir, remove_abandoned

__all__ = ["CaptureCache", "CaptureFile"]

_LIMIT = "NFAS_CAPTURES_GB"
_GB = 1e9


@dataclass(frozen=True)
class CaptureFile:
    """One trajectory in the cache.

    Attributes:
        path: of the file, which has the name of its capture key.
        n_bytes: its size.
        used: when it was last written or read, in seconds since 1970.
    """

    path: Path
    n_bytes: int
    used: float

    @property
    def about(self) -> dict[str, Any]:
        """What was kept with it: ``model``, ``dataset`` and ``n_stimuli``; nothing where it is damaged."""
        with suppress(OSError, ValueError):
            return read_about(self.path)
        return {}


class CaptureCache:
    """A folder of trajectories, one safetensors file per capture key; the least recently used go first.

    Several processes may use it at once. A file is there whole or not at all, and is read with its checksum.

    Args:
        folder: None: ``captures`` in ``NFAS_CACHE`` or the user's cache folder, see `cache_dir`.
        max_gb: size that the folder may have, in 1e9 bytes; None: ``NFAS_CAPTURES_GB``, or 20. With 0 nothing
            is kept, or read.

    Raises:
        ValueError: the limit is no number, or negative.
    """

    def __init__(self, folder: str | Path | None = None, max_gb: float | None = None) -> None:
        self.folder = cache_dir() / "captures" if folder is None else Path(folder).expanduser()
        given = os.environ.get(_LIMIT, "20") if max_gb is None else max_gb
        try:
            self.max_gb = float(given)
        except ValueError:
            self.max_gb = -1.0
        if not self.max_gb >= 0:
            raise InputError(f"{_LIMIT} must be a number of gigabytes, 0 or more, got {given!r}.")

    @classmethod
    def given(cls, cache: bool | str | Path | CaptureCache) -> CaptureCache:
        """Return the cache that an argument stands for: True is the usual one, False is none."""
        if isinstance(cache, CaptureCache):
            return cache
        return cls(max_gb=None if cache else 0) if isinstance(cache, bool) else cls(cache)

    def has(self, key: str) -> bool:
        """Whether there is a file of a capture key."""
        return bool(self.max_gb) and self._path(key).is_file()

    def read(self, key: str) -> Trajectory | None:
        """Return the trajectory of a capture key, on the CPU; None where there is none that is whole.

        Warns:
            UserWarning: the file is damaged; it is removed.
        """
        if not self.has(key):
            return None
        path = self._path(key)
        try:
            trajectory = read_shard(path)
            os.utime(path)
        except FileNotFoundError:  # another process has just removed it
            return None
        except (OSError, ValueError) as error:
            warnings.warn(f"{error} It is captured again.", stacklevel=2)
            path.unlink(missing_ok=True)
            return None
        return trajectory

    def write(self, key: str, trajectory: Trajectory, about: Mapping[str, Any]) -> None:
        """Keep a trajectory, and remove the least recently used ones that exceed the limit.

        Args:
            key: see `capture_key`.
            trajectory: on any device.
            about: see `CaptureFile.about`.

        Warns:
            UserWarning: it is larger than the limit, or can't be written; it is not kept.
        """
        needed = sum(state.nbytes for state in trajectory.states)
        if not self.max_gb or any(state.is_complex() for state in trajectory.states):
            return
        if needed > self.max_gb * _GB:
            _warn_not_kept(
                about, f"its {needed / _GB:.1f} GB exceed the limit of {self.max_gb:g} GB ({_LIMIT})"
            )
            return
        try:
            write_shard(self._path(key), trajectory, {**about, "n_stimuli": len(trajectory.stimulus_ids)})
            self.prune()
        except (OSError, SafetensorError) as error:
            _warn_not_kept(about, str(error))

    def files(self) -> list[CaptureFile]:
        """Return what there is, last used first."""
        found = []
        for path in self.folder.glob("*.safetensors"):
            with suppress(FileNotFoundError):  # another process has just removed it
                status = path.stat()
                found.append(CaptureFile(path, status.st_size, status.st_mtime))
        return sorted(found, key=lambda file: -file.used)

    def models(self) -> set[str]:
        """Return the names of the models that there are states of."""
        return {str(file.about.get("model")) for file in self.files()} if self.max_gb else set()

    def prune(self, *, max_gb: float | None = None, older_than: float | None = None) -> list[CaptureFile]:
        """Remove what was not used for long, and the least recently used files beyond a size.

        Args:
            max_gb: of what is left, in 1e9 bytes; None: the cache's own limit.
            older_than: days since the last use; None: any age may stay.

        Returns:
            What was removed.
        """
        limit = (self.max_gb if max_gb is None else max_gb) * _GB
        oldest = 0.0 if older_than is None else time.time() - older_than * 24 * 3600
        if not self.folder.is_dir():
            return []
        with FileLock(self.folder / ".lock"):  # so that two processes do not each remove what is enough
            remove_abandoned(self.folder)
            files, gone = self.files(), []
            size = sum(file.n_bytes for file in files)
            for file in reversed(files):
                if size > limit or file.used < oldest:
                    file.path.unlink(missing_ok=True)
                    size -= file.n_bytes
                    gone.append(file)
        return gone

    def clear(self) -> list[CaptureFile]:
        """Remove everything, and return what it was."""
        return self.prune(max_gb=0)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


def _warn_not_kept(about: Mapping[str, Any], reason: str) -> None:
    warnings.warn(
        f"The states of {about.get('model')!r} are not kept for later runs: {reason}.", stacklevel=3
    )
