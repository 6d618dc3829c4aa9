"""The sections of report.html below its models and its brain: sentences, charts and tables.

To add one, write a function of the results and the statistics that returns a `Section`, or None where they
hold nothing for it, and name it in `SECTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from nfas_lightning.functional.paired import paired_test
from nfas_lightning.functional.snci import snci_noise
from nfas_lightning.plotting import reading, report_tables
from nfas_lightning.plotting.baselines import has_truth, planted_groups
from nfas_lightning.plotting.modes import mode_traces
from nfas_lightning.plotting.report_tables import Grid
from nfas_lightning.plotting.score_tables import gain_table, mean_r2, network_or_roi
from nfas_lightning.plotting.style import SYMBOLS, GroupStyle, format_p, group_styles
from nfas_lightning.results import FEATURES, Ranking, RunResults, SpaceStatistics, group_words

__all__ = ["SECTIONS", "Chart", "Section", "report_sections"]

_MOST_ROWS = 30  # of a chart of networks or ROIs
_MOST_MAPS = 6  # models whose blocks are drawn by lag


class Chart(NamedTuple):
    """A chart of the page, as Plotly takes it.

    The colors ``"@ink"``, ``"@muted"`` and ``"@line"`` follow the page's light or dark look. A point whose
    ``customdata`` is a model's name selects that model.

    Attributes:
        title: said to screen readers too.
        data: traces: scatter, bar, heatmap.
        layout: axes, shapes and annotations; fonts, colors and margins come from the page.
        caption: a sentence or two under it.
        height: pixels.
    """

    title: str
    data: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    caption: str = ""
    height: int = 380


class Section(NamedTuple):
    """A section of the page.

    Attributes:
        id: of its heading, in links.
        title: its heading.
        text: sentences.
        charts: drawn where scripts run.
        tables: always there, sorted and filtered where scripts run.
        folded: tables that open on a click.
    """

    id: str
    title: str
    text: Sequence[str] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Grid] = ()
    folded: Sequence[Grid] = ()


def report_sections(results: RunResults | None, statistics: SpaceStatistics) -> list[Section]:
    """Return the sections that a run and its space can fill, in the order of `SECTIONS`."""
    made = (section(results, statistics) for section in SECTIONS)
    return [section for section in made if section is not None]


def _baselines(results: RunResults | None, statistics: SpaceStatistics) -> Section | None:
    """Return the stable mode beside its baselines: the difference to each, per model and on average."""
    if results is None:
        return None
    gains, grid = gain_table(results.scores), report_tables.baseline_grid(results.scores)
    charts = [_gain_chart(gains)] if gains.shape[1] else []
    text = reading.baseline_sentences(results.scores)
    return Section("baselines", "The stable mode and its baselines", text, charts, [grid] if grid else [])


def _gain_chart(gains: pd.DataFrame) -> Chart:
    """Draw one row per baseline: a dot per model, and the mean with its 95 % interval over models."""
    names = [FEATURES.get(str(name), str(name)) for name in gains][::-1]
    styles = group_styles(gains.index.get_level_values("modality"))
    traces: list[dict[str, Any]] = []
    for modality, style in styles.items():
        own = gains.xs(modality, level="modality")
        for row, name in enumerate(gains.columns[::-1]):
            part = own[name].dropna()
            traces.append(
                _dots(part.to_numpy(), row + _jitter(len(part), 0.16), style, str(modality), row == 0)
                | {
                    "text": [f"{model}: {x:+.3f}" for model, x in part.items()],
                    "customdata": list(part.index),
                }
            )
    tests = [paired_test(torch.tensor(list(gains[name].dropna()))) for name in gains.columns[::-1]]
    traces.append(
        {
            "type": "scatter", "mode": "markers", "name": "mean, 95 % interval", "hoverinfo": "text",
            "x": _list([test.mean for test in tests]), "y": [row - 0.3 for row in range(len(names))],
            "error_x": {
                "type": "data", "array": _list([np.nan_to_num(test.high - test.mean) for test in tests]),
                "color": "@ink", "thickness": 2.5, "width": 6,
            },
            "marker": {"color": "@ink", "size": 10, "symbol": "diamond"},
            "text": [
                f"{name}: {test.mean:+.3f} ({test.low:+.3f} to {test.high:+.3f}), p = {test.p_value:.3f}"
                for name, test in zip(names, tests, strict=True)
            ],
        }
    )  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": "r of the stable mode minus r of the baseline, mean over ROIs"}},
        "yaxis": {"tickvals": list(range(len(names))), "ticktext": names, "range": [-0.7, len(names) - 0.4]},
    }  # fmt: skip
    caption = (
        "One dot per model; right of zero the stable mode is higher. Intervals treat models as independent."
    )
    return Chart(
        "What the stable mode gains over each baseline", traces, layout, caption, 130 + 58 * len(names)
    )


def _ranking(results: RunResults | None, statistics: SpaceStatistics) -> Section | None:
    """Return which model is better, and how sure."""
    ranking = None if results is None else results.ranking()
    if ranking is None or ranking.pairs.empty:
        return None
    means, pairs = report_tables.ranking_grids(ranking)
    text = [ranking.scope, *ranking.notes]
    title = "Which model is better, and how sure"
    return Section("ranking", title, text, [_ranking_chart(ranking)], [means], [pairs])


def _ranking_chart(ranking: Ranking) -> Chart:
    """Draw one row per model: its mean with the interval, and its letters."""
    table = ranking.means[::-1].assign(row=range(len(ranking.means)))
    traces = []
    for modality, style in group_styles(table["modality"]).items():
        own = table[table["modality"] == modality]
        spread = {
            "type": "data", "symmetric": False, "array": _list(own["high"] - own["mean"]),
            "arrayminus": _list(own["mean"] - own["low"]), "color": style.color, "thickness": 2,
        }  # fmt: skip
        texts = [
            f"{row.model}: {row.mean:.3f} ({row.low:.3f} to {row.high:.3f}), {row.letters}"
            for row in own.itertuples()
        ]
        trace = _dots(own["mean"], own["row"], style, str(modality), True)
        traces.append(trace | {"error_x": spread, "text": texts, "customdata": list(own["model"])})
    names = [f"{row.model}  {row.letters}" for row in table.itertuples()]
    layout = {
        "xaxis": {"title": {"text": f"{ranking.value}, mean over ROIs, with its 95 % interval"}},
        "yaxis": {"tickvals": list(range(len(names))), "ticktext": names, "range": [-0.7, len(names) - 0.3]},
    }
    caption = "Models that share a letter are not told apart: q of their difference is .05 or more."
    return Chart("Models by their mean score", traces, layout, caption, 130 + 26 * len(names))


def _agreement(results: RunResults | None, statistics: SpaceStatistics) -> Section | None:
    if statistics.is_small:
        return None
    one, several = group_words(statistics.group_by)
    text = [
        f"SNCI is the mean of a ROI's scores over the models of a {one}, divided by their standard "
        "deviation; its bounded form lies between 0 and 1. Convergence is the smallest bounded SNCI over "
        f"{several}."
    ]
    table = statistics.snci[np.isfinite(statistics.snci["bounded"].astype(float))]
    if table.empty:
        text.append(f"Not computed: no {one} has two models or more.")
    grid = report_tables.agreement_grid(statistics)
    charts = [] if table.empty else [_snci_chart(table, statistics)]
    return Section("agreement", "SNCI: where models agree", text, charts, [grid] if grid else [])


def _snci_chart(table: pd.DataFrame, statistics: SpaceStatistics) -> Chart:
    """Draw the median bounded SNCI of each network and group; hollow where noise reaches as much."""
    table = table.assign(row=network_or_roi(table))
    order = table.groupby("row")["bounded"].median().sort_values(ascending=False)
    rows = order.index[:_MOST_ROWS].tolist()[::-1]
    sizes = statistics.coordinates["group"].value_counts()
    styles = group_styles(table["group"].astype(str), among=sizes.index)
    shifts = np.linspace(0.24, -0.24, len(styles)) if len(styles) > 1 else [0.0]
    traces, shapes = [], []
    for (group, style), shift in zip(styles.items(), shifts, strict=True):
        noise = snci_noise(int(sizes[group]), value=statistics.value)
        by_row = table[table["group"] == group].groupby("row")["bounded"]
        low, middle, high = (by_row.quantile(share).reindex(rows) for share in (0.25, 0.5, 0.75))
        counts = by_row.size().reindex(rows).fillna(0)
        traces.append(
            _dots(middle, np.arange(len(rows)) + shift, style, str(group), True)
            | {
                "text": [
                    f"{row}, {group}: {m:.2f}, median of {n:.0f} ROIs{'' if m > noise else ', like noise'}"
                    for row, m, n in zip(rows, middle, counts, strict=True)
                ],
                "error_x": {
                    "type": "data", "symmetric": False, "array": _list(high - middle),
                    "arrayminus": _list(middle - low), "color": style.color, "thickness": 2, "width": 0,
                },
            }
        )  # fmt: skip
        traces[-1]["marker"] |= {
            "symbol": [_symbol(style) + ("" if value > noise else "-open") for value in middle], "size": 10,
        }  # fmt: skip
        shapes.append(
            {
                "type": "line", "x0": noise, "x1": noise, "y0": 0, "y1": 1, "yref": "paper",
                "line": {"color": style.color, "dash": "dot", "width": 1.5},
            }
        )  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": "bounded SNCI"}, "range": [-0.02, 1.02]},
        "yaxis": {"tickvals": list(range(len(rows))), "ticktext": rows, "range": [-0.7, len(rows) - 0.3]},
        "shapes": shapes,
    }
    count = f" The {_MOST_ROWS} highest of {len(order)}." if len(order) > _MOST_ROWS else ""
    caption = (
        "Point: median over a network's ROIs; bar: the middle half of them. Dotted: what 95 % of pure noise "
        f"stays under, given as many models; hollow points lie below it.{count}"
    )
    return Chart(
        "Bounded SNCI by network", traces, layout, caption, 130 + max(30, 13 * len(styles)) * len(rows)
    )


def _truth(results: RunResults | None, statistics: SpaceStatistics) -> Section | None:
    if results is None or not has_truth(results.rois):
        return None
    recovered = mean_r2(results.scores)
    traces: list[dict[str, Any]] = []
    names: list[str] = []
    for modality, style in group_styles(recovered.columns.astype(str)).items():
        for label, mask in planted_groups(results.rois, modality).items():
            part = recovered[modality].reindex(mask.index[mask]).dropna()
            if part.empty:
                continue
            row = len(names)
            names.append(f"{modality} models: {label.replace(chr(10), ' ')} ({len(part)})")
            traces.append(
                _dots(
                    part.to_numpy(),
                    row + _jitter(len(part), 0.25),
                    style,
                    modality,
                    label.startswith(modality),
                )
                | {"text": [f"{roi}: {value:.3f}" for roi, value in part.items()]}
            )
            traces.append(
                {
                    "type": "scatter", "mode": "markers", "x": [float(part.median())], "y": [row],
                    "marker": {"symbol": "line-ns-open", "color": "@ink", "size": 22, "line": {"width": 3}},
                    "hoverinfo": "text", "text": [f"median {part.median():.3f}"], "showlegend": False,
                }
            )  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": "recovered: mean r² over models"}},
        "yaxis": {"tickvals": list(range(len(names))), "ticktext": names, "autorange": "reversed"},
    }
    caption = "One dot per ROI; lines are medians; in brackets the number of ROIs."
    chart = Chart("Planted truth and recovered scores", traces, layout, caption, 120 + 34 * len(names))
    return Section("truth", "Planted truth and recovered scores", charts=[chart])


def _tests(results: RunResults | None, statistics: SpaceStatistics) -> Section:
    """Return the tests of clusters, and what they become without one model."""
    if statistics.is_small:
        return Section("tests", "Tests of the space", reading.reading(statistics))
    shown = [report_tables.controls_grid(statistics), report_tables.pairwise_grid(statistics)]
    folded = [report_tables.nearest_grid(statistics), report_tables.stability_grid(statistics)]
    text = [*reading.reading(statistics), *reading.stability_sentences(statistics)]
    kept, more = ([grid for grid in grids if grid] for grids in (shown, folded))
    return Section("tests", "Tests of the space", text, (), kept, more)


def _time(results: RunResults | None, statistics: SpaceStatistics) -> Section | None:
    """Return each block by lag, and how much later late blocks predict best."""
    if results is None or results.lags.empty:
        return None
    charts: list[Chart] = []
    text: list[str] = []
    for card in results.models.to_dict("records"):
        own = results.lags[results.lags["model"] == card["model"]]
        blocks = own[own["feature"] == "block"]
        if blocks.empty or len(charts) == _MOST_MAPS:
            continue
        table = blocks.pivot_table(index="depth", columns="lag", values="r")
        heat = {
            "type": "heatmap", "x": _list(1000 * table.columns), "y": [int(depth) for depth in table.index],
            "z": [_list(row) for row in table.to_numpy()], "zmin": 0, "colorscale": "Viridis",
            "colorbar": {"title": {"text": "r"}},
        }  # fmt: skip
        axes = {"xaxis": {"title": {"text": "lag after onset, ms"}}, "yaxis": {"title": {"text": "block"}}}
        charts.append(Chart(f"{card['model']}: each block by lag", [heat], axes, "Mean r over channels."))
        if np.isfinite(slope := card.get("lag_slope", np.nan)):
            low, high = (1000 * card[f"lag_slope_{end}"] for end in ("low", "high"))
            text.append(
                f"{card['model']}: the last block predicts best {1000 * slope:+.0f} ms after the first "
                f"({low:+.0f} to {high:+.0f}), {format_p(card['lag_slope_p'])}."
            )
    return Section("time", "When blocks predict", text, charts)


def _modes(results: RunResults | None, statistics: SpaceStatistics) -> Section | None:
    """Return the depth spectra of regions."""
    if results is None or results.modes.empty:
        return None
    layout = {
        "xaxis": {"title": {"text": "modulus |λ|; 1 persists"}},
        "yaxis": {"title": {"text": "share of explained variance"}},
    }
    caption = "One dot per model and mode, all regions together; shares of a model add up to 1."
    chart = Chart("Share of each mode over its modulus", mode_traces(results.modes), layout, caption)
    grid = report_tables.mode_grid(results.modes)
    return Section("modes", "What the modes explain", (), [chart], [grid] if grid else [])


SECTIONS: tuple[Callable[[RunResults | None, SpaceStatistics], Section | None], ...] = (
    _ranking,
    _baselines,
    _tests,
    _agreement,
    _time,
    _modes,
    _truth,
)
"""In the order of the page."""


def _dots(x: Any, y: Any, style: GroupStyle, name: str, legend: bool) -> dict[str, Any]:
    """Return a trace of dots that tell their ``text`` to a pointer."""
    return {
        "type": "scatter", "mode": "markers", "x": _list(x), "y": _list(y), "name": name, "legendgroup": name,
        "showlegend": legend, "hoverinfo": "text",
        "marker": {"color": style.color, "symbol": _symbol(style), "size": 8, "opacity": 0.75},
    }  # fmt: skip


def _symbol(style: GroupStyle) -> str:
    return SYMBOLS[style.marker]


def _jitter(n: int, width: float) -> np.ndarray:
    # fixed: the same results draw the same picture
    return np.random.default_rng(0).uniform(-width, width, n)


def _list(values: Any) -> list[float | None]:
    return [round(float(v), 5) if np.isfinite(v) else None for v in np.asarray(values, dtype=float)]
