"""From pictures and their captions to the inputs of a vision-language network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image

from nfas_lightning.errors import InputError
from nfas_lightning.models.batch import batch_field
from nfas_lightning.models.loaded import ModelInputs
from nfas_lightning.models.text import TextPreprocess

__all__ = ["CaptionPreprocess"]

_AROUND = ("<|vision_start|>", "<|vision_end|>")  # what Qwen's networks have around a picture


class CaptionPreprocess:
    """Show a vision-language network a picture and its caption together, or texts alone.

    The picture comes first, as the processor lays it out, and the caption after it. The mask shows the tokens
    of both; special tokens (the beginning and end of a sequence, marks around the picture) and padding are
    never in it.

    Args:
        processor: of transformers, which prepares pictures and texts together.
        texts: prepares texts alone.
    """

    def __init__(self, processor: Any, texts: TextPreprocess) -> None:
        self.processor, self.texts = processor, texts
        tokenizer = processor.tokenizer
        self.token = str(getattr(processor, "image_token", ""))
        if not self.token or self.token not in tokenizer.get_vocab():
            raise InputError(
                f"{type(processor).__name__} must have an image_token that its tokenizer knows, got "
                f"{self.token!r}: give FrozenModel the module and a preprocess of your own."
            )
        if all(mark in tokenizer.get_vocab() for mark in _AROUND):
            self.token = self.token.join(_AROUND)

    def __call__(self, batch: Mapping[str, Any]) -> ModelInputs:
        """Return what the processor makes of ``image`` and ``text``, or token ids of ``text`` alone."""
        if "image" not in batch:
            return self.texts(batch)
        image, tokenizer = batch_field(batch, "image"), self.processor.tokenizer
        captions = [stimulus.text for stimulus in batch["text"]] if "text" in batch else [""] * len(image)
        if "n_frames" in batch:
            raise InputError("A vision-language network is shown pictures here, got clips: take one frame.")
        pixels = (image * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy(force=True)
        inputs = self.processor(
            # every processor takes these; one picture per text: else all would belong to the first
            images=[[Image.fromarray(picture)] for picture in pixels],
            text=[f"{self.token}{caption}" for caption in captions],
            padding=True,
            padding_side="right",
            return_tensors="pt",
        )
        ids, added = inputs["input_ids"], tokenizer.added_tokens_decoder
        seen = ids == tokenizer.convert_tokens_to_ids(self.processor.image_token)
        hidden = {token for token, what in added.items() if what.special} | set(tokenizer.all_special_ids)
        hidden |= {tokenizer.convert_tokens_to_ids(mark) for mark in _AROUND if mark in self.token}
        # line ends between the tiles of a large picture are no caption, which begins after its last tile
        said = (seen.flip(1).cumsum(1).flip(1) == 0) & ~torch.isin(ids, torch.tensor(sorted(hidden)))
        return ModelInputs(kwargs=dict(inputs), mask=inputs["attention_mask"].bool() & (seen | said))
