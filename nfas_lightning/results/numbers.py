"""Three numbers per feature, and the one that a table or figure shows."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import pandas as pd

from nfas_lightning.errors import InputError

__all__ = ["LIMITS", "SCORES", "Score", "column_of", "report_as", "reported", "tells_apart", "three_numbers"]

Score = Literal["alone", "joint", "partial"]
"""What is told of a feature: what it predicts alone, with the nuisances, and what it adds to them."""

SCORES: tuple[Score, ...] = get_args(Score)

LIMITS = ("r_low", "r_high", "r2_low", "r2_high")
"""Columns of the scores table: 95 % limits of the number that is reported, over stimuli and subjects."""
_OF_TESTED = ("p", "q", *LIMITS)


def column_of(value: str, score: Score) -> str:
    """Return the column of the scores table that holds a number.

    >>> column_of("r2", "alone"), column_of("r2", "partial")
    ('r2', 'r2_partial')
    """
    return value if score == "alone" else f"{value}_{score}"


def reported(scores: pd.DataFrame, score: Score | None = None) -> pd.DataFrame:
    """Return a scores table whose `r` and `r2` are the number that stands for a feature.

    Args:
        scores: see `COLUMNS`; a table without three numbers is taken as it is.
        score: which number; None: that of the column ``score``, which p and q test.

    Returns:
        The table with one number per row, named in ``score``; p, q and limits are NaN where they are
        another's. The nuisances have but one, what they predict alone.

    Raises:
        ValueError: the runs in the table report different numbers, and `score` is None; or a number that
            there is not.
    """
    if "score" not in scores or "r_partial" not in scores:
        return scores
    tested = scores["score"].astype(object)
    if unknown := set(tested) - set(SCORES):
        raise InputError(f"The column 'score' must hold one of {SCORES}, got {sorted(map(str, unknown))}.")
    wanted = tested
    of_network = scores["feature"] != "nuisance" if "feature" in scores else pd.Series(True, scores.index)
    if score is not None:
        wanted = pd.Series(np.where(of_network, score, "alone"), scores.index, dtype=object)
    elif len(several := sorted(set(tested[of_network]))) > 1:
        raise InputError(
            f"These runs report different numbers, {several}: say which to compare with score=, such as "
            "score='partial'; every run holds all three."
        )
    shown = scores.drop(columns=[column_of(value, s) for value in ("r", "r2") for s in SCORES])
    for value in ("r2", "r"):
        columns = [scores[column_of(value, s)] for s in SCORES]
        cells = np.select([wanted == s for s in SCORES], columns, default=math.nan)
        shown[value] = cells
    shown["score"] = wanted
    for name in _OF_TESTED:
        if name in shown:
            shown[name] = shown[name].where(wanted == tested, math.nan)
    if "above_ceiling" in shown:
        shown["above_ceiling"] = shown["r"] > shown["ceiling"]
    return shown


def report_as(scores: pd.DataFrame, score: Score) -> pd.DataFrame:
    """Return a scores table, all numbers kept, that reports another; p, q and limits of the old go."""
    if "score" not in scores:
        return scores
    shown = reported(scores, score)
    names = ("score", "above_ceiling", *_OF_TESTED)
    return scores.assign(**{name: shown[name] for name in names if name in shown})


def tells_apart(scores: pd.DataFrame) -> bool:
    """Whether a scores table holds three numbers that differ, as nuisances make them."""
    if "r_partial" not in scores:
        return False
    rows = scores[scores["feature"] != "nuisance"] if "feature" in scores else scores
    return not rows["r"].equals(rows["r_partial"])


def three_numbers(scores: pd.DataFrame, *, value: str = "r") -> pd.DataFrame:
    """Return means over ROIs of the three numbers: index (modality, model, feature), columns `SCORES`.

    Args:
        scores: see `COLUMNS`, one row per model, feature and ROI, see `subject_scores`.
        value: ``"r"`` or ``"r2"``.
    """
    names = {column_of(value, score): score for score in SCORES if column_of(value, score) in scores}
    keys = ["modality", "model", "feature"]
    table: pd.DataFrame = scores.groupby(keys, sort=False)[list(names)].mean().rename(columns=names)
    return table
