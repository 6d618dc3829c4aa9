"""The simulated benchmark: what is planted can be found, and where nothing is planted nothing is found."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from nfas_lightning.datamodules import SimulatedBrainDataModule
from nfas_lightning.datamodules.simulated.planted_features import (
    image_features,
    principal_components,
    sound_features,
)
from nfas_lightning.functional.ridge import ridge_cv

SMALL = {"n_stimuli": 120, "atlas": "dosenbach", "image_size": 64}


@pytest.fixture(scope="module")
def vision():
    datamodule = SimulatedBrainDataModule("vision", **SMALL)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def found(datamodule: SimulatedBrainDataModule, features: torch.Tensor) -> np.ndarray:
    """Cross-validated r of the planted features, with whole runs left out."""
    responses = datamodule.responses
    X = responses.to_volumes(principal_components(features, 12))
    return ridge_cv(X, responses.group_mean, groups=responses.runs).r.numpy()


def test_planted_rois_reach_their_ceiling_and_the_rest_does_not_rise(vision):
    features = image_features(vision.stimuli.items.float() / 255)
    r, truth = found(vision, features), vision.truth
    planted = truth["planted"].to_numpy()
    ceiling = truth["ceiling"].to_numpy()
    assert (r[planted] / ceiling[planted]).mean() > 0.9
    assert np.abs(r[~planted].mean()) < 0.05
    assert r[planted].min() > np.quantile(r[~planted], 0.99)
    assert set(truth.loc[planted, "driven_by"]) == {"vision", "all"}
    assert (ceiling[~planted] == 0).all()


def test_nothing_is_found_where_nothing_is_planted():
    datamodule = SimulatedBrainDataModule("audio", signal="none", **SMALL)
    datamodule.setup()
    waves = datamodule.stimuli.items
    r = found(datamodule, sound_features(waves, 16_000))
    assert np.abs(r).mean() < 0.1
    assert np.abs(r.mean()) < 0.03
    assert not datamodule.truth["planted"].any()
    assert (datamodule.responses.noise_ceiling == 0).all()


def test_unrelated_features_find_nothing(vision):
    noise = torch.randn(120, 12, generator=torch.Generator().manual_seed(1))
    assert np.abs(found(vision, noise)[vision.truth["planted"].to_numpy()]).mean() < 0.15


@pytest.mark.parametrize(("modality", "key"), [("vision", "image"), ("audio", "audio"), ("language", "text")])
def test_batches_and_responses_keep_the_contract(modality, key):
    datamodule = SimulatedBrainDataModule(modality, n_stimuli=24, n_runs=2, atlas="dosenbach", image_size=32)
    datamodule.setup()
    responses = datamodule.responses
    assert responses.simulated
    assert responses.modality == modality
    assert responses.dataset == f"simulated_{modality}"
    assert responses.values.isfinite().all()
    assert responses.nuisances.isfinite().all()
    batches = list(datamodule.predict_dataloader())
    assert torch.cat([batch["stimulus_id"] for batch in batches]).tolist() == list(range(24))
    assert key in batches[0]
    assert len(responses.hashes["stimuli"]) == 64
    plan = datamodule.describe()
    assert plan["simulated"] is True
    assert plan["planted_rois"] == datamodule.truth["planted"].sum() > 0


def test_modalities_share_the_axis_and_the_integrative_rois(vision):
    audio = SimulatedBrainDataModule("audio", n_stimuli=24, n_runs=2, atlas="dosenbach")
    audio.setup()
    assert audio.responses.rois.equals(vision.responses.rois)
    shared = audio.truth["planted"] & vision.truth["planted"]
    assert shared.equals(vision.truth["integrative"])
    assert audio.truth.loc[shared, "zone"].ne("").all()


def test_same_seed_same_brain_other_seed_other_brain(vision):
    again = SimulatedBrainDataModule("vision", **SMALL)
    again.setup()
    assert again.responses.fingerprint() == vision.responses.fingerprint()
    other = SimulatedBrainDataModule("vision", seed=1, **SMALL)
    other.setup()
    assert other.responses.fingerprint() != vision.responses.fingerprint()
    assert other.truth["planted"].equals(vision.truth["planted"])


def test_subjects_differ_and_can_be_chosen(vision):
    values = vision.responses.values
    planted = torch.tensor(vision.truth["planted"].tolist())
    pair = torch.stack([values[0][:, planted], values[1][:, planted]])
    r = (pair[0] * pair[1]).mean(dim=0)  # columns are z-scored
    assert 0.05 < r.mean() < 0.9
    one = SimulatedBrainDataModule("vision", subjects=["sim-02"], **SMALL)
    one.setup()
    torch.testing.assert_close(one.responses.values[0], values[1])
    assert one.responses.noise_ceiling is None  # known for the mean of all subjects only


def test_picklable(vision):
    copy = pickle.loads(pickle.dumps(vision))
    assert copy.responses.fingerprint() == vision.responses.fingerprint()


@pytest.mark.parametrize("options", [{"modality": "smell"}, {"signal": "weak"}, {"atlas": "schaefer"}])
def test_unknown_options(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be one of"):
        SimulatedBrainDataModule(**options)


def test_truth_needs_setup():
    with pytest.raises(RuntimeError, match=r"no truth yet: call setup\(\)"):
        _ = SimulatedBrainDataModule().truth
