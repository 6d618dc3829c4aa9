"""Time series for calibration.py: nothing is to be found in them, except in `power`.

Each function takes a case and a seed, makes one data set and returns, for every test, two numbers to average.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.signal import lfilter
from scipy.stats import pearsonr
from torch import Tensor

from nfas_lightning.functional.correlation import correlate
from nfas_lightning.functional.fdr import fdr
from nfas_lightning.functional.hrf import hrf
from nfas_lightning.functional.nulls import (
    block_permutation_null,
    circular_shift_null,
    permutation_p,
    shift_moves,
)
from nfas_lightning.functional.ridge import ridge_cv
from nfas_lightning.functional.ridge_null import ridge_null

T, P, R, GAP = 300, 20, 6, 5
Values = dict[str, list[float]]


def series(noise: str, n: int, columns: int, rng: np.random.Generator) -> Tensor:
    """Unit-variance series (n, columns): ``"0.9"`` is AR(1), ``"hrf"`` white events seen every 2 s."""
    white = rng.standard_normal((n + 300, columns))
    if noise == "hrf":
        kernel = hrf(torch.arange(0, 32, 2.0, dtype=torch.float64)).numpy()
        made = lfilter(kernel / np.linalg.norm(kernel), [1.0], white, axis=0)
    else:
        rho = float(noise)
        made = lfilter([(1 - rho**2) ** 0.5], [1.0, -rho], white, axis=0)
    return torch.from_numpy(made[300:].copy())


def rejects(p: Tensor, level: float = 0.05) -> float:
    """Share of p values at or below the level; a p of exactly 15 / 300 is."""
    return float((p <= level + 1e-9).double().mean())


def both(name: str, p: Tensor) -> Values:
    """Rates at 5 and at 1 %."""
    return {name: [rejects(p), rejects(p, 0.01)]}


def encoding(case: str, seed: int) -> Values:
    """Ridge on series that have nothing to do with the responses."""
    rng = np.random.default_rng(seed)
    noise, _, extra = case.partition(" ")
    n_features = 384 if extra == "wide" else P
    X, Y = series(noise, T, n_features, rng), series(noise, T, R, rng)
    options: dict[str, Tensor | int] = {"gap": GAP}
    if extra == "runs":  # recordings of their own: a run does not go on where the last one ended
        parts = [(series(noise, T // 4, P, rng), series(noise, T // 4, R, rng)) for _ in range(4)]
        X, Y = (torch.cat(side) for side in zip(*parts, strict=True))
        options = {"groups": torch.arange(T) // (T // 4)}
    if extra == "nuisances":
        options["nuisances"] = Q = series(noise, T, 3, rng)
        X, Y = X + Q @ torch.ones(3, P).double(), Y + Q @ torch.ones(3, R).double()
    result = ridge_cv(X, Y, **options)  # type: ignore[arg-type]

    def null(moves: str, count: int) -> Tensor:
        return ridge_null(X, Y, result, moves=moves, n_permutations=count, seed=seed, **options)  # type: ignore[arg-type]

    rotated = null("shift", T)
    p, turned = permutation_p(result.r, rotated), permutation_p(result.r, null("phase", 199))
    found = both("rotation", p) | {"rotation, FDR": [float((fdr(p) <= 0.05).any()), np.nan]}
    found |= both("phase", turned)
    if extra != "runs":  # one run: rows are shifts 1, 2, .. T - 1
        found |= both("rotation by 12 and more", permutation_p(result.r, rotated[11 : T - 12]))
    if not extra:
        stay = circular_shift_null(result.preds, result.target, result.fold, n_permutations=T)
        found |= both("predictions stay", permutation_p(result.r, stay))
    return found


def single(case: str, seed: int) -> Values:
    """Ridge on independent rows, as for images: permuted responses."""
    rng = np.random.default_rng(seed)
    X, Y = series("0", 165, P, rng), series("0", 165, R, rng)
    Q = None
    if case == "nuisances":
        Q = series("0", 165, 3, rng)
        X, Y = X + Q @ torch.ones(3, P).double(), Y + Q @ torch.ones(3, R).double()
    if case == "skewed":
        Y = Y.exp()
    result = ridge_cv(X, Y, n_folds=10, selection="loo", nuisances=Q)
    null = ridge_null(X, Y, result, nuisances=Q, moves="blocks", n_permutations=299, seed=seed)
    p = permutation_p(result.r, null)
    return both("permutation", p) | {"permutation, FDR": [float((fdr(p) <= 0.05).any()), np.nan]}


def blocks(case: str, seed: int) -> Values:
    """Ridge on time series whose blocks change places, by the length of a block."""
    rng = np.random.default_rng(seed)
    X, Y = series(case, T, P, rng), series(case, T, R, rng)
    result = ridge_cv(X, Y, gap=GAP)
    found: Values = {}
    for length in (1, 10, 30):
        null = ridge_null(
            X, Y, result, gap=GAP, moves="blocks", block_length=length, n_permutations=199, seed=seed
        )
        found |= both(f"blocks of {length}", permutation_p(result.r, null))
    return found


def penalties(case: str, seed: int) -> Values:
    """Rotation with the penalties that were chosen on the observed responses, and chosen again."""
    rng = np.random.default_rng(seed)
    X, Y = series(case, T, P, rng), series(case, T, R, rng)
    result = ridge_cv(X, Y, gap=GAP)
    kept = ridge_null(X, Y, result, gap=GAP, n_permutations=T)
    moved = Y[shift_moves(T, n_moves=T)].movedim(0, 1).reshape(T, -1)
    again = ridge_cv(X, moved, gap=GAP).r.reshape(-1, R)
    return both("kept", permutation_p(result.r, kept)) | both("chosen again", permutation_p(result.r, again))


def power(case: str, seed: int) -> Values:
    """Share of ROIs found where there is an effect; with features that come two volumes early, too."""
    rng = np.random.default_rng(seed)
    X = series("0.9", T + 2, P, rng)
    weights = torch.from_numpy(rng.standard_normal((P, R))) / P**0.5
    signal = X[2:] if case == "in time" else X[:-2]
    Y = 0.8 * signal @ weights + series("0.9", T, R, rng)
    X = X[2:]
    result = ridge_cv(X, Y, gap=GAP)
    rotated = ridge_null(X, Y, result, gap=GAP, n_permutations=T)
    turned = ridge_null(X, Y, result, gap=GAP, moves="phase", n_permutations=299, seed=seed)
    return {
        **both("rotation", permutation_p(result.r, rotated)),
        **both("rotation by 12 and more", permutation_p(result.r, rotated[11 : T - 12])),
        **both("phase", permutation_p(result.r, turned)),
    }


def elsewhere(case: str, seed: int) -> Values:
    """Predictions of a model that was fitted on other data, scored as one run or in five folds."""
    rng = np.random.default_rng(seed)
    preds, Y = series(case, T, R, rng), series(case, T, R, rng)
    run, fold = torch.zeros(T, dtype=torch.long), torch.arange(T) // (T // 5)
    draws = {"n_permutations": T, "seed": seed}
    found: Values = {}
    for name, folds, options in (
        ("one fold", run, {}),
        ("5 folds, run rotates", fold, {"groups": run}),
        ("5 folds, each rotates", fold, {}),
    ):
        observed = torch.stack([correlate(preds[folds == k], Y[folds == k]) for k in folds.unique()]).mean(0)
        found |= both(name, permutation_p(observed, circular_shift_null(preds, Y, folds, **draws, **options)))
    observed = correlate(preds, Y)
    null = block_permutation_null(preds, Y, run, block_length=30, n_permutations=299, seed=seed)
    return found | both("one fold, blocks of 30", permutation_p(observed, null))


def shuffled(case: str, seed: int) -> Values:
    """How shuffled folds would have lied: mean r, and the share that a plain test of r calls significant."""
    rng = np.random.default_rng(seed)
    X, Y = series(case, T, P, rng), series(case, T, R, rng)
    found: Values = {}
    for name, order, gap in (
        ("shuffled folds", torch.from_numpy(rng.permutation(T)), 0),
        ("contiguous folds, gap 5", torch.arange(T), GAP),
    ):
        result = ridge_cv(X[order], Y[order], gap=gap)
        naive = torch.tensor(
            [
                pearsonr(a, b, alternative="greater").pvalue
                for a, b in zip(result.preds.T.numpy(), result.target.T.numpy(), strict=True)
            ]
        )
        found[name] = [float(result.r.mean()), rejects(naive)]
    return found
