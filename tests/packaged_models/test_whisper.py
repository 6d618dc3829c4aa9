"""Whisper's encoders: windows, masks, and that they hear the same syllables in two voices."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from nfas_lightning.models.loaded import LoadedModel
from nfas_lightning.packaged_models import load_packaged
from nfas_lightning.packaged_models.whisper import WhisperPreprocess
from tests.helpers.packaged_audio import FIRST, load, record
from tests.helpers.sounds import audio_batch, noise, sine, voice


@torch.no_grad()
def frame_retrieval(model: LoadedModel, first: Tensor, second: Tensor) -> float:
    """Share of the first sound's frames whose nearest frame of the second says the same, within 40 ms.

    Silence before one and behind the other keeps the answer from the encoder's positions.
    """
    silence = torch.zeros(6400)
    inputs = model.preprocess(audio_batch(torch.cat([first, silence]), torch.cat([silence, second])))
    states = model.module(**inputs.kwargs).last_hidden_state
    tokens = [state[mask] for state, mask in zip(states, inputs.mask, strict=True)]
    a, b = tokens[0][:-20], tokens[1][20:]
    similarity = normalize(a - a.mean(0), dim=1) @ normalize(b - b.mean(0), dim=1).T
    return float(((similarity.argmax(1) - torch.arange(len(a))).abs() <= 2).float().mean())


@pytest.mark.weights
@pytest.mark.parametrize("name", ["whisper_base", "smart_turn"])
def test_speech_encoders_hear_the_same_syllables_in_two_voices(name: str) -> None:
    voices = voice(FIRST, 110.0), voice(FIRST, 210.0, tract=1.18, seed=2)
    assert frame_retrieval(load(name), *voices) > 0.85
    assert frame_retrieval(load(name, "random"), *voices) < 0.2


@pytest.mark.weights
def test_a_shorter_window_changes_whisper_little() -> None:
    sound = voice(FIRST)
    full = record(load_packaged("whisper_base"), sound)
    for short, long in zip(record(load("whisper_base"), sound), full, strict=True):
        assert short.shape == long.shape == (1, 512)
        assert float(torch.cosine_similarity(short, long)) > 0.9
    assert "max_seconds=4" in load("whisper_base").info.note


@pytest.mark.parametrize("seconds", [0.0, -1.0, 31.0, float("nan")])
def test_a_window_whisper_cannot_have_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="max_seconds must be above 0 and at most 30"):
        load_packaged("whisper_base", weights="random", max_seconds=seconds)


def test_a_sound_longer_than_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at most 2 s for this model, got 2\.5 s: cut them"):
        WhisperPreprocess(n_positions=100)(audio_batch(noise(1.0), noise(2.5)))


def test_whisper_masks_the_positions_that_hear_the_sound() -> None:
    batch = audio_batch(noise(1.0), noise(0.5)[:7999], sine(300.0, 0.001))
    starts = WhisperPreprocess(n_positions=100)(batch).mask
    assert starts.sum(dim=1).tolist() == [50, 25, 1]
    assert bool(starts[:, 0].all())
    assert torch.equal(WhisperPreprocess(n_positions=100, align="end")(batch).mask, starts.flip(1))
