"""What report.html says in words and tables; report.py adds the figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from nfas_lightning.plotting import reading
from nfas_lightning.plotting.tables import (
    FEW_ROIS,
    baseline_table,
    human,
    model_order,
    number_rows,
    rivals_of,
    roi_scores,
    value_name,
)
from nfas_lightning.results import FEATURES, RunResults, SpaceStatistics, group_words

__all__ = ["contents", "page_context"]

_TOP_ROIS = 5  # of each group in the table of agreement


class _Cell(NamedTuple):
    text: str
    best: bool = False


class _Grid(NamedTuple):
    """A table of the page; columns from index `text` on hold numbers."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[_Cell]]
    text: int = 1


def page_context(
    results: RunResults | None, statistics: SpaceStatistics, *, simulated: bool, title: str | None
) -> dict[str, Any]:
    """Everything of the page that is not a figure."""
    datasets: dict[str, list[str]] = {}
    if results is not None:
        datasets = {
            str(name): sorted(part["dataset"].astype(str).unique())
            for name, part in results.scores.groupby("modality", sort=False)
        }
    small = results is not None and statistics.is_small
    few = results is not None and results.scores["roi"].nunique() <= FEW_ROIS
    return {
        "title": title or "Models as points in brain space",
        "simulated": simulated,
        "small": small,
        "groups": group_words(statistics.group_by),
        "headline": _unbroken(reading.headline(statistics, results)),
        "reading": reading.reading(statistics, simulated=simulated, datasets=datasets),
        "null_sentence": "" if results is None else reading.null_sentence(results.scores),
        "pairwise": _pairwise(statistics),
        "stability_sentences": reading.stability_sentences(statistics),
        "nearest": _nearest(statistics),
        "agreement": _agreement(statistics),
        "baselines": None if results is None else _baselines(results.scores),
        "baseline_sentences": [] if results is None else reading.baseline_sentences(results.scores),
        "roi_grid": _roi_grid(results.scores) if results is not None and (few or small) else None,
        "cards": None if results is None else _cards(results.models),
        "notes": [] if results is None else _notes(results, datasets),
        "settings": [] if results is None else list(_flatten(results.meta)),
        "limits": reading.limits(results, statistics, simulated=simulated),
    }


