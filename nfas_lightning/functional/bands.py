"""Bands of features under weights: the inner products of any weighting, the candidates, the choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_count, check_finite, check_seed, check_shape
from nfas_lightning.functional.ridge_held_out import Block, inner_errors
from nfas_lightning.functional.ridge_solver import RidgeBasis, positive_directions
from nfas_lightning.functional.standardization import Scaling, standardize

__all__ = ["BandChoice", "TrainingBands", "band_candidates", "draw_band_weights", "search_weights"]

_CONCENTRATIONS = (0.1, 1.0)  # of Dirichlet draws, in turn: few bands count, or all do
_PER_BAND = 12
# A later candidate must win by more than rounding: equal ones are told apart by their order alone.
_LEAST_GAIN = 1e-9


class BandChoice(NamedTuple):
    """Candidate (R,), alpha (R,) and inner score (R,) of each response."""

    candidate: Tensor
    alphas: Tensor
    inner_score: Tensor


class TrainingBands:
    """Standardized features of one fold, and the inner products that those of any weights follow from."""

    def __init__(
        self,
        X: Tensor,
        widths: Sequence[int],
        rows: Tensor,
        test: Tensor,
        nuisances: Tensor | None,
        scalings: Sequence[Scaling],
    ) -> None:
        parts = zip(torch.split(X, list(widths), 1), scalings, strict=True)
        bands = [standardize(x, rows, test, nuisances, scaling) for x, scaling in parts]
        self.widths = list(widths)
        self.train = torch.cat([band.train for band in bands], 1)
        self.test = torch.cat([band.test for band in bands], 1)
        self.fixed = bands[0].fixed
        self._columns = torch.repeat_interleave(torch.tensor(self.widths)).to(X.device)
        self._is_wide = len(rows) <= X.shape[1]
        if self._is_wide:  # (B, n, n), else (P, P)
            self._grams = torch.stack([band.train @ band.train.T for band in bands])
        else:
            self._grams = self.train.T @ self.train
        self._is_still = bool((self.test == self.test[:1]).all())

    def basis(self, weights: Tensor) -> RidgeBasis:
        """Decompose the features under weights (B,); no test rows."""
        scale = weights.sqrt()[self._columns]
        if self._is_wide:
            gram = torch.tensordot(weights, self._grams, 1)
        else:
            gram = scale[:, None] * self._grams * scale
        values, vectors = positive_directions(gram, max(self.train.shape))
        return RidgeBasis(self.train * scale, gram, vectors, values, self.test[:0], self.fixed)

    def predict(self, y: Tensor, candidates: Tensor, choice: BandChoice) -> Tensor:
        """Return what each band predicts of the test rows, (B, m, R), from training responses (n, R)."""
        preds = self.test.new_empty(len(self.widths), len(self.test), y.shape[1])
        for candidate in torch.unique(choice.candidate):
            some = choice.candidate == candidate
            weights = candidates[candidate]
            own = self.basis(weights).weights(y[:, some], choice.alphas[some])
            own = own * weights.sqrt()[self._columns][:, None]
            parts = zip(torch.split(self.test, self.widths, 1), torch.split(own, self.widths), strict=True)
            preds[:, :, some] = torch.stack([x @ w for x, w in parts])
        return preds[:, :1].expand_as(preds) if self._is_still else preds


def search_weights(
    bands: TrainingBands,
    candidates: Tensor,
    alphas: Tensor,
    blocks: list[Block],
    y: Tensor,
    dtype: torch.dtype,
) -> BandChoice:
    """Choose weights and alpha for each of the training responses (n, R)."""
    least = y.new_full(y.shape[1:], torch.inf)
    candidate, alpha = torch.zeros_like(least, dtype=torch.long), torch.zeros_like(least)
    for place, weights in enumerate(candidates):
        errors = inner_errors(bands.basis(weights), alphas, blocks, dtype, y.shape[1])
        error, best = errors(y).min(0)
        better = error < least * (1 - _LEAST_GAIN) if place else torch.ones_like(least, dtype=torch.bool)
        least, alpha = torch.where(better, error, least), torch.where(better, alphas[best], alpha)
        candidate[better] = place
    return BandChoice(candidate, alpha, 1 - least / y.square().sum(0))


def draw_band_weights(n_bands: int, n_candidates: int, seed: int = 0) -> Tensor:
    """Return weights of bands to choose from: equal ones, each band alone, then random ones.

    Random weights are Dirichlet, with concentration .1 and 1 in turn, as in himalaya's random search.

    Args:
        n_bands: B.
        n_candidates: C; no fewer than B + 1 are returned, and a single one for a single band.
        seed: of the draws.

    Returns:
        (C, B) float64, non-negative, rows of sum 1.

    Example:
        >>> draw_band_weights(2, 3)
        tensor([[0.5000, 0.5000],
                [1.0000, 0.0000],
                [0.0000, 1.0000]], dtype=torch.float64)
    """
    check_count("n_bands", n_bands, 1)
    check_count("n_candidates", n_candidates, 1)
    check_seed(seed)
    if n_bands == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    draws = np.random.default_rng(seed)
    n_random = max(0, n_candidates - n_bands - 1)
    drawn = [draws.dirichlet([_CONCENTRATIONS[i % 2]] * n_bands) for i in range(n_random)]
    fixed = [np.full((1, n_bands), 1 / n_bands), np.eye(n_bands)]
    return torch.from_numpy(np.concatenate([*fixed, *(row[None] for row in drawn)]))


def band_candidates(weights: Tensor | int | None, n_bands: int, seed: int) -> Tensor:
    """Return (C, B) float64 weights."""
    if not isinstance(weights, Tensor):
        wanted = _PER_BAND * n_bands if weights is None else weights
        check_count("weights", wanted, 1)
        return draw_band_weights(n_bands, wanted, seed)
    check_shape("weights", weights, "C B", B=n_bands)
    check_finite("weights", weights)
    if not len(weights) or bool((weights < 0).any()) or not bool((weights.sum(1) > 0).all()):
        raise InputError(f"weights must be non-negative with a positive one in each row, got {weights}.")
    return weights.double()
