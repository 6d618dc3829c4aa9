"""Tables into a space of models: the score matrix of a run, and what is said of its models and ROIs."""

from __future__ import annotations

import hashlib
import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch

from nfas_lightning.results import GROUP, MEAN, Score, reported, subject_scores

__all__ = [
    "check_names",
    "check_numbered",
    "check_range",
    "check_table",
    "count_once",
    "describe_models",
    "score_matrix",
]

_NO_STATE = hashlib.sha256().hexdigest()  # of a network that has no weights to be told by


def score_matrix(
    table: pd.DataFrame,
    *,
    feature: str,
    value: str,
    score: Score | None = None,
    subject: str | None,
    intersection: bool,
) -> tuple[np.ndarray[Any, Any], pd.DataFrame, pd.DataFrame, list[str]]:
    """Turn a long scores table into (M, R) values, joined on ``roi``.

    Returns:
        The values, the models table, the ROI table (``roi`` and, where there, ``network``), and notes on what
        was left out.

    Raises:
        ValueError: nothing selected, a model scored twice at an ROI, or ROI axes that differ.
    """
    rows, notes = _selected(table, feature, score, subject)
    if value not in rows.columns:
        raise ValueError(f"value must be a column of the scores table, got {value!r}: {list(rows.columns)}.")
    row, models = pd.factorize(rows["model"])
    column, rois = pd.factorize(rows["roi"])
    matrix = np.full((len(models), len(rois)), np.nan)
    matrix[row, column] = rows[value]
    scored = np.zeros(matrix.shape, dtype=bool)
    scored[row, column] = True
    shared: np.ndarray[Any, np.dtype[np.bool_]] = np.all(scored, axis=0)
    if not shared.all():
        if not intersection:
            raise ValueError(_axis_difference(scored, models, rois))
        notes.append(f"{(~shared).sum()} of {len(shared)} ROIs were not scored for every model and left out.")
    matrix, rois = matrix[:, shared], rois[shared]
    alive: np.ndarray[Any, np.dtype[np.bool_]] = np.any(np.isfinite(matrix), axis=1)
    if alive.any() and not alive.all():
        # one model that scores nowhere must not take the others' ROIs
        names = list(models[~alive])
        notes.append(
            f"{len(names)} of {len(models)} models score NaN at every ROI and were left out: {names}."
        )
        warnings.warn(notes[-1], stacklevel=3)
        matrix = matrix[alive]
    finite: np.ndarray[Any, np.dtype[np.bool_]] = np.all(np.isfinite(matrix), axis=0)
    if not finite.all():
        names = rois[~finite].tolist()
        notes.append(f"{len(names)} of {len(finite)} ROIs lack a finite score for a model and were left out.")
        warnings.warn(f"{notes[-1]} The first: {names[:3]}.", stacklevel=3)
    if not finite.any():
        raise ValueError(
            "No ROI has a finite score for every model: build one space per benchmark, or look at the models "
            "whose scores are NaN."
        )
    rois = rois[finite]
    kept = [c for c in ("model", "modality", "family", "dataset", "simulated") if c in rows.columns]
    cards = rows[kept].drop_duplicates("model")
    cards = cards[cards["model"].isin(models[alive] if alive.any() else models)].reset_index(drop=True)
    described = rows[[c for c in ("roi", "network") if c in rows.columns]].drop_duplicates("roi")
    described = described[described["roi"].isin(rois)].reset_index(drop=True)
    return matrix[:, finite], cards, described, notes


def describe_models(models: pd.DataFrame, cards: pd.DataFrame) -> pd.DataFrame:
    """Add to a models table what the cards of a run say of its models: family, size, objective and so on."""
    known = cards.drop_duplicates("model").set_index("model")
    new = [name for name in known if name not in models and name != "twin_of"]
    return models.join(known[new], on="model") if new else models


def count_once(
    values: np.ndarray[Any, Any], models: pd.DataFrame
) -> tuple[np.ndarray[Any, Any], pd.DataFrame, list[str]]:
    """Leave out models that are another one of the table under a second name.

    A model counts as another one if both met one dataset with the same weights, or with equal scores at every
    ROI, bit for bit. Tests between groups take models for independent; a network that counts twice looks like
    two that agree, and makes them reject where there is nothing.

    Args:
        values: (M, R) scores.
        models: M rows, with ``weights_sha256`` where that is known.

    Returns:
        The values and the models table without repetitions, and notes that name what was left out.
    """
    dataset = models["dataset"].astype(str) if "dataset" in models else pd.Series("", models.index)
    first: dict[tuple[str, object], str] = {}
    same: dict[str, str] = {}
    for row, (name, data) in enumerate(zip(models["model"], dataset, strict=True)):
        told: list[object] = []
        if "weights_sha256" in models and pd.notna(weights := models["weights_sha256"].iloc[row]):
            told += [str(weights)] if weights not in ("", _NO_STATE) else []
        if len(np.unique(values[row])) > 1:  # a model that scores alike everywhere is not told by its scores
            told.append(values[row].tobytes())
        twin = next((first[data, key] for key in told if (data, key) in first), None)
        if twin is not None:
            same[str(name)] = twin
        for key in told:
            first.setdefault((data, key), twin or str(name))
    if not same:
        return values, models, []
    named = ", ".join(f"{name} (as {twin})" for name, twin in same.items())
    note = (
        f"{len(same)} of {len(models)} models are another one under a second name, by their weights or their "
        f"scores, and are counted once: {named}."
    )
    warnings.warn(note, stacklevel=3)
    kept = ~models["model"].astype(str).isin(set(same)).to_numpy()
    return values[kept], models[kept].reset_index(drop=True), [note]


