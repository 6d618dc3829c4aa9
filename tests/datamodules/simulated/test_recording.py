"""Planted recordings: what is planted, the noise, and what is refused."""

import numpy as np
import pytest
import torch

from nfas_lightning.datamodules import SimulatedRecordingDataModule
from nfas_lightning.datamodules.simulated.recording import _pink
from nfas_lightning.functional import ridge_cv

SMALL = {
    "n_stimuli": 60, "n_subjects": 2, "n_repetitions": 2, "n_components": 3, "montage": "biosemi16",
    "sfreq": 50.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def recording():
    brain = SimulatedRecordingDataModule("language", **SMALL)
    with pytest.raises(RuntimeError, match="no truth yet: call setup"):
        brain.stages  # noqa: B018
    brain.setup()
    return brain


def test_targets_follow_the_stage_that_the_truth_names(recording):
    truth, responses = recording.truth, recording.responses
    assert responses.values.shape == (2, 60, 16 * 31)
    assert responses.simulated
    assert list(truth["roi"]) == list(responses.rois["roi"])
    r = torch.stack([ridge_cv(stage, responses.group_mean, warn=False).r for stage in recording.stages])
    planted = truth["planted"].to_numpy()
    strong = planted & (truth["ceiling"] > 0.7)
    assert strong.sum() > 20
    assert (r.argmax(0).numpy()[strong] == truth["stage"][strong]).mean() > 0.9
    assert abs(float(r[:, ~planted].mean())) < 0.05
    late = truth.merge(responses.rois, on="roi").query("planted")
    assert (late["lag"] - late["latency"]).abs().max() < 0.1


def test_stages_do_not_tell_of_each_other(recording):
    stages = torch.cat(recording.stages, dim=1).double()
    between = np.corrcoef(stages.T.numpy())
    assert abs(between[np.triu_indices(9, 1)]).max() < 1e-6


def test_subjects_seed_and_signal(recording):
    one, other, none = (
        SimulatedRecordingDataModule("language", **{**SMALL, **options})
        for options in ({"subjects": ["sim-02"]}, {"seed": 1}, {"signal": "none"})
    )
    for brain in (one, other, none):
        brain.setup()
    assert torch.equal(one.responses.values[0], recording.responses.values[1])
    assert not torch.equal(other.responses.values, recording.responses.values)
    assert not none.truth["planted"].any()
    assert none.truth["ceiling"].mean() < recording.truth["ceiling"].mean()


def test_the_noise_falls_as_one_over_frequency():
    noise = _pink(np.random.default_rng(0), (2000,), 200)
    assert noise.std() == pytest.approx(1)
    power = (np.abs(np.fft.rfft(noise * np.hanning(200))) ** 2).mean(0)[3:90]
    slope = np.polyfit(np.log(np.arange(3, 90)), np.log(power), 1)[0]
    assert slope == pytest.approx(-1, abs=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latencies": (0.1,)}, "two or more times between tmin=-0.1 and tmax=0.5 s"),
        ({"latencies": (0.1, 0.9)}, "two or more times"),
        ({"sfreq": 0}, "sfreq and width must be positive"),
        ({"n_repetitions": 1}, "n_repetitions"),
    ],
)
def test_what_can_not_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SimulatedRecordingDataModule(**options)


def test_an_unknown_montage_names_those_there_are():
    with pytest.raises(ValueError, match=r"biosemi64.*got 'biosemi'"):
        SimulatedRecordingDataModule("language", **{**SMALL, "montage": "biosemi"}).setup()
