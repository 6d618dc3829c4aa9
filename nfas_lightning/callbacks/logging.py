"""What a logger is given: few scalars, tables and figures where it takes them.

Weights & Biases is imported here alone, and only by a logger that the user chose.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from nfas_lightning.lightning_packages import kinds, pl

__all__ = ["log_figure", "log_images", "log_scalars", "log_table", "wandb_offline_without_key"]


def wandb_offline_without_key() -> None:
    """Keep Weights & Biases offline when nobody is logged in: a run must not stop to ask for a key."""
    logged_in = os.environ.get("WANDB_API_KEY") or (
        Path.home().joinpath(".netrc").is_file() and "wandb" in Path.home().joinpath(".netrc").read_text()
    )
    if not logged_in:
        os.environ.setdefault("WANDB_MODE", "offline")


def log_scalars(loggers: Iterable[pl.loggers.Logger], scalars: Mapping[str, float], step: int) -> None:
    """Log scalars to every logger."""
    for logger in loggers:
        logger.log_metrics(dict(scalars), step=step)


def log_table(loggers: Iterable[pl.loggers.Logger], key: str, table: pd.DataFrame) -> None:
    """Log a table to the loggers that show tables: one key for a grid instead of one a cell."""
    for logger in loggers:
        if isinstance(logger, kinds("WandbLogger")):
            logger.log_table(key=key, dataframe=table)


def log_images(loggers: Iterable[pl.loggers.Logger], figures: Mapping[str, Path]) -> None:
    """Log PNG files to the loggers that show images."""
    for logger in loggers:
        if isinstance(logger, kinds("WandbLogger")):
            for key, path in figures.items():
                logger.log_image(key=f"nfas/{key}", images=[str(path)])


def log_figure(loggers: Iterable[pl.loggers.Logger], key: str, figure: Figure, step: int) -> None:
    """Log a figure: an image in Weights & Biases and TensorBoard, a PNG beside a CSV logger's metrics."""
    for logger in loggers:
        if isinstance(logger, kinds("WandbLogger")):
            logger.log_image(key=key, images=[figure])
        elif isinstance(logger, kinds("TensorBoardLogger")):
            logger.experiment.add_figure(key, figure, global_step=step, close=False)
        elif isinstance(logger, kinds("CSVLogger")):
            path = Path(logger.log_dir) / "figures" / f"{key.replace('/', '_')}-{step:08d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path)
