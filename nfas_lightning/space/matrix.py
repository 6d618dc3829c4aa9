"""Tables into a space of models: the score matrix of a run, and the checks of what a space is made of."""

from __future__ import annotations

import hashlib
import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch

from nfas_lightning.errors import InputError, nearest
from nfas_lightning.results import GROUP, MEAN, Score, reported, subject_scores

__all__ = [
    "check_groups", "check_names", "check_numbered", "check_range", "check_table",
    "control_matrix", "count_once", "null_scores", "score_matrix",
]  # fmt: skip

CONTROL = "random_weights"
_NO_STATE = hashlib.sha256().hexdigest()  # of a network that has no weights to be told by


def score_matrix(
    table: pd.DataFrame,
    *,
    feature: str,
    value: str,
    score: Score | None,
    subject: str | None,
    intersection: bool,
) -> tuple[np.ndarray[Any, Any], pd.DataFrame, pd.DataFrame, list[str]]:
    """Turn a long scores table into (M, R) values, joined on ``roi``; see `NFAS.from_scores`.

    Returns:
        The values, the models table, the ROI table (``roi`` and, where there, ``network``), and notes on what
        was left out.
    """
    rows, notes = _selected(table, feature, score, subject)
    if value not in rows.columns:
        raise InputError(f"value must be a column of the scores table, got {value!r}: {list(rows.columns)}.")
    row, models = pd.factorize(rows["model"])
    column, rois = pd.factorize(rows["roi"])
    values, present = np.full((len(models), len(rois)), np.nan), np.zeros((len(models), len(rois)), bool)
    values[row, column], present[row, column] = rows[value], True
    matrix, scored = (pd.DataFrame(cells, index=models, columns=rois) for cells in (values, present))
    shared = scored.all()
    if not shared.all():
        if not intersection:
            raise InputError(_axis_difference(scored))
        notes.append(f"{(~shared).sum()} of {len(shared)} ROIs were not scored for every model and left out.")
        matrix = matrix.loc[:, shared]
    alive = matrix.notna().any(axis=1)
    if alive.any() and not alive.all():
        # one model that scores nowhere must not take the others' ROIs
        names = alive.index[~alive].tolist()
        notes.append(
            f"{len(names)} of {len(alive)} models score NaN at every ROI and were left out: {names}."
        )
        warnings.warn(notes[-1], stacklevel=3)
        matrix = matrix[alive]
    finite = pd.Series(np.isfinite(matrix.to_numpy()).all(axis=0), matrix.columns)
    if not finite.all():
        names = finite.index[~finite].tolist()
        notes.append(f"{len(names)} of {len(finite)} ROIs lack a finite score for a model and were left out.")
        warnings.warn(f"{notes[-1]} The first: {names[:3]}.", stacklevel=3)
    if not finite.any():
        raise InputError("No ROI has a finite score for every model: build one space per benchmark.")
    matrix = matrix.loc[:, finite]
    described = []
    for key, labels, more in (
        ("model", matrix.index, ("modality", "family", "dataset", "simulated")),
        ("roi", matrix.columns, ("network",)),
    ):
        known = rows[[key, *(name for name in more if name in rows)]].drop_duplicates(key).set_index(key)
        described.append(known.reindex(labels.rename(key)).reset_index())
    return matrix.to_numpy(), described[0], described[1], notes


def control_matrix(
    table: pd.DataFrame,
    models: pd.Series[Any],
    rois: pd.Series[Any],
    *,
    feature: str,
    value: str,
    score: Score | None,
    subject: str | None,
) -> pd.DataFrame | None:
    """Return scores (M, R) of the untrained twins, NaN where there are none; None without any twin.

    See `score_matrix` for the arguments; ``"random_weights"`` has no control.
    """
    if "feature" not in table or feature == CONTROL or CONTROL not in set(table["feature"]):
        return None
    rows, _ = _selected(table[table["model"].isin(models)], CONTROL, score, subject)
    wide = rows.pivot_table(index="model", columns="roi", values=value, dropna=False)
    return wide.reindex(index=models, columns=rois)


def null_scores(
    nulls: pd.DataFrame | None, models: pd.Series[Any], rois: pd.Series[Any], value: str
) -> np.ndarray[Any, Any] | None:
    """Return scores (P, M, R) on moved responses, or None where some model or ROI has none.

    None also where models of one dataset were tested with other moves: another seed or number of draws.

    Args:
        nulls: see `RunResults.nulls`.
        models: whose.
        rois: where.
        value: ``"r2"`` or ``"r"``.
    """
    if nulls is None or nulls.empty:
        return None
    draws = nulls.set_index(["model", "roi"])["draws"].to_dict()
    if any((model, roi) not in draws for model in models for roi in rois):
        return None
    cells = [[draws[model, roi] for roi in rois] for model in models]
    known = nulls[nulls["model"].isin(models)]
    made = known.assign(count=known["draws"].map(len)).groupby("dataset")[["seed", "count"]].nunique()
    if (made > 1).any(axis=None):  # other moves on the same responses: their common noise is not in the null
        return None
    count = min(len(cell) for row in cells for cell in row)
    r = np.array([[cell[:count] for cell in row] for row in cells], dtype=float).transpose(2, 0, 1)
    if not np.isfinite(r).all():
        return None
    return r if value == "r" else np.maximum(r, 0) ** 2


