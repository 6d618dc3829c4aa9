"""The packaged audio models, loaded once, and sounds for them."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from nfas_lightning.hooks.recorder import DepthRecorder
from nfas_lightning.models import LoadedModel
from nfas_lightning.packaged_models import load_packaged
from tests.helpers.sounds import audio_batch, noise, sine, voice

__all__ = ["FIRST", "SECOND", "SOUNDS", "load", "record", "run"]

FIRST = ["sa", "ti", "o", "tu", "se", "a", "ti", "su", "e", "to"]
SECOND = ["to", "e", "su", "i", "ta", "so", "u", "te", "si", "a"]
# four lengths, none a multiple of a hop, one shorter than any model's frame
SOUNDS = [voice(FIRST[:3])[:9001], voice(SECOND[:5], 200.0, 1.15), noise(0.7)[:11_111], sine(300.0, 0.006)]


@cache
def load(name: str, weights: str = "pretrained") -> LoadedModel:
    options = {"max_seconds": 4} if name == "whisper_base" else {}
    return load_packaged(name, weights=weights, **options)


@torch.no_grad()
def run(model: LoadedModel, *sounds: Tensor) -> Tensor:
    inputs = model.preprocess(audio_batch(*sounds))
    output = model.module(*inputs.args, **inputs.kwargs)
    return output if isinstance(output, Tensor) else output.last_hidden_state


@torch.no_grad()
def record(model: LoadedModel, *sounds: Tensor, extra: int = 0) -> tuple[Tensor, ...]:
    inputs = model.preprocess(audio_batch(*sounds, extra=extra))
    recorder = DepthRecorder(model.module, model.layers, pooling=model.pooling)
    with recorder:
        recorder.mask = inputs.mask
        model.module(*inputs.args, **inputs.kwargs)
        recorder.collect(torch.arange(len(sounds)))
    return recorder.trajectory().states