def contents(context: Mapping[str, Any], figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return id and name of the sections that this page has."""
    scores = {"baselines": ("Scores" if context["small"] else "Baselines", context["baselines"] is not None)}
    present = {
        **(scores if context["small"] else {}),  # without a space they come first
        "space": ("The space", not context["small"]),
        "agreement": ("SNCI", not context["small"]),
        "maps": ("Brain maps", bool(context["maps"])),
        "truth": ("Planted truth", "truth" in figures),
        "dynamics": ("Dynamics", "spectra" in figures or "depth" in figures),
        **scores,
        "models": ("Models", context["cards"] is not None),
        "run": ("What was run", bool(context["settings"] or context["notes"])),
        "limits": ("Limits", True),
    }
    return [(id_, name) for id_, (name, there) in present.items() if there]


def _pairwise(statistics: SpaceStatistics) -> _Grid | None:
    if statistics.pairwise.empty:
        return None
    rows = [
        [
            _Cell(f"{row.first} and {row.second}"),
            _number(row.statistic, 2),
            _probability(row.p_value),
            _probability(row.q_value),
        ]
        for row in statistics.pairwise.itertuples()
    ]
    return _Grid(
        f"PERMANOVA of each pair of {group_words(statistics.group_by)[1]}; q is p after FDR",
        ("pair", "pseudo-F", "p", "q"),
        rows,
    )


def _nearest(statistics: SpaceStatistics) -> _Grid | None:
    """Every model and its nearest neighbors, those of another group in bold."""
    table = statistics.nearest
    if table.empty:
        return None
    rows = [
        [_Cell(str(model)), _Cell(str(modality))]
        + [
            _Cell(f"{row.neighbor} ({row.distance:.2f})", best=row.neighbor_modality != modality)
            for row in part.itertuples()
        ]
        for (model, modality), part in table.groupby(["model", "modality"], sort=False)
    ]
    most = int(table["rank"].max())
    names = ("model", statistics.group_by, *("nearest", "second", "third", "fourth", "fifth")[:most])
    caption = "The nearest models and their distance; one of another group is bold"
    return _Grid(caption, names, rows, text=len(names))


def _agreement(statistics: SpaceStatistics) -> _Grid | None:
    """The ROIs of each group whose SNCI is surest: by the lower end of its interval."""
    table = statistics.snci
    if "bounded_low" not in table or table["bounded_low"].isna().all():
        return None
    best = table.sort_values("bounded_low", ascending=False, kind="stable").groupby("modality", sort=True)
    rows = []
    for row in best.head(_TOP_ROIS).sort_values("modality", kind="stable").to_dict("records"):
        limits = f"{_number(row['ratio_low'], 2).text} to {_number(row['ratio_high'], 2).text}"
        rows.append(
            [
                *(_Cell(_text(row[key])) for key in ("modality", "roi", "network")),
                _number(row["ratio"], 2), _Cell(limits), _number(row["bounded"], 2),
                _probability(row.get("p_value")), _probability(row.get("q_value")),
            ]
        )  # fmt: skip
    caption = f"The {_TOP_ROIS} ROIs of each {statistics.group_by} with the highest lower limit of SNCI"
    names = (statistics.group_by, "ROI", "network", "SNCI", "95 % interval", "bounded", "p", "q")
    return _Grid(caption, names, rows, text=3)


def _baselines(scores: pd.DataFrame) -> _Grid:
    table = baseline_table(scores)
    numbers, rows = number_rows(scores), []
    for (modality, model), (_, row) in zip(table.index, table.iterrows(), strict=True):
        for label, number in numbers.get((modality, model), {"": row}).items():
            values = number.reindex(table.columns)
            name = f"{model}, {label}" if label else str(model)
            cells = [_number(value, best=value == values.max()) for value in values]
            rows.append([_Cell(name), _Cell(str(modality)), *cells])
    rivals = rivals_of(scores, [str(name) for name in table])
    means = table.groupby(level="modality", sort=False).mean()
    rows += [
        [
            _Cell(f"mean of {modality}"),
            _Cell(str(modality)),
            *(_number(value, best=value == row[rivals].max()) for value in row),
        ]
        for modality, row in means.iterrows()
    ]
    caption = f"{value_name(scores)}, mean over ROIs. The best feature of a row is bold, whichever it is."
    if numbers:
        caption += (
            " Alone: the feature; joint: with the nuisances; partial: what it adds to them. The nuisances "
            "have but one number, what they predict alone; it stands in the means too."
        )
    return _Grid(
        caption, ("model", "modality", *(FEATURES.get(str(name), str(name)) for name in table)), rows, text=2
    )


def _roi_grid(scores: pd.DataFrame) -> _Grid:
    features = list(baseline_table(scores).columns)
    rivals = rivals_of(scores, features)
    rows, count = [], scores["roi"].nunique()
    for modality, model in model_order(scores):
        table = roi_scores(scores, model, modality)
        if count > FEW_ROIS and "stable_mode" in table:
            table = table.nlargest(FEW_ROIS, "stable_mode")
        for roi, row in table.iterrows():
            values = row.reindex(features)
            cells = [_number(value, best=value == values[rivals].max()) for value in values]
            rows.append(
                [
                    _Cell(model),
                    _Cell(str(roi)),
                    *cells,
                    *(_probability(row[name]) for name in ("p", "q")),
                    _number(row["ceiling"]),
                ]
            )
    names = (*(FEATURES.get(name, name) for name in features), "null p", "q", "noise ceiling")
    caption = f"{value_name(scores)} by ROI; p, q and ceiling of the stable mode"
    if count > FEW_ROIS:
        caption += f". The {FEW_ROIS} of {count} ROIs with the highest r; scores.parquet has all"
    return _Grid(caption, ("model", "ROI", *names), rows, text=2)


def _cards(models: pd.DataFrame) -> _Grid:
    columns = (
        "model", "modality", "source", "license", "parameters", "blocks", "pooling", "state space",
        "eigenvalue", "to unit circle", "reconstruction error", "seconds (capture, scoring)",
    )  # fmt: skip
    rows = []
    for modality, name in model_order(models):
        for card in models[(models["model"] == name) & (models["modality"] == modality)].to_dict("records"):
            seconds = (
                f"{_number(card['seconds_capture'], 1).text}, {_number(card['seconds_scoring'], 1).text}"
            )
            rows.append(
                [
                    *(_Cell(_text(card[key])) for key in ("model", "modality", "source", "license")),
                    _Cell(human(card["parameters"])), _Cell(_text(card["n_blocks"])),
                    _Cell(_text(card["pooling"])), _Cell(_text(card["state_space"])),
                    _Cell(_complex(card["stable_real"], card["stable_imag"])),
                    _number(card["distance_to_unit_circle"]), _number(card["reconstruction_error"]),
                    _Cell(seconds),
                ]
            )  # fmt: skip
    return _Grid("The card of each model, its stable eigenvalue and what it cost", columns, rows, text=4)


def _notes(results: RunResults, datasets: Mapping[str, Sequence[str]]) -> list[str]:
    said = [f"{modality}: {', '.join(names)}" for modality, names in datasets.items()]
    volumes = results.scores.groupby("dataset", sort=False)["n_volumes"].max().dropna()
    said += [f"{dataset}: {int(count)} volumes or stimuli scored" for dataset, count in volumes.items()]
    cards = results.models[results.models["note"].notna() & (results.models["note"].astype(str) != "")]
    return said + [f"{row.model}: {row.note}" for row in cards.itertuples()]


def _flatten(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted names and texts of a nested mapping."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flatten(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for i, item in enumerate(value):
            yield from _flatten(item, f"{name}[{i}]")
    elif isinstance(value, list | tuple):
        yield name, ", ".join(map(str, value))
    else:
        yield name, str(value)


def _number(value: Any, digits: int = 3, *, best: bool = False) -> _Cell:
    known = value is not None and not pd.isna(value)
    return _Cell(f"{float(value):.{digits}f}" if known else "–", best=bool(known and best))


def _unbroken(text: str) -> str:
    """Keep a number on the line of its name."""
    return text.replace(" = ", "\u00a0=\u00a0").replace("p < ", "p\u00a0<\u00a0")


def _probability(value: Any) -> _Cell:
    """A p or q: never 0."""
    known = value is not None and not pd.isna(value)
    return _Cell("< 0.001") if known and value < 0.001 else _number(value)


def _text(value: Any) -> str:
    return "–" if value is None or pd.isna(value) or value == "" else str(value)


def _complex(real: Any, imag: Any) -> str:
    if pd.isna(real) or pd.isna(imag):
        return "–"
    return f"{real:.3f}" if abs(imag) < 5e-4 else f"{real:.3f} ± {abs(imag):.3f}i"
