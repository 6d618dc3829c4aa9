"""Readers of BOLD Moments: which response belongs to which clip, and one clear error for what is wrong."""

from __future__ import annotations

import os
import pickle
import shutil

import numpy as np
import pytest
import torch

from nfas_lightning.datamodules.bold_moments.bold_moments_reader import (
    BOLD_MOMENTS,
    RESPONSES,
    ROIS,
    SUBJECTS,
    bold_moments_files,
    find_bold_moments,
    list_clips,
    number_ranges,
    read_roi_file,
)
from nfas_lightning.datamodules.clips.clip_files import functional_table
from nfas_lightning.datamodules.clips.clip_responses import read_clip_responses
from tests.helpers import bold_moments_tree as tree
from tests.helpers.checks import POINTER, check_one, rows_of, write_mp4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tree.write_bold_moments(tmp_path_factory.mktemp("bold_moments"))


@pytest.fixture
def copy(folder, tmp_path):
    """A tree to spoil."""
    shutil.copytree(folder, tmp_path / "ds005165")
    return tmp_path / "ds005165"


def read(folder, rois=tree.ROIS, **options):
    files = bold_moments_files(folder, None, rois, strict=False)
    options = {"progress": False, "strict": False, **options}
    return read_clip_responses(BOLD_MOMENTS, files, functional_table(rois, ROIS), **options)


def held(path):
    return pickle.loads(path.read_bytes())


def spoil(folder, **changes):
    """Change arrays of V1v; None takes one away."""
    path = tree.file(folder)
    new = {**held(path), **changes}
    path.write_bytes(
        pickle.dumps({key: value for key, value in new.items() if value is not None}, protocol=3)
    )
    return path


# values


def test_roi_means_are_those_of_a_plain_loop(folder):
    train, test = read(folder)
    assert train.repetitions.shape == (2, 3, 12, 22)
    assert test.repetitions.shape == (2, 10, 5, 22)
    for s, subject in enumerate(tree.SUBJECTS):
        for r, roi in enumerate(tree.ROIS):
            arrays = held(tree.file(folder, roi, subject))
            for found, key in ((train, "train_data_allvoxel"), (test, "test_data_allvoxel")):
                if (subject, roi) in tree.EMPTY:
                    assert found.repetitions[s, ..., r].isnan().all()
                    continue
                for k in range(arrays[key].shape[1]):
                    wanted = arrays[key][:, k].mean(axis=1)
                    np.testing.assert_allclose(found.repetitions[s, k, :, r], wanted, rtol=1e-5)
    assert train.rois["n_voxels"].tolist()[:3] == [4, 5, 6]
    assert set(train.rois.query("n_voxels == 0")["roi"]) == {"RSC", "TOS"}
    assert train.hashes == test.hashes
    assert len(train.hashes) == 44


def test_a_voxel_that_fails_in_one_set_is_left_out_of_both(copy):
    arrays = held(tree.file(copy))
    train, test = arrays["train_data_allvoxel"].copy(), arrays["test_data_allvoxel"].copy()
    test[2, 3, 0] = np.nan
    train[..., 2] = 0
    spoil(copy, train_data_allvoxel=train, test_data_allvoxel=test)
    first, second = read_roi_file(tree.file(copy), strict=False)
    np.testing.assert_array_equal(first.values, train[..., [1, 3]].astype(np.float32))
    np.testing.assert_array_equal(second.values, test[..., [1, 3]].astype(np.float32))
    test[...] = 0
    spoil(copy, test_data_allvoxel=test)
    with pytest.raises(ValueError, match=r"V1v_.* must have a voxel that is finite .* got none of 4"):
        read_roi_file(tree.file(copy), strict=False)


