from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from nfas_lightning.data.acoustics import resample
from nfas_lightning.data.audio_windows import (
    AudioWindows,
    Stretch,
    audio_stimuli,
    power_frames,
    read_wav,
    window_ends,
)
from nfas_lightning.data.stimulus_set import StimulusSet
from nfas_lightning.datamodules import ArrayDataModule

RATE = 8000


def ramp(seconds: float) -> np.ndarray:
    """Samples that say when they were: seconds / 100."""
    return np.arange(int(seconds * RATE)) / RATE / 100


@pytest.mark.parametrize(
    ("dtype", "scale", "middle"), [(np.int16, 2**15, 0), (np.int32, 2**31, 0), (np.uint8, 128, 128)]
)
def test_integer_formats_are_scaled_and_channels_averaged(tmp_path, dtype, scale, middle):
    wave = np.linspace(-0.5, 0.5, 800)
    stereo = np.stack([wave, 0.5 * wave], axis=1)
    wavfile.write(tmp_path / "a.wav", RATE, (stereo * scale + middle).astype(dtype))
    samples, rate = read_wav(tmp_path / "a.wav")
    assert rate == RATE
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, 0.75 * wave, atol=0.01)


def test_resampling_keeps_time_and_pitch(tmp_path):
    t = np.arange(RATE) / RATE
    wavfile.write(tmp_path / "a.wav", RATE, np.sin(2 * np.pi * 440 * t).astype(np.float32))
    samples, rate = read_wav(tmp_path / "a.wav", 16_000)
    assert (rate, len(samples)) == (16_000, 16_000)
    inner = slice(1000, -1000)
    expected = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(samples[inner], expected[inner], atol=0.01)
    assert np.abs(samples).max() <= 1.0


def test_broken_files_are_named(tmp_path):
    path = tmp_path / "a.wav"
    wavfile.write(path, RATE, np.zeros(4000, dtype=np.int16))
    whole = path.read_bytes()
    path.write_bytes(whole[:-3000])
    with pytest.raises(ValueError, match=r"a\.wav must hold 8000 bytes of sound, got 5000"):
        read_wav(path)
    path.write_bytes(whole[:20])
    with pytest.raises(ValueError, match=r"a\.wav must be a wav file"):
        read_wav(path)
    path.write_text("../.git/annex/objects/xx/yy/MD5E-s1.wav")
    with pytest.raises(FileNotFoundError, match="git-annex pointer"):
        read_wav(path)


def test_chunks_of_odd_length_are_padded_and_an_unstopped_recorder_is_read(tmp_path):
    path = tmp_path / "a.wav"
    wavfile.write(path, RATE, np.arange(4000, dtype=np.int16))
    whole = path.read_bytes()
    tag = b"note" + (3).to_bytes(4, "little") + b"hi!\0"  # three bytes and one of padding
    path.write_bytes(whole[:12] + tag + whole[12:])
    assert len(read_wav(path)[0]) == 4000
    path.write_bytes((whole[:12] + tag + whole[12:])[:-3000])
    with pytest.raises(ValueError, match=r"must hold 8000 bytes of sound, got 5000"):
        read_wav(path)
    at = whole.index(b"data") + 4
    path.write_bytes(whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :])
    assert len(read_wav(path)[0]) == 4000


def test_a_hop_that_is_no_binary_fraction_loses_no_window():
    assert window_ends(0.3, 0.1).tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert len(window_ends(0.6, 0.2)) == 3
    assert len(window_ends(0.59, 0.2)) == 2


def test_windows_end_at_their_time_and_begin_in_silence(tmp_path):
    path = tmp_path / "a.wav"
    wavfile.write(path, RATE, ramp(5).astype(np.float32))
    ends = window_ends(5.0, 0.5)
    windows = AudioWindows([Stretch(path, tuple(ends))], 2.0, RATE)
    assert len(windows) == len(ends) == 10
    for end, window in zip(ends, (windows[i] for i in range(10)), strict=True):
        assert window.shape == (2 * RATE,)
        # the last sample was heard just before the window's time stamp
        assert 100 * float(window[-1]) == pytest.approx(end - 1 / RATE, abs=1e-4)
        assert 100 * float(window[0]) == pytest.approx(max(0.0, end - 2.0), abs=1e-4)
    assert bool((windows[0][: round(1.5 * RATE)] == 0).all())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_tone_is_resampled_and_what_would_alias_is_gone(dtype):
    rate, wanted = 16_000, 6_000
    t, inner = np.arange(rate) / rate, slice(100, -100)
    tone = np.sin(2 * np.pi * 440 * t).astype(dtype)
    resampled = resample(tone, rate, wanted)
    assert (resampled.shape, resampled.dtype) == ((wanted,), dtype)
    exact = np.sin(2 * np.pi * 440 * np.arange(wanted) / wanted)
    np.testing.assert_allclose(resampled[inner], exact[inner], atol=1e-3)
    high = resample(np.sin(2 * np.pi * 5_000 * t).astype(dtype), rate, wanted)
    assert np.abs(high[inner]).max() < 1e-2
    assert resample(tone, rate, rate) is tone


