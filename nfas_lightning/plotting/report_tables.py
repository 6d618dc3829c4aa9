"""The tables of report.html, as text; its template prints and escapes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nfas_lightning.plotting.modes import mode_table
from nfas_lightning.plotting.score_tables import (
    STATISTIC_NAMES,
    baseline_table,
    feature_rows,
    model_order,
    rivals_of,
    value_name,
)
from nfas_lightning.plotting.style import human
from nfas_lightning.results import FEATURES, Ranking, SpaceStatistics, group_words, tells_apart

__all__ = [
    "Grid", "agreement_grid", "baseline_grid", "card_grid", "controls_grid", "mode_grid", "nearest_grid",
    "pairwise_grid", "ranking_grids", "stability_grid",
]  # fmt: skip

_TOP_ROIS = 5  # of each group in the table of agreement


class Grid(NamedTuple):
    """A table of the page: cells as text, and whether each is bold; the first `text` columns are names.

    Not pandas' own HTML: `to_html` escapes bold cells too, or none, and `Styler` writes no scope of header
    cells, which screen readers need.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[tuple[str, bool]]]
    text: int


def pairwise_grid(statistics: SpaceStatistics) -> Grid | None:
    """Return the PERMANOVA of each pair of groups."""
    pairs = statistics.pairwise
    shown = pd.DataFrame(
        {"pair": pairs["first"] + " and " + pairs["second"], "pseudo-F": pairs["statistic"]}
    ).assign(p=pairs["p_value"], q=pairs["q_value"])
    groups = group_words(statistics.group_by)[1]
    return _grid(f"PERMANOVA of each pair of {groups}; q is p after FDR", shown, digits={"pseudo-F": 2})


def controls_grid(statistics: SpaceStatistics) -> Grid | None:
    """Return the statistics of the space beside those of the untrained twins."""
    table = statistics.controls
    if table.empty:
        return None
    shown = table.assign(statistic=table["statistic"].map(STATISTIC_NAMES)).rename(columns={"p_value": "p"})
    shown = shown[["statistic", "trained", "untrained", "difference", "p"]]
    return _grid("Trained networks beside their untrained twins; p of the difference", shown)


def nearest_grid(statistics: SpaceStatistics) -> Grid | None:
    """Return the nearest neighbors of every model, those of another group in bold."""
    table = statistics.nearest
    if table.empty:
        return None
    rows, other = [], []
    for model, part in table.groupby("model", sort=False):
        texts = (f"{row.neighbor} ({row.distance:.2f})" for row in part.itertuples())
        rows.append((model, part["group"].iloc[0], *texts))
        other.append((part["neighbor_group"] != part["group"]).tolist())
    ranks = ["nearest", "second", "third", "fourth", "fifth"][: int(table["rank"].max())]
    shown = pd.DataFrame(rows, columns=["model", statistics.group_by, *ranks])
    caption = "The nearest models and their distance; one of another group is bold"
    return _grid(caption, shown, text=2 + len(ranks), best=pd.DataFrame(other, columns=ranks))


def stability_grid(statistics: SpaceStatistics) -> Grid | None:
    """Return the tests and maps without each model, those of largest effect first."""
    table = statistics.stability
    if table.empty:
        return None
    change = (table["permanova"] - statistics.permanova.get("statistic", np.nan)).abs()
    table = table.loc[change.sort_values(ascending=False).index].rename(
        columns={"group": statistics.group_by}
    )
    names = {"permanova": "pseudo-F", "p_value": "p", "snci": "SNCI map", "convergence": "convergence map"}
    shown = table[["model", statistics.group_by, "silhouette", *names]].rename(columns=names)
    caption = "Without one model: the tests, and the rank correlation of the maps with those of all models"
    return _grid(caption, shown, text=2, digits={"pseudo-F": 2})


def agreement_grid(statistics: SpaceStatistics) -> Grid | None:
    """Return the ROIs of each group whose SNCI is surest: by the lower end of its interval."""
    table = statistics.snci
    if "bounded_low" not in table or table["bounded_low"].isna().all():
        return None
    table = table.sort_values("bounded_low", ascending=False, kind="stable").groupby("group").head(_TOP_ROIS)
    table = table.sort_values("group", kind="stable")
    ends = zip(table["ratio_low"], table["ratio_high"], strict=True)
    shown = {
        statistics.group_by: table["group"],
        "ROI": table["roi"],
        "network": table["network"],
        "SNCI": table["ratio"],
        "95 % interval": [f"{_number(low, 2)} to {_number(high, 2)}" for low, high in ends],
        "bounded": table["bounded"],
        "p": table.get("p_value", np.nan),
        "q": table.get("q_value", np.nan),
    }
    caption = f"The {_TOP_ROIS} ROIs of each {statistics.group_by} with the highest lower limit of SNCI"
    return _grid(caption, pd.DataFrame(shown), text=3, digits={"SNCI": 2, "bounded": 2})


def mode_grid(modes: pd.DataFrame) -> Grid | None:
    """Return what modes of each kind explain of each network of regions, mean over models."""
    table = mode_table(modes)
    by_kind = table.pivot_table(index=["model", "network"], columns="kind", values="share", aggfunc="sum")
    shares = by_kind.fillna(0).groupby("network").mean()
    name = "r² of all modes"
    whole = table.groupby("network")["r2_whole"].mean().rename(name)
    shown = pd.concat([whole, shares], axis=1).sort_values(name, ascending=False)
    return _grid("Share of each kind of mode, mean over models", shown.rename_axis("network").reset_index())


