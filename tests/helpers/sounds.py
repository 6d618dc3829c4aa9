"""Sounds made from formulas: sines, noise, and a voice with a pitch and a vocal tract of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.signal import lfilter
from torch import Tensor

RATE = 16_000
# resonances of an adult's vocal tract in Hz
_FORMANTS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
_BANDWIDTHS = (80, 100, 140)


def sine(hz: float, seconds: float, rate: int = RATE) -> Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hz * torch.arange(round(seconds * rate)) / rate)


def noise(seconds: float, rate: int = RATE, seed: int = 0) -> Tensor:
    return torch.from_numpy(0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).float()


def voice(syllables: Sequence[str], pitch: float = 120.0, tract: float = 1.0, seed: int = 0) -> Tensor:
    """Say syllables of a fifth of a second, such as "sa" or "o": hiss, then a gliding vowel.

    Args:
        syllables: a vowel of aeiou each, after an s (hiss), a t (burst) or nothing.
        pitch: in Hz at the start; it falls by a fifth and wavers.
        tract: factor on all resonances: above 1 for a shorter vocal tract.
        seed: of the hiss.
    """
    rng = np.random.default_rng(seed)
    length = RATE // 5
    n = length * len(syllables)
    time = np.arange(n) / RATE
    f0 = pitch * (1 - 0.2 * time / time[-1] + 0.02 * np.sin(2 * np.pi * 5 * time))
    phase = np.cumsum(f0) / RATE
    pulses = np.diff(np.floor(phase), prepend=0.0)
    source = lfilter([1.0], [1.0, -0.97], pulses)  # a glottis falls by some 12 dB an octave
    said = np.zeros(n)
    for i, syllable in enumerate(syllables):
        part = slice(i * length, (i + 1) * length)
        edge = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / 400)
        vowel = source[part]
        for formant, bandwidth in zip(_FORMANTS[syllable[-1]], _BANDWIDTHS, strict=True):
            radius = np.exp(-np.pi * bandwidth / RATE)
            poles = [1.0, -2 * radius * np.cos(2 * np.pi * tract * formant / RATE), radius**2]
            vowel = lfilter([sum(poles)], poles, vowel)
        said[part] = edge * vowel
        if syllable[0] in "st":
            hiss = np.diff(rng.standard_normal(length), prepend=0.0)
            duration = 1200 if syllable[0] == "s" else 300
            said[part] *= np.arange(length) >= duration
            said[part] += 0.02 * hiss * (np.arange(length) < duration)
    return torch.from_numpy(0.3 * said / np.abs(said).max()).float()


def audio_batch(*sounds: Tensor, rate: int = RATE, extra: int = 0) -> dict[str, Any]:
    """Return a batch as datamodules yield it, with `extra` zeros behind the longest sound."""
    lengths = torch.tensor([len(sound) for sound in sounds])
    audio = torch.nn.utils.rnn.pad_sequence(list(sounds), batch_first=True)
    audio = torch.nn.functional.pad(audio, (0, extra))
    return {
        "stimulus_id": torch.arange(len(sounds)),
        "audio": audio,
        "n_samples": lengths,
        "sampling_rate": rate,
    }


def padded_tones(lengths: Sequence[int] = (800, 500), rate: int = 8000) -> dict[str, Any]:
    """A batch of one tone, heard for `lengths` samples."""
    time = torch.arange(max(lengths)) / rate
    tone = torch.sin(2 * torch.pi * 440 * time)
    audio = torch.stack([tone * (torch.arange(max(lengths)) < n) for n in lengths])
    return {"audio": audio, "n_samples": torch.tensor(lengths), "sampling_rate": rate}
