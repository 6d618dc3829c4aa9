"""Parcel means on disk: what comes back is what was written, and anything else is refused with a reason."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from nfas_lightning.data.regions.parcel_cache import parcels_key, read_parcels, write_parcels
from nfas_lightning.data.regions.parcels import Parcels

PARCELS = Parcels(torch.arange(6, dtype=torch.float32).view(3, 2), torch.tensor([4, 5]))


def test_parcels_come_back(tmp_path):
    assert read_parcels(tmp_path, "key", 2) == (None, None)
    write_parcels(tmp_path, "key", PARCELS)
    found, complaint = read_parcels(tmp_path, "key", 2)
    assert complaint is None
    assert torch.equal(found.values, PARCELS.values)
    assert torch.equal(found.counts, PARCELS.counts)


def test_the_key_sees_files_in_order_atlas_and_settings():
    keys = {
        parcels_key(["a", "b"], "atlas", {"kind": "volume"}),
        parcels_key(["b", "a"], "atlas", {"kind": "volume"}),
        parcels_key(["a", "b"], "other", {"kind": "volume"}),
        parcels_key(["a", "b"], "atlas", {"kind": "surface"}),
    }
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("key", "n_rois", "changes", "complaint"),
    [
        ("key", 3, {}, "other shapes than the atlas"),
        ("key", 2, {"values": PARCELS.values + 1}, "damaged: its checksum differs"),
        ("key", 2, {"metadata": {}}, "no parcel file of this key"),
        ("key", 2, {"values": PARCELS.values.double()}, "other shapes than the atlas"),
    ],
)
def test_what_can_not_be_used_says_why(tmp_path, key, n_rois, changes, complaint):
    write_parcels(tmp_path, key, PARCELS)
    if changes:
        with safe_open(tmp_path / f"{key}.safetensors", framework="pt") as file:
            metadata = changes.pop("metadata", file.metadata())
        tensors = {"values": PARCELS.values, "counts": PARCELS.counts} | changes
        save_file(tensors, tmp_path / f"{key}.safetensors", metadata=metadata)
    found, why = read_parcels(tmp_path, key, n_rois)
    assert found is None
    assert complaint in why
