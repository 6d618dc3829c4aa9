"""Is a file's content here? Data sets kept by git-annex hold pointers until the content is fetched."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["require_file"]

# git-annex itself takes no file of more than 32 KiB for a pointer
_LARGEST_POINTER = 32 * 1024
_GET = "fetch the content with `datalad get {path}` (or `nfas data get`), then run again"


def require_file(path: str | os.PathLike[str]) -> Path:
    """Return the path if the file's content is on this disk.

    Args:
        path: a file of a data set; it may be a link.

    Returns:
        The path as given, links not resolved.

    Raises:
        FileNotFoundError: nothing is there, a link points nowhere, or a git-annex pointer stands in for the
            content.
        IsADirectoryError: a folder is there.
        ValueError: the file is empty.
    """
    path = Path(path)
    get = _GET.format(path=path)
    if path.is_symlink() and not path.exists():
        target = os.readlink(path)
        kind = "its git-annex content, which is not on this disk" if _is_annex(target) else "nothing"
        raise FileNotFoundError(f"{path} must be a file, got a link to {kind} ({target}): {get}.")
    if not path.exists():
        raise FileNotFoundError(f"{path} must be a file, got nothing: check the root, or {get}.")
    if path.is_dir():
        raise IsADirectoryError(f"{path} must be a file, got a folder: name the file inside it.")
    size = path.stat().st_size
    if size == 0:
        raise ValueError(f"{path} must hold data, got an empty file: delete it and {get}.")
    if size <= _LARGEST_POINTER:
        with path.open("rb") as file:
            start = file.read(1024).decode("utf-8", errors="replace")
        if _is_annex(start.splitlines()[0]):
            raise FileNotFoundError(
                f"{path} must hold data, got a git-annex pointer of {size} bytes (a text file that stands in "
                f"for the content): {get}."
            )
    return path


def _is_annex(text: str) -> bool:
    return "annex/objects" in text.replace("\\", "/")
