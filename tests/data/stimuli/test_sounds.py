from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import soundfile
import torch
from scipy.io import wavfile

from nfas_lightning.data.stimuli import sounds
from nfas_lightning.data.stimuli.acoustics import resample
from nfas_lightning.data.stimuli.sounds import (
    AudioWindows,
    SoundFiles,
    audio_stimuli,
    power_frames,
    read_sound,
    sound_seconds,
)
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.data.stimuli.timing import Stretch
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
    samples, rate = read_sound(tmp_path / "a.wav")
    assert rate == RATE
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, 0.75 * wave, atol=0.01)


def test_resampling_keeps_time_and_pitch(tmp_path):
    t = np.arange(RATE) / RATE
    wavfile.write(tmp_path / "a.wav", RATE, np.sin(2 * np.pi * 440 * t).astype(np.float32))
    samples, rate = read_sound(tmp_path / "a.wav", 16_000)
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
        read_sound(path)
    path.write_bytes(whole[:20])
    with pytest.raises(ValueError, match=r"a\.wav must be a wav, flac or ogg file, but can't be read"):
        read_sound(path)
    path.write_text("../.git/annex/objects/xx/yy/MD5E-s1.wav")
    with pytest.raises(FileNotFoundError, match="git-annex pointer"):
        read_sound(path)


def test_chunks_of_odd_length_are_padded_and_an_unstopped_recorder_is_read(tmp_path):
    path = tmp_path / "a.wav"
    wavfile.write(path, RATE, np.arange(4000, dtype=np.int16))
    whole = path.read_bytes()
    tag = b"note" + (3).to_bytes(4, "little") + b"hi!\0"  # three bytes and one of padding
    path.write_bytes(whole[:12] + tag + whole[12:])
    assert len(read_sound(path)[0]) == 4000
    path.write_bytes((whole[:12] + tag + whole[12:])[:-3000])
    with pytest.raises(ValueError, match=r"must hold 8000 bytes of sound, got 5000"):
        read_sound(path)
    at = whole.index(b"data") + 4
    path.write_bytes(whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :])
    assert len(read_sound(path)[0]) == 4000


@pytest.mark.parametrize(("anchor", "before"), [("start", 0.0), ("center", 1.0), ("end", 2.0)])
def test_windows_lie_around_their_time_and_outside_is_silence(tmp_path, anchor, before):
    path = tmp_path / "a.wav"
    wavfile.write(path, RATE, ramp(5).astype(np.float32))
    times = np.arange(0.25, 5, 0.5)
    windows = AudioWindows([Stretch(path, tuple(times))], 2.0, RATE, anchor)
    assert len(windows) == len(times) == 10
    for time, window in zip(times, (windows[i] for i in range(10)), strict=True):
        clock = time - before + np.arange(2 * RATE) / RATE
        np.testing.assert_allclose(window, np.where((clock >= 0) & (clock < 5), clock / 100, 0), atol=1e-6)


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
    with pytest.raises(ValueError, match=r"lasts 1\.000 s, it has no window at 9\.0 s"):
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
    windows, events = audio_stimuli(tmp_path / "story.wav", seconds=2.0, hop=1.5, sampling_rate=RATE)
    assert events["onset"].tolist() == [0.0, 1.5, 3.0, 4.5]
    np.testing.assert_allclose(events["duration"], [1.5, 1.5, 1.5, 1.8])  # 0.3 s are left at the end
    assert len(windows) == 4
    for i, middle in enumerate(events["onset"] + events["duration"] / 2):
        clock = middle - 1.0 + np.arange(2 * RATE) / RATE
        heard = np.where((clock >= 0) & (clock < 6.3), clock / 100, 0)  # silence around the file
        np.testing.assert_allclose(windows[i].numpy(), heard, atol=1e-4)
    # they pair with a time series by their events
    brain = ArrayDataModule(windows, np.zeros((6, 2)), events=events, tr=2.0, sampling_rate=RATE)
    brain.setup()
    assert brain.responses.modality == "audio"
    assert next(iter(brain.test_dataloader()))["audio"].shape == (4, 2 * RATE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop": 0.0}, "hop must be a positive number"),
        ({"seconds": 0.0}, "seconds must be positive"),
        ({"anchor": "middle"}, "anchor must be one of 'start', 'center', 'end', got 'middle'"),
        ({"hop": 9.0}, r"story\.wav must last a hop at least, 9.0 s, got 2 s"),
    ],
)
def test_windows_that_can_not_be_cut(tmp_path, options, message):
    wavfile.write(tmp_path / "story.wav", RATE, ramp(2.0).astype(np.float32))
    with pytest.raises(ValueError, match=message):
        audio_stimuli(
            tmp_path / "story.wav", **{"seconds": 2.0, "hop": 1.0, "sampling_rate": RATE, **options}
        )


