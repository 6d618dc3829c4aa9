"""Read an offline Weights & Biases run back from the disk: a log of protobuf records in 32 KiB blocks."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["OfflineRun", "read_run", "read_runs"]

_BLOCK, _HEADER = 32 * 1024, 7  # of LevelDB's log format, behind seven bytes of W&B's own


@dataclass
class OfflineRun:
    """What one offline run would send to the server."""

    folder: Path
    run: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None

    def series(self, key: str) -> list[tuple[int, float]]:
        """Steps and values of a key."""
        return [(row["trainer/global_step"], row[key]) for row in self.history if key in row]

    def table(self, key: str) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows of the last table logged under a key."""
        entry = [row[key] for row in self.history if key in row][-1]
        stored = json.loads((self.folder / "files" / entry["path"]).read_text())
        return stored["columns"], stored["data"]

    @property
    def keys(self) -> set[str]:
        """Every key of the history that is not W&B's own."""
        return {key for row in self.history for key in row if not key.startswith("_")}

    def media(self, key: str) -> list[Path]:
        """Files of every image logged under a key, in order."""
        names = [name for row in self.history if key in row for name in row[key]["filenames"]]
        return [self.folder / "files" / name for name in names]


def read_runs(folder: Path) -> list[OfflineRun]:
    """Read all offline runs below ``folder/wandb``, in the order of their start."""
    files = [next(run.glob("*.wandb")) for run in (folder / "wandb").glob("offline-run-*")]
    return [read_run(file) for file in sorted(files, key=lambda file: file.stat().st_ctime_ns)]


def read_run(file: Path) -> OfflineRun:
    """Read the records of one ``.wandb`` file."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = OfflineRun(file.parent)
    for data in _records(file.read_bytes()):
        record = Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            fields = ("run_id", "project", "run_group", "job_type", "display_name")
            found.run = {name: getattr(record.run, name) for name in fields}
            found.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "config":
            for item in record.config.update:
                found.config[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
        elif kind == "history":
            found.history.append(_row(record.history.item))
        elif kind == "metric":
            summary = record.metric.summary
            kept = {name for name in ("min", "max", "mean", "last") if getattr(summary, name)}
            name = record.metric.name or record.metric.glob_name
            found.metrics[name] = {"step": record.metric.step_metric, "summary": kept}
        elif kind == "artifact":
            paths = [entry.path for entry in record.artifact.manifest.contents]
            found.artifacts.append(
                {"name": record.artifact.name, "type": record.artifact.type, "files": paths}
            )
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def _row(items: Any) -> dict[str, Any]:
    """One row of the history; what belongs to a table or an image comes in parts."""
    row: dict[str, Any] = {}
    for item in items:
        *outer, last = item.nested_key or [item.key]
        inside = row
        for name in outer:
            inside = inside.setdefault(name, {})
        inside[last] = json.loads(item.value_json)
    return row


def _records(data: bytes) -> list[bytes]:
    """The records of a log; one that does not fit into a block is split into first, middle and last parts."""
    assert data[:4] == b":W&B", "not a .wandb file"
    records, parts, place = [], [], _HEADER
    while place + _HEADER <= len(data):
        left = _BLOCK - place % _BLOCK
        if left < _HEADER:
            place += left
            continue
        length = int.from_bytes(data[place + 4 : place + 6], "little")
        kind = data[place + 6]
        parts.append(data[place + _HEADER : place + _HEADER + length])
        place += _HEADER + length
        if kind in (1, 4):  # a whole record, or its last part
            records.append(b"".join(parts))
            parts = []
    return records
