"""Figures in which each model is one labeled point: the space, and scores against model size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from textwrap import fill
from typing import Unpack

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from scipy.spatial import ConvexHull, QhullError
from scipy.stats import spearmanr

from nfas_lightning.errors import InputError
from nfas_lightning.plotting.legends import group_handles, legend_columns, place_labels, set_head
from nfas_lightning.plotting.score_tables import mean_scores
from nfas_lightning.plotting.style import (
    GroupStyle,
    Look,
    format_p,
    group_styles,
    has_mark,
    human,
    new_axes,
    short_names,
    styled,
)
from nfas_lightning.results import SpaceStatistics

__all__ = ["has_sizes", "plot_sizes", "plot_space", "result_line", "size_table"]

_CROWD = 20  # more models than this need a larger figure and smaller names


def result_line(name: str, symbol: str, test: Mapping[str, float]) -> str:
    """Return a test as a line of text, or an empty string where it was not computed."""
    value = test.get("statistic", math.nan)
    if not math.isfinite(value):
        return ""
    return f"{name} {symbol}{value:.2f}, {format_p(test.get('p_value', math.nan))}"


@styled
def plot_space(
    statistics: SpaceStatistics,
    *,
    ax: Axes | None = None,
    projection: str = "PC",
    labels: bool = True,
    **look: Unpack[Look],
) -> Figure:
    """Draw each model as one point on the first two principal components of its ROI scores.

    Hulls are drawn for groups of three models or more.

    Args:
        statistics: coordinates, explained variance and tests.
        ax: axes to draw on, which then carry title, legend and mark themselves; new ones when None.
        projection: ``"PC"``, principal components, or ``"MDS"``, classical scaling of distances; by
            correlation, which compares patterns without their level, where the space's own are euclidean.
        labels: write each model's name beside its point.
        **look: see `Look`.

    Raises:
        ValueError: the statistics have no such projection.
    """
    simulated = has_mark(look, statistics.coordinates)
    table, axes = statistics.coordinates, [f"{projection}1", f"{projection}2"]
    if not set(axes) <= set(table):
        raise InputError(
            f"projection must be 'PC', or 'MDS' where there are three models, got {projection!r} and the "
            f"columns {list(table)}."
        )
    crowded, inside = len(table) > _CROWD, ax is not None
    figure, ax = new_axes(ax, 12.5 if crowded else 10.5, 10.0 if crowded else 7.5)
    styles = group_styles(table["group"], look)
    for group, style in styles.items():
        points = table.loc[table["group"] == group, axes].to_numpy(float)
        _draw_hull(ax, points[np.isfinite(points).all(1)], style.color)
        _draw_points(ax, points, style, 55 if crowded else 90, f"points-{group}")
    for i, (axis, share) in enumerate(zip((ax.xaxis, ax.yaxis), statistics.explained, strict=True)):
        known = projection == "PC" and math.isfinite(share) and share > 0
        axis.set_label_text(f"{axes[i]} ({share:.0%} of variance)" if known else axes[i])
    ax.margins(0.14)
    ax.grid(True)
    if projection == "MDS" and statistics.mds_metric == "correlation":
        note = "patterns over ROIs, without their level"
    elif len(styles) < 2:
        note = "one group: no test of clusters"
    else:
        tests = ("PERMANOVA", "pseudo-F = ", statistics.permanova), ("silhouette", "", statistics.silhouette)
        lines = [*(result_line(*test) for test in tests), *_beside(statistics)]
        note = "\n".join(filter(None, lines))
    scaled = "" if projection == "PC" else f", by {statistics.mds_metric} distance"
    taken = set_head(
        ax, f"The space: one point per model{scaled}", group_handles(styles), look, note=note, inside=inside,
        simulated=simulated, columns=legend_columns(styles, 11.0 if crowded else 9.0), stretch=False,
        borderaxespad=0.3,
    )  # fmt: skip
    if inside:
        _fit_equal(ax, taken)
    else:
        ax.set_aspect("equal", adjustable="datalim")
    if labels:
        _label_points(ax, table, axes, styles, taken)
    return figure


def _beside(statistics: SpaceStatistics) -> list[str]:
    """Return what a test of clusters must not stand without: untrained networks, and the design."""
    if not statistics.permanova:
        return []
    lines = []
    if len(statistics.controls):
        rows = statistics.controls.set_index("statistic")["untrained"]
        lines.append(f"untrained: pseudo-F = {rows['permanova']:.2f}, silhouette {rows['silhouette']:.2f}")
    if statistics.design in ("confounded", "partly crossed"):
        lines.append(f"groups {statistics.design} with benchmarks")
    return lines


def size_table(
    scores: pd.DataFrame, models: pd.DataFrame, *, value: str = "r2", group_by: str = "modality"
) -> pd.DataFrame:
    """Return ``model``, ``group``, ``parameters`` and ``score`` of the models whose parameters are known.

    See `plot_sizes` for the arguments; the score is the stable mode's, averaged over ROIs.
    """
    table = mean_scores(scores, value=value, group_by=group_by).rename("score").reset_index()
    count = models.drop_duplicates([group_by, "model"])[[group_by, "model", "parameters"]]
    count = count.assign(**{group_by: count[group_by].astype(str)})
    table = table.merge(count, on=[group_by, "model"], how="left").rename(columns={group_by: "group"})
    table["parameters"] = pd.to_numeric(table["parameters"], errors="coerce")
    return table[table["parameters"].gt(0) & table["score"].notna()].reset_index(drop=True)


def has_sizes(models: pd.DataFrame) -> bool:
    """Whether there are three models whose parameters are known and differ."""
    count = pd.to_numeric(models.get("parameters", pd.Series(dtype=float)), errors="coerce")
    return int(count.gt(0).sum()) > 2 and bool(count.max() > count.min())


@styled
def plot_sizes(
    scores: pd.DataFrame,
    models: pd.DataFrame,
    *,
    ax: Axes | None = None,
    value: str = "r2",
    group_by: str = "modality",
    labels: bool = True,
    **look: Unpack[Look],
) -> Figure:
    """Draw the mean score of every model against its parameters, with Spearman's correlation per group.

    Args:
        scores: the scores table of a run; of one feature, ``model``, `group_by` and `value` are enough.
        models: its models table, with ``parameters``.
        ax: see `plot_space`.
        value: ``"r2"`` or ``"r"``.
        group_by: column of both tables that says which group a model is in.
        labels: write each model's name beside its point.
        **look: see `Look`.
    """
    simulated = has_mark(look, scores, models)
    table = size_table(scores, models, value=value, group_by=group_by)
    crowded, inside = len(table) > _CROWD, ax is not None
    figure, ax = new_axes(ax, 12.5 if crowded else 10.5, 8.0 if crowded else 6.5)
    styles = group_styles(table["group"], look, among=models[group_by].astype(str))
    lines = []
    for group, style in styles.items():
        part = table[table["group"] == group]
        _draw_points(ax, part[["parameters", "score"]].to_numpy(float), style, 55, f"sizes-{group}")
        if len(part) > 3 and np.ptp(part["parameters"]) > 0 and np.ptp(part["score"]) > 0:
            found = spearmanr(part["parameters"], part["score"])
            lines.append(f"{group} {found.statistic:+.2f} ({format_p(found.pvalue)}, {len(part)} models)")
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # sizes may span less than a power of ten
    ax.xaxis.set_major_formatter(FuncFormatter(lambda count, _: human(count)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("parameters")
    ax.set_ylabel({"r2": "mean r² over ROIs", "r": "mean r over ROIs"}[value])
    ax.margins(0.08)
    ax.grid(True)
    note = "Spearman's correlation: " + "; ".join(lines) if lines else ""
    if not inside:
        note = fill(note, width=130 if crowded else 105, break_long_words=False)
    taken = set_head(
        ax, "Alignment against model size", group_handles(styles), look, note=note, notesize=10.5,
        inside=inside, simulated=simulated, columns=legend_columns(styles, 11.0 if crowded else 9.0),
    )  # fmt: skip
    if labels:
        _label_points(ax, table, ["parameters", "score"], styles, taken, radius=5.5)
    return figure


def _draw_points(ax: Axes, points: np.ndarray, style: GroupStyle, size: float, name: str) -> None:
    ax.scatter(
        points[:, 0], points[:, 1], s=size, c=style.color, marker=style.marker, edgecolors="white",
        linewidths=0.8, zorder=4, gid=name,
    )  # fmt: skip


def _label_points(
    ax: Axes,
    table: pd.DataFrame,
    columns: list[str],
    styles: Mapping[str, GroupStyle],
    taken: float,
    radius: float = 7.0,
) -> None:
    """Write each model's name beside its point, below so many pixels at the top."""
    crowded, colors = len(table) > _CROWD, [styles[name].color for name in table["group"]]
    place_labels(
        ax, table[columns].to_numpy(float), short_names(table["model"]), colors, clear=taken,
        fontsize=9.5 if crowded else 11, marker_radius=5.5 if crowded else radius,
    )  # fmt: skip


def _fit_equal(ax: Axes, taken: float) -> None:
    """Give both axes one scale, with all data below so many pixels at the top."""
    frame = ax.get_window_extent()
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    room = max(frame.height - taken, 0.4 * frame.height)
    a_pixel = max((right - left) / frame.width, (top - bottom) / room)
    x, y = (left + right) / 2, (bottom + top) / 2 - a_pixel * room / 2
    ax.set_xlim(x - a_pixel * frame.width / 2, x + a_pixel * frame.width / 2)
    ax.set_ylim(y, y + a_pixel * frame.height)
    ax.set_aspect("equal", adjustable="box")  # of limits that move, the clear part would be lost


def _draw_hull(ax: Axes, points: np.ndarray, color: str) -> None:
    if len(points) < 3:
        return
    try:
        corners = points[ConvexHull(points).vertices]
    except QhullError:  # the models lie on a line: there is no area to shade
        return
    area = Polygon(corners, closed=True, facecolor=color, edgecolor=color, alpha=0.16, lw=1.5, zorder=1)
    ax.add_patch(area)
