"""What loggers are told of a finished model, and of a finished run."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

import pandas as pd

from nfas_lightning.callbacks.logging import log_config, log_figure, log_scalars, log_table
from nfas_lightning.lightning_packages import pl
from nfas_lightning.plotting.dynamics import plot_depth, plot_spectra
from nfas_lightning.results import (
    SCORES,
    ModelResult,
    RunResults,
    reported,
    subject_scores,
    tells_apart,
    three_numbers,
)

__all__ = ["config_of", "log_model", "log_run", "scalars_of", "summary_scalars"]


def summary_scalars(result: ModelResult) -> dict[str, float]:
    """Return a model's few numbers: means over ROIs, see `subject_scores`.

    Returns:
        ``mean_r`` and ``mean_r2`` of the number that the run reports, where there are nuisances all three of
        them (``mean_r_alone``, ``mean_r_joint``, ``mean_r_partial``), ``stable_modulus`` and, where baselines
        were scored, ``best_baseline_r2``.
    """
    scores = subject_scores(result.scores)
    means = reported(scores).groupby("feature")[["r", "r2"]].mean()
    feature = _main_feature(means.index)
    baselines = means["r2"].drop([feature, "nuisance"], errors="ignore")
    scalars = {
        "mean_r": float(means["r"][feature]),
        "mean_r2": float(means["r2"][feature]),
        **_three(scores[scores["feature"] == feature]),
        "stable_modulus": float(result.spectra.loc[result.spectra["stable"], "modulus"].iloc[0]),
    }
    if len(baselines):
        scalars["best_baseline_r2"] = float(baselines.max())
    return scalars


def _three(scores: pd.DataFrame) -> dict[str, float]:
    """The three numbers of a feature, where nuisances tell them apart."""
    if not tells_apart(scores):
        return {}
    three = three_numbers(scores).mean()
    return {f"mean_r_{score}": float(three[score]) for score in SCORES}


def scalars_of(result: ModelResult) -> dict[str, float]:
    """Return `summary_scalars` under the keys that loggers know them by."""
    return {f"nfas/{name}": value for name, value in summary_scalars(result).items()}


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
    """Log a finished model: config, scalars, a table of ROIs and one of modes, spectrum and depth.

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
    scalars = scalars_of(ModelResult(scores, result.spectra, result.depth, result.card))
    log_scalars(loggers, scalars, step)
    log_table(loggers, "nfas/rois", _rois(scores), step)
    modes = ["mode", "real", "imag", "modulus", "amplitude", "stable", "distance_to_unit_circle"]
    log_table(loggers, "nfas/spectrum", result.spectra[modes], step)
    simulated = bool(result.scores["simulated"].any())
    log_figure(loggers, "figures/spectrum", plot_spectra(result.spectra, simulated=simulated), step)
    log_figure(loggers, "figures/depth", plot_depth(result.depth, simulated=simulated), step)


def log_run(loggers: Iterable[pl.loggers.Logger], results: RunResults) -> None:
    """Log the tables of a whole run: models, models x ROIs, ROIs, eigenvalues, three numbers per feature."""
    loggers = list(loggers)
    everything = subject_scores(results.scores)
    scores = reported(everything)
    stable = scores[scores["feature"] == "stable_mode"]
    grid = stable.pivot_table(index="model", columns="roi", values="r2", dropna=False).reset_index()
    log_table(loggers, "nfas/scores", grid)
    means = scores.pivot_table(index="model", columns="feature", values="r2").add_prefix("r2_")
    log_table(loggers, "nfas/models", results.models.merge(means, on="model", how="left"))
    best = stable.sort_values("r2").groupby("roi").tail(1)[["roi", "model", "r2"]]
    best = best.rename(columns={"model": "best_model", "r2": "best_r2"})
    mean = stable.groupby("roi", as_index=False)[["r", "r2", "ceiling"]].mean()
    rois = results.rois.merge(mean, on="roi", how="left").merge(best, on="roi", how="left")
    log_table(loggers, "nfas/rois", rois)
    log_table(loggers, "nfas/spectra", results.spectra)
    log_table(loggers, "nfas/numbers", three_numbers(everything).reset_index())


def _main_feature(features: Container[object]) -> str:
    """What a model is judged by; a random twin has no stable mode."""
    return "stable_mode" if "stable_mode" in features else "random_weights"


def _rois(scores: pd.DataFrame) -> pd.DataFrame:
    """One row a ROI: the stable mode's scores, and r of each baseline beside them."""
    everything = subject_scores(scores)
    shown = reported(everything)
    own = _main_feature(set(shown["feature"]))
    table = shown.loc[shown["feature"] == own, ["roi", "network", "r", "r2", "p", "q", "ceiling"]]
    others = shown[shown["feature"] != own]
    beside = others.pivot_table(index="roi", columns="feature", values="r", dropna=False).add_prefix("r_")
    numbers = everything.loc[everything["feature"] == own, ["roi", "r", "r_joint", "r_partial"]]
    table = table.merge(numbers.rename(columns={"r": "r_alone"}), on="roi", how="left")
    joined: pd.DataFrame = table.merge(beside, left_on="roi", right_index=True, how="left")
    return joined.reset_index(drop=True)
