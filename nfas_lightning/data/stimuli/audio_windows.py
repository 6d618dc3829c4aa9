"""Sound files of stories: read, resampled, cut into windows around their time stamps."""

from __future__ import annotations

import math
import os
import struct
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.io import wavfile
from torch import Tensor

from nfas_lightning.data.content import require_file
from nfas_lightning.data.stimuli.acoustics import check_sampling_rate, resample, sound_power
from nfas_lightning.data.stimuli.anchors import share_before, window_pieces

__all__ = ["AudioWindows", "Stretch", "audio_stimuli", "power_frames", "read_wav"]

_FRAME_SECONDS = 0.1
# quieter than this below the loudest frame counts as silence
_RANGE_DB = 60.0
_LOUDEST = 4.0  # floating point may go beyond full scale; 12 dB are no overshoot, but another scale


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
        ValueError: no wav file, one that is cut short, or floating point samples in the range of integers.
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
    else:
        _check_full_scale(path, samples)
    if not samples.size:
        raise ValueError(f"{path.name} must hold sound, got a wav file without a single sample.")
    mono = samples.reshape(len(samples), -1).mean(axis=1, dtype=np.float32)
    if lost := int((~np.isfinite(mono)).sum()):
        raise ValueError(f"{path.name} must hold finite samples, got {lost} of {len(mono)} that are not.")
    wanted = int(rate if sampling_rate is None else sampling_rate)
    # the filter rings a little beyond full scale
    return np.clip(resample(mono, int(rate), wanted), -1.0, 1.0), wanted


def _check_full_scale(path: Path, samples: NDArray[np.generic]) -> None:
    """Refuse floating point samples on another scale than [-1, 1]: all of them would be clipped."""
    peak = float(np.abs(samples).max(initial=0.0))
    if np.isfinite(peak) and peak > _LOUDEST:
        raise ValueError(
            f"{path.name} must hold floating point samples in [-1, 1], got a peak of {peak:g}: divide the "
            "integers that they were by 32768 (16 bit) or 2147483648 (32 bit), and write the file again."
        )
    if peak > 1:
        over = float((np.abs(samples) > 1).mean())
        warnings.warn(
            f"{path.name} holds samples beyond full scale, up to {peak:.3g}: {over:.2%} of them are clipped "
            "to [-1, 1]. Divide by the peak before writing to keep them.",
            stacklevel=3,
        )


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


class Stretch(NamedTuple):
    """Windows of one sound file.

    Attributes:
        path: the wav file.
        times: seconds on its clock at which windows stand.
        span: seconds of the file that may be heard in them.
    """

    path: Path
    times: tuple[float, ...]
    span: tuple[float, float] = (0.0, math.inf)


class AudioWindows:
    """A map-style dataset of windows of equal length that stand at given times, read when asked for.

    What would lie outside the file, or outside its span, is silence.

    Args:
        stretches: files and the times of their windows, in the order of the stimuli.
        seconds: length of a window.
        sampling_rate: Hz of the windows.
        anchor: the moment of a window that stands at its time: ``"center"`` where states are averaged over
            the window, ``"end"`` for the last state of a causal network, or ``"start"``.

    Raises:
        ValueError: a length or rate that is not positive, or an unknown anchor.
    """

    def __init__(
        self, stretches: Sequence[Stretch], seconds: float, sampling_rate: int, anchor: str = "center"
    ) -> None:
        if not seconds > 0:
            raise ValueError(f"seconds must be positive, got {seconds}.")
        check_sampling_rate(sampling_rate)
        self.seconds, self.sampling_rate, self.anchor = seconds, sampling_rate, anchor
        self._before = seconds * share_before(anchor)
        self._place = [(stretch.path, time, stretch.span) for stretch in stretches for time in stretch.times]

    def __len__(self) -> int:
        return len(self._place)

    def __getitem__(self, index: int) -> Tensor:
        path, time, span = self._place[index]
        samples = _resampled(path, self.sampling_rate)
        if not 0 <= time <= (lasts := len(samples) / self.sampling_rate) + 0.01:
            raise ValueError(f"{path.name} lasts {lasts:.3f} s, no window stands at {time} s.")
        n, first = (round(at * self.sampling_rate) for at in (self.seconds, time - self._before))
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
        path: the wav file.
        seconds: length of a window; what would lie outside the file is silence.
        hop: seconds from one window to the next.
        sampling_rate: Hz of the windows; models resample to their own.
        anchor: the moment of a window that stands in the middle of its piece, see `AudioWindows`.

    Returns:
        N windows (K,), read when asked for, and their events: the onset and duration (s) on the file's clock
        of the piece that each stands for. Add the time at which the sound began to the onsets.

    Raises:
        FileNotFoundError: the file or its content is missing.
        ValueError: no wav file, an unknown anchor, a length or rate that is not positive, or a sound shorter
            than `hop`.
    """
    path = require_file(path)
    lasts = len(_resampled(path, sampling_rate)) / sampling_rate
    onsets, durations = window_pieces(lasts, hop)
    if not len(onsets):
        raise ValueError(f"{path.name} must last a hop at least, {hop} s, got {lasts:.3g} s.")
    times = tuple((onsets + durations / 2).tolist())
    windows = AudioWindows([Stretch(path, times)], seconds, sampling_rate, anchor)
    return windows, pd.DataFrame({"onset": onsets, "duration": durations})


@lru_cache(maxsize=2)
def _resampled(path: Path, sampling_rate: int) -> NDArray[np.float32]:
    """Two files at a time are kept: batches go through the stories in order."""
    return read_wav(path, sampling_rate)[0]
