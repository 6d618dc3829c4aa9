from __future__ import annotations

import pickle
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
import yaml

from nfas_lightning.data.events import TEMPORAL
from nfas_lightning.data.regions import rois, targets
from nfas_lightning.data.regions.rois import roi_table
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_set import MODALITIES, StimulusSet
from nfas_lightning.data.stimuli.timing import ANCHORS
from nfas_lightning.datamodules import (
    Algonauts2021DataModule,
    AliceDataModule,
    ArrayDataModule,
    BoldMomentsDataModule,
    BrainDataModule,
    ClipDataModule,
    FolderDataModule,
    LittlePrinceDataModule,
    NarrativesDataModule,
    SimulatedBrainDataModule,
    StoryDataModule,
)
from nfas_lightning.datamodules.algonauts2021 import algonauts_reader as algonauts
from nfas_lightning.datamodules.base import parcel_cache
from nfas_lightning.datamodules.bold_moments import bold_moments_reader as bold_moments
from nfas_lightning.datamodules.little_prince import little_prince_reader as little_prince
from nfas_lightning.datamodules.narratives import narratives_tree
from nfas_lightning.datamodules.stories import story_benchmark
from nfas_lightning.lightning_packages import installed_packages


class Letters(BrainDataModule):
    """Seven letters and one row each; counts how often it is loaded."""

    loaded = 0
    names = tuple("abcdefg")

    def load(self):
        self.loaded += 1
        responses = Responses(
            values=torch.zeros(2, 7, 3),
            rois=roi_table(["x", "y", "z"], network=["b", "a", ""]),
            stimulus_ids=self.names,
            dataset="letters",
            modality="language",
            subjects=("one", "two"),
            runs=torch.zeros(7, dtype=torch.long),
        )
        return StimulusSet(list("abcdefg"), "language"), responses


@pytest.mark.parametrize("loader", ["val_dataloader", "test_dataloader", "predict_dataloader"])
def test_every_loader_gives_all_stimuli_once_and_in_order(loader):
    datamodule = Letters(batch_size=3)
    datamodule.setup("predict")
    batches = list(getattr(datamodule, loader)())
    assert [len(batch["text"]) for batch in batches] == [3, 3, 1]
    assert torch.cat([batch["stimulus_id"] for batch in batches]).tolist() == list(range(7))
    assert [t.text for batch in batches for t in batch["text"]] == list("abcdefg")


def test_setup_twice_loads_once():
    datamodule = Letters()
    datamodule.setup("validate")
    first = datamodule.responses
    datamodule.setup("test")
    datamodule.setup()
    assert datamodule.loaded == 1
    assert datamodule.responses is first


def test_nothing_is_there_before_setup():
    datamodule = Letters()
    for name in ("responses", "stimuli"):
        with pytest.raises(RuntimeError, match=r"Letters has no .* yet: call setup\(\) first"):
            getattr(datamodule, name)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        Letters(batch_size=0)


def test_counts_must_agree():
    datamodule = Letters()
    original = datamodule.load

    def one_short():
        stimuli, responses = original()
        return StimulusSet(stimuli.items[:6], "language"), responses

    datamodule.load = one_short
    with pytest.raises(ValueError, match="got 6 stimuli and 7 names"):
        datamodule.setup()


def test_describe():
    datamodule = Letters()
    datamodule.setup()
    plan = datamodule.describe()
    assert plan["networks"] == ["a", "b"]
    assert (plan["stimuli"], plan["volumes"], plan["rois"], plan["subjects"]) == (7, 7, 3, 2)
    assert plan["tr"] is None
    assert plan["simulated"] is False
    assert plan["noise_ceiling"] is True  # none of its own, but two subjects to estimate it from


def test_picklable_and_read_by_workers():
    datamodule = Letters(batch_size=4, num_workers=1)
    datamodule.setup()
    copy = pickle.loads(pickle.dumps(datamodule))
    ids = torch.cat([batch["stimulus_id"] for batch in copy.predict_dataloader()])
    assert ids.tolist() == list(range(7))


@pytest.mark.parametrize(
    ("datamodule", "option", "read"),
    [
        (Algonauts2021DataModule, "track", algonauts.TRACKS),
        (Algonauts2021DataModule, "split", algonauts.SPLITS),
        (BoldMomentsDataModule, "split", tuple(bold_moments.SPLITS)),
        (NarrativesDataModule, "space", narratives_tree.SPACES),
        (NarrativesDataModule, "derivative", narratives_tree.DERIVATIVES),
        (LittlePrinceDataModule, "language", little_prince.LANGUAGES),
        (SimulatedBrainDataModule, "modality", MODALITIES),
        (SimulatedBrainDataModule, "atlas", rois.ATLASES),
        (StoryDataModule, "regions", targets.REGIONS),
        (ClipDataModule, "regions", targets.REGIONS[:2]),
        (StoryDataModule, "nuisances", story_benchmark.NUISANCES),
        (StoryDataModule, "anchor", ANCHORS),
        (StoryDataModule, "temporal", TEMPORAL[:2]),
        (AliceDataModule, "temporal", TEMPORAL[:2]),
        (ArrayDataModule, "temporal", TEMPORAL),
        (FolderDataModule, "temporal", TEMPORAL),
    ],
)
def test_an_options_type_names_what_is_read(datamodule, option, read):
    hint = get_type_hints(datamodule.__init__)[option]
    literal = next(
        (part for part in get_args(hint) if get_args(part)), hint
    )  # inside X | None, tuple[X, ...]
    assert set(get_args(literal)) == set(read)


@pytest.mark.parametrize("package", installed_packages(), ids=lambda package: package.__name__)
@pytest.mark.parametrize(
    "datamodule",
    [
        AliceDataModule(Path("data"), subjects=["s18"]),
        FolderDataModule("data", delays=(1, 2)),
        NarrativesDataModule(wav_offsets={"pieman": 1.5}, trim=(3, 1), cache=Path("cache")),
        LittlePrinceDataModule(delays=(2, 3), atlas=("lh.annot", Path("rh.annot"))),
        Algonauts2021DataModule(nuisances=("motion",)),
        SimulatedBrainDataModule(),
    ],
    ids=lambda datamodule: type(datamodule).__name__,
)
def test_a_safe_reader_takes_what_a_csv_logger_wrote(datamodule, package, tmp_path):
    logger = package.loggers.CSVLogger(tmp_path)
    logger.log_hyperparams(datamodule.hparams_initial)
    logger.save()
    read = yaml.safe_load(Path(logger.log_dir, "hparams.yaml").read_text(encoding="utf-8"))
    assert read == dict(datamodule.hparams) == dict(datamodule.hparams_initial)
    assert read
    again = type(datamodule)(**read)
    assert dict(again.hparams) == read


def test_hyperparameters_are_copies():
    datamodule = FolderDataModule("data", subjects=["s1"])
    datamodule.hparams["size"] = 7
    assert datamodule.hparams_initial["size"] == 224
    datamodule.hparams["subjects"].append("s2")
    assert datamodule.subjects == ["s1"]


def test_benchmarks_share_one_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NFAS_CACHE", "~/mine")
    assert parcel_cache("auto") == tmp_path / "mine" / "parcels"
    assert parcel_cache("~/other") == tmp_path / "other"
    assert parcel_cache(None) is None
