"""The voice encoder, the speech detector and the noise suppressor do what they were trained for."""

import pytest
import torch
from torch import Tensor

from tests.helpers.packaged_audio import FIRST, SECOND, SOUNDS, load, run
from tests.helpers.sounds import audio_batch, noise, sine, voice


@pytest.mark.weights
def test_voice_encoder_tells_speakers_apart_whatever_they_say() -> None:
    said = [voice(FIRST, 110.0), voice(SECOND, 110.0, seed=1)]
    said += [voice(FIRST, 210.0, 1.18, 2), voice(SECOND, 210.0, 1.18, 3)]

    def margin(weights: str) -> float:
        embeddings = run(load("ge2e_voice_encoder", weights), *said)
        torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4))
        similarity = embeddings @ embeddings.T
        same, other = similarity[[0, 2], [1, 3]], similarity[:2, 2:]
        return float(same.min() - other.max())

    assert margin("pretrained") > 0.1
    assert margin("random") < 0.01


@pytest.mark.weights
def test_a_voice_keeps_its_embedding_behind_padding() -> None:
    model = load("ge2e_voice_encoder")
    together = run(model, *SOUNDS)
    for embedding, sound in zip(together, SOUNDS, strict=True):
        torch.testing.assert_close(embedding, run(model, sound)[0], rtol=0, atol=1e-5)


@pytest.mark.weights
def test_speech_detector_hears_voice_and_neither_noise_nor_a_tone() -> None:
    def speech(weights: str, sound: Tensor) -> float:
        return float(run(load("silero_vad", weights), sound).mean())

    assert speech("pretrained", voice(FIRST)) > 0.8
    assert max(speech("pretrained", sound) for sound in (noise(1.0), sine(440.0, 1.0))) < 0.05
    assert abs(speech("random", voice(FIRST)) - speech("random", noise(1.0))) < 0.1


@pytest.mark.weights
def test_noise_suppressor_finds_where_speech_outweighs_noise() -> None:
    clean, added = voice(FIRST, 110.0), 0.3 * noise(2.0, seed=1)
    preprocess = load("nsnet2").preprocess
    speech, other = (10 ** preprocess(audio_batch(sound)).args[0][0] for sound in (clean, added))
    ideal = speech / (speech + other)

    def agreement(weights: str) -> float:
        gains = run(load("nsnet2", weights), clean + added)[0]
        return float(torch.corrcoef(torch.stack([gains.flatten(), ideal.flatten()]))[0, 1])

    assert agreement("pretrained") > 0.7
    assert abs(agreement("random")) < 0.2
