"""A feature beside its baselines, on each data set and on all of them together."""

from __future__ import annotations

import math
from typing import Any, Literal

import pandas as pd
import torch

from nfas_lightning.errors import InputError
from nfas_lightning.functional.fdr import fdr
from nfas_lightning.functional.paired import paired_test
from nfas_lightning.results.numbers import Score, reported
from nfas_lightning.results.run_results import FEATURES
from nfas_lightning.results.subjects import subject_scores

__all__ = ["MEASURED", "SIMULATED", "compare_features"]

MEASURED = "all measured"
SIMULATED = "all simulated"
"""What stands for the data set where several are taken together: planted responses stay apart."""


def compare_features(
    scores: pd.DataFrame,
    *,
    feature: str = "stable_mode",
    value: Literal["r", "r2"] = "r",
    score: Score | None = None,
    subject: str | None = None,
    n_permutations: int = 9999,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare a feature with every other that the same models were scored on.

    The unit is the network: its difference is that of the two features' mean scores over the ROIs that both
    have. ROIs and data sets are the ones that were measured, not a sample of others. Where data sets are
    taken together, a network that was scored on several of them counts once, with the mean of its
    differences.

    Args:
        scores: see `COLUMNS`: of one run, or of several joined by `RunResults.concatenate`; their ROIs may
            differ.
        feature: the one that is compared.
        value: ``"r"`` or ``"r2"``.
        score: which of the three numbers, see `reported`; None: the one that the runs report.
        subject: see `subject_scores`.
        n_permutations: draws of `paired_test` where there are too many networks to try all signs.
        seed: of the draws.

    Returns:
        One row per data set and baseline: ``dataset``, ``simulated``, ``baseline``, ``n_models``, ``n_rois``
        (the most of any model), ``feature_mean``, ``baseline_mean``, ``difference`` (feature minus
        baseline), its 95 % limits ``low`` and ``high``, ``p_value``, ``q_value`` (FDR over the baselines of
        the data set) and ``ahead``, the number of models in which the feature is. `MEASURED` and `SIMULATED`
        take several data sets of a kind together. Nuisances are no baseline of a partial score.

    Raises:
        ValueError: the table lacks the feature, the number or the subject, holds nothing beside the feature,
            or has a model twice on one data set.
    """
    shown = reported(subject_scores(scores, subject), score)
    features = list(shown["feature"].unique())
    if feature not in features:
        raise InputError(f"feature must be one of the tables' {features}, got {feature!r}.")
    if "score" in shown and "partial" in set(shown["score"]):
        shown = shown[shown["feature"] != "nuisance"]
    _check_once(shown)
    means = _means(shown, feature, value)
    if means.empty:
        raise InputError(
            f"No model has the {value} of {feature!r} and of another feature, so there is nothing to "
            "compare: score with baselines."
        )
    rows = []
    for dataset in shown["dataset"].unique():
        rows += _rows(means[means["dataset"] == dataset], dataset, n_permutations, seed)
    for simulated, name in ((False, MEASURED), (True, SIMULATED)):
        alike = means[means["simulated"] == simulated]
        if len(alike["dataset"].unique()) > 1:
            rows += _rows(alike, name, n_permutations, seed)
    return pd.DataFrame(rows)


def _check_once(scores: pd.DataFrame) -> None:
    keys = ["dataset", "model", "feature", "roi"]
    twice = scores[scores.duplicated(keys)]
    if len(twice):
        first = twice.iloc[0]
        raise InputError(
            f"Every model must be scored once on a data set, got {first['model']!r} on {first['dataset']!r} "
            "more than once: name one of its runs."
        )


def _means(scores: pd.DataFrame, feature: str, column: str) -> pd.DataFrame:
    """Return one row per data set, model and baseline: mean scores of both over the ROIs that both have."""
    keys = ["dataset", "model"]
    ours = scores[scores["feature"] == feature][[*keys, "roi", column]]
    pairs = scores[scores["feature"] != feature].merge(ours, on=[*keys, "roi"], suffixes=("_other", ""))
    pairs = pairs.dropna(subset=[column, f"{column}_other"])
    means = pairs.groupby([*keys, "feature"], sort=False).agg(
        simulated=("simulated", "any"),
        n_rois=("roi", "size"),
        feature_mean=(column, "mean"),
        baseline_mean=(f"{column}_other", "mean"),
    )
    return means.rename_axis([*keys, "baseline"]).reset_index()


def _rows(means: pd.DataFrame, dataset: str, n_permutations: int, seed: int) -> list[dict[str, Any]]:
    """Return one row per baseline of one data set, or of several taken together."""
    order = [*FEATURES, *sorted(set(means["baseline"]) - set(FEATURES))]
    rows = []
    for baseline in [name for name in order if name in set(means["baseline"])]:
        part = means[means["baseline"] == baseline]
        networks = part.groupby("model", sort=False)[["feature_mean", "baseline_mean"]].mean()
        difference = networks["feature_mean"] - networks["baseline_mean"]
        units = torch.tensor(list(difference), dtype=torch.float64)
        tested = paired_test(units, n_permutations=n_permutations, seed=seed)
        rows.append(
            {
                "dataset": dataset,
                "simulated": bool(part["simulated"].all()),
                "baseline": baseline,
                "n_models": len(networks),
                "n_rois": int(part["n_rois"].max()),
                "feature_mean": networks["feature_mean"].mean(),
                "baseline_mean": networks["baseline_mean"].mean(),
                "difference": tested.mean,
                "low": tested.low,
                "high": tested.high,
                "p_value": tested.p_value if len(networks) > 1 else math.nan,
                "q_value": math.nan,
                "ahead": int((difference > 0).sum()),
            }
        )
    for row, q in zip(rows, fdr(torch.tensor([row["p_value"] for row in rows])).tolist(), strict=True):
        row["q_value"] = q
    return rows
