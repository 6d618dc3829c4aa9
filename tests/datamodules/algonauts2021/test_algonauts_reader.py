"""Readers of Algonauts 2021: counts, order, ceilings, and one clear error for what is wrong."""

from __future__ import annotations

import os
import pickle
import shutil
import tracemalloc

import numpy as np
import pytest
import torch

from nfas_lightning.data.regions.atlas import load_atlas
from nfas_lightning.datamodules.algonauts2021.algonauts_reader import (
    AFFINE,
    ALGONAUTS,
    find_algonauts,
    functional_rois,
    list_videos,
    read_track_file,
    split_videos,
    subject_files,
)
from nfas_lightning.datamodules.clips.clip_files import ClipVoxels, repetition_means
from nfas_lightning.datamodules.clips.clip_responses import read_clip_responses, repetition_ceiling
from tests.helpers import algonauts_tree as tree
from tests.helpers.python2_pickle import python2_pickle


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tree.write_algonauts(tmp_path_factory.mktemp("algonauts"))


@pytest.fixture
def copy(folder, tmp_path):
    """A tree to spoil."""
    shutil.copytree(folder, tmp_path / "algonauts2021")
    return tmp_path / "algonauts2021"


def mini(folder, roi="V1", subject="sub01"):
    return folder / tree.DATA / "mini_track" / subject / f"{roi}.pkl"


def whole(folder, subject="sub01"):
    return folder / tree.DATA / "full_track" / subject / "WB.pkl"


def read_mini(folder, **options):
    files = subject_files(folder, "mini", None, list(tree.ROIS), strict=False)
    options = {"progress": False, "strict": False, **options}
    (read,) = read_clip_responses(ALGONAUTS, files, functional_rois(), **options)
    return read


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


def test_standardized_values_are_means_over_repetitions(folder):
    read = read_mini(folder)
    values, ceiling, each = read.standardized(range(20))
    mean = read.repetitions.double().mean(dim=1)
    wanted = (mean - mean.mean(1, keepdim=True)) / mean.std(1, keepdim=True, correction=0)
    torch.testing.assert_close(values, wanted.float())
    assert (ceiling.shape, each.shape) == ((9,), (2, 9))
    # later ROIs of the tree are noisier
    assert ceiling[0] > 0.98 > ceiling[-1]
    for rows in (range(18, 20), range(7, 16)):
        part, _, _ = read.standardized(rows)
        some = values[:, list(rows)]
        wanted = (some - some.mean(1, keepdim=True)) / some.std(1, keepdim=True, correction=0)
        torch.testing.assert_close(part, wanted, atol=1e-5, rtol=1e-4)


def test_ceilings_do_not_depend_on_a_subjects_units(folder):
    read = read_mini(folder)
    _, ceiling, each = read.standardized(range(20))
    moved = read.repetitions.clone()
    moved[1] = 1000 * moved[1] + 300
    values, other, others = read._replace(repetitions=moved).standardized(range(20))
    torch.testing.assert_close(other, ceiling, atol=1e-4, rtol=0)
    torch.testing.assert_close(others, each, atol=1e-4, rtol=0)
    torch.testing.assert_close(values, read.standardized(range(20))[0], atol=1e-3, rtol=0)


def test_a_missing_repetition_and_a_constant_roi(folder):
    read = read_mini(folder)
    repetitions = read.repetitions.clone()
    repetitions[0, 2, 5] = torch.nan
    repetitions[:, :, :, 3] = 7.0
    repetitions[1, :, ::2, 3] += 2**-21  # the last place of 7 in float32
    assert repetitions[1, 0, :, 3].unique().numel() == 2
    values, ceiling, each = read._replace(repetitions=repetitions).standardized(range(20))
    assert values[..., 3].isnan().all()
    assert ceiling[3].isnan()
    others = [r for r in range(9) if r != 3]
    assert values[..., others].isfinite().all()
    assert each[:, others].isfinite().all()
    one, none, _ = read._replace(repetitions=repetitions[:, :1]).standardized(range(20))
    assert one.shape == (2, 20, 9)
    assert none is None


# the noise ceiling


