"""Train a small torchvision ResNet on digits, and monitor its brain alignment in Weights & Biases, offline.

    python docs/examples/resnet_wandb.py --epochs 3

The brain is simulated: it responds to crops of photographs. Replace it with your own
`ArrayDataModule(images, responses)`. Afterwards `wandb sync` uploads the run. `curves.parquet` in the run
folder has every evaluation.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import pytorch_lightning as pl
import torch
from digits import digits
from pytorch_lightning.loggers import WandbLogger
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models.resnet import BasicBlock, ResNet

from nfas_lightning.callbacks import BrainAlignment
from nfas_lightning.datamodules import SimulatedBrainDataModule
from nfas_lightning.models import RawStimuli


class Classifier(pl.LightningModule):
    """An ordinary LightningModule, without code for brains."""

    def __init__(self) -> None:
        super().__init__()
        self.model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        images, labels = batch
        loss = nn.functional.cross_entropy(self.model(images), labels)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 1e-3)


def main(args: list[str] | None = None) -> pd.DataFrame:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=1797)
    parser.add_argument("--run-dir", type=Path, default=Path("runs/resnet_wandb"))
    options = parser.parse_args(args)
    options.run_dir.mkdir(parents=True, exist_ok=True)

    pl.seed_everything(0)
    # three things to add: a benchmark, a callback, and the callback in the Trainer's list
    brain = SimulatedBrainDataModule("vision", n_stimuli=120, image_size=32)
    # RawStimuli: no normalization, as in this training
    watch = BrainAlignment(
        brain, preprocess=RawStimuli(), at_start=True, run_dir=options.run_dir, details_every=2
    )
    trainer = pl.Trainer(
        callbacks=[watch],
        max_epochs=options.epochs,
        accelerator="cpu",
        logger=WandbLogger(project="nfas-examples", offline=True, save_dir=options.run_dir),
        enable_checkpointing=False,
        log_every_n_steps=5,
    )
    trainer.fit(Classifier(), DataLoader(digits(options.images), batch_size=64, shuffle=True))

    curve = watch.curves.query("feature == 'stable_mode' and network == 'Visual'")
    print(curve[["step", "moment", "r", "r2"]].to_string(index=False))
    return watch.curves


if __name__ == "__main__":
    main()
