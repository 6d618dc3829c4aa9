"""A voice encoder trained to tell speakers apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nfas_lightning.models.audio import sounds_at
from nfas_lightning.models.base import ModelInputs
from nfas_lightning.packaged_models.audio_frontend import mel_filterbank, pad_frames, power_spectrum
from nfas_lightning.packaged_models.entry import Built, Fetch

__all__ = ["VoiceEncoder", "ge2e_voice_encoder", "voice_mel"]

_LOUDNESS = 10 ** (-30 / 20)  # root mean square of -30 dB full scale


def voice_mel(batch: Mapping[str, Any]) -> ModelInputs:
    """Return the mel power spectra (B, T, 40) of 25 ms frames every 10 ms at 16 kHz, and the mask (B, T).

    As published, quiet sounds are raised to -30 dB and the spectrum stays linear. Long silences, which the
    original cuts out with a detector of speech, are kept, because a stimulus's silence is part of it.
    """
    spectra = []
    for sound in sounds_at(batch, 16_000):
        rms = float(sound.square().mean().sqrt())
        gain = max(_LOUDNESS / rms, 1.0) if rms > 0 else 1.0
        power = power_spectrum(gain * sound, n_fft=400, hop=160, pad=(200, 200), mode="constant")
        spectra.append((mel_filterbank(40, 400, 16_000) @ power).T)
    mel, mask = pad_frames(spectra)
    return ModelInputs(args=(mel, mask), mask=mask)


class VoiceEncoder(nn.Module):
    """Three recurrent layers of width 256, then a projection whose last frame is the voice's embedding.

    Reference:
        Wan et al. (2018), Generalized End-to-End Loss for Speaker Verification.
        https://doi.org/10.1109/ICASSP.2018.8462665
    """

    def __init__(self, n_mels: int = 40, width: int = 256, n_layers: int = 3) -> None:
        super().__init__()
        inputs = [n_mels] + [width] * (n_layers - 1)
        # one module a layer, so that each depth has a hook; right padding can't reach an earlier state
        self.layers = nn.ModuleList(nn.LSTM(size, width, batch_first=True) for size in inputs)
        self.projection = nn.Sequential(nn.Linear(width, width), nn.ReLU())

    def forward(self, mel: Tensor, mask: Tensor) -> Tensor:
        """Return embeddings (B, width) of unit length of mel (B, T, n_mels) with its mask (B, T)."""
        x = mel
        for layer in self.layers:
            x, _ = layer(x)
        tokens = self.projection(x)  # of every frame, so that this depth too can be averaged over a sound
        last = mask.sum(dim=1) - 1
        return F.normalize(tokens[torch.arange(len(tokens), device=last.device), last], dim=1)


def ge2e_voice_encoder(fetch: Fetch, pretrained: bool) -> Built:
    """Build the voice encoder: three recurrent layers and the projection, each over a whole sound."""
    module = VoiceEncoder()
    if pretrained:
        file = torch.load(fetch("pretrained.pt"), map_location="cpu", weights_only=True)["model_state"]
        state = {"projection.0.weight": file["linear.weight"], "projection.0.bias": file["linear.bias"]}
        for i in range(len(module.layers)):
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                state[f"layers.{i}.{kind}_l0"] = file[f"lstm.{kind}_l{i}"]
        module.load_state_dict(state)
    return Built(module, voice_mel, [*(f"layers.{i}" for i in range(len(module.layers))), "projection"])
