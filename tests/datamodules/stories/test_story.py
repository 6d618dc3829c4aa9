from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from nfas_lightning.data.events import response_gap, volume_design
from nfas_lightning.data.stimuli.sounds import power_frames, read_sound
from nfas_lightning.data.stimuli.texts import join_story
from nfas_lightning.data.stimuli.word_times import Words
from nfas_lightning.datamodules.stories.story import Story, StorySettings, story_design, story_stimuli
from nfas_lightning.datamodules.stories.story_benchmark import nuisance_series
from nfas_lightning.functional.hrf import hrf
from nfas_lightning.functional.temporal import fir_operators, hrf_operator

NAN = float("nan")


def story(name="one", onsets=(1.0, 2.0, NAN, 4.0), *, tr=2.0, offset=0.0, **more):
    onset = np.array(onsets, dtype=float)
    words = Words(tuple(f"w{i}" for i in range(len(onset))), onset, onset + 0.5)
    return Story(name=name, tr=tr, offset=offset, scans=(), words=words, **more)


# text


@pytest.mark.parametrize(
    ("words", "language", "text"),
    [
        (["don", "t", "you", "ve", "o", "clock"], "EN", "don't you've o clock"),
        (["didn't", "'s", "nt"], "EN", "didn't'snt"),
        (["TRUE", "love"], "EN", "true love"),
        (["l'", "ami", "qu\u2019", "il", "a"], "FR", "l'ami qu\u2019il a"),
        (["t", "s"], "FR", "t s"),
        (["当", "我", "六岁"], "CN", "当我六岁"),
    ],
)
def test_running_text(words, language, text):
    joined, spans = join_story(words, language)
    assert joined == text
    cut = [joined[slice(*span)] for span in spans]
    assert cut == [word.lower() if word == "TRUE" else word for word in words]


def test_a_word_without_text_shares_its_neighbors():
    joined, spans = join_story(["he", "hasnt", "", "slept"], "EN")
    assert joined == "he hasnt slept"
    assert spans[1] == spans[2]
    with pytest.raises(ValueError, match="language must be one of"):
        join_story(["er"], "DE")


# stimuli


def test_words_without_times_are_context_alone():
    shown = story_stimuli([story()], StorySettings("language", window=2))
    assert shown.ids == ("one_00000_w0", "one_00001_w1", "one_00003_w3")
    assert shown.stimuli[2][1].text == "w1 w2 w3"
    torch.testing.assert_close(shown.onsets[0], torch.tensor([1.0, 2.0, 4.0]).double())


def test_times_move_with_the_sound_file_and_the_anchor():
    shown = story_stimuli([story(offset=4.5)], StorySettings("language", anchor="end"))
    torch.testing.assert_close(shown.onsets[0], torch.tensor([6.0, 7.0, 9.0]).double())


def test_stories_without_anything_to_show(tmp_path):
    with pytest.raises(ValueError, match="Story one must have words with times, got none of 2"):
        story_stimuli([story(onsets=(NAN, NAN))], StorySettings("language"))
    with pytest.raises(ValueError, match="no words here"):
        story_stimuli([Story("one", 2.0, 0.0, ())], StorySettings("language"))
    with pytest.raises(ValueError, match="no sound file here"):
        story_stimuli([story()], StorySettings("audio"))
    wavfile.write(tmp_path / "a.wav", 1000, np.zeros(1500, dtype=np.int16))
    with pytest.raises(ValueError, match=r"sound for one hop of 2\.0 s"):
        story_stimuli([story(wav=tmp_path / "a.wav")], StorySettings("audio", hop=2.0))


def test_windows_stay_in_their_part_of_a_file(tmp_path):
    wavfile.write(tmp_path / "a.wav", 1000, np.full(10_000, 1000, dtype=np.int16))
    parts = [
        story("first", wav=tmp_path / "a.wav", span=(0.0, 4.0), offset=3.0),
        story("second", wav=tmp_path / "a.wav", span=(4.0, float("inf")), offset=3.0),
    ]
    shown = story_stimuli(parts, StorySettings("audio", seconds=1.0, hop=1.0, sampling_rate=1000))
    assert [len(times) for times in shown.onsets] == [4, 6]
    torch.testing.assert_close(shown.onsets[1][0], torch.tensor(7.0).double())
    assert len(shown.stimuli) == 10


def test_the_hash_of_sounds_depends_on_file_and_windows(tmp_path):
    path = tmp_path / "a.wav"
    wavfile.write(path, 1000, np.zeros(4000, dtype=np.int16))
    one = story_stimuli([story(wav=path)], StorySettings("audio")).sha256
    assert story_stimuli([story(wav=path)], StorySettings("audio")).sha256 == one
    assert story_stimuli([story(wav=path)], StorySettings("audio", seconds=5.0)).sha256 != one
    wavfile.write(path, 1000, np.ones(4000, dtype=np.int16))
    assert story_stimuli([story(wav=path)], StorySettings("audio")).sha256 != one


# designs


@pytest.mark.parametrize("temporal", ["hrf", "fir"])
def test_each_story_has_its_own_clock_and_events(temporal):
    stories = [story("one", first=3), story("two", onsets=(0.5, 9.0), tr=1.5, first=1)]
    times = [torch.tensor([1.0, 2.0, 4.0]).double(), torch.tensor([0.5, 9.0]).double()]
    operators, at, runs = story_design(
        stories, times, [5, 9], StorySettings("language", temporal=temporal, delays=(1, 2))
    )
    assert len(operators) == (1 if temporal == "hrf" else 2)
    torch.testing.assert_close(at, torch.cat([2.0 * torch.arange(3, 8), 1.5 * torch.arange(1, 10)]).double())
    assert runs.tolist() == [0] * 5 + [1] * 9
    for operator in operators:
        dense = operator.to_dense()
        assert bool((dense[:5, 3:] == 0).all())
        assert bool((dense[5:, :3] == 0).all())
    if temporal == "hrf":
        wanted = [hrf_operator(times[1], at[5:], tr=1.5)]
    else:
        wanted = fir_operators(times[1], at[5:], tr=1.5, delays=(1, 2))
    for operator, own in zip(operators, wanted, strict=True):
        torch.testing.assert_close(operator.to_dense()[5:, 3:], own.to_dense().float())


