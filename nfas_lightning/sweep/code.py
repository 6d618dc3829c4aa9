"""Which code computes: part of a result's key, so that a changed program recomputes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from nfas_lightning.versions import installed_version

__all__ = ["code_version"]

# what a number passes through; figures, tables and the command line may change without a new run
_COMPUTING = (
    "functional",
    "hooks",
    "data",
    "datamodules",
    "models",
    "packaged_models",
    "scoring",
    "callbacks/depth_trajectory.py",
)
_NOT_COMPUTING = ("datamodules/catalogue",)
_LIBRARIES = ("nfas-lightning", "torch", "torchvision", "transformers", "timm", "nilearn", "numpy", "scipy")


@cache
def code_version() -> str:
    """Return a sha256 over this package's computing sources and the versions of the libraries below them."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in _sources(root):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    for name in _LIBRARIES:
        digest.update(f"{name}=={installed_version(name)}\0".encode())
    return digest.hexdigest()


def _sources(root: Path) -> Iterator[Path]:
    skipped = [root / name for name in _NOT_COMPUTING]
    for name in _COMPUTING:
        found = [root / name] if name.endswith(".py") else sorted((root / name).rglob("*.py"))
        yield from (path for path in found if not any(path.is_relative_to(folder) for folder in skipped))
