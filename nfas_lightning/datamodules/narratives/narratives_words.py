"""Alignments of Narratives: words before the story and words without times."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nfas_lightning.data.stimuli.words import Words, read_gentle
from nfas_lightning.datamodules.narratives.narratives_clock import WORDS

__all__ = ["read_alignment", "story_words"]

# a first word may be aligned a little early; one that is earlier was aligned to the music before the story
_EARLY_SECONDS = 2.0


def read_alignment(path: Path, audio: str, strict: bool = True) -> Words:
    """Read a sound file's alignment, all of it.

    Raises:
        FileNotFoundError: the file or its content is missing.
        ValueError: it has other columns, or (strict) another number of words than the released table.
    """
    words = read_gentle(path)
    if strict and audio in WORDS and len(words) != WORDS[audio]:
        raise ValueError(
            f"{path.parent.name}/{path.name} must have {WORDS[audio]} words, got {len(words)}: is it "
            "complete, and of this release? strict=False reads it all the same."
        )
    return words


def story_words(
    path: Path,
    audio: str,
    start: float,
    span: tuple[float, float] = (0.0, float("inf")),
    unaligned: str = "interpolate",
    strict: bool = True,
) -> Words:
    """Read a story's alignment and settle the words without times.

    Args:
        path: align.csv.
        audio: the sound file's name, for the count.
        start: seconds on the sound file's clock at which the story begins; words aligned more than 2 s before
            were aligned to the music, and count as unaligned.
        span: seconds of the sound file whose words are wanted.
        unaligned: ``"interpolate"`` or ``"drop"``.
        strict: check the count.

    Raises:
        FileNotFoundError: the file or its content is missing.
        ValueError: it has other columns, or (strict) another number of words than the released table.
    """
    words = read_alignment(path, audio, strict)
    first, last = (
        int(np.argmax(words.onset >= edge)) if (words.onset >= edge).any() else None for edge in span
    )
    part = slice(first if span[0] > 0 else 0, last)
    words = Words(words.words[part], words.onset[part], words.offset[part]).forget_before(
        start - _EARLY_SECONDS
    )
    return words.fill() if unaligned == "interpolate" else words
