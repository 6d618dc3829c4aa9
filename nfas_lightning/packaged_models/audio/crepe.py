"""CREPE, a convolutional network that tells the pitch of a frame of samples."""

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
from nfas_lightning.models.base import ModelInputs
from nfas_lightning.packaged_models.audio_frontend import pad_frames
from nfas_lightning.packaged_models.entry import Built, Fetch

__all__ = ["Crepe", "CrepePreprocess", "crepe_tiny"]


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


class _Block(nn.Module):
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
            _Block(inputs, outputs, *shape)
            for (inputs, outputs), shape in zip(pairwise((1, *widths)), shapes, strict=True)
        )
        steps = 1024 // 4 // 2 ** len(widths)
        self.classifier = nn.Linear(steps * widths[-1], 360)

    def forward(self, frames: Tensor) -> Tensor:
        """Return the probability of each pitch (B, T, 360) in frames (B, T, 1024)."""
        # (B, 1, 1024, T): kernels one frame wide never mix frames, and a block's output keeps one row a sound
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
