"""Three networks for speech: a voice encoder (GE2E), a detector (Silero) and a noise suppressor (NSNet2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nfas_lightning.models.audio import sounds_at
from nfas_lightning.models.loaded import ModelInputs
from nfas_lightning.packaged_models.audio_frontend import mel_filterbank, pad_frames, power_spectrum
from nfas_lightning.packaged_models.packaged import Built, Fetch
from nfas_lightning.packaged_models.weight_formats import read_onnx_initializers

__all__ = [
    "NSNet2", "SileroVAD", "VoiceEncoder", "ge2e_voice_encoder", "nsnet2", "nsnet2_log_power",
    "silero_spectra", "silero_vad", "voice_mel",
]  # fmt: skip

_LOUDNESS = 10 ** (-30 / 20)  # root mean square of -30 dB full scale
_FRAME, _CONTEXT = 512, 64  # samples, of the detector
_WINDOW, _HOP = 320, 160  # samples, of the noise suppressor


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
        # one module per layer, so that each depth has a hook; right padding can't reach an earlier state
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
        x = spectra.permute(0, 2, 3, 1)  # frames last, under kernels one frame wide: one row per sound
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
            "recurrent.weight_ih_l0": _lstm_gates(inputs),
            "recurrent.weight_hh_l0": _lstm_gates(hidden),
        }
        for kind, bias in zip(("ih", "hh"), biases.chunk(2), strict=True):
            state[f"recurrent.bias_{kind}_l0"] = _lstm_gates(bias)
        module.load_state_dict(state)
    return Built(module, silero_spectra, [*(f"blocks.{i}" for i in range(len(module.blocks))), "recurrent"])


def _lstm_gates(onnx: Tensor) -> Tensor:
    """Reorder gates from ONNX's (input, output, forget, cell) to torch's (input, forget, cell, output)."""
    gate_in, gate_out, forget, cell = onnx.chunk(4)
    return torch.cat([gate_in, forget, cell, gate_out])


def nsnet2_log_power(batch: Mapping[str, Any]) -> ModelInputs:
    """Return base-10 log power (B, T, 161) of 20 ms frames every 10 ms at 16 kHz, and the mask (B, T)."""
    window = torch.hann_window(_WINDOW, periodic=False).sqrt()
    spectra = []
    for sound in sounds_at(batch, 16_000):
        frames = F.pad(sound, (0, _WINDOW - _HOP + -len(sound) % _HOP)).unfold(0, _WINDOW, _HOP)
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
            state[f"recurrent.{i}.weight_ih_l0"] = _gru_gates(file[inputs][0])
            state[f"recurrent.{i}.weight_hh_l0"] = _gru_gates(file[hidden][0])
            for kind, bias in zip(("ih", "hh"), file[biases][0].chunk(2), strict=True):
                state[f"recurrent.{i}.bias_{kind}_l0"] = _gru_gates(bias)
        module.load_state_dict(state)
    return Built(module, nsnet2_log_power, ["inputs", "recurrent.0", "recurrent.1", "dense.0", "dense.1"])


def _gru_gates(onnx: Tensor) -> Tensor:
    """Reorder a GRU's gates from ONNX's (update, reset, new) to torch's (reset, update, new)."""
    update, reset, new = onnx.chunk(3)
    return torch.cat([reset, update, new])
