from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from nibabel.affines import apply_affine
from nilearn import datasets
from nilearn.maskers import NiftiLabelsMasker, NiftiSpheresMasker
from scipy.spatial.transform import Rotation

from nfas_lightning.data.regions import parcels as parcels_module
from nfas_lightning.data.regions.atlas import Atlas, load_atlas
from nfas_lightning.data.regions.parcels import array_parcels, sample_nearest, surface_parcels, volume_parcels
from nfas_lightning.data.regions.rois import roi_table
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

FLIPPED = np.array([[-2.5, 0, 0, 27.2], [0, 2.5, 0, -29.9], [0, 0, 2.75, -21.3], [0, 0, 0, 1]])
GRIDS = pytest.mark.parametrize("affine", [STRAIGHT, FLIPPED, TURNED], ids=["straight", "flipped", "turned"])


def label_of(roi):
    return int(roi.split("_")[0][1:])


def nilearn_labels(label_file, img, mask=None):
    """Id of a region to its series."""
    masker = NiftiLabelsMasker(
        str(label_file), mask_img=mask, resampling_target="data", standardize=None, keep_masked_labels=True
    )
    series = masker.fit_transform(img)
    return {
        int(region): series[:, int(column)]
        for column, region in masker.region_ids_.items()
        if column != "background"
    }


def spheres(centers, radius):
    table = roi_table([f"s{i}" for i in range(len(centers))], coordinates=np.asarray(centers, dtype=float))
    return Atlas("spheres", table, "MNI152", radius=radius)


@GRIDS
@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_label_means_equal_nilearns_and_those_by_hand(label_file, atlas, affine, dtype):
    img = image(affine, dtype=dtype)
    found = volume_parcels(img, atlas)
    assert found.values.dtype == torch.float32
    assert found.counts.dtype == torch.int64
    by_id = nilearn_labels(label_file, img)
    assert len(by_id) == len(atlas)
    for row, roi in enumerate(atlas.table["roi"]):
        np.testing.assert_allclose(found.values[:, row], by_id[label_of(roi)], rtol=1e-5)
    means, counts = brute_force(img, atlas)
    np.testing.assert_allclose(found.values, means, rtol=1e-5)
    np.testing.assert_array_equal(found.counts, counts)


@GRIDS
def test_overlapping_spheres_equal_nilearns(affine):
    centers = [(-8, 3, 1), (-5, 3, 1), (7.3, -10.2, 4.9), (0, 0, 0)]
    img = image(affine)
    found = volume_parcels(img, spheres(centers, 6.0))
    masker = NiftiSpheresMasker(centers, radius=6.0, allow_overlap=True, standardize=None)
    np.testing.assert_allclose(found.values, masker.fit_transform(img), rtol=1e-5)
    assert (found.counts >= 20).all()


def test_spheres_on_a_turned_grid_of_long_voxels_are_those_by_hand():
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", [35, -20, 50], degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.diag([1.0, 2.0, 7.0])
    affine[:3, 3] = -apply_affine(affine, [8, 10, 7])
    img = image(affine)
    centers = np.array([(0, 0, 0), (5, -4, 6), (-3, 8, -2)])
    found = volume_parcels(img, spheres(centers, 9.1))
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    for row, center in enumerate(centers):
        inside = np.linalg.norm(apply_affine(affine, grid) - center, axis=-1) <= 9.1
        assert int(found.counts[row]) == inside.sum() > 50
        np.testing.assert_allclose(found.values[:, row], img.get_fdata()[inside].mean(axis=0), rtol=1e-5)


def test_the_surface_of_a_sphere_belongs_to_it():
    img = nib.Nifti1Image(np.ones((9, 9, 9, 2), np.float32), np.diag([2.0, 2, 2, 1]))
    found = volume_parcels(img, spheres([(8, 8, 8)], 2.0))
    assert found.counts.tolist() == [7]  # the center and its six neighbors, at just 2 mm


def test_a_sphere_between_voxel_centers_or_outside_the_image_is_missing():
    img = nib.Nifti1Image(np.ones((5, 5, 5, 2), np.float32), np.diag([8.0, 8, 8, 1]))
    found = volume_parcels(img, spheres([(4, 4, 4), (16, 16, 16), (400, 0, 0)], 6.0))
    assert found.counts.tolist() == [0, 1, 0]
    assert found.values[:, 1].tolist() == [1.0, 1.0]
    assert found.values[:, [0, 2]].isnan().all()


