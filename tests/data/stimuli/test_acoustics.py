from __future__ import annotations

import math

import pytest
import torch

from nfas_lightning.data.stimuli.acoustics import (
    cochleagram,
    erb_centers,
    modulation_energy,
    sound_power,
    spectral_centroid,
)

RATE = 16_000
T = torch.arange(RATE) / RATE


def tone(frequency: float) -> torch.Tensor:
    return torch.sin(2 * torch.pi * frequency * T)[None]


def test_power_of_a_sine_is_minus_three_decibels():
    assert sound_power(tone(440)).item() == pytest.approx(-3.01, abs=0.01)
    assert sound_power(0.1 * tone(440)).item() == pytest.approx(-23.01, abs=0.01)
    assert sound_power(torch.zeros(1, 9)).item() == -100


@pytest.mark.parametrize("frequency", [200.0, 1000.0, 4000.0])
def test_centroid_and_cochleagram_find_a_tone(frequency):
    assert spectral_centroid(tone(frequency), RATE).item() == pytest.approx(frequency, rel=0.01)
    level = cochleagram(tone(frequency), RATE)[0].mean(dim=1)
    nearest = (erb_centers(32) / frequency).log().abs().argmin()
    assert level.argmax() == nearest


def test_silence_has_no_centroid_and_no_nan():
    assert spectral_centroid(torch.zeros(1, 100), RATE).item() == 0


@pytest.mark.parametrize(("rate", "column"), [(2.0, 0), (8.0, 2), (32.0, 4)])
def test_modulation_energy_finds_the_rate(rate, column):
    frames = torch.arange(200) / 100
    envelope = (1 + torch.sin(2 * math.pi * rate * frames))[None, None]
    assert modulation_energy(envelope)[0, 0].argmax() == column
