"""The pitch trackers follow a sine."""

import pytest
import torch
from torch import Tensor

from nfas_lightning.packaged_models.pitch import CrepePreprocess
from tests.helpers.packaged_audio import load, run
from tests.helpers.sounds import audio_batch, noise, sine


def pitches(name: str, probabilities: Tensor) -> Tensor:
    """Decode each frame's most probable pitch in Hz, as published."""
    if name == "crepe_tiny":
        cents = 1997.3794084376191 + 20 * torch.arange(360)
    else:
        low, high = 1200 * torch.log2(torch.tensor([32.7, 1975.5]) / 10)
        cents = torch.linspace(float(low), float(high), 360)
    return 10 * 2 ** (cents[probabilities.argmax(dim=-1)] / 1200)


@pytest.mark.weights
@pytest.mark.parametrize("name", ["crepe_tiny", "fcpe_conformer"])
def test_pitch_trackers_follow_a_sine(name: str) -> None:
    def error(weights: str, hz: float) -> float:
        found = pitches(name, run(load(name, weights), sine(hz, 1.0))[0]).median()
        return abs(float(found) / hz - 1)

    assert max(error("pretrained", hz) for hz in (220.0, 440.0)) < 0.012  # a bin is 20 cents, 1.2 %
    assert max(error("random", hz) for hz in (220.0, 440.0)) > 0.2


def test_crepe_frames_are_centered_and_standardized() -> None:
    sound = noise(0.5)
    inputs = CrepePreprocess(hop=160)(audio_batch(sound, torch.zeros(2000)))
    frames = inputs.args[0]
    assert frames.shape == (2, 51, 1024)
    assert inputs.mask.sum(dim=1).tolist() == [51, 13]
    middle = sound[10 * 160 - 512 : 10 * 160 + 512]
    torch.testing.assert_close(frames[0, 10], (middle - middle.mean()) / middle.std())
    assert bool((frames[1] == 0).all())  # silence stays silent
