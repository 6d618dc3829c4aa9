"""Files that appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd

__all__ = ["write_csv", "write_parquet", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old file or the new one, never a part."""
    _atomically(path, lambda staging: staging.write_text(text, encoding="utf-8"))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a csv file so that a reader sees the old file or the new one, never a part."""
    _atomically(path, lambda staging: table.to_csv(staging, index=False))


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a parquet file so that a reader sees the old file or the new one, never a part."""
    _atomically(path, lambda staging: table.to_parquet(staging, index=False))


def _atomically(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    staging = Path(name)
    try:
        write(staging)
        os.chmod(staging, 0o644)  # mkstemp's 0600 would lock out the colleagues who share a run folder
        os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)
