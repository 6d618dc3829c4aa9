"""From raw texts to a network's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from nfas_lightning.errors import InputError
from nfas_lightning.models.batch import batch_field, prefix_mask
from nfas_lightning.models.loaded import ModelInputs

__all__ = ["TextPreprocess", "has_vocabulary"]


def has_vocabulary(tokenizer: Any) -> bool:
    """Whether a tokenizer knows any word.

    Where the files are missing transformers builds one that does not, and every word becomes unknown.
    """
    return len(tokenizer) > len(tokenizer.all_special_tokens)


class TextPreprocess:
    """Tokenize texts, and mark the tokens that a feature is about.

    Tokens that overlap the stimulus's span are in the mask; the prefix, padding and the special tokens that
    the tokenizer adds (CLS and SEP, the beginning and end of a sequence) never are. A text longer than the
    window loses its beginning, the oldest context. Padding is on the right.

    Args:
        tokenizer: a fast tokenizer of transformers: only those report which characters a token covers.
        max_length: window in tokens, special ones included.
        prefix: put before every text, e.g. ``"query: "``; survives truncation, stays out of the mask.
        equal_lengths: refuse texts of unequal numbers of tokens, for networks that mix over tokens whatever
            the attention mask says (FNet, ConvBERT, Nystroemformer) and so carry padding into real ones.
        multiple_of: batches are padded to a multiple of so many tokens, as some networks do themselves.
        attend_padding: give no attention mask, for networks that were trained so (SigLIP); with `multiple_of`
            the window, every text is padded alike.
    """

    def __init__(
        self,
        tokenizer: Any,
        max_length: int,
        prefix: str = "",
        *,
        equal_lengths: bool = False,
        multiple_of: int = 1,
        attend_padding: bool = False,
    ) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise InputError(
                f"TextPreprocess needs a fast tokenizer, which knows each token's characters, got "
                f"{type(tokenizer).__name__}. Load it with AutoTokenizer.from_pretrained(..., use_fast=True)."
            )
        self.tokenizer, self.max_length, self.prefix = tokenizer, max_length, prefix
        self.equal_lengths, self.multiple_of = equal_lengths, multiple_of
        self.attend_padding = attend_padding

    def __call__(self, batch: Mapping[str, Any]) -> ModelInputs:
        """Return token ids (B, K), the attention mask, and the mask over target tokens."""
        stimuli = batch_field(batch, "text")
        encoded = self.tokenizer(
            [self.prefix + stimulus.text for stimulus in stimuli],
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            verbose=False,  # this class cuts what is too long
        )
        rows, targets = [], []
        for i, stimulus in enumerate(stimuli):
            ids, target = self._window(
                encoded["input_ids"][i],
                encoded["offset_mapping"][i],
                encoded["special_tokens_mask"][i],
                stimulus.span or (0, len(stimulus.text)),
                stimulus.text,
            )
            rows.append(torch.tensor(ids))
            targets.append(torch.tensor(target))
        lengths = {len(row) for row in rows}
        if self.equal_lengths and len(lengths) > 1:
            raise InputError(
                f"This network mixes over tokens, so that padding would change its states, and the batch has "
                f"texts of {sorted(lengths)} tokens. Use batch_size=1, or texts of one length."
            )
        padding = self.tokenizer.pad_token_id or 0  # masked, so that any id will do where there is none
        input_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding)
        missing = -input_ids.shape[1] % self.multiple_of
        input_ids = torch.nn.functional.pad(input_ids, (0, missing), value=padding)
        attention = prefix_mask(torch.tensor([len(row) for row in rows]), input_ids.shape[1])
        kwargs = {"input_ids": input_ids}
        if not self.attend_padding:
            kwargs["attention_mask"] = attention.long()
        if "token_type_ids" in encoded:
            kwargs["token_type_ids"] = torch.zeros_like(input_ids)
        mask = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True)
        return ModelInputs(kwargs=kwargs, mask=torch.nn.functional.pad(mask, (0, missing)))

    def _window(
        self,
        ids: list[int],
        offsets: list[tuple[int, int]],
        special: list[int],
        span: tuple[int, int],
        text: str,
    ) -> tuple[list[int], list[bool]]:
        """Return the ids that fit, and which of them the span touches."""
        shift = len(self.prefix)
        start, stop = span[0] + shift, span[1] + shift
        target = [
            not hidden and begin < end and begin < stop and end > start
            for (begin, end), hidden in zip(offsets, special, strict=True)
        ]
        if not any(target):
            raise InputError(f"No token covers {text[span[0] : span[1]]!r} of {text[:60]!r}: check the span.")
        excess = len(ids) - self.max_length
        if excess > 0:
            # special tokens and the prefix stay, the oldest words after them go
            head = next(
                i for i, (o, s) in enumerate(zip(offsets, special, strict=True)) if not s and o[1] > shift
            )
            if any(target[head : head + excess]):
                raise InputError(
                    f"The target {text[span[0] : span[1]][:40]!r} falls out of the window: {len(ids)} "
                    f"tokens, of which the last {self.max_length} fit. Give less context after it, a shorter "
                    f"text, or a larger max_length."
                )
            ids, target = ids[:head] + ids[head + excess :], target[:head] + target[head + excess :]
        return ids, target