def test_halfway_points_take_the_higher_index_in_spite_of_rounding():
    source = np.arange(1, 9).reshape(8, 1, 1)
    third = np.diag([0.3, 1, 1, 1.0])
    wanted = third.copy()
    wanted[0, 3] = 0.15  # centers at voxels 0.5, 1.5, ... of the source, up to rounding errors
    found = sample_nearest(source, third, (8, 1, 1), wanted).ravel()
    assert found.tolist() == [2, 3, 4, 5, 6, 7, 8, 0]
    below = 0
    for size in (0.7, 1.9, 2.1, 3.3, 3.9):
        for origin in (0.1, 0.3, -26.3):
            source_affine, affine = np.diag([size, 1, 1, 1.0]), np.diag([size, 1, 1, 1.0])
            source_affine[0, 3], affine[0, 3] = origin, origin + size / 2
            found = sample_nearest(source, source_affine, (8, 1, 1), affine).ravel()
            assert found.tolist() == [2, 3, 4, 5, 6, 7, 8, 0]
            to_source = np.linalg.inv(source_affine) @ affine
            below += ((to_source[0, 0] * np.arange(8) + to_source[0, 3]) % 1 < 0.5).sum()
    assert below  # rounding did put some of these points on the wrong side


@pytest.mark.parametrize("hole", [np.nan, np.inf, 0.0])
def test_invalid_voxels_leave_and_do_not_count(label_file, atlas, hole):
    img = image(STRAIGHT)
    data = img.get_fdata(dtype=np.float32)
    full = volume_parcels(img, atlas)
    data[:6, :9] = hole
    masked = nib.Nifti1Image(data, STRAIGHT)
    found = volume_parcels(masked, atlas)
    means, counts = brute_force(masked, atlas)
    np.testing.assert_allclose(found.values, means, rtol=1e-5)
    np.testing.assert_array_equal(found.counts, counts)
    assert (found.counts <= full.counts).all()
    assert (found.counts < full.counts).any()
    # the same as nilearn's, told which voxels are valid
    valid = np.ones(SHAPE, np.int8)
    valid[:6, :9] = 0
    by_id = nilearn_labels(label_file, img, nib.Nifti1Image(valid, STRAIGHT))
    for row, roi in enumerate(atlas.table["roi"]):
        if counts[row]:
            np.testing.assert_allclose(found.values[:, row], by_id[label_of(roi)], rtol=1e-5)


def test_a_voxel_that_is_nan_in_one_volume_leaves_all_of_them(atlas, monkeypatch):
    monkeypatch.setattr(parcels_module, "_CHUNK_VALUES", 2 * int(np.prod(SHAPE)))
    data = image(STRAIGHT).get_fdata(dtype=np.float32)
    data[4:9, 5:12, 3:9, N_VOLUMES - 1] = np.nan
    late = nib.Nifti1Image(data, STRAIGHT)
    means, counts = brute_force(late, atlas)
    found = volume_parcels(late, atlas)
    np.testing.assert_array_equal(found.counts, counts)
    np.testing.assert_allclose(found.values, means, rtol=1e-5)


@pytest.mark.parametrize("per_chunk", [1, 2, N_VOLUMES])
def test_voxels_that_are_nan_in_different_volumes_all_leave(atlas, monkeypatch, per_chunk):
    monkeypatch.setattr(parcels_module, "_CHUNK_VALUES", per_chunk * int(np.prod(SHAPE)))
    data = image(STRAIGHT).get_fdata(dtype=np.float32)
    data[4:7, 5:12, 3:9, 0] = np.nan
    data[9:12, 5:12, 3:9, 3] = np.inf
    spotted = nib.Nifti1Image(data, STRAIGHT)
    means, counts = brute_force(spotted, atlas)
    found = volume_parcels(spotted, atlas)
    np.testing.assert_array_equal(found.counts, counts)
    np.testing.assert_allclose(found.values, means, rtol=1e-5)


def test_a_voxel_that_is_zero_in_some_volumes_stays(atlas):
    data = image(STRAIGHT).get_fdata(dtype=np.float32)
    full = volume_parcels(nib.Nifti1Image(data, STRAIGHT), atlas)
    data[..., :3] = 0
    found = volume_parcels(nib.Nifti1Image(data, STRAIGHT), atlas)
    assert torch.equal(found.counts, full.counts)
    assert (found.values[:3] == 0).all()
    assert torch.equal(found.values[3:], full.values[3:])


def test_a_volume_of_nan_is_missing_as_a_whole(atlas):
    data = image(STRAIGHT).get_fdata(dtype=np.float32)
    full = volume_parcels(nib.Nifti1Image(data, STRAIGHT), atlas)
    data[..., 2] = np.nan
    found = volume_parcels(nib.Nifti1Image(data, STRAIGHT), atlas)
    assert torch.equal(found.counts, full.counts)
    assert found.values[2].isnan().all()
    kept = [t for t in range(N_VOLUMES) if t != 2]
    assert torch.equal(found.values[kept], full.values[kept])


