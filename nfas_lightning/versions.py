"""Versions of what is installed, for the records that a run keeps."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["installed_version"]


def installed_version(name: str) -> str:
    """Return the version of a distribution, or ``"none"`` where there is none.

    A checkout that was put on Python's path has no version either: that must not stop a run.

    Example:
        >>> installed_version("no-such-package")
        'none'
    """
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
