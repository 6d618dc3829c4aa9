"""One model on one benchmark: its folder, its state, and who works on it."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from nfas_lightning.sweep.model_specs import ModelSpec
from nfas_lightning.writing import write_text

__all__ = ["Cell"]

_STATES = ("waiting", "running", "done", "failed")
_ESTIMATED = ("parameters", "n_blocks", "trajectory_mb", "memory_mb", "seconds_forward", "seconds_scoring")


@dataclass(frozen=True)
class Cell:
    """One model on one benchmark.

    The folder holds ``status.json`` (``state`` is waiting, running, done or failed), ``estimate.json``, and
    the run's tables once it is done.

    Attributes:
        benchmark: name of the benchmark.
        spec: the model.
        folder: where its results lie.
    """

    benchmark: str
    spec: ModelSpec
    folder: Path

    @property
    def name(self) -> str:
        """``"benchmark:model"``."""
        return f"{self.benchmark}:{self.spec.label}"

    def status(self) -> dict[str, Any]:
        """What is known of it; ``{"state": "waiting"}`` before anything is, or where that is damaged."""
        found = _read(self.folder / "status.json")
        return found if found.get("state") in _STATES else {"state": "waiting"}

    def say(self, state: str, **more: Any) -> None:
        """Write its state, whole or not at all, with a ``mark`` that no other writing of it has."""
        # told apart by a mark and not by the time: the clocks of two machines differ
        self._write("status.json", {"state": state, "time": time.time(), "mark": uuid.uuid4().hex, **more})

    def estimate(self, key: str | None = None) -> dict[str, Any]:
        """What it was estimated to take, under this key; empty where nothing is known, or that is damaged."""
        found = _read(self.folder / "estimate.json")
        is_whole = "error" in found or all(isinstance(found.get(name), int | float) for name in _ESTIMATED)
        return found if is_whole and (key is None or found.get("key") == key) else {}

    def keep_estimate(self, estimate: dict[str, Any]) -> None:
        """Write what it is estimated to take."""
        self._write("estimate.json", estimate)

    def lock(self) -> FileLock:
        """A lock that its worker holds; the system gives it back when a worker is killed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / ".lock")

    def _write(self, name: str, content: dict[str, Any]) -> None:
        write_text(self.folder / name, json.dumps(content, indent=1, default=str))


def _read(path: Path) -> dict[str, Any]:
    """Content of a file; nothing where it is missing or damaged, and the cell is then run once more."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # json's own and those of decoding are ValueErrors
        return {}
    return found if isinstance(found, dict) else {}
