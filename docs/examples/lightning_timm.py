"""Monitor a timm model that is one attribute of a LightningModule, with the `lightning` package.

python docs/examples/lightning_timm.py --epochs 2
"""

from __future__ import annotations

import argparse

import lightning as L
import pandas as pd
import timm
import torch
from digits import digits
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader

from nfas_lightning.callbacks import BrainAlignment
from nfas_lightning.datamodules import SimulatedBrainDataModule
from nfas_lightning.models import RawStimuli


class Probe(L.LightningModule):
    """Two networks in one module, so the callback needs `submodule`."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = timm.create_model("resnet10t", num_classes=10).requires_grad_(False).eval()
        self.student = timm.create_model(
            "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=48, depth=4, num_classes=10
        )

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        images, labels = batch
        logits = self.student(images)
        loss = nn.functional.cross_entropy(logits, labels)
        self.log("loss", loss + 0.1 * nn.functional.mse_loss(logits, self.teacher(images)))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 1e-3)


def main(args: list[str] | None = None) -> pd.DataFrame:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=1797)
    parser.add_argument("--run-dir", default="runs/lightning_timm")
    options = parser.parse_args(args)

    L.seed_everything(0)
    brain = SimulatedBrainDataModule("vision", n_stimuli=120, image_size=32)
    watch = BrainAlignment(
        brain,
        submodule="student",
        layers="blocks.*",
        pooling="cls",
        preprocess=RawStimuli(),  # as in this training, no normalization; the default is timm's own
        every_n_train_steps=20,
    )
    trainer = L.Trainer(
        callbacks=[watch],
        max_epochs=options.epochs,
        accelerator="cpu",
        logger=CSVLogger(options.run_dir),
        log_every_n_steps=5,
        enable_checkpointing=False,
    )
    trainer.fit(Probe(), DataLoader(digits(options.images), batch_size=64, shuffle=True))

    curve = watch.curves.query("feature == 'stable_mode' and network == 'Visual'")
    print(curve[["step", "moment", "r", "r2"]].to_string(index=False))
    return watch.curves


if __name__ == "__main__":
    main()
