"""Versions of what is installed and of the code that computes, for the records and the keys of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

__all__ = ["code_version", "installed_version"]

_SOURCES = {
    "capture": (
        "hooks", "models", "packaged_models", "data/stimuli", "datamodules/clips", "datamodules/stories",
        "functional/stimulus_order.py", "callbacks/depth_trajectory.py", "alignment.py",
    ),
    "scoring": ("functional", "data", "datamodules", "scoring", "callbacks/score_writer.py", "alignment.py"),
}  # fmt: skip
"""What states, and what scores of given states, pass through. Figures, tables and the command line may change
without a new run. What code reads (weights, stimuli, configurations) counts by its content in the keys."""

_LIBRARIES = {
    "capture": (
        "torch", "torchvision", "transformers", "timm", "numpy", "scipy", "pillow", "av", "soundfile",
    ),
    "scoring": ("torch", "numpy", "scipy", "nilearn"),
}  # fmt: skip


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
def code_version(of: Literal["capture", "scoring"]) -> str:
    """Return a sha256 over the sources that make states or scores, and their libraries' versions.

    Args:
        of: states depend on ``"capture"`` alone, scores of given states on ``"scoring"`` alone.
    """
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(path for name in _SOURCES[of] for path in _sources(root / name)):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    for name in _LIBRARIES[of]:
        digest.update(f"{name}=={installed_version(name)}\0".encode())
    return digest.hexdigest()


def _sources(path: Path) -> Iterable[Path]:
    return path.rglob("*.py") if path.is_dir() else [path]
