"""A benchmark of stories: stimuli, nuisances and responses of several stories together, one run per story."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nfas_lightning.data.events import response_gap
from nfas_lightning.data.files import sha256_file
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.sounds import power_frames, read_sound
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.datamodules.stories.story import Story, StorySettings, story_design, story_stimuli
from nfas_lightning.datamodules.stories.story_responses import (
    StoryResponses,
    StoryScans,
    clean_scan,
    fewest_counts,
)
from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_option
from nfas_lightning.functional.confounds import high_pass_basis
from nfas_lightning.functional.temporal import fir_operators, hrf_operator

NUISANCES = ("word_rate", "sound_power")


def nuisance_names(settings: StorySettings) -> list[str]:
    """Return the names of the columns of `nuisance_series`.

    Example:
        >>> nuisance_names(StorySettings("audio", nuisances=["word_rate"], temporal="fir", delays=(1, 2)))
        ['word_rate_delay1', 'word_rate_delay2']
    """
    if settings.temporal != "fir":
        return list(settings.nuisances)
    return [f"{name}_delay{delay}" for name in settings.nuisances for delay in settings.delays]


def nuisance_series(story: Story, n_volumes: int, settings: StorySettings) -> Tensor:
    """Carry what every listener heard to volumes, by the operators that carry the features.

    With ``temporal="fir"`` there is one column per delay. Finite impulse responses are sums here, since an
    average over a repetition time forgets how many words there were.

    Returns:
        (T, Q) float64, in the order of `nuisance_names`. Word rate counts timed words; sound power is in dB
        above silence, one value every 0.1 s, of the story's own part of the file.
    """
    at = story.volume_times(n_volumes) + settings.slice_time_reference * story.tr
    columns = [torch.zeros(n_volumes, 0).double()]
    for name in settings.nuisances:
        check_option("nuisances", name, NUISANCES)
        if name == "word_rate":
            # words count at the moment at which their features stand
            anchor = settings.anchor if settings.modality == "language" else None
            onsets = story.word_times(anchor or "start")
            durations, values = torch.zeros_like(onsets), torch.ones_like(onsets)
        else:
            onsets, durations, values = _power(story)
        if settings.temporal == "fir":
            operators = fir_operators(
                onsets, at, tr=story.tr, delays=settings.delays, durations=durations, resample="sum"
            )
        else:
            operators = (hrf_operator(onsets, at, tr=story.tr, durations=durations, hrf=settings.hrf),)
        columns += [operator @ values[:, None] for operator in operators]
    return torch.cat(columns, dim=1)


def _power(story: Story) -> tuple[Tensor, Tensor, Tensor]:
    """Onsets on the scan's clock, durations and power of the frames that begin in the story's part."""
    power, step = power_frames(*read_sound(story.needed_wav()))
    starts = step * torch.arange(len(power)).double()
    own = (starts >= story.span[0]) & (starts < story.span[1])
    return starts[own] + story.offset, torch.full_like(starts[own], step), power[own]


_FOLDS = 5  # that a single story is scored in by default


def load_stories(
    dataset: str, stories: Sequence[Story], scans: StoryScans, settings: StorySettings
) -> tuple[StimulusSet, Responses]:
    """Read stories one after the other and pair them.

    The noise ceiling is estimated story by story and averaged over the stories that have two listeners, as
    the scores are when stories are held out; of a single story over five contiguous parts, as by default.
    With ``listeners="mean"`` a story's listeners are averaged as soon as they are read, and nothing of one
    listener is kept; with ``"each"`` a listener who did not hear a story has NaN there, which is masked per
    ROI and is no part of the group mean.

    Returns:
        N stimuli; responses (1, T, R) of ``"mean"``, (S, T, R) of ``"each"``.
    """
    check_option("listeners", settings.listeners, ("mean", "each"))
    check_option("ceiling", settings.ceiling, ("split_half", "loo_subject"))
    names = [story.name for story in stories]
    if not names or len(set(names)) != len(names):
        raise InputError(f"Stories must be one at least, each once, got {names}.")
    shown = story_stimuli(stories, settings)
    values, ceilings, nuisances, counts = [], [], [], []
    heard_by: list[tuple[str, ...]] = []
    hashes: dict[str, str] = {}
    scans.prefetch(stories)
    for story in stories:
        heard = scans.read(story)
        values.append(heard.mean if settings.listeners == "mean" else heard.values)
        heard_by.append(heard.subjects if settings.listeners == "each" else ("mean",))
        ceilings.append(heard.ceiling(settings.ceiling, n_folds=_FOLDS if len(stories) == 1 else 1))
        counts.append(heard.counts)
        nuisances.append(_nuisances(story, heard, settings, scans.high_pass))
        hashes |= heard.hashes
        hashes |= {f"{story.name}/{file.name}": sha256_file(file) for file in _files(story)}
        del heard  # or one story's listeners would stay while the next one's are read
    lengths = [part.shape[1] for part in values]
    design, times, runs = story_design(stories, shown.onsets, lengths, settings, shown.durations)
    subjects, joined = _side_by_side(values, heard_by)
    ceiling = torch.stack(ceilings).nanmean(dim=0)
    trs = [story.tr for story in stories]
    tr = max(set(trs), key=trs.count)
    responses = Responses(
        values=joined,
        rois=scans.rois(fewest_counts(counts)),
        stimulus_ids=shown.ids,
        dataset=dataset,
        modality=settings.modality,
        subjects=subjects,
        runs=runs,
        design=design,
        tr=tr,
        volume_times=times,
        drifts=_drifts(trs, lengths, scans.high_pass),
        nuisances=torch.cat(nuisances) if settings.nuisances else None,
        nuisance_names=tuple(nuisance_names(settings)),
        noise_ceiling=ceiling if bool(ceiling.isfinite().any()) else None,
        # the shortest repetition time has the most volumes in a response
        gap=response_gap(settings.temporal, min(trs), settings.delays),
        hashes=hashes | {"stimuli": shown.sha256},
    )
    return shown.stimuli, responses


def word_counts(stories: Sequence[Story]) -> dict[str, Any]:
    """Return how many words there are, how many were placed between neighbors, and how many have no time."""
    known = [story.words for story in stories if story.words is not None]
    return {
        "words": sum(len(words) for words in known),
        "words_interpolated": sum(int(words.interpolated.sum()) for words in known),
        "words_without_time": sum(int((~words.timed).sum()) for words in known),
    }


def _nuisances(
    story: Story, heard: StoryResponses, settings: StorySettings, high_pass: float | None
) -> Tensor:
    """Nuisances of the kept volumes, filtered and z-scored as the responses are; a constant one is 0."""
    series = nuisance_series(story, heard.values.shape[1], settings)
    cleaned = clean_scan(series, tr=story.tr, high_pass=high_pass) if series.shape[1] else series
    return cleaned.nan_to_num(nan=0.0).float()


def _drifts(trs: Sequence[float], lengths: Sequence[int], high_pass: float | None) -> Tensor | None:
    """Cosines slower than the filter (T, K), each story's side by side with those of none other."""
    if high_pass is None:
        return None
    own = [high_pass_basis(n, tr, high_pass) for n, tr in zip(lengths, trs, strict=True)]
    drifts: Tensor = torch.block_diag(*own)  # type: ignore[no-untyped-call]
    return drifts


def _files(story: Story) -> list[Any]:
    return [*story.files, *([story.wav] if story.wav is not None else [])]


def _side_by_side(
    values: list[Tensor], heard_by: Sequence[tuple[str, ...]]
) -> tuple[tuple[str, ...], Tensor]:
    """Put stories with different listeners on one axis of subjects, NaN where one did not listen.

    `values` is emptied story by story, so that there are never two copies of everything.
    """
    subjects = tuple(sorted({name for names in heard_by for name in names}))
    joined = values[0].new_empty(len(subjects), sum(part.shape[1] for part in values), values[0].shape[2])
    start = 0
    for names in heard_by:
        part = values.pop(0)
        rows = joined[:, start : start + part.shape[1]]
        for s, name in enumerate(subjects):
            rows[s] = part[names.index(name)] if name in names else torch.nan
        start += part.shape[1]
    return subjects, joined
