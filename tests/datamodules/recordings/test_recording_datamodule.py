"""Continuous recordings: a response that follows words comes back, and runs and gaps stay apart."""

import mne
import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.datamodules import RecordingDataModule
from nfas_lightning.functional import ridge_cv
from tests.helpers.recordings import info_of

WORDS = [f"word{i}" for i in range(60)]
FEATURE = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
ONSETS = np.concatenate([1.0 + 0.5 * np.arange(30)] * 2)
EVENTS = pd.DataFrame({"onset": ONSETS, "run": [0] * 30 + [1] * 30})
BAND = {"sfreq": 20.0, "l_freq": None, "tmin": -0.1, "tmax": 0.4}


def run_of(run, seed=0, noise=0.05, annotated=False):
    """17 s at 100 Hz: Cz answers the first feature 200 ms after each word, Oz the second after 300 ms."""
    rng = np.random.default_rng([seed, run])
    data = noise * rng.standard_normal((6, 1700))
    for channel, feature, latency in ((1, 0, 0.2), (3, 1, 0.3)):
        for word in range(30):
            peak = ONSETS[word] + latency
            data[channel] += float(FEATURE[30 * run + word, feature]) * np.exp(
                -(((np.arange(1700) / 100 - peak) / 0.05) ** 2)
            )
    raw = mne.io.RawArray(data, info_of(), verbose="error")
    if annotated:
        raw.set_annotations(mne.Annotations(ONSETS[:30], 0.0, WORDS[30 * run : 30 * run + 30]))
    return raw


def made(recordings, **options):
    brain = RecordingDataModule(WORDS, recordings, **{"events": EVENTS, **BAND, **options})
    brain.setup()
    return brain


@pytest.fixture(scope="module")
def brain():
    bad = run_of(1, seed=1)
    bad.info["bads"] = ["Pz"]
    bad.set_annotations(mne.Annotations([4.0], [2.0], ["BAD_cough"]))
    with pytest.warns(UserWarning, match="540 NaN of 8160 values"):
        return made({"anna": [run_of(0), run_of(1)], "ben": [run_of(0, seed=1), bad]})


def test_a_response_to_words_comes_back(brain):
    responses = brain.responses
    assert responses.values.shape == (2, 680, 6)
    assert responses.tr == pytest.approx(0.05)
    X = responses.to_volumes(FEATURE)
    assert X.shape == (680, 2 * 11)
    result = ridge_cv(X, responses.group_mean, groups=responses.runs, gap=responses.gap, warn=False)
    r = dict(zip(responses.rois["roi"], result.r.tolist(), strict=True))
    assert min(r["Cz"], r["Oz"]) > 0.9
    assert max(abs(r[name]) for name in ("Fz", "Pz", "P3", "P4")) < 0.3
    # the weights are the response: highest at the delay that was planted
    model = ridge_cv(X, responses.group_mean, groups=responses.runs, keep_model=True, warn=False)
    one = torch.eye(22).view(11, 2, 22)
    course = model.predict(one[:, 0])[:, 1] - model.predict(torch.zeros(1, 22))[:, 1]
    assert int(course.argmax()) == round((0.2 + 0.1) * 20)


def test_no_word_reaches_into_another_run(brain):
    for operator in brain.responses.design:
        dense = operator.to_dense() != 0
        assert not dense[:340, 30:].any()
        assert not dense[340:, :30].any()
    assert brain.responses.gap == 10
    assert brain.responses.runs.tolist() == [0] * 340 + [1] * 340


def test_bad_channels_and_stretches_are_missing(brain):
    missing = brain.responses.values.isnan()
    assert not missing[0].any()
    assert bool(missing[1, 340:, 2].all())
    rows = missing[1, 340:, 0].nonzero()[:, 0] / 20
    assert float(rows.min()) == pytest.approx(4.0, abs=0.1)
    assert float(rows.max()) == pytest.approx(6.0, abs=0.1)
    assert not missing[1, :340].any()
    seen = brain.responses.values[1, :340]
    torch.testing.assert_close(seen.mean(0), torch.zeros(6), atol=1e-4, rtol=0)


def test_annotations_are_the_events_and_a_run_may_be_missing():
    annotated = [run_of(0, annotated=True), run_of(1, annotated=True)]
    with pytest.warns(UserWarning, match="2040 NaN of 8160 values"):
        brain = made({"anna": annotated, "ben": [None, run_of(1)]}, events=None, stimulus_ids=WORDS)
    expected = made({"anna": annotated}).responses
    for one, other in zip(brain.responses.design, expected.design, strict=True):
        torch.testing.assert_close(one.to_dense(), other.to_dense())
    assert bool(brain.responses.values[1, :340].isnan().all())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recordings": {"a": [run_of(0)], "b": [run_of(0), run_of(1)]}}, r"the same runs, got \[1, 2\]"),
        ({"recordings": {"a": [None, run_of(1)]}}, "Run 0 has no recording of any subject"),
        (
            {"recordings": {"a": [run_of(0), run_of(1)], "b": [run_of(0), run_of(1).crop(0, 10)]}},
            "one length in run 1",
        ),
        (
            {"recordings": {"a": [run_of(0), run_of(1)]}, "events": None},
            "no annotation that names a stimulus",
        ),
        ({"recordings": {"a": [run_of(0)]}, "subjects": ["b"]}, r"some of \['a'\], got 'b'"),
        ({"recordings": {"a": [run_of(0)]}, "tmax": -1.0}, "tmin before tmax"),
        (
            {"recordings": {"a": [run_of(0)]}, "l_freq": 9.0, "h_freq": 1.0},
            "l_freq must lie below h_freq, both in Hz, got 9 and 1",
        ),
        (
            {"recordings": {"a": [run_of(0)]}, "h_freq": 1e4},
            r"\(l_freq, h_freq\) must be as MNE takes it, .* Nyquist",
        ),
        ({"recordings": {"a": [run_of(0)]}, "sfreq": 1e4}, "sfreq must be no higher than the recording's"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        made(change.pop("recordings"), **change)
