"""Stories: from words and sounds to stimuli, designs and nuisances on each scan's clock."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nfas_lightning.data.audio_windows import AudioWindows, Stretch, power_frames, read_wav, window_ends
from nfas_lightning.data.events import volume_design
from nfas_lightning.data.extraction import Scan
from nfas_lightning.data.readers import sha256_file
from nfas_lightning.data.stimuli import TextStimulus
from nfas_lightning.data.stimulus_set import StimulusSet
from nfas_lightning.data.story_text import join_story
from nfas_lightning.data.transcript import context_windows
from nfas_lightning.data.words import Words
from nfas_lightning.functional.checks import check_option
from nfas_lightning.functional.hrf import HRFModel
from nfas_lightning.functional.temporal import hrf_operator

__all__ = [
    "NUISANCES",
    "Story",
    "StoryScan",
    "StoryStimuli",
    "nuisance_series",
    "story_design",
    "story_stimuli",
]

NUISANCES = ("word_rate", "sound_power")


class StoryScan(NamedTuple):
    """One scan of one subject listening to a story.

    Attributes:
        subject: e.g. ``"sub-001"``.
        scan: its files.
        confounds: table of regressors of files that are not clean, None for clean ones.
    """

    subject: str
    scan: Scan
    confounds: Path | None = None


@dataclass(frozen=True, eq=False)
class Story:
    """One story, or section of one, which is one run: who heard it, and how its clocks relate.

    Attributes:
        name: unique name.
        tr: repetition time in seconds.
        offset: seconds from the scan's start to the sound file's: scan time = time in the file + offset.
        first: first volume kept, counted from the scan's start.
        stop: volume that the kept ones end before; None: the scan's end.
        drop_last: volumes dropped at the scan's end, where `stop` is None.
        n_scanned: volumes that each scan must have; None: unchecked.
        scans: who heard it; a subject's several scans are repeats.
        words: what was heard, on the sound file's clock.
        text: the printed text, for punctuation and capitals.
        language: ``"EN"``, ``"CN"`` or ``"FR"``.
        wav: the sound file.
        span: seconds of the sound file that belong to the story.
        files: tables that were read, for the hashes.
    """

    name: str
    tr: float
    offset: float
    scans: tuple[StoryScan, ...]
    first: int = 0
    stop: int | None = None
    drop_last: int = 0
    n_scanned: int | None = None
    words: Words | None = None
    text: str | None = None
    language: str = "EN"
    wav: Path | None = None
    span: tuple[float, float] = (0.0, math.inf)
    files: tuple[Path, ...] = ()


class StoryStimuli(NamedTuple):
    """Stimuli of all stories, one after the other.

    Attributes:
        stimuli: N of them.
        ids: N names.
        times: per story, the seconds on the scan's clock that its stimuli are anchored to.
        sha256: hash of what is shown.
    """

    stimuli: StimulusSet
    ids: tuple[str, ...]
    times: tuple[Tensor, ...]
    sha256: str


def story_stimuli(
    stories: Sequence[Story],
    modality: str,
    *,
    window: int = 20,
    anchor: str = "onset",
    seconds: float = 10.0,
    hop: float = 1.0,
    sampling_rate: int = 16_000,
) -> StoryStimuli:
    """Make the stimuli of a modality and the times that their features belong to.

    - ``"language"``: every word whose time is known, with the words before it; words of unknown time are
      context alone. A window never reaches into another story.
    - ``"audio"``: windows of equal length that end at their time, a hop apart.

    Args:
        stories: at least one.
        modality: ``"language"`` or ``"audio"``.
        window: words of context before each word.
        anchor: ``"onset"`` or ``"offset"``: the moment of a word that its feature belongs to.
        seconds: length of an audio window.
        hop: seconds between the ends of two of them.
        sampling_rate: Hz of audio windows.

    Raises:
        ValueError: an unknown option, or a story without stimuli.
    """
    check_option("modality", modality, ("audio", "language"))
    check_option("anchor", anchor, ("onset", "offset"))
    if modality == "audio":
        return _sounds(stories, seconds, hop, sampling_rate)
    texts: list[TextStimulus] = []
    ids: list[str] = []
    times = []
    for story in stories:
        words = _words(story)
        timed = np.flatnonzero(words.timed)
        if not len(timed):
            raise ValueError(f"Story {story.name} must have words with times, got none of {len(words)}.")
        windows = context_windows(*join_story(words.words, story.language, story.text), window)
        texts += [windows[i] for i in timed]
        ids += [f"{story.name}_{i:05d}_{words.words[i]}" for i in timed]
        times.append(
            torch.from_numpy((words.onset if anchor == "onset" else words.offset)[timed] + story.offset)
        )
    stimuli = StimulusSet(texts, "language")
    return StoryStimuli(stimuli, tuple(ids), tuple(times), stimuli.sha256())


def _sounds(stories: Sequence[Story], seconds: float, hop: float, sampling_rate: int) -> StoryStimuli:
    if not hop > 0:
        raise ValueError(f"hop must be a positive number of seconds, got {hop}.")
    stretches, ids, times = [], [], []
    digest = hashlib.sha256(f"{seconds} {hop} {sampling_rate}".encode())
    for story in stories:
        path = _wav(story)
        samples, rate = read_wav(path)
        ends = window_ends(len(samples) / rate, hop)
        ends = ends[(ends > story.span[0]) & (ends <= story.span[1])]
        if not len(ends):
            raise ValueError(
                f"Story {story.name} must have sound for one hop of {hop} s, got {path.name} without."
            )
        stretches.append(Stretch(path, tuple(ends.tolist())))
        ids += [f"{story.name}_{end:08.2f}s" for end in ends]
        times.append(torch.from_numpy(ends + story.offset))
        digest.update(f"{sha256_file(path)} {len(ends)} {ends[0]}".encode())
    stimuli = StimulusSet(AudioWindows(stretches, seconds, sampling_rate), "audio", sampling_rate)
    return StoryStimuli(stimuli, tuple(ids), tuple(times), digest.hexdigest())


def story_design(
    stories: Sequence[Story],
    times: Sequence[Tensor],
    n_volumes: Sequence[int],
    *,
    temporal: str,
    hrf: HRFModel = "spm",
    delays: Sequence[int] = (1, 2, 3, 4),
    slice_time_reference: float = 0.0,
) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """Build each story's operators on its own clock, and join them: no event reaches another story.

    Args:
        stories: J of them.
        times: per story, seconds of its stimuli on the scan's clock.
        n_volumes: per story, the volumes kept.
        temporal: ``"hrf"`` or ``"fir"``, see `volume_design`.
        hrf: ``"spm"`` or ``"glover"``.
        delays: of ``"fir"``, in volumes.
        slice_time_reference: the moment that a volume stands for, as a share of the repetition time.

    Returns:
        Sparse (T, N) operators, one a delay; (T,) seconds since each scan's start; (T,) number of the story.
    """
    parts = []
    volume_times = []
    for story, onsets, n in zip(stories, times, n_volumes, strict=True):
        at = _volume_times(story, n)
        volume_times.append(at)
        shifted = at + slice_time_reference * story.tr
        parts.append(volume_design(onsets, shifted, tr=story.tr, temporal=temporal, hrf=hrf, delays=delays))
    runs = torch.repeat_interleave(torch.arange(len(stories)), torch.tensor(list(n_volumes)))
    operators = tuple(_block_diagonal(blocks) for blocks in zip(*parts, strict=True))
    return operators, torch.cat(volume_times), runs


def nuisance_series(
    story: Story,
    names: Sequence[str],
    n_volumes: int,
    *,
    hrf: HRFModel = "spm",
    slice_time_reference: float = 0.0,
) -> Tensor:
    """Convolve what every listener heard with a haemodynamic response.

    Args:
        story: with words for ``"word_rate"``, with a wav for ``"sound_power"``.
        names: of `NUISANCES`.
        n_volumes: volumes kept.
        hrf: ``"spm"`` or ``"glover"``.
        slice_time_reference: see `story_design`.

    Returns:
        (T, Q) float64. Word rate counts timed words; sound power is in dB above silence, a frame of 0.1 s.

    Raises:
        ValueError: an unknown name.
        FileNotFoundError: the wav file is missing.
    """
    at = _volume_times(story, n_volumes) + slice_time_reference * story.tr
    columns = []
    for name in names:
        check_option("nuisances", name, NUISANCES)
        if name == "word_rate":
            words = _words(story)
            onsets = torch.from_numpy(words.onset[words.timed] + story.offset)
            series = hrf_operator(onsets, at, tr=story.tr, hrf=hrf) @ torch.ones(len(onsets), 1).double()
        else:
            power, step = power_frames(*read_wav(_wav(story)))
            starts = step * torch.arange(len(power)).double() + story.offset
            durations = torch.full_like(starts, step)
            series = hrf_operator(starts, at, tr=story.tr, durations=durations, hrf=hrf) @ power[:, None]
        columns.append(series)
    return torch.cat([torch.zeros(n_volumes, 0).double(), *columns], dim=1)


def _volume_times(story: Story, n_volumes: int) -> Tensor:
    return (story.first + torch.arange(n_volumes, dtype=torch.float64)) * story.tr


def _words(story: Story) -> Words:
    if story.words is None:
        raise ValueError(f"Story {story.name} has no words here: language and word_rate need its word table.")
    return story.words


def _wav(story: Story) -> Path:
    if story.wav is None:
        raise ValueError(f"Story {story.name} has no sound file here: audio and sound_power need its wav.")
    return story.wav


def _block_diagonal(blocks: Sequence[Tensor]) -> Tensor:
    rows = columns = 0
    indices, values = [], []
    for block in blocks:
        block = block.coalesce()
        indices.append(block.indices() + torch.tensor([[rows], [columns]]))
        values.append(block.values())
        rows, columns = rows + block.shape[0], columns + block.shape[1]
    return torch.sparse_coo_tensor(
        torch.cat(indices, dim=1), torch.cat(values).float(), (rows, columns), check_invariants=True
    ).coalesce()
