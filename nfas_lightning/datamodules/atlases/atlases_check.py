"""Parcellations on disk."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from nfas_lightning.datamodules.catalogue.check_rows import Row, file_row
from nfas_lightning.datamodules.catalogue.inspector import Inspector

__all__ = ["atlas_rows"]


def atlas_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check annotations, which come in pairs, and label images; there are no subjects."""
    del subjects
    annotations = sorted(folder.glob("*.annot"))
    names = {path.name for path in annotations}
    absent = sorted({_other_side(name) for name in names} - names)
    rows = []
    if annotations:
        rows.append(file_row("annotations", folder, annotations, inspector, missing=absent)[0])
    images = sorted(folder.glob("**/*.nii*"))
    if images:
        rows.append(file_row("label images", folder, images, inspector)[0])
    return rows


def _other_side(name: str) -> str:
    """Return the name of the other hemisphere's file: lh for rh and back."""
    return re.sub(r"(?<![a-z])([lr])h(?![a-z])", lambda m: f"{'r' if m[1] == 'l' else 'l'}h", name, count=1)
