"""NSNet2, a network that suppresses noise in speech."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nfas_lightning.models.audio import sounds_at
from nfas_lightning.models.base import ModelInputs
from nfas_lightning.packaged_models.audio_frontend import pad_frames
from nfas_lightning.packaged_models.entry import Built, Fetch
from nfas_lightning.packaged_models.onnx_weights import read_onnx_initializers

__all__ = ["NSNet2", "nsnet2", "nsnet2_log_power"]

_FRAME, _HOP = 320, 160


def nsnet2_log_power(batch: Mapping[str, Any]) -> ModelInputs:
    """Return base-10 log power (B, T, 161) of 20 ms frames every 10 ms at 16 kHz, and the mask (B, T)."""
    window = torch.hann_window(_FRAME, periodic=False).sqrt()
    spectra = []
    for sound in sounds_at(batch, 16_000):
        frames = F.pad(sound, (0, _FRAME - _HOP + -len(sound) % _HOP)).unfold(0, _FRAME, _HOP)
        power = torch.fft.rfft(frames * window).abs().square()
        spectra.append(power.clamp_min(1e-12).log10())
    features, mask = pad_frames(spectra)
    return ModelInputs(args=(features,), mask=mask)


class NSNet2(nn.Module):
    """A dense layer, two recurrent and two dense layers, and the gain of each frequency.

    Reference:
        Braun & Tashev (2020), Data Augmentation and Loss Normalization for Deep Noise Suppression.
        https://doi.org/10.1007/978-3-030-60276-5_8
    """

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.Sequential(nn.Linear(161, 400), nn.ReLU())
        self.recurrent = nn.ModuleList(nn.GRU(400, 400, batch_first=True) for _ in range(2))
        self.dense = nn.ModuleList(nn.Sequential(nn.Linear(size, 600), nn.ReLU()) for size in (400, 600))
        self.gain = nn.Linear(600, 161)

    def forward(self, log_power: Tensor) -> Tensor:
        """Return gains from 0 to 1 (B, T, 161) for log power spectra (B, T, 161)."""
        x = self.inputs(log_power)
        for recurrent in self.recurrent:
            x, _ = recurrent(x)
        for dense in self.dense:
            x = dense(x)
        return torch.sigmoid(self.gain(x))


def nsnet2(fetch: Fetch, pretrained: bool) -> Built:
    """Build the noise suppressor: its dense, recurrent, recurrent, dense and dense layers."""
    module = NSNet2()
    if pretrained:
        file = read_onnx_initializers(fetch("nsnet2-20ms-baseline.onnx"))
        names = {"inputs.0": "fc_in.0", "dense.0.0": "fc_out.0", "dense.1.0": "fc_out.2", "gain": "fc_out.4"}
        state = {f"{a}.{kind}": file[f"{b}.{kind}"] for a, b in names.items() for kind in ("weight", "bias")}
        for i, (inputs, hidden, biases) in enumerate((("192", "193", "194"), ("212", "213", "214"))):
            state[f"recurrent.{i}.weight_ih_l0"] = _torch_gates(file[inputs][0])
            state[f"recurrent.{i}.weight_hh_l0"] = _torch_gates(file[hidden][0])
            for kind, bias in zip(("ih", "hh"), file[biases][0].chunk(2), strict=True):
                state[f"recurrent.{i}.bias_{kind}_l0"] = _torch_gates(bias)
        module.load_state_dict(state)
    return Built(module, nsnet2_log_power, ["inputs", "recurrent.0", "recurrent.1", "dense.0", "dense.1"])


def _torch_gates(onnx: Tensor) -> Tensor:
    """Reorder a GRU's gates from ONNX's (update, reset, new) to torch's (reset, update, new)."""
    update, reset, new = onnx.chunk(3)
    return torch.cat([reset, update, new])
