"""`nfas cache list`, `prune` and `clear`: the states that were captured once and are kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from nfas_lightning.cli.messages import refusing, say_loading
from nfas_lightning.errors import InputError
from nfas_lightning.terminal import stdout_console

if TYPE_CHECKING:
    from nfas_lightning.results.capture_cache import CaptureCache, CaptureFile

__all__ = ["clear_cache", "list_cache", "prune_cache"]


def list_cache(*, folder: str | None = None) -> None:
    """List the states that are kept: model, stimuli, size, and when they were last used.

    Args:
        folder: of the cache; None: captures in ``NFAS_CACHE`` or the user's cache folder.
    """
    cache = _cache(folder)
    table = Table("model", "dataset")
    for column in ("stimuli", "size", "last used"):
        table.add_column(column, justify="right")
    files = cache.files()
    for file in files:
        about = file.about
        cells = (about.get("model", "damaged"), about.get("dataset", ""), about.get("n_stimuli", ""))
        table.add_row(*(escape(str(cell)) for cell in cells), _size([file]), _when(file.used))
    console = stdout_console()
    if files:
        console.print(table)
    _say(f"{len(files)} in {cache.folder}: {_size(files)}, of {cache.max_gb:g} GB that they may have")


def prune_cache(
    *, folder: str | None = None, max_size: float | None = None, older_than: float | None = None
) -> None:
    """Remove the states that were not used for longest; without an option, those beyond the limit.

    Args:
        folder: of the cache; None: captures in ``NFAS_CACHE`` or the user's cache folder.
        max_size: gigabytes that are left at most.
        older_than: days since the last use, beyond which nothing is left.
    """
    with refusing("nfas cache prune"):
        for name, value in (("max_size", max_size), ("older_than", older_than)):
            if value is not None and not value >= 0:
                raise InputError(f"{name} must be 0 or more, got {value}.")
    cache = _cache(folder)
    _say_removed(cache, cache.prune(max_gb=max_size, older_than=older_than))


def clear_cache(*, folder: str | None = None) -> None:
    """Remove all states that are kept.

    Args:
        folder: of the cache; None: captures in ``NFAS_CACHE`` or the user's cache folder.
    """
    cache = _cache(folder)
    _say_removed(cache, cache.clear())


def _cache(folder: str | None) -> CaptureCache:
    say_loading("PyTorch")
    from nfas_lightning.results.capture_cache import CaptureCache

    with refusing("nfas cache"):
        return CaptureCache(folder)


def _say_removed(cache: CaptureCache, removed: Sequence[CaptureFile]) -> None:
    left = cache.files()
    _say(f"removed {len(removed)} ({_size(removed)}); {len(left)} ({_size(left)}) left in {cache.folder}")


def _say(line: str) -> None:
    stdout_console().print(line, markup=False, highlight=False, soft_wrap=True)


def _size(files: Sequence[CaptureFile]) -> str:
    return f"{sum(file.n_bytes for file in files) / 1e6:,.1f} MB"


def _when(used: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(used))
