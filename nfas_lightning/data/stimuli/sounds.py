"""Sound files: read, resampled, whole or cut into windows."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from nfas_lightning.data.files import reading, require_file
from nfas_lightning.data.stimuli.acoustics import check_sampling_rate, resample, sound_power
from nfas_lightning.data.stimuli.stimulus_files import StimulusFiles
from nfas_lightning.data.stimuli.timing import Stretch, Windows, cut_recording
from nfas_lightning.errors import InputError

_FORMATS = {"WAV", "WAVEX", "RF64", "FLAC", "OGG"}
_MOST = 2**30  # samples of a file: 6.7 hours at 44.1 kHz, 4 GB in memory
_BLOCK = 2**22  # numbers that are decoded at a time: 16 MB
_OGG_PAGE = 65_307  # bytes, at most
_FRAME_SECONDS = 0.1
_RANGE_DB = 60.0  # quieter than this below the loudest frame counts as silence
_AGAIN = "it is cut short. Delete it and fetch it again."
_LOUDEST = 4.0  # floating point may go beyond full scale; 12 dB are no overshoot, but another scale


class SoundFiles(StimulusFiles):
    """Sound files as stimuli of `StimulusSet`: entry i is the samples of file i, mono.

    Args:
        paths: wav, flac or ogg files, in the order of the responses.
        sampling_rate: Hz that they are resampled to; models resample to their own.
        in_order: see `StimulusFiles`.
    """

    suffixes = (".flac", ".ogg", ".wav")
    kind = "sound"

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        sampling_rate: int = 16_000,
        *,
        in_order: bool = False,
    ) -> None:
        super().__init__(paths, in_order=in_order)
        check_sampling_rate(sampling_rate)
        self.sampling_rate = int(sampling_rate)
        self.choices = f"sounds {self.sampling_rate}"

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(read_sound(self.paths[index], self.sampling_rate)[0])


def sound_seconds(path: str | os.PathLike[str]) -> float:
    """Return how long a sound file lasts by its header; nothing is decoded."""
    with _opened(require_file(path)) as file:
        return float(file.frames / file.samplerate)


def read_sound(
    path: str | os.PathLike[str], sampling_rate: int | None = None
) -> tuple[NDArray[np.float32], int]:
    """Read a sound file as mono samples in [-1, 1], channels averaged.

    Args:
        path: wav (integers or floating point), flac or ogg.
        sampling_rate: Hz to resample to by a polyphase filter; None keeps the file's.

    Returns:
        (K,) samples and their rate in Hz.
    """
    path = require_file(path)
    if sampling_rate is not None:
        check_sampling_rate(sampling_rate)
    with _opened(path) as file:
        rate = int(file.samplerate)
        mono = np.empty(file.frames, dtype=np.float32)
        peak, n_beyond = _decode(file, mono)
        if lost := int((~np.isfinite(mono)).sum()):
            raise InputError(f"{path.name} must hold finite samples, got {lost} of {len(mono)} that are not.")
        if file.subtype in ("FLOAT", "DOUBLE"):  # lossy formats overshoot a little
            _check_full_scale(path, peak, n_beyond / (len(mono) * file.channels))
    wanted = int(rate if sampling_rate is None else sampling_rate)
    # the filter rings a little beyond full scale
    return np.clip(resample(mono, rate, wanted), -1.0, 1.0), wanted


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open a sound file; what libsndfile finds wrong with it is raised with its name."""
    kind = "a wav, flac or ogg file"
    with reading(path.name, kind, soundfile.SoundFileError), soundfile.SoundFile(path) as file:
        if file.format not in _FORMATS:
            raise InputError(f"{path.name} must be {kind}, got {file.format_info}.")
        if file.format in ("WAV", "WAVEX"):
            _check_length(path)
        if file.format == "OGG":
            _check_last_page(path)
        if not file.frames:
            raise InputError(f"{path.name} must hold sound, got a file without a single sample.")
        if file.frames > _MOST:
            raise InputError(
                f"{path.name} must hold at most {_MOST} samples, got {file.frames} by its header."
            )
        yield file


