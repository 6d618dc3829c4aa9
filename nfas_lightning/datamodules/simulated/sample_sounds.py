"""Sounds of the simulated benchmark, generated: complexes, sweeps, modulated noise, syllables, mixtures."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, sosfilt
from torch import Tensor

SAMPLING_RATE = 16_000
_Wave = NDArray[np.float64]
# pitch in Hz and length of the vocal tract, as a factor of formants, of six voices
_VOICES = ((90, 0.95), (110, 1.0), (140, 0.9), (190, 1.12), (220, 1.05), (270, 1.2))
# formants 1 to 3 in Hz of five vowels (averages of the textbooks, rounded)
_VOWELS = ((730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240))


def sample_sounds(n_stimuli: int, *, seconds: float = 2.0, seed: int = 0) -> tuple[Tensor, list[str]]:
    """Generate sounds of five kinds in turn, levels between -30 and -15 dB re full scale.

    Returns:
        Samples (n_stimuli, K) float32 at 16 kHz, and unique names such as ``"sweep_006"``.
    """
    rng = np.random.default_rng([seed, 2])
    n_samples = round(seconds * SAMPLING_RATE)
    makers = {
        "harmonic": _harmonic,
        "sweep": _sweep,
        "noise": _modulated_noise,
        "syllables": _syllables,
        "mixture": _mixture,
    }
    waves, names = [], []
    for i in range(n_stimuli):
        kind = list(makers)[i % len(makers)]
        wave = makers[kind](n_samples, rng) * _ramps(n_samples)
        level = 10 ** (rng.uniform(-30, -15) / 20)
        wave *= level / np.sqrt(np.mean(wave**2))
        waves.append(wave / max(1.0, float(np.abs(wave).max())))
        names.append(f"{kind}_{i:03d}")
    return torch.from_numpy(np.stack(waves)).float(), names


def sample_vowels(n_stimuli: int, *, seconds: float = 2.0, seed: int = 0) -> tuple[Tensor, list[str], Tensor]:
    """Generate repeated vowels of several voices in noise, at levels that tell nothing of either.

    Returns:
        Samples (n_stimuli, K) float32 at 16 kHz, unique names such as ``"vowel2_voice1_006"``, and labels
        (n_stimuli, 2): vowel and voice.
    """
    rng = np.random.default_rng([seed, 6])
    n_samples = round(seconds * SAMPLING_RATE)
    waves, names, labels = [], [], []
    for i in range(n_stimuli):
        vowel, voice = int(rng.integers(len(_VOWELS))), int(rng.integers(len(_VOICES)))
        hertz, tract = _VOICES[voice]
        pitch = hertz * 2 ** (
            0.1 * np.sin(2 * np.pi * rng.uniform(0.5, 2) * _time(n_samples) + rng.uniform(0, 6))
        )
        wave = _complex_tone(pitch, rng.uniform(4, 9), rng)
        for formant in _VOWELS[vowel]:
            wave = _resonate(wave, formant * tract * 2 ** rng.uniform(-0.05, 0.05), 90.0)
        wave *= 0.2 + np.sin(np.pi * np.mod(_time(n_samples) * rng.uniform(2, 5), 1)) ** 2
        noise = _modulated_noise(n_samples, rng)
        wave = wave / wave.std() + noise / noise.std() * 10 ** (rng.uniform(-20, -5) / 20)
        wave *= _ramps(n_samples) * 10 ** (rng.uniform(-30, -15) / 20) / wave.std()
        waves.append(wave / max(1.0, float(np.abs(wave).max())))
        names.append(f"vowel{vowel}_voice{voice}_{i:03d}")
        labels.append((vowel, voice))
    return torch.from_numpy(np.stack(waves)).float(), names, torch.tensor(labels)


def _time(n_samples: int) -> _Wave:
    return np.arange(n_samples) / SAMPLING_RATE


def _ramps(n_samples: int) -> _Wave:
    """Raised-cosine onset and offset of 20 ms, so that no sound begins with a click."""
    edge = np.minimum(np.arange(n_samples), np.arange(n_samples)[::-1]) / (0.020 * SAMPLING_RATE)
    ramp: _Wave = 0.5 - 0.5 * np.cos(np.pi * np.minimum(edge, 1.0))
    return ramp


def _complex_tone(pitch: _Wave, tilt: float, rng: np.random.Generator) -> _Wave:
    """Harmonics of a pitch contour (Hz) below 7 kHz, falling by `tilt` dB an octave, with random phases."""
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLING_RATE
    wave = np.zeros_like(pitch)
    for harmonic in range(1, min(40, int(7000 / pitch.max())) + 1):
        gain = 10 ** (-tilt * np.log2(harmonic) / 20)
        wave += gain * np.sin(harmonic * phase + rng.uniform(0, 2 * np.pi))
    return wave


def _harmonic(n_samples: int, rng: np.random.Generator) -> _Wave:
    """A steady complex tone, its level modulated at a rate between 1 and 12 Hz."""
    pitch = np.full(n_samples, 80 * 10 ** rng.uniform(0, 1))
    envelope = 1 + rng.uniform(0, 0.9) * np.sin(2 * np.pi * rng.uniform(1, 12) * _time(n_samples))
    return envelope * _complex_tone(pitch, rng.uniform(0, 12), rng)


def _sweep(n_samples: int, rng: np.random.Generator) -> _Wave:
    """One to eight logarithmic glides between two frequencies, up or down."""
    ends = np.log(rng.uniform(150, 6000, size=2))
    cycles = rng.integers(1, 9)
    position = np.mod(cycles * np.arange(n_samples) / n_samples, 1.0)
    frequency = np.exp(ends[0] + (ends[1] - ends[0]) * position)
    wave: _Wave = np.sin(2 * np.pi * np.cumsum(frequency) / SAMPLING_RATE)
    return wave


def _modulated_noise(n_samples: int, rng: np.random.Generator) -> _Wave:
    """Noise in a band of one to three octaves, modulated at a rate between 2 and 32 Hz."""
    low = 100 * 10 ** rng.uniform(0, 1.3)
    high = min(low * 2 ** rng.uniform(1, 3), 7500.0)
    band = butter(2, (low, high), btype="bandpass", fs=SAMPLING_RATE, output="sos")
    noise = sosfilt(band, rng.standard_normal(n_samples))
    rate = 2 * 2 ** rng.uniform(0, 4)
    depth = rng.uniform(0.2, 1.0)
    wave: _Wave = noise * (1 + depth * np.sin(2 * np.pi * rate * _time(n_samples)))
    return wave


def _syllables(n_samples: int, rng: np.random.Generator) -> _Wave:
    """Three to six vowels per second: a gliding voice through three formants, sometimes after a hiss."""
    rate = rng.uniform(3, 6)
    voice = 90 * 2 ** rng.uniform(0, 1.5)
    wave = np.zeros(n_samples)
    length = round(SAMPLING_RATE / rate)
    for start in range(0, n_samples - length // 2, length):
        n = min(length, n_samples - start)
        pitch = voice * 2 ** (rng.uniform(-0.2, 0.2) + rng.uniform(-0.2, 0.2) * np.arange(n) / n)
        part = _complex_tone(pitch, 6.0, rng)
        for formant in _VOWELS[rng.integers(len(_VOWELS))]:
            part = _resonate(part, formant, 90.0)
        part /= np.sqrt(np.mean(part**2))
        part *= np.sin(np.pi * np.arange(n) / n) ** 0.7
        if rng.uniform() < 0.5:
            hiss = round(0.06 * SAMPLING_RATE)
            part[: min(hiss, n)] += 0.4 * np.diff(rng.standard_normal(min(hiss, n) + 1))
        wave[start : start + n] += part
    return wave


def _resonate(wave: _Wave, frequency: float, bandwidth: float) -> _Wave:
    """Pass through one two-pole resonance."""
    radius = np.exp(-np.pi * bandwidth / SAMPLING_RATE)
    angle = 2 * np.pi * frequency / SAMPLING_RATE
    out: _Wave = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], wave)
    return out


def _mixture(n_samples: int, rng: np.random.Generator) -> _Wave:
    """Two of the other kinds at once, up to 6 dB apart."""
    makers = (_harmonic, _sweep, _modulated_noise, _syllables)
    first, second = rng.choice(len(makers), size=2, replace=False)
    parts = [makers[k](n_samples, rng) for k in (first, second)]
    one, two = (part / np.sqrt(np.mean(part**2)) for part in parts)
    wave: _Wave = one + two * 10 ** (rng.uniform(-6, 6) / 20)
    return wave
