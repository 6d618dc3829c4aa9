"""Natural sounds on disk."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nfas_lightning.datamodules import NaturalSoundsDataModule
from nfas_lightning.datamodules.simulated.planted_features import sound_features
from nfas_lightning.functional.ridge import ridge_cv
from tests.helpers.brain_data import write_sounds


def ready(root, **options) -> NaturalSoundsDataModule:
    datamodule = NaturalSoundsDataModule(root, **options)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": np.array([f"stim{i}" for i in range(11, -1, -1)])}, "same sounds in the same order"),
        ({"audio": np.zeros((11, 800), np.int16)}, "got 11 and 12"),
        ({"R": np.zeros((12, 5), np.float32)}, r"\(12, 6\), got \(12, 5\)"),
        ({"R": np.full((12, 6), np.nan, np.float32)}, "'R' must be finite"),
        (
            {"stim_names": np.array(["same"] * 12), "names": np.array(["same"] * 12)},
            "stimulus_ids must be unique",
        ),
    ],
)
def test_bad_files(tmp_path, changes, message):
    write_sounds(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        ready(tmp_path)


def test_wrong_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"natsound165/ with components\.npz, sounds_16k\.npz"):
        NaturalSoundsDataModule(tmp_path).prepare_data()


@pytest.mark.shared_data
def test_real_sounds_and_spectral_features(shared_data):
    datamodule = ready(shared_data)
    responses = datamodule.responses
    assert responses.values.shape == (1, 165, 6)
    names = ["lowfreq", "highfreq", "envsounds", "pitch", "speech", "music"]
    assert responses.rois["roi"].tolist() == names
    waves = torch.stack([datamodule.stimuli[i][1] for i in range(165)])
    assert waves.shape == (165, 32_000)
    features = sound_features(waves, 16_000)
    r = ridge_cv(features, responses.group_mean, n_folds=10, selection="loo").r
    # known from 83 spectral features of another make: ours also hold modulation, so only the picture must
    # agree: every component predicted, frequency best, and their mean within .1
    known = torch.tensor([0.84, 0.81, 0.71, 0.58, 0.59, 0.38])
    assert (r > 0.3).all()
    assert r[:2].min() > 0.7
    assert (r.mean() - known.mean()).abs() < 0.1
    # pairing every sound with another's response leaves nothing
    broken = ridge_cv(features, responses.group_mean.roll(40, 0), n_folds=10, selection="loo").r
    assert broken.abs().mean() < 0.15
