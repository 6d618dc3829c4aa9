"""What the interactive part of report.html draws from: one plain structure, written into the page once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from nfas_lightning.functional.embedding import distances, mds, pca
from nfas_lightning.plotting.brain import disc_radius, has_coordinates, hemisphere, vertex_rois
from nfas_lightning.plotting.dynamics import conjugates
from nfas_lightning.plotting.score_tables import mean_r2, model_order, reported_number
from nfas_lightning.plotting.style import SEQUENTIAL, SYMBOLS, group_styles, human
from nfas_lightning.results import (
    FEATURES,
    SCORES,
    RunResults,
    SpaceStatistics,
    compare_models,
    group_words,
    reported,
    subject_scores,
    tells_apart,
)

__all__ = ["report_data"]

_NUMBERS = {"alone": "alone", "joint": "with the nuisances", "partial": "added to the nuisances"}
_SHOWN = ("r", "r2", "r_low", "r_high", "r2_low", "r2_high", "q")  # where they are known
_MOST_CELLS = 1_500_000  # of models x ROIs x features x numbers: some four megabytes of the page


def report_data(
    results: RunResults | None, statistics: SpaceStatistics, *, feature: str = "stable_mode"
) -> dict[str, Any]:
    """Return models, scores, spaces, dynamics and brain of a run, ready for JSON; NaN is None.

    Args:
        results: tables of the run; None: the models' places alone.
        statistics: of the space.
        feature: the one whose scores place the models in `statistics`.

    Returns:
        ``models`` (one mapping per model), ``groups`` (color and marker), ``rois``, ``scores`` (by feature
        and number, models x ROIs of ``r`` and ``r2``), ``intervals`` (of means), ``spaces`` (by feature,
        number and value: the models' places by level, by pattern and by correlation distance), ``spectra``
        and ``depth`` (one entry per model), ``maps`` (values of the space by ROI), ``surface`` (both
        hemispheres), and what is chosen when the page opens, ``start``.
    """
    models = _models(results, statistics)
    styles = group_styles(models["group"])
    data: dict[str, Any] = {
        "models": _records(models),
        "groups": {name: {"color": s.color, "symbol": SYMBOLS[s.marker]} for name, s in styles.items()},
        "words": group_words(statistics.group_by),
        "tested": bool(statistics.permanova),
        "colors": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in _steps(SEQUENTIAL, 9)],
        "start": {"feature": feature, "number": "alone", "value": statistics.value, "place": "level"},
        "rois": [], "features": [], "numbers": [], "scores": {}, "intervals": {}, "spaces": {},
        "spectra": [], "depth": [], "maps": [], "surface": None,
    }  # fmt: skip
    if results is None:
        data["spaces"][f"{feature} alone {statistics.value}"] = _tested(models["model"], statistics)
        return data
    rois = results.rois.drop_duplicates("roi").reset_index(drop=True)
    scores = subject_scores(results.scores)
    data |= _scores(scores, models, rois["roi"], first=feature)
    data["intervals"] = _intervals(results, models, data)
    data["rois"] = _rois(rois, scores)
    data["start"] |= {"feature": data["features"][0]["id"], "number": data["numbers"][0]["id"]}
    data["spaces"] = _spaces(data, models["model"], statistics)
    keys = list(zip(models["modality"], models["model"], strict=True))
    data["spectra"] = [_spectrum(results.spectra, *key) for key in keys]
    data["depth"] = [_depth(results.depth, *key) for key in keys]
    data["maps"] = list(_maps(results, statistics, rois))
    data["surface"] = _surface(rois) if has_coordinates(rois) else None
    return data


def _models(results: RunResults | None, statistics: SpaceStatistics) -> pd.DataFrame:
    """Return one row per model, with what a reader wants to know of it."""
    placed = statistics.coordinates[["model", "group"]].assign(group=lambda t: t["group"].astype(str))
    if len(statistics.silhouette_samples):
        placed = placed.merge(statistics.silhouette_samples[["model", "silhouette"]], on="model", how="left")
    if results is None:
        return placed.assign(modality=placed["group"])
    order = pd.DataFrame(model_order(results.scores), columns=["modality", "model"])
    cards = results.models.drop_duplicates(["modality", "model"])
    known = ("family", "dataset", "source", "license", "parameters", "objective", "note", "n_blocks")
    cards = cards[["modality", "model", *(name for name in known if name in cards)]]
    table = order.merge(cards, on=["modality", "model"], how="left").merge(placed, on="model", how="left")
    table["group"] = table["group"].fillna(table["modality"].astype(str))
    if "parameters" in table:
        table["size"] = [human(count) for count in table["parameters"]]
    return table


def _scores(
    scores: pd.DataFrame, models: pd.DataFrame, rois: pd.Series[Any], *, first: str
) -> dict[str, Any]:
    """Return features, numbers, and models x ROIs of each; a large page leaves out the last ones."""
    there = scores["feature"].unique().tolist()
    known = [*(name for name in FEATURES if name in there), *(name for name in there if name not in FEATURES)]
    features = sorted(known, key=lambda name: name != first)
    usual = reported(scores)
    main = reported_number(scores)
    numbers = [main, *(number for number in SCORES if number != main)] if tells_apart(scores) else [main]
    keys = pd.MultiIndex.from_frame(models[["modality", "model"]])
    found: dict[str, Any] = {}
    left = _MOST_CELLS // max(len(keys) * len(rois), 1)
    for number in numbers:
        shown = usual if number == main else reported(scores, number)
        for name in features:
            if (name == "nuisance" and number != main) or len(found) >= max(left, 1):
                continue
            part = shown[shown["feature"] == name]
            columns = [c for c in _SHOWN if c in part and part[c].notna().any()]
            wide = part.pivot_table(index=["modality", "model"], columns="roi", values=columns, dropna=False)
            found[f"{name} {number}"] = {
                column: _plain(wide[column].reindex(index=keys, columns=rois), 4) for column in columns
            }
    return {
        "scores": found,
        "features": [{"id": name, "name": FEATURES.get(name, name)} for name in features],
        "numbers": [{"id": number, "name": _NUMBERS[number]} for number in numbers],
    }


def _intervals(results: RunResults, models: pd.DataFrame, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return limits and letters of the models' mean scores, where draws are of the scores that are shown."""
    keys = pd.MultiIndex.from_frame(models[["modality", "model"]])
    number, found = data["numbers"][0]["id"], {}
    drawn = results.draws[["feature", "value"]].drop_duplicates().itertuples(index=False)
    for feature, value in drawn:
        shown = data["scores"].get(f"{feature} {number}", {}).get(value)
        if shown is None:
            continue
        own = results.draws[
            results.draws["feature"] == feature
        ]  # its differences from others are not shown here
        table = compare_models(own, feature=feature, value=value).means
        table = table.drop_duplicates(["modality", "model"]).set_index(["modality", "model"]).reindex(keys)
        means = pd.DataFrame(shown, dtype=float).mean(axis=1).to_numpy()
        table = table[np.isclose(table["mean"].to_numpy(float), means, atol=1e-3)].reindex(keys)
        if table["low"].notna().any():
            letters = [name if isinstance(name, str) else None for name in table["letters"]]
            limits = {end: _plain(table[end], 4) for end in ("low", "high")}
            found[f"{feature} {number} {value}"] = {**limits, "letters": letters}
    return found


def _rois(rois: pd.DataFrame, scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Return name, network, side and noise ceiling of each ROI."""
    ceiling = scores.groupby("roi")["ceiling"].mean() if "ceiling" in scores else pd.Series(dtype=float)
    known = [name for name in ("roi", "network", "hemisphere", "driven_by") if name in rois]
    return _records(rois[known].assign(ceiling=rois["roi"].map(ceiling)))


def _spaces(data: Mapping[str, Any], names: pd.Series[Any], statistics: SpaceStatistics) -> dict[str, Any]:
    """Return the models' places by feature, number and value, among them those that were tested."""
    if statistics.is_small:
        return {}
    placed = set(statistics.coordinates["model"])
    rows = [i for i, name in enumerate(names) if name in placed]
    found = {}
    for key, tables in data["scores"].items():
        for value in ("r", "r2"):
            if value in tables and len(rows) > 1:
                scores = np.array(tables[value], dtype=float)[rows]
                kept = scores[:, np.isfinite(scores).all(0)]
                if kept.shape[1] > 1:
                    found[f"{key} {value}"] = _places(kept, rows, len(names))
    start = data["start"]
    key = f"{start['feature']} {start['number']} {start['value']}"
    found[key] = found.get(key, {}) | _tested(names, statistics)
    return found


def _places(scores: np.ndarray, rows: list[int], n: int) -> dict[str, Any]:
    """Return x, y and shares of variance by level, by pattern and by correlation distance; see `NFAS`."""
    V = torch.from_numpy(scores)
    pattern = (V - V.mean(1, keepdim=True)) / V.std(1, keepdim=True)
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a feature that is the same for all models has no space: no places
        for name, points in (("level", V), ("pattern", pattern)):
            if bool(torch.isfinite(points).all()):
                result = pca(points, min(2, len(V) - 1, V.shape[1]))
                found[name] = (result.coordinates, result.explained)
        between = distances(V, "correlation")
        if len(V) > 2 and bool(torch.isfinite(between).all()):
            found["correlation"] = (mds(between, 2).coordinates, torch.full((2,), torch.nan))
    return {name: _place(points.numpy(), share.numpy(), rows, n) for name, (points, share) in found.items()}


def _place(points: np.ndarray, share: Any, rows: list[int], n: int) -> dict[str, Any]:
    whole = np.full((n, 2), np.nan)
    whole[rows, : points.shape[1]] = points
    if points.shape[1] == 1:
        whole[rows, 1] = 0.0
    x, y = _plain(whole.T, 5)
    return {"x": x, "y": y, "share": _plain(np.asarray(share, dtype=float), 4)}


def _tested(names: pd.Series[Any], statistics: SpaceStatistics) -> dict[str, Any]:
    """Return the places that the tests of the space were made on."""
    table = statistics.coordinates.drop_duplicates("model").set_index("model").reindex(names)
    rows = list(range(len(names)))
    own = "level" if statistics.standardize == "none" else "pattern"
    found = {own: _place(table[["PC1", "PC2"]].to_numpy(float), statistics.explained, rows, len(rows))}
    if "MDS1" in table and statistics.mds_metric == "correlation":
        points = table[["MDS1", "MDS2"]].to_numpy(float)
        found["correlation"] = _place(points, (np.nan, np.nan), rows, len(rows))
    return found


def _spectrum(spectra: pd.DataFrame, modality: str, model: str) -> dict[str, Any]:
    """Return a model's eigenvalues; ``kind`` is stable, conjugate (of the stable one) or other."""
    part = spectra[(spectra["modality"] == modality) & (spectra["model"] == model)]
    part = part.dropna(subset=["real", "imag"])
    twin, stable = conjugates(part), part["stable"].astype(bool).to_numpy()
    kind = np.where(twin, "conjugate", np.where(stable, "stable", "other")).tolist()
    return {"real": _plain(part["real"], 5), "imag": _plain(part["imag"], 5), "kind": kind}


def _depth(depth: pd.DataFrame, modality: str, model: str) -> dict[str, Any]:
    part = depth[(depth["modality"] == modality) & (depth["model"] == model)].sort_values("depth")
    numbers = {name: _plain(part[name], 4) for name in ("weight", "r")}
    return {"layer": part["layer"].astype(str).tolist(), "depth": _plain(part["depth"], 0), **numbers}


def _maps(results: RunResults, statistics: SpaceStatistics, rois: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield what has one value per ROI besides the models themselves."""
    means = mean_r2(results.scores).reindex(rois["roi"])
    for modality in means:
        yield {"name": f"mean r² of the {modality} models", "values": _plain(means[modality], 4)}
    if statistics.is_small:
        return
    for group, part in statistics.snci.groupby("group", sort=False):
        values = part.drop_duplicates("roi").set_index("roi")["bounded"].reindex(rois["roi"])
        if values.notna().any():
            yield {"name": f"SNCI of {group}, bounded", "values": _plain(values, 4), "top": 1}
    several = group_words(statistics.group_by)[1]
    for name, table, column in (
        (f"convergence over {several}", statistics.convergence, "convergence"),
        (f"where {several} differ: ANOVA, eta squared", statistics.anova, "eta_squared"),
    ):
        if len(table) and table[column].notna().any():
            values = table.drop_duplicates("roi").set_index("roi")[column].reindex(rois["roi"])
            yield {"name": name, "values": _plain(values, 4), "top": 1}


def _surface(rois: pd.DataFrame) -> dict[str, Any]:
    """Return both inflated hemispheres of fsaverage5, and the ROI that each vertex belongs to (-1: none)."""
    known = rois.dropna(subset=["x", "y", "z"])
    owners, n_discs = vertex_rois(known, disc_radius(known))
    place = np.array([*known.index, -1])  # of the page's ROIs
    sides = {}
    for side, owner in owners.items():
        mesh = hemisphere(side)
        sides[side] = {
            "points": np.round(mesh.inflated.T, 1).tolist(),
            "sulcus": mesh.sulcus.astype(int).tolist(),
            "owner": place[owner].tolist(),
        }
    reached = len(set(np.concatenate(list(owners.values())).tolist()) - {-1})
    return {
        "sides": sides, "faces": hemisphere("left").faces.T.tolist(), "reached": reached, "discs": n_discs,
    }  # fmt: skip


def _plain(values: Any, digits: int) -> Any:
    """Return numbers as nested lists in so many digits; what is not finite is None."""
    numbers = np.round(np.asarray(values, dtype=float), digits)
    plain = numbers.astype(object)
    plain[~np.isfinite(numbers)] = None
    return plain.tolist()


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as mappings, without what is not known."""
    return [
        {
            str(name): float(value) if isinstance(value, int | float | np.number) else str(value)
            for name, value in row.items()
            if not pd.isna(value) and value != ""
        }
        for row in table.to_dict("records")
    ]


def _steps(colors: Any, n: int) -> list[tuple[int, int, int]]:
    return [tuple(round(255 * c) for c in colors(i / (n - 1))[:3]) for i in range(n)]
