"""One network on one benchmark of images, beside the script that a user would write: hooks, then himalaya.

    python benchmarks/end_to_end.py [--images 250] [--targets 100] [--network resnet18] [--threads 1]

Ours is one call of `align` with all baselines. The script runs the same network over the same batches,
pools the outputs of its blocks in forward hooks, and fits every feature set with himalaya: five contiguous
outer and inner folds, the same 19 penalties, one chosen per target; `KernelRidgeCV` where there are more
features than rows, as himalaya advises. Feature sets are those of `align`, from the same functions. Of 250
images all inner folds are equally long; where they are not, himalaya gives each fold the same weight and
ours each row, and some penalties differ. Shown are wall-clock and processor seconds, and the largest
difference of r.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import numpy as np
import timm
import torch
from himalaya.backend import set_backend
from himalaya.kernel_ridge import KernelRidgeCV
from himalaya.ridge import RidgeCV
from sklearn.model_selection import KFold
from timing import best
from torch import Tensor, nn

from nfas_lightning import align
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.functional.correlation import correlate
from nfas_lightning.functional.dmd import center_depths, combine_depths, dmd
from nfas_lightning.functional.folds import contiguous_folds
from nfas_lightning.functional.ridge import default_alphas
from nfas_lightning.functional.state_space import StateSpace
from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.models import RawStimuli
from nfas_lightning.scoring import ScoringSettings

BATCH = 16


def pooled_states(network: nn.Module, names: list[str], images: Tensor) -> list[Tensor]:
    """L matrices (N, D_l): every block's output, averaged over space."""
    states: dict[str, list[Tensor]] = {name: [] for name in names}

    def keep(name: str) -> Any:
        return lambda _, __, output: states[name].append(output.mean(dim=(2, 3)))

    handles = [network.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    with torch.inference_mode():
        for batch in images.split(BATCH):
            network(batch)
    for handle in handles:
        handle.remove()
    return [torch.cat(parts) for parts in states.values()]


def himalaya_r(X: Tensor, Y: Tensor, scaling: str) -> Tensor:
    """Mean r (R,) over the outer folds, a penalty per target chosen in the inner ones."""
    alphas, scores = default_alphas(X.shape[1]).numpy(), []
    for train, test in contiguous_folds(len(X)):
        deviation = X[train].std(0, correction=0)
        if scaling == "common":
            deviation = deviation[deviation > 1e-6 * deviation.max()].square().mean().sqrt()
        x = (X - X[train].mean(0)) / deviation
        y = (Y - Y[train].mean(0)) / Y[train].std(0, correction=0)
        kind = RidgeCV if x.shape[1] <= len(train) else KernelRidgeCV
        model = kind(alphas=alphas, fit_intercept=True, cv=KFold(5))
        scores.append(correlate(model.fit(x[train], y[train]).predict(x[test]), y[test]))
    return torch.stack(scores).mean(0)


def by_hand(network: nn.Module, names: list[str], images: Tensor, Y: Tensor) -> dict[str, Tensor]:
    """The script: r (R,) of every feature set."""
    space = StateSpace()
    H = space.fit_transform(pooled_states(network, names, images))
    result = dmd(H)
    Z = center_depths(H, result)
    features = {"stable_mode": combine_depths(Z, result, centered=True), "mean_depth": Z.mean(1)}
    features |= {"all_blocks": Z.flatten(1), **dict(zip(names, Z.unbind(1), strict=True))}
    scores = {name: himalaya_r(X, Y, space.scaling_) for name, X in features.items()}
    return {**scores, "last_block": scores[names[-1]]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=250)
    parser.add_argument("--targets", type=int, default=100)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    set_backend("torch")
    warnings.simplefilter("ignore")
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = timm.create_model(given.network).eval().requires_grad_(False)
    names = list(DepthRecorder(network).names)
    images = torch.rand(given.images, 3, given.size, given.size, generator=generator)
    images *= torch.rand(given.images, 3, 1, 1, generator=generator)
    middle = pooled_states(network, names, images)[len(names) // 2]
    Y = (middle - middle.mean(0)) @ torch.randn(middle.shape[1], given.targets, generator=generator)
    Y = Y / Y.std(0) + 2 * torch.randn(Y.shape, generator=generator)
    brain = ArrayDataModule(images, Y, batch_size=BATCH)
    settings = ScoringSettings(n_permutations=0, selection="folds")

    def ours() -> Any:
        return align(network, brain, preprocess=RawStimuli(), settings=settings, cache=False, progress=False)

    def forward() -> None:
        pooled_states(network, names, images)

    print(f"{given.images} images, {given.network}, {given.targets} targets, {given.threads} threads")
    passes = best(forward, given.repeats)
    print(f"passes    {passes[0]:7.1f} s wall {passes[1]:7.1f} s cpu", flush=True)
    mine = best(ours, given.repeats)
    print(f"ours      {mine[0]:7.1f} s wall {mine[1]:7.1f} s cpu", flush=True)
    peer = best(lambda: by_hand(network, names, images, Y), given.repeats)
    print(f"by hand   {peer[0]:7.1f} s wall {peer[1]:7.1f} s cpu")
    print(f"ratio     {peer[0] / mine[0]:7.1f} x      {peer[1] / mine[1]:7.1f} x")
    table = mine[2].scores.pivot(index="roi", columns="feature", values="r")
    order = mine[2].scores["roi"].unique()
    shared = [name for name in peer[2] if name in table]
    apart = max(float(np.abs(table.loc[order, name] - peer[2][name].numpy()).max()) for name in shared)
    print(
        f"largest |dr| {apart:.1e} over {', '.join(shared)}; scoring is {mine[1] - passes[1]:.1f} s of ours"
    )


if __name__ == "__main__":
    main()
