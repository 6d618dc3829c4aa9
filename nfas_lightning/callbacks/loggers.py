"""What loggers are given of a model, of a training and of a whole run.

Every logger gets the scalars. Weights & Biases gets tables, figures and the config beside them, TensorBoard
figures, a CSV logger tables and figures as files beside its metrics. A grid is one table, never one key per
cell.
"""

from __future__ import annotations

import shutil
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.image
import pandas as pd
from matplotlib.figure import Figure

from nfas_lightning.callbacks.wandb_runs import define_metrics
from nfas_lightning.lightning_packages import kinds, pl
from nfas_lightning.plotting.dynamics import plot_depth, plot_spectra
from nfas_lightning.results import (
    LIMITS,
    SCORES,
    ModelResult,
    RunResults,
    compare_models,
    reported,
    subject_scores,
    tells_apart,
    three_numbers,
)
from nfas_lightning.writing import write_csv, write_whole

__all__ = [
    "config_of",
    "log_config",
    "log_figure",
    "log_images",
    "log_model",
    "log_run",
    "log_scalars",
    "log_table",
    "scalars_of",
]


def log_config(loggers: Iterable[pl.loggers.Logger], config: Mapping[str, Any]) -> None:
    """Log what a run was made of: the config of a W&B run, hparams.yaml of a CSV logger."""
    for logger in loggers:
        if isinstance(logger, (*kinds("WandbLogger"), *kinds("CSVLogger"))):
            logger.log_hyperparams(dict(config))


def log_scalars(loggers: Iterable[pl.loggers.Logger], scalars: Mapping[str, float], step: int) -> None:
    """Log scalars to every logger; see `define_metrics` for what W&B is told of them."""
    for logger in loggers:
        if isinstance(logger, kinds("WandbLogger")):
            define_metrics(logger, scalars)
        logger.log_metrics(dict(scalars), step=step)


def log_table(
    loggers: Iterable[pl.loggers.Logger], key: str, table: pd.DataFrame, step: int | None = None
) -> None:
    """Log a table: in Weights & Biases, and a CSV file beside a CSV logger's metrics."""
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


def scalars_of(result: ModelResult, prefix: str = "nfas") -> dict[str, float]:
    """Return a model's few numbers: means over ROIs, see `subject_scores`.

    Returns:
        Under `prefix`: ``mean_r`` and ``mean_r2`` of the score that the run reports; ``mean_r_alone``,
        ``mean_r_joint`` and ``mean_r_partial`` where there are nuisances; the limits of `mean_r`,
        ``mean_r_low`` and ``mean_r_high``, where there are intervals; ``stable_modulus``; and
        ``best_baseline_r2`` where baselines were scored.
    """
    scores = subject_scores(result.scores)
    means = reported(scores).groupby("feature")[["r", "r2"]].mean()
    feature = _main_feature(means.index)
    scalars = {"mean_r": float(means["r"][feature]), "mean_r2": float(means["r2"][feature])}
    own = scores[scores["feature"] == feature]
    if tells_apart(own):
        three = three_numbers(own).mean()
        scalars |= {f"mean_r_{score}": float(three[score]) for score in SCORES}
    if len(result.draws):
        own = compare_models(result.draws, feature=feature).means
        scalars |= {f"mean_r_{end}": float(own[end].iloc[0]) for end in ("low", "high") if len(own)}
    modulus = result.spectra.loc[result.spectra["stable"], "modulus"]
    scalars["stable_modulus"] = float(modulus.iloc[0])
    baselines = means["r2"].drop([feature, "nuisance"], errors="ignore")
    if len(baselines):
        scalars["best_baseline_r2"] = float(baselines.max())
    return {f"{prefix}/{name}": value for name, value in scalars.items()}


