"""Where in a stimulus its feature stands: the moment of a window or word that a time series answers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nfas_lightning.functional.checks import check_option

__all__ = ["ANCHORS", "Anchor", "check_moment", "check_own_tokens", "share_before", "window_pieces"]

Anchor = Literal["start", "center", "end"]
ANCHORS: tuple[Anchor, ...] = get_args(Anchor)
_SHARE = {"start": 0.0, "center": 0.5, "end": 1.0}


def share_before(anchor: str) -> float:
    """Return the share of a stimulus's length that lies before its anchor.

    Example:
        >>> share_before("center")
        0.5
    """
    check_option("anchor", anchor, ANCHORS)
    return _SHARE[anchor]


def window_pieces(
    stop: float, hop: float, start: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cut a stretch of time into pieces of one hop, for each of which one window stands.

    Every moment of the stretch is in one piece: what is left at the end makes the last piece up to half a hop
    longer or shorter. A window's anchor is its piece's middle.

    Args:
        stop: seconds at which the stretch ends.
        hop: length of a piece in seconds.
        start: seconds at which the stretch begins.

    Returns:
        Onsets and durations in seconds, (N,) each; N = 0 where the stretch is shorter than a hop.

    Raises:
        ValueError: `hop` is not positive.

    Example:
        >>> onsets, durations = window_pieces(3.25, 1.0)
        >>> onsets.tolist(), durations.tolist()
        ([0.0, 1.0, 2.0], [1.0, 1.0, 1.25])
    """
    if not hop > 0:
        raise ValueError(f"hop must be a positive number of seconds, got {hop}.")
    whole = (stop - start) / hop
    n = int(np.floor(whole + 0.5)) if whole >= 1 - 1e-9 else 0
    edges = start + hop * np.arange(n + 1, dtype=np.float64)
    edges[n:] = stop
    return edges[:-1], np.diff(edges)


def check_moment(stimuli: Any, pooling: str) -> None:
    """Warn where a pooling describes another moment of the stimuli than the one that they are stamped with.

    The last token of a window describes its end, and an average its middle; a first token that stands for the
    whole text (CLS) describes all of the context of a word.

    Args:
        stimuli: a `StimulusSet`, or anything else, which has no windows.
        pooling: see `nfas_lightning.hooks.pool`.
    """
    windows = getattr(stimuli, "items", None)
    anchor, seconds = getattr(windows, "anchor", None), getattr(windows, "seconds", None)
    if anchor is not None and seconds is not None:
        # frames are averaged over a window, whatever is pooled inside each
        described = "end" if pooling == "last" and stimuli.modality == "audio" else "center"
        away = seconds * (share_before(described) - share_before(anchor))
        if away:
            warnings.warn(
                f"Features come {abs(away):g} s too {'early' if away > 0 else 'late'}: pooling={pooling!r} "
                f"describes the {described} of windows of {seconds:g} s, and anchor={anchor!r} stamps them "
                f"with their {anchor}. Cut the windows with anchor={described!r} for this network.",
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
    """Warn where words come with a context and no mask shows which tokens are theirs.

    Args:
        batch: raw stimuli, see `nfas_lightning.data.stimuli.texts`.
        mask: (B, K) tokens that a preprocessing lets pooling see, None: all.
    """
    if mask is None and any(_has_context(text) for text in batch.get("text", ())):
        warnings.warn(
            "The preprocessing returns no mask, so that a mean over tokens describes the middle of a context "
            "and not the word it is stamped with: return ModelInputs with a mask over the tokens of each "
            "text's span, as TextPreprocess does, or use pooling='last'.",
            stacklevel=2,
        )


def _has_context(text: Any) -> bool:
    span = getattr(text, "span", None)
    return span is not None and span[0] > 0
