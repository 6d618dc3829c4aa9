"""Features stand where their stimulus is: what was planted through the response is found without a lag."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.io import wavfile

from nfas_lightning.data.stimuli.clips import ClipFiles
from nfas_lightning.data.stimuli.sounds import read_sound
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.data.stimuli.texts import TextStimulus
from nfas_lightning.data.stimuli.timing import (
    Windows,
    check_moment,
    own_seconds,
    share_before,
    window_pieces,
    with_durations,
)
from nfas_lightning.data.stimuli.video import clip_seconds
from nfas_lightning.data.stimuli.word_times import Words
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.datamodules.stories.story import Story, StorySettings, story_design, story_stimuli
from nfas_lightning.datamodules.stories.story_benchmark import nuisance_names, nuisance_series
from nfas_lightning.functional.correlation import correlate
from nfas_lightning.functional.hrf import hrf_integral
from tests.helpers.clips import gray_levels, write_clip

PAGE = Path(__file__).parents[3] / "docs" / "method" / "encoding.md"
RATE, N_VOLUMES = 200, 205
FRAME = RATE // 10
LAGS = np.arange(-6, 6.1, 0.5)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A story of 401.7 s: noise whose level wanders over seconds, and words that follow it."""
    rng = np.random.default_rng(0)
    n = int(401.7 * RATE)
    level = np.convolve(rng.normal(size=n), np.hanning(3 * RATE), "same")
    samples = 0.02 * rng.normal(size=n) * 10 ** (0.3 * level / level.std())
    path = tmp_path_factory.mktemp("sound") / "a.wav"
    wavfile.write(path, RATE, samples.clip(-1, 1).astype(np.float32))
    onset = np.cumsum(rng.uniform(0.2, 1.5, 400))
    words = Words(tuple(f"w{i}" for i in range(400)), onset, onset + 0.15)
    return Story("told", 2.0, 3.1, (), first=2, wav=path, words=words)


