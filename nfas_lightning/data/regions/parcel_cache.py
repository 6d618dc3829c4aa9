"""Parcel means on disk, keyed on content; hashes of big files, remembered."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from nfas_lightning.data.readers import sha256_file
from nfas_lightning.data.regions.parcels import Parcels
from nfas_lightning.writing import cache_dir, write_text, write_whole

__all__ = [
    "EXTRACTION_VERSION",
    "content_hash",
    "parcel_folder",
    "parcels_key",
    "read_parcels",
    "write_parcels",
]

# raise it whenever the same file and atlas give other values
EXTRACTION_VERSION = 1
_FORMAT = "nfas parcels"
# a file that changes again within a clock tick keeps its time: what is younger is hashed anew
_SETTLED_S = 2.0


def parcel_folder(cache: str | os.PathLike[str] | None) -> Path | None:
    """Return the folder of the parcel cache, None for none.

    Args:
        cache: a folder, in which ``~`` is the user's home; None for none; ``"auto"``: ``parcels`` in
            `cache_dir`.

    Example:
        >>> parcel_folder("~/parcels") == Path.home() / "parcels"
        True
    """
    if cache is None:
        return None
    return cache_dir() / "parcels" if cache == "auto" else Path(cache).expanduser()


def parcels_key(file_hashes: Sequence[str], atlas_hash: str, settings: Mapping[str, str]) -> str:
    """Return the key of one scan's parcel means.

    Args:
        file_hashes: sha256 of the scan's files, in order.
        atlas_hash: `Atlas.sha256`.
        settings: whatever else decides the values.
    """
    parts = {
        "version": EXTRACTION_VERSION,
        "files": list(file_hashes),
        "atlas": atlas_hash,
        "settings": dict(settings),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def content_hash(path: Path, cache: Path | None, *, compute: bool = True) -> str | None:
    """Return the sha256 of a file, remembered in the cache by its place, size and times.

    A remembered hash is taken while resolved path, size, modification and change time (both in nanoseconds)
    are the same. A file that was written in the last two seconds is not remembered yet.

    Args:
        path: the file.
        cache: folder of the cache, or None to remember nothing.
        compute: False: return None instead of reading the file.
    """
    resolved = path.resolve()
    status = resolved.stat()
    identity = [str(resolved), status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    note = None
    if cache is not None:
        note = cache / "hashes" / f"{hashlib.sha256(str(resolved).encode()).hexdigest()}.json"
        try:
            known = json.loads(note.read_text(encoding="utf-8"))
            if known["file"] == identity:
                return str(known["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # absent or damaged: a note is worth no more than the time to hash the file
    if not compute:
        return None
    value = sha256_file(resolved)
    settled = time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED_S
    if note is not None and settled:
        write_text(note, json.dumps({"file": identity, "sha256": value}))
    return value


def write_parcels(cache: Path, key: str, parcels: Parcels) -> None:
    """Write parcel means whole or not at all: two processes may compute the same key."""
    metadata = {"format": _FORMAT, "key": key, "sha256": _digest(parcels)}
    # sums of a sparse product may come column by column
    tensors = {"values": parcels.values.contiguous(), "counts": parcels.counts.contiguous()}
    write_whole(cache / f"{key}.safetensors", lambda staging: save_file(tensors, staging, metadata=metadata))


def read_parcels(cache: Path, key: str, n_rois: int) -> tuple[Parcels | None, str | None]:
    """Read parcel means back.

    Args:
        cache: the folder.
        key: of `parcels_key`.
        n_rois: parcels of the atlas.

    Returns:
        The means, or None where the cache has none; and why a file that is there can't be used, or None.
    """
    path = cache / f"{key}.safetensors"
    if not path.is_file():
        return None, None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT or metadata.get("key") != key:
                return None, f"{path.name} in the cache is no parcel file of this key"
            parcels = Parcels(file.get_tensor("values"), file.get_tensor("counts"))
    except (OSError, SafetensorError) as error:
        return None, f"{path.name} in the cache can't be read ({error})"
    shapes = (parcels.values.ndim, parcels.values.shape[-1], tuple(parcels.counts.shape))
    dtypes = (parcels.values.dtype, parcels.counts.dtype)
    if shapes != (2, n_rois, (n_rois,)) or dtypes != (torch.float32, torch.int64):
        return None, f"{path.name} in the cache has other shapes than the atlas"
    if _digest(parcels) != metadata.get("sha256"):
        return None, f"{path.name} in the cache is damaged: its checksum differs"
    return parcels, None


def _digest(parcels: Parcels) -> str:
    digest = hashlib.sha256(repr(tuple(parcels.values.shape)).encode())
    for tensor in parcels:
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
