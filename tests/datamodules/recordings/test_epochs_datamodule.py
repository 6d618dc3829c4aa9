"""Epochs and stimuli, paired by name: averages, what is missing, ceilings, and scores of them."""

import numpy as np
import pytest
import torch

from nfas_lightning.datamodules import EpochsDataModule
from nfas_lightning.datamodules.recordings.epochs_datamodule import by_subject
from nfas_lightning.hooks import LayerInfo, Trajectory
from nfas_lightning.scoring import ScoringSettings, score_trajectory
from tests.helpers.recordings import CHANNELS, NAMES, epochs_of
from tests.helpers.scoring import CARD

OTHERS = dict(zip(CHANNELS, "abcdef", strict=True))
TEXTS = [f"this is {name}" for name in NAMES]


def made(epochs, **options):
    brain = EpochsDataModule(TEXTS, epochs, stimulus_ids=NAMES, **options)
    brain.setup()
    return brain


@pytest.fixture(scope="module")
def two():
    """A second subject who saw another order, has a bad channel, and lost an epoch and a stimulus."""
    other = epochs_of(seed=1, order=NAMES[::-1])
    other.info["bads"] = ["Pz"]
    other.drop([0, 1, 4], verbose="error")  # both of word_9, one of word_7
    return {"anna": epochs_of(), "ben": other}


def test_presentations_are_averaged_in_the_order_of_the_stimuli(two):
    with pytest.warns(UserWarning, match=r"1 of 10 stimuli are in no event: \['word_9'\]"):
        responses = made(two).responses
    assert responses.subjects == ("anna", "ben")
    values = responses.values.view(2, 10, 6, 41)
    for subject, epochs in enumerate(two.values()):
        for place, name in enumerate(NAMES):
            own = epochs.get_data()[[n == name for n in _shown(epochs)]]
            expected = torch.from_numpy(own.mean(0)).float() if len(own) else torch.full((6, 41), torch.nan)
            if subject:
                expected[2] = torch.nan
            torch.testing.assert_close(
                values[subject, place], expected, equal_nan=True, rtol=1e-5, atol=1e-12
            )
    assert responses.rois["channel"].unique().tolist() == list(CHANNELS)
    assert len(responses.lags.neighbors) > 4
    pz = (responses.rois["channel"] == "Pz").to_numpy()
    assert bool(responses.subject_ceilings[1, torch.from_numpy(pz)].isnan().all())
    assert not bool(responses.noise_ceiling.isnan().any())


def test_the_scores_of_what_is_missing_are_those_of_the_rest(two):
    with pytest.warns(UserWarning, match="in no event"):
        brain = made(two, subjects=["ben"], tmin=0.0, tmax=0.1)
    generator = torch.Generator().manual_seed(0)
    states = tuple(torch.randn(10, 4, generator=generator) for _ in range(3))
    layers = tuple(LayerInfo(f"b{i}", i, "B", (4,), 4, "torch.float32") for i in range(3))
    settings = ScoringSettings(n_folds=2, n_permutations=0, subjects="each", baselines=False)
    with pytest.warns(UserWarning, match="without any response"):
        result = score_trajectory(
            Trajectory(states, layers, torch.arange(10)), brain.responses, CARD, settings
        )
    rows = result.scores.query("feature == 'stable_mode'")
    assert rows[rows["channel"] == "Pz"]["r"].isna().all()
    assert (rows[rows["channel"] != "Pz"]["n_volumes"] == 9).all()


def test_one_presentation_has_no_ceiling_and_lists_are_numbered():
    once = epochs_of()[::2]
    brain = made([once, once.copy()])
    assert brain.responses.subjects == ("sub-01", "sub-02")
    assert brain.responses.noise_ceiling is None
    assert list(by_subject([once.average()])) == ["sub-01"]
    np.testing.assert_allclose(brain.responses.lags.times[[0, -1]], [-0.1, 0.3], atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": [epochs_of(), epochs_of().crop(0, 0.2)]}, "same lags, got 41 .* and 21 from 0 to 0.2"),
        ({"epochs": [epochs_of(), epochs_of().rename_channels(OTHERS)]}, "share channels"),
        ({"stimulus_ids": [f"w{i}" for i in range(10)]}, "word_0"),
        ({"stimulus_ids": None}, "by name: give stimulus_ids"),
        ({"subjects": ["eve"]}, r"some of \['sub-01'\], got 'eve'"),
        ({"epochs": {}}, "At least one subject"),
        ({"tmin": 0.2, "tmax": 0.1}, "tmin must lie before tmax"),
        ({"tmin": 1.0, "tmax": 2.0}, "tmin must lie in the epochs, -0.1 to 0.3 s after onset, got 1"),
        ({"baseline": (-5.0, 0.0)}, r"baseline must be as MNE takes it, got \(-5.0, 0.0\): .* outside of"),
        ({"picks": "meg"}, "picks must be as MNE takes it, got 'meg'"),
        ({"reject": {"mag": 1e-12}}, "reject must be as MNE takes it, .* No MAG channel"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(change, message):
    given = {"epochs": epochs_of(), "stimulus_ids": NAMES, **change}
    with pytest.raises(ValueError, match=message):
        EpochsDataModule(TEXTS, given.pop("epochs"), **given).setup()


def _shown(epochs):
    called = {number: name for name, number in epochs.event_id.items()}
    return [called[number] for number in epochs.events[:, 2]]
