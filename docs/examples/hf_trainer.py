"""Monitor a ViT trained with `transformers.Trainer`. Its loggers (`report_to`) get the alignment.

python docs/examples/hf_trainer.py --epochs 2
"""

from __future__ import annotations

import argparse

import pandas as pd
import torch
from digits import digits
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification, set_seed

from nfas_lightning.callbacks import BrainAlignmentHF
from nfas_lightning.datamodules import SimulatedBrainDataModule
from nfas_lightning.models import RawStimuli


def collate(entries: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
    images, labels = zip(*entries, strict=True)
    return {"pixel_values": torch.stack(images), "labels": torch.stack(labels)}


def main(args: list[str] | None = None) -> pd.DataFrame:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=1797)
    parser.add_argument("--run-dir", default="runs/hf_trainer")
    options = parser.parse_args(args)

    set_seed(0)
    shape = {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 96}
    model = ViTForImageClassification(ViTConfig(image_size=32, patch_size=8, num_labels=10, **shape))
    arguments = TrainingArguments(
        output_dir=options.run_dir,
        num_train_epochs=options.epochs,
        per_device_train_batch_size=64,
        logging_steps=10,
        save_strategy="no",
        report_to=[],  # "wandb", "tensorboard", ...
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = Trainer(model, arguments, data_collator=collate, train_dataset=digits(options.images))
    brain = SimulatedBrainDataModule("vision", n_stimuli=120, image_size=32)
    watch = BrainAlignmentHF(brain, at_start=True, pooling="cls", preprocess=RawStimuli()).attach(trainer)
    trainer.train()

    for row in trainer.state.log_history:
        if "brain/mean_r" in row:
            print(f"step {row['step']:4d}: mean r {row['brain/mean_r']:.3f}")
    return watch.curves


if __name__ == "__main__":
    main()
