"""A LightningModule as people write it, without a forward pass, and a quiet Trainer."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from tests.helpers.training import Network, Pictures


class Ordinary(pl.LightningModule):
    """No forward pass, a network, a loss and more."""

    def __init__(self, **networks):
        super().__init__()
        for name, network in (networks or {"net": Network()}).items():
            setattr(self, name, network)
        self.criterion = nn.CrossEntropyLoss()

    def training_step(self, batch, batch_idx):
        loss = self.criterion(next(self.children())(batch["image"]), batch["label"])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        next(self.children())(batch["image"])

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)


def trainer(*callbacks, **options):
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(
        callbacks=list(callbacks),
        **{"logger": False, "max_epochs": 1, "accelerator": "cpu", **quiet, **options},
    )


def loader():
    return DataLoader(Pictures(16), batch_size=8)


def fit(module, *callbacks, **options):
    run = trainer(*callbacks, log_every_n_steps=1, **options)
    pl.seed_everything(0, verbose=False)
    run.fit(module, loader())
    return run