def check_numbered(models: pd.DataFrame, rois: pd.Series[Any]) -> None:
    """Raise where models of several datasets meet at ROIs that an `ArrayDataModule` has numbered."""
    datasets = sorted(models["dataset"].astype(str).unique()) if "dataset" in models else []
    if len(datasets) > 1 and rois.astype(str).str.fullmatch(r"roi_\d{3,}").all():
        raise ValueError(
            f"Models of several datasets ({', '.join(datasets)}) are joined on the names of their ROIs, and "
            f"{', '.join(rois[:3])} are numbers, which in each are other regions. Name the ROIs of each "
            "dataset, ArrayDataModule(..., rois=[...]); or, where these are names, pass rois=."
        )


def check_table(name: str, table: pd.DataFrame, key: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """Return a copy of `table`, rows numbered, after checking its columns and that `key` is unique."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"{name} must have the columns {list(columns)}, got {list(table.columns)}.")
    repeated = table[key][table[key].duplicated()].unique().tolist()
    if repeated:
        raise ValueError(f"{name} must name each {key} once, got {repeated[:5]} more than once.")
    if table[list(columns)].isna().any(axis=None):
        raise ValueError(f"{name} must have no missing entry in {list(columns)}: fill them or drop the rows.")
    return table.reset_index(drop=True)


def check_names(scores: pd.DataFrame, models: pd.Series[Any], rois: pd.Series[Any]) -> None:
    """Raise unless a table of scores is labeled as the models and ROIs are, in their order."""
    pairs = [("columns", scores.columns, rois)]
    if not isinstance(scores.index, pd.RangeIndex):
        pairs.append(("rows", scores.index, models))
    for axis, got, expected in pairs:
        wrong = np.flatnonzero(np.asarray(got, dtype=object) != np.asarray(expected, dtype=object))
        if len(wrong):
            at = int(wrong[0])
            raise ValueError(
                f"The {axis} of scores must be labeled as their table, in its order: at {at} expected "
                f"{expected.iloc[at]!r}, got {got[at]!r}. Reindex by name first."
            )


def check_range(scores: torch.Tensor, value: str) -> None:
    """Raise where scores called r2 are no squared correlations, or those called r no correlations.

    Raises:
        ValueError: one is out of range, for more than rounding.
    """
    kind = value.split("_")[0]
    low = {"r2": 0.0, "r": -1.0}.get(kind)
    if low is None:
        return
    outside = (scores < low - 1e-6) | (scores > 1 + 1e-6)
    if bool(outside.any()):
        what = "squared correlations" if kind == "r2" else "correlations"
        other = "value='r'" if kind == "r2" else "value='r2'"
        raise ValueError(
            f"scores of value={value!r} must be {what} in [{low:g}, 1], got {int(outside.sum())} of "
            f"{scores.numel()} outside, from {float(scores.min()):g} to {float(scores.max()):g}. Divide "
            "percent by 100; a coefficient of determination below 0 explains nothing: write 0; or pass "
            f"{other}."
        )


def _selected(
    table: pd.DataFrame, feature: str, score: Score | None, subject: str | None
) -> tuple[pd.DataFrame, list[str]]:
    rows = table
    if "feature" in rows.columns:
        rows = rows[rows["feature"] == feature]
        if rows.empty:
            there = sorted(table["feature"].unique())
            raise ValueError(f"feature must be one of the table's {there}, got {feature!r}.")
    # before subjects are averaged too, which would hide a model that was scored twice
    _check_once(rows, [name for name in ("model", "roi", "subject") if name in rows.columns])
    shown = reported(subject_scores(rows, subject), score)
    _check_once(shown, ["model", "roi"])
    return shown, _subject_notes(rows, shown)


def _subject_notes(rows: pd.DataFrame, shown: pd.DataFrame) -> list[str]:
    """What is said of scores that are not the group's."""
    if "subject" not in shown.columns:
        return []
    notes = []
    averaged = set(shown.loc[shown["subject"] == MEAN, "model"])
    if averaged:
        names = list(dict.fromkeys(rows.loc[rows["model"].isin(averaged), "subject"]))
        listed = ", ".join(map(str, names[:3])) + (", ..." if len(names) > 3 else "")
        notes.append(
            f"{len(averaged)} of {shown['model'].nunique()} models were not scored on the subjects' mean "
            f"response: their scores are means over {len(names)} subjects ({listed}), without p values."
        )
    single = sorted(set(shown["subject"]) - {GROUP, MEAN})
    if single and len(set(rows["subject"])) > 1:
        notes.append(f"Scores of one subject: {', '.join(map(str, single))}.")
    return notes


def _check_once(rows: pd.DataFrame, keys: list[str]) -> None:
    twice = rows[rows.duplicated(keys)]
    if len(twice):
        first = twice.iloc[0]
        raise ValueError(
            f"Each model must be scored once at an ROI, got {first['model']!r} at {first['roi']!r} more than "
            "once: a model run on several benchmarks needs a space per benchmark."
        )


def _axis_difference(scored: np.ndarray[Any, Any], models: Any, rois: Any) -> str:
    incomplete = ~scored.all(axis=1)
    first = int(incomplete.argmax())
    lacks = rois[~scored[first]].tolist()
    shown = ", ".join(map(repr, lacks[:3])) + (", ..." if len(lacks) > 3 else "")
    return (
        f"Every model must be scored at the same ROIs, but {incomplete.sum()} of {len(models)} models lack "
        f"some: {models[first]!r} lacks {len(lacks)} of {len(rois)} ({shown}). Build a space per benchmark, "
        f"or pass axis='intersection' to keep the {scored.all(axis=0).sum()} ROIs they share."
    )
