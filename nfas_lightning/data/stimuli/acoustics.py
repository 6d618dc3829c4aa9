"""Acoustic descriptions of sounds that no network computed: cochleagram, power, centroid, modulation."""

from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nfas_lightning.functional.checks import check_count, check_shape

_FRAME_SECONDS = 0.010
_WINDOW_SECONDS = 0.032
_FASTEST = 768_000  # Hz, of the quickest recorders; a rate in the wrong unit would fill the memory


def check_sampling_rate(rate: Any) -> None:
    """Raise unless a sampling rate is a whole number of Hz that a recorder has."""
    check_count("sampling_rate", rate, 1, _FASTEST, unit="Hz")


def resample(sound: NDArray[np.floating[Any]], from_rate: int, to_rate: int) -> NDArray[np.floating[Any]]:
    """Resample real samples (K,), without padding, with a polyphase filter that removes what would alias."""
    if from_rate == to_rate:
        return sound
    from scipy.signal import resample_poly  # slow to import, and few recordings need it

    shared = gcd(from_rate, to_rate)
    resampled: NDArray[np.floating[Any]] = resample_poly(sound, to_rate // shared, from_rate // shared)
    return resampled.astype(sound.dtype, copy=False)


def erb_centers(n_bands: int, low: float = 50.0, high: float = 7000.0) -> Tensor:
    """Center frequencies in Hz, evenly spaced on the ERB-rate scale (doi:10.1016/0378-5955(90)90170-T)."""
    edges = 21.4 * torch.log10(1 + 0.00437 * torch.tensor([low, high], dtype=torch.float64))
    rate = torch.linspace(float(edges[0]), float(edges[1]), n_bands, dtype=torch.float64)
    return ((10 ** (rate / 21.4) - 1) / 0.00437).float()


def cochleagram(audio: Tensor, sampling_rate: int, n_bands: int = 32) -> Tensor:
    """Energy in ERB-spaced bands every 10 ms.

    Power spectra of 32 ms Hann windows are weighted by Gaussian filters as wide as the ear's (one ERB).

    Args:
        audio: (N, K) samples.
        sampling_rate: Hz.
        n_bands: frequency bands between 50 Hz and the smaller of 7 kHz and 0.45 of the sampling rate.

    Returns:
        (N, n_bands, frames) band power, non-negative.
    """
    check_shape("audio", audio, "N K")
    window = torch.hann_window(round(_WINDOW_SECONDS * sampling_rate), device=audio.device)
    spectrum = torch.stft(
        audio.float(),
        n_fft=len(window),
        hop_length=round(_FRAME_SECONDS * sampling_rate),
        window=window,
        return_complex=True,
        pad_mode="constant",
    )
    power = spectrum.real.square() + spectrum.imag.square()  # (N, F, frames)
    frequency = torch.linspace(0.0, sampling_rate / 2, power.shape[1], device=audio.device)
    center = erb_centers(n_bands, high=min(7000.0, 0.45 * sampling_rate)).to(audio.device)[:, None]
    # never narrower than a bin, or the lowest filters would fall between two of them
    width = (24.7 * (0.00437 * center + 1)).clamp_min(sampling_rate / len(window))
    filters = torch.exp(-0.5 * ((frequency[None] - center) / (0.5 * width)).square())
    filters = filters / filters.sum(dim=1, keepdim=True)
    return torch.einsum("bf,nft->nbt", filters, power)


def modulation_energy(envelopes: Tensor, rates: tuple[float, ...] = (2.0, 4.0, 8.0, 16.0, 32.0)) -> Tensor:
    """Energy of slow changes of each band, one octave around each of K rates in Hz.

    Envelopes are (N, B, F), compressed, at 100 frames per second; log energies come as (N, B, K).
    """
    check_shape("envelopes", envelopes, "N B F")
    centered = envelopes - envelopes.mean(dim=-1, keepdim=True)
    window = torch.hann_window(centered.shape[-1], device=centered.device)
    energy = torch.fft.rfft(centered * window).abs().square()
    rate = torch.fft.rfftfreq(centered.shape[-1], d=_FRAME_SECONDS, device=centered.device)
    bands = [((rate >= r / 2**0.5) & (rate < r * 2**0.5)) for r in rates]
    return torch.stack([energy[..., band].sum(dim=-1).add(1e-6).log() for band in bands], dim=-1)


def sound_power(audio: Tensor) -> Tensor:
    """(N,) mean power of (N, K) samples in dB re full scale; silence stops at -100 dB."""
    check_shape("audio", audio, "N K")
    return 10 * audio.float().square().mean(dim=1).clamp_min(1e-10).log10()


def spectral_centroid(audio: Tensor, sampling_rate: int) -> Tensor:
    """(N,) power-weighted mean frequency of (N, K) samples, in Hz; 0 for silence."""
    check_shape("audio", audio, "N K")
    power = torch.fft.rfft(audio.float(), dim=1).abs().square()
    frequency = torch.fft.rfftfreq(audio.shape[1], d=1 / sampling_rate, device=audio.device)
    total = power.sum(dim=1)
    centroid: Tensor = (power @ frequency) / torch.where(total > 0, total, torch.ones_like(total))
    return centroid
