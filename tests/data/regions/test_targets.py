"""Voxels and vertices as targets: each is itself, and parcels formed of them are those of the parcels."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from nibabel.affines import apply_affine
from nilearn.image import resample_to_img

from nfas_lightning.data.regions.atlas import Atlas, load_atlas
from nfas_lightning.data.regions.parcels import surface_parcels, volume_parcels
from nfas_lightning.data.regions.rois import roi_table
from nfas_lightning.data.regions.targets import (
    brain_voxels,
    by_columns,
    roi_voxels,
    scan_targets,
    vertex_targets,
    voxel_targets,
)
from tests.helpers.brain_images import SHAPE, STRAIGHT, TURNED, both_sides, image


def label_atlas(affine):
    """Three slabs along the first axis and nothing beyond, on the scan's own grid."""
    labels = np.zeros(SHAPE, np.int32)
    for row in range(3):
        labels[4 * row : 4 * row + 4] = row + 1
    table = roi_table(["a_L", "b_L", "c_R"], network=["Vis", "Vis", "Aud"], hemisphere=["L", "L", "R"])
    return Atlas("slabs", table, "MNI152", labels=labels, affine=affine)


@pytest.fixture
def scan(tmp_path):
    """A file of noise with one voxel that is NaN once and one that is always zero, and its values."""
    img = image(STRAIGHT)
    values = np.asanyarray(img.dataobj)
    values[2, 3, 4, 1] = np.nan
    values[9, 3, 4] = 0
    path = tmp_path / "scan_bold.nii.gz"
    nib.Nifti1Image(values, STRAIGHT).to_filename(path)
    return path, values


def whole_mask(tmp_path, affine=STRAIGHT, shape=SHAPE):
    path = tmp_path / "mask.nii.gz"
    nib.Nifti1Image(np.ones(shape, np.uint8), affine).to_filename(path)
    return path


def test_each_voxel_is_itself(scan, tmp_path):
    path, values = scan
    targets = scan_targets("voxels", [path], label_atlas(STRAIGHT), whole_mask(tmp_path))
    read = volume_parcels(path, targets)
    table = targets.rois
    assert len(table) == np.prod(SHAPE)
    wanted = values.reshape(-1, values.shape[3])[table["index"]].T.copy()
    bad = np.ravel_multi_index([(2, 9), (3, 3), (4, 4)], SHAPE)
    wanted[:, bad] = np.nan
    np.testing.assert_array_equal(read.values.numpy(), wanted)
    assert (read.counts == 0).nonzero().ravel().tolist() == bad.tolist()
    place = np.stack(np.unravel_index(table["index"], SHAPE), axis=1)
    np.testing.assert_allclose(table[["x", "y", "z"]], apply_affine(STRAIGHT, place), atol=1e-4)
    assert (table["hemisphere"] == np.where(table["x"] < 0, "L", "R")).all()
    assert table["roi"].is_unique
    assert (table["vertices"] == "").all()


def test_parcels_formed_of_voxels_are_the_parcels(scan, tmp_path):
    path, _ = scan
    atlas = label_atlas(STRAIGHT)
    targets = scan_targets("voxels", [path], atlas, whole_mask(tmp_path))
    voxels, parcels = volume_parcels(path, targets), volume_parcels(path, atlas)
    for row, (name, network) in atlas.table[["roi", "network"]].iterrows():
        own = targets.table[targets.table["parcel"] == name]
        assert set(own["network"]) == {network}
        mean = voxels.values[:, own.index].double().nanmean(dim=1).float()
        torch.testing.assert_close(mean, parcels.values[:, row])
        assert int(voxels.counts[own.index].sum()) == int(parcels.counts[row])
    outside = targets.table[targets.table["parcel"] == ""]
    assert len(outside) == (SHAPE[0] - 12) * SHAPE[1] * SHAPE[2]
    assert set(outside["network"]) == {""}


@pytest.mark.parametrize("affine", [TURNED, STRAIGHT @ np.diag([0.5, 0.5, 0.5, 1])], ids=["turned", "finer"])
def test_a_scan_on_another_grid_gives_the_nearest_voxel(tmp_path, affine):
    img = image(affine)
    grid = np.diag([4.0, 4, 4, 1])
    grid[:3, 3] = -27.1, -33.2, -24.3
    mask = np.zeros((5, 6, 4), bool)
    mask[1:, 2:5, 1:3] = True
    targets = voxel_targets(mask, grid)
    read = volume_parcels(img, targets).values.numpy()
    centers = apply_affine(affine, np.stack(np.unravel_index(range(np.prod(SHAPE)), SHAPE), axis=1))
    values = np.asanyarray(img.dataobj).reshape(len(centers), -1)
    there = np.isfinite(read[0])
    assert there.any()
    for column, xyz in enumerate(targets.table[["x", "y", "z"]].to_numpy()):
        if there[column]:
            np.testing.assert_array_equal(
                read[:, column], values[((centers - xyz) ** 2).sum(axis=1).argmin()].astype(np.float32)
            )
        else:  # nothing of the scan within a voxel
            assert ((centers - xyz) ** 2).sum(axis=1).min() > 1.4**2


def test_of_several_spheres_a_voxel_takes_the_first():
    table = roi_table(["one", "two"], network=["A", "B"], coordinates=np.array([[0.0, 0, 0], [3, 0, 0]]))
    targets = voxel_targets(
        np.ones((5, 1, 1), bool), np.diag([2.0, 2, 2, 1]), Atlas("two", table, "MNI152", radius=4.0)
    )
    assert targets.table["parcel"].tolist() == ["one", "one", "one", "two", ""]


