"""NIfTI and GIfTI files: read in order, and one clear error for a broken one."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from nfas_lightning.data.regions import parcels as parcels_module
from nfas_lightning.data.regions.parcels import surface_parcels, volume_parcels
from tests.helpers.brain_images import (
    N_VOLUMES,
    SHAPE,
    STRAIGHT,
    TURNED,
    both_sides,
    brute_force,
    image,
    write_gifti,
)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_files_give_what_images_give_with_slope_and_intercept(atlas, tmp_path, monkeypatch, suffix, kind):
    monkeypatch.setattr(parcels_module, "_CHUNK_VALUES", 2 * int(np.prod(SHAPE)))
    stored = np.random.default_rng(1).integers(-300, 300, (*SHAPE, N_VOLUMES)).astype(np.int16)
    img = kind(stored, TURNED)
    img.header.set_slope_inter(0.125, 40.0)
    path = tmp_path / f"scaled{suffix}"
    img.to_filename(path)
    # nibabel rescales on writing; what counts is what it reads back
    loaded = nib.load(path)
    means, counts = brute_force(loaded, atlas)
    assert loaded.dataobj.slope != 1
    assert abs(means).max() > 0
    for source in (path, str(path), loaded):
        found = volume_parcels(source, atlas)
        np.testing.assert_allclose(found.values, means, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(found.counts, counts)


def test_a_compressed_file_is_read_once_from_start_to_end(atlas, tmp_path, monkeypatch):
    monkeypatch.setattr(parcels_module, "_CHUNK_VALUES", int(np.prod(SHAPE)))
    path = tmp_path / "scan.nii.gz"
    image(STRAIGHT).to_filename(path)
    read = []
    original = gzip.GzipFile.read

    def count(self, size=-1):
        data = original(self, size)
        read.append(len(data))
        return data

    rewinds = []
    rewind = gzip.GzipFile.rewind
    monkeypatch.setattr(gzip.GzipFile, "read", count)
    monkeypatch.setattr(gzip.GzipFile, "rewind", lambda self: (rewinds.append(1), rewind(self)))
    volume_parcels(path, atlas)
    size = 4 * int(np.prod(SHAPE)) * N_VOLUMES
    assert sum(read) < 1.1 * size + 10_000
    assert not rewinds


def test_three_dimensions_empty_truncated_and_no_place(atlas, tmp_path):
    path = tmp_path / "flat.nii.gz"
    nib.Nifti1Image(np.ones(SHAPE, np.float32), STRAIGHT).to_filename(path)
    with pytest.raises(ValueError, match=r"flat.nii.gz must be a 4D image .* got shape \(17, 20, 15\)"):
        volume_parcels(path, atlas)
    image(STRAIGHT).to_filename(path)
    whole = path.read_bytes()
    for cut in (len(whole) // 2, len(whole) - 4):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"flat.nii.gz .*cut short or damaged"):
            volume_parcels(path, atlas)
    path.write_bytes(whole[:-6] + b"\0\0" + whole[-4:])  # a wrong checksum
    with pytest.raises(ValueError, match=r"flat.nii.gz .*CRC.*damaged"):
        volume_parcels(path, atlas)
    path.write_bytes(whole[:20])
    with pytest.raises(ValueError, match=r"flat.nii.gz must be a NIfTI file"):
        volume_parcels(path, atlas)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="got an empty file"):
        volume_parcels(path, atlas)
    plain = tmp_path / "plain.nii"
    image(STRAIGHT).to_filename(plain)
    plain.write_bytes(plain.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"(?s)plain.nii .*cut short or damaged"):
        volume_parcels(plain, atlas)
    nowhere = nib.Nifti1Image(np.ones((*SHAPE, 2), np.float32), None)
    with pytest.raises(ValueError, match="neither sform nor qform"):
        volume_parcels(nowhere, atlas)


def test_broken_and_unfit_gifti(tmp_path, surface_atlas):
    _, (left, right) = both_sides(tmp_path, 642)
    whole = left.read_bytes()
    for content in (whole[: len(whole) // 2], b"no xml at all"):
        left.write_bytes(content)
        with pytest.raises(ValueError, match=r"hemi-L.func.gii must be a GIfTI file"):
            surface_parcels(left, right, surface_atlas)
    write_gifti(left, np.ones((2, 642, 3)))
    with pytest.raises(ValueError, match="one data array per TR"):
        surface_parcels(left, right, surface_atlas)
    nib.save(nib.gifti.GiftiImage(), left)
    with pytest.raises(ValueError, match=r"one data array per TR.*shapes \[\]"):
        surface_parcels(left, right, surface_atlas)
    with pytest.raises(ValueError, match="No parcel of atlas toy"):
        surface_parcels(
            write_gifti(left, np.full((2, 642), np.nan)),
            write_gifti(right, np.zeros((2, 642))),
            surface_atlas,
        )


def test_values_in_another_file_are_not_read(tmp_path, surface_atlas):
    """A GIfTI file may name any file of the disk as the place of its values."""
    _, (_, right) = both_sides(tmp_path, 642)
    secret = np.arange(642, dtype="<f4")
    secret.tofile(tmp_path / "secret.bin")
    (tmp_path / "plain_hemi-L.func.gii").write_text(
        '<?xml version="1.0"?><GIFTI Version="1.0" NumberOfDataArrays="1">'
        '<DataArray Intent="NIFTI_INTENT_NONE" '
        'DataType="NIFTI_TYPE_FLOAT32" ArrayIndexingOrder="RowMajorOrder" Dimensionality="1" Dim0="642" '
        'Encoding="ExternalFile&#66;inary" Endian="LittleEndian" ExternalFileName="secret.bin" '
        'ExternalFileOffset="0"><Data></Data></DataArray></GIFTI>'
    )
    # what nibabel would make of it: the test is of a file that can be read
    read = nib.load(tmp_path / "plain_hemi-L.func.gii").darrays[0].data
    np.testing.assert_array_equal(read, secret)
    with pytest.raises(ValueError, match=r"hemi-L\.func\.gii must be.*another file, 'secret\.bin'"):
        surface_parcels(tmp_path / "plain_hemi-L.func.gii", right, surface_atlas)