def test_two_files_make_one_batch(tmp_path):
    for name, level in (("a", 0.25), ("b", 0.5)):
        wavfile.write(tmp_path / f"{name}.wav", RATE, np.full(RATE, level, dtype=np.float32))
    windows = AudioWindows([Stretch(tmp_path / f"{n}.wav", (0.5, 1.0)) for n in "ab"], 0.5, RATE)
    stimuli = StimulusSet(windows, "audio", RATE)
    batch = stimuli.collate([stimuli[i] for i in range(4)])
    assert batch["audio"].shape == (4, 4000)
    torch.testing.assert_close(batch["audio"][:, 100], torch.tensor([0.25, 0.25, 0.5, 0.5]))
    # workers of a loader get a copy
    torch.testing.assert_close(pickle.loads(pickle.dumps(stimuli))[3][1], stimuli[3][1])
    with pytest.raises(ValueError, match=r"lasts 1\.000 s, no window ends at 9\.0 s"):
        AudioWindows([Stretch(tmp_path / "a.wav", (9.0,))], 0.5, RATE)[0]


def test_power_counts_from_silence():
    loud = np.random.default_rng(0).normal(0, 0.3, RATE).astype(np.float32).clip(-1, 1)
    power, step = power_frames(np.concatenate([loud, 0.1 * loud, 0 * loud]), RATE)
    assert (len(power), step) == (30, 0.1)
    assert float(power[:10].mean() - power[10:20].mean()) == pytest.approx(20, abs=0.5)
    assert float(power[20:].abs().max()) == 0.0
    with pytest.raises(ValueError, match=r"must last 0\.1 s"):
        power_frames(loud[:10], RATE)


def test_a_long_recording_becomes_stimuli(tmp_path):
    wavfile.write(tmp_path / "story.wav", RATE, ramp(6.3).astype(np.float32))
    windows, ends = audio_stimuli(tmp_path / "story.wav", seconds=2.0, hop=1.5, sampling_rate=RATE)
    assert ends.tolist() == [1.5, 3.0, 4.5, 6.0]
    assert len(windows) == 4
    for i, end in enumerate(ends):
        window = windows[i].numpy()
        heard = np.maximum(end - 2.0 + np.arange(2 * RATE) / RATE, 0) / 100  # silence before the beginning
        np.testing.assert_allclose(window, heard, atol=1e-6)
    # they pair with a time series by their ends
    brain = ArrayDataModule(windows, np.zeros((6, 2)), events={"onset": ends}, tr=2.0, sampling_rate=RATE)
    brain.setup()
    assert brain.responses.modality == "audio"
    assert next(iter(brain.test_dataloader()))["audio"].shape == (4, 2 * RATE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop": 0.0}, "hop must be a positive number"),
        ({"seconds": 0.0}, "seconds must be positive"),
        ({"hop": 9.0}, r"story\.wav must last a hop at least, 9.0 s, got 2 s"),
    ],
)
def test_windows_that_can_not_be_cut(tmp_path, options, message):
    wavfile.write(tmp_path / "story.wav", RATE, ramp(2.0).astype(np.float32))
    with pytest.raises(ValueError, match=message):
        audio_stimuli(
            tmp_path / "story.wav", **{"seconds": 2.0, "hop": 1.0, "sampling_rate": RATE, **options}
        )


@pytest.mark.parametrize("rate", [0, -1, 10**9, 16_000.0, "16000", True])
def test_a_sampling_rate_is_one_that_recorders_have(tmp_path, rate):
    wavfile.write(tmp_path / "story.wav", RATE, ramp(2.0).astype(np.float32))
    error = ValueError if type(rate) is int else TypeError
    with pytest.raises(error, match="sampling_rate must be"):
        read_wav(tmp_path / "story.wav", rate)
    with pytest.raises(error, match="sampling_rate must be"):
        StimulusSet([torch.zeros(100)], "audio", rate)


def test_a_wav_file_without_sound(tmp_path):
    wavfile.write(tmp_path / "empty.wav", RATE, np.zeros(0, np.int16))
    with pytest.raises(ValueError, match=r"empty\.wav must hold sound, got a wav file without"):
        read_wav(tmp_path / "empty.wav")
