"""Stimulus features that no network computed: the causes of the planted responses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from math import log, pi

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor

from nfas_lightning.data.stimuli.acoustics import cochleagram, modulation_energy
from nfas_lightning.datamodules.simulated.sample_texts import words_of

_GABOR_SIZE = 96  # a multiple of the grid, and quick to transform
_WAVELENGTHS = (4.0, 8.0, 16.0, 32.0)
_N_ORIENTATIONS = 6
_GRID = 3


def image_features(images: Tensor) -> Tensor:
    """Describe images by Gabor energy and color on a coarse grid.

    Energy of complex log-Gabor filters, 4 wavelengths x 6 orientations, and mean and spread of luminance
    and of the two color-opponent axes, each averaged over the cells of a 3 x 3 grid.

    Args:
        images: (N, 3, H, W) in [0, 1].

    Returns:
        (N, 9 * (24 + 6)) features: logarithms of energy, then color.
    """
    size = (_GABOR_SIZE, _GABOR_SIZE)
    small = torch.nn.functional.interpolate(images, size=size, mode="bilinear", antialias=True).numpy()
    red, green, blue = small[:, 0], small[:, 1], small[:, 2]
    gray = small.mean(axis=1)
    opponent = np.stack([gray, red - green, (red + green) / 2 - blue], axis=1)
    mean = _pool(opponent)
    spread = np.sqrt(np.maximum(_pool(opponent**2) - mean**2, 0))
    spectrum = fft.fft2(gray - gray.mean(axis=(1, 2), keepdims=True))
    energy = []
    for bank in _log_gabors():
        response = fft.ifft2(spectrum * bank)
        energy.append(_pool(response.real**2 + response.imag**2))
    parts = [np.log(np.stack(energy, axis=1) + 1e-5), 3 * mean, 3 * spread]
    return torch.from_numpy(np.concatenate([part.reshape(len(small), -1) for part in parts], axis=1))


def _pool(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average (..., H, W) maps over the cells of the grid."""
    cell = maps.shape[-1] // _GRID
    cells = maps.reshape(*maps.shape[:-2], _GRID, cell, _GRID, cell)
    pooled: NDArray[np.float32] = cells.mean(axis=(-3, -1))
    return pooled


@cache
def _log_gabors() -> list[NDArray[np.float32]]:
    """Analytic filters in the frequency plane, one octave wide, covering half of it."""
    frequency = fft.fftfreq(_GABOR_SIZE)
    v, u = np.meshgrid(frequency, frequency, indexing="ij")
    radius = np.hypot(u, v)
    radius[0, 0] = 1.0  # the mean is removed before: any value but zero will do
    angle = np.arctan2(v, u)
    filters = []
    for wavelength in _WAVELENGTHS:
        ring = np.exp(-(np.log(radius * wavelength) ** 2) / (2 * log(2.0**0.5) ** 2))
        for k in range(_N_ORIENTATIONS):
            away = np.mod(angle - pi * k / _N_ORIENTATIONS + pi, 2 * pi) - pi
            wedge = np.exp(-(away**2) / (2 * (pi / _N_ORIENTATIONS / 1.2) ** 2))
            filters.append((ring * wedge).astype(np.float32))
    return filters


def sound_features(audio: Tensor, sampling_rate: int) -> Tensor:
    """Describe sounds by their cochleagram and the modulation of its bands.

    Args:
        audio: (N, K) samples.
        sampling_rate: Hz.

    Returns:
        (N, 32 + 32 + 40): mean and spread over time of the log energy in 32 ERB bands, and log modulation
        energy at 2, 4, 8, 16 and 32 Hz in eight groups of bands.
    """
    level = cochleagram(audio, sampling_rate, n_bands=32).add(1e-6).log()
    grouped = level.reshape(len(level), 8, 4, -1).mean(dim=2)
    modulation = modulation_energy(grouped).flatten(1)
    return torch.cat([level.mean(dim=-1), level.std(dim=-1), 0.5 * modulation], dim=1)


def text_features(texts: Sequence[str], corpus: Sequence[str], n_topics: int = 10) -> Tensor:
    """Describe sentences by their words' frequency, length and surprise, and by their topics.

    Frequencies and surprise come from a bigram model of the corpus, smoothed by its unigrams; topics are
    latent semantic analysis (truncated SVD of tf-idf) fitted on the corpus.

    Returns:
        (N, 6 + n_topics): number of words, mean and least log frequency, mean length, mean and greatest
        surprise in nats, topics. Columns are standardized: their units differ.
    """
    # scikit-learn comes with nilearn; it takes a second to import and is needed here alone
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    lexical = _Bigrams(corpus)
    counts = np.array([lexical.describe(text) for text in texts])
    vectorizer = TfidfVectorizer(stop_words="english", sublinear_tf=True, min_df=2)
    svd = TruncatedSVD(n_topics, algorithm="arpack", random_state=0).fit(vectorizer.fit_transform(corpus))
    topics = svd.transform(vectorizer.transform(texts))
    both = torch.from_numpy(np.concatenate([counts, topics], axis=1))
    return ((both - both.mean(dim=0)) / both.std(dim=0)).float()


class _Bigrams:
    """Word counts of a corpus, and the surprise of a word after another."""

    def __init__(self, corpus: Sequence[str], own_weight: float = 0.5) -> None:
        self.own_weight = own_weight
        self.words: Counter[str] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.starts: Counter[str] = Counter()
        for text in corpus:
            words = words_of(text)
            self.words.update(words)
            self.pairs.update(pairwise(words))
            self.starts.update(words[:-1])
        self.total = sum(self.words.values())

    def describe(self, text: str) -> tuple[float, ...]:
        words = words_of(text)
        frequency = [log((self.words[word] + 1) / (self.total + 1)) for word in words]
        surprise = [-log(self._chance(a, b)) for a, b in pairwise(words)]
        length = sum(map(len, words)) / len(words)
        mean_frequency = sum(frequency) / len(frequency)
        mean_surprise = sum(surprise) / len(surprise)
        return (len(words), mean_frequency, min(frequency), length, mean_surprise, max(surprise))

    def _chance(self, before: str, word: str) -> float:
        unigram = (self.words[word] + 1) / (self.total + len(self.words) + 1)
        bigram = self.pairs[before, word] / self.starts[before] if self.starts[before] else 0.0
        return self.own_weight * bigram + (1 - self.own_weight) * unigram


def principal_components(features: Tensor, n_components: int) -> Tensor:
    """Reduce (N, P) features to their first components, each as wide as it is.

    Args:
        features: (N, P), groups scaled to be comparable.
        n_components: at most this many; at most N - 1 and P.

    Returns:
        (N, k) uncorrelated columns of mean zero, in falling order of variance; the first has unit variance.
        Signs follow the largest loading, so that they do not depend on the machine.
    """
    centered = features.double().numpy()
    centered = centered - centered.mean(axis=0)
    _, scale, axes = np.linalg.svd(centered, full_matrices=False)
    k = min(n_components, len(features) - 1, int((scale > 1e-9 * scale[0]).sum()))
    largest = np.abs(axes[:k]).argmax(axis=1)
    scores = centered @ (axes[:k] * np.sign(axes[np.arange(k), largest])[:, None]).T
    return torch.from_numpy(scores / scores[:, 0].std())
