"""Parcel means on disk, keyed on content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from nfas_lightning.data.regions.parcels import Parcels
from nfas_lightning.writing import write_whole

# raise it whenever the same file and atlas give other values
EXTRACTION_VERSION = 1
_FORMAT = "nfas parcels"


def parcels_key(file_hashes: Sequence[str], atlas_hash: str, settings: Mapping[str, str]) -> str:
    """Return the key of one scan's parcel means, of all that decides the values."""
    parts = {
        "version": EXTRACTION_VERSION,
        "files": list(file_hashes),
        "atlas": atlas_hash,
        "settings": dict(settings),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def write_parcels(cache: Path, key: str, parcels: Parcels) -> None:
    """Write parcel means whole or not at all: two processes may compute the same key."""
    metadata = {"format": _FORMAT, "key": key, "sha256": _digest(parcels)}
    # sums of a sparse product may come column by column
    tensors = {"values": parcels.values.contiguous(), "counts": parcels.counts.contiguous()}
    write_whole(cache / f"{key}.safetensors", lambda staging: save_file(tensors, staging, metadata=metadata))


def read_parcels(cache: Path, key: str, n_rois: int) -> tuple[Parcels | None, str | None]:
    """Read parcel means back: None where there are none, and why a file can't be used, or None."""
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
