"""Tables of events as NeuralSet gives them, without NeuralSet: stimuli, shared clocks, scans."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.io import wavfile

from nfas_lightning.data.regions.atlas import Atlas
from nfas_lightning.data.regions.rois import roi_table
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.data.stimuli.texts import TextStimulus
from nfas_lightning.datamodules.recordings.neuralset_runs import (
    Reading,
    ScanReader,
    file_stimuli,
    in_runs,
    shared_runs,
    short_names,
    shown_in,
    subject_of,
)
from tests.helpers.clips import gray_levels, write_clip

RATE = 4000


def table(*rows):
    return pd.DataFrame(rows).assign(**{"offset": np.nan} if "offset" not in rows[0] else {})


def test_names_are_free_of_the_machine():
    assert short_names(["/x/y/1.png", "/x/y/2.png"]) == ["1.png", "2.png"]
    assert short_names(["/x/y/1.png"]) == ["1.png"]
    assert subject_of({"subject": "Study/07"}) == "07"


def test_words_come_with_the_words_before_them():
    def heard(timeline, start, words, language):
        return [
            {"timeline": timeline, "start": start + i, "text": word, "language": language}
            for i, word in enumerate(words)
        ]

    marks = pd.DataFrame(
        [
            *heard("a", 1.0, ["the", "fox", " ", "quit "], "english"),
            *heard("b", 7.0, ["the", "fox", "quit"], "en"),
            *heard("c", 0.0, ["\u6211", "\u516d"], "chinese"),
            *heard("d", 0.0, ["der", "Fuchs"], "german"),
        ]
    )
    shown = shown_in(marks, "Word", Reading(window=1))
    assert shown.stimuli == [
        TextStimulus("the", (0, 3)),
        TextStimulus("the fox", (4, 7)),
        TextStimulus("fox quit", (4, 8)),
        TextStimulus("\u6211", (0, 1)),
        TextStimulus("\u6211\u516d", (1, 2)),
        TextStimulus("der", (0, 3)),
        TextStimulus("der Fuchs", (4, 9)),
    ]
    # timelines of the same words share stimuli, each at its own times; nothing is shown for a blank
    assert shown.events["a"]["onset"].tolist() == [1, 2, 4]
    assert shown.events["b"]["onset"].tolist() == [7, 8, 9]
    assert shown.events["a"]["stimulus"].tolist() == shown.events["b"]["stimulus"].tolist() == shown.ids[:3]
    assert shown.ids[2] == "000002_quit"


def test_where_a_word_was_missed_the_fuller_recording_counts():
    words = [f"word{i}" for i in range(30)]

    def heard(timeline, words, start=0.0):
        rows = [{"start": start + int(word[4:]), "text": word, "language": "en"} for word in words]
        return pd.DataFrame(rows).assign(timeline=timeline, duration=0.3)

    later = heard("b", [*words[:12], *words[13:]], start=5.0)  # without the twelfth
    marks = pd.concat([later, heard("a", words)], ignore_index=True)
    shown = shown_in(marks, "Word", Reading(window=8))
    assert len(shown.stimuli) == 30 + 8  # those after it have another context
    recordings = pd.DataFrame({"subject": ["s/2", "s/1"], "timeline": ["b", "a"]})
    recordings = recordings.assign(start=0.0, duration=60.0)
    (run,) = shared_runs(recordings, shown.events, tolerance=0.05, align=True)
    assert run.events["shown"].tolist() == words
    assert {subject: lead for subject, ((_, lead),) in run.recordings.items()} == {"2": 5, "1": 0}
    kept = in_runs(shown, [run])
    assert sorted(kept.ids) == sorted(run.events["stimulus"])
    # the same text, so the words before the one that was missed are the same stimuli
    assert set(shown.events["a"]["stimulus"][:12]) == set(shown.events["b"]["stimulus"][:12])
    # other words at the same times, or more than a tenth missed, are another run
    other = heard("b", [*words[:12], *["word99"], *words[13:]]).assign(start=np.arange(30.0))
    for lesser in (other, heard("b", words[:26])):
        shown = shown_in(pd.concat([heard("a", words), lesser], ignore_index=True), "Word", Reading())
        assert len(shared_runs(recordings, shown.events, tolerance=0.05, align=True)) == 2


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """A sound that says when it was, 6 s in thousandths, and a short one."""
    folder = tmp_path_factory.mktemp("sounds")
    for name, seconds in (("long", 6), ("short", 1)):
        samples = np.arange(seconds * 16_000, dtype=np.float32) / 16_000 / 100
        wavfile.write(folder / f"{name}.wav", 16_000, samples)
    return folder


def test_short_sounds_are_whole_and_long_ones_windows_on_the_clock(sounds):
    short = {"timeline": "a", "start": 3.0, "duration": 1.0, "filepath": sounds / "short.wav"}
    whole = shown_in(table(short, {**short, "start": 9.0}), "Audio", Reading(seconds=2))
    assert whole.ids == ["short.wav"]
    assert whole.events["a"].drop(columns="shown").to_dict("list") == {
        "onset": [3.0, 9.0], "duration": [1.0, 1.0], "stimulus": ["short.wav"] * 2
    }  # fmt: skip
    # seconds 1 to 5 of a sound of six, from 20 s on the clock: nothing before or after is heard
    part = {**short, "start": 20.0, "duration": 4.0, "filepath": sounds / "long.wav", "offset": 1.0}
    cut = shown_in(table(part, {**short, "offset": 0.0}), "Audio", Reading(seconds=2, hop=1))
    assert cut.events["a"]["onset"].tolist() == [3, 20, 21, 22, 23]
    assert cut.events["a"]["duration"].tolist() == [1] * 5
    assert len(cut.stimuli) == len(set(cut.ids)) == 5
    first, second = (StimulusSet(cut.stimuli, "audio", 16_000)[i][1] for i in (0, 1))
    # two seconds around 1.5 s: half a second of silence, then the sound since its first second
    assert len(first) == 32_000
    assert not first[:8000].any()
    torch.testing.assert_close(first[8000:], torch.arange(16_000, 40_000) / 16_000 / 100, atol=2e-6, rtol=0)
    torch.testing.assert_close(second[0], torch.tensor(0.015), atol=2e-6, rtol=0)
    # the short one in the middle of its own window
    last = StimulusSet(cut.stimuli, "audio", 16_000)[4][1]
    assert float(last[8000:24_000].abs().sum()) == pytest.approx(float(last.abs().sum()))


def test_films_and_their_parts(tmp_path):
    film = write_clip(tmp_path / "film.mp4", gray_levels(np.arange(40.0) * 6), fps=10)
    mark = {"timeline": "a", "start": 5.0, "duration": 4.0, "filepath": film}
    reading = Reading(seconds=4, frames_per_second=2, image_size=None)
    whole = shown_in(table(mark), "Video", reading)
    assert whole.stimuli[0].shape[0] == 8
    part = shown_in(table({**mark, "duration": 1.0, "offset": 2.0}), "Video", reading)
    assert part.ids == ["film.mp4_2-3s_00002.50s"]
    at = {"onset": [5.0], "duration": [1.0], "stimulus": part.ids, "shown": part.ids}
    assert part.events["a"].to_dict("list") == at
    # its frames at 2.25 and 2.75 s, none of what comes before or after
    assert part.stimuli[0].float().mean((1, 2, 3)).sub(torch.tensor([22, 27.0]) * 6).abs().max() < 3
    longer = shown_in(table({**mark, "duration": 2.0, "offset": 2.0}), "Video", reading._replace(seconds=1))
    assert longer.events["a"]["onset"].tolist() == [5.0, 6.0]


def test_what_a_study_makes_in_memory_is_refused():
    with pytest.raises(ValueError, match=r"must be files, got Image events that the study makes in memory"):
        file_stimuli("Image", ['{"cls": "Study"}'], Reading())


def events(*onsets, names="xyz"):
    table = pd.DataFrame({"onset": onsets, "duration": 0.5, "stimulus": list(names)})
    return table.assign(shown=table["stimulus"])


def test_the_same_at_the_same_times_is_one_run():
    rows = [("s/1", "a", 0.0), ("s/2", "b", 2.0), ("s/1", "c", 0.0), ("s/1", "d", 0.0), ("s/2", "e", 0.0)]
    recordings = pd.DataFrame(rows, columns=["subject", "timeline", "start"]).assign(duration=10.0)
    shown = {
        "a": events(1, 2, 3),
        "b": events(3, 4.01, 5),  # two seconds on, as the recording
        "c": events(1, 2, 3),
        "d": events(1, 2, 3, names="zyx"),
        "e": events(2, 3, 4),
    }
    runs = shared_runs(recordings, shown, tolerance=0.05)
    assert [{name: len(parts) for name, parts in run.recordings.items()} for run in runs] == [
        {"1": 2, "2": 1},
        {"2": 1},
        {"1": 1},
    ]
    # no repeats: the second time is a run of its own
    assert len(shared_runs(recordings, shown, tolerance=0.05, repeats=False)) == 4
    # from the first event on, e is as the others are
    aligned = shared_runs(recordings, shown, tolerance=0.05, align=True)
    assert [len(run.recordings["2"]) for run in aligned if "2" in run.recordings] == [2]
    assert aligned[0].events["onset"].tolist() == [0, 1, 2]
    assert [lead for _, lead in aligned[0].recordings["2"]] == [1, 2]
    # what lies outside of a recording belongs to none
    short = shared_runs(recordings.assign(duration=2.5), shown, tolerance=0.05)
    assert [run.events["onset"].tolist() for run in short] == [[1, 2], [2], [1, 2]]


def scan(data, affine=None, mask=None, **about):
    image = nib.Nifti1Image(data.astype(np.float32), np.eye(4) if affine is None else affine)
    own = {"space": "custom", "frequency": 0.5, "subject": "s/1", **about}
    return SimpleNamespace(read=lambda: image, read_mask=lambda: mask, **own)


def test_scans_become_series_of_voxels_and_of_regions():
    data = np.random.default_rng(0).normal(5, 1, (3, 4, 2, 30))
    data[0, 0, 0] = 0
    reader = ScanReader(None)
    series = reader.read(scan(data), None)
    assert series.shape == (30, 23)
    assert reader.rois["roi"].iloc[0] == "voxel_0_0_1"
    own = data[0, 0, 1]
    np.testing.assert_allclose(series[:, 0], (own - own.mean()) / own.std(), atol=1e-5)
    mask = nib.Nifti1Image((np.arange(24).reshape(3, 4, 2) >= 20).astype(np.uint8), np.eye(4))
    masked = ScanReader(None)
    assert masked.read(scan(data, mask=mask), None).shape == (30, 4)
    labels = np.ones((3, 4, 2), dtype=np.int32)
    labels[2] = 2
    atlas = Atlas("two", roi_table(["A", "B"]), "MNI152", labels=labels, affine=np.eye(4))
    regions = ScanReader(atlas)
    series = regions.read(scan(data), None)
    mean = data[2].mean((0, 1))
    np.testing.assert_allclose(series[:, 1], (mean - mean.mean()) / mean.std(), atol=1e-4)
    assert regions.rois["n_voxels"].tolist() == [15, 8]
    with pytest.raises(ValueError, match=r"got 'T1w', each subject's own: choose another space"):
        regions.read(scan(data, space="T1w"), None)
    with pytest.raises(ValueError, match=r"without a place in the brain, 24 of them.*give atlas=None"):
        regions.read(scan(data.reshape(24, 30)), None)


def test_series_without_a_grid():
    data = np.random.default_rng(0).normal(size=(6, 20))
    reader = ScanReader(None)
    series = reader.read(scan(data), None)
    np.testing.assert_allclose(series.std(dim=0, correction=0), np.ones(6), rtol=1e-5)
    assert reader.rois["unnamed"].all()
    with pytest.raises(ValueError, match=r"same voxels, got 6 and then 5 of s/2.*name one subject"):
        reader.read(scan(data[:5], subject="s/2"), None)
    sides = (np.array([1, 1, 0], dtype=np.int32), np.array([2, 0, 2], dtype=np.int32))
    surface = ScanReader(Atlas("sides", roi_table(["L", "R"]), "surface3", hemispheres=sides))
    series = surface.read(scan(data), None)
    mean = data[[3, 5]].mean(0)
    np.testing.assert_allclose(series[:, 1], (mean - mean.mean()) / mean.std(), atol=1e-5)
