from __future__ import annotations

import dataclasses

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn import datasets, surface
from scipy import ndimage

from nfas_lightning.data.regions.atlas import load_atlas
from nfas_lightning.data.regions.rois import coordinate_atlas
from tests.helpers.brain_images import LABEL_AFFINE, table


def test_coordinates_come_with_spheres_and_their_table():
    atlas = load_atlas("seitzman", radius=4.5)
    pd.testing.assert_frame_equal(atlas.table, coordinate_atlas("seitzman"))
    assert (atlas.name, atlas.radius, atlas.space, len(atlas)) == ("seitzman-4.5mm", 4.5, "MNI152", 300)
    assert load_atlas("power").space == "MNI152"


@pytest.mark.parametrize("radius", [0.0, -1.0, np.inf, np.nan])
def test_a_radius_that_makes_no_sphere(radius):
    with pytest.raises(ValueError, match="radius must be a positive number of mm"):
        load_atlas("seitzman", radius=radius)


def test_names_that_are_no_atlas(tmp_path):
    with pytest.raises(ValueError, match="schaefer400, a label image"):
        load_atlas("schaefer300")
    with pytest.raises(ValueError, match=r"a pair of annotation files .* got '.*lh\.aparc"):
        load_atlas(tmp_path / "lh.aparc.annot")
    with pytest.raises(FileNotFoundError, match="got nothing"):
        load_atlas(tmp_path / "absent.nii.gz")
    with pytest.raises(ValueError, match="table belongs to a label image"):
        load_atlas("seitzman", table=table(id=[1], name=["a"]))


def test_a_label_image_without_names(label_image):
    atlas = load_atlas(label_image)
    assert atlas.name == "toy"
    assert list(atlas.table["roi"]) == ["parcel_003_L", "parcel_007_R", "parcel_012", "parcel_020_L"]
    assert list(atlas.table["hemisphere"]) == ["L", "R", "M", "L"]
    stored = nib.load(label_image).get_fdata()
    for row, label in enumerate((3, 7, 12, 20)):
        center = LABEL_AFFINE @ [*ndimage.center_of_mass(stored == label), 1]
        np.testing.assert_allclose(atlas.table[["x", "y", "z"]].iloc[row].astype(float), center[:3])
        np.testing.assert_array_equal(atlas.labels == row + 1, stored == label)


def test_rows_of_the_table_follow_their_ids_not_their_place(label_image):
    names = table(id=[20, 3, 99, 7, 12], name=["d", "a", "gone", "a", "c"], network=["N", "M", "", "M", ""])
    atlas = load_atlas(label_image, table=names)
    assert list(atlas.table["roi"]) == ["d_L", "a_L", "gone", "a_R", "c"]
    assert list(atlas.table["network"]) == ["N", "M", "", "M", ""]
    stored = nib.load(label_image).get_fdata()
    for row, label in enumerate(names["id"]):
        np.testing.assert_array_equal(atlas.labels == row + 1, stored == label)
    assert atlas.table.loc[2, ["x", "y", "z"]].isna().all()  # in the table alone: a missing parcel


def test_labels_that_the_table_lacks_are_dropped_with_a_warning(label_image):
    with pytest.warns(UserWarning, match="2 of the image's 4 labels are not in the table"):
        atlas = load_atlas(label_image, table=table(id=[0, 3, 7], name=["Background", "a", "b"]))
    assert list(atlas.table["roi"]) == ["a_L", "b_R"]
    assert set(np.unique(atlas.labels)) == {0, 1, 2}


def test_annotations_are_keyed_by_side_and_name(annotations):
    atlas = load_atlas(annotations)
    assert (atlas.name, atlas.space) == ("toy", "fsaverage3")
    assert list(atlas.table["roi"]) == ["A_L", "B_L", "A_R", "B_R"]
    assert list(atlas.table["hemisphere"]) == ["L", "L", "R", "R"]
    left, right = atlas.hemispheres
    np.testing.assert_array_equal(left, np.array([0, 1, 2, 0, 0])[np.arange(642) % 5])
    np.testing.assert_array_equal(right, np.array([0, 3])[np.arange(642) % 2])
    assert atlas.table["x"].notna().tolist() == [True, True, True, False]  # B has no vertex on the right


def test_volumes_and_annotations_join_by_name_and_side(annotations, label_image):
    named = table(id=[3, 7, 12, 20], name=["A", "A", "c", "d"], hemisphere=["L", "R", "", ""])
    both = load_atlas(annotations).table.merge(load_atlas(label_image, table=named).table, on="roi")
    assert list(both["roi"]) == ["A_L", "A_R"]


@pytest.mark.shared_data
def test_real_label_volume(shared_data):
    atlas = load_atlas(shared_data / "atlases" / "shen_2mm_268_parcellation.nii.gz")
    assert atlas.name == "shen_2mm_268_parcellation"
    # the parcellation counts its right hemisphere first
    assert list(atlas.table["hemisphere"]) == ["R"] * 133 + ["L"] * 135
    assert atlas.table["roi"].iloc[[0, -1]].tolist() == ["parcel_001_R", "parcel_268_L"]
    assert atlas.table[["x", "y", "z"]].notna().all().all()


