"""The datamodule of BOLD Moments, and its config from the command line to the scores."""

from __future__ import annotations

import itertools
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from nfas_lightning.cli import main
from nfas_lightning.data.responses import Responses
from nfas_lightning.datamodules import BoldMomentsDataModule
from nfas_lightning.functional.correlation import correlate
from nfas_lightning.results import RunResults
from tests.helpers import bold_moments_tree as tree
from tests.helpers.flaky_server import FlakyBucket, serve

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bold_moments")
    tree.write_bold_moments(folder)
    return folder


def ready(root, **options):
    options = {"strict": False, "cache": None, "progress": False, "nuisances": (), **options}
    datamodule = BoldMomentsDataModule(root, **options)
    datamodule.prepare_data()
    datamodule.setup()
    datamodule.setup("test")
    return datamodule


def plain(root, subject, roi, key):
    """(K, T) mean over voxels of one file, by numpy alone."""
    held = pickle.loads(tree.file(root / "ds005165", roi, subject).read_bytes())
    return held[f"{key}_data_allvoxel"].mean(axis=2).T


def zscore(values):
    return (values - values.mean(-1, keepdims=True)) / values.std(-1, keepdims=True)


def ceiling(repetitions):
    """Of the mean of K repetitions: mean r of pairs, stepped up by Spearman-Brown."""
    k = len(repetitions)
    pairs = itertools.combinations(repetitions, 2)
    r = max(0.0, np.mean([np.corrcoef(first, second)[0, 1] for first, second in pairs]))
    return (k * r / (1 + (k - 1) * r)) ** 0.5


# values


def test_voxels_of_one_subject(root):
    responses = ready(root, regions="voxels", subjects=["07"], split="train_test").responses
    rois = responses.rois
    assert responses.dataset == "bold_moments_voxels"
    assert set(tree.ROIS) - set(rois["parcel"]) == {roi for _, roi in tree.EMPTY}
    for roi in ("V1v", "PFop"):
        held = pickle.loads(tree.file(root / "ds005165", roi, "sub-07").read_bytes())
        wanted = [zscore(held[f"{key}_data_allvoxel"].mean(axis=1).T) for key in ("train", "test")]
        own = np.flatnonzero(rois["parcel"] == roi)
        np.testing.assert_allclose(responses.values[0].T[own], np.concatenate(wanted, axis=1), atol=1e-4)
        of_train = ceiling(held["train_data_allvoxel"][:, :, 2].T)
        of_test = ceiling(held["test_data_allvoxel"][:, :, 2].T)
        assert float(responses.noise_ceiling[own[2]]) == pytest.approx((of_train + of_test) / 2, abs=1e-5)
    with pytest.raises(ValueError, match=r"name one \(subjects=\['01'\]\), got 2"):
        ready(root, regions="voxels")


@pytest.mark.parametrize(
    ("split", "sets", "runs"),
    [
        ("train", ["train"], [12]),
        ("test", ["test"], [5]),
        ("all", ["train", "test"], [17]),
        ("train_test", ["train", "test"], [12, 5]),
    ],
)
def test_splits_and_their_values(root, split, sets, runs):
    responses = ready(root, split=split).responses
    numbers = {"train": tree.TRAIN, "test": tree.TEST}
    assert responses.stimulus_ids == tuple(f"{i:04d}" for key in sets for i in numbers[key])
    assert torch.bincount(responses.runs).tolist() == runs
    for s, r in ((0, 0), (0, 14), (1, 17)):
        means = [plain(root, tree.SUBJECTS[s], tree.ROIS[r], key) for key in sets]
        wanted = np.concatenate([zscore(mean.mean(axis=0)) for mean in means])
        np.testing.assert_allclose(responses.values[s, :, r], wanted, atol=1e-4)
        sizes = [mean.shape[1] for mean in means] if split == "all" else None
        wanted = np.average([ceiling(mean) for mean in means], weights=sizes)
        assert float(responses.subject_ceilings[s, r]) == pytest.approx(wanted, abs=1e-4)
    assert isinstance(responses, Responses)
    assert responses.noise_ceiling.isfinite().all()
    # two subjects' mean is less noisy than one
    assert float(responses.noise_ceiling.mean()) > float(responses.subject_ceilings.nanmean())


def test_clips_are_paired_with_their_responses(root):
    datamodule = ready(root)
    gray = torch.stack([datamodule.stimuli[i][1].mean() for i in range(17)])[:, None]
    for rows in (slice(0, 12), slice(12, 17)):
        assert float(correlate(gray[rows], datamodule.responses.group_mean[rows, :1])) > 0.98
    levels = torch.tensor(list(tree.brightness().values()))[:, None]
    assert float(correlate(gray, levels)) > 0.99


def test_an_roi_that_a_subject_lacks_is_missing_and_never_zero(root):
    datamodule = ready(root)
    responses = datamodule.responses
    missing = [tree.ROIS.index(roi) for roi in ("RSC", "TOS")]
    assert responses.values[1].isnan().all(dim=0).nonzero()[:, 0].tolist() == missing
    torch.testing.assert_close(responses.group_mean[:, missing], responses.values[0][:, missing])
    assert responses.subject_ceilings[1].isnan().nonzero()[:, 0].tolist() == missing
    assert responses.rois["n_voxels"].to_numpy()[missing].tolist() == [0, 0]
    about = datamodule.describe()
    assert (about["training_clips"], about["test_clips"], about["missing_rois"]) == (12, 5, 0)
    assert (about["dataset"], about["subjects"], about["rois"], about["split"]) == (
        "bold_moments",
        2,
        22,
        "all",
    )
    assert ready(root, subjects=["07"], rois=["TOS", "V1v"]).describe()["missing_rois"] == 1


