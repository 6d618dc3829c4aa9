"""Readers of Algonauts 2021: counts, order, ceilings, and one clear error for what is wrong."""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import tracemalloc

import numpy as np
import pytest

from nfas_lightning.datamodules.algonauts2021.algonauts_reader import (
    ROIS,
    find_algonauts,
    list_videos,
    read_track_file,
    split_videos,
)
from nfas_lightning.datamodules.clips.clip_files import functional_table
from tests.helpers import algonauts_tree as tree
from tests.helpers.algonauts_tree import mini, read_mini, whole
from tests.helpers.checks import check_one, rows_of, write_mp4
from tests.helpers.python2_pickle import python2_pickle


def test_the_tree_is_small(folder):
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 2e6


# values


def test_a_pickle_of_python_2_comes_out_as_numpy_reads_it(folder):
    path = whole(folder)
    plain = pickle.loads(path.read_bytes(), encoding="latin1")
    (file,) = read_track_file(path, strict=False)
    np.testing.assert_array_equal(file.values, plain["train"])
    np.testing.assert_array_equal(file.mask, plain["voxel_mask"] == 1)


def test_only_ones_of_a_mask_mark_voxels(copy):
    held = pickle.loads(whole(copy).read_bytes(), encoding="latin1")
    mask = held["voxel_mask"].astype(np.float64)
    inside = mask == 1
    mask[0, 0, :3] = 2, np.nan, -1
    whole(copy).write_bytes(python2_pickle({"train": held["train"], "voxel_mask": mask}))
    np.testing.assert_array_equal(read_track_file(whole(copy), strict=False)[0].mask, inside)


# the noise ceiling


# splits


def test_the_validation_videos_are_those_of_the_development_kit():
    """A published loader cuts the first 900 off and then takes from 900 on of what is left: nothing."""
    train, _ = split_videos(1000, "train")
    validation, runs = split_videos(1000, "validation")
    assert (train[0], train[-1], len(train)) == (0, 899, 900)
    assert (validation[0], validation[-1], len(validation)) == (900, 999, 100)
    assert set(train).isdisjoint(validation)
    assert runs.unique().tolist() == [0]
    both, runs = split_videos(1000, "devkit")
    assert len(both) == 1000
    assert runs[:900].sum() == 0
    assert bool((runs[900:] == 1).all())
    with pytest.raises(ValueError, match="split must be one of"):
        split_videos(1000, "test")
    with pytest.raises(ValueError, match="two videos at least, got 1 of 12"):
        split_videos(12, "validation")


# the cache


# what goes wrong


def test_no_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("NFAS_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"(?s)No data folder given: .*through a form"):
        find_algonauts(None, "full")
    with pytest.raises(FileNotFoundError, match=r"(?s)nowhere.* is no folder\..*WB\.pkl.*nfas data get"):
        find_algonauts(tmp_path / "nowhere", "full")


def test_a_folder_of_another_layout_is_told_how_to_look(tmp_path):
    (tmp_path / "participants_data" / "sub01").mkdir(parents=True)
    message = (
        r": AlgonautsVideos268_All_30fpsmax, participants_data_v2021/mini_track\. It holds participants_data"
    )
    with pytest.raises(FileNotFoundError, match=message):
        find_algonauts(tmp_path, "mini")


def test_root_may_be_the_folder_or_its_parent(folder, monkeypatch):
    assert find_algonauts(folder, "mini") == find_algonauts(folder.parent, "full") == folder
    monkeypatch.setenv("NFAS_DATA", str(folder.parent))
    assert find_algonauts(None, "mini") == folder


def test_one_track_is_enough(copy):
    shutil.rmtree(copy / tree.DATA / "full_track")
    assert find_algonauts(copy, "mini") == copy
    with pytest.raises(FileNotFoundError, match=r"missing in .*: participants_data_v2021/full_track\."):
        find_algonauts(copy, "full")


def test_rois():
    table = functional_table(["FFA", "V1"], ROIS)
    assert table["roi"].tolist() == ["FFA", "V1"]
    assert table["network"].tolist() == ["high_level_visual", "early_visual"]
    assert table[["x", "y", "z"]].isna().to_numpy().all()
    with pytest.raises(ValueError, match="rois has no 'V5'; did you mean"):
        functional_table(["V5"], ROIS)


def test_clips_are_in_the_order_of_their_numbers(copy):
    videos = list_videos(copy, strict=False)
    assert [path.name[:4] for path in videos] == [f"{i:04d}" for i in range(1, 25)]
    with pytest.raises(ValueError, match=r"must hold 1102 clips, got 24"):
        list_videos(copy)
    videos[6].unlink()
    with pytest.raises(ValueError, match=r"numbered 0001, 0002 and so on, got 0008_.*in place 7"):
        list_videos(copy, strict=False)
    for path in (copy / tree.VIDEOS).iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="must hold clips, NNNN"):
        list_videos(copy, strict=False)