@pytest.mark.parametrize("background", [True, False])
def test_schaefer_through_nilearns_fetcher(tmp_path, monkeypatch, background):
    names = [
        f"7Networks_{side}_{n}_{i}" for side in ("LH", "RH") for n in ("Vis", "Cont_Cing") for i in range(25)
    ]
    asked = {}

    def fetch(**arguments):
        asked.update(arguments)
        labels = np.zeros((12, 10, 8), dtype=np.int16)
        labels.reshape(-1)[: len(names)] = np.arange(1, len(names) + 1)
        nib.Nifti1Image(labels, LABEL_AFFINE).to_filename(tmp_path / "maps.nii.gz")
        # newer versions list the background, older ones give bytes without it
        listed = ["Background", *names] if background else [name.encode() for name in names]
        return type("Bunch", (), {"maps": str(tmp_path / "maps.nii.gz"), "labels": listed})

    monkeypatch.setattr(datasets, "fetch_atlas_schaefer_2018", fetch)
    atlas = load_atlas("schaefer100")
    assert (asked["n_rois"], asked["yeo_networks"]) == (100, 7)
    assert atlas.name == "schaefer100"
    assert list(atlas.table["roi"]) == names
    assert list(atlas.table["hemisphere"]) == ["L"] * 50 + ["R"] * 50
    assert list(atlas.table["network"]) == (["Vis"] * 25 + ["Cont"] * 25) * 2
    np.testing.assert_array_equal(atlas.labels.reshape(-1)[:101], [*range(1, 101), 0])


def test_schaefer_without_a_network_says_what_to_do(monkeypatch):
    def fetch(**_):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "fetch_atlas_schaefer_2018", fetch)
    with pytest.raises(ConnectionError, match=r"no route.*NILEARN_DATA.*'seitzman'"):
        load_atlas("schaefer400")


def test_the_hash_sees_every_part_and_nothing_else(label_image):
    names = table(id=[3, 7, 12, 20], name=list("abcd"))
    base = load_atlas(label_image, table=names)
    assert base.sha256() == load_atlas(label_image, table=names).sha256()
    moved = label_image.with_name("moved") / "toy.nii.gz"
    moved.parent.mkdir()
    stored = nib.load(label_image)
    shifted = LABEL_AFFINE.copy()
    shifted[0, 3] += 1
    nib.Nifti1Image(np.asarray(stored.dataobj), shifted).to_filename(moved)
    changed = [
        load_atlas(moved, table=names),
        load_atlas(label_image, table=names.assign(name=list("abce"))),
        load_atlas(label_image, table=names.assign(network="N")),
        load_atlas(label_image, table=names.iloc[::-1]),
        dataclasses.replace(base, space="Colin27"),
        load_atlas(label_image),
        load_atlas("seitzman"),
        load_atlas("seitzman", radius=5),
    ]
    assert len({atlas.sha256() for atlas in (base, *changed)}) == len(changed) + 1


# maps


def owners(atlas):
    """(2 x 10242,) row of each vertex's parcel as the maps have it, -1 without."""
    owner = np.full(2 * 10242, -1)
    for row, text in enumerate(atlas.rois["vertices"]):
        owner[np.array(text.split(), dtype=int)] = row
    return owner


def test_label_images_reach_the_vertices_that_nilearn_finds(tmp_path):
    """Large blocks: nilearn's nearest voxel in the middle of the cortex is mostly the most frequent one."""
    labels = np.zeros((46, 55, 46), np.int16)
    affine = np.array([[-4.0, 0, 0, 90], [0, 4, 0, -126], [0, 0, 4, -72], [0, 0, 0, 1]])
    x, y, z = np.indices(labels.shape)
    labels[...] = 1 + (x // 12) + 4 * (y // 14) + 16 * (z // 12)
    picture = nib.Nifti1Image(labels, affine)
    picture.to_filename(tmp_path / "blocks.nii.gz")
    atlas = load_atlas(tmp_path / "blocks.nii.gz")
    mesh = datasets.fetch_surf_fsaverage("fsaverage5")
    found = [
        surface.vol_to_surf(
            picture, mesh[f"pial_{side}"], inner_mesh=mesh[f"white_{side}"], kind="depth", depth=[0.5],
            interpolation="nearest_most_frequent" if hasattr(surface, "SurfaceImage") else "nearest",
        )
        for side in ("left", "right")
    ]  # fmt: skip
    wanted = np.concatenate(found).astype(int)
    names = np.array([int(name.split("_")[1]) for name in atlas.table["roi"]])
    agree = names[owners(atlas)] == wanted
    assert agree.mean() > 0.9
    assert (owners(atlas) >= 0).all()


def test_spheres_and_coarse_surfaces_have_no_vertices(annotations):
    assert set(load_atlas("dosenbach").rois["vertices"]) == {""}
    assert set(load_atlas(annotations).rois["vertices"]) == {""}


@pytest.mark.shared_data
def test_annotations_reach_their_own_vertices(shared_data):
    atlas = load_atlas([shared_data / "atlases" / f"fsa5_{side}_schaefer_100.annot" for side in ("lh", "rh")])
    np.testing.assert_array_equal(owners(atlas), np.concatenate(atlas.hemispheres) - 1)