def test_a_parcel_without_voxels_is_missing_never_zero(label_file):
    names = pd.DataFrame({"id": [2, 99, 4, 8, 11, 16, 21, 30, 57], "name": list("abcdefghi")})
    found = volume_parcels(image(STRAIGHT), load_atlas(label_file, table=names))
    assert found.values[:, 1].isnan().all()
    assert found.counts[1] == 0
    assert found.values[:, [0, *range(2, 9)]].isfinite().all()


@pytest.mark.parametrize("fill", [0.0, np.nan])
def test_an_image_that_shares_nothing_with_the_atlas_is_an_error(atlas, fill):
    empty = nib.Nifti1Image(np.full((*SHAPE, 3), fill, np.float32), STRAIGHT)
    with pytest.raises(ValueError, match=r"No parcel of atlas blocks \(MNI152\) has a valid voxel"):
        volume_parcels(empty, atlas)
    away = STRAIGHT.copy()
    away[:3, 3] += 500
    with pytest.raises(ValueError, match="in the atlas's space"):
        volume_parcels(image(away), atlas)


@pytest.mark.parametrize("per_chunk", [1, 3, 100])
def test_chunks_do_not_change_the_result(atlas, monkeypatch, per_chunk):
    whole = volume_parcels(image(TURNED), atlas)
    monkeypatch.setattr(parcels_module, "_CHUNK_VALUES", per_chunk * int(np.prod(SHAPE)))
    chunked = volume_parcels(image(TURNED), atlas)
    torch.testing.assert_close(chunked.values, whole.values, rtol=1e-6, atol=0)


def test_masked_arrays_as_they_are_shipped_equal_the_volume(atlas):
    img = image(TURNED)
    data = img.get_fdata(dtype=np.float32)
    mask = np.random.default_rng(3).random(SHAPE) < 0.7
    masked = np.where(mask[..., None], data, 0)
    expected = volume_parcels(nib.Nifti1Image(masked, TURNED), atlas)
    values = data[mask].T  # volume[mask == 1], one row per volume
    for given in (values, torch.from_numpy(values.copy())):
        found = array_parcels(given, mask.astype(np.uint8), TURNED, atlas)
        torch.testing.assert_close(found.values, expected.values)
        assert torch.equal(found.counts, expected.counts)


def test_a_mask_of_an_array_that_is_nan_shows_nothing(atlas):
    data = image(TURNED).get_fdata(dtype=np.float32)
    mask = (np.random.default_rng(3).random(SHAPE) < 0.7).astype(np.float32)
    holes = np.where(mask == 1, mask, np.nan)
    values = data[mask == 1].T
    expected, found = (array_parcels(values, given, TURNED, atlas) for given in (mask, holes))
    assert torch.equal(found.values, expected.values)
    assert torch.equal(found.counts, expected.counts)


def test_masked_arrays_that_do_not_fit(atlas):
    mask = np.ones((4, 4, 4), np.uint8)
    with pytest.raises(ValueError, match=r"one column per voxel of the mask, \(T, 64\)"):
        array_parcels(np.ones((3, 63)), mask, TURNED, atlas)
    with pytest.raises(ValueError, match="must have an invertible affine"):
        array_parcels(np.ones((3, 64)), mask, np.zeros((4, 4)), atlas)


# ----- surfaces


@pytest.mark.parametrize("n_vertices", [642, 2562])
@pytest.mark.parametrize("wall", [None, np.nan, 0.0])
def test_surface_means_on_the_same_and_on_a_finer_mesh(tmp_path, surface_atlas, n_vertices, wall):
    data, paths = both_sides(tmp_path, n_vertices, wall=wall)
    found = surface_parcels(*paths, surface_atlas)
    row = 0
    for side, labels in zip(data, surface_atlas.hemispheres, strict=True):
        for _ in range(2):
            members = np.flatnonzero(labels == row + 1)
            members = members[members >= 200] if wall is not None else members
            np.testing.assert_allclose(found.values[:, row], side[:, members].mean(axis=1), rtol=1e-5)
            assert found.counts[row] == len(members)
            row += 1


