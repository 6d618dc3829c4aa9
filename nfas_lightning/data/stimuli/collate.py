"""Batches of stimuli: what they hold for each modality, before a model's own preprocessing.

A datamodule yields dictionaries with ``stimulus_id`` ((B,) integers, indices into
`Responses.stimulus_ids`) and one of:

- vision: ``image``, a float tensor (B, 3, H, W) in [0, 1], RGB; of pictures with captions also ``text``;
- vision, clips: their frames one after the other in ``image``, (sum of F, 3, H, W), with ``n_frames``
  (B,), and, where all have F frames, ``clip`` (B, F, 3, H, W), which shares the frames' memory. Image models
  read the frames, averaged over each clip by whoever records them (`DepthRecorder.collect`); video models
  read the clips. With ``as_clips=True`` there is ``clip`` alone, for bare video modules;
- audio: ``audio``, a float tensor (B, K) of samples in [-1, 1], zero-padded on the right,
  ``n_samples`` (B,) real lengths and ``sampling_rate`` (int, Hz);
- language: ``text``, a list of `TextStimulus`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nfas_lightning.data.stimuli.captioned import Captioned
from nfas_lightning.errors import InputError


@dataclass(frozen=True)
class Collate:
    """Make one batch of (index, stimulus) pairs; an object, not a closure, so that workers can pickle it.

    Attributes:
        modality: ``"vision"``, ``"audio"`` or ``"language"``.
        sampling_rate: Hz, for audio.
        as_clips: give clips alone, not their frames as images.
    """

    modality: str
    sampling_rate: int | None = None
    as_clips: bool = False

    def __call__(self, entries: Sequence[tuple[int, Any]]) -> dict[str, Any]:
        """Return the batch dictionary: ``stimulus_id`` and the modality's own entries."""
        items = [item for _, item in entries]
        batch: dict[str, Any] = {"stimulus_id": torch.tensor([index for index, _ in entries])}
        if self.modality == "language":
            return batch | {"text": items}
        if self.modality == "vision" and isinstance(items[0], Captioned):
            pictures = _visual([item.image for item in items], self.as_clips)
            return batch | pictures | {"text": [item.text for item in items]}
        if self.modality == "vision":
            return batch | _visual(items, self.as_clips)
        return batch | {
            "audio": torch.nn.utils.rnn.pad_sequence(items, batch_first=True),
            "n_samples": torch.tensor([len(wave) for wave in items]),
            "sampling_rate": self.sampling_rate,
        }


def _visual(items: list[Tensor], as_clips: bool) -> dict[str, Tensor]:
    """Images stacked; of clips the frames one after the other, and the clips where they are equally long."""
    if len({(image.ndim, image.shape[-3:]) for image in items}) > 1:
        raise InputError(
            f"Images of one batch must have one size, got {sorted({tuple(i.shape) for i in items})}: use "
            "batch_size=1."
        )
    if items[0].ndim == 3:
        return {"image": torch.stack(items)}
    counts = [len(clip) for clip in items]
    equal = len(set(counts)) == 1
    if as_clips and not equal:
        raise InputError(
            f"Clips of one batch must have the same frames each, got {sorted(set(counts))}: use batch_size=1."
        )
    frames = torch.cat(items)
    out = {"clip": frames.view(len(items), counts[0], *frames.shape[1:])} if equal else {}
    return out if as_clips else {"image": frames, "n_frames": torch.tensor(counts), **out}