def test_both_sets_come_from_the_cache(folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    first = read(folder, cache=cache)
    monkeypatch.setattr(
        "nfas_lightning.datamodules.bold_moments.bold_moments_reader.read_pickle",
        lambda path: pytest.fail(str(path)),
    )
    again = read(folder, cache=cache)
    for one, other in zip(first, again, strict=True):
        torch.testing.assert_close(other.repetitions, one.repetitions, equal_nan=True)
        assert other.rois.equals(one.rois)


# clips


def test_clips_go_by_their_numbers(folder):
    clips = list_clips(folder, strict=False)
    assert list(clips) == [*tree.TRAIN, *tree.TEST]
    assert {path.parent.name for number, path in clips.items() if number > 1000} == {"test"}
    assert number_ranges(12, 5) == (range(1, 13), range(1001, 1006))
    with pytest.raises(ValueError, match="1000 training and 102 test clips, got responses to 1001 and 102"):
        number_ranges(1001, 102)


@pytest.mark.parametrize("place", ["mp4_h264", "derivatives/stimuli_metadata/mp4_h264", "."])
def test_clips_may_lie_flat_and_elsewhere(folder, tmp_path, place):
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    for path in folder.glob("stimuli/t*/*.mp4"):
        shutil.copy(path, tmp_path / place / path.name)
        # what a Mac's archiver adds
        (tmp_path / place / f"._{path.name}").write_bytes(b"x")
    assert list(list_clips(folder, tmp_path, strict=False)) == [*tree.TRAIN, *tree.TEST]


def test_clips_that_are_not_what_they_should_be(copy):
    with pytest.raises(ValueError, match=r"must hold 1102 clips, got 17, without 0013, 0014, .* and more"):
        list_clips(copy)
    stimuli = copy / "stimuli"
    shutil.copy(stimuli / "test" / "1001.mp4", stimuli / "train" / "1001.mp4")
    with pytest.raises(ValueError, match=r"0001 to 1000 for training .* got .*train.1001\.mp4"):
        list_clips(copy, strict=False)
    shutil.move(stimuli / "train" / "1001.mp4", stimuli / "1001.mp4")
    with pytest.raises(ValueError, match=r"must be there once, got .*1001\.mp4 and .*1001\.mp4"):
        list_clips(copy, stimuli, strict=False)
    (stimuli / "1001.mp4").rename(stimuli / "1103.mp4")
    with pytest.raises(ValueError, match=r"named by their numbers.* got .*1103\.mp4"):
        list_clips(copy, stimuli, strict=False)
    (stimuli / "1103.mp4").rename(stimuli / "holiday.mp4")
    with pytest.raises(ValueError, match=r"named by their numbers.* got .*holiday\.mp4"):
        list_clips(copy, stimuli, strict=False)


def test_no_clips_and_clips_that_are_links(copy):
    path = copy / "stimuli" / "train" / "0003.mp4"
    path.unlink()
    path.symlink_to("../../.git/annex/objects/WV/kz/SHA256E-s1--0.mp4/SHA256E-s1--0.mp4")
    with pytest.raises(FileNotFoundError, match=r"0003\.mp4 must be a file, got a link to its git-annex"):
        list_clips(copy, strict=False)
    shutil.rmtree(copy / "stimuli")
    with pytest.raises(FileNotFoundError, match=r"must hold the clips, .*boldmomentsdataset\.csail.*videos="):
        list_clips(copy, strict=False)


# files


def test_the_folder(folder, tmp_path, monkeypatch):
    monkeypatch.delenv("NFAS_DATA", raising=False)
    assert find_bold_moments(folder) == find_bold_moments(folder.parent) == folder
    with pytest.raises(FileNotFoundError, match=r"(?s)No data folder given: .*TRavg-56789.*nfas data get"):
        find_bold_moments(None)
    (tmp_path / "stimuli").mkdir()
    with pytest.raises(FileNotFoundError, match=r": derivatives/versionA/.*TRavg56789\. It holds .*stimuli"):
        find_bold_moments(tmp_path)


def test_subjects_and_rois(copy):
    files = bold_moments_files(copy, ["7"], ["FFA", "IPS1-2-3"])
    assert {name: [path.name.partition("_")[0] for path in paths] for name, paths in files.items()} == {
        "sub-07": ["FFA", "IPS1-2-3"]
    }
    with pytest.raises(FileNotFoundError, match=r"must hold sub-01, .*got sub-05, sub-07"):
        bold_moments_files(copy, None, ["FFA"])
    with pytest.raises(ValueError, match=r"subjects has no 'sub-11'"):
        bold_moments_files(copy, ["11"], ["FFA"])
    with pytest.raises(ValueError, match="rois has no 'WB'"):
        functional_table(["WB"], ROIS)
    assert len(functional_table(None, ROIS)) == 22
    assert functional_table(None, ROIS)[["x", "y", "z"]].isna().to_numpy().all()
    path = tree.file(copy, "FFA", "sub-07")
    path.write_text("../../../../.git/annex/objects/0m/KF/SHA256E-s10296708--3431a8.pkl\n")
    with pytest.raises(FileNotFoundError, match=r"FFA_.*must hold data, got a git-annex pointer"):
        bold_moments_files(copy, ["07"], ["FFA"])
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"FFA_TRavg-56789_allvoxel\.pkl must be a file, got nothing"):
        bold_moments_files(copy, ["07"], ["FFA"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"test_data_allvoxel": None},
            r"array 'test_data_allvoxel', got the keys \['test_noiseceiling_allvoxel', 'train_data_allvoxel'",
        ),
        ({"train_data_allvoxel": np.zeros((12, 3))}, r"'train_data_allvoxel' must be .* got \(12, 3\)"),
        ({"test_data_allvoxel": np.zeros((5, 10, 4), int)}, "must be floating point .* of int64"),
        ({"test_data_allvoxel": np.ones((5, 10, 3))}, "must have the same voxels, got 4 and 3"),
        ({"test_data_allvoxel": np.ones((0, 10, 4))}, r"got \(0, 10, 4\)"),
        (
            {"train_data_allvoxel": np.ones((11, 3, 4))},
            "11 videos, 3 repetitions in sub-05/V1v_.*; 12 videos",
        ),
        (
            {"test_data_allvoxel": np.ones((5, 9, 4))},
            "5 videos, 9 repetitions in sub-05/V1v_.*; 5 videos, 10",
        ),
    ],
)
def test_files_that_are_not_as_they_should_be(copy, changes, message):
    spoil(copy, **changes)
    with pytest.raises(ValueError, match=message):
        read(copy)


