"""Pictures with captions, for networks that read both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nfas_lightning.errors import InputError

__all__ = ["Captioned", "CaptionedImages"]


@dataclass(frozen=True)
class Captioned:
    """One picture and its caption.

    Attributes:
        image: (3, H, W).
        text: a string or a `TextStimulus`.
    """

    image: Any
    text: Any


class CaptionedImages:
    """Pictures with captions as stimuli: batches hold ``image`` and ``text``.

    Vision models see the pictures; a vision-language model (``hf:``) reads both at once.

    Args:
        images: N pictures, such as `ImageFiles` or a tensor (N, 3, H, W).
        captions: N strings.

    Raises:
        ValueError: there are not as many of both.

    Example:
        >>> import torch
        >>> pairs = CaptionedImages(torch.zeros(2, 3, 4, 4), ["a cat", "a dog"])
        >>> pairs[1].text, len(pairs)
        ('a dog', 2)
    """

    def __init__(self, images: Any, captions: Sequence[str]) -> None:
        if len(images) != len(captions):
            raise InputError(f"captions must be one per picture, got {len(captions)} for {len(images)}.")
        self.images, self.captions = images, list(captions)

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> Captioned:
        return Captioned(self.images[index], self.captions[index])
