"""Two networks that tell the pitch of a sound: CREPE from samples, FCPE from mel spectra."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nfas_lightning.models.audio import sounds_at
from nfas_lightning.models.loaded import ModelInputs
from nfas_lightning.packaged_models.audio_frontend import mel_filterbank, pad_frames, power_spectrum
from nfas_lightning.packaged_models.packaged import Built, Fetch

__all__ = ["FCPE", "Crepe", "CrepePreprocess", "crepe_tiny", "fcpe_conformer", "fcpe_mel"]


@dataclass(frozen=True)
class CrepePreprocess:
    """Sounds to frames of 1,024 samples at 16 kHz, each of zero mean and unit variance.

    Attributes:
        hop: samples from one frame's center to the next. Memory and time fall with it, 512 samples (32 ms)
            being half a frame; pitch tracking commonly takes 160.
    """

    hop: int = 512

    def __call__(self, batch: Mapping[str, Any]) -> ModelInputs:
        """Return the frames (B, T, 1024), centered on multiples of the hop, and the mask (B, T)."""
        frames = [F.pad(sound, (512, 512)).unfold(0, 1024, self.hop) for sound in sounds_at(batch, 16_000)]
        padded, mask = pad_frames(frames)
        deviation, mean = torch.std_mean(padded, dim=-1, keepdim=True)
        return ModelInputs(args=((padded - mean) / deviation.clamp_min(1e-10),), mask=mask)


class _CrepeBlock(nn.Module):
    """Convolution along a frame, ReLU, batch normalization, and the larger of each two steps."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        before = (kernel - stride) // 2
        self.padding = (0, 0, before, kernel - stride - before)
        self.conv = nn.Conv2d(inputs, outputs, (kernel, 1), (stride, 1))
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, steps', T) of (B, inputs, steps, T)."""
        return F.max_pool2d(self.norm(F.relu(self.conv(F.pad(x, self.padding)))), (2, 1))


class Crepe(nn.Module):
    """Six convolutional blocks over each frame and a classifier of 360 pitches, 20 cents apart.

    Args:
        widths: channels of the six blocks.

    Reference:
        Kim et al. (2018), CREPE: A Convolutional Representation for Pitch Estimation.
        https://doi.org/10.1109/ICASSP.2018.8461329
    """

    def __init__(self, widths: tuple[int, ...] = (128, 16, 16, 16, 32, 64)) -> None:
        super().__init__()
        shapes = [(512, 4)] + [(64, 1)] * (len(widths) - 1)
        self.blocks = nn.ModuleList(
            _CrepeBlock(inputs, outputs, *shape)
            for (inputs, outputs), shape in zip(pairwise((1, *widths)), shapes, strict=True)
        )
        steps = 1024 // 4 // 2 ** len(widths)
        self.classifier = nn.Linear(steps * widths[-1], 360)

    def forward(self, frames: Tensor) -> Tensor:
        """Return the probability of each pitch (B, T, 360) in frames (B, T, 1024)."""
        # (B, 1, 1024, T): kernels one frame wide never mix frames, and a block's output has one row per sound
        x = frames.transpose(1, 2).unsqueeze(1)
        for block in self.blocks:
            x = block(x)
        return torch.sigmoid(self.classifier(x.permute(0, 3, 2, 1).flatten(2)))


def crepe_tiny(fetch: Fetch, pretrained: bool) -> Built:
    """Build the smallest CREPE: six blocks of 128, 16, 16, 16, 32 and 64 channels."""
    module = Crepe()
    if pretrained:
        state: dict[str, Tensor] = torch.load(fetch("tiny.pth"), map_location="cpu", weights_only=True)
        module.load_state_dict({_rename(name): value for name, value in state.items()})
    return Built(module, CrepePreprocess(), [f"blocks.{i}" for i in range(len(module.blocks))])


def _rename(name: str) -> str:
    """Return our name of a published parameter: ``conv1_BN.weight`` is ``blocks.0.norm.weight``."""
    return re.sub(
        r"conv(\d)(_BN)?", lambda found: f"blocks.{int(found[1]) - 1}.{'norm' if found[2] else 'conv'}", name
    )


