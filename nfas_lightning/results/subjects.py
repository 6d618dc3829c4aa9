"""Which scores stand for a model that was scored on several subjects."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from nfas_lightning.errors import InputError
from nfas_lightning.results.numbers import LIMITS

__all__ = ["GROUP", "MEAN", "subject_scores"]

GROUP = "group"
"""Subject of the scores on the mean response of all subjects."""

MEAN = "mean"
"""What `subject_scores` calls the mean of the subjects' own scores."""

_MODEL = ("model", "modality", "dataset")
_COUNTS = ("n_volumes", "simulated")  # of the benchmark, the same for all its subjects


def subject_scores(scores: pd.DataFrame, subject: str | None = None) -> pd.DataFrame:
    """Return the rows of a scores table that stand for each model: one per feature and ROI.

    Args:
        scores: see `COLUMNS`.
        subject: one of the table's, ``"group"`` being the mean response of all. None: the group's rows; for a
            model without them those of its only subject, or the mean over its subjects.

    Returns:
        Rows with the columns of `scores`. Of a mean, ``subject`` is ``"mean"``; r, r2 and ceiling are
        averages over the subjects that have one; p, q and limits are NaN, for those of single subjects do
        not average to those of a mean.

    Raises:
        ValueError: a subject that the table, or a model in it, does not have.
    """
    if subject is not None:
        return _named(scores, subject)
    if "subject" not in scores:
        return scores
    keys = [name for name in _MODEL if name in scores]
    model = scores.groupby(keys, sort=False, dropna=False).ngroup()
    is_group = scores["subject"] == GROUP
    has_group = is_group.groupby(model).transform("any")
    is_alone = scores["subject"].groupby(model).transform("nunique") == 1
    kept, several = scores[is_group | is_alone], scores[~has_group & ~is_alone]
    if several.empty:
        return kept
    mean = _mean(several, keys)
    if kept.empty:
        return mean
    joined = pd.concat([kept, mean], ignore_index=True)
    # models stay in the order in which they came
    place = scores[keys].drop_duplicates().reset_index(drop=True).reset_index(names="_place")
    order = joined[keys].merge(place, on=keys, how="left")["_place"]
    return joined.iloc[order.argsort(kind="stable")].reset_index(drop=True)


def _named(scores: pd.DataFrame, subject: str) -> pd.DataFrame:
    if "subject" not in scores:
        raise InputError(f"A table without a column 'subject' can't be asked for {subject!r}: leave it out.")
    rows = scores[scores["subject"] == subject]
    otherwise = f"Without a name it is {GROUP!r}, or where that was not scored the mean over subjects"
    if rows.empty:
        there = sorted(scores["subject"].unique())
        raise InputError(f"subject must be one of the table's {there}, got {subject!r}. {otherwise}.")
    lacking = sorted(set(scores["model"]) - set(rows["model"]))
    if lacking:
        raise InputError(
            f"subject must be one that every model was scored on, got {subject!r}, which {len(lacking)} of "
            f"{scores['model'].nunique()} models lack, such as {lacking[:3]}. {otherwise}."
        )
    return rows


def _mean(scores: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    rows = [*keys, *(name for name in ("feature", "roi") if name in scores)]
    how = {
        name: "mean" if is_numeric_dtype(scores[name]) and name not in _COUNTS else "first"
        for name in scores
        if name not in rows
    }
    mean = scores.groupby(rows, sort=False, dropna=False, as_index=False).agg(how)
    undefined: dict[str, Any] = {
        name: math.nan for name in ("p", "q", "p_cluster", *LIMITS) if name in scores
    }
    if "above_ceiling" in scores:
        undefined["above_ceiling"] = mean["r"] > mean["ceiling"]
    averaged: pd.DataFrame = mean.assign(subject=MEAN, **undefined)[list(scores)]
    return averaged
