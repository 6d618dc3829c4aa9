from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn import datasets, surface
from scipy import ndimage

from nfas_lightning.data.regions.atlas import load_atlas
from nfas_lightning.data.regions.label_files import is_cortex, network_in_name, roi_id
from nfas_lightning.data.regions.rois import coordinate_atlas

AFFINE = np.array([[-4.0, 0, 0, 22], [0, 4, 0, -30], [0, 0, 4, -20], [0, 0, 0, 1]])
COUNTS = {"schaefer_100": 100, "schaefer_200": 200, "schaefer_400": 400, "glasser_360": 360, "aparc": 68}


@pytest.fixture
def image(tmp_path):
    """12 x 10 x 8 labels: 3 on the left, 7 on the right, 12 across the midline, 20 on the left."""
    labels = np.zeros((12, 10, 8), dtype=np.int16)
    x = 22 - 4.0 * np.arange(12)
    labels[x < -10, 1:5] = 3
    labels[x > 10, 1:5] = 7
    labels[:, 6:8] = 12
    labels[x < -14, 8:] = 20
    path = tmp_path / "toy.nii.gz"
    nib.Nifti1Image(labels, AFFINE).to_filename(path)
    return path


@pytest.fixture
def annotations(tmp_path):
    """Two hemispheres of 642 vertices: medial wall, A and B; B has no vertex on the right."""
    entries = ["Medial_wall", "A", "B", "unknown", "corpuscallosum"]
    colors = np.array([[i * 20, 10, 30, 0] for i in range(5)])
    paths = []
    for side, modulus in (("lh", 5), ("rh", 2)):
        path = tmp_path / f"{side}.toy.annot"
        nib.freesurfer.write_annot(path, np.arange(642) % modulus, colors, entries, fill_ctab=True)
        paths.append(path)
    return paths


def table(**columns):
    return pd.DataFrame(columns)


def test_coordinates_come_with_spheres_and_their_table():
    atlas = load_atlas("seitzman", radius=4.5)
    pd.testing.assert_frame_equal(atlas.table, coordinate_atlas("seitzman"))
    assert (atlas.name, atlas.radius, atlas.space, len(atlas)) == ("seitzman-4.5mm", 4.5, "MNI152", 300)
    assert load_atlas("power", space="mine").space == "mine"


@pytest.mark.parametrize("radius", [0.0, -1.0, np.inf, np.nan])
def test_a_radius_that_makes_no_sphere(radius):
    with pytest.raises(ValueError, match="radius must be a positive number of mm"):
        load_atlas("seitzman", radius=radius)


def test_names_that_are_no_atlas(tmp_path):
    with pytest.raises(ValueError, match="schaefer400, a label image"):
        load_atlas("schaefer300")
    with pytest.raises(ValueError, match="must come as a pair, got one"):
        load_atlas(tmp_path / "lh.aparc.annot")
    with pytest.raises(FileNotFoundError, match="got nothing"):
        load_atlas(tmp_path / "absent.nii.gz")
    with pytest.raises(ValueError, match="table belongs to a label image"):
        load_atlas("seitzman", table=table(id=[1], name=["a"]))


def test_a_label_image_without_names(image):
    atlas = load_atlas(image)
    assert atlas.name == "toy"
    assert list(atlas.table["roi"]) == ["parcel_003_L", "parcel_007_R", "parcel_012", "parcel_020_L"]
    assert list(atlas.table["hemisphere"]) == ["L", "R", "M", "L"]
    stored = nib.load(image).get_fdata()
    for row, label in enumerate((3, 7, 12, 20)):
        center = AFFINE @ [*ndimage.center_of_mass(stored == label), 1]
        np.testing.assert_allclose(atlas.table[["x", "y", "z"]].iloc[row].astype(float), center[:3])
        np.testing.assert_array_equal(atlas.labels == row + 1, stored == label)


def test_rows_of_the_table_follow_their_ids_not_their_place(image):
    names = table(id=[20, 3, 99, 7, 12], name=["d", "a", "gone", "a", "c"], network=["N", "M", "", "M", ""])
    atlas = load_atlas(image, table=names)
    assert list(atlas.table["roi"]) == ["d_L", "a_L", "gone", "a_R", "c"]
    assert list(atlas.table["network"]) == ["N", "M", "", "M", ""]
    stored = nib.load(image).get_fdata()
    for row, label in enumerate(names["id"]):
        np.testing.assert_array_equal(atlas.labels == row + 1, stored == label)
    assert atlas.table.loc[2, ["x", "y", "z"]].isna().all()  # in the table alone: a missing parcel


