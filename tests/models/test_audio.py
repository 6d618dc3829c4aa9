"""The sounds of a batch, as every audio model takes them."""

import pytest
import torch

from nfas_lightning.data.stimuli.texts import TextStimulus
from nfas_lightning.models.audio import AudioPreprocess, sounds_at
from nfas_lightning.packaged_models.audio.nsnet2 import nsnet2_log_power
from nfas_lightning.packaged_models.audio.whisper import WhisperPreprocess
from tests.helpers.sounds import audio_batch, noise, sine


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
