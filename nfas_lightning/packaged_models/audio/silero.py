"""A detector of speech: four convolutions over spectra and a recurrent layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nfas_lightning.models.audio import sounds_at
from nfas_lightning.models.base import ModelInputs
from nfas_lightning.packaged_models.audio_frontend import pad_frames, power_spectrum
from nfas_lightning.packaged_models.entry import Built, Fetch
from nfas_lightning.packaged_models.onnx_weights import read_onnx_initializers

__all__ = ["SileroVAD", "silero_spectra", "silero_vad"]

_FRAME, _CONTEXT = 512, 64


def silero_spectra(batch: Mapping[str, Any]) -> ModelInputs:
    """Return magnitude spectra (B, T, 129, 4) of frames at 16 kHz, and the mask (B, T).

    A frame is 512 new samples behind the 64 before them; its four spectra are 16 ms long and 8 ms apart.
    """
    spectra = []
    for sound in sounds_at(batch, 16_000):
        padded = F.pad(sound, (_CONTEXT, -len(sound) % _FRAME))
        frames = padded.unfold(0, _CONTEXT + _FRAME, _FRAME)
        spectra.append(power_spectrum(frames, n_fft=256, hop=128, pad=(0, _CONTEXT), mode="reflect").sqrt())
    stacked, mask = pad_frames(spectra)
    return ModelInputs(args=(stacked,), mask=mask)


class SileroVAD(nn.Module):
    """Convolutions over the four spectra of a frame, then a recurrent layer over frames."""

    def __init__(self) -> None:
        super().__init__()
        shapes = [(129, 128, 1), (128, 64, 2), (64, 64, 2), (64, 128, 1)]
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, outputs, (3, 1), (stride, 1), (1, 0)), nn.ReLU())
            for inputs, outputs, stride in shapes
        )
        self.recurrent = nn.LSTM(128, 128, batch_first=True)
        self.head = nn.Linear(128, 1)

    def forward(self, spectra: Tensor) -> Tensor:
        """Return the probability of speech (B, T) in spectra (B, T, 129, 4)."""
        x = spectra.permute(0, 2, 3, 1)  # frames last, under kernels one frame wide: one row a sound
        for block in self.blocks:
            x = block(x)
        states, _ = self.recurrent(x.squeeze(2).transpose(1, 2))
        return torch.sigmoid(self.head(F.relu(states))).squeeze(-1)


def silero_vad(fetch: Fetch, pretrained: bool) -> Built:
    """Build the speech detector: four convolutions and the recurrent layer."""
    module = SileroVAD()
    if pretrained:
        file = read_onnx_initializers(fetch("silero_vad_16k_sequence.onnx"))
        state = {"head.weight": file["output.weight"].squeeze(-1), "head.bias": file["output.bias"]}
        for i in range(len(module.blocks)):
            state[f"blocks.{i}.0.weight"] = file[f"encoder.{i}.weight"].unsqueeze(-1)
            state[f"blocks.{i}.0.bias"] = file[f"encoder.{i}.bias"]
        inputs, hidden, biases = (file[f"onnx::LSTM_{number}"][0] for number in (209, 210, 211))
        state |= {
            "recurrent.weight_ih_l0": _torch_gates(inputs),
            "recurrent.weight_hh_l0": _torch_gates(hidden),
        }
        for kind, bias in zip(("ih", "hh"), biases.chunk(2), strict=True):
            state[f"recurrent.bias_{kind}_l0"] = _torch_gates(bias)
        module.load_state_dict(state)
    return Built(module, silero_spectra, [*(f"blocks.{i}" for i in range(len(module.blocks))), "recurrent"])


def _torch_gates(onnx: Tensor) -> Tensor:
    """Reorder gates from ONNX's (input, output, forget, cell) to torch's (input, forget, cell, output)."""
    gate_in, gate_out, forget, cell = onnx.chunk(4)
    return torch.cat([gate_in, forget, cell, gate_out])
