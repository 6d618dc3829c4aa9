"""NIfTI and GIfTI files: read in order, and one clear error for a broken one."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.affines import apply_affine
from scipy.spatial.transform import Rotation

from nfas_lightning.data.regions import parcels as parcels_module
from nfas_lightning.data.regions.atlas import load_atlas
from nfas_lightning.data.regions.parcels import surface_parcels, volume_parcels

STRAIGHT = np.array([[3.0, 0, 0, -26.3], [0, 3, 0, -31.7], [0, 0, 3.3, -24.4], [0, 0, 0, 1]])


# no center of these grids lies halfway between two labels, where the nearest one is a matter of rounding
TURNED = np.eye(4)


TURNED[:3, :3] = Rotation.from_euler("xyz", [11, -8, 14], degrees=True).as_matrix() @ np.diag(
    [2.97, 2.89, 3.03]
)


TURNED[:3, 3] = -24.17, -33.31, -20.73


SHAPE, N_VOLUMES = (17, 20, 15), 7


@pytest.fixture
def label_file(tmp_path):
    """Eight blocks with ids out of order on a 2 mm grid with an empty border."""
    labels = np.zeros((25, 30, 24), dtype=np.int16)
    for i, label in enumerate((30, 4, 11, 2, 57, 8, 21, 16)):
        x, y, z = i & 1, i >> 1 & 1, i >> 2
        labels[3 + 9 * x : 11 + 9 * x, 3 + 11 * y : 13 + 11 * y, 3 + 9 * z : 11 + 9 * z] = label
    affine = np.array([[2.0, 0, 0, -24], [0, 2, 0, -30], [0, 0, 2, -22], [0, 0, 0, 1]])
    path = tmp_path / "blocks.nii.gz"
    nib.Nifti1Image(labels, affine).to_filename(path)
    return path


@pytest.fixture
def atlas(label_file):
    ids = [2, 4, 8, 11, 16, 21, 30, 57]
    return load_atlas(label_file, table=pd.DataFrame({"id": ids, "name": [f"p{i}" for i in ids]}))


def image(affine, *, seed=0, dtype=np.float32, shape=SHAPE):
    values = np.random.default_rng(seed).normal(100, 20, (*shape, N_VOLUMES))
    return nib.Nifti1Image(values.astype(dtype), affine)


def brute_force(img, atlas):
    """Means voxel by voxel."""
    data = np.asanyarray(img.dataobj).astype(float)
    grid = np.stack(np.meshgrid(*map(np.arange, data.shape[:3]), indexing="ij"), axis=-1)
    index = np.rint(apply_affine(np.linalg.inv(atlas.affine), apply_affine(img.affine, grid))).astype(int)
    inside = ((index >= 0) & (index < atlas.labels.shape)).all(-1)
    labels = np.zeros(data.shape[:3], dtype=int)
    labels[inside] = atlas.labels[tuple(index[inside].T)]
    valid = np.isfinite(data).all(-1) & (data != 0).any(-1)
    members = [(labels == row + 1) & valid for row in range(len(atlas))]
    means = [data[m].mean(0) if m.any() else np.full(data.shape[3], np.nan) for m in members]
    return np.stack(means, axis=1), np.array([m.sum() for m in members])


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


def write_gifti(path, values, *, structure=None):
    arrays = [
        nib.gifti.GiftiDataArray(row.astype(np.float32), intent="NIFTI_INTENT_TIME_SERIES") for row in values
    ]
    meta = nib.gifti.GiftiMetaData({"AnatomicalStructurePrimary": structure} if structure else {})
    nib.save(nib.gifti.GiftiImage(darrays=arrays, meta=meta), path)
    return path


@pytest.fixture
def surface_atlas(tmp_path):
    """642 vertices a side: wall, A, B."""
    paths = []
    for side, seed in (("lh", 1), ("rh", 2)):
        labels = np.random.default_rng(seed).integers(0, 3, 642)
        colors = np.array([[i * 20, 10, 30, 0] for i in range(3)])
        paths.append(tmp_path / f"{side}.toy.annot")
        nib.freesurfer.write_annot(paths[-1], labels, colors, ["Medial_wall", "A", "B"], fill_ctab=True)
    return load_atlas(paths)


def both_sides(tmp_path, n_vertices, *, n_volumes=5, wall=None, seed=0):
    rng = np.random.default_rng(seed)
    data = [rng.normal(10, 2, (n_volumes, n_vertices)) for _ in range(2)]
    if wall is not None:
        for side in data:
            side[:, :200] = wall
    paths = [write_gifti(tmp_path / f"s_hemi-{s}.func.gii", side) for s, side in zip("LR", data, strict=True)]
    return [side.astype(np.float32) for side in data], paths


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
