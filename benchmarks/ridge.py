"""Time `ridge_cv` against himalaya and scikit-learn on the same folds, and compare the scores.

    python benchmarks/ridge.py [--volumes 3000] [--features 768] [--targets 400] [--repeats 3] [--device cpu]

Every tool gets features and responses standardized on each outer fold's training rows and the same 15
penalties, and chooses one a target: himalaya in five contiguous inner folds, scikit-learn by leave-one-out.
On a CUDA device himalaya runs there too, with its own backend for it, and scikit-learn on the CPU.
Shown are the best of `--repeats`, in wall-clock and in processor seconds (all threads; the number to trust on
a machine that does other work too), and the largest difference of a target's mean r.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from himalaya.backend import set_backend
from himalaya.ridge import RidgeCV as HimalayaRidgeCV
from sklearn.linear_model import RidgeCV as SklearnRidgeCV
from sklearn.model_selection import KFold
from timing import best
from torch import Tensor

from nfas_lightning.functional.correlation import correlate
from nfas_lightning.functional.folds import contiguous_folds
from nfas_lightning.functional.ridge import default_alphas, ridge_cv


def simulate(n_volumes: int, n_features: int, n_targets: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Features with a falling spectrum, and responses that a linear model explains in part."""
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.arange(1, n_features + 1) ** -0.5
    mixing = torch.randn(n_features, n_features, generator=generator) * spectrum[:, None]
    X = torch.randn(n_volumes, n_features, generator=generator) @ mixing
    signal = X @ torch.randn(n_features, n_targets, generator=generator)
    noise = torch.randn(n_volumes, n_targets, generator=generator)
    return X.to(dtype), (signal / signal.std(0) + 2 * noise).to(dtype)


def loop(X: Tensor, Y: Tensor, predict: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """Mean r of a tool over the outer folds."""
    scores = []
    for train, test in contiguous_folds(len(X)):
        x = (X - X[train].mean(0)) / X[train].std(0, correction=0)
        y = (Y - Y[train].mean(0)) / Y[train].std(0, correction=0)
        scores.append(correlate(predict(x[train], y[train], x[test]), y[test]))
    return torch.stack(scores).mean(0)


def himalaya(alphas: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """RidgeCV with the torch backend of the device and contiguous inner folds."""
    set_backend("torch_cuda" if alphas.is_cuda else "torch")

    def predict(x: Tensor, y: Tensor, new: Tensor) -> Tensor:
        model = HimalayaRidgeCV(alphas=alphas.cpu().numpy(), fit_intercept=True, cv=KFold(5))
        return model.fit(x, y).predict(new).to(new.device)

    return predict


def sklearn(alphas: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """RidgeCV with its closed-form leave-one-out and one alpha per target."""

    def predict(x: Tensor, y: Tensor, new: Tensor) -> Tensor:
        model = SklearnRidgeCV(alphas=alphas.cpu().numpy(), alpha_per_target=True)
        model.fit(x.cpu().numpy(), y.cpu().numpy())
        return torch.from_numpy(np.asarray(model.predict(new.cpu().numpy()))).to(x.device)

    return predict


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--volumes", type=int, default=3000)
    parser.add_argument("--features", type=int, default=768)
    parser.add_argument("--targets", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    sizes = arguments.volumes, arguments.features, arguments.targets
    alphas = default_alphas(sizes[1]).to(arguments.device)
    place = torch.cuda.get_device_name() if alphas.is_cuda else "CPU"
    shapes = f"{sizes[0]} volumes x {sizes[1]} features, {sizes[2]} targets"
    print(f"{shapes}, {torch.get_num_threads()} threads, {place}")
    print(f"{'dtype':8} {'selection':9} {'tool':13} {'wall (s)':>9} {'cpu (s)':>9}  largest |dr|")
    for dtype in (torch.float32, torch.float64):
        X, Y = (values.to(arguments.device) for values in simulate(*sizes, dtype))
        if alphas.is_cuda:
            ridge_cv(X[:100], Y[:100])  # libraries load on first use
        for selection, name, peer in (
            ("folds", "himalaya", himalaya(alphas)),
            ("loo", "scikit-learn", sklearn(alphas)),
        ):
            ours = partial(ridge_cv, X, Y, alphas=alphas, selection=selection)
            label = f"{str(dtype)[6:]:8} {selection:9}"
            wall, processor, result = best(ours, arguments.repeats)
            print(f"{label} {'ours':13} {wall:9.2f} {processor:9.2f}", flush=True)
            peer_wall, peer_processor, expected = best(partial(loop, X, Y, peer), arguments.repeats)
            difference = (result.r - expected).abs().max().item()
            print(f"{label} {name:13} {peer_wall:9.2f} {peer_processor:9.2f}  {difference:.1e}")
            print(
                f"{label} {'ratio':13} {peer_wall / wall:9.1f} {peer_processor / processor:9.1f}", flush=True
            )


if __name__ == "__main__":
    main()
