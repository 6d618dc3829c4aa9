"""Parcel means of many scans: the same by any road, from the cache where it has them, in processes or not."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.data.regions import extraction
from nfas_lightning.data.regions.atlas import load_atlas
from nfas_lightning.data.regions.extraction import Scan, extract_scans
from nfas_lightning.data.regions.parcels import volume_parcels

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
SHAPE = (5, 4, 3)


@pytest.fixture
def atlas(tmp_path):
    labels = np.arange(1, 61, dtype=np.int16).reshape(SHAPE) % 3 + 1
    nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / "labels.nii.gz")
    return load_atlas(tmp_path / "labels.nii.gz", table=pd.DataFrame({"id": [1, 2, 3], "name": list("abc")}))


@pytest.fixture
def scans(tmp_path):
    out = []
    for i in range(3):
        values = np.random.default_rng(i).normal(100, 10, (*SHAPE, 4 + i)).astype(np.float32)
        path = tmp_path / f"sub-{i}" / "bold.nii.gz"
        path.parent.mkdir()
        nib.save(nib.Nifti1Image(values, AFFINE), path)
        out.append(Scan(f"sub-{i}", (path,)))
    return out


def read(scans, atlas, **options):
    return extract_scans(scans, atlas, progress=False, **{"cache": None, **options})


def same(parcels, scans, atlas):
    for found, scan in zip(parcels, scans, strict=True):
        expected = volume_parcels(scan.files[0], atlas)
        torch.testing.assert_close(found.values, expected.values)
        assert torch.equal(found.counts, expected.counts)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_means_and_hashes_come_in_the_order_of_the_scans(scans, atlas, tmp_path, workers):
    parcels, hashes = read([scans[2], scans[0]], atlas, cache=tmp_path / "cache", workers=workers)
    same(parcels, [scans[2], scans[0]], atlas)
    assert sorted(hashes) == ["sub-0/bold.nii.gz", "sub-2/bold.nii.gz"]  # two files of one name


def test_a_second_reading_opens_no_scan_and_a_changed_file_is_read_anew(scans, atlas, tmp_path, monkeypatch):
    opened = []

    def counted(path, *args, **options):
        opened.append(path.parent.name)
        return volume_parcels(path, *args, **options)

    monkeypatch.setattr(extraction, "volume_parcels", counted)
    first, _ = read(scans, atlas, cache=tmp_path / "cache")
    again, _ = read(scans, atlas, cache=tmp_path / "cache")
    assert opened == ["sub-0", "sub-1", "sub-2"]
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.values, other.values)
    nib.save(nib.Nifti1Image(np.ones((*SHAPE, 3), np.float32), AFFINE), scans[1].files[0])
    changed, _ = read(scans, atlas, cache=tmp_path / "cache")
    assert opened[3:] == ["sub-1"]
    assert torch.equal(changed[1].values, torch.ones(3, 3))


def test_a_damaged_file_of_the_cache_is_computed_anew_and_said(scans, atlas, tmp_path):
    read(scans[:1], atlas, cache=tmp_path / "cache")
    (kept,) = (tmp_path / "cache").glob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-5])
    with pytest.warns(UserWarning, match="Scan sub-0: .* can't be read .*; it was computed anew"):
        parcels, _ = read(scans[:1], atlas, cache=tmp_path / "cache")
    same(parcels, scans[:1], atlas)


def test_what_is_wrong_is_named(scans, atlas, tmp_path):
    with pytest.raises(ValueError, match=r"workers must be 0 .* or more, got -1"):
        read(scans, atlas, workers=-1)
    with pytest.raises(ValueError, match="Scan x must have one volume file or a left and a right"):
        read([Scan("x", ())], atlas)
    with pytest.raises(FileNotFoundError, match=r"gone\.nii\.gz"):  # before any is read
        read([*scans, Scan("x", (tmp_path / "gone.nii.gz",))], atlas)
    scans[1].files[0].write_bytes(scans[1].files[0].read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cut short or damaged|can't be read") as caught:
        read(scans, atlas)
    assert any(note.startswith("Scan sub-1: ") for note in caught.value.__notes__)


def test_a_file_that_changes_while_it_is_read(scans, atlas, monkeypatch):
    def changed(path, *args):
        parcels = volume_parcels(path, *args)
        path.write_bytes(path.read_bytes() + b"0")
        return parcels

    monkeypatch.setattr(extraction, "volume_parcels", changed)
    with pytest.raises(RuntimeError, match="changed while it was read"):
        read(scans[:1], atlas)