def frames(story, windows):
    """Power of each tenth of a second of each window, in dB above silence as the nuisance has it."""
    samples, _ = read_sound(story.wav)
    loudest = decibels(torch.from_numpy(samples[: len(samples) // FRAME * FRAME]).view(-1, FRAME)).max()
    return (decibels(windows.view(len(windows), -1, FRAME)) - loudest + 60).clamp_min(0).double()


def decibels(wave):
    return 10 * wave.square().mean(dim=-1).clamp_min(1e-10).log10()


def best_lag(story, shown, feature, planted, lags=LAGS, **options):
    """The lag of the stimuli's clock at which a feature predicts what was planted best, and r without one."""
    r = {}
    for lag in lags:
        operators, _, _ = story_design(
            [story],
            [shown.onsets[0] + lag],
            [N_VOLUMES],
            StorySettings("language", **options),
            shown.durations,
        )
        r[lag] = float(correlate(operators[0].double() @ feature[:, None], planted).mean())
    return max(r, key=r.get), r[0.0]


@pytest.mark.parametrize(
    ("anchor", "pooled", "seconds", "hop", "least"),
    [
        ("center", "mean", 10.0, 1.0, 0.94),
        ("center", "mean", 4.0, 1.0, 0.99),
        ("center", "mean", 4.0, 1.3, 0.99),  # no divisor of the repetition time
        ("center", "mean", 4.0, 3.0, 0.98),  # longer than the repetition time
        ("center", "mean", 1.0, 1.0, 0.99),
        ("end", "last", 10.0, 1.0, 0.99),
        ("start", "first", 4.0, 1.0, 0.99),
    ],
)
def test_sound_is_found_where_it_was(told, anchor, pooled, seconds, hop, least):
    shown = story_stimuli(
        [told], StorySettings("audio", seconds=seconds, hop=hop, sampling_rate=RATE, anchor=anchor)
    )
    power = frames(told, torch.stack([shown.stimuli[i][1] for i in range(len(shown.ids))]))
    feature = {"mean": power.mean(dim=1), "last": power[:, -1], "first": power[:, 0]}[pooled]
    planted = nuisance_series(told, N_VOLUMES, StorySettings("language", nuisances=["sound_power"]))
    lag, r = best_lag(told, shown, feature, planted, temporal="hrf")
    assert lag == 0
    assert r > least


def test_windows_stamped_with_another_moment_than_they_describe_come_late(told):
    shown = story_stimuli([told], StorySettings("audio", seconds=10.0, sampling_rate=RATE, anchor="end"))
    power = frames(told, torch.stack([shown.stimuli[i][1] for i in range(len(shown.ids))]))
    planted = nuisance_series(told, N_VOLUMES, StorySettings("language", nuisances=["sound_power"]))
    lag, r = best_lag(told, shown, power.mean(dim=1), planted, temporal="hrf")
    assert lag < -2
    assert r < 0.85


def test_the_page_says_what_it_costs(told):
    costs = re.findall(r"^\| (\d+) s \| ([\d.]+) \| ([\d.]+) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert len(costs) == 3
    planted = nuisance_series(told, N_VOLUMES, StorySettings("language", nuisances=["sound_power"]))
    for seconds, *wanted in costs:
        r = []
        for anchor in ("end", "center"):
            settings = StorySettings("audio", seconds=float(seconds), sampling_rate=RATE, anchor=anchor)
            shown = story_stimuli([told], settings)
            windows = torch.stack([shown.stimuli[i][1] for i in range(len(shown.ids))])
            _, found = best_lag(told, shown, frames(told, windows).mean(dim=1), planted, lags=(0.0,))
            r.append(found)
        assert r == pytest.approx([float(number) for number in wanted], abs=0.001)


@pytest.mark.parametrize("hop", [1.0, 1.3, 3.0])
def test_finite_impulse_responses_have_the_same_clock(told, hop):
    shown = story_stimuli([told], StorySettings("audio", seconds=4.0, hop=hop, sampling_rate=RATE))
    power = frames(told, torch.stack([shown.stimuli[i][1] for i in range(len(shown.ids))]))
    planted = nuisance_series(
        told, N_VOLUMES, StorySettings("language", nuisances=["sound_power"], temporal="fir", delays=(2,))
    )
    lag, r = best_lag(told, shown, power.mean(dim=1), planted, temporal="fir", delays=(2,))
    assert lag == 0
    assert r > 0.9


@pytest.mark.parametrize("anchor", [None, "start", "center", "end"])
def test_words_are_found_where_they_were(told, anchor):
    shown = story_stimuli([told], StorySettings("language", anchor=anchor))
    feature = torch.from_numpy(np.random.default_rng(1).normal(size=400))
    # each word drives its response as long as it is heard
    times = told.volume_times(N_VOLUMES)[:, None]
    onset, offset = (torch.from_numpy(at + told.offset) for at in (told.words.onset, told.words.offset))
    planted = (hrf_integral(times - onset) - hrf_integral(times - offset)) @ feature[:, None]
    lag, r = best_lag(told, shown, feature, planted, temporal="hrf")
    assert lag == 0
    assert r > 0.99


@pytest.mark.parametrize("temporal", ["hrf", "fir"])
@pytest.mark.parametrize("anchor", ["start", "end"])
def test_the_word_rate_is_what_a_constant_of_the_words_becomes(told, anchor, temporal):
    shown = story_stimuli([told], StorySettings("language", anchor=anchor))
    options = {"temporal": temporal, "delays": (1, 3)}
    rate = nuisance_series(
        told, N_VOLUMES, StorySettings("language", nuisances=["word_rate"], anchor=anchor, **options)
    )
    operators, _, _ = story_design([told], shown.onsets, [N_VOLUMES], StorySettings("language", **options))
    for column, operator in zip(rate.T, operators, strict=True):
        dense = operator.to_dense()
        counts = dense if temporal == "hrf" else (dense > 0).float()  # features are averaged, the rate is not
        torch.testing.assert_close(column.float(), counts.sum(dim=1))
    assert nuisance_names(StorySettings("language", nuisances=["word_rate"], **options)) == (
        ["word_rate"] if temporal == "hrf" else ["word_rate_delay1", "word_rate_delay3"]
    )


def test_two_stories_of_one_file_hear_their_own_part_alone(tmp_path):
    wavfile.write(tmp_path / "a.wav", 1000, np.full(10_000, 0.5, dtype=np.float32))
    first, second = (
        Story(name, 2.0, 3.0, (), wav=tmp_path / "a.wav", span=span)
        for name, span in (("first", (0.0, 4.0)), ("second", (4.0, float("inf"))))
    )
    shown = story_stimuli([first, second], StorySettings("audio", seconds=4.0, sampling_rate=1000))
    last, next_one = shown.stimuli[3][1], shown.stimuli[4][1]
    assert last.nonzero()[:, 0].tolist() == list(range(2500))  # 1.5 to 4 of 1.5 to 5.5 s
    assert next_one.nonzero()[:, 0].tolist() == list(range(1500, 4000))
    # and so does their sound power
    both = sum(
        nuisance_series(story, 20, StorySettings("language", nuisances=["sound_power"]))
        for story in (first, second)
    )
    whole = Story("whole", 2.0, 3.0, (), wav=tmp_path / "a.wav")
    torch.testing.assert_close(
        both, nuisance_series(whole, 20, StorySettings("language", nuisances=["sound_power"]))
    )


def test_every_moment_is_in_one_piece():
    for stop, hop, start in ((10.0, 0.1, 0.0), (9.6, 3.0, 2.5), (0.6, 0.2, 0.0), (1.0, 1.0, 0.0)):
        onsets, durations = window_pieces(stop, hop, start)
        np.testing.assert_allclose(onsets + durations, [*onsets[1:], stop])
        assert onsets[0] == start
        assert (abs(durations / hop - 1) <= 0.5).all()
    assert len(window_pieces(0.3, 0.1)[0]) == 3  # 0.3 / 0.1 is less than 3 in binary
    assert len(window_pieces(0.9, 1.0)[0]) == 0
    with pytest.raises(ValueError, match="hop must be a positive number"):
        window_pieces(1.0, 0.0)
    with pytest.raises(ValueError, match="anchor must be one of 'start', 'center', 'end', got 'middle'"):
        share_before("middle")


class FourSeconds(Windows):
    def __init__(self, anchor):
        super().__init__(4.0, anchor)

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return torch.zeros(8)


@pytest.mark.parametrize(
    ("anchor", "pooling", "said"),
    [
        ("center", "auto", None),
        ("center", "mean", None),
        ("end", "last", None),
        ("center", "last", "2 s too early.*describes the end.*Cut the windows with anchor='end'"),
        ("end", "mean", "2 s too late.*describes the center.*Cut the windows with anchor='center'"),
    ],
)
def test_a_pooling_that_describes_another_moment_is_said(anchor, pooling, said):
    stimuli = StimulusSet(FourSeconds(anchor), "audio", 8)
    if said:
        with pytest.warns(UserWarning, match=said):
            check_moment(stimuli, pooling)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_moment(stimuli, pooling)


def test_the_first_token_of_a_context_is_no_word_s():
    words = StimulusSet([TextStimulus("so", (0, 2)), TextStimulus("so she", (3, 6))], "language")
    with pytest.warns(UserWarning, match="pooling='cls' describes a whole context"):
        check_moment(words, "cls")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_moment(words, "last")
        check_moment(StimulusSet(["a sentence", "and another"], "language"), "cls")
        check_moment(None, "cls")


ONSETS = np.array([3.0, 21.0, 32.0, 60.0, 88.0])
AT = 2.0 * torch.arange(80).double()


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    counts = (60, 240, 90, 300, 150)
    levels = (20, 60, 100, 150, 220)
    return [
        write_clip(folder / f"{i}.mp4", gray_levels([level] * count))
        for i, (level, count) in enumerate(zip(levels, counts, strict=True))
    ]


def planted(values, seconds):
    """What stimuli of a strength do that last as long: a boxcar each, through the response."""
    since = AT[:, None] - torch.from_numpy(ONSETS)
    return (hrf_integral(since) - hrf_integral(since - seconds)) @ values.double()[:, None]


def lag_of_design(stimuli, feature, target, **options):
    r = {}
    for lag in np.arange(-6, 6.1, 0.5):
        events = {"onset": ONSETS + lag}
        brain = ArrayDataModule(stimuli, torch.zeros(80, 1), events=events, tr=2.0, **options)
        brain.setup()
        r[lag] = float(correlate(brain.responses.carry(feature[:, None].float()).double(), target))
    return max(r, key=r.get), r[0.0]


def test_clips_on_the_volumes_clock_are_found_where_they_were(clips):
    """Planted: the luminance of clips of 2 to 10 s."""
    files = ClipFiles(clips, 1)
    luminance = torch.stack([files[i].float().mean() for i in range(5)])
    seconds = torch.tensor([2.0, 8.0, 3.0, 10.0, 5.0]).double()
    torch.testing.assert_close(own_seconds(StimulusSet(files, "vision")), seconds)
    lag, r = lag_of_design(files, luminance, planted(luminance, seconds))
    assert lag == 0
    assert r > 0.999
    assert clip_seconds(clips[0]) == pytest.approx(2.0)


@pytest.mark.parametrize("temporal", ["hrf", "fir"])
def test_sounds_on_the_volumes_clock_are_found_where_they_were(temporal):
    rng = np.random.default_rng(0)
    sounds = [rng.uniform(-level, level, n * 100) for level, n in ((0.1, 2), (0.9, 8), (0.4, 3), (0.6, 10))]
    sounds.append(0.2 * np.ones(500))
    power = torch.tensor([float((sound**2).mean()) for sound in sounds])
    seconds = torch.tensor([2.0, 8.0, 3.0, 10.0, 5.0]).double()
    if temporal == "hrf":
        target = planted(power, seconds)
    else:  # the power of each repetition time, two volumes later
        fine = torch.arange(0, 160, 0.01).double()
        inside = (fine[:, None] >= torch.from_numpy(ONSETS)) & (
            fine[:, None] < torch.from_numpy(ONSETS) + seconds
        )
        target = (inside.double() @ power.double()).view(80, 200).mean(dim=1).roll(2)[:, None]
    lag, r = lag_of_design(sounds, power, target, sampling_rate=100, temporal=temporal, delays=(2,))
    assert lag == 0
    assert r > (0.999 if temporal == "hrf" else 0.95)


def test_what_events_say_counts_and_what_nobody_knows_is_said():
    events, places = pd.DataFrame({"onset": [0.0, 5.0, 9.0]}), torch.tensor([1, 0, 1])
    sounds = StimulusSet([torch.zeros(50), torch.zeros(200)], "audio", 100)
    assert with_durations(events, places, sounds)["duration"].tolist() == [2.0, 0.5, 2.0]
    told = events.assign(duration=1.0)
    assert with_durations(told, places, sounds) is told
    images = StimulusSet(torch.zeros(2, 3, 4, 4), "vision")
    assert "duration" not in with_durations(events, places, images)
    with pytest.warns(UserWarning, match="neither events nor frames in memory show how long"):
        with_durations(events, places, StimulusSet(torch.zeros(2, 5, 3, 4, 4), "vision"))
