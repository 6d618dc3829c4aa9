import pickle
from functools import cache

import pytest
import torch
from scipy.signal import resample_poly
from torch import Tensor
from torch.nn.functional import normalize

from nfas_lightning.hooks.recorder import DepthRecorder
from nfas_lightning.models.base import LoadedModel
from nfas_lightning.packaged_models import load_packaged
from nfas_lightning.packaged_models.audio import AUDIO_MODELS
from nfas_lightning.packaged_models.audio.crepe import CrepePreprocess
from nfas_lightning.packaged_models.audio.whisper import WhisperPreprocess
from tests.helpers.sounds import audio_batch, noise, sine, voice

NAMES = [entry.name for entry in AUDIO_MODELS]
DEPTHS = {
    "whisper_base": 6,
    "smart_turn": 4,
    "crepe_tiny": 6,
    "ge2e_voice_encoder": 4,
    "silero_vad": 5,
    "fcpe_conformer": 6,
    "nsnet2": 5,
}
FIRST = ["sa", "ti", "o", "tu", "se", "a", "ti", "su", "e", "to"]
SECOND = ["to", "e", "su", "i", "ta", "so", "u", "te", "si", "a"]
# four lengths, none a multiple of a hop, one shorter than any model's frame
SOUNDS = [voice(FIRST[:3])[:9001], voice(SECOND[:5], 200.0, 1.15), noise(0.7)[:11_111], sine(300.0, 0.006)]


@cache
def load(name: str, weights: str = "pretrained") -> LoadedModel:
    options = {"max_seconds": 4} if name == "whisper_base" else {}
    return load_packaged(name, weights=weights, **options)


@torch.no_grad()
def run(model: LoadedModel, *sounds: Tensor) -> Tensor:
    inputs = model.preprocess(audio_batch(*sounds))
    output = model.module(*inputs.args, **inputs.kwargs)
    return output if isinstance(output, Tensor) else output.last_hidden_state


@torch.no_grad()
def record(model: LoadedModel, *sounds: Tensor, extra: int = 0) -> tuple[Tensor, ...]:
    inputs = model.preprocess(audio_batch(*sounds, extra=extra))
    recorder = DepthRecorder(model.module, model.layers, pooling=model.pooling)
    with recorder:
        recorder.mask = inputs.mask
        model.module(*inputs.args, **inputs.kwargs)
        recorder.collect(torch.arange(len(sounds)))
    return recorder.trajectory().states


@pytest.mark.weights
@pytest.mark.parametrize("name", NAMES)
def test_neither_the_batch_nor_its_padding_changes_a_state(name: str) -> None:
    model = load(name)
    together = record(model, *SOUNDS, extra=5000)
    assert len(together) == DEPTHS[name]
    for state in together:  # each depth tells the sounds apart
        assert float(torch.pdist(state / state.norm()).min()) > 1e-3
    for i, sound in enumerate(SOUNDS):
        alone = record(model, sound)
        for batched, single in zip(together, alone, strict=True):
            assert bool(batched.isfinite().all())
            torch.testing.assert_close(
                batched[i], single[0], rtol=1e-4, atol=1e-4 * float(single.abs().max())
            )


@pytest.mark.weights
@pytest.mark.parametrize("entry", AUDIO_MODELS, ids=lambda entry: entry.name)
def test_the_card_counts_the_parameters(entry) -> None:
    if entry.name == "whisper_base":  # 26 seconds of positions fewer than the full window has
        assert entry.parameters - load(entry.name).info.parameters == 26 * 50 * 512
    else:
        assert entry.parameters == load(entry.name).info.parameters


