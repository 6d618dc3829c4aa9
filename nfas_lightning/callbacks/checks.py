"""What would fail after the forward passes, refused before them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["check_folder"]


def check_folder(path: str | Path, name: str = "run_dir") -> None:
    """Make a folder if there is none, and refuse one that can't be written.

    Args:
        path: the folder.
        name: of the argument, for the message.

    Raises:
        OSError: it, or what it would lie in, is no folder or can't be written.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # permissions alone don't tell of full and read-only disks
            pass
    except OSError as error:
        in_the_way = (p for p in (folder, *folder.parents) if os.path.exists(p) and not os.path.isdir(p))
        found = next(in_the_way, None)
        reason = error.strerror or str(error) if found is None else f"{str(found)!r} is no folder"
        raise OSError(
            f"{name} must be a folder that can be written, got {str(path)!r}: {reason}. Choose another one."
        ) from error