def test_each_vertex_is_itself(tmp_path):
    values, paths = both_sides(tmp_path, 40)
    sides = tuple(np.repeat([row, row + 1, 0], [15, 15, 10]).astype(np.int32) for row in (1, 3))
    table = roi_table(["a_L", "b_L", "a_R", "b_R"], network=["A", "B"] * 2, hemisphere=list("LLRR"))
    atlas = Atlas("two", table, "surface", hemispheres=sides)
    targets = scan_targets("vertices", paths, atlas)
    read = surface_parcels(*paths, targets)
    np.testing.assert_array_equal(read.values.numpy(), np.concatenate(values, axis=1))
    rows = targets.table
    assert rows["index"].tolist() == [*range(40), *range(40)]
    assert (
        rows["parcel"].tolist()
        == ["a_L"] * 15 + ["b_L"] * 15 + [""] * 10 + ["a_R"] * 15 + ["b_R"] * 15 + [""] * 10
    )
    means = surface_parcels(*paths, atlas).values
    own = rows.index[rows["parcel"] == "b_R"]
    torch.testing.assert_close(read.values[:, own].mean(dim=1), means[:, 3])


@pytest.mark.shared_data
def test_vertices_of_fsaverage5_have_places_and_parcels(shared_data):
    atlas = load_atlas([shared_data / "atlases" / f"fsa5_{side}_schaefer_400.annot" for side in ("lh", "rh")])
    rois = vertex_targets(10_242, atlas).rois
    assert rois["vertices"].tolist() == [str(i) for i in range(20_484)]
    assert rois["parcel"][rois["parcel"] != ""].nunique() == 400
    assert (rois["x"][rois["hemisphere"] == "L"] < 15).all()
    # a parcel's place is the mean of its vertices' places
    centers = rois[rois["parcel"] != ""].groupby("parcel")[["x", "y", "z"]].mean()
    wanted = atlas.table.set_index("roi")[["x", "y", "z"]].loc[centers.index]
    np.testing.assert_allclose(centers, wanted, atol=1e-4)


@pytest.mark.shared_data
def test_the_real_mask_and_a_real_parcellation(shared_data, tmp_path):
    mask_file = shared_data / "littleprince_annot" / "mask_lpp_en.nii.gz"
    mask = nib.load(mask_file)
    inside = np.asarray(mask.dataobj) != 0
    values = np.random.default_rng(0).normal(100, 5, (*inside.shape, 3)).astype(np.float32)
    nib.Nifti1Image(values, mask.affine).to_filename(tmp_path / "scan_bold.nii.gz")
    shen = shared_data / "atlases" / "shen_2mm_268_parcellation.nii.gz"
    atlas = load_atlas(shen)
    targets = scan_targets("voxels", [tmp_path / "scan_bold.nii.gz"], atlas, mask_file)
    read = volume_parcels(tmp_path / "scan_bold.nii.gz", targets)
    np.testing.assert_array_equal(read.values.numpy(), values[inside].T)
    labels = resample_to_img(shen, mask, interpolation="nearest", force_resample=True, copy_header=True)
    wanted = np.asarray(labels.dataobj)[inside].astype(int)
    parcel = targets.table["parcel"].str.extract(r"parcel_(\d+)")[0].fillna("0").astype(int)
    assert (parcel == wanted).mean() > 0.999
    assert parcel.nunique() > 260


def test_the_brain_is_that_of_mni152(tmp_path):
    grid = np.diag([4.0, 4, 4, 1])
    grid[:3, 3] = -90, -126, -72
    mask, affine = brain_voxels(None, (46, 55, 46), grid)
    assert 1.5e6 < mask.sum() * 64 < 2.2e6  # mm^3
    assert mask[tuple(np.rint(np.linalg.inv(affine) @ [-45, -60, 30, 1])[:3].astype(int))]
    own, own_affine = brain_voxels(whole_mask(tmp_path, TURNED), (46, 55, 46), affine)
    assert own.shape == SHAPE
    np.testing.assert_allclose(own_affine, TURNED, atol=1e-6)


def test_voxels_of_functional_rois():
    table = roi_voxels(roi_table(["V1", "FFA", "PPA"], network=["early", "late", "late"]), [2, 0, 3])
    assert table["parcel"].tolist() == ["V1", "V1", "PPA", "PPA", "PPA"]
    assert table["index"].tolist() == [0, 1, 0, 1, 2]
    assert table["roi"].tolist()[-1] == "PPA_voxel_0002"
    assert table["network"].tolist()[2] == "late"
    assert isinstance(table, pd.DataFrame)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regions": "vertices"}, r"regions='vertices' does not fit scan_bold\.nii\.gz, which has voxels"),
        ({"regions": "parcels", "mask": "m.nii"}, "mask belongs to regions='voxels'"),
    ],
)
def test_regions_that_do_not_fit(scan, options, message):
    with pytest.raises(ValueError, match=message):
        scan_targets(options.pop("regions"), [scan[0]], label_atlas(STRAIGHT), **options)
    with pytest.raises(ValueError, match="must hold voxels, got none"):
        voxel_targets(np.zeros(SHAPE, bool), STRAIGHT)


def test_parts_are_all_columns_in_order(monkeypatch):
    values = torch.arange(2.0 * 1300).view(2, 1300)
    monkeypatch.setattr("nfas_lightning.data.regions.targets._HELD_VALUES", 1200)
    parts = by_columns(values)
    assert [part.shape[1] for part in parts] == [600, 600, 100]
    torch.testing.assert_close(torch.cat(list(parts), dim=1), values)
    assert len(by_columns(values[:, :500])) == 1
