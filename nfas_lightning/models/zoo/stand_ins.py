"""Stimuli and a tokenizer for checks that need neither data nor a hub."""

from __future__ import annotations

import math
from typing import Any

import torch

from nfas_lightning.data.stimuli.texts import TextStimulus
from nfas_lightning.errors import InputError
from nfas_lightning.models.optional import require

__all__ = ["stand_in_batch", "stand_in_tokenizer"]

_RATE = 16_000
_LONGEST = 9_600  # samples: 0.6 s, a few of every network's frames
_WORDS = [f"word{i}" for i in range(40)]
_RESERVED = 10  # ids below are left to special tokens, whichever ids a network gives them


def stand_in_batch(
    modality: str, n_stimuli: int, *, equal_lengths: bool = False, seed: int = 0
) -> dict[str, Any]:
    """Return a raw batch (see `nfas_lightning.data.stimuli.collate`) of noise images, noise or words.

    Args:
        modality: ``"vision"``, ``"audio"`` or ``"language"``.
        n_stimuli: number of stimuli, each different.
        equal_lengths: give sounds and texts one length; else they have different ones.
        seed: of the noise.
    """
    random = torch.Generator().manual_seed(seed)
    batch: dict[str, Any] = {"stimulus_id": torch.arange(n_stimuli)}
    if modality == "vision":
        return batch | {"image": torch.rand(n_stimuli, 3, 80, 96, generator=random)}
    if modality == "language":
        lengths = [6 if equal_lengths else 2 + 3 * (i % 5) + i // 5 for i in range(n_stimuli)]
        chosen = [torch.randint(len(_WORDS), (length,), generator=random).tolist() for length in lengths]
        return batch | {"text": [TextStimulus(" ".join(_WORDS[i] for i in row)) for row in chosen]}
    shortest = _LONGEST if equal_lengths else _LONGEST // 2
    n_samples = torch.linspace(_LONGEST, shortest, n_stimuli).long()
    time = torch.arange(_LONGEST) / _RATE
    pitch = 200 * 2 ** (torch.arange(n_stimuli) / 2)
    audio = 0.2 * torch.sin(2 * math.pi * pitch[:, None] * time)
    audio += 0.02 * torch.randn(audio.shape, generator=random)
    audio[torch.arange(_LONGEST) >= n_samples[:, None]] = 0
    return batch | {"audio": audio, "n_samples": n_samples, "sampling_rate": _RATE}


def stand_in_tokenizer(vocabulary: int) -> Any:
    """Return a fast tokenizer over the words of `stand_in_batch`, with ids below `vocabulary`.

    Every id is a valid one of the network, which is all that shapes, masks and batching depend on.

    Raises:
        ValueError: the network has too few tokens.
    """
    if vocabulary < _RESERVED + len(_WORDS):
        raise InputError(f"A stand-in needs {_RESERVED + len(_WORDS)} tokens, the network has {vocabulary}.")
    tokenizers = require("tokenizers", "language")
    ids = {"[PAD]": 3, "[UNK]": 4} | {word: _RESERVED + i for i, word in enumerate(_WORDS)}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="[UNK]"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return require("transformers", "language").PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="[UNK]", pad_token="[PAD]"
    )