def test_a_coarser_mesh_takes_the_first_labels(tmp_path, surface_atlas):
    data, paths = both_sides(tmp_path, 162)
    with pytest.raises(ValueError, match=r"has 162 vertices, atlas toy \(fsaverage3\) 642"):
        surface_parcels(*paths, surface_atlas)
    fine = Atlas(
        "fine",
        surface_atlas.table,
        "fsaverage4",
        hemispheres=tuple(np.tile(side, 4)[:2562] for side in surface_atlas.hemispheres),
    )
    data, paths = both_sides(tmp_path, 642)
    found = surface_parcels(*paths, fine)
    members = surface_atlas.hemispheres[0] == 1
    np.testing.assert_allclose(found.values[:, 0], data[0][:, members].mean(axis=1), rtol=1e-5)


@pytest.mark.shared_data
@pytest.mark.parametrize("wall", [np.nan, 0.0])
def test_fsaverage6_series_with_real_fsaverage5_annotations(tmp_path, shared_data, wall):
    files = [shared_data / "atlases" / f"fsa5_{side}_schaefer_400.annot" for side in ("lh", "rh")]
    atlas = load_atlas(files)
    rng = np.random.default_rng(0)
    data = [rng.normal(10, 2, (3, 40_962)).astype(np.float32) for _ in range(2)]
    for side, labels in zip(data, atlas.hemispheres, strict=True):
        side[:, :10_242][:, labels == 0] = wall
    paths = [write_gifti(tmp_path / f"hemi-{s}.gii", side) for s, side in zip("LR", data, strict=True)]
    found = surface_parcels(*paths, atlas)
    assert found.values.isfinite().all()
    assert found.counts.sum() == sum(int((side > 0).sum()) for side in atlas.hemispheres)
    for side, file in zip(data, files, strict=True):
        label, _, names = nib.freesurfer.read_annot(file)
        for i in (1, 57, 200):
            row = list(atlas.table["roi"]).index(names[i].decode())
            own = side[:, :10_242][:, label == i]
            np.testing.assert_allclose(found.values[:, row], own.mean(axis=1), rtol=1e-5)


def test_fsaverage_meshes_are_nested():
    """On nilearn's fsaverage5: its first 2,562 vertices are a mesh of fsaverage4's size that it refines.

    Refining puts a vertex on every edge: an old vertex then has new neighbors alone, each new one two old
    neighbors, and together they lie in the middle of the old edges of an icosahedral mesh of 7,680.
    """
    mesh = datasets.fetch_surf_fsaverage("fsaverage5")
    points, faces = nib.load(mesh["sphere_left"]).agg_data()
    edges = np.unique(
        np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [0, 2]]]), axis=1), axis=0
    )
    old = edges < 2562
    assert not old.all(axis=1).any()
    parents = {}
    for a, b in edges[old.any(axis=1)]:
        parents.setdefault(max(a, b), []).append(min(a, b))
    assert sorted(parents) == list(range(2562, 10_242))
    assert {len(pair) for pair in parents.values()} == {2}
    assert len({tuple(sorted(pair)) for pair in parents.values()}) == 3 * (2562 - 2)
    new = np.array(sorted(parents))
    middle = np.array([points[parents[vertex]].mean(axis=0) for vertex in new])
    away = np.linalg.norm(middle - points[new], axis=1)
    length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1).mean()
    assert np.median(away) < 0.1 * length


def test_hemispheres_that_do_not_match(tmp_path, surface_atlas):
    _, (left, right) = both_sides(tmp_path, 642)
    with pytest.raises(ValueError, match=r"hemi-R.func.gii must be hemisphere L"):
        surface_parcels(right, left, surface_atlas)
    short = write_gifti(tmp_path / "short.gii", np.ones((4, 642)))
    with pytest.raises(ValueError, match=r"got \(5, 642\) and \(4, 642\)"):
        surface_parcels(left, short, surface_atlas)
    fine = write_gifti(tmp_path / "fine.gii", np.ones((5, 2562)))
    with pytest.raises(ValueError, match=r"got \(5, 642\) and \(5, 2562\)"):
        surface_parcels(left, fine, surface_atlas)
    told = write_gifti(tmp_path / "told.gii", np.ones((5, 642)), structure="CortexLeft")
    surface_parcels(told, right, surface_atlas)
    with pytest.raises(ValueError, match=r"told.gii must be hemisphere R"):
        surface_parcels(left, told, surface_atlas)


def test_an_atlas_of_the_other_kind(tmp_path, atlas, surface_atlas):
    _, paths = both_sides(tmp_path, 642)
    with pytest.raises(ValueError, match="blocks is in MNI152, a volume"):
        surface_parcels(*paths, atlas)
    with pytest.raises(ValueError, match="toy is on the surface fsaverage3"):
        volume_parcels(image(STRAIGHT), surface_atlas)
