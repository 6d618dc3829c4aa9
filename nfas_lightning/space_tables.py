"""Tables into a space of models and out of it: the score matrix of a run, and `SpaceStatistics`."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from nfas_lightning.functional.labels import distinct_partitions
from nfas_lightning.results import SpaceStatistics

if TYPE_CHECKING:
    from nfas_lightning.space import NFAS

__all__ = ["check_names", "check_table", "score_matrix", "space_statistics"]


def score_matrix(
    table: pd.DataFrame, *, feature: str, value: str, subject: str, intersection: bool
) -> tuple[np.ndarray[Any, Any], pd.DataFrame, pd.DataFrame, list[str]]:
    """Turn a long scores table into (M, R) values, joined on ``roi``.

    Returns:
        The values, the models table, the ROI table (``roi`` and, where there, ``network``), and notes on what
        was left out.

    Raises:
        ValueError: nothing selected, a model scored twice at an ROI, or ROI axes that differ.
    """
    rows = _selected(table, feature, subject)
    if value not in rows.columns:
        raise ValueError(f"value must be a column of the scores table, got {value!r}: {list(rows.columns)}.")
    row, models = pd.factorize(rows["model"])
    column, rois = pd.factorize(rows["roi"])
    matrix = np.full((len(models), len(rois)), np.nan)
    matrix[row, column] = rows[value]
    scored = np.zeros(matrix.shape, dtype=bool)
    scored[row, column] = True
    shared: np.ndarray[Any, np.dtype[np.bool_]] = np.all(scored, axis=0)
    notes = []
    if not shared.all():
        if not intersection:
            raise ValueError(_axis_difference(scored, models, rois))
        notes.append(f"{(~shared).sum()} of {len(shared)} ROIs were not scored for every model and left out.")
    matrix, rois = matrix[:, shared], rois[shared]
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
    cards = rows[kept].drop_duplicates("model", ignore_index=True)
    described = rows[[c for c in ("roi", "network") if c in rows.columns]].drop_duplicates("roi")
    described = described[described["roi"].isin(rois)].reset_index(drop=True)
    return matrix[:, finite], cards, described, notes


def space_statistics(space: NFAS, *, n_permutations: int, seed: int) -> SpaceStatistics:
    """Compute the statistics of a space; what can't be computed stays empty, and the notes say why."""
    notes = list(space.notes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        coordinates, explained = _coordinates(space, notes)
        tested = _testable(space, notes)
        tests = _tests(tested, n_permutations, seed, notes) if tested else _NO_TESTS
        snci, convergence = _consistency(space, notes)
    # a degenerate ROI or model is part of the result: it belongs in the report, not only on the console
    notes.extend(dict.fromkeys(str(item.message) for item in caught))
    return SpaceStatistics(
        coordinates=coordinates,
        explained=explained,
        snci=snci,
        convergence=convergence,
        notes=tuple(notes),
        **tests,
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
    """Raise unless a table of scores is labelled as the models and ROIs are, in their order."""
    pairs = [("columns", scores.columns, rois)]
    if not isinstance(scores.index, pd.RangeIndex):
        pairs.append(("rows", scores.index, models))
    for axis, got, expected in pairs:
        wrong = np.flatnonzero(np.asarray(got, dtype=object) != np.asarray(expected, dtype=object))
        if len(wrong):
            at = int(wrong[0])
            raise ValueError(
                f"The {axis} of scores must be labelled as their table, in its order: at {at} expected "
                f"{expected.iloc[at]!r}, got {got[at]!r}. Reindex by name first."
            )


def _selected(table: pd.DataFrame, feature: str, subject: str) -> pd.DataFrame:
    rows = table
    for column, wanted in (("feature", feature), ("subject", subject)):
        if column in rows.columns:
            there = sorted(rows[column].unique())
            rows = rows[rows[column] == wanted]
            if rows.empty:
                raise ValueError(f"{column} must be one of the table's {there}, got {wanted!r}.")
    twice = rows[rows.duplicated(["model", "roi"])]
    if len(twice):
        first = twice.iloc[0]
        raise ValueError(
            f"Each model must be scored once at an ROI, got {first['model']!r} at {first['roi']!r} more than "
            "once: a model run on several benchmarks needs a space per benchmark."
        )
    return rows


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


_NO_TESTS: dict[str, Any] = {
    "permanova": {},
    "permdisp": {},
    "silhouette": {},
    "pairwise": pd.DataFrame(columns=["first", "second", "statistic", "p_value", "q_value"]),
    "silhouette_samples": pd.DataFrame(columns=["model", "modality", "silhouette"]),
    "anova": pd.DataFrame(columns=["roi", "network", "statistic", "p_value", "q_value", "eta_squared"]),
}


def _coordinates(space: NFAS, notes: list[str]) -> tuple[pd.DataFrame, tuple[float, float]]:
    points, shares = np.zeros((len(space), 2)), [float("nan")] * 2
    if len(space) < 2:
        notes.append("One model spans no plane: its coordinates are zero.")
    else:
        result = space.pca(2)
        k = result.coordinates.shape[1]
        points[:, :k] = result.coordinates.numpy()
        shares[:] = [*result.explained.tolist(), 0.0][:2]
    table = space.models[["model", "modality"]].assign(PC1=points[:, 0], PC2=points[:, 1])
    return table, (shares[0], shares[1])


def _testable(space: NFAS, notes: list[str]) -> NFAS | None:
    """Return the space of modalities with two models or more, None where fewer than two such are left."""
    counts = space.models["modality"].value_counts()
    single = sorted(counts.index[counts < 2])
    if (counts >= 2).sum() < 2:
        notes.append(
            "PERMANOVA, PERMDISP, silhouette and ANOVA need two modalities of two models, got "
            f"{counts.sort_index().to_dict()}: they are left out."
        )
        return None
    if single:
        notes.append(f"{', '.join(single)}: one model each, left out of the tests between modalities.")
        space = space.select((~space.models["modality"].isin(single)).tolist())
    if not bool(torch.isfinite(space.distances()).all()):
        notes.append(
            f"Some {space.metric} distances are undefined: the tests between modalities are left out."
        )
        return None
    return space


def _tests(space: NFAS, n_permutations: int, seed: int, notes: list[str]) -> dict[str, Any]:
    floor = 1 / distinct_partitions(torch.tensor(space.models["modality"].value_counts().to_numpy()))
    if floor > 0.01:
        notes.append(f"With so few models no permutation p of the grouping can fall below {floor:.2g}.")
    place = space.permanova(n_permutations=n_permutations, seed=seed)
    spread = space.permdisp(n_permutations=n_permutations, seed=seed)
    silhouette = space.silhouette(n_permutations=n_permutations, seed=seed)
    pairs = space.permanova_pairwise(n_permutations=n_permutations, seed=seed)
    tests: dict[str, Any] = {
        "permanova": {"statistic": float(place.statistic), "p_value": float(place.p_value)},
        "permdisp": {"statistic": float(spread.statistic), "p_value": float(spread.p_value)},
        "silhouette": {"statistic": float(silhouette.statistic), "p_value": float(silhouette.p_value)},
    }
    tests["pairwise"] = pd.DataFrame(
        {
            "first": [first for first, _ in pairs.pairs],
            "second": [second for _, second in pairs.pairs],
            "statistic": pairs.statistic.numpy(),
            "p_value": pairs.p_value.numpy(),
            "q_value": pairs.q_value.numpy(),
        }
    )
    tests["silhouette_samples"] = space.models[["model", "modality"]].assign(
        silhouette=silhouette.samples.numpy()
    )
    columns = {name: column.numpy() for name, column in space.anova()._asdict().items()}
    tests["anova"] = _rois(space).assign(**columns)
    return tests


def _consistency(space: NFAS, notes: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    ratio = space.snci("ratio")
    bounded = space.snci("bounded")
    tables = [
        _rois(space).assign(ratio=ratio[g].numpy(), bounded=bounded[g].numpy()).assign(modality=name)
        for g, name in enumerate(space.modalities)
    ]
    snci = pd.concat(tables, ignore_index=True)[["modality", "roi", "network", "ratio", "bounded"]]
    if space.value != "r2" and bool((ratio < 0).any()):
        notes.append(
            "Some modalities score below zero on average: bounded SNCI and convergence ignore the sign."
        )
    if len(space.modalities) < 2:
        notes.append("Convergence needs two modalities, got one: it is left out.")
        return snci, pd.DataFrame(columns=["roi", "network", "convergence"])
    return snci, _rois(space).assign(convergence=bounded.amin(0).numpy())


def _rois(space: NFAS) -> pd.DataFrame:
    network = space.rois["network"] if "network" in space.rois.columns else ""
    return space.rois[["roi"]].assign(network=network)
