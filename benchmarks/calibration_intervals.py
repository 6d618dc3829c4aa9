"""Data sets for the calibration of intervals: two encoding models of regions whose true scores are known."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from calibration_sets import Values
from scipy.signal import lfilter
from torch import Tensor

from nfas_lightning.functional.folds import contiguous_folds
from nfas_lightning.functional.intervals import bootstrap_scores, interval
from nfas_lightning.functional.ridge import ridge_cv
from nfas_lightning.functional.ridge_model import ridge_fit

N_FEATURES, N_ROIS, N_DRAWS, GAP = 10, 3, 200, 6
NOISE, BETWEEN = 4.0, 0.7  # standard deviations: of the noise, and of what a subject follows on its own
SEEN = (slice(0, 6), slice(3, 10))  # features that each of the two models has


class Case(NamedTuple):
    """Subjects, rows, what remains of a row in the next, rows of a run (0: one run), and what is drawn."""

    n_subjects: int
    n_rows: int
    memory: float = 0.0
    run: int = 0
    block_length: int | None = 1

    @property
    def folds(self) -> dict[str, Any]:
        """How `contiguous_folds` and `ridge_cv` part the rows."""
        if self.run:
            return {"groups": torch.arange(self.n_rows) // self.run, "n_folds": self.n_rows // self.run}
        return {"n_folds": 5, "gap": GAP if self.memory else 0}


CASES = {
    "1 x 120 stimuli": Case(1, 120),
    "4 x 120 stimuli": Case(4, 120),
    "12 x 120 stimuli": Case(12, 120),
    "1 x 800 volumes": Case(1, 800, 0.7, 0, 15),
    "6 x 800 volumes": Case(6, 800, 0.7, 0, 15),
    "1 x 12 runs": Case(1, 720, 0.7, 60, None),
}


def normal(generator: torch.Generator, *shape: int, memory: float = 0.0) -> Tensor:
    """Return numbers of unit variance (T, ...), each row remembering the one before."""
    white = torch.randn(*shape, generator=generator, dtype=torch.float64)
    white[1:] *= (1 - memory**2) ** 0.5
    return torch.from_numpy(lfilter([1.0], [1.0, -memory], white.numpy(), axis=0)) if memory else white


def follows(case: Case, n_groups: int, n_subjects: int, generator: torch.Generator) -> Tensor:
    """Return the weights (G, S, P, R) of subjects who differ in what their regions follow."""
    common = normal(torch.Generator().manual_seed(0), N_FEATURES, N_ROIS)
    own = normal(generator, n_groups, n_subjects, N_FEATURES, N_ROIS)
    return common + BETWEEN * own * (case.n_subjects > 1)


def data(case: Case, seed: int) -> tuple[Tensor, Tensor]:
    """Return features (T, P) and responses (S, T, R), whose noise half of the regions share."""
    generator = torch.Generator().manual_seed(seed)
    X = normal(generator, case.n_rows, N_FEATURES, memory=case.memory)
    own = follows(case, 1, case.n_subjects, generator)[0]
    noise, common = (
        normal(generator, case.n_rows, case.n_subjects, count, memory=case.memory).movedim(1, 0)
        for count in (N_ROIS, 1)
    )
    return X, X @ own + NOISE * (noise + common) / 2**0.5


def as_fitted(case: Case, X: Tensor, y: Tensor) -> Tensor:
    """Return the true scores (K, R) of the encoding models of all folds, on new stimuli and subjects.

    Features are independent and of unit variance: r follows from the weights.
    """
    mean = follows(case, 200, case.n_subjects, torch.Generator().manual_seed(1)).mean(1)  # (G, P, R)
    spread = (mean.square().sum(1) + NOISE**2 / case.n_subjects).sqrt()
    groups, kept = case.folds.get("groups"), []
    for seen in SEEN:
        r = []
        for train, _ in contiguous_folds(len(X), **case.folds):
            own = None if groups is None else groups[train]
            model = ridge_fit(X[train, seen], y[train], groups=own, gap=case.folds.get("gap", 0))
            w = model.weights.double()
            r.append(((w * mean[:, seen]).sum(1) / (w.square().sum(0).sqrt() * spread)).mean(0))
        kept.append(torch.stack(r).mean(0))
    return torch.stack(kept)


@functools.cache
def expected(name: str) -> Tensor:
    """Return the scores (K, R) that are true on average over training sets."""
    case, drawn = CASES[name], []
    for seed in range(40):
        X, Y = data(case, 10_000_000 + seed)
        drawn.append(as_fitted(case, X, Y.mean(0)))
    return torch.stack(drawn).mean(0)


def intervals(name: str, seed: int) -> Values:
    """Ridge models of known scores: share of intervals that hold the score of these fits, and of any fit."""
    case = CASES[name]
    X, Y = data(case, seed)
    fits = [ridge_cv(X[:, seen], Y.mean(0), warn=False, **case.folds) for seen in SEEN]
    draws = bootstrap_scores(
        torch.stack([fit.preds for fit in fits]), Y, fits[0].fold, block_length=case.block_length,
        n_draws=N_DRAWS, seed=seed,
    )  # fmt: skip
    scores, truths = torch.stack([fit.r for fit in fits]), (as_fitted(case, X, Y.mean(0)), expected(name))
    values: Values = {}
    for what, function in STATISTICS.items():
        found = interval(function(scores), draws.map(function), correlation=what == "r of a region")
        inside = [(found.low <= function(true)) & (function(true) <= found.high) for true in truths]
        values[what] = [float(part.double().mean()) for part in inside]
        if what in ("mean r", "difference, mean r"):
            told, real = float(found.standard_error**2), float((found.estimate - function(truths[1])) ** 2)
            values[f"{what}: variance"] = [told, real]
    return values


def first(scores: Tensor) -> Tensor:
    return scores[..., 0, :]


def gap(scores: Tensor) -> Tensor:
    return scores[..., 0, :] - scores[..., 1, :]


STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    "r of a region": first,
    "mean r": lambda scores: first(scores).mean(-1),
    "mean r2": lambda scores: (first(scores).clamp(min=0) ** 2).mean(-1),
    "difference, r of a region": gap,
    "difference, mean r": lambda scores: gap(scores).mean(-1),
    "difference, mean r2": lambda scores: gap(scores.clamp(min=0) ** 2).mean(-1),
}
