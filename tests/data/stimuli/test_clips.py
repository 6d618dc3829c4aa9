from __future__ import annotations

import numpy as np
import pytest
import torch

from nfas_lightning.data.stimuli.clips import ClipFiles, video_stimuli
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet, guess_modality
from nfas_lightning.data.stimuli.video import (
    every_frame,
    frame_series,
    frames_at,
)
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.functional.correlation import correlate
from nfas_lightning.functional.temporal import hrf_operator
from tests.helpers.clips import gray_levels, write_clip

AT = 2.0 * torch.arange(80).double()


def test_clips_as_stimuli(folder):
    files = ClipFiles([folder / "ramp.mp4", folder / "still.mp4"], 4)
    stimuli = StimulusSet(files, "vision")
    assert guess_modality(files) == "vision"
    batch = stimuli.collate([stimuli[0], stimuli[1]])
    # clips of unequal lengths, frame after frame
    assert batch["n_frames"].tolist() == [8, 6]
    assert batch["image"].shape == (14, 3, 16, 24)
    assert "clip" not in batch
    equal = StimulusSet(ClipFiles([folder / "ramp.mp4"] * 2, 4, seconds=2.0), "vision")
    batch = equal.collate([equal[0], equal[1]])
    assert batch["clip"].shape == (2, 8, 3, 16, 24)
    torch.testing.assert_close(batch["clip"].flatten(0, 1), batch["image"])
    assert batch["image"].data_ptr() == batch["clip"].data_ptr()
    assert batch["n_frames"].tolist() == [8, 8]
    # the frames of a shorter clip would stand for other times
    with pytest.raises(ValueError, match=r"still\.mp4 must last 2 s, got 1\.50 s"):
        ClipFiles(files.paths, 4, seconds=2.0)[1]
    with pytest.raises(ValueError, match="seconds must be a positive number, got 0"):
        ClipFiles(files.paths, 4, seconds=0)


def test_clips_alone(folder):
    files = ClipFiles([folder / "ramp.mp4", folder / "still.mp4"], 4)
    stimuli = StimulusSet(files, "vision", as_clips=True)
    with pytest.raises(ValueError, match=r"Clips of one batch must have the same frames.*\[6, 8\]"):
        stimuli.collate([stimuli[0], stimuli[1]])
    assert sorted(stimuli.collate([stimuli[0]])) == ["clip", "stimulus_id"]


def test_the_hash_is_of_files_and_choice(folder):
    paths = [folder / "ramp.mp4", folder / "still.mp4"]
    first = StimulusSet(ClipFiles(paths, 4), "vision").sha256()
    assert first == StimulusSet(ClipFiles(paths, 4), "vision").sha256()
    others = [ClipFiles(paths[::-1], 4), ClipFiles(paths, 5), ClipFiles(paths, 4, size=8)]
    assert len({first, *(StimulusSet(files, "vision").sha256() for files in others)}) == 4


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Two minutes at 10 frames per second whose luminance wanders over seconds."""
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
        ({"seconds": 0.0}, "seconds must be positive, got 0"),
        ({"anchor": "middle"}, "anchor must be one of"),
    ],
)
def test_films_that_can_not_be_cut(film, options, message):
    with pytest.raises(ValueError, match=message):
        video_stimuli(film, **{"seconds": 2.0, "hop": 1.0, **options})
    with pytest.raises(ValueError, match="times must be seconds in ascending order"):
        frames_at(film, [2.0, 1.0])
