"""Sounds, prepared for networks."""

import pytest
import torch

from nfas_lightning.data.stimuli.texts import TextStimulus
from nfas_lightning.models.audio import AudioPreprocess, sounds_at
from nfas_lightning.models.zoo.architecture import build_preprocess
from nfas_lightning.models.zoo.stand_ins import stand_in_batch
from nfas_lightning.packaged_models.speech import nsnet2_log_power
from nfas_lightning.packaged_models.whisper import WhisperPreprocess
from tests.helpers.sounds import audio_batch, noise, padded_tones, sine


def test_sounds_come_without_their_padding() -> None:
    first, second = noise(0.5), sine(440.0, 0.2)
    got = sounds_at(audio_batch(first, second, extra=100), 16_000)
    assert torch.equal(got[0], first)
    assert torch.equal(got[1], second)


def test_resampling_keeps_a_tone_and_removes_what_would_alias() -> None:
    rate = 44_100
    low, high = sine(1000.0, 1.0, rate), sine(15_000.0, 1.0, rate)
    kept, removed = sounds_at(audio_batch(low, high, rate=rate), 16_000)
    assert len(kept) == 16_000
    middle = slice(2000, -2000)
    torch.testing.assert_close(kept[middle], sine(1000.0, 1.0)[middle], rtol=0, atol=2e-3)
    assert float(removed[middle].abs().max()) < 2e-3


def test_batches_that_hold_no_sounds_are_refused() -> None:
    batch = audio_batch(noise(0.1))
    with pytest.raises(ValueError, match="reads 'n_samples' and the batch holds"):
        sounds_at({key: value for key, value in batch.items() if key != "n_samples"}, 16_000)
    for lengths in ([0], [1601]):
        with pytest.raises(ValueError, match=r"n_samples must lie between 1 and 1600, got \["):
            sounds_at({**batch, "n_samples": torch.tensor(lengths)}, 16_000)
    with pytest.raises(ValueError, match=r"audio must have shape \(B, K\)"):
        sounds_at({**batch, "audio": torch.zeros(1, 1, 5)}, 16_000)
    with pytest.raises(ValueError, match=r"n_samples must have shape \(B=1,\)"):
        sounds_at({**batch, "n_samples": torch.tensor([1, 2])}, 16_000)
    with pytest.raises(ValueError, match=r"at most 0\.05 s for this model, got 0\.1 s"):
        sounds_at(batch, 16_000, max_seconds=0.05)


@pytest.mark.parametrize("preprocess", [AudioPreprocess(16_000), nsnet2_log_power, WhisperPreprocess()])
def test_every_audio_model_refuses_another_modality_alike(preprocess) -> None:
    with pytest.raises(ValueError, match=r"reads 'audio' and the batch holds \['text'\]: pair a model with"):
        preprocess({"text": [TextStimulus("the cat")]})


def test_resampling_keeps_a_tone_and_its_length():
    inputs = AudioPreprocess(16_000)(padded_tones((8000,)))
    wave = inputs.args[0]
    assert wave.shape == (1, 16_000)
    wanted = torch.sin(2 * torch.pi * 440 * torch.arange(16_000) / 16_000)
    torch.testing.assert_close(wave[0, 500:-500], wanted[500:-500], atol=2e-3, rtol=0)


def test_padding_never_changes_a_sound():
    preprocess = AudioPreprocess(11_025)
    both = preprocess(padded_tones())
    alone = preprocess(padded_tones((500,)))
    n = alone.args[0].shape[1]
    assert torch.equal(both.args[0][1, :n], alone.args[0][0])
    assert both.mask.sum(dim=1).tolist() == [1103, n]
    assert not both.args[0][1, n:].any()


def test_frames_are_counted_as_convolutions_count_them():
    convolutions = [(10, 5), (3, 2), (2, 2)]
    inputs = AudioPreprocess(8000, convolutions=convolutions, pass_mask=True)(padded_tones())
    network = torch.nn.Sequential(*(torch.nn.Conv1d(1, 1, k, s) for k, s in convolutions))
    for row, n in enumerate((800, 500)):
        assert inputs.mask[row].sum() == network(torch.zeros(1, 1, n)).shape[-1]
    assert inputs.mask.shape[1] == network(torch.zeros(1, 1, 800)).shape[-1]
    assert inputs.kwargs["attention_mask"].sum(dim=1).tolist() == [800, 500]


def test_sounds_that_a_network_can_not_take_are_refused():
    with pytest.raises(ValueError, match=r"sounds of \[500, 800\] samples.*batch_size=1"):
        AudioPreprocess(8000, equal_lengths=True)(padded_tones())
    with pytest.raises(ValueError, match="too short for one frame"):
        AudioPreprocess(8000, convolutions=[(600, 5)])(padded_tones())
    with pytest.raises(ValueError, match=r"n_samples must lie between 1 and 800, got \[800, 801\]"):
        AudioPreprocess(8000)({**padded_tones(), "n_samples": torch.tensor([800, 801])})


def test_whisper_features_and_their_mask():
    transformers = pytest.importorskip("transformers")
    extractor = transformers.WhisperFeatureExtractor(chunk_length=1)
    inputs = AudioPreprocess(16_000, extractor)(padded_tones((16_000, 4_000), 16_000))
    assert inputs.kwargs["input_features"].shape == (2, 80, 100)
    assert inputs.mask.sum(dim=1).tolist() == [100, 25]
    assert "attention_mask" not in inputs.kwargs
    with pytest.raises(ValueError, match="longer than the 1 s"):
        AudioPreprocess(16_000, extractor)(padded_tones((16_001,), 16_000))


def test_patches_inside_the_sound_are_shown_and_longer_sounds_refused():
    values = {"kind": "patched_audio", "extractor": "ASTFeatureExtractor", "options": {"max_length": 64}}
    preprocess = build_preprocess(values, lambda: None)
    batch = stand_in_batch("audio", 2)  # 9,600 and 4,800 samples: 58 and 28 frames
    inputs = preprocess(batch)
    assert inputs.kwargs["input_values"].shape == (2, 64, 128)
    steps, bands = (64 - 16) // 10 + 1, (128 - 16) // 10 + 1
    assert inputs.mask.shape == (2, 2 + bands * steps)
    assert not inputs.mask[:, :2].any()  # class and distillation tokens
    assert inputs.mask[0, 2 : 2 + steps].tolist() == [True] * 5
    assert inputs.mask[1, 2 : 2 + steps].tolist() == [True, True, False, False, False]
    assert torch.equal(inputs.mask[1, 2:].view(bands, steps), inputs.mask[1, 2 : 2 + steps].expand(bands, -1))
    long = {**batch, "audio": torch.zeros(1, 12_000), "n_samples": torch.tensor([12_000])}
    with pytest.raises(ValueError, match=r"longer than the .* that this network hears"):
        preprocess(long)
