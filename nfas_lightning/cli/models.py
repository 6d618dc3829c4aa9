"""`nfas models`: which networks can be named in a config."""

from __future__ import annotations

from rich.console import Console
from rich.table import Column, Table

from nfas_lightning.models.packaged import PACKAGED

__all__ = ["list_models"]


def list_models() -> None:
    """List the pretrained models whose weights come inside registry packages."""
    name = Column("name", no_wrap=True)
    table = Table(name, "modality", "family", "parameters", "download", "licence", title="Packaged models")
    for entry in PACKAGED.values():
        size = f"{entry.parameters / 1e6:.1f} M", f"{entry.size_mb:.0f} MB"
        table.add_row(entry.name, entry.modality, entry.family, *size, entry.licence)
    Console().print(table)