def test_a_table_may_call_its_ids_index(image, tmp_path):
    names = table(index=[0, 20, 3, 7, 12], name=["Background", *"dabc"])
    expected = load_atlas(image, table=names.rename(columns={"index": "id"}))
    pd.testing.assert_frame_equal(load_atlas(image, table=names).table, expected.table)
    names.to_csv(tmp_path / "atlas_dseg.tsv", sep="\t", index=False)
    pd.testing.assert_frame_equal(load_atlas(image, table=tmp_path / "atlas_dseg.tsv").table, expected.table)
    with pytest.raises(ValueError, match=r"columns id \(or index\) and name, missing \['id'\]"):
        load_atlas(image, table=names.rename(columns={"index": "label"}))


def test_labels_that_the_table_lacks_are_dropped_with_a_warning(image):
    with pytest.warns(UserWarning, match="2 of the image's 4 labels are not in the table.*the first 12"):
        atlas = load_atlas(image, table=table(id=[0, 3, 7], name=["Background", "a", "b"]))
    assert list(atlas.table["roi"]) == ["a_L", "b_R"]
    assert set(np.unique(atlas.labels)) == {0, 1, 2}


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".tsv", "\t")])
def test_tables_from_files_with_a_byte_order_mark_and_windows_lines(image, tmp_path, suffix, separator):
    rows = [
        ("id", "name", "hemisphere"),
        (3, "LH", "lh"),
        (7, "b", "Right"),
        (12, "c", ""),
        (20, "null", "L"),
    ]
    file = tmp_path / f"names{suffix}"
    file.write_bytes("\r\n".join(separator.join(map(str, row)) for row in rows).encode("utf-8-sig"))
    atlas = load_atlas(str(image), table=file)
    assert list(atlas.table["roi"]) == ["LH", "b_R", "c", "null_L"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [3], "name": ["a"]}, r"missing \['id'\]"),
        ({"id": [3, 3], "name": ["a", "b"]}, r"repeated \[3\]"),
        ({"id": [3.5], "name": ["a"]}, r"whole numbers from 0, got \[3.5\]"),
        ({"id": ["x"], "name": ["a"]}, "whole numbers from 0"),
        ({"id": [-3], "name": ["a"]}, "whole numbers from 0"),
        ({"id": [0], "name": ["Background"]}, "labels above 0"),
        ({"id": [3], "name": ["a"], "hemisphere": ["both"]}, r"must be L, R, M or empty, got \['both'\]"),
        (
            {"id": [3, 7, 12, 20], "name": ["Vis_RH_1", "b", "c", "d"], "hemisphere": ["L", "", "", ""]},
            "hemisphere R by its name, got 'L'",
        ),
        ({"id": [101, 102], "name": ["a", "b"]}, "none in common"),
        ({"id": [3, 20, 7, 12], "name": ["a", "a", "b", "c"]}, r"once per hemisphere, got \['a_L'\]"),
    ],
)
def test_tables_that_do_not_fit(image, columns, message):
    with pytest.raises(ValueError, match=message):
        load_atlas(image, table=table(**columns))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((4, 4, 4), 0.4, np.float32), "is it a probability map"),
        (np.full((4, 4, 4), -1, np.int16), "whole numbers from 0"),
        (np.zeros((4, 4, 4), np.int16), "an image of zeros"),
        (np.ones((4, 4, 4, 3), np.int16), "must be a 3D image"),
    ],
)
def test_images_that_hold_no_labels(tmp_path, values, message):
    path = tmp_path / "wrong.nii"
    nib.Nifti1Image(values, AFFINE).to_filename(path)
    with pytest.raises(ValueError, match=message):
        load_atlas(path)


def test_float_labels_nan_background_and_a_fourth_axis_of_one(tmp_path):
    values = np.full((4, 4, 4, 1), np.nan, np.float32)
    values[:2] = 5
    path = tmp_path / "float.nii"
    nib.Nifti1Image(values, AFFINE).to_filename(path)
    atlas = load_atlas(path)
    assert atlas.labels.shape == (4, 4, 4)
    assert (atlas.labels > 0).sum() == 32


def test_a_damaged_label_image(tmp_path, image):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(image.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"broken.nii.gz .*cut short or damaged"):
        load_atlas(broken)
    broken.write_bytes(b"no image at all" * 100)
    with pytest.raises(ValueError, match=r"broken.nii.gz must be a NIfTI file"):
        load_atlas(broken)


def test_annotations_are_keyed_by_side_and_name(annotations):
    atlas = load_atlas(annotations)
    assert (atlas.name, atlas.space) == ("toy", "fsaverage3")
    assert list(atlas.table["roi"]) == ["A_L", "B_L", "A_R", "B_R"]
    assert list(atlas.table["hemisphere"]) == ["L", "L", "R", "R"]
    left, right = atlas.hemispheres
    np.testing.assert_array_equal(left, np.array([0, 1, 2, 0, 0])[np.arange(642) % 5])
    np.testing.assert_array_equal(right, np.array([0, 3])[np.arange(642) % 2])
    assert atlas.table["x"].notna().tolist() == [True, True, True, False]  # B has no vertex on the right


