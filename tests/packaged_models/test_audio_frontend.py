import numpy as np
import pytest
import torch

from nfas_lightning.packaged_models.audio_frontend import (
    mel_filterbank,
    pad_frames,
    power_spectrum,
    whisper_log_mel,
)
from tests.helpers.sounds import noise, sine, voice

transformers = pytest.importorskip("transformers", reason="transformers' audio functions are the oracle")


@pytest.mark.parametrize(("n_mels", "n_fft"), [(80, 400), (40, 400), (128, 1024)])
def test_mel_filters_equal_transformers(n_mels: int, n_fft: int) -> None:
    from transformers.audio_utils import mel_filter_bank

    expected = mel_filter_bank(n_fft // 2 + 1, n_mels, 0, 8000, 16_000, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(mel_filterbank(n_mels, n_fft, 16_000).numpy(), expected.T, atol=1e-7)


def test_mel_filters_have_unit_area() -> None:
    filters = mel_filterbank(20, 8192, 16_000)
    torch.testing.assert_close(filters.sum(dim=1) * 16_000 / 8192, torch.ones(20), rtol=0.01, atol=0)


def test_power_spectrum_of_a_sine_stands_in_its_bin() -> None:
    power = power_spectrum(sine(1000.0, 0.5), n_fft=400, hop=160, pad=(0, 0), mode="constant")
    assert power.shape == (201, 48)
    assert power.argmax(dim=0).unique().tolist() == [25]
    # amplitude .3 under a Hann window whose samples sum to 200
    torch.testing.assert_close(power[25], torch.full((48,), (0.3 * 200 / 2) ** 2), rtol=1e-3, atol=0)


def test_power_spectrum_equals_transformers() -> None:
    from transformers.audio_utils import spectrogram, window_function

    sound = voice(["sa", "ti"])
    expected = spectrogram(sound.double().numpy(), window_function(400, "hann"), 400, 160, 400, power=2.0)
    got = power_spectrum(sound, n_fft=400, hop=160, pad=(200, 200), mode="reflect")
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-4 * expected.max())


def test_a_sound_too_short_to_reflect_is_padded_with_zeros() -> None:
    sound = noise(0.01)
    reflected = power_spectrum(sound, n_fft=400, hop=160, pad=(200, 200), mode="reflect")
    assert torch.equal(reflected, power_spectrum(sound, 400, 160, (200, 200), "constant"))


def test_whisper_log_mel_equals_transformers() -> None:
    sounds = [voice(["sa", "ti", "o"]), noise(1.3)]
    extract = transformers.WhisperFeatureExtractor()
    expected = extract([sound.numpy() for sound in sounds], sampling_rate=16_000, return_tensors="pt")
    windows = torch.stack([torch.nn.functional.pad(sound, (0, 480_000 - len(sound))) for sound in sounds])
    torch.testing.assert_close(whisper_log_mel(windows), expected.input_features, rtol=0, atol=1e-5)


def test_pad_frames_masks_what_is_not_there() -> None:
    padded, mask = pad_frames([torch.ones(2, 3), torch.ones(4, 3)])
    assert padded.shape == (2, 4, 3)
    assert mask.tolist() == [[True, True, False, False], [True] * 4]
    assert torch.equal(padded.sum(dim=(1, 2)), torch.tensor([6.0, 12.0]))
