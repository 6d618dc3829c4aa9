"""Toy tones on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nfas_lightning.datamodules.catalogue.check_rows import Row, archive_row
from nfas_lightning.datamodules.catalogue.inspector import Inspector

from .toy_tones_reader import FILES


def toy_tones_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check the archive that the reader reads."""
    return [archive_row("sounds", folder / name, inspector, shapes) for name, shapes in FILES.items()]