@pytest.mark.parametrize("name", NAMES)
def test_random_weights_need_no_file_and_follow_their_seed(name: str, monkeypatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("random weights asked for a file")

    monkeypatch.setattr("nfas_lightning.packaged_models.entry.fetch_members", refuse)
    first, again = (load_packaged(name, weights="random") for _ in range(2))
    other = load_packaged(name, weights="random", seed=1)
    assert first.info.weights_sha256 == again.info.weights_sha256 != other.info.weights_sha256
    assert len(first.layers) == DEPTHS[name]


@pytest.mark.parametrize("name", NAMES)
def test_preprocessing_can_be_pickled(name: str) -> None:
    preprocess = load(name, "random").preprocess
    copy = pickle.loads(pickle.dumps(preprocess))
    batch = audio_batch(*SOUNDS)
    assert torch.equal(copy(batch).mask, preprocess(batch).mask)


@pytest.mark.parametrize("name", NAMES)
def test_a_sound_at_another_rate_gives_nearly_the_same_input(name: str) -> None:
    preprocess = load(name, "random").preprocess
    sound = voice(FIRST[:3])
    faster = torch.from_numpy(resample_poly(sound.double().numpy(), 3, 1)).float()
    kept = preprocess(audio_batch(sound))
    resampled = preprocess(audio_batch(faster, rate=48_000))
    assert torch.equal(kept.mask, resampled.mask)
    (a, *_), (b, *_) = ([*x.args, *x.kwargs.values()] for x in (kept, resampled))
    # the filters touch the highest frequencies alone, where logarithms make much of little
    assert float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]) > 0.97


# Outputs of the published code, or of onnxruntime on the published graph, for one synthetic second of voice.
# The two Whisper encoders are this package's own numbers, taken when the complete recognizer transcribed
# synthetic speech and the complete turn detector agreed with onnxruntime.
REFERENCES = {
    "silero_vad": [0.20296198, 0.9755554, 0.9998785, 0.99984443, 0.99987656, 0.9999807],
    "nsnet2": [0.05401409, 0.3378321, 0.10527319, 0.03709885, 0.03244311],
    "crepe_tiny": [0.12263059, 0.555636, 0.63915676, 0.6932522, 0.8066492, 0.76849085],
    "ge2e_voice_encoder": [0.23454146, 0.20436203, 0.18721396, 0.18227325, 0.18115272, 0.17428307],
    "fcpe_conformer": [0.00842911, 0.8531659, 0.87668794, 0.8981598, 0.7898925, 0.86884004],
    "whisper_base": [0.3656, 0.5207, -0.2212, 0.5218, 0.0610, 1.0384],
    "smart_turn": [0.0615, 0.1836, 0.4677, 0.5992, -0.5670, -0.0130],
}


@pytest.mark.weights
@pytest.mark.parametrize("name", NAMES)
def test_outputs_equal_the_published_models(name: str) -> None:
    sound = voice(FIRST[:5], 110.0)
    model = load(name)
    output = run(model, sound)[0]
    mask = model.preprocess(audio_batch(sound)).mask[0]
    got = {
        "silero_vad": lambda: output[::6],
        "nsnet2": lambda: output[::20, 40],
        "crepe_tiny": lambda: output.amax(1)[::6],
        "ge2e_voice_encoder": lambda: output[[213, 217, 187, 248, 15, 14]],
        "fcpe_conformer": lambda: output.amax(1)[::20],
        "whisper_base": lambda: output[mask].mean(0)[:6],
        "smart_turn": lambda: output[mask].mean(0)[:6],
    }[name]()
    torch.testing.assert_close(got, torch.tensor(REFERENCES[name]), rtol=1e-3, atol=1e-3)


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
@pytest.mark.parametrize("name", NAMES)
def test_silence_gives_finite_states(name: str) -> None:
    assert all(bool(state.isfinite().all()) for state in record(load(name), torch.zeros(4000)))


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


def test_crepe_frames_are_centered_and_standardized() -> None:
    sound = noise(0.5)
    inputs = CrepePreprocess(hop=160)(audio_batch(sound, torch.zeros(2000)))
    frames = inputs.args[0]
    assert frames.shape == (2, 51, 1024)
    assert inputs.mask.sum(dim=1).tolist() == [51, 13]
    middle = sound[10 * 160 - 512 : 10 * 160 + 512]
    torch.testing.assert_close(frames[0, 10], (middle - middle.mean()) / middle.std())
    assert bool((frames[1] == 0).all())  # silence stays silent