def test_strict_counts(folder):
    with pytest.raises(ValueError, match="must have 1000 videos and 3 repetitions, got 20 and 3"):
        read_mini(folder, strict=True)


def test_a_pickle_cut_short(copy):
    path = whole(copy)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"WB\.pkl must be a whole pickle"):
        read_track_file(path, strict=False)


def test_a_hostile_pickle_is_refused_where_a_response_should_be(copy, tmp_path):
    class Touch:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'trace'}",)

    mini(copy).write_bytes(pickle.dumps({"train": Touch()}, protocol=2))
    with pytest.raises(ValueError, match=r"V1\.pkl must hold numpy arrays.*system.*nothing was run"):
        read_mini(copy)
    assert not (tmp_path / "trace").exists()


def test_masks_that_do_not_fit(copy):
    held = pickle.loads(whole(copy).read_bytes(), encoding="latin1")
    train, mask = held["train"], held["voxel_mask"]
    for arrays, message in (
        (
            {"train": train},
            r"'voxel_mask' must be an array of shape \(78, 93, 71\).*got the keys \['train'\]",
        ),
        ({"train": train, "voxel_mask": mask[:, :, 1:]}, r"got \(78, 93, 70\)"),
        (
            {"train": train[:, :, 1:], "voxel_mask": mask},
            "mark one voxel per column of 'train', 404, got 405",
        ),
    ):
        whole(copy).write_bytes(python2_pickle(arrays))
        with pytest.raises(ValueError, match=message):
            read_track_file(whole(copy), strict=False)


def test_a_whole_brain_is_held_once_in_single_precision(copy):
    """18,000 voxels are 432 MB as the files hold them: what reading takes beyond that is half of it."""
    train = np.random.default_rng(0).normal(size=(20, 3, 20_000))
    mask = np.zeros((78, 93, 71), np.uint8)
    mask.flat[:20_000] = 1
    whole(copy).write_bytes(python2_pickle({"train": train, "voxel_mask": mask}))
    tracemalloc.start()
    (voxels,) = read_track_file(whole(copy), strict=False)
    left, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(voxels.values, train.astype(np.float32))
    assert most < 1.7 * train.nbytes
    assert left < 0.7 * train.nbytes


# what `nfas data check` finds


def algonauts(root):
    folder = root / "algonauts2021"
    (folder / "AlgonautsVideos268_All_30fpsmax").mkdir(parents=True)
    for i in range(1, 1103):
        write_mp4(folder / "AlgonautsVideos268_All_30fpsmax" / f"{i:04d}_0-0-1.mp4")
    tracks = {
        "mini_track": ("V1", "V2", "V3", "V4", "LOC", "EBA", "FFA", "STS", "PPA"),
        "full_track": ("WB",),
    }
    for track, rois in tracks.items():
        for subject, roi in itertools.product(range(1, 11), rois):
            path = folder / "participants_data_v2021" / track / f"sub{subject:02d}" / f"{roi}.pkl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"\x80\x03}q\x00.")
    return folder


def test_algonauts_whole_and_not(tmp_path):
    folder = algonauts(tmp_path)
    whole = check_one(tmp_path)
    assert whole.complete
    assert [(row.found, row.expected) for row in whole.rows] == [(1102, 1102), (90, 90), (10, 10)]
    data = folder / "participants_data_v2021"
    (data / "mini_track" / "sub03" / "FFA.pkl").unlink()
    (data / "full_track" / "sub10" / "WB.pkl").write_bytes(b"\x80\x03}q")
    clip = next(iter(sorted((folder / "AlgonautsVideos268_All_30fpsmax").iterdir())))
    clip.write_bytes(clip.read_bytes()[:-1])
    found = rows_of(folder)
    assert (found["clips"].found, found["clips"].n_missing) == (1101, 0)
    assert "cut short" in found["clips"].unreadable[0][1]
    assert found["mini track"].missing == ("participants_data_v2021/mini_track/sub03/FFA.pkl",)
    assert "cut short" in found["full track"].unreadable[0][1]
    assert not any(row.complete for row in found.values())
    # one track is enough, and subjects can be named
    clip.write_bytes(b"".join([(folder / "AlgonautsVideos268_All_30fpsmax" / "0002_0-0-1.mp4").read_bytes()]))
    for path in (data / "full_track").rglob("*.pkl"):
        path.unlink()
    only = check_one(folder, subjects=["sub01", "10", "2"])
    assert only.complete
    for path in (data / "mini_track").rglob("*.pkl"):
        path.unlink()
    assert not rows_of(folder)["responses"].complete
