"""What a batch holds before a model's own preprocessing, for each modality.

A datamodule yields dictionaries with ``stimulus_id`` ((B,) integers, indices into
`Responses.stimulus_ids`) and one of:

- vision: ``image``, a float tensor (B, 3, H, W) in [0, 1], RGB;
- vision, clips: their frames one after the other in ``image``, (sum of F, 3, H, W), with ``n_frames``
  (B,), and, where all have F frames, ``clip`` (B, F, 3, H, W), which shares the frames' memory. An image
  model reads the frames, and what it makes of them is averaged over each clip by whoever records
  it (`DepthRecorder.collect`); a video model reads the clips. With ``as_clips=True`` there is ``clip`` alone,
  for bare video modules;
- audio: ``audio``, a float tensor (B, K) of samples in [-1, 1], zero-padded on the right,
  ``n_samples`` (B,) real lengths and ``sampling_rate`` (int, Hz);
- language: ``text``, a list of `TextStimulus`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["TextStimulus", "carried"]


@dataclass(frozen=True)
class TextStimulus:
    """A text, and the part of it that a feature is about.

    Attributes:
        text: what the model reads: a sentence, or a word with the words before it.
        span: characters [start, stop) of the target; tokens that overlap it are pooled. None: the whole text.
    """

    text: str
    span: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("A text stimulus must not be empty: drop it, or give the words before it.")
        if self.span is not None and not 0 <= self.span[0] < self.span[1] <= len(self.text):
            raise ValueError(f"span must lie inside the {len(self.text)} characters, got {self.span}.")


def carried(texts: Sequence[str | TextStimulus], carrier: str) -> list[TextStimulus]:
    """Put single words, or other short texts, into a carrier phrase; the pooled tokens are their own alone.

    A causal language model makes an attention sink of the first token, so that a bare word of one token is
    hardly told from another: words that scored .04 by themselves scored .47 in a phrase.

    Args:
        texts: N strings; a `TextStimulus` keeps its span.
        carrier: the phrase, with ``{}`` where the text stands, best not at its beginning.

    Returns:
        N stimuli whose span is the text.

    Raises:
        ValueError: the phrase does not have ``{}`` once, or nothing beside it.

    Example:
        >>> carried(["cat"], "The word is {}.")
        [TextStimulus(text='The word is cat.', span=(12, 15))]
    """
    before, _, after = carrier.partition("{}")
    if carrier.count("{}") != 1 or not (before + after).strip():
        raise ValueError(
            f"carrier must be a phrase with {{}} once, where the text stands, such as 'The word is {{}}', "
            f"got {carrier!r}."
        )
    stimuli = []
    for text in texts:
        stimulus = text if isinstance(text, TextStimulus) else TextStimulus(text)
        start, stop = stimulus.span or (0, len(stimulus.text))
        span = (len(before) + start, len(before) + stop)
        stimuli.append(TextStimulus(before + stimulus.text + after, span))
    return stimuli