def test_windows_need_to_know_what_they_stand_for(tmp_path):
    wavfile.write(tmp_path / "story.wav", RATE, ramp(8.0).astype(np.float32))
    windows, events = audio_stimuli(tmp_path / "story.wav", seconds=4.0, hop=2.0, sampling_rate=RATE)
    brain = ArrayDataModule(windows, np.zeros((6, 2)), events=events[["onset"]], tr=2.0, sampling_rate=RATE)
    with pytest.raises(ValueError, match=r"must have a column 'duration'.*pass the events that came with"):
        brain.setup()


@pytest.mark.parametrize("rate", [0, -1, 10**9, 16_000.0, "16000", True])
def test_a_sampling_rate_is_one_that_recorders_have(tmp_path, rate):
    wavfile.write(tmp_path / "story.wav", RATE, ramp(2.0).astype(np.float32))
    error = ValueError if type(rate) is int else TypeError
    with pytest.raises(error, match="sampling_rate must be"):
        read_sound(tmp_path / "story.wav", rate)
    with pytest.raises(error, match="sampling_rate must be"):
        StimulusSet([torch.zeros(100)], "audio", rate)


def test_a_wav_file_without_sound(tmp_path):
    wavfile.write(tmp_path / "empty.wav", RATE, np.zeros(0, np.int16))
    with pytest.raises(ValueError, match=r"empty\.wav must hold sound, got a file without a single sample"):
        read_sound(tmp_path / "empty.wav")


def tone(seconds=2.0):
    t = np.arange(int(seconds * RATE)) / RATE
    return (0.4 * np.sin(2 * np.pi * 440 * t) + 0.1 * np.sin(2 * np.pi * 50 * t)).astype(np.float32)


@pytest.mark.parametrize(("suffix", "least"), [("wav", 0.999999), ("flac", 0.999999), ("ogg", 0.99)])
def test_wav_flac_and_ogg_hold_the_same_sound(tmp_path, suffix, least):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([tone(), 0.5 * tone()], axis=1), RATE)
    samples, rate = read_sound(path)
    assert (rate, len(samples), sound_seconds(path)) == (RATE, 2 * RATE, 2.0)
    assert np.corrcoef(samples, 0.75 * tone())[0, 1] > least
    assert np.std(samples) == pytest.approx(np.std(0.75 * tone()), rel=0.02)
    files = SoundFiles.from_folder(tmp_path, 16_000)
    assert files[0].shape == (4 * RATE,)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_kind_of_sample_is_scaled_as_scipy_has_it(tmp_path, subtype):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), RATE, subtype=subtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)  # libsndfile writes a PEAK chunk
        raw = wavfile.read(path)[1]
    scale = {"u": 128.0, "i": -float(np.iinfo(raw.dtype).min) if raw.dtype.kind == "i" else 1, "f": 1.0}
    expected = (raw.astype(np.float64) - 128.0 * (raw.dtype == np.uint8)) / scale[raw.dtype.kind]
    np.testing.assert_allclose(read_sound(path)[0], expected, atol=1e-7)


@pytest.mark.parametrize("suffix", ["flac", "ogg"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99, 0.9999])
def test_a_compressed_file_that_is_cut_short_is_named(tmp_path, suffix, share):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 4 * RATE), RATE)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=rf"a\.{suffix} must .*cut short"):
        read_sound(path)


def test_a_header_that_announces_years_of_sound_takes_no_memory(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(), RATE)
    whole = bytearray(path.read_bytes())
    whole[21] |= 0x0F  # the 36 bits of the number of samples
    whole[22:26] = b"\xff" * 4
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=r"a\.flac must hold at most \d+ samples, got 68719476735"):
        read_sound(path)


def test_blocks_are_put_together_and_memory_stays_that_of_the_mono_sound(tmp_path, monkeypatch):
    monkeypatch.setattr(sounds, "_BLOCK", 1000)
    path = tmp_path / "a.wav"
    both = np.stack([tone(), -0.5 * tone(), 0.25 * tone()], axis=1)
    soundfile.write(path, both, RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_sound(path)[0], both.mean(axis=1), atol=1e-7)


def test_samples_that_are_not_finite_and_other_formats_are_refused(tmp_path):
    path = tmp_path / "a.wav"
    wave = tone()
    wave[:3] = np.nan, np.inf, -np.inf
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"a\.wav must hold finite samples, got 3 of 16000"):
        read_sound(path)
    soundfile.write(path, tone(), RATE, format="AIFF")
    with pytest.raises(ValueError, match=r"a\.wav must be a wav, flac or ogg file, got AIFF"):
        read_sound(path)
    path.write_text("what a web server says instead of a sound" * 9)
    with pytest.raises(ValueError, match=r"a\.wav must be a wav, flac or ogg file, but can't be read"):
        read_sound(path)


def test_lossy_sound_may_overshoot_without_a_word(tmp_path):
    square = np.sign(np.sin(2 * np.pi * 300 * np.arange(2 * RATE) / RATE)).astype(np.float32)
    soundfile.write(tmp_path / "a.ogg", square, RATE)
    assert np.abs(soundfile.read(tmp_path / "a.ogg")[0]).max() > 1
    samples, _ = read_sound(tmp_path / "a.ogg")
    assert np.abs(samples).max() == 1
