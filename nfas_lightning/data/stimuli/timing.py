"""When a stimulus is in time: the moment of its feature, and how long it lasts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_option

Anchor = Literal["start", "center", "end"]
ANCHORS: tuple[Anchor, ...] = get_args(Anchor)


def share_before(anchor: str) -> float:
    """Return the share of a stimulus's length that lies before its anchor."""
    check_option("anchor", anchor, ANCHORS)
    return {"start": 0.0, "center": 0.5, "end": 1.0}[anchor]


def window_pieces(
    stop: float, hop: float, start: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cut a stretch of seconds into pieces of one hop, one per window, whose anchor is the piece's middle.

    What is left at the end makes the last piece up to half a hop longer or shorter. Onsets and durations are
    (N,) each; N = 0 where the stretch is shorter than a hop.

    Example:
        >>> onsets, durations = window_pieces(3.25, 1.0)
        >>> onsets.tolist(), durations.tolist()
        ([0.0, 1.0, 2.0], [1.0, 1.0, 1.25])
    """
    if not hop > 0:
        raise InputError(f"hop must be a positive number of seconds, got {hop}.")
    whole = (stop - start) / hop
    n = int(np.floor(whole + 0.5)) if whole >= 1 - 1e-9 else 0
    edges = start + hop * np.arange(n + 1, dtype=np.float64)
    edges[n:] = stop
    return edges[:-1], np.diff(edges)


class Stretch(NamedTuple):
    """Windows of one file.

    Attributes:
        path: the file.
        times: seconds on its clock of the windows' anchors.
        span: seconds of the file that may be in them.
    """

    path: Path
    times: tuple[float, ...]
    span: tuple[float, float] = (0.0, math.inf)


class Windows(Dataset[Tensor]):
    """Base of the windows of equal length that sounds and films are cut into.

    Args:
        seconds: length of a window.
        anchor: the moment of a window that its time is that of: ``"center"`` where states are averaged over
            the window, ``"end"`` for the last state of a causal network, or ``"start"``.
    """

    def __init__(self, seconds: float, anchor: str) -> None:
        if not seconds > 0:
            raise InputError(f"seconds must be positive, got {seconds}.")
        self.seconds, self.anchor = seconds, anchor
        self.before = seconds * share_before(anchor)


def cut_recording(path: Path, lasts: float, hop: float) -> tuple[tuple[float, ...], pd.DataFrame]:
    """Return the middles of the `window_pieces` of a file, in seconds, and the pieces as events."""
    onsets, durations = window_pieces(lasts, hop)
    if not len(onsets):
        raise InputError(f"{path.name} must last a hop at least, {hop} s, got {lasts:.3g} s.")
    middles = tuple((onsets + durations / 2).tolist())
    return middles, pd.DataFrame({"onset": onsets, "duration": durations})


def check_moment(stimuli: Any, pooling: str) -> None:
    """Warn where a pooling describes another moment of the stimuli than the one that they are stamped with.

    ``"last"`` describes the end of a window, an average its middle, ``"cls"`` all of the context of a word.
    """
    windows = getattr(stimuli, "items", None)
    if isinstance(windows, Windows):
        # frames are averaged over a window, whatever is pooled inside each
        described = "end" if pooling == "last" and stimuli.modality == "audio" else "center"
        away = windows.seconds * share_before(described) - windows.before
        if away:
            warnings.warn(
                f"Features come {abs(away):g} s too {'early' if away > 0 else 'late'}: pooling={pooling!r} "
                f"describes the {described} of windows of {windows.seconds:g} s, and "
                f"anchor={windows.anchor!r} stamps them with their {windows.anchor}. Cut the windows with "
                f"anchor={described!r} for this network.",
                stacklevel=2,
            )
    is_text = pooling == "cls" and getattr(stimuli, "modality", None) == "language"
    if is_text and _has_context(stimuli[len(stimuli) - 1][1]):  # the first words of a story have none yet
        warnings.warn(
            "pooling='cls' describes a whole context, whose middle lies before the word that it is stamped "
            "with: use 'mean' or 'last', which take the word's own tokens, or window=0.",
            stacklevel=2,
        )


def check_own_tokens(batch: Mapping[str, Any], mask: Tensor | None) -> None:
    """Warn where words of a batch have a context and no mask (B, K) shows pooling which tokens are theirs."""
    if mask is None and any(_has_context(text) for text in batch.get("text", ())):
        warnings.warn(
            "The preprocessing returns no mask, so a mean over tokens describes the middle of a context, not "
            "the word it is stamped with: return ModelInputs with a mask over the tokens of each text's "
            "span, as TextPreprocess does, or use pooling='last'.",
            stacklevel=2,
        )


def _has_context(text: Any) -> bool:
    span = getattr(text, "span", None)
    return span is not None and span[0] > 0


def own_seconds(stimuli: StimulusSet) -> Tensor | None:
    """Return the (N,) seconds that stimuli last; None where unknown: images, texts, frames in memory."""
    if stimuli.modality == "audio":
        assert stimuli.sampling_rate is not None
        samples = torch.tensor([len(stimuli[i][1]) for i in range(len(stimuli))], dtype=torch.float64)
        return samples / stimuli.sampling_rate
    known = getattr(stimuli.items, "durations", None)  # of `ClipFiles`
    return None if known is None else known()


def with_durations(events: pd.DataFrame, places: Tensor, stimuli: StimulusSet) -> pd.DataFrame:
    """Return events with a column ``duration``, where it was given or the stimuli have it.

    What a network makes of a sound or clip is averaged over it: as an instant at its onset it would be half
    its length too early. Places (E,) are those of the events' stimuli.
    """
    if "duration" in events:
        return events
    if isinstance(stimuli.items, Windows):
        raise InputError(
            f"events of windows must have a column 'duration', got the columns {list(events.columns)}: pass "
            "the events that came with the windows."
        )
    seconds = own_seconds(stimuli)
    if seconds is not None:
        return events.assign(duration=seconds[places].numpy())
    if stimuli.modality == "vision" and getattr(stimuli[0][1], "ndim", 3) == 4:
        warnings.warn(
            "Clips last, and neither events nor frames in memory show how long: their features count as "
            "instants at their onsets. Give events a column 'duration', or read clips with ClipFiles.",
            stacklevel=2,
        )
    return events
