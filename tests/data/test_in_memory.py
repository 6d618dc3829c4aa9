"""What somebody holds in memory, checked and paired."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from nfas_lightning.data import ImageFiles
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.functional.hrf import hrf

TEXTS = [f"sentence number {i}" for i in range(6)]


def ready(*args, **kwargs) -> ArrayDataModule:
    datamodule = ArrayDataModule(*args, **kwargs)
    datamodule.setup()
    return datamodule


def test_events_are_convolved_at_their_onsets_within_their_runs():
    events = pd.DataFrame({"onset": [2.0, 7.0, 13.0, 1.0, 5.5, 11.0], "run": [0, 0, 0, 1, 1, 1]})
    runs = torch.tensor([0] * 12 + [1] * 10)
    responses = ready(TEXTS, torch.randn(22, 3), events=events, runs=runs, tr=2.0).responses
    features = torch.zeros(6, 1)
    features[4] = 1.0  # the event at 5.5 s of run 1
    volumes = responses.carry(features)[:, 0].double()
    expected = torch.zeros(22).double()
    expected[12:] = hrf(2.0 * torch.arange(10).double() - 5.5)
    torch.testing.assert_close(volumes, expected, atol=1e-6, rtol=1e-5)
    assert responses.gap == 10
    assert responses.volume_times[12] == 0


def test_fir_stacks_delays():
    events = {"onset": 2.0 * np.arange(6)}
    responses = ready(
        TEXTS, torch.randn(8, 1), events=events, tr=2.0, temporal="fir", delays=(1, 2)
    ).responses
    volumes = responses.carry(torch.arange(1.0, 7.0)[:, None])
    assert volumes[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
    assert volumes[:, 1].tolist() == [0, 0, 1, 2, 3, 4, 5, 6]
    assert responses.gap == 2


@pytest.mark.parametrize("kind", [list, np.array, pd.Series, tuple])
def test_labels_may_be_of_any_kind(kind):
    labels = {
        "stimulus_ids": kind(list("fedcba")),
        "subject_names": kind(["p", "q"]),
        "runs": kind(["b", "b", "a", "a", "a", "b"]),
    }
    responses = ready(TEXTS, torch.zeros(2, 6, 1), **labels).responses
    assert responses.stimulus_ids == tuple("fedcba")
    assert responses.subjects == ("p", "q")
    assert responses.runs.tolist() == [0, 0, 1, 1, 1, 0]
    numbers = {"stimulus_ids": kind([3, 1, 4, 15, 9, 2]), "subject_names": kind([7, 8])}
    responses = ready(TEXTS, torch.zeros(2, 6, 1), **numbers, runs=kind([7, 7, 2, 2, 2, 2])).responses
    assert responses.stimulus_ids == ("3", "1", "4", "15", "9", "2")
    assert responses.subjects == ("7", "8")
    assert responses.runs.tolist() == [7, 7, 2, 2, 2, 2]


def test_tensors_label_too():
    labels = {"stimulus_ids": torch.arange(6), "runs": torch.tensor([1.0, 1, 1, 3, 3, 3])}
    responses = ready(TEXTS, torch.zeros(6, 1), **labels).responses
    assert responses.stimulus_ids == tuple("012345")
    assert responses.runs.tolist() == [1, 1, 1, 3, 3, 3]
    assert ready(TEXTS, torch.zeros(6, 1), runs=[0.5] * 3 + [0.7] * 3).responses.runs.tolist() == [
        0,
        0,
        0,
        1,
        1,
        1,
    ]


def test_events_find_the_runs_of_their_labels():
    onsets = [2.0, 7.0, 13.0, 1.0, 5.5, 11.0]
    labeled, numbered = (
        ready(
            TEXTS,
            torch.zeros(22, 1),
            events=pd.DataFrame({"onset": onsets, "run": [two] * 3 + [one] * 3}),
            runs=np.array([one] * 12 + [two] * 10),
            tr=2.0,
        ).responses
        for one, two in (("morning", "evening"), (0, 1))
    )
    assert torch.equal(labeled.runs, numbered.runs)
    assert torch.equal(labeled.design[0].to_dense(), numbered.design[0].to_dense())
    assert labeled.fingerprint() == numbered.fingerprint()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"responses": torch.zeros(5, 2)}, "one row per stimulus, got 6 stimuli and 5 rows. Add"),
        ({"responses": torch.zeros(6)}, r"shape \(T, R\), or \(S, T, R\) for subjects, got \(6,\)"),
        ({"responses": torch.zeros(6, 2, dtype=torch.int64)}, "floating point"),
        ({"responses": torch.full((6, 2), torch.inf)}, "must not be infinite"),
        ({"stimuli": ["one"], "responses": torch.zeros(1, 2)}, "At least two stimuli"),
        ({"stimuli": []}, "at least one stimulus"),
        ({"rois": ["a"]}, "name the 2 columns of responses, got 1"),
        ({"rois": ["a", "a"]}, r"each ROI once, got \['a'\]"),
        ({"stimulus_ids": ["a"] * 6}, "stimulus_ids must be 6 unique names"),
        ({"stimulus_ids": list("abc")}, "stimulus_ids must be 6 unique names, got 3"),
        ({"subject_names": ["a", "b"]}, "subject_names must be 1 unique names, got 2"),
        ({"subjects": ["nobody"]}, "subjects has no 'nobody'"),
        ({"runs": [0] * 5}, r"runs must have shape \(T=6,\), got \(5,\)"),
        ({"runs": np.array(["a"] * 5)}, r"runs must have shape \(T=6,\), got \(5,\)"),
        ({"runs": np.zeros((6, 1))}, r"runs must have shape \(T=6,\), got \(6, 1\)"),
        ({"runs": ["a", "a", None, "b", "b", "b"]}, r"the run of every row, got none for \[2\]"),
        ({"stimulus_ids": np.array(list("abc"))}, "stimulus_ids must be 6 unique names, got 3"),
        ({"stimulus_ids": np.array(list("abcdea"))}, r"more than once: \['a'\]"),
        ({"stimulus_ids": []}, "stimulus_ids must be 6 unique names, got 0"),
        ({"stimulus_ids": np.zeros((6, 2))}, "stimulus_ids must be 6 unique names"),
        (
            {
                "events": {"onset": [0.0] * 6, "run": list("aabbcc")},
                "tr": 2.0,
                "runs": list("aaabbb"),
            },
            r"none for the runs \['c'\]: runs names \['a', 'b'\]",
        ),
        ({"nuisances": torch.zeros(5, 1)}, r"nuisances must have shape \(T=6, Q\)"),
        ({"nuisances": torch.tensor([[0.0, np.nan]] * 6)}, r"finite, got 6 NaN .* \['nuisance_1'\]"),
        ({"rois": ["V1", " "]}, "each ROI with text, got ' ' in row 1"),
        ({"rois": pd.DataFrame({"roi": ["V1", None]})}, "each ROI with text, got (None|nan) in row 1"),
        ({"tr": 2.0}, "tr belong to a time series, whose stimuli have onsets: give events"),
        ({"tr": 2.0, "volume_times": [0.0] * 6, "temporal": "none"}, "tr and volume_times belong"),
        ({"noise_ceiling": torch.zeros(3)}, r"noise_ceiling must have shape \(R=2,\)"),
        ({"temporal": "hrf"}, "needs events .* and tr in seconds, got events=None"),
        ({"events": {"onset": [0.0] * 6}}, "tr=None"),
        ({"events": {"onset": [0.0] * 5}, "tr": 2.0}, r"one row per stimulus \(6\), or .* 5 rows"),
        ({"events": {"start": [0.0] * 6}, "tr": 2.0}, r"columns \['onset'\].*\['start'\]"),
        ({"events": {"onset": [0.0] * 6}, "tr": 2.0, "temporal": "none"}, "leave one of the two out"),
        ({"events": {"onset": [0.0] * 6}, "tr": 2.0, "runs": [0, 0, 0, 1, 1, 1]}, "a column 'run'"),
        (
            {"events": {"onset": [np.nan] * 6}, "tr": 2.0},
            "'onset' must hold finite numbers, got nothing in row 1",
        ),
        ({"events": {"onset": [0.0] * 6}, "tr": -1.0}, "tr must be a positive number"),
        ({"modality": "smell"}, "modality must be one of"),
        ({"responses": torch.zeros(6, 0)}, r"an ROI at least, got shape \(S, T, R\) = \(1, 6, 0\)"),
        ({"responses": torch.zeros(0, 6, 2)}, "must hold a subject"),
        ({"rois": "ab"}, "name the 2 columns of responses, got 'ab'"),
        (
            {
                "responses": pd.DataFrame({"V1": [0.0] * 6, "V2": [1.0] * 6}),
                "rois": ["V2", "V1"],
                "noise_ceiling": [0.5, 0.9],
            },
            r"noise_ceiling has no index.* \(V2, V1, \.\.\.\) and .* \(V1, V2, \.\.\.\) are in two orders",
        ),
        ({"noise_ceiling": [0.5, 2.0]}, r"correlations in \[-1, 1\].* got 0.5 to 2"),
        ({"stimulus_ids": ["a", *"abcde"]}, r"more than once: \['a'\]"),
        ({"events": {"onset": [4000.0 * i for i in range(6)]}, "tr": 2.0}, "5 of 6 events begin after"),
        ({"events": {"onset": [0.0] * 6}, "tr": 2000.0}, "tr must be seconds, got 2000"),
        ({"events": {"onset": [0.0] * 6}, "tr": 2.0, "volume_times": [0.0]}, r"volume_times .*T=6"),
        (
            {"events": {"onset": [0.0] * 6}, "tr": 2.0, "volume_times": np.arange(6) * 0.8},
            r"got tr=2 s and volume_times that lie 0\.8 s apart",
        ),
        (
            {"events": {"onset": [0.0] * 6}, "tr": 2.0, "volume_times": np.arange(6)[::-1] * 2.0},
            "volume_times must ascend within a run",
        ),
        ({"events": [{"onset": [0.0] * 6}] * 3, "tr": 2.0}, "one table, shared by all subjects.*list of 3"),
        ({"events": {"onset": [*"12345", "n/a"]}, "tr": 2.0}, "'onset' must hold .* got 'n/a' in row 6"),
        ({"events": {"onset": [0.0] * 6, "stimulus": list("abcdef")}, "tr": 2.0}, "Give stimulus_ids"),
        ({"responses": [["0.5", "high"]] * 6}, r"responses must hold numbers, got <U4 such as '0\.5'"),
        ({"responses": pd.DataFrame({"V1": ["x"] * 6})}, "responses must hold numbers, got 'x' in row 0"),
        ({"responses": torch.zeros(2, 6)}, "6 stimuli and 2 rows. .* are the axes exchanged"),
        (
            {"events": {"onset": 9.0 * np.arange(6)}, "tr": 1.0, "responses": torch.zeros(3, 60)},
            "got 3 volumes and 60 ROIs.* Are the axes exchanged",
        ),
        ({"stimuli": [f"images/{i}.png" for i in range(6)]}, "got the file name 'images/0.png'"),
        ({"stimuli": torch.zeros(6, 8, 8, 3)}, "Move the color axis"),
        ({"stimuli": torch.zeros(6, 1, 8, 8)}, "repeat it three times"),
        ({"stimuli": torch.zeros(6, 800)}, "Pass sampling_rate="),
    ],
)
def test_wrong_input(options, message):
    with pytest.raises(ValueError, match=message):
        ready(**{"stimuli": TEXTS, "responses": torch.zeros(6, 2), **options})


def test_a_run_with_events_needs_volumes():
    events = {"onset": [0.0] * 6, "run": [0, 0, 1, 1, 2, 2]}
    with pytest.raises(ValueError, match=r"none for the runs \[2\]"):
        ready(TEXTS, torch.zeros(8, 1), events=events, tr=2.0, runs=[0] * 4 + [1] * 4)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (None, r"events name 2 runs, \['b', 'a'\].*nothing names the run of each volume: give runs"),
        (["b"] * 8, r"none for the runs \['a'\]: runs names \['b'\]"),
    ],
)
def test_events_of_several_runs_never_share_one_clock(runs, message):
    events = {"onset": [0.0, 2.0, 4.0] * 2, "run": list("bbbaaa")}
    with pytest.raises(ValueError, match=message):
        ready(TEXTS, torch.zeros(8, 1), events=events, tr=2.0, runs=runs)


def test_events_of_one_run_need_no_runs():
    onsets = {"onset": [0.0, 2.0, 4.0, 5.0, 6.0, 7.0]}
    plain = ready(TEXTS, torch.zeros(8, 1), events=onsets, tr=2.0).responses
    for options in ({}, {"runs": ["b"] * 8}):
        named = ready(TEXTS, torch.zeros(8, 1), events={**onsets, "run": ["b"] * 6}, tr=2.0, **options)
        assert torch.equal(named.responses.design[0].to_dense(), plain.design[0].to_dense())


@pytest.mark.parametrize("temporal", ["hrf", "fir"])
def test_events_that_name_their_stimuli_may_come_in_any_order(temporal):
    onsets, order = 3.0 * np.arange(6), [4, 0, 5, 2, 1, 3]
    options = {"tr": 2.0, "temporal": temporal, "delays": (1, 2)}
    inverse = np.argsort(order)
    by_row = ready(TEXTS, torch.zeros(20, 1), events={"onset": onsets[inverse]}, **options).responses
    ids = {"stimulus_ids": list("abcdef")}
    named = {"onset": onsets, "stimulus": ["abcdef"[i] for i in order]}
    placed = {"onset": onsets, "stimulus": order}
    for responses in (
        ready(TEXTS, torch.zeros(20, 1), events=named, **ids, **options).responses,
        ready(TEXTS, torch.zeros(20, 1), events=placed, **options).responses,
    ):
        for mine, theirs in zip(responses.design, by_row.design, strict=True):
            torch.testing.assert_close(mine.to_dense(), theirs.to_dense())


@pytest.mark.parametrize("temporal", ["hrf", "fir"])
def test_the_events_of_one_stimulus_are_summed(temporal):
    shown = [0, 3, 1, 0, 2, 5, 4, 0, 1]
    events = pd.DataFrame(
        {
            "onset": [0.0, 3, 8, 9, 12, 1, 2, 3.5, 9],
            "duration": [0, 1, 2, 0, 1, 3, 0, 0, 1.0],
            "run": [0] * 5 + [1] * 4,
        }
    )
    options = {"tr": 2.0, "temporal": temporal, "delays": (1, 2), "runs": [0] * 12 + [1] * 9}
    values = torch.zeros(21, 1)
    with pytest.warns(UserWarning, match=r"2 of 6 stimuli are shown more than once: \['0', '1'\]"):
        repeated = ready(TEXTS, values, events=events.assign(stimulus=shown), **options).responses
    # the oracle: as many stimuli as events, features repeated
    with pytest.warns(UserWarning, match="5 of 9 stimuli are identical"):
        each = ready([TEXTS[i] for i in shown], values, events=events, **options).responses
    features = torch.randn(6, 2)
    torch.testing.assert_close(repeated.carry(features), each.carry(features[shown]))
    assert repeated.design[0].shape == (21, 6)


def test_image_files_are_paired_by_their_names(tmp_path):
    images = ImageFiles([tmp_path / f"img{i}.png" for i in range(6)], size=8)
    for i, path in enumerate(images.paths):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(path)
    files = [f"stimuli/img{i}.png" for i in (3, 0, 1, 5, 4, 2)]
    events = pd.DataFrame({"onset": 2.0 * np.arange(6), "stim_file": files})
    responses = ready(images, torch.zeros(9, 1), events=events, tr=2.0, temporal="fir", delays=[0]).responses
    assert responses.carry(torch.arange(6.0)[:, None])[:6, 0].tolist() == [3, 0, 1, 5, 4, 2]
    events.to_csv(tmp_path / "events.tsv", sep="\t", index=False)
    read = ready(
        images, torch.zeros(9, 1), events=tmp_path / "events.tsv", tr=2.0, temporal="fir", delays=[0]
    )
    assert read.responses.fingerprint() == responses.fingerprint()


def test_a_late_stimulus_and_an_empty_subject_are_said():
    with pytest.warns(UserWarning, match=r"1 of 6 events begin after the last volume ends \(12 s\)"):
        ready(TEXTS, torch.zeros(6, 2), events={"onset": [0.0, 2.0, 4.0, 6.0, 8.0, 20.0]}, tr=2.0)
    values = torch.zeros(3, 6, 2)
    values[1] = torch.nan
    with pytest.warns(UserWarning, match=r"subjects at \[1\] have no value"):
        ready(TEXTS, values)


def test_rois_without_names_are_marked_as_numbered():
    images, values = torch.rand(6, 3, 4, 4), np.random.default_rng(0).normal(size=(6, 2)).astype("float32")
    for responses, named in (
        (values, False),
        (pd.DataFrame(values), False),
        (pd.DataFrame(values, columns=["V1", "V2"]), True),
    ):
        datamodule = ArrayDataModule(images, responses)
        datamodule.setup()
        rois = datamodule.responses.rois
        assert list(rois["roi"]) == (["V1", "V2"] if named else ["roi_000", "roi_001"])
        assert ("unnamed" in rois) is not named
    datamodule = ArrayDataModule(images, values, rois=["roi_000", "roi_001"])  # names of one's own
    datamodule.setup()
    assert "unnamed" not in datamodule.responses.rois