@pytest.mark.parametrize("n_repetitions", [2, 3, 10])
@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_the_ceiling_is_what_the_noiseless_response_reaches(n_repetitions, noise):
    g = torch.Generator().manual_seed(n_repetitions)
    signal = torch.randn(20_000, 2, generator=g, dtype=torch.float64)
    shape = (n_repetitions, *signal.shape)
    repetitions = signal + noise * torch.randn(shape, generator=g, dtype=torch.float64)
    truth = [float(np.corrcoef(signal[:, r], repetitions.mean(0)[:, r])[0, 1]) for r in range(2)]
    np.testing.assert_allclose(repetition_ceiling(repetitions), truth, atol=0.02)
    analytic = (1 / (1 + noise**2 / n_repetitions)) ** 0.5
    np.testing.assert_allclose(repetition_ceiling(repetitions), analytic, atol=0.02)


def test_two_repetitions_are_two_halves():
    first, second = (
        torch.randn(2, 50, 1, generator=torch.Generator().manual_seed(1)) + torch.arange(50.0)[:, None]
    )
    r = float(np.corrcoef(first[:, 0], second[:, 0])[0, 1])
    assert float(repetition_ceiling(torch.stack([first, second]))) == pytest.approx((2 * r / (1 + r)) ** 0.5)


def test_noise_has_no_ceiling():
    noise = torch.randn(3, 5000, 4, generator=torch.Generator().manual_seed(0))
    assert repetition_ceiling(noise).max() < 0.2
    with pytest.raises(ValueError, match="at least two repetitions, got 1"):
        repetition_ceiling(noise[:1])


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


def test_means_come_from_the_cache_until_the_file_changes(copy, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    first = read_mini(copy, cache=cache)
    assert len(list(cache.glob("*.safetensors"))) == 18

    def refuse(path):
        raise AssertionError(f"{path} was read again")

    with monkeypatch.context() as patch:
        patch.setattr("nfas_lightning.datamodules.algonauts2021.algonauts_reader.read_pickle", refuse)
        again = read_mini(copy, cache=cache)
    torch.testing.assert_close(again.repetitions, first.repetitions)
    assert again.rois.equals(first.rois)
    assert again.hashes == first.hashes
    train = pickle.loads(mini(copy).read_bytes(), encoding="latin1")["train"]
    mini(copy).write_bytes(python2_pickle({"train": train + 1}))
    changed = read_mini(copy, cache=cache)
    assert float((changed.repetitions - first.repetitions)[0, :, :, 0].mean()) == pytest.approx(1, abs=1e-4)
    assert torch.equal(changed.repetitions[1], first.repetitions[1])
    # what is in the cache does not excuse a file from the official counts
    with pytest.raises(ValueError, match="1000 videos and 3 repetitions, got 20 and 3"):
        read_mini(copy, cache=cache, strict=True)


def test_a_cache_keeps_atlases_apart(folder, tmp_path):
    files = {"sub01": [whole(folder)]}
    options = {"progress": False, "strict": False}
    for radius in (6.0, 2.0):
        atlas = load_atlas("seitzman", radius=radius)
        (fresh,) = read_clip_responses(ALGONAUTS, files, atlas.table, atlas, **options)
        (kept,) = read_clip_responses(
            ALGONAUTS, files, atlas.table, atlas, cache=tmp_path / "cache", **options
        )
        torch.testing.assert_close(kept.repetitions, fresh.repetitions, equal_nan=True)
        assert kept.rois["n_voxels"].equals(fresh.rois["n_voxels"])


def test_a_damaged_cache_is_computed_anew(copy, tmp_path):
    cache = tmp_path / "cache"
    first = read_mini(copy, cache=cache)
    for path in cache.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:50])
    with pytest.warns(UserWarning, match="computed anew"):
        again = read_mini(copy, cache=cache)
    torch.testing.assert_close(again.repetitions, first.repetitions)


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


def test_rois():
    table = functional_rois(["FFA", "V1"])
    assert table["roi"].tolist() == ["FFA", "V1"]
    assert table["network"].tolist() == ["high_level_visual", "early_visual"]
    assert table[["x", "y", "z"]].isna().to_numpy().all()
    with pytest.raises(ValueError, match="rois has no 'V5'; did you mean"):
        functional_rois(["V5"])


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