def count_once(
    values: np.ndarray[Any, Any], models: pd.DataFrame
) -> tuple[np.ndarray[Any, Any], pd.DataFrame, list[str]]:
    """Leave out models that are another one of the table under a second name, and note them.

    A model counts as another one if both met one dataset with the same weights, or with bit-identical scores.
    Tests between groups take models for independent: a network that counts twice looks like two that agree.
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


def check_table(name: str, table: pd.DataFrame, key: str) -> pd.DataFrame:
    """Return a copy of `table`, rows numbered, after checking that its column `key` names each row once."""
    if key not in table.columns:
        raise InputError(f"{name} must have the column {key!r}, got {list(table.columns)}.")
    repeated = table[key][table[key].duplicated()].unique().tolist()
    if repeated:
        raise InputError(f"{name} must name each {key} once, got {repeated[:5]} more than once.")
    if table[key].isna().any():
        raise InputError(f"{name} must have no missing entry in {key!r}: fill them or drop the rows.")
    return table.reset_index(drop=True)


def check_groups(models: pd.DataFrame, group_by: str, name: str = "group_by") -> None:
    """Raise unless a column of the models table names a group for every model; `name` is the argument."""
    if group_by not in models.columns:
        raise InputError(
            f"{name} must be a column of the models table, got {group_by!r}."
            f"{nearest(str(group_by), map(str, models.columns))} There are {list(models.columns)}; columns "
            "of your own come by `table` of NFAS.from_runs, or `--table`."
        )
    blank = models["model"][models[group_by].isna()].tolist()
    if blank:
        raise InputError(
            f"{name}={group_by!r} must say of every model which group it is in, but is blank for "
            f"{len(blank)} of {len(models)}, such as {blank[:3]}: fill them in, or leave them out with "
            f'where="{group_by}.notna()".'
        )


def check_numbered(models: pd.DataFrame, rois: pd.Series[Any]) -> None:
    """Raise where models of several datasets meet at ROIs that an `ArrayDataModule` has numbered."""
    datasets = sorted(models["dataset"].astype(str).unique()) if "dataset" in models else []
    if len(datasets) > 1 and rois.astype(str).str.fullmatch(r"roi_\d{3,}").all():
        raise InputError(
            f"Models of several datasets ({', '.join(datasets)}) are joined on the names of their ROIs, and "
            f"{', '.join(rois[:3])} are numbers, which in each are other regions. Name the ROIs of each "
            "dataset, ArrayDataModule(..., rois=[...]); or, where these are names, pass rois=."
        )


def check_names(scores: pd.DataFrame, models: pd.Series[Any], rois: pd.Series[Any]) -> None:
    """Raise unless a table of scores is labeled as the models and ROIs are, in their order."""
    pairs = [("columns", scores.columns, rois)]
    if not isinstance(scores.index, pd.RangeIndex):
        pairs.append(("rows", scores.index, models))
    for axis, got, expected in pairs:
        wrong = np.flatnonzero(np.asarray(got, dtype=object) != np.asarray(expected, dtype=object))
        if len(wrong):
            at = int(wrong[0])
            raise InputError(
                f"The {axis} of scores must be labeled as their table, in its order: at {at} expected "
                f"{expected.iloc[at]!r}, got {got[at]!r}. Reindex by name first."
            )


def check_range(scores: torch.Tensor, value: str) -> None:
    """Raise where scores called r2 are no squared correlations, or those called r no correlations."""
    low = {"r2": 0.0, "r": -1.0}.get(value.split("_")[0])
    if low is None:
        return
    outside = (scores < low - 1e-6) | (scores > 1 + 1e-6)  # for more than rounding
    if bool(outside.any()):
        what, other = ("squared correlations", "r") if low == 0 else ("correlations", "r2")
        raise InputError(
            f"scores of value={value!r} must be {what} in [{low:g}, 1], got {int(outside.sum())} of "
            f"{scores.numel()} outside, from {float(scores.min()):g} to {float(scores.max()):g}. Divide "
            "percent by 100; a coefficient of determination below 0 explains nothing: write 0; or pass "
            f"value={other!r}."
        )


def _selected(
    table: pd.DataFrame, feature: str, score: Score | None, subject: str | None
) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows that stand for each model, and notes on scores that are not the group's."""
    rows = table
    if "feature" in rows.columns:
        rows = rows[rows["feature"] == feature]
        if rows.empty:
            there = sorted(table["feature"].unique())
            raise InputError(f"feature must be one of the table's {there}, got {feature!r}.")
    # before subjects are averaged too, which would hide a model that was scored twice
    _check_once(rows, [name for name in ("model", "roi", "subject") if name in rows.columns])
    shown = reported(subject_scores(rows, subject), score)
    _check_once(shown, ["model", "roi"])
    notes: list[str] = []
    if "subject" not in shown.columns:
        return shown, notes
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
    return shown, notes


def _check_once(rows: pd.DataFrame, keys: list[str]) -> None:
    twice = rows[rows.duplicated(keys)]
    if len(twice):
        first = twice.iloc[0]
        raise InputError(
            f"Each model must be scored once at an ROI, got {first['model']!r} at {first['roi']!r} more than "
            "once: a model run on several benchmarks needs a space per benchmark."
        )


def _axis_difference(scored: pd.DataFrame) -> str:
    incomplete = scored[~scored.all(axis=1)]
    lacks = scored.columns[~incomplete.iloc[0]].tolist()
    shown = ", ".join(map(repr, lacks[:3])) + (", ..." if len(lacks) > 3 else "")
    return (
        f"Every model must be scored at the same ROIs, but {len(incomplete)} of {len(scored)} models lack "
        f"some: {incomplete.index[0]!r} lacks {len(lacks)} of {scored.shape[1]} ({shown}). Build a space per "
        f"benchmark, or pass axis='intersection' to keep the {scored.all().sum()} ROIs they share."
    )