def config_of(meta: Mapping[str, Any], card: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a W&B config: the model's card at the top, then settings, data with their hashes, versions.

    Args:
        meta: of the run, see `RunResults`.
        card: of the model; None for a whole run.
    """
    data = ("dataset", "modality", "simulated", "subjects", "responses_sha256", "hashes")
    return {
        **(card or {}),
        "experiment": meta["name"],
        "settings": meta["settings"],
        "data": {name: meta[name] for name in data},
        "versions": meta["versions"],
    }


def log_model(
    loggers: Iterable[pl.loggers.Logger],
    result: ModelResult,
    meta: Mapping[str, Any],
    *,
    twin: ModelResult | None = None,
    step: int = 0,
) -> None:
    """Log a finished model: config, scalars, tables of ROIs and of modes, figures of spectrum and depth.

    Args:
        loggers: where to.
        result: the model's.
        meta: of the run.
        twin: the same architecture without its training, a column of the table of ROIs.
        step: of the scalars and figures.
    """
    loggers = list(loggers)
    log_config(loggers, config_of(meta, result.card))
    scores = result.scores if twin is None else pd.concat([result.scores, twin.scores], ignore_index=True)
    scalars = scalars_of(replace(result, scores=scores))
    log_scalars(loggers, scalars, step)
    log_table(loggers, "nfas/rois", _rois(scores), step)
    modes = ["mode", "real", "imag", "modulus", "amplitude", "stable", "distance_to_unit_circle"]
    log_table(loggers, "nfas/spectrum", result.spectra[modes], step)
    if len(result.modes):
        log_table(loggers, "nfas/modes", result.modes, step)
    simulated = bool(result.scores["simulated"].any())
    log_figure(loggers, "figures/spectrum", plot_spectra(result.spectra, simulated=simulated), step)
    log_figure(loggers, "figures/depth", plot_depth(result.depth, simulated=simulated), step)


def log_run(
    loggers: Iterable[pl.loggers.Logger], results: RunResults, links: Mapping[str, str] | None = None
) -> None:
    """Log the tables of a whole run: models, models x ROIs, ROIs, eigenvalues, three numbers per feature.

    Args:
        loggers: where to.
        results: of the run.
        links: the column ``run`` of the table of models, by their names; see `model_links`.
    """
    loggers = list(loggers)
    everything = subject_scores(results.scores)
    scores = reported(everything)
    stable = scores[scores["feature"] == "stable_mode"]
    grid = stable.pivot_table(index="model", columns="roi", values="r2", dropna=False).reset_index()
    log_table(loggers, "nfas/scores", grid)
    means = scores.pivot_table(index="model", columns="feature", values="r2").add_prefix("r2_")
    models = results.models.merge(means, on="model", how="left")
    if links:
        models.insert(1, "run", models["model"].map(links).fillna(""))
    log_table(loggers, "nfas/models", models)
    best = stable.sort_values("r2").groupby("roi").tail(1)[["roi", "model", "r2"]]
    best = best.rename(columns={"model": "best_model", "r2": "best_r2"})
    mean = stable.groupby("roi", as_index=False)[["r", "r2", "ceiling"]].mean()
    rois = results.rois.merge(mean, on="roi", how="left").merge(best, on="roi", how="left")
    log_table(loggers, "nfas/rois", rois)
    log_table(loggers, "nfas/spectra", results.spectra)
    if len(results.modes):
        log_table(loggers, "nfas/modes", results.modes)
    log_table(loggers, "nfas/numbers", three_numbers(everything).reset_index())
    ranking = results.ranking()
    for name in ("means", "pairs", "features"):
        if len(table := getattr(ranking, name)):
            log_table(loggers, f"nfas/ranking_{name}", table)


def _main_feature(features: Container[object]) -> str:
    """What a model is judged by; a random twin has no stable mode."""
    return "stable_mode" if "stable_mode" in features else "random_weights"


def _rois(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per ROI: the stable mode's scores, and r of each baseline beside them."""
    everything = subject_scores(scores)
    shown = reported(everything)
    own = _main_feature(set(shown["feature"]))
    beside = (*LIMITS, "p", "q", "ceiling", "above_ceiling")
    table = shown.loc[shown["feature"] == own, ["roi", "network", "r", "r2", *beside]]
    others = shown[shown["feature"] != own]
    rivals = others.pivot_table(index="roi", columns="feature", values="r", dropna=False).add_prefix("r_")
    numbers = everything.loc[everything["feature"] == own, ["roi", "r", "r_joint", "r_partial"]]
    table = table.merge(numbers.rename(columns={"r": "r_alone"}), on="roi", how="left")
    joined: pd.DataFrame = table.merge(rivals, left_on="roi", right_index=True, how="left")
    return joined.reset_index(drop=True)
