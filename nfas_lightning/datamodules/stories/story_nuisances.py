"""What every listener of a story heard, described without a network, on the clock of its volumes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nfas_lightning.data.stimuli.audio_windows import power_frames, read_wav
from nfas_lightning.datamodules.stories.story import Story
from nfas_lightning.functional.checks import check_option
from nfas_lightning.functional.hrf import HRFModel
from nfas_lightning.functional.temporal import fir_operators, hrf_operator

__all__ = ["NUISANCES", "nuisance_names", "nuisance_series"]

NUISANCES = ("word_rate", "sound_power")


def nuisance_names(names: Sequence[str], *, temporal: str = "hrf", delays: Sequence[int] = ()) -> list[str]:
    """Return the names of the columns of `nuisance_series`.

    Example:
        >>> nuisance_names(["word_rate"], temporal="fir", delays=(1, 2))
        ['word_rate_delay1', 'word_rate_delay2']
    """
    if temporal != "fir":
        return list(names)
    return [f"{name}_delay{delay}" for name in names for delay in delays]


def nuisance_series(
    story: Story,
    names: Sequence[str],
    n_volumes: int,
    *,
    anchor: str = "start",
    temporal: str = "hrf",
    hrf: HRFModel = "spm",
    delays: Sequence[int] = (1, 2, 3, 4),
    slice_time_reference: float = 0.0,
) -> Tensor:
    """Carry what every listener heard to volumes, by the operators that carry the features.

    Args:
        story: with words for ``"word_rate"``, with a wav for ``"sound_power"``.
        names: of `NUISANCES`.
        n_volumes: volumes kept.
        anchor: the moment of a word at which it counts, see `Story.word_times`.
        temporal: ``"hrf"``, or ``"fir"``: a column per delay. Finite impulse responses are sums here, since
            an average over a repetition time forgets how many words there were.
        hrf: ``"spm"`` or ``"glover"``.
        delays: of ``"fir"``, in volumes.
        slice_time_reference: see `nfas_lightning.datamodules.stories.story.story_design`.

    Returns:
        (T, Q) float64, in the order of `nuisance_names`. Word rate counts timed words; sound power is in dB
        above silence, a frame of 0.1 s, of the story's own part of the file.

    Raises:
        ValueError: an unknown name.
        FileNotFoundError: the wav file is missing.
    """
    at = story.volume_times(n_volumes) + slice_time_reference * story.tr
    columns = [torch.zeros(n_volumes, 0).double()]
    for name in names:
        check_option("nuisances", name, NUISANCES)
        if name == "word_rate":
            onsets = story.word_times(anchor)
            durations, values = torch.zeros_like(onsets), torch.ones_like(onsets)
        else:
            onsets, durations, values = _power(story)
        if temporal == "fir":
            operators = fir_operators(
                onsets, at, tr=story.tr, delays=delays, durations=durations, resample="sum"
            )
        else:
            operators = (hrf_operator(onsets, at, tr=story.tr, durations=durations, hrf=hrf),)
        columns += [operator @ values[:, None] for operator in operators]
    return torch.cat(columns, dim=1)


def _power(story: Story) -> tuple[Tensor, Tensor, Tensor]:
    """Onsets on the scan's clock, durations and power of the frames that begin in the story's part."""
    power, step = power_frames(*read_wav(story.needed_wav()))
    starts = step * torch.arange(len(power)).double()
    own = (starts >= story.span[0]) & (starts < story.span[1])
    return starts[own] + story.offset, torch.full_like(starts[own], step), power[own]