def test_batches_and_nuisances(root, tmp_path):
    datamodule = ready(root, nuisances=("luminance",), cache=tmp_path, batch_size=10, frames_per_second=2)
    batches = list(datamodule.predict_dataloader())
    assert [len(batch["stimulus_id"]) for batch in batches] == [10, 7]
    assert batches[0]["clip"].shape == (10, 6, 3, 32, 32)
    assert datamodule.responses.nuisance_names == ("luminance",)
    again = ready(root, nuisances=("luminance",), cache=tmp_path, batch_size=10, frames_per_second=2)
    assert again.responses.fingerprint() == datamodule.responses.fingerprint()


def test_a_partial_copy_keeps_the_pairs_that_are_whole(root, tmp_path):
    shutil.copytree(root / "ds005165", tmp_path / "ds005165")
    stimuli = tmp_path / "ds005165" / "stimuli"
    for name in ("train/0002.mp4", "test/1001.mp4", "test/1005.mp4"):
        (stimuli / name).unlink()
    shutil.copy(stimuli / "train" / "0001.mp4", stimuli / "train" / "0500.mp4")  # a clip without responses
    some, whole = ready(tmp_path, split="train_test"), ready(root, split="train_test")
    assert some.responses.stimulus_ids == ("0001", *(f"{i:04d}" for i in (*range(3, 13), 1002, 1003, 1004)))
    assert torch.bincount(some.responses.runs).tolist() == [11, 3]
    kept = [i for i, name in enumerate(whole.responses.stimulus_ids) if name in some.responses.stimulus_ids]
    part = whole.responses.values[:, kept[:11], 0]
    wanted = (part - part.mean(1, keepdim=True)) / part.std(1, keepdim=True, correction=0)
    torch.testing.assert_close(some.responses.values[:, :11, 0], wanted, atol=1e-4, rtol=1e-4)
    for name in ("test/1002.mp4", "test/1003.mp4"):
        (stimuli / name).unlink()
    with pytest.raises(ValueError, match=r"two clips at least of numbers 1001 to 1005, .* got 1"):
        ready(tmp_path)
    assert len(ready(tmp_path, split="train").responses.stimulus_ids) == 11


# what goes wrong


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "validation"}, "split must be one of 'train', 'test', 'all', 'train_test'"),
        ({"rois": ["WB"]}, "rois has no 'WB'"),
        ({"subjects": ["sub-99"]}, "subjects has no 'sub-99'"),
        ({"nuisances": ("loudness",)}, "nuisances must be some of luminance"),
        ({"strict": True, "subjects": ["05"]}, "must hold 1102 clips, got 17"),
    ],
)
def test_options(root, options, message):
    with pytest.raises(ValueError, match=message):
        ready(root, **options)


def test_missing_subjects_and_clips(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold sub-01"):
        ready(root, strict=True)
    with pytest.raises(FileNotFoundError, match=r"must hold the clips.*boldmomentsdataset"):
        ready(root, videos=tmp_path)
    shutil.copytree(root / "ds005165" / "stimuli", tmp_path / "stimuli")
    elsewhere = ready(root, videos=tmp_path).responses
    assert elsewhere.fingerprint() == ready(root).responses.fingerprint()


# from the command line


@pytest.mark.usefixtures("unreported")
def test_the_data_config(root, tmp_path):
    config = yaml.safe_load((CONFIGS / "data/bold_moments.yaml").read_text())
    writer = config["trainer"]["callbacks"][1]["init_args"]
    writer["run_dir"] = str(tmp_path / "run")
    writer["settings"]["init_args"]["n_permutations"] = 19
    config["data"]["init_args"] |= {"root": str(root), "strict": False, "num_workers": 0, "progress": False}
    config["data"]["init_args"]["cache"] = str(tmp_path / "cache")
    config["model"] = {
        "class_path": "nfas_lightning.models.ModelSuite",
        "init_args": {"models": [{"model": "timm:test_vit", "weights": "random"}]},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.warns(UserWarning, match=r"2 of 22 ROIs score NaN .* 2 without any response"):
        main(["test", "--config", str(tmp_path / "config.yaml")])
    scores = RunResults.load(tmp_path / "run").scores
    assert set(scores["subject"]) == {"group", *tree.SUBJECTS}
    assert set(scores["roi"]) == set(tree.ROIS)
    nuisance = scores.query("feature == 'nuisance' and subject == 'group' and roi == 'V1v'")
    # the tree's brains answer brightness
    assert nuisance["r"].item() > 0.9
    assert scores.query("subject == 'sub-07' and roi == 'TOS'")["r"].isna().all()


def test_get_brings_the_rois_and_not_the_whole_brain(root, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    source = root / "ds005165"
    files = {
        f"ds005165/{path.relative_to(source).as_posix()}": path.read_bytes() for path in source.rglob("*.pkl")
    }
    whole_brain = f"ds005165/{tree.RESPONSES}/sub-07/WB_TRavg-56789_allvoxel.pkl"
    files |= {whole_brain: b"w" * 1000, "ds005165/README": b"r"}
    with serve(FlakyBucket(files)) as bucket:
        arguments = ["--root", str(tmp_path), "--bucket", bucket.address, "--subjects", "07", "--yes"]
        main(["data", "get", "bold_moments", *arguments])
    out = capsys.readouterr().out
    assert "23 files came" in out
    assert "boldmomentsdataset.csail.mit.edu" in out
    here = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    wanted = {name for name in files if "sub-05" not in name} - {whole_brain}
    assert here - {"ds005165/.nfas-get.lock"} == wanted
    got = ready(tmp_path, videos=source, subjects=["07"])
    torch.testing.assert_close(got.responses.values[0], ready(root).responses.values[1], equal_nan=True)
