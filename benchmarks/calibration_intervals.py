"""Data sets for the calibration of intervals: two encoding models of regions whose true scores are known."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from calibration_sets import Values
from torch import Tensor

from nfas_lightning.functional.folds import contiguous_folds
from nfas_lightning.functional.intervals import BootstrapDraws, bootstrap_scores, interval
from nfas_lightning.functional.ridge import ridge_cv
from nfas_lightning.functional.ridge_model import ridge_fit

N_FEATURES, N_ROIS, N_DRAWS = 10, 3, 200
SEEN = (slice(0, 6), slice(3, 10))  # features that each of the two models has


class Case(NamedTuple):
    """Subjects, rows, what remains of a row in the next, rows of a run (0: one run), and what is drawn."""

    n_subjects: int
    n_rows: int
    memory: float = 0.0
    run: int = 0
    block_length: int | None = 1


CASES = {
    "1 x 120 stimuli": Case(1, 120),
    "4 x 120 stimuli": Case(4, 120),
    "12 x 120 stimuli": Case(12, 120),
    "1 x 400 volumes": Case(1, 400, 0.8, 0, 10),
    "6 x 400 volumes": Case(6, 400, 0.8, 0, 10),
    "1 x 12 runs": Case(1, 480, 0.8, 40, None),
}


def normal(generator: torch.Generator, *shape: int, memory: float = 0.0) -> Tensor:
    """Return numbers of unit variance (T, ...), each row remembering the one before."""
    values = torch.randn(*shape, generator=generator, dtype=torch.float64)
    for row in range(1, shape[0] if memory else 0):
        values[row] = memory * values[row - 1] + (1 - memory**2) ** 0.5 * values[row]
    return values


def data(case: Case, n_rows: int, n_subjects: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return features (T, P) and responses (S, T, R) of subjects who differ in what they follow."""
    generator = torch.Generator().manual_seed(seed)
    follows = normal(torch.Generator().manual_seed(0), N_FEATURES, N_ROIS)
    X = normal(generator, n_rows, N_FEATURES, memory=case.memory)
    own = follows + 0.7 * normal(generator, n_subjects, N_FEATURES, N_ROIS) * (case.n_subjects > 1)
    noise = normal(generator, n_rows, n_subjects, N_ROIS, memory=case.memory).movedim(1, 0)
    common = normal(generator, n_rows, n_subjects, 1, memory=case.memory).movedim(1, 0)
    return X, X @ own + 3.0 * (noise + common)


def mean_r(preds: Tensor, y: Tensor) -> Tensor:
    """Return r (..., R) of columns (..., T, R)."""
    preds, y = preds - preds.mean(-2, keepdim=True), y - y.mean(-2, keepdim=True)
    return (preds * y).sum(-2) / ((preds**2).sum(-2) * (y**2).sum(-2)).sqrt()


@functools.cache
def endless(name: str) -> tuple[Tensor, Tensor]:
    """Return features of many rows, and the means of many new groups of subjects, (T, P) and (G, T, R)."""
    case, n_groups = CASES[name], 40 if CASES[name].n_subjects > 1 else 2
    X, Y = data(case, 2000, n_groups * case.n_subjects, 99)
    return X, Y.unflatten(0, (n_groups, -1)).mean(1)


def folds_of(case: Case) -> tuple[Tensor | None, list[tuple[Tensor, Tensor]]]:
    """Return runs, where there are several, and folds."""
    groups = torch.arange(case.n_rows) // case.run if case.run else None
    return groups, contiguous_folds(case.n_rows, groups=groups, n_folds=case.n_rows // case.run if case.run else 5)


def as_fitted(name: str, X: Tensor, y: Tensor) -> Tensor:
    """Return the true scores (K, R) of the encoding models of all folds, on new stimuli and subjects."""
    case, (X_new, Y_new) = CASES[name], endless(name)
    groups, folds = folds_of(case)
    kept = []
    for seen in SEEN:
        r = []
        for train, _ in folds:
            own = None if groups is None else groups[train]
            model = ridge_fit(X[train, seen], y[train], groups=own)
            r.append(mean_r(model.predict(X_new[:, seen]), Y_new).mean(0))
        kept.append(torch.stack(r).mean(0))
    return torch.stack(kept)


@functools.cache
def expected(name: str) -> Tensor:
    """Return the scores (K, R) that are true on average over training sets."""
    case, drawn = CASES[name], []
    for seed in range(60):
        X, Y = data(case, case.n_rows, case.n_subjects, 10_000_000 + seed)
        drawn.append(as_fitted(name, X, Y.mean(0)))
    return torch.stack(drawn).mean(0)


def intervals(name: str, seed: int) -> Values:
    """Intervals of scores: share that covers the score of the models as fitted, and over training sets."""
    case = CASES[name]
    X, Y = data(case, case.n_rows, case.n_subjects, seed)
    groups, folds = folds_of(case)
    fits = [
        ridge_cv(X[:, seen], Y.mean(0), groups=groups, n_folds=len(folds), warn=False) for seen in SEEN
    ]
    draws = bootstrap_scores(
        torch.stack([fit.preds for fit in fits]), Y, fits[0].fold, block_length=case.block_length,
        n_draws=N_DRAWS, seed=seed,
    )  # fmt: skip
    scores, truths = torch.stack([fit.r for fit in fits]), (as_fitted(name, X, Y.mean(0)), expected(name))

    def covered(function, correlation: bool) -> list[float]:  # type: ignore[no-untyped-def]
        found = interval(function(scores), drawn(draws, function), correlation=correlation)
        inside = [(found.low <= function(true)) & (function(true) <= found.high) for true in truths]
        return [float(part.double().mean()) for part in inside]

    values = {
        "r of a region": covered(lambda s: s[..., 0, :], True),
        "mean r": covered(lambda s: s[..., 0, :].mean(-1), True),
        "mean r2": covered(lambda s: (s[..., 0, :].clamp(min=0) ** 2).mean(-1), False),
        "difference, a region": covered(lambda s: s[..., 0, :] - s[..., 1, :], False),
        "difference, mean r": covered(lambda s: (s[..., 0, :] - s[..., 1, :]).mean(-1), False),
    }
    gap = interval(scores[0].mean() - scores[1].mean(), drawn(draws, lambda s: (s[..., 0, :] - s[..., 1, :]).mean(-1)))
    true = truths[1].mean(-1)
    values["(variance: told, real)"] = [
        float(gap.standard_error**2), float((gap.estimate - (true[0] - true[1])) ** 2)
    ]  # fmt: skip
    return values


def drawn(draws: BootstrapDraws, function) -> BootstrapDraws:  # type: ignore[no-untyped-def]
    return draws.map(function)
