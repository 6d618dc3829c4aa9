"""A small seeded training that notices whoever disturbs it, under either Lightning package."""

from __future__ import annotations

import random
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from nfas_lightning.callbacks import BrainAlignment
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.models import RawStimuli
from nfas_lightning.scoring import ScoringSettings

RAW = RawStimuli()  # what the networks here read
QUICK = ScoringSettings(n_permutations=0, baselines=False)


class Network(nn.Module):
    """Everything that a careless evaluation would disturb: dropout, batch statistics, a count of passes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros((), dtype=torch.long))
        self.blocks = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
            nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3)),
            nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3)),
        )
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        self.passes += 1  # in evaluation mode too
        return self.head(self.blocks(x).mean((2, 3)))


class Pictures(Dataset):
    """Pictures with noise from the loader's workers, as augmentation draws it."""

    def __init__(self, n=48, seed=0):
        self.pixels = images(n, seed)
        self.labels = torch.randint(0, 4, (n,), generator=torch.Generator().manual_seed(3))

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, i):
        return {
            "image": self.pixels[i] + 0.1 * torch.randn(3, 16, 16),
            "label": self.labels[i],
            "stimulus_id": i,
        }


class StillPictures(Pictures):
    """The same without noise, so that a stimulus has one state."""

    def __getitem__(self, i):
        return {"image": self.pixels[i], "label": self.labels[i], "stimulus_id": i}


def images(n=48, seed=0):
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def brain(signal=True, **options):
    """Responses that follow the images' colors, or nothing."""
    colors = torch.rand(60, 3, 1, 1, generator=torch.Generator().manual_seed(4))
    x = 0.7 * colors + 0.3 * images(60, seed=1)
    noise = torch.randn(60, 3, generator=torch.Generator().manual_seed(2))
    y = x.mean((2, 3)) + 0.02 * noise if signal else noise
    return ArrayDataModule(x, y, rois=["V1", "V4", "LOC"], batch_size=7, **options)


def monitor(signal=True, **options):
    """A callback that evaluates on `brain`, and stops the training where that fails."""
    defaults = {"settings": QUICK, "preprocess": RAW, "on_error": "raise"}
    return BrainAlignment(brain(signal), **(defaults | options))


def classifier(network, package="pytorch_lightning"):
    """Somebody's LightningModule, with the network in its attribute `model`."""
    pl = import_module(package)

    class Classifier(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = network
            self.seen = []

        def loss(self, batch):
            # noise from the global generator: an evaluation that drew from it would change every later loss
            noisy = batch["image"] + 0.1 * torch.randn_like(batch["image"])
            return nn.functional.cross_entropy(self.model(noisy), batch["label"])

        def training_step(self, batch, batch_idx):
            loss = self.loss(batch)
            self.seen.append((float(loss.detach()), random.random(), np.random.rand()))  # noqa: NPY002
            self.log("loss", loss)
            return loss

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", nn.functional.cross_entropy(self.model(batch["image"]), batch["label"]))

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 0.01)

    return Classifier()


def train(
    *callbacks,
    network=Network,
    epochs=2,
    package="pytorch_lightning",
    fit_options=None,
    workers=0,
    validate=False,
    **options,
):
    """Train from a fixed seed; return the module and its Trainer."""
    pl = import_module(package)
    pl.seed_everything(0)
    module = classifier(network(), package)  # after the seed
    data = DataLoader(Pictures(), batch_size=8, shuffle=True, num_workers=workers)
    held_out = DataLoader(StillPictures(12, seed=5), batch_size=6) if validate else None
    defaults = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": any("ModelCheckpoint" in type(c).__name__ for c in callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
    }
    trainer = pl.Trainer(max_epochs=epochs, callbacks=list(callbacks), **(defaults | options))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        trainer.fit(module, data, held_out, **(fit_options or {}))
    return module, trainer


def logged(trainer):
    """Rows that a CSVLogger wrote, without the brain's."""
    table = pd.read_csv(Path(trainer.logger.log_dir) / "metrics.csv", dtype=str)
    own = [column for column in table if not column.startswith("brain/")]
    values = [column for column in own if column not in ("step", "epoch")]
    return table[own].dropna(how="all", subset=values).reset_index(drop=True)[sorted(own)]


def assert_same_training(first, second):
    """Weights, buffers, optimizer state, losses and random draws, to the last bit."""
    (a, trainer_a), (b, trainer_b) = first, second
    assert len(a.seen) > 0
    assert a.seen == b.seen
    for (name, p), q in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(p, q), name
    state_a, state_b = (t.optimizers[0].state_dict()["state"] for t in (trainer_a, trainer_b))
    assert len(state_a) == len(state_b) > 0
    for key in state_a:
        for name, value in state_a[key].items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(state_b[key][name])), name
    if trainer_a.logger is not None and trainer_a.is_global_zero:
        pd.testing.assert_frame_equal(logged(trainer_a), logged(trainer_b))