def _decode(file: soundfile.SoundFile, mono: NDArray[np.float32]) -> tuple[float, int]:
    """Fill `mono` block by block; return the peak and the number of samples beyond 1."""
    peak, beyond, filled = 0.0, 0, 0
    while filled < len(mono):
        wanted = min(max(1, _BLOCK // file.channels), len(mono) - filled)
        block = file.read(wanted, dtype="float32", always_2d=True)
        if len(block) < wanted:
            got = filled + len(block)
            raise InputError(f"{Path(file.name).name} must hold {file.frames} samples, got {got}: {_AGAIN}")
        mono[filled : filled + wanted] = block.mean(axis=1, dtype=np.float32)
        size = np.abs(block)
        peak, beyond = max(peak, float(size.max())), beyond + int((size > 1).sum())
        filled += wanted
    return peak, beyond


def _check_full_scale(path: Path, peak: float, share: float) -> None:
    """Refuse floating point samples on another scale than [-1, 1]: all of them would be clipped."""
    if peak > _LOUDEST:
        raise InputError(
            f"{path.name} must hold floating point samples in [-1, 1], got a peak of {peak:g}: divide 16-bit "
            "integers by 32768, and write it again."
        )
    if peak > 1:
        warnings.warn(
            f"{path.name} holds samples beyond full scale, up to {peak:.3g}: {share:.2%} of them are clipped "
            "to [-1, 1].",
            stacklevel=3,
        )


def _check_length(path: Path) -> None:
    """Raise if a wav file is shorter than in its header: libsndfile reads what is left without an error."""
    size = path.stat().st_size
    with path.open("rb") as file:
        order: Literal["little", "big"] = "big" if file.read(12).startswith(b"RIFX") else "little"
        while len(head := file.read(8)) == 8:
            declared, start = int.from_bytes(head[4:], order), file.tell()
            if head[:4] == b"data":
                # a recorder that was never stopped declares nothing, or everything
                if 0 < declared < 2**32 - 1 and size < start + declared:
                    raise InputError(
                        f"{path.name} must hold {declared} bytes of sound, got {size - start}: {_AGAIN}"
                    )
                return
            file.seek(start + declared + declared % 2)


def _check_last_page(path: Path) -> None:
    """Raise if an ogg file lacks its end: libsndfile reads the pages that are there without an error."""
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, 2 * _OGG_PAGE), os.SEEK_END)
        tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS\0")) :]
    n_parts = page[26] if len(page) > 26 else 0
    length = 27 + n_parts + sum(page[27 : 27 + n_parts])  # a page begins with a table of its parts' lengths
    if len(page) < length or not page[5] & 4:  # the flag of a stream's last page
        raise InputError(f"{path.name} must end with the last page of an ogg stream, got none: {_AGAIN}")


def power_frames(samples: NDArray[np.float32], sampling_rate: int) -> tuple[Tensor, float]:
    """Return sound power in dB above silence, one value every 0.1 s, and that step in seconds.

    Silence is what lies more than 60 dB below the loudest frame; a last frame that is not full is dropped.
    """
    size = round(_FRAME_SECONDS * sampling_rate)
    n = len(samples) // size
    if not n:
        raise InputError(
            f"Sound must last {_FRAME_SECONDS} s at least, got {len(samples) / sampling_rate:.3g} s."
        )
    power = sound_power(torch.from_numpy(samples[: n * size].reshape(n, size)))
    return (power - power.max() + _RANGE_DB).clamp_min(0.0).double(), size / sampling_rate


class AudioWindows(Windows):
    """A map-style dataset of windows of equal length at given times, read when asked for.

    What would lie outside the file, or outside its span, is silence. See `Windows`.
    """

    def __init__(
        self, stretches: Sequence[Stretch], seconds: float, sampling_rate: int, anchor: str = "center"
    ) -> None:
        super().__init__(seconds, anchor)
        check_sampling_rate(sampling_rate)
        self.sampling_rate = sampling_rate
        self._place = [(stretch.path, time, stretch.span) for stretch in stretches for time in stretch.times]

    def __len__(self) -> int:
        return len(self._place)

    def __getitem__(self, index: int) -> Tensor:
        path, time, span = self._place[index]
        samples = _resampled(path, self.sampling_rate)
        if not 0 <= time <= (lasts := len(samples) / self.sampling_rate) + 0.01:
            raise InputError(f"{path.name} lasts {lasts:.3f} s, it has no window at {time} s.")
        n, first = (round(at * self.sampling_rate) for at in (self.seconds, time - self.before))
        edges = [round(min(max(edge, 0.0), lasts) * self.sampling_rate) for edge in span]
        low, high = max(first, edges[0]), min(first + n, edges[1])
        window = np.zeros(n, dtype=np.float32)
        if high > low:
            window[low - first : high - first] = samples[low:high]
        return torch.from_numpy(window)


def audio_stimuli(
    path: str | os.PathLike[str],
    *,
    seconds: float,
    hop: float,
    sampling_rate: int = 16_000,
    anchor: str = "center",
) -> tuple[AudioWindows, pd.DataFrame]:
    """Cut a long recording into stimuli: a window of `seconds` for every piece of one `hop`.

    Args:
        path: the sound file.
        seconds: length of a window; what would lie outside the file is silence.
        hop: seconds from one window to the next.
        sampling_rate: Hz of the windows; models resample to their own.
        anchor: the moment of a window that is aligned with the middle of its piece, see `Windows`.

    Returns:
        N windows (K,), read when asked for, and their events: the onset and duration (s) on the file's clock
        of the piece of each. Add the time at which the sound began to the onsets.
    """
    path = require_file(path)
    lasts = len(_resampled(path, sampling_rate)) / sampling_rate
    times, events = cut_recording(path, lasts, hop)
    return AudioWindows([Stretch(path, times)], seconds, sampling_rate, anchor), events


@lru_cache(maxsize=2)
def _resampled(path: Path, sampling_rate: int) -> NDArray[np.float32]:
    """Two files at a time are kept: batches go through the stories in order."""
    return read_sound(path, sampling_rate)[0]
