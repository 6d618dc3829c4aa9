"""Sound files of stories: read, resampled, cut into windows that end at their time stamps."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.io import wavfile
from torch import Tensor

from nfas_lightning.data.acoustics import check_sampling_rate, resample, sound_power
from nfas_lightning.data.content import require_file

__all__ = ["AudioWindows", "Stretch", "audio_stimuli", "power_frames", "read_wav", "window_ends"]

_FRAME_SECONDS = 0.1
# quieter than this below the loudest frame counts as silence
_RANGE_DB = 60.0


def read_wav(
    path: str | os.PathLike[str], sampling_rate: int | None = None
) -> tuple[NDArray[np.float32], int]:
    """Read a wav file as mono samples in [-1, 1], channels averaged.

    Args:
        path: PCM (8, 16, 24, 32 bit) or floating point.
        sampling_rate: Hz to resample to by a polyphase filter; None keeps the file's.

    Returns:
        (K,) samples and their rate in Hz.

    Raises:
        FileNotFoundError: the file or its content is missing.
        ValueError: no wav file, or one that is cut short.
    """
    path = require_file(path)
    if sampling_rate is not None:
        check_sampling_rate(sampling_rate)
    try:
        with warnings.catch_warnings():
            # unknown chunks (tags, markers) do no harm; an early end is found by counting below
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            rate, samples = wavfile.read(path)
    except (ValueError, EOFError, OSError, struct.error) as error:
        raise ValueError(
            f"{path.name} must be a wav file, but can't be read ({error}): it is cut short, damaged or of "
            "another kind."
        ) from error
    _check_length(path, samples)
    if samples.dtype.kind in "iu":
        middle, scale = (
            (128.0, 128.0) if samples.dtype == np.uint8 else (0.0, -float(np.iinfo(samples.dtype).min))
        )
        samples = (samples.astype(np.float32) - middle) / scale
    if not samples.size:
        raise ValueError(f"{path.name} must hold sound, got a wav file without a single sample.")
    mono = samples.reshape(len(samples), -1).mean(axis=1, dtype=np.float32)
    if lost := int((~np.isfinite(mono)).sum()):
        raise ValueError(f"{path.name} must hold finite samples, got {lost} of {len(mono)} that are not.")
    wanted = int(rate if sampling_rate is None else sampling_rate)
    # the filter rings a little beyond full scale
    return np.clip(resample(mono, int(rate), wanted), -1.0, 1.0), wanted


def _check_length(path: Path, samples: NDArray[np.generic]) -> None:
    """Raise if the data are shorter than the header says: scipy returns what there is."""
    size = path.stat().st_size
    with path.open("rb") as file:
        order: Literal["little", "big"] = "big" if file.read(12).startswith(b"RIFX") else "little"
        while len(head := file.read(8)) == 8:
            declared, start = int.from_bytes(head[4:], order), file.tell()
            if head[:4] == b"data":
                # a recorder that was never stopped declares nothing, or everything
                if 0 < declared < 2**32 - 1 and size < start + declared:
                    raise ValueError(
                        f"{path.name} must hold {declared} bytes of sound, got {size - start}: it is cut "
                        f"short ({len(samples)} samples). Delete it and fetch it again."
                    )
                return
            file.seek(start + declared + declared % 2)


def power_frames(samples: NDArray[np.float32], sampling_rate: int) -> tuple[Tensor, float]:
    """Return sound power in dB above silence, a value every 0.1 s, and that step in seconds.

    Silence is what lies more than 60 dB below the loudest frame; a last frame that is not full is dropped.
    """
    size = round(_FRAME_SECONDS * sampling_rate)
    n = len(samples) // size
    if not n:
        raise ValueError(
            f"Sound must last {_FRAME_SECONDS} s at least, got {len(samples) / sampling_rate:.3g} s."
        )
    power = sound_power(torch.from_numpy(samples[: n * size].reshape(n, size)))
    return (power - power.max() + _RANGE_DB).clamp_min(0.0).double(), size / sampling_rate


def window_ends(seconds: float, hop: float) -> NDArray[np.float64]:
    """Return the ends of windows in a sound of a length: hop, 2 hop, ... (seconds).

    Example:
        >>> window_ends(3.2, 1.0).tolist()
        [1.0, 2.0, 3.0]
    """
    return hop * np.arange(1, int(np.floor(seconds / hop + 1e-9)) + 1, dtype=np.float64)


class Stretch(NamedTuple):
    """Windows of one sound file.

    Attributes:
        path: the wav file.
        ends: seconds on its clock at which windows end.
    """

    path: Path
    ends: tuple[float, ...]


class AudioWindows:
    """A map-style dataset of windows of equal length that end at given times, read when asked for.

    What would lie before the file's beginning is silence. A window looks back only: none holds sound that was
    not heard yet.

    Args:
        stretches: files and the ends of their windows, in the order of the stimuli.
        seconds: length of a window.
        sampling_rate: Hz of the windows.

    Raises:
        ValueError: a length or rate that is not positive.
    """

    def __init__(self, stretches: Sequence[Stretch], seconds: float, sampling_rate: int) -> None:
        if not seconds > 0:
            raise ValueError(f"seconds must be positive, got {seconds}.")
        check_sampling_rate(sampling_rate)
        self.seconds, self.sampling_rate = seconds, sampling_rate
        self._place = [(stretch.path, end) for stretch in stretches for end in stretch.ends]

    def __len__(self) -> int:
        return len(self._place)

    def __getitem__(self, index: int) -> Tensor:
        path, end = self._place[index]
        samples = _resampled(path, self.sampling_rate)
        n, stop = round(self.seconds * self.sampling_rate), round(end * self.sampling_rate)
        if stop > len(samples) + self.sampling_rate // 100:
            raise ValueError(
                f"{path.name} lasts {len(samples) / self.sampling_rate:.3f} s, no window ends at {end} s."
            )
        part = samples[max(0, stop - n) : stop]
        window = np.zeros(n, dtype=np.float32)
        window[n - min(n, stop) :][: len(part)] = part
        return torch.from_numpy(window)


def audio_stimuli(
    path: str | os.PathLike[str], *, seconds: float, hop: float, sampling_rate: int = 16_000
) -> tuple[AudioWindows, NDArray[np.float64]]:
    """Cut a long recording into stimuli: windows that end every `hop` seconds and look back `seconds`.

    Args:
        path: the wav file.
        seconds: length of a window; what would lie before the file's beginning is silence.
        hop: seconds from one window to the next.
        sampling_rate: Hz of the windows; models resample to their own.

    Returns:
        N windows (K,), read when asked for, and the seconds (N,) at which they end on the file's clock: the
        onsets of their events, once the time at which the sound began is added.

    Raises:
        FileNotFoundError: the file or its content is missing.
        ValueError: no wav file, a length or rate that is not positive, or a sound shorter than `hop`.
    """
    path = require_file(path)
    if not hop > 0:
        raise ValueError(f"hop must be a positive number of seconds, got {hop}.")
    lasts = len(_resampled(path, sampling_rate)) / sampling_rate
    ends = window_ends(lasts, hop)
    if not len(ends):
        raise ValueError(f"{path.name} must last a hop at least, {hop} s, got {lasts:.3g} s.")
    return AudioWindows([Stretch(path, tuple(ends))], seconds, sampling_rate), ends


@lru_cache(maxsize=2)
def _resampled(path: Path, sampling_rate: int) -> NDArray[np.float32]:
    """Two files at a time are kept: batches go through the stories in order."""
    return read_wav(path, sampling_rate)[0]
