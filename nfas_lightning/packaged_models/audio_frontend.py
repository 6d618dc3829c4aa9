"""What the audio models' preprocessing shares: mel spectra, and padding with a mask.

Functions that mix neighboring samples take one sound without its padding, so that the silence which fills up
a batch can't reach a frame of any stimulus.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from nfas_lightning.models.batch import prefix_mask
from nfas_lightning.models.optional import require

__all__ = ["mel_filterbank", "pad_frames", "power_spectrum", "whisper_log_mel"]


def pad_frames(frames: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack B frame sequences (T_i, ...) into (B, T, ...), zeros on the right, with their mask (B, T).

    >>> pad_frames([torch.ones(2, 40), torch.ones(3, 40)])[1].tolist()
    [[True, True, False], [True, True, True]]
    """
    lengths = torch.tensor([len(f) for f in frames])
    mask = prefix_mask(lengths, int(lengths.max()))
    return pad_sequence(list(frames), batch_first=True), mask


def power_spectrum(sound: Tensor, n_fft: int, hop: int, pad: tuple[int, int], mode: str) -> Tensor:
    """Return the squared magnitude (..., n_fft // 2 + 1, T) of Hann-windowed frames of a sound (..., K).

    `pad` samples are added left and right: zeros, or in the `mode` ``"reflect"`` the sound's own where it is
    long enough.
    """
    if sound.shape[-1] <= max(pad):
        mode = "constant"
    padded = torch.nn.functional.pad(sound[None], pad, mode=mode)[0]
    window = torch.hann_window(n_fft)
    spectrum = torch.stft(padded, n_fft, hop, window=window, center=False, return_complex=True)
    return spectrum.abs().square()


@lru_cache
def mel_filterbank(n_mels: int, n_fft: int, sampling_rate: int) -> Tensor:
    """Return triangular filters (n_mels, n_fft // 2 + 1) from 0 Hz to half the sampling rate, float32.

    Slaney's Auditory Toolbox scale (linear below 1 kHz, logarithmic above), each filter of unit area in Hz.
    The result is shared: don't change it in place.
    """
    filters = require("transformers.audio_utils", "audio").mel_filter_bank(
        n_fft // 2 + 1, n_mels, 0, sampling_rate / 2, sampling_rate, norm="slaney", mel_scale="slaney"
    )
    return torch.from_numpy(filters.T.copy()).float()


def whisper_log_mel(windows: Tensor) -> Tensor:
    """Return Whisper's input (B, 80, K // 160) of windows (B, K) at 16 kHz that are filled up already.

    Base-10 logarithm of 80 mel bands of 25 ms frames every 10 ms, cut at 8 below the window's maximum.

    Reference:
        Radford et al. (2023), Robust Speech Recognition via Large-Scale Weak Supervision.
        https://doi.org/10.48550/arXiv.2212.04356
    """
    power = power_spectrum(windows, n_fft=400, hop=160, pad=(200, 200), mode="reflect")[..., :-1]
    log_mel = (mel_filterbank(80, 400, 16_000) @ power).clamp_min(1e-10).log10()
    log_mel = torch.maximum(log_mel, log_mel.amax(dim=(-2, -1), keepdim=True) - 8)
    return (log_mel + 4) / 4
