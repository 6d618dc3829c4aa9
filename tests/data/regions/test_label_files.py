"""Files that hold labels, and the tables that name them."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nfas_lightning.data.regions.atlas import load_atlas
from nfas_lightning.data.regions.label_files import is_cortex, network_in_name, roi_id
from tests.helpers.brain_images import LABEL_AFFINE, table

COUNTS = {"schaefer_100": 100, "schaefer_200": 200, "schaefer_400": 400, "glasser_360": 360, "aparc": 68}


def test_a_table_may_call_its_ids_index(label_image, tmp_path):
    names = table(index=[0, 20, 3, 7, 12], name=["Background", *"dabc"])
    expected = load_atlas(label_image, table=names.rename(columns={"index": "id"}))
    pd.testing.assert_frame_equal(load_atlas(label_image, table=names).table, expected.table)
    names.to_csv(tmp_path / "atlas_dseg.tsv", sep="\t", index=False)
    pd.testing.assert_frame_equal(
        load_atlas(label_image, table=tmp_path / "atlas_dseg.tsv").table, expected.table
    )
    with pytest.raises(ValueError, match=r"columns id \(or index\) and name, missing \['id'\]"):
        load_atlas(label_image, table=names.rename(columns={"index": "label"}))


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".tsv", "\t")])
def test_tables_from_files_with_a_byte_order_mark_and_windows_lines(label_image, tmp_path, suffix, separator):
    rows = [
        ("id", "name", "hemisphere"),
        (3, "LH", "lh"),
        (7, "b", "Right"),
        (12, "c", ""),
        (20, "null", "L"),
    ]
    file = tmp_path / f"names{suffix}"
    file.write_bytes("\r\n".join(separator.join(map(str, row)) for row in rows).encode("utf-8-sig"))
    atlas = load_atlas(str(label_image), table=file)
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
def test_tables_that_do_not_fit(label_image, columns, message):
    with pytest.raises(ValueError, match=message):
        load_atlas(label_image, table=table(**columns))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((4, 4, 4), 0.4, np.float32), "must hold whole numbers from 0, got values from"),
        (np.full((4, 4, 4), -1, np.int16), "whole numbers from 0"),
        (np.zeros((4, 4, 4), np.int16), "an image of zeros"),
        (np.ones((4, 4, 4, 3), np.int16), "must be a 3D image"),
    ],
)
def test_images_that_hold_no_labels(tmp_path, values, message):
    path = tmp_path / "wrong.nii"
    nib.Nifti1Image(values, LABEL_AFFINE).to_filename(path)
    with pytest.raises(ValueError, match=message):
        load_atlas(path)


def test_float_labels_nan_background_and_a_fourth_axis_of_one(tmp_path):
    values = np.full((4, 4, 4, 1), np.nan, np.float32)
    values[:2] = 5
    path = tmp_path / "float.nii"
    nib.Nifti1Image(values, LABEL_AFFINE).to_filename(path)
    atlas = load_atlas(path)
    assert atlas.labels.shape == (4, 4, 4)
    assert (atlas.labels > 0).sum() == 32


def test_a_damaged_label_image(tmp_path, label_image):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(label_image.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"broken.nii.gz .*cut short or damaged"):
        load_atlas(broken)
    broken.write_bytes(b"no image at all" * 100)
    with pytest.raises(ValueError, match=r"broken.nii.gz must be a NIfTI file"):
        load_atlas(broken)


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
    with pytest.raises(ValueError, match="are they exchanged"):
        load_atlas(paths[::-1])


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