def fcpe_mel(batch: Mapping[str, Any]) -> ModelInputs:
    """Return log mel spectra (B, T, 128) of 64 ms frames every 10 ms at 16 kHz, and the mask (B, T)."""
    spectra = []
    for sound in sounds_at(batch, 16_000):
        pad = (432, max(432, 592 - len(sound)))  # at least one frame
        power = power_spectrum(sound, n_fft=1024, hop=160, pad=pad, mode="reflect")
        mel = (mel_filterbank(128, 1024, 16_000) @ (power + 1e-9).sqrt()).clamp_min(1e-5).log().T
        # as published, the last frame stands twice
        spectra.append(torch.cat([mel, mel[-1:]])[: len(sound) // 160 + 1])
    mel, mask = pad_frames(spectra)
    return ModelInputs(args=(mel, mask), mask=mask)


class _FCPEStem(nn.Module):
    """Two convolutions around a group normalization that sees real frames alone."""

    def __init__(self, n_mels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(n_mels, width, 3, padding=1)
        self.norm = nn.GroupNorm(4, width)
        self.second = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, mel: Tensor, mask: Tensor) -> Tensor:
        """Return (B, T, width) of mel (B, T, n_mels) with its mask (B, T)."""
        real = mask.unsqueeze(1)
        x = self.first(mel.transpose(1, 2))
        x = F.leaky_relu(self._normalize(x, real)) * real
        tokens: Tensor = self.second(x).transpose(1, 2)
        return tokens

    def _normalize(self, x: Tensor, real: Tensor) -> Tensor:
        """Normalize groups of channels over real frames: as a sound without padding is normalized."""
        grouped = x.reshape(len(x), self.norm.num_groups, -1, x.shape[-1])
        weight = real.unsqueeze(1) / (real.sum(dim=-1)[:, :, None, None] * grouped.shape[2])
        mean = (weight * grouped).sum(dim=(2, 3), keepdim=True)
        variance = (weight * (grouped - mean).square()).sum(dim=(2, 3), keepdim=True)
        x = ((grouped - mean) / (variance + self.norm.eps).sqrt()).flatten(1, 2)
        return x * self.norm.weight[:, None] + self.norm.bias[:, None]


class _FCPEBlock(nn.Module):
    """The convolutional half of a conformer block, around a residual."""

    def __init__(self, width: int, kernel: int = 31) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Conv1d(width, 4 * width, 1)
        self.depthwise = nn.Conv1d(2 * width, 2 * width, kernel, padding=kernel // 2, groups=2 * width)
        self.project = nn.Conv1d(2 * width, width, 1)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return (B, T, width) of tokens (B, T, width) with their mask (B, T)."""
        x = F.glu(self.expand(self.norm(tokens).transpose(1, 2)), dim=1)
        # the kernel meets zeros in the padding, as it does past a sound's end
        x = F.silu(self.depthwise(x * mask.unsqueeze(1)))
        update: Tensor = self.project(x).transpose(1, 2)
        return tokens + update


class FCPE(nn.Module):
    """Six convolutional blocks over mel frames and a classifier of 360 pitches.

    Reference:
        Luo et al. (2025), FCPE: A Fast Context-based Pitch Estimation Model.
        https://doi.org/10.48550/arXiv.2509.15140
    """

    def __init__(self, n_mels: int = 128, width: int = 512, n_layers: int = 6, n_pitches: int = 360) -> None:
        super().__init__()
        self.stem = _FCPEStem(n_mels, width)
        self.blocks = nn.ModuleList(_FCPEBlock(width) for _ in range(n_layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, n_pitches)

    def forward(self, mel: Tensor, mask: Tensor) -> Tensor:
        """Return the probability of each pitch (B, T, n_pitches) in mel (B, T, n_mels) with its mask."""
        x = self.stem(mel, mask)
        for block in self.blocks:
            x = block(x, mask)
        return torch.sigmoid(self.head(self.norm(x)))


def fcpe_conformer(fetch: Fetch, pretrained: bool) -> Built:
    """Build the pitch estimator: six blocks of width 512 at 100 frames per second."""
    module = FCPE()
    if pretrained:
        file = torch.load(fetch("fcpe_c_v001.pt"), map_location="cpu", weights_only=True)["model"]
        names = {"stem.first": "input_stack.0", "stem.norm": "input_stack.1", "stem.second": "input_stack.3"}
        parts = {"norm": "0", "expand": "2", "depthwise": "4.conv", "project": "6"}
        for i in range(len(module.blocks)):
            for ours, theirs in parts.items():
                names[f"blocks.{i}.{ours}"] = f"net.encoder_layers.{i}.conformer.net.{theirs}"
        names["norm"] = "norm"
        state = {f"{a}.{kind}": file[f"{b}.{kind}"] for a, b in names.items() for kind in ("weight", "bias")}
        length, direction = (file[f"output_proj.weight_{kind}"] for kind in "gv")  # weight normalization
        state["head.weight"] = length * F.normalize(direction, dim=1)
        state["head.bias"] = file["output_proj.bias"]
        module.load_state_dict(state)
    return Built(module, fcpe_mel, [f"blocks.{i}" for i in range(len(module.blocks))])
