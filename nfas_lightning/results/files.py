"""Tables as files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from nfas_lightning.writing import write_whole

__all__ = ["write_csv", "write_parquet"]


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a csv file whole or not at all, see `nfas_lightning.writing.write_whole`."""
    write_whole(path, lambda staging: table.to_csv(staging, index=False))


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a parquet file whole or not at all, see `nfas_lightning.writing.write_whole`."""
    write_whole(path, lambda staging: table.to_parquet(staging, index=False))
