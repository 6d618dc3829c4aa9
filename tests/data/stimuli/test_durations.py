"""Sounds and clips in a time series last as long as they do, whether or not their events say so."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.data.stimuli.clip_windows import video_stimuli
from nfas_lightning.data.stimuli.clips import ClipFiles, clip_seconds, every_frame, frames_at
from nfas_lightning.data.stimuli.durations import own_seconds, with_durations
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.data.stimuli.video_nuisances import frame_series
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.functional.correlation import correlate
from nfas_lightning.functional.hrf import hrf_integral
from nfas_lightning.functional.temporal import hrf_operator
from tests.helpers.clips import gray_levels, write_clip

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


def best_lag(stimuli, feature, target, **options):
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
    lag, r = best_lag(files, luminance, planted(luminance, seconds))
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
    lag, r = best_lag(sounds, power, target, sampling_rate=100, temporal=temporal, delays=(2,))
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
    with pytest.warns(UserWarning, match="neither events nor frames in memory say how long"):
        with_durations(events, places, StimulusSet(torch.zeros(2, 5, 3, 4, 4), "vision"))


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Two minutes at 10 frames a second whose luminance wanders over seconds."""
    noise = np.random.default_rng(0).normal(size=1200)
    level = np.convolve(noise, np.hanning(30), "same")
    frames = gray_levels((120 + 40 * level / level.std()).clip(0, 255))
    return write_clip(tmp_path_factory.mktemp("film") / "film.mp4", frames, fps=10)


@pytest.mark.parametrize(("seconds", "hop"), [(6.0, 1.0), (3.0, 1.7), (2.0, 2.0)])
def test_a_film_cut_into_windows_is_found_where_it_was(film, seconds, hop):
    """Planted: the luminance of every frame."""
    lasts, series = frame_series(every_frame(film))
    assert (len(series), float(lasts.sum())) == (1200, pytest.approx(120.0))
    begins = lasts.cumsum(0) - lasts + 5.0
    target = hrf_operator(begins, AT, tr=2.0, durations=lasts) @ series[:, :1]
    windows, events = video_stimuli(film, seconds=seconds, hop=hop, frames_per_second=4)
    feature = torch.stack([windows[i].float().mean() for i in range(len(windows))])
    r = {}
    for lag in np.arange(-4, 4.1, 0.5):
        moved = events.assign(onset=events["onset"] + 5.0 + lag)
        brain = ArrayDataModule(windows, torch.zeros(80, 1), events=moved, tr=2.0)
        brain.setup()
        r[lag] = float(correlate(brain.responses.carry(feature[:, None]).double(), target))
    assert max(r, key=r.get) == 0
    assert r[0] > 0.97
    with pytest.raises(ValueError, match=r"windows must have a column 'duration'.*came with the windows"):
        ArrayDataModule(windows, torch.zeros(80, 1), events=events[["onset"]], tr=2.0).setup()


def test_windows_of_a_film_show_its_frames_around_their_time(film):
    whole = torch.stack([picture for picture, _ in every_frame(film)])
    for anchor, first in (("start", 0.0), ("center", -1.0), ("end", -2.0)):
        windows, events = video_stimuli(film, seconds=2.0, hop=1.0, frames_per_second=10, anchor=anchor)
        assert len(windows) == len(events) == 120
        for index in (0, 47, 119):
            at = events["onset"][index] + 0.5 + first + (np.arange(20) + 0.5) / 10
            wanted = whole[np.clip(np.floor(at * 10 + 1e-6), 0, 1199).astype(int)]
            assert torch.equal(windows[index], wanted)
    assert (
        windows.sha256()
        == video_stimuli(film, seconds=2, hop=1, frames_per_second=10, anchor="end")[0].sha256()
    )
    assert windows.sha256() != video_stimuli(film, seconds=2, hop=1, frames_per_second=10)[0].sha256()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop": 0.0}, "hop must be a positive number"),
        ({"hop": 500.0}, r"film\.mp4 must last a hop at least, 500.0 s, got 120 s"),
        ({"seconds": 0.0}, "seconds and frames_per_second must be positive"),
        ({"anchor": "middle"}, "anchor must be one of"),
    ],
)
def test_films_that_can_not_be_cut(film, options, message):
    with pytest.raises(ValueError, match=message):
        video_stimuli(film, **{"seconds": 2.0, "hop": 1.0, **options})
    with pytest.raises(ValueError, match="times must be seconds in ascending order"):
        frames_at(film, [2.0, 1.0])
