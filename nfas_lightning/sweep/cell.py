"""One model on one benchmark: its folder, its state, and who works on it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from nfas_lightning.files import write_text
from nfas_lightning.sweep.models import ModelSpec

__all__ = ["Cell"]


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
        """What is known of it; ``{"state": "waiting"}`` before anything is."""
        return _read(self.folder / "status.json") or {"state": "waiting"}

    def say(self, state: str, **more: Any) -> None:
        """Write its state, whole or not at all."""
        self._write("status.json", {"state": state, "time": time.time(), **more})

    def estimate(self, key: str | None = None) -> dict[str, Any]:
        """What it was estimated to take, under this key; empty where nothing is known."""
        found = _read(self.folder / "estimate.json") or {}
        return found if key is None or found.get("key") == key else {}

    def keep_estimate(self, estimate: dict[str, Any]) -> None:
        """Write what it is estimated to take."""
        self._write("estimate.json", estimate)

    def lock(self) -> FileLock:
        """A lock that its worker holds; the system gives it back when a worker is killed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / ".lock")

    def _write(self, name: str, content: dict[str, Any]) -> None:
        write_text(self.folder / name, json.dumps(content, indent=1, default=str))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found
