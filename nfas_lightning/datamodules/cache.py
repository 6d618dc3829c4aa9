"""Where the benchmarks keep what they computed from big files."""

from __future__ import annotations

import os
from pathlib import Path

from nfas_lightning.packaged_models.fetch import cache_dir

__all__ = ["parcel_cache"]


def parcel_cache(cache: str | os.PathLike[str] | None) -> Path | None:
    """Return the folder of the parcel cache, None for none.

    Args:
        cache: a folder, in which ``~`` is the user's home; None for none; ``"auto"``: ``parcels`` in
            ``NFAS_CACHE`` or the user's cache folder.

    Example:
        >>> parcel_cache("~/parcels") == Path.home() / "parcels"
        True
    """
    if cache is None:
        return None
    return cache_dir() / "parcels" if cache == "auto" else Path(cache).expanduser()
