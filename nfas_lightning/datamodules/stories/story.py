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

from nfas_lightning.data.events import volume_design
from nfas_lightning.data.files import sha256_file
from nfas_lightning.data.regions.extraction import Scan
from nfas_lightning.data.stimuli.sounds import AudioWindows, sound_seconds
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.data.stimuli.texts import TextStimulus, context_windows, join_story
from nfas_lightning.data.stimuli.timing import Stretch, share_before, window_pieces
from nfas_lightning.data.stimuli.word_times import Words
from nfas_lightning.errors import InputError
from nfas_lightning.functional.ceiling import CeilingMethod
from nfas_lightning.functional.checks import check_option
from nfas_lightning.functional.hrf import HRFModel


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

    def volume_times(self, n_volumes: int) -> Tensor:
        """Return the (T,) seconds since the scan's start at which the kept volumes began."""
        return (self.first + torch.arange(n_volumes, dtype=torch.float64)) * self.tr

    def word_times(self, anchor: str = "start") -> Tensor:
        """Return the (N,) seconds since the scan's start of the words whose time is known."""
        words, share = self.needed_words(), share_before(anchor)
        times = words.onset + share * (words.offset - words.onset)
        return torch.from_numpy(times[words.timed] + self.offset)

    def needed_words(self) -> Words:
        """Return the words, or raise where there are none."""
        if self.words is None:
            raise InputError(
                f"Story {self.name} has no words here: language and word_rate need its word table."
            )
        return self.words

    def needed_wav(self) -> Path:
        """Return the sound file, or raise where there is none."""
        if self.wav is None:
            raise InputError(f"Story {self.name} has no sound file here: audio and sound_power need its wav.")
        return self.wav


class StoryStimuli(NamedTuple):
    """N stimuli of all stories, one after the other, their names and the hash of what is shown.

    Per story, the seconds on the scan's clock at which what its stimuli stand for begins, and how many it
    lasts; 0: an instant.
    """

    stimuli: StimulusSet
    ids: tuple[str, ...]
    onsets: tuple[Tensor, ...]
    durations: tuple[Tensor, ...]
    sha256: str


@dataclass(frozen=True)
class StorySettings:
    """How stories become stimuli and responses; each field is an argument of `StoryDataModule`."""

    modality: str
    window: int = 20
    anchor: str | None = None
    seconds: float = 10.0
    hop: float = 1.0
    sampling_rate: int = 16_000
    temporal: str = "hrf"
    hrf: HRFModel = "spm"
    delays: Sequence[int] = (1, 2, 3, 4)
    slice_time_reference: float = 0.0
    nuisances: Sequence[str] = ("word_rate", "sound_power")
    listeners: str = "mean"
    ceiling: CeilingMethod = "split_half"


def story_stimuli(stories: Sequence[Story], settings: StorySettings) -> StoryStimuli:
    """Make the stimuli of a modality and the times that their features belong to.

    - ``"language"``: every word whose time is known, with the words before it; words of unknown time are
      context alone. A word is an instant. A window never reaches into another story.
    - ``"audio"``: a window for every piece of one hop, which the window's feature stands for. Sound of
      another story in the same file is silence.
    """
    check_option("modality", settings.modality, ("audio", "language"))
    if settings.modality == "audio":
        return _sounds(stories, settings)
    texts: list[TextStimulus] = []
    ids: list[str] = []
    onsets = []
    for story in stories:
        words = story.needed_words()
        timed = np.flatnonzero(words.timed)
        if not len(timed):
            raise InputError(f"Story {story.name} must have words with times, got none of {len(words)}.")
        windows = context_windows(*join_story(words.words, story.language, story.text), settings.window)
        texts += [windows[i] for i in timed]
        ids += [f"{story.name}_{i:05d}_{words.words[i]}" for i in timed]
        onsets.append(story.word_times(settings.anchor or "start"))
    stimuli = StimulusSet(texts, "language")
    instants = tuple(torch.zeros_like(times) for times in onsets)
    return StoryStimuli(stimuli, tuple(ids), tuple(onsets), instants, stimuli.sha256())


def _sounds(stories: Sequence[Story], settings: StorySettings) -> StoryStimuli:
    seconds, hop, rate = settings.seconds, settings.hop, settings.sampling_rate
    anchor = settings.anchor or "center"
    stretches, ids, onsets, durations = [], [], [], []
    digest = hashlib.sha256(f"{seconds} {hop} {rate} {anchor}".encode())
    for story in stories:
        path = story.needed_wav()
        begins, lasts = window_pieces(min(sound_seconds(path), story.span[1]), hop, story.span[0])
        if not len(begins):
            raise InputError(
                f"Story {story.name} must have sound for one hop of {hop} s, got {path.name} without."
            )
        times = tuple((begins + lasts / 2).tolist())
        stretches.append(Stretch(path, times, story.span))
        ids += [f"{story.name}_{time:08.2f}s" for time in times]
        onsets.append(torch.from_numpy(begins + story.offset))
        durations.append(torch.from_numpy(lasts))
        digest.update(f"{sha256_file(path)} {story.span} {times}".encode())
    windows = AudioWindows(stretches, seconds, rate, anchor)
    stimuli = StimulusSet(windows, "audio", rate)
    return StoryStimuli(stimuli, tuple(ids), tuple(onsets), tuple(durations), digest.hexdigest())


def story_design(
    stories: Sequence[Story],
    onsets: Sequence[Tensor],
    n_volumes: Sequence[int],
    settings: StorySettings,
    durations: Sequence[Tensor] | None = None,
) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """Build each story's operators on its own clock, and join them: no event reaches another story.

    `onsets` and `durations` (None: instants) are the seconds of each story's stimuli on its scan's clock,
    `n_volumes` the volumes kept.

    Returns:
        Sparse (T, N) operators, one per delay; (T,) seconds since each scan's start; (T,) number of the
        story.
    """
    parts = []
    volume_times = []
    lengths = [None] * len(stories) if durations is None else durations
    for story, begins, lasts, n in zip(stories, onsets, lengths, n_volumes, strict=True):
        at = story.volume_times(n)
        volume_times.append(at)
        parts.append(
            volume_design(
                begins,
                at + settings.slice_time_reference * story.tr,
                tr=story.tr,
                durations=lasts,
                temporal=settings.temporal,
                hrf=settings.hrf,
                delays=settings.delays,
            )
        )
    runs = torch.repeat_interleave(torch.arange(len(stories)), torch.tensor(list(n_volumes)))
    operators = tuple(_block_diagonal(blocks) for blocks in zip(*parts, strict=True))
    return operators, torch.cat(volume_times), runs


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
