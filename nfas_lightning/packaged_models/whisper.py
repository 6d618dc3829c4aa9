"""Encoders of the Whisper family: Whisper-base, and the Whisper-tiny encoder of a turn detector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from nfas_lightning.errors import InputError
from nfas_lightning.models.audio import sounds_at
from nfas_lightning.models.loaded import ModelInputs
from nfas_lightning.models.optional import require
from nfas_lightning.packaged_models.audio_frontend import whisper_log_mel
from nfas_lightning.packaged_models.packaged import Built, Fetch
from nfas_lightning.packaged_models.weight_formats import read_ctranslate2_weights, read_onnx_initializers

__all__ = ["WhisperPreprocess", "smart_turn", "whisper_base"]

_RATE = 16_000
_TOKEN = 320  # samples to an encoder position: 10 ms frames, halved by the second convolution


@dataclass(frozen=True)
class WhisperPreprocess:
    """Sounds to the log-mel window of a Whisper encoder, and the mask of the positions that hear them.

    The encoder always reads a whole window, so neither the batch nor its padding matters. Silence fills the
    window up, as in training; the mask keeps it out of the mean.

    Attributes:
        n_positions: length of the window in encoder positions of 20 ms.
        align: ``"start"`` or ``"end"``: where in the window the sound lies.
        standardize: bring each window to zero mean and unit variance before the spectrum.
    """

    n_positions: int = 1500
    align: str = "start"
    standardize: bool = False

    def __call__(self, batch: Mapping[str, Any]) -> ModelInputs:
        """Return ``input_features`` (B, 80, 2 n_positions) and the mask (B, n_positions)."""
        length = self.n_positions * _TOKEN
        sounds = sounds_at(batch, _RATE, max_seconds=length / _RATE)
        gaps = [length - len(sound) for sound in sounds]
        margins = [(0, gap) if self.align == "start" else (gap, 0) for gap in gaps]
        windows = torch.stack([pad(sound, margin) for sound, margin in zip(sounds, margins, strict=True)])
        if self.standardize:
            variance, mean = torch.var_mean(windows, dim=1, keepdim=True, correction=0)
            windows = (windows - mean) / (variance + 1e-7).sqrt()
        heard = torch.tensor([math.ceil(len(sound) / _TOKEN) for sound in sounds])
        mask = torch.arange(self.n_positions) < heard[:, None]
        if self.align == "end":
            mask = mask.flip(1)
        return ModelInputs(kwargs={"input_features": whisper_log_mel(windows)}, mask=mask)


def _encoder(width: int, n_layers: int, n_heads: int, n_positions: int) -> nn.Module:
    """Return transformers' encoder, as initialized."""
    config = require("transformers", "audio").WhisperConfig(
        d_model=width,
        encoder_layers=n_layers,
        encoder_attention_heads=n_heads,
        encoder_ffn_dim=4 * width,
        max_source_positions=n_positions,
        num_mel_bins=80,
    )
    whisper = require("transformers.models.whisper.modeling_whisper", "audio")
    encoder: nn.Module = whisper.WhisperEncoder(config)
    return encoder


def whisper_base(fetch: Fetch, pretrained: bool, *, max_seconds: float = 30.0) -> Built:
    """Build the encoder of Whisper-base: 6 blocks of width 512 at 50 positions per second.

    Args:
        fetch: gives the two pieces of the weight file.
        pretrained: load them.
        max_seconds: length of the window. Below 30 the later sinusoidal positions are cut off: the cost of
            short sounds falls with the length, and results differ slightly from those of the full window,
            since no block sees the rest of the silence that the model was trained with.

    Raises:
        ValueError: `max_seconds` is not above 0 and at most 30.
    """
    if not 0 < max_seconds <= 30:
        raise InputError(f"max_seconds must be above 0 and at most 30, got {max_seconds}.")
    n_layers, n_positions = 6, math.ceil(max_seconds * _RATE / _TOKEN)
    encoder = _encoder(512, n_layers, n_heads=8, n_positions=n_positions)
    if pretrained:
        weights = read_ctranslate2_weights(
            fetch("model.bin.part1"), fetch("model.bin.part2"), prefix="encoder/"
        )
        state = whisper_state(weights, n_layers)
        state["embed_positions.weight"] = state["embed_positions.weight"][:n_positions]
        encoder.load_state_dict(state)
    return Built(encoder, WhisperPreprocess(n_positions), [f"layers.{i}" for i in range(n_layers)])


def whisper_state(weights: Mapping[str, Tensor], n_layers: int) -> dict[str, Tensor]:
    """Rename CTranslate2's encoder variables to transformers' and raise them to float32."""
    names = {"embed_positions.weight": "position_encodings/encodings"}
    for conv in ("conv1", "conv2"):
        names |= {f"{conv}.weight": f"{conv}/weight", f"{conv}.bias": f"{conv}/bias"}
    norms = {"layer_norm": "layer_norm"}
    linears = {}
    for i in range(n_layers):
        norms[f"layers.{i}.self_attn_layer_norm"] = f"layer_{i}/self_attention/layer_norm"
        norms[f"layers.{i}.final_layer_norm"] = f"layer_{i}/ffn/layer_norm"
        linears[f"layers.{i}.self_attn.out_proj"] = f"layer_{i}/self_attention/linear_1"
        linears[f"layers.{i}.fc1"] = f"layer_{i}/ffn/linear_0"
        linears[f"layers.{i}.fc2"] = f"layer_{i}/ffn/linear_1"
    for ours, theirs in norms.items():
        names |= {f"{ours}.weight": f"{theirs}/gamma", f"{ours}.bias": f"{theirs}/beta"}
    for ours, theirs in linears.items():
        names |= {f"{ours}.weight": f"{theirs}/weight", f"{ours}.bias": f"{theirs}/bias"}
    state = {ours: weights[f"encoder/{theirs}"].float() for ours, theirs in names.items()}
    for i in range(n_layers):
        for kind in ("weight", "bias"):
            fused = weights[f"encoder/layer_{i}/self_attention/linear_0/{kind}"].float()
            for projection, part in zip("qkv", fused.chunk(3), strict=True):
                state[f"layers.{i}.self_attn.{projection}_proj.{kind}"] = part
        del state[f"layers.{i}.self_attn.k_proj.bias"]  # zeros: Whisper's keys have no bias
    return state


def smart_turn(fetch: Fetch, pretrained: bool) -> Built:
    """Build the encoder of Smart Turn 3.2: Whisper-tiny's 4 blocks of width 384, tuned on 8 s of talk.

    The head that judges whether a turn has ended is left out. As published, a sound lies at the end of its
    window, and the window is standardized.
    """
    n_layers, n_positions = 4, 400
    encoder = _encoder(384, n_layers, n_heads=6, n_positions=n_positions)
    if pretrained:
        weights = read_onnx_initializers(fetch("smart-turn-v3.2-cpu.onnx"))
        named = {f"inner.encoder.{name}": name for name in encoder.state_dict()}
        state = {named[source]: value for source, value in weights.items() if source in named}
        # Keys have no bias, so the reader can't name their weights: the only unnamed factors, in layer order.
        keys = [
            value for source, value in weights.items() if value.ndim == 2 and not source.startswith("inner.")
        ]
        for i, value in zip(range(n_layers), keys, strict=True):
            state[f"layers.{i}.self_attn.k_proj.weight"] = value.T
        encoder.load_state_dict(state)
    preprocess = WhisperPreprocess(n_positions, align="end", standardize=True)
    return Built(encoder, preprocess, [f"layers.{i}" for i in range(n_layers)])
