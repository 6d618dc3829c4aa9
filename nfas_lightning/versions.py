"""Versions of what is installed and of the code that computes, for the records and the keys of a run."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["code_version", "installed_version"]

_COMPUTING = (
    "functional", "hooks", "data", "datamodules", "models", "packaged_models", "scoring", "callbacks",
    "alignment.py",
)  # fmt: skip
"""What a number passes through: figures, tables and the command line may change without a new run."""

_LIBRARIES = ("torch", "torchvision", "transformers", "timm", "nilearn", "numpy", "scipy")


def installed_version(name: str) -> str:
    """Return the version of a distribution, or ``"none"``, as of a checkout on Python's path.

    Example:
        >>> installed_version("no-such-package")
        'none'
    """
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


@cache
def code_version() -> str:
    """Return a sha256 over this package's computing sources and version, and the libraries' versions."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    found = [path for name in _COMPUTING for path in [root / name, *sorted((root / name).rglob("*.py"))]]
    for path in (path for path in found if path.is_file()):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    for name in ("nfas-lightning", *_LIBRARIES):
        digest.update(f"{name}=={installed_version(name)}\0".encode())
    return digest.hexdigest()
