"""Monitor a network whose weights FSDP2 shards over two processes; on a machine with GPUs, leave out --cpu.

python docs/examples/fsdp.py --devices 2 --cpu
"""

from __future__ import annotations

import argparse

import pandas as pd
import pytorch_lightning as pl
import timm
import torch
from digits import digits
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.utils.data import DataLoader

from nfas_lightning.callbacks import BrainAlignment
from nfas_lightning.datamodules import SimulatedBrainDataModule
from nfas_lightning.models import RawStimuli


class Sharded(pl.LightningModule):
    """A classifier as one writes it for FSDP2; nothing here is for the callback."""

    def __init__(self) -> None:
        super().__init__()
        self.model = timm.create_model(
            "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=48, depth=4, num_classes=10
        )

    def configure_model(self) -> None:
        if isinstance(self.model, FSDPModule):
            return
        mesh = self.device_mesh["data_parallel"]
        for block in self.model.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(self.model, mesh=mesh)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        images, labels = batch
        loss = nn.functional.cross_entropy(self.model(images), labels)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 1e-3)


def main(args: list[str] | None = None) -> pd.DataFrame:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=1797)
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args(args)

    pl.seed_everything(0)
    brain = SimulatedBrainDataModule("vision", n_stimuli=120, image_size=32)
    watch = BrainAlignment(brain, pooling="cls", preprocess=RawStimuli(), at_start=True)
    trainer = pl.Trainer(
        callbacks=[watch],
        max_epochs=options.epochs,
        strategy=ModelParallelStrategy(data_parallel_size=options.devices, tensor_parallel_size=1),
        devices=options.devices,
        accelerator="cpu" if options.cpu else "auto",
        logger=False,
        enable_checkpointing=False,
    )
    trainer.fit(Sharded(), DataLoader(digits(options.images), batch_size=64, shuffle=True))
    if trainer.is_global_zero:
        curve = watch.curves.query("feature == 'stable_mode' and network == 'Visual'")
        print(curve[["step", "moment", "r", "r2"]].to_string(index=False))
    return watch.curves


if __name__ == "__main__":
    main()