def test_events_last_and_stay_in_their_run():
    onsets, at = torch.tensor([1.0, 9.0, 2.0]).double(), 2.0 * torch.arange(12).double()
    runs = {"event_runs": torch.tensor([0, 0, 1]), "volume_runs": torch.arange(12) // 6}
    durations = torch.tensor([0.5, 3.0, 8.0]).double()
    (found,) = volume_design(onsets, at, tr=2.0, durations=durations, hrf="glover", **runs)
    wanted = hrf_operator(onsets, at, tr=2.0, durations=durations, hrf="glover", **runs)
    torch.testing.assert_close(found.to_dense(), wanted.to_dense())
    assert not found.to_dense()[6:, :2].any()
    found = volume_design(onsets, at, tr=2.0, temporal="fir", delays=(0, 3), **runs)
    wanted = fir_operators(onsets, at, tr=2.0, delays=(0, 3), **runs)
    for operator, own in zip(found, wanted, strict=True):
        torch.testing.assert_close(operator.to_dense(), own.to_dense())
    with pytest.raises(ValueError, match=r"got none for the runs \[1\]"):
        volume_design(onsets, at, tr=2.0, event_runs=runs["event_runs"], volume_runs=torch.zeros(12))


@pytest.mark.parametrize("kind", ["spm", "glover"])
def test_a_gap_covers_what_is_left_of_a_response(kind):
    t = torch.linspace(0, 32, 3201)
    area = hrf(t, kind).abs().cumsum(0)
    assert float(area[100 * round(1.3 * response_gap("hrf", 1.3))] / area[-1]) > 0.95
    assert response_gap("hrf", 1.3) == 16  # 20 s, rounded up
    assert response_gap("fir", 1.3, (2, 5)) == 5
    assert response_gap("none", 1.3) == response_gap("hrf", None) == 0


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["spm", "glover"])
def test_a_volume_stands_for_a_share_of_its_repetition_time(share, kind):
    told = story(onsets=(1.0, 5.0), tr=1.5, first=2)
    onsets = torch.tensor([1.0, 5.0]).double()
    at = 1.5 * torch.arange(2, 14).double() + share * 1.5
    wanted = hrf_operator(onsets, at, tr=1.5, hrf=kind).to_dense()
    choices = {"hrf": kind, "slice_time_reference": share}
    (operator,), times, _ = story_design(
        [told], [onsets], [12], StorySettings("language", temporal="hrf", **choices)
    )
    torch.testing.assert_close(operator.to_dense(), wanted.float())
    torch.testing.assert_close(times, 1.5 * torch.arange(2, 14).double())  # when its acquisition began
    series = nuisance_series(told, 12, StorySettings("language", nuisances=["word_rate"], **choices))
    torch.testing.assert_close(series[:, 0], wanted.sum(dim=1))


def test_windows_of_words_are_those_of_their_own_place():
    told = story(onsets=(NAN, 1.0, 2.0, NAN, 4.0))
    shown = story_stimuli([told, story("two")], StorySettings("language", window=1))
    assert [shown.stimuli[i][1].text for i in range(6)] == ["w0 w1", "w1 w2", "w3 w4", "w0", "w0 w1", "w2 w3"]


# nuisances


def test_word_rate_is_the_sum_over_words():
    series = nuisance_series(
        story(onsets=(1.0, 5.0), offset=2.0, first=1), 12, StorySettings("language", nuisances=["word_rate"])
    )
    at = 2.0 * torch.arange(1, 13).double()
    wanted = hrf_operator(torch.tensor([3.0, 7.0]).double(), at, tr=2.0).to_dense().sum(dim=1)
    torch.testing.assert_close(series[:, 0], wanted)


def test_sound_power_follows_the_sound(tmp_path):
    rate = 1000
    samples = np.random.default_rng(0).normal(0, 5000, 60 * rate)
    samples[: 20 * rate] = 0
    wavfile.write(tmp_path / "a.wav", rate, samples.astype(np.int16))
    told = story(wav=tmp_path / "a.wav", offset=4.0)
    power = nuisance_series(told, 40, StorySettings("language", nuisances=["sound_power"]))[:, 0]
    # silence until 24 s on the scan's clock, 60 dB above silence at most
    assert float(power[:13].abs().max()) < 1e-6
    assert 55 < float(power[22:30].mean()) < 66
    assert nuisance_series(told, 5, StorySettings("language", nuisances=[])).shape == (5, 0)
    # frames of a tenth of a second, each a boxcar
    sound, step = power_frames(*read_sound(tmp_path / "a.wav"))
    starts, at = 4.0 + step * torch.arange(600).double(), 2.0 * torch.arange(40).double() + 1.0
    boxcars = hrf_operator(starts, at, tr=2.0, durations=torch.full((600,), step).double(), hrf="glover")
    found = nuisance_series(
        told, 40, StorySettings("language", nuisances=["sound_power"], hrf="glover", slice_time_reference=0.5)
    )
    torch.testing.assert_close(found, boxcars @ sound[:, None])
    with pytest.raises(ValueError, match="nuisances must be one of 'word_rate', 'sound_power', got 'pitch'"):
        nuisance_series(told, 5, StorySettings("language", nuisances=["pitch"]))
