"""A training loop of your own: call `align` after each epoch, or do the same by hand with a `DepthRecorder`.

python docs/examples/plain_loop.py --epochs 2
"""

from __future__ import annotations

import argparse

import torch
from digits import digits
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models.resnet import BasicBlock, ResNet

from nfas_lightning import align
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.functional import StateSpace, ridge_cv, stable_mode
from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.models import RawStimuli


def colors(n: int = 120) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images, and noisy responses of made-up regions to their mean red, green and blue."""
    generator = torch.Generator().manual_seed(0)
    tint = torch.rand(n, 3, 1, 1, generator=generator)
    images = (tint + 0.3 * torch.randn(n, 3, 32, 32, generator=generator)).clamp(0, 1)
    responses = tint[:, :, 0, 0] + 0.3 * torch.randn(n, 3, generator=generator)
    return images, responses


def by_hand(network: nn.Module, images: torch.Tensor, responses: torch.Tensor) -> torch.Tensor:
    """Return r per region with hooks and functions only."""
    network.eval()
    with DepthRecorder(network) as recorder, torch.no_grad():
        for ids in torch.arange(len(images)).split(16):
            network(images[ids])
            recorder.collect(ids)
    network.train()
    space = StateSpace()  # the blocks of a convolutional network differ in width
    depths = space.fit_transform(recorder.trajectory().states)
    return ridge_cv(stable_mode(depths), responses, selection="loo", scaling=space.scaling_).r


def main(args: list[str] | None = None) -> list[tuple[float, float]]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=1797)
    options = parser.parse_args(args)

    torch.manual_seed(0)
    network = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    loader = DataLoader(digits(options.images), batch_size=64, shuffle=True)
    pictures, responses = colors()
    brain = ArrayDataModule(pictures, responses, rois=["red", "green", "blue"], dataset="colors")
    found = []
    for epoch in range(options.epochs):
        for images, labels in loader:
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
        # align() does not change weights, modes, gradients or random states
        scores = align(network, brain, preprocess=RawStimuli(), progress=False).scores
        called = float(scores[scores["feature"] == "stable_mode"]["r"].mean())
        hands = float(by_hand(network, pictures, responses).mean())
        found.append((called, hands))
        print(f"epoch {epoch}: mean r {called:.3f} from align(), {hands:.3f} by hand")
    return found


if __name__ == "__main__":
    main()
