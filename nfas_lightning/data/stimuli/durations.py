"""How long stimuli last, where their events do not say so: sounds and clips know it themselves."""

from __future__ import annotations

import warnings

import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data.stimuli.audio_windows import AudioWindows
from nfas_lightning.data.stimuli.clip_windows import ClipWindows
from nfas_lightning.data.stimuli.clips import ClipFiles, clip_seconds
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet

__all__ = ["own_seconds", "with_durations"]


def own_seconds(stimuli: StimulusSet) -> Tensor | None:
    """Return the (N,) seconds that stimuli last; None where nothing tells: images, texts, frames in memory.

    Example:
        >>> own_seconds(StimulusSet(torch.zeros(2, 4000), "audio", 8000))
        tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    if stimuli.modality == "audio":
        assert stimuli.sampling_rate is not None
        samples = torch.tensor([len(stimuli[i][1]) for i in range(len(stimuli))], dtype=torch.float64)
        return samples / stimuli.sampling_rate
    if isinstance(stimuli.items, ClipFiles):
        return torch.tensor([clip_seconds(path) for path in stimuli.items.paths], dtype=torch.float64)
    return None


def with_durations(events: pd.DataFrame, places: Tensor, stimuli: StimulusSet) -> pd.DataFrame:
    """Return events with a column ``duration``, where somebody gave it or the stimuli know it.

    What a network makes of a sound or clip is averaged over it: as an instant at its onset it would stand
    half its length too early.

    Args:
        events: E rows of `nfas_lightning.data.pairing.pair_events`.
        places: (E,) stimulus of each.
        stimuli: N of them.

    Raises:
        ValueError: windows of `audio_stimuli` or `video_stimuli`, which overlap, without the durations that
            these returned.
    """
    if "duration" in events:
        return events
    if isinstance(stimuli.items, AudioWindows | ClipWindows):
        raise ValueError(
            "events of windows must have a column 'duration', the piece of the recording that each window "
            f"stands for, got the columns {list(events.columns)}: pass the events that came with the windows"
            ", with the time at which the recording began added to their onsets."
        )
    seconds = own_seconds(stimuli)
    if seconds is None:
        if stimuli.modality == "vision" and stimuli[0][1].ndim == 4:
            warnings.warn(
                "Clips last, and neither events nor frames in memory say how long: their features count as "
                "instants at their onsets. Give events a column 'duration', or read clips with ClipFiles.",
                stacklevel=2,
            )
        return events
    return events.assign(duration=seconds[places].numpy())
