"""Models for a run of a suite, and the benchmark that they are tested on."""

import torch
from torch import nn

from nfas_lightning.callbacks import DepthTrajectory, ScoreWriter
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.runner import SuiteTrainer
from nfas_lightning.scoring import ScoringSettings

QUICK = ScoringSettings(n_permutations=19)


ROIS = ["V1", "V2", "IT"]


class Net(nn.Module):
    """Three blocks over flattened pixels; counts its forward passes."""

    def __init__(self, width: int = 8, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.blocks = nn.Sequential(nn.Linear(48, width), nn.Linear(width, width), nn.Linear(width, width))
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.blocks(x.flatten(1))


class Other(Net):
    """The same, under another name."""


def images(n: int = 40) -> torch.Tensor:
    return torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def brain(n: int = 40) -> ArrayDataModule:
    responses = images(n).flatten(1)[:, :3] + 0.1
    return ArrayDataModule(images(n), responses, rois=ROIS, dataset="toy", batch_size=16)


def trainer(folder, **changes) -> SuiteTrainer:
    callbacks = [DepthTrajectory(), ScoreWriter(str(folder), settings=QUICK)]
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, **changes}
    return SuiteTrainer(callbacks=callbacks, enable_model_summary=False, **options)


def spec(module: nn.Module, **changes):
    return {"model": module, "layers": ["blocks.0", "blocks.1", "blocks.2"], **changes}