def baseline_grid(scores: pd.DataFrame) -> Grid | None:
    """Return the mean over ROIs of every feature of every model, and of each modality's models."""
    table = baseline_table(scores)
    means = table.groupby(level="modality", sort=False).mean()
    rows: list[tuple[Any, ...]] = [
        (f"{model}, {label}" if label else model, modality, *values)
        for modality, model, label, values in feature_rows(scores)
    ]
    highest = [pd.Series(row[2:]).max() for row in rows]
    rows += [(f"mean of {modality}", modality, *row) for modality, row in means.iterrows()]
    highest += means[rivals_of(scores, table.columns.tolist())].max(axis=1).tolist()
    shown = pd.DataFrame(rows, columns=["model", "modality", *_feature_names(table)])
    caption = f"{value_name(scores)}, mean over ROIs. The best feature of each row is bold."
    if tells_apart(scores):
        caption += (
            " Alone: the feature; joint: with the nuisances; partial: what it adds to them. The nuisances "
            "have only one number, what they predict alone; it stands in the means too."
        )
    return _grid(caption, shown, text=2, best=shown.iloc[:, 2:].eq(highest, axis=0))


def ranking_grids(ranking: Ranking) -> list[Grid]:
    """Return the models' means with letters, and the difference of each pair, in bold where told apart."""
    means, pairs = ranking.means, ranking.pairs
    ends = [f"{row.low:.3f} to {row.high:.3f}" for row in means.itertuples()]
    first = {
        "model": means["model"], "letters": means["letters"], "dataset": means["dataset"],
        "mean": means["mean"], "95 % interval": ends,
    }  # fmt: skip
    second = {
        "better": pairs["first"], "other": pairs["second"], "difference": pairs["difference"],
        "95 % interval": [f"{row.low:+.3f} to {row.high:+.3f}" for row in pairs.itertuples()],
        "p": pairs["p_value"], "q": pairs["q_value"],
    }  # fmt: skip
    apart = pd.DataFrame({"difference": pairs["q_value"] < 0.05})
    names = [
        f"Mean {ranking.value} over ROIs; models that share a letter are not told apart",
        f"Mean {ranking.value} of each pair of models; q is p after FDR, bold below .05",
    ]
    grids = [
        _grid(names[0], pd.DataFrame(first), text=3),
        _grid(names[1], pd.DataFrame(second), text=2, best=apart),
    ]
    return [grid for grid in grids if grid]


def card_grid(models: pd.DataFrame) -> Grid | None:
    """Return the card of each model."""
    order = {pair: i for i, pair in enumerate(model_order(models))}
    pairs = zip(models["modality"], models["model"], strict=True)
    models = models.iloc[np.argsort([order[pair] for pair in pairs], kind="stable")]
    seconds = zip(models["seconds_capture"], models["seconds_scoring"], strict=True)
    known: dict[str, Any] = {
        "parameters": [human(count) for count in models["parameters"]],
        "blocks": models["n_blocks"].map(_text),
        "pooling": models["pooling"].map(_text),
        "state space": models["state_space"].map(_text),
        "eigenvalue": [*map(_complex, models["stable_real"], models["stable_imag"])],
        "to unit circle": models["distance_to_unit_circle"],
        "reconstruction error": models["reconstruction_error"],
        "seconds (capture, scoring)": [f"{_number(a, 1)}, {_number(b, 1)}" for a, b in seconds],
    }
    shown = models[["model", "modality", "source", "license"]].assign(**known)
    return _grid("The card of each model, its stable eigenvalue and its cost", shown, text=4)


def _grid(
    caption: str,
    table: pd.DataFrame,
    *,
    text: int = 1,
    digits: Mapping[str, int] | None = None,
    best: pd.DataFrame | None = None,
) -> Grid | None:
    """Return a table as text: p and q never 0, other numbers in three digits unless `digits` says more."""
    if table.empty:
        return None
    columns = []
    for i, (name, column) in enumerate(table.items()):
        if i < text:
            cells = [_text(value) for value in column]
        elif name in ("p", "q", "null p"):
            cells = ["< 0.001" if value < 0.001 else _number(value) for value in column]
        else:
            cells = [_number(value, (digits or {}).get(str(name), 3)) for value in column]
        bold = best[name] if best is not None and name in best else [False] * len(cells)
        columns.append([(cell, bool(is_best)) for cell, is_best in zip(cells, bold, strict=True)])
    return Grid(caption, [str(name) for name in table], list(zip(*columns, strict=True)), text)


def _feature_names(features: Any) -> list[str]:
    return [FEATURES.get(str(name), str(name)) for name in features]


def _number(value: Any, digits: int = 3) -> str:
    if isinstance(value, str):
        return value
    return "–" if value is None or pd.isna(value) else f"{float(value):.{digits}f}"


def _text(value: Any) -> str:
    return "–" if value is None or pd.isna(value) or value == "" else str(value)


def _complex(real: Any, imag: Any) -> str:
    if pd.isna(real) or pd.isna(imag):
        return "–"
    return f"{real:.3f}" if abs(imag) < 5e-4 else f"{real:.3f} ± {abs(imag):.3f}i"
