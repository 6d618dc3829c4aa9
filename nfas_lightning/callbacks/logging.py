"""What a logger is given: few scalars, tables and figures where it takes them.

Every logger gets the scalars. Weights & Biases gets tables, figures and the config beside them, TensorBoard
figures, a CSV logger tables and figures as files beside its metrics.
"""

from __future__ import annotations

import netrc
import os
import shutil
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from weakref import WeakKeyDictionary

import matplotlib.image
import pandas as pd
from matplotlib.figure import Figure

from nfas_lightning.lightning_packages import kinds, pl
from nfas_lightning.writing import write_csv, write_whole

__all__ = [
    "STEP_KEY",
    "log_config",
    "log_figure",
    "log_images",
    "log_scalars",
    "log_table",
    "wandb_loggers",
    "wandb_offline_without_key",
]

STEP_KEY = "trainer/global_step"
"""What WandbLogger calls the step that it is given."""

_HIGHER = ("mean_r", "best_baseline_r2")
_defined: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()  # W&B run to the keys that it knows


def wandb_offline_without_key() -> None:
    """Keep Weights & Biases offline when nobody is logged in: a run must not stop to ask for a key."""
    if not (os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE") or _has_login()):
        os.environ.setdefault("WANDB_MODE", "offline")


def _has_login() -> bool:
    """Whether `wandb login` left a key for the server in use."""
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    given = os.environ.get("NETRC")
    for path in [Path(given)] if given else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        if path.is_file():
            try:
                return netrc.netrc(path).authenticators(host) is not None
            except netrc.NetrcParseError:
                return False
    return False


def wandb_loggers(loggers: Iterable[pl.loggers.Logger]) -> list[Any]:
    """Return the Weights & Biases loggers among these."""
    return [logger for logger in loggers if isinstance(logger, kinds("WandbLogger"))]


def log_config(loggers: Iterable[pl.loggers.Logger], config: Mapping[str, Any]) -> None:
    """Log what a run was made of: the config of a W&B run, hparams.yaml of a CSV logger."""
    for logger in loggers:
        if isinstance(logger, (*kinds("WandbLogger"), *kinds("CSVLogger"))):
            logger.log_hyperparams(dict(config))


def log_scalars(loggers: Iterable[pl.loggers.Logger], scalars: Mapping[str, float], step: int) -> None:
    """Log scalars to every logger; scores keep their best beside their last value in a W&B run's summary."""
    for logger in loggers:
        if isinstance(logger, kinds("WandbLogger")):
            _define(logger, scalars)
        logger.log_metrics(dict(scalars), step=step)


def log_table(
    loggers: Iterable[pl.loggers.Logger], key: str, table: pd.DataFrame, step: int | None = None
) -> None:
    """Log a table to the loggers that show tables: one key for a grid instead of one a cell."""
    for logger in loggers:
        if isinstance(logger, kinds("WandbLogger")):
            logger.log_table(key=key, dataframe=table, step=step)
        elif isinstance(logger, kinds("CSVLogger")):
            write_csv(_file(logger, "tables", key, step, ".csv"), table)


def log_images(loggers: Iterable[pl.loggers.Logger], figures: Mapping[str, Path], *, step: int = 0) -> None:
    """Log PNG files, each under ``figures/name``."""
    for logger in loggers:
        for name, path in figures.items():
            key = f"figures/{name}"
            if isinstance(logger, kinds("WandbLogger")):
                logger.log_image(key=key, images=[str(path)])
            elif isinstance(logger, kinds("TensorBoardLogger")):
                image = matplotlib.image.imread(path)
                logger.experiment.add_image(key, image, global_step=step, dataformats="HWC")
            elif isinstance(logger, kinds("CSVLogger")):
                write_whole(_file(logger, "figures", name, None, ".png"), partial(shutil.copyfile, path))


def log_figure(loggers: Iterable[pl.loggers.Logger], key: str, figure: Figure, step: int) -> None:
    """Log a figure: an image in Weights & Biases and TensorBoard, a PNG beside a CSV logger's metrics."""
    for logger in loggers:
        if isinstance(logger, kinds("WandbLogger")):
            logger.log_image(key=key, images=[figure], step=step)
        elif isinstance(logger, kinds("TensorBoardLogger")):
            logger.experiment.add_figure(key, figure, global_step=step, close=False)
        elif isinstance(logger, kinds("CSVLogger")):
            write_whole(_file(logger, "figures", key, step, ".png"), partial(figure.savefig, format="png"))


def _file(logger: Any, folder: str, key: str, step: int | None, suffix: str) -> Path:
    """Where a CSV logger's table or figure goes."""
    number = "" if step is None else f"-{step:08d}"
    return Path(logger.log_dir) / folder / f"{key.replace('/', '_')}{number}{suffix}"


def _define(logger: Any, keys: Iterable[str]) -> None:
    """Tell a W&B run the step of each key and what its summary keeps, once."""
    run = logger.experiment
    known = _defined.setdefault(run, set())
    for key in keys:
        if key not in known:
            known.add(key)
            run.define_metric(key, step_metric=STEP_KEY, step_sync=True, summary=_summary(key))


def _summary(key: str) -> str:
    name = key.rpartition("/")[2]
    return "max,last" if name.startswith(_HIGHER) or "/r2/" in key else "last"