def test_volumes_and_annotations_join_by_name_and_side(annotations, image):
    named = table(id=[3, 7, 12, 20], name=["A", "A", "c", "d"], hemisphere=["L", "R", "", ""])
    both = load_atlas(annotations).table.merge(load_atlas(image, table=named).table, on="roi")
    assert list(both["roi"]) == ["A_L", "A_R"]


def test_annotations_that_do_not_fit(annotations, tmp_path):
    with pytest.raises(ValueError, match="got 3 files"):
        load_atlas([*annotations, annotations[0]])
    with pytest.raises(ValueError, match="table belongs to a label image"):
        load_atlas(annotations, table=table(id=[1], name=["A"]))
    short = tmp_path / "rh.short.annot"
    nib.freesurfer.write_annot(
        short, np.zeros(162, int), np.array([[9, 10, 30, 0, 0]]), ["A"], fill_ctab=True
    )
    with pytest.raises(ValueError, match="got 642 and 162 vertices"):
        load_atlas([annotations[0], short])
    short.write_bytes(annotations[0].read_bytes()[:100])
    with pytest.raises(ValueError, match=r"rh.short.annot must be a FreeSurfer annotation"):
        load_atlas([annotations[0], short])


@pytest.mark.shared_data
@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_real_annotations(shared_data, name, count):
    paths = [shared_data / "atlases" / f"fsa5_{side}_{name}.annot" for side in ("lh", "rh")]
    atlas = load_atlas(paths)
    assert (atlas.name, atlas.space, len(atlas)) == (f"fsa5_{name}", "fsaverage5", count)
    assert atlas.table["hemisphere"].value_counts().to_dict() == {"L": count // 2, "R": count // 2}
    assert not atlas.table["roi"].str.contains("(?i)unknown|medial_?wall|background|callosum").any()
    # the mean of a parcel's vertices lies on its own side of the brain
    assert ((atlas.table["x"] < 0) == (atlas.table["hemisphere"] == "L")).all()
    for path, rows, side in zip(paths, atlas.hemispheres, ("L", "R"), strict=True):
        labels, _, names = nib.freesurfer.read_annot(path)
        for vertex in range(0, 10242, 97):
            own = names[labels[vertex]].decode()
            if rows[vertex]:
                expected = own if "Networks" in own else f"{own}_{side}"
                assert atlas.table["roi"][rows[vertex] - 1] == expected
            else:
                assert not is_cortex(own)


@pytest.mark.shared_data
def test_networks_of_real_schaefer_names(shared_data):
    paths = [shared_data / "atlases" / f"fsa5_{side}_schaefer_400.annot" for side in ("lh", "rh")]
    atlas = load_atlas(paths)
    yeo = ["Vis", "SomMot", "DorsAttn", "SalVentAttn", "Limbic", "Cont", "Default"]
    assert sorted(atlas.table["network"].unique()) == sorted(yeo)
    with pytest.raises(ValueError, match="are left and right exchanged"):
        load_atlas(paths[::-1])


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
        nib.Nifti1Image(labels, AFFINE).to_filename(tmp_path / "maps.nii.gz")
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


@pytest.mark.parametrize(
    ("name", "side", "expected"),
    [
        ("7Networks_LH_Vis_1", "L", "7Networks_LH_Vis_1"),
        ("ctx-rh-bankssts", "R", "ctx-rh-bankssts"),
        ("Left-Amygdala", "L", "Left-Amygdala"),
        ("L_V1_ROI", "L", "L_V1_ROI"),
        ("V1", "R", "V1_R"),
        ("TE1_l", "R", "TE1_l_R"),  # lateral, not left
        ("Larynx", "L", "Larynx_L"),
        ("vermis", "M", "vermis"),
        ("gone", "", "gone"),
    ],
)
def test_an_id_tells_the_side_once(name, side, expected):
    assert roi_id(name, side) == expected


def test_seventeen_networks_and_names_without_one():
    assert network_in_name("17Networks_LH_SalVentAttnA_ParOper_1") == "SalVentAttnA"
    assert network_in_name("LH_Vis_1") == ""


def test_the_hash_sees_every_part_and_nothing_else(image):
    names = table(id=[3, 7, 12, 20], name=list("abcd"))
    base = load_atlas(image, table=names)
    assert base.sha256() == load_atlas(image, table=names).sha256()
    moved = image.with_name("moved") / "toy.nii.gz"
    moved.parent.mkdir()
    stored = nib.load(image)
    shifted = AFFINE.copy()
    shifted[0, 3] += 1
    nib.Nifti1Image(np.asarray(stored.dataobj), shifted).to_filename(moved)
    changed = [
        load_atlas(moved, table=names),
        load_atlas(image, table=names.assign(name=list("abce"))),
        load_atlas(image, table=names.assign(network="N")),
        load_atlas(image, table=names.iloc[::-1]),
        load_atlas(image, table=names, space="Colin27"),
        load_atlas(image),
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
