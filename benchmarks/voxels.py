"""Time `ridge_cv` against himalaya on voxels: same folds, same penalties, equal scores.

    python benchmarks/voxels.py [--volumes 3000] [--features 1000] [--targets 30000] [--spectrum 0]

Features are standard normal, as in himalaya's own benchmark, where `--spectrum` is 0; with 1 the deviation of
their i-th direction falls as 1 / i, as that of a network's features does. Both tools get
float32, standardized on each outer fold's training rows, five outer and five inner contiguous folds and the
default 19 penalties, one chosen a target; himalaya takes its own batches of targets. Shown are wall-clock and
processor seconds and the largest difference of a target's mean r.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
import torch
from himalaya.backend import set_backend
from himalaya.ridge import RidgeCV
from sklearn.model_selection import KFold
from timing import best
from torch import Tensor

from nfas_lightning.functional.correlation import correlate
from nfas_lightning.functional.folds import contiguous_folds
from nfas_lightning.functional.ridge import default_alphas, ridge_cv


def simulate(n_volumes: int, n_features: int, n_targets: int, spectrum: float) -> tuple[Tensor, Tensor]:
    """Features (T, P), and responses (T, R) half of whose variance they explain, float32."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(n_volumes, n_features, generator=generator)
    if spectrum:
        deviation = torch.arange(1, n_features + 1)[:, None] ** -spectrum
        X = X @ (deviation * torch.randn(n_features, n_features, generator=generator))
    Y = torch.randn(n_volumes, n_targets, generator=generator)
    few = min(64, n_features)  # a signal of low rank, as voxels share one
    signal = X @ torch.randn(n_features, few, generator=generator)
    signal /= signal.std(0)
    return X, Y.add_(signal @ torch.randn(few, n_targets, generator=generator), alpha=few**-0.5)


def himalaya(X: Tensor, Y: Tensor, alphas: np.ndarray, targets_batch: int) -> Tensor:
    """Mean r of himalaya's RidgeCV over the outer folds."""
    scores = []
    for train, test in contiguous_folds(len(X)):
        x = (X - X[train].mean(0)) / X[train].std(0, correction=0)
        y = Y[train]
        mean, deviation = y.mean(0), y.std(0, correction=0)
        y = (y - mean) / deviation
        model = RidgeCV(
            alphas=alphas,
            fit_intercept=True,
            cv=KFold(5),
            solver_params={"n_targets_batch": targets_batch, "n_targets_batch_refit": targets_batch},
        )
        preds = model.fit(x[train], y).predict(x[test])
        scores.append(correlate(preds, (Y[test] - mean) / deviation))
    return torch.stack(scores).mean(0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--volumes", type=int, default=3000)
    parser.add_argument("--features", type=int, default=1000)
    parser.add_argument("--targets", type=int, default=30_000)
    parser.add_argument("--spectrum", type=float, default=0.0)
    parser.add_argument("--targets_batch", type=int, default=2_000, help="himalaya's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    set_backend("torch")
    X, Y = simulate(given.volumes, given.features, given.targets, given.spectrum)
    alphas = default_alphas(given.features)
    sizes = f"{given.volumes} x {given.features} x {given.targets}"
    print(f"{sizes}, spectrum {given.spectrum:g}, {given.threads} threads")
    ours = partial(ridge_cv, X, Y, alphas=alphas, keep_preds=False)
    wall, processor, result = best(ours, given.repeats)
    print(f"ours      {wall:8.1f} s wall {processor:8.1f} s cpu", flush=True)
    peer = partial(himalaya, X, Y, alphas.numpy(), given.targets_batch)
    peer_wall, peer_processor, expected = best(peer, given.repeats)
    print(f"himalaya  {peer_wall:8.1f} s wall {peer_processor:8.1f} s cpu")
    difference = float((result.r - expected).abs().max())
    ratios = f"{peer_wall / wall:8.1f} x      {peer_processor / processor:8.1f} x"
    print(f"ratio     {ratios}, largest |dr| {difference:.1e}")


if __name__ == "__main__":
    main()
