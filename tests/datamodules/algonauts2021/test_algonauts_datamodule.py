"""The datamodule of Algonauts 2021, and its configs from the command line to the scores."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from nfas_lightning.alignment import record_trajectory
from nfas_lightning.cli import main
from nfas_lightning.data.regions.rois import coordinate_atlas
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.clips import ClipFiles
from nfas_lightning.datamodules import Algonauts2021DataModule, ArrayDataModule
from nfas_lightning.functional.correlation import correlate
from nfas_lightning.models import FrozenModel
from nfas_lightning.results import RunResults
from nfas_lightning.scoring import ScoringSettings, score_trajectory
from tests.helpers import algonauts_tree as tree
from tests.models.test_preprocess import save_tiny

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("algonauts")
    tree.write_algonauts(folder)
    return folder


def ready(root, **options):
    options = {"track": "mini", "strict": False, "cache": None, "progress": False, "nuisances": (), **options}
    datamodule = Algonauts2021DataModule(root, **options)
    datamodule.prepare_data()
    datamodule.setup()
    datamodule.setup("test")
    return datamodule


def test_clips_are_paired_with_their_responses(root):
    datamodule = ready(root)
    gray = torch.stack([datamodule.stimuli[i][1].mean() for i in range(20)])[:, None]
    # V1 of the tree answers brightness
    r = correlate(gray, datamodule.responses.group_mean[:, :1])
    assert float(r) > 0.99
    shifted = correlate(gray.roll(1, 0), datamodule.responses.group_mean[:, :1])
    assert abs(float(shifted)) < 0.7
    assert datamodule.responses.stimulus_ids[0].startswith("0001_0-0-1")
    assert datamodule.responses.stimulus_ids[-1].startswith("0020_")


def test_batches_hold_frames_and_clips(root):
    batches = list(ready(root, batch_size=8).predict_dataloader())
    assert [len(batch["stimulus_id"]) for batch in batches] == [8, 8, 4]
    assert torch.cat([batch["stimulus_id"] for batch in batches]).tolist() == list(range(20))
    first = batches[0]
    # 4 frames per second, three seconds
    assert first["clip"].shape == (8, 12, 3, 32, 32)
    assert first["image"].shape == (96, 3, 32, 32)
    clips = next(iter(ready(root, as_clips=True, frames_per_second=2, size=16).predict_dataloader()))
    assert sorted(clips) == ["clip", "stimulus_id"]
    assert clips["clip"].shape == (4, 6, 3, 16, 16)
    with_workers = list(ready(root, batch_size=8, num_workers=2).predict_dataloader())
    torch.testing.assert_close(with_workers[1]["clip"], batches[1]["clip"])


def test_describe_counts_what_is_left_out(root):
    about = ready(root).describe()
    assert (about["stimuli"], about["videos"], about["videos_without_responses"]) == (20, 24, 4)
    assert (about["subjects"], about["rois"], about["noise_ceiling"]) == (2, 9, True)
    full = ready(root, track="full").describe()
    assert full["missing_rois"] == 300 - len(tree.PARCELS)
    assert full["dataset"] == "algonauts2021"


def test_voxels_of_the_whole_brain_are_joined_by_their_place(root):
    responses = ready(root, track="full", regions="voxels").responses
    rois = responses.rois
    assert responses.dataset == "algonauts2021_voxels"
    files = [tree.whole(root / "algonauts2021", name) for name in tree.SUBJECTS]
    held = [pickle.loads(file.read_bytes(), encoding="latin1") for file in files]
    masks = [one["voxel_mask"].ravel() == 1 for one in held]
    there = np.stack([mask[rois["index"]] for mask in masks])
    # the brain's mask leaves out what lies beyond the brain, and nothing else
    assert 0.8 * (masks[0] | masks[1]).sum() < len(rois)
    assert there.any(axis=0).all()
    assert rois["n_voxels"].tolist() == there.all(axis=0).astype(int).tolist()
    for s, (one, mask) in enumerate(zip(held, masks, strict=True)):
        mean = one["train"].mean(axis=1, dtype=np.float64)[:, mask.cumsum()[rois["index"]] - 1]
        z = (mean - mean.mean(axis=0)) / mean.std(axis=0)
        np.testing.assert_allclose(responses.values[s].numpy(), np.where(there[s], z, np.nan), atol=1e-4)
    assert set(rois["parcel"]) - {""} <= {coordinate_atlas("seitzman")["roi"][row] for row in tree.PARCELS}
    np.testing.assert_allclose(
        rois[["x", "y", "z"]],
        np.stack(np.unravel_index(rois["index"], tree.GRID), 1) * np.diag(tree.AFFINE)[:3]
        + tree.AFFINE[:3, 3],
    )


def test_voxels_of_functional_rois_are_one_subject_s(root):
    responses = ready(root, regions="voxels", subjects=["02"], rois=["V1", "PPA"]).responses
    sizes = {roi: tree.ROIS[roi] + 1 for roi in ("V1", "PPA")}
    assert responses.rois["parcel"].value_counts().to_dict() == sizes
    means = ready(root, subjects=["02"], rois=["V1", "PPA"]).responses
    # voxels of an ROI are alike in this tree
    torch.testing.assert_close(responses.values[0, :, 0], means.values[0, :, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(responses.noise_ceiling[-1], means.noise_ceiling[-1], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="are not the same in two subjects"):
        ready(root, regions="voxels")
    with pytest.raises(ValueError, match="mask belongs to regions='voxels' of the full track"):
        ready(root, mask="brain.nii.gz")


def test_the_full_track_has_the_axis_of_its_atlas(root):
    responses = ready(root, track="full").responses
    assert responses.values.shape == (2, 20, 300)
    missing = responses.values.isnan().all(dim=1)
    assert (~missing[0]).nonzero()[:, 0].tolist() == list(tree.PARCELS)
    assert (~missing[1]).nonzero()[:, 0].tolist() == list(tree.PARCELS[:-1])
    # the table counts the voxels that every subject has
    counted = responses.rois["n_voxels"].to_numpy().nonzero()[0]
    assert counted.tolist() == list(tree.PARCELS[:-1])
    assert responses.noise_ceiling.isfinite().nonzero()[:, 0].tolist() == list(tree.PARCELS)
    wider = ready(root, track="full", radius=2.0).responses
    assert wider.rois["n_voxels"].sum() < responses.rois["n_voxels"].sum()


@pytest.mark.parametrize(
    ("split", "kept", "runs"),
    [("train", range(18), [18]), ("validation", [18, 19], [2]), ("devkit", range(20), [18, 2])],
)
def test_splits(root, split, kept, runs):
    datamodule, whole = ready(root, split=split), ready(root)
    responses = datamodule.responses
    assert responses.stimulus_ids == tuple(whole.responses.stimulus_ids[i] for i in kept)
    assert torch.bincount(responses.runs).tolist() == runs
    torch.testing.assert_close(datamodule.stimuli[0][1], whole.stimuli[kept[0]][1])


def test_nuisances_are_read_off_the_clips(root, tmp_path):
    responses = ready(root, nuisances=("motion", "luminance"), cache=tmp_path / "cache").responses
    assert responses.nuisance_names == ("motion", "luminance")
    gray = torch.from_numpy(tree.brightness()[:20] / 255).float()
    assert float(correlate(responses.nuisances[:, 1:], gray[:, None])) > 0.999
    # the square moves by one, two or three pixels per frame
    speed = torch.tensor([float(1 + number % 3) for number in range(1, 21)])[:, None]
    assert float(correlate(responses.nuisances[:, :1], speed)) > 0.98
    again = ready(root, nuisances=("motion", "luminance"), cache=tmp_path / "cache").responses
    assert again.fingerprint() == responses.fingerprint()
    faster = ready(root, nuisances=("motion",), cache=tmp_path / "cache", frames_per_second=8).responses
    torch.testing.assert_close(faster.nuisances[:, 0], responses.nuisances[:, 0])  # of all frames


def test_subjects_keep_their_order_and_their_ceilings(root):
    both, one = ready(root).responses, ready(root, subjects=["sub02"]).responses
    assert both.subjects == ("sub01", "sub02")
    torch.testing.assert_close(one.values[0], both.values[1])
    torch.testing.assert_close(one.subject_ceilings[0], both.subject_ceilings[1])
    torch.testing.assert_close(one.noise_ceiling, one.subject_ceilings[0])
    # two subjects' mean is less noisy than one
    assert float(both.noise_ceiling.mean()) > float(both.subject_ceilings.mean())


def test_scores_carry_the_ceilings_of_the_repetitions(root):
    datamodule = ready(root)
    model = FrozenModel("timm:test_vit", weights="random")
    trajectory = record_trajectory(model, datamodule.stimuli, batch_size=4)
    card = {"name": "vit", "modality": "vision", "family": "vit", "twin_of": ""}
    card |= dict.fromkeys(("source", "license", "weights_sha256", "note", "pooling", "weights"), "")
    card |= {"parameters": 0, "seconds_capture": 0.0}
    settings = ScoringSettings(subjects="both", n_permutations=0, baselines=False)
    scores = score_trajectory(trajectory, datamodule.responses, card, settings).scores
    responses = datamodule.responses
    for subject, wanted in (("group", responses.noise_ceiling), ("sub02", responses.subject_ceilings[1])):
        found = scores.query(f"subject == {subject!r}")["ceiling"].to_numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    # brightness is easily read off the frames
    assert scores.query("subject == 'group' and roi == 'V1'")["r"].item() > 0.5


def test_features_do_not_depend_on_the_batch(root):
    stimuli = ready(root).stimuli
    model = FrozenModel("timm:test_vit", weights="random")
    together, alone = (record_trajectory(model, stimuli, batch_size=size, limit=6) for size in (6, 1))
    assert len(together.stimulus_ids) == 6
    for first, second in zip(together.states, alone.states, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_own_video_files_in_a_few_lines(root):
    paths = sorted((root / "algonauts2021" / tree.VIDEOS).glob("*.mp4"))
    own = ArrayDataModule(
        ClipFiles(paths, 2.0), torch.zeros(24, 2) + torch.arange(24.0)[:, None], batch_size=5
    )
    own.setup()
    assert own.describe()["modality"] == "vision"
    batch = next(iter(own.predict_dataloader()))
    assert batch["clip"].shape == (5, 6, 3, 32, 32)
    assert batch["n_frames"].tolist() == [6] * 5


# what goes wrong


def test_more_responses_than_clips(root, tmp_path):
    shutil.copytree(root / "algonauts2021", tmp_path / "algonauts2021")
    for path in sorted((tmp_path / "algonauts2021" / tree.VIDEOS).iterdir())[19:]:
        path.unlink()
    with pytest.raises(ValueError, match="got responses to 20 videos and 19 clips"):
        ready(tmp_path)


def test_a_damaged_clip_is_named(root, tmp_path):
    shutil.copytree(root / "algonauts2021", tmp_path / "algonauts2021")
    path = sorted((tmp_path / "algonauts2021" / tree.VIDEOS).iterdir())[2]
    path.write_bytes(path.read_bytes()[:900])
    datamodule = ready(tmp_path)
    with pytest.raises(ValueError, match=r"0003_.*\.mp4 must be a whole video file"):
        next(iter(datamodule.predict_dataloader()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"track": "half"}, "track must be one of 'full', 'mini'"),
        ({"split": "test"}, "split must be one of"),
        ({"track": "full", "rois": ["V1"]}, "rois belongs to the mini track"),
        ({"nuisances": ("loudness",)}, "nuisances must be some of luminance"),
        ({"frames_per_second": 0.0}, "frames_per_second must be a positive number"),
        ({"rois": []}, "rois must name at least one"),
        ({"subjects": ["sub99"]}, "subjects has no 'sub99'"),
    ],
)
def test_options(root, options, message):
    with pytest.raises(ValueError, match=message):
        ready(root, **options)


def test_official_counts_are_asked_for(root):
    with pytest.raises(FileNotFoundError, match="must hold sub03"):
        ready(root, strict=True)
    with pytest.raises(ValueError, match="must hold 1102 clips, got 24"):
        ready(root, strict=True, subjects=["sub01"])


def test_ceilings_of_subjects_have_a_row_each(root):
    responses = ready(root).responses
    fields = {name: getattr(responses, name) for name in responses.__dataclass_fields__}
    with pytest.raises(ValueError, match=r"subject_ceilings must have shape \(S=2, R=9\), got \(1, 9\)"):
        Responses(**{**fields, "subject_ceilings": responses.subject_ceilings[:1]})


# configs, as they stand, with a tiny model on the small tree


def small(config, folder, root):
    """A config on the small tree: its data section keeps every other choice."""
    writer = config["trainer"]["callbacks"][1]["init_args"]
    writer["run_dir"] = str(folder / "run")
    writer["settings"]["init_args"]["n_permutations"] = 19
    changes = {"root": str(root), "strict": False, "num_workers": 0, "progress": False}
    config["data"]["init_args"] |= {**changes, "cache": str(folder / "cache")}
    return config


def run(folder, config):
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    main(["test", "--config", str(folder / "config.yaml")])
    return RunResults.load(folder / "run")


@pytest.mark.usefixtures("undrawn")
def test_the_experiment_of_image_models(root, tmp_path):
    config = small(yaml.safe_load((CONFIGS / "experiments/algonauts2021.yaml").read_text()), tmp_path, root)
    config["model"]["init_args"]["models"] = [{"model": "timm:test_vit", "weights": "random"}]
    config["data"]["init_args"]["atlas"] = "seitzman"
    # most parcels of the atlas have no voxel in the tree: missing, never zero
    with pytest.warns(UserWarning, match="285 of 300 ROIs score NaN"):
        results = run(tmp_path, config)
    scores = results.scores.dropna(subset=["r"])
    assert set(scores["roi"]) == {results.rois["roi"].iloc[r] for r in tree.PARCELS}
    assert {"stable_mode", "nuisance", "best_block"} <= set(scores["feature"])
    mean = scores.groupby("feature")["r"].mean()
    # the tree's brains answer brightness, which is one of the nuisances
    assert mean["nuisance"] > 0.9
    assert mean["all_blocks"] > 0.5
    assert scores["ceiling"].between(0.9, 1).all()
    assert (tmp_path / "run" / "report.html").is_file()


# an untrained network's states of a few clips are nearly collinear, and what was planted has little noise
@pytest.mark.filterwarnings("ignore:The grid of ridge penalties ends too early")
@pytest.mark.usefixtures("unreported")
def test_the_data_config_with_image_and_video_models_in_one_suite(root, tmp_path):
    pytest.importorskip("transformers")
    config = small(yaml.safe_load((CONFIGS / "data/algonauts2021.yaml").read_text()), tmp_path, root)
    save_tiny(tmp_path / "videomae", "VideoMAE")
    models = [f"hf:{tmp_path / 'videomae'}", {"model": "timm:test_resnet", "weights": "random"}]
    config["model"] = {"class_path": "nfas_lightning.models.ModelSuite", "init_args": {"models": models}}
    results = run(tmp_path, config)
    assert len(results.models) == 2
    scores = results.scores.query("feature == 'stable_mode'")
    assert set(scores["subject"]) == {"group", *tree.SUBJECTS}
    assert set(scores["roi"]) == set(tree.ROIS)
    assert scores["r"].notna().all()