def test_official_counts(copy, tmp_path):
    def write(subject, roi, n_train=1000, n_test=102, n_voxels=0):
        path = tmp_path / subject / f"{roi}_TRavg-56789_allvoxel.pkl"
        path.parent.mkdir(exist_ok=True)
        arrays = {
            "train_data_allvoxel": np.ones((n_train, 3, n_voxels)),
            "test_data_allvoxel": np.ones((n_test, 10, n_voxels)),
        }
        path.write_bytes(pickle.dumps(arrays))
        return path

    assert [one.values.shape for one in read_roi_file(write("sub-01", "V1v", n_voxels=2))] == [
        (1000, 3, 2),
        (102, 10, 2),
    ]
    with pytest.raises(ValueError, match="must have 1000 videos and 3 repetitions, got 12 and 3"):
        read_roi_file(tree.file(copy))
    with pytest.raises(ValueError, match="must have 102 videos and 10 repetitions, got 100 and 10"):
        read_roi_file(write("sub-01", "V1v", n_test=100, n_voxels=2))
    # the authors have no voxels of these, and of no others
    for subject, roi in (("sub-06", "TOS"), ("sub-07", "RSC"), ("sub-07", "TOS")):
        assert read_roi_file(write(subject, roi))[1].values.shape == (102, 10, 0)
    with pytest.raises(ValueError, match=r"sub-06.RSC_.* must have voxels, got none"):
        read_roi_file(write("sub-06", "RSC"))
    assert read_roi_file(write("sub-06", "RSC"), strict=False)[0].values.shape == (1000, 3, 0)


def test_a_pickle_that_is_cut_short_or_hostile(copy, tmp_path):
    class Touch:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'trace'}",)

    path = tree.file(copy)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"V1v_.*must be a whole pickle"):
        read(copy)
    path.write_bytes(pickle.dumps({"train_data_allvoxel": Touch()}))
    with pytest.raises(ValueError, match=r"V1v_.*must hold numpy arrays.*system.*nothing was run"):
        read(copy)
    assert not (tmp_path / "trace").exists()


# what `nfas data check` finds


def write_whole(root):
    folder = root / "ds005165"
    for subject in SUBJECTS:
        place = folder / RESPONSES / subject
        place.mkdir(parents=True)
        for roi in ROIS:
            (place / f"{roi}_TRavg-56789_allvoxel.pkl").write_bytes(b"\x80\x03}q\x00.")
    for i in range(1, 1103):
        path = folder / "stimuli" / ("train" if i <= 1000 else "test") / f"{i:04d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mp4(path)
    return folder


def test_whole_and_not(tmp_path):
    folder = write_whole(tmp_path)
    whole = check_one(tmp_path)
    assert whole.complete
    assert [(row.found, row.expected) for row in whole.rows] == [(1102, 1102), (220, 220)]
    assert whole.benchmark.glance(folder) == "1,102 clips, 220 ROI files"
    lost, pointer = (
        folder / RESPONSES / "sub-03" / f"{roi}_TRavg-56789_allvoxel.pkl" for roi in ("FFA", "V1d")
    )
    lost.unlink()
    pointer.write_text(POINTER)
    row = rows_of(folder)["responses"]
    assert row.missing == (str(lost.relative_to(folder)),)
    assert "git-annex pointer" in row.unreadable[0][1]
    assert not row.complete
    assert check_one(folder, subjects=["1", "sub-02"]).complete
