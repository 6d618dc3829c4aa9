"""Responses to clips on disk: whose are there, in what arrays, and their means over voxels."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from nfas_lightning.data.regions.atlas import load_atlas
from nfas_lightning.datamodules.algonauts2021.algonauts_reader import (
    AFFINE,
    read_track_file,
    subject_files,
)
from nfas_lightning.datamodules.clips.clip_files import ClipVoxels, repetition_means
from tests.helpers import algonauts_tree as tree
from tests.helpers.algonauts_tree import mini, read_mini, whole
from tests.helpers.python2_pickle import python2_pickle


def test_roi_means_are_those_of_a_plain_loop(folder):
    read = read_mini(folder)
    assert read.repetitions.shape == (2, 3, 20, 9)
    for s, subject in enumerate(tree.SUBJECTS):
        for r, roi in enumerate(tree.ROIS):
            train = pickle.loads(mini(folder, roi, subject).read_bytes(), encoding="latin1")["train"]
            for k in range(3):
                np.testing.assert_allclose(read.repetitions[s, k, :, r], train[:, k].mean(axis=1), rtol=1e-5)
    assert read.rois["n_voxels"].tolist() == list(tree.ROIS.values())
    assert read.rois["roi"].tolist() == list(tree.ROIS)


def test_parcel_means_put_voxels_where_the_mask_has_them(folder):
    atlas = load_atlas("seitzman")
    (file,) = read_track_file(whole(folder), strict=False)
    values = repetition_means(file, atlas).values.view(20, 3, 300)
    xyz = np.argwhere(file.mask) * np.diag(AFFINE)[:3] + AFFINE[:3, 3]
    present = [r for r in range(300) if not values[..., r].isnan().all()]
    assert present == list(tree.PARCELS)
    for r in present:
        center = atlas.table.loc[r, ["x", "y", "z"]].to_numpy(dtype=float)
        inside = np.linalg.norm(xyz - center, axis=1) <= 6.0
        np.testing.assert_allclose(
            values[..., r], file.values[:, :, inside].mean(axis=2), rtol=1e-4, atol=1e-5
        )


def test_missing_values_are_left_out():
    train = np.random.default_rng(0).normal(size=(6, 3, 5)).astype(np.float32)
    train[2, 0, 3] = np.inf  # a voxel that fails once
    train[:, :, 4] = 0  # a voxel outside the brain
    train[3, 2, 1] = 0  # one that happens to be zero once
    train[0, 1] = np.nan  # a presentation that is missing
    parcels = repetition_means(ClipVoxels(train))
    means = parcels.values.view(6, 3)
    assert parcels.counts.tolist() == [3]
    assert means.isnan().nonzero().tolist() == [[0, 1]]
    np.testing.assert_allclose(means[1], train[1, :, :3].mean(axis=1), rtol=1e-5)
    with pytest.raises(ValueError, match="finite throughout and not always zero"):
        repetition_means(ClipVoxels(train[:, :, 4:]))


def test_subjects(copy):
    files = subject_files(copy, "mini", ["02"], ["V1", "PPA"])
    assert {name: [path.name for path in paths] for name, paths in files.items()} == {
        "sub02": ["V1.pkl", "PPA.pkl"]
    }
    assert list(subject_files(copy, "full", ["sub-02", "sub01"], [])) == ["sub02", "sub01"]
    with pytest.raises(FileNotFoundError, match=r"must hold sub03, got sub01, sub02.*subjects="):
        subject_files(copy, "mini", ["sub03"], ["V1"])
    with pytest.raises(ValueError, match="subjects has no 'sub11'"):
        subject_files(copy, "mini", ["sub11"], ["V1"])
    with pytest.raises(ValueError, match=r"each once, got \['1', 'sub01'\]"):
        subject_files(copy, "mini", ["1", "sub01"], ["V1"])
    with pytest.raises(TypeError, match=r"write \['01'\]"):
        subject_files(copy, "mini", "01", ["V1"])
    with pytest.raises(FileNotFoundError, match=r"must hold sub03, sub04, .*sub10, got sub01, sub02"):
        subject_files(copy, "mini", None, ["V1"])
    mini(copy, "FFA", "sub02").unlink()
    with pytest.raises(FileNotFoundError, match=r"sub02.FFA\.pkl must be a file, got nothing"):
        subject_files(copy, "mini", ["sub02"], ["V1", "FFA"])


def write_mini(folder, **arrays):
    mini(folder).write_bytes(python2_pickle(arrays))
    return mini(folder)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"test": np.zeros((20, 3, 4))}, r"dict with the array 'train', got the keys \['test'\]"),
        ({"train": np.zeros((20, 12))}, r"shape \(videos, repetitions, voxels\), got \(20, 12\) of float64"),
        ({"train": np.zeros((20, 3, 4), np.int16)}, "floating point .* of int16"),
        ({"train": np.zeros((20, 3, 0))}, r"got \(20, 3, 0\)"),
        ({"train": np.zeros((20, 3, 4))}, r"V1\.pkl: An ROI must have a voxel"),
        ({"train": np.ones((19, 3, 4))}, r"20 videos, 3 repetitions in sub01/V2\.pkl; .*|19 videos, 3 repet"),
        (
            {"train": np.ones((20, 2, 4))},
            "20 videos, 2 repetitions in sub01/V1.pkl; 20 videos, 3 repetitions",
        ),
    ],
)
def test_wrong_arrays(copy, arrays, message):
    write_mini(copy, **arrays)
    with pytest.raises(ValueError, match=message):
        read_mini(copy)


def test_no_dict(copy):
    mini(copy).write_bytes(pickle.dumps([np.zeros((20, 3, 4))], protocol=2))
    with pytest.raises(ValueError, match="dict with the array 'train', got list"):
        read_mini(copy)
