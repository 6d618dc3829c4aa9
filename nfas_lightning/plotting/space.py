"""Figures of the space: models as points, and models by networks."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from scipy.spatial import ConvexHull, QhullError

from nfas_lightning.plotting.labels import place_labels
from nfas_lightning.plotting.style import (
    INK,
    MUTED,
    SEQUENTIAL,
    finish,
    has_mark,
    head_legend,
    keep_clear,
    legend_columns,
    modality_handles,
    modality_styles,
    new_axes,
    short_names,
    styled,
    with_count,
)
from nfas_lightning.plotting.tables import network_table
from nfas_lightning.results import SpaceStatistics

__all__ = ["format_p", "plot_networks", "plot_space", "result_line"]


def format_p(p: float) -> str:
    """Return a p value as one writes it: ``p = .034``, ``p < .001``; never ``p = 0``.

    >>> format_p(0.0342), format_p(0.0004)
    ('p = .034', 'p < .001')
    """
    if not math.isfinite(p):
        return "p not computed"
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".", 1)


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
    title: str | None = None,
    colors: Mapping[str, str] | None = None,
    simulated: bool | None = None,
) -> Figure:
    """Draw each model as a point on the first two principal components of its ROI scores.

    Args:
        statistics: coordinates, explained variance and tests.
        ax: axes to draw on, which then carry title, legend and mark themselves; new ones when None.
        projection: ``"PC"``, principal components, or ``"MDS"``, classical scaling of distances; by
            correlation, which compares patterns without their level, where the space's own are euclidean.
        labels: write each model's name beside its point.
        title: in place of the usual one; ``""``: none.
        colors: of groups, by name, in place of the usual ones; those not named keep theirs.
        simulated: mark the figure as drawn from planted responses; read from the coordinates when None.

    Returns:
        The figure. Hulls are drawn for modalities of three models or more.

    Raises:
        ValueError: the statistics have no such projection, a color is of no group, or neither `simulated`
            nor the coordinates say whether responses were planted.
    """
    simulated = has_mark(simulated, statistics.coordinates)
    table, axes = statistics.coordinates, [f"{projection}1", f"{projection}2"]
    if not set(axes) <= set(table):
        raise ValueError(
            f"projection must be 'PC', or 'MDS' where there are three models, got {projection!r} and the "
            f"columns {list(table)}."
        )
    crowded = len(table) > 20
    own = ax
    figure, ax = new_axes(ax, 12.5 if crowded else 10.5, 10.0 if crowded else 7.5)
    styles = modality_styles(table["modality"], colors)
    for modality, style in styles.items():
        points = table.loc[table["modality"] == modality, axes].to_numpy(float)
        _draw_hull(ax, points[np.isfinite(points).all(1)], style.color)
        ax.scatter(
            points[:, 0], points[:, 1], s=55 if crowded else 90, c=style.color, marker=style.marker,
            edgecolors="white", linewidths=0.8, zorder=4, gid=f"points-{modality}",
        )  # fmt: skip
    for i, (axis, share) in enumerate(zip((ax.xaxis, ax.yaxis), statistics.explained, strict=True)):
        known = projection == "PC" and math.isfinite(share) and share > 0
        axis.set_label_text(f"{axes[i]} ({share:.0%} of variance)" if known else axes[i])
    ax.margins(0.14)
    ax.grid(True)
    tests = [
        result_line("PERMANOVA", "pseudo-F = ", statistics.permanova),
        result_line("silhouette", "", statistics.silhouette),
    ]
    if projection == "MDS" and statistics.mds_metric == "correlation":
        tests = ["patterns over ROIs, without their level"]
    note = "\n".join(line for line in tests if line) or "one group or one model: no test of clusters"
    scaled = "" if projection == "PC" else f", by {statistics.mds_metric} distance"
    finish(figure, f"The space: one point a model{scaled}", title=title, simulated=simulated, ax=own)
    taken = head_legend(
        ax, modality_handles(styles), note=note, inside=own is not None, simulated=simulated,
        columns=legend_columns(styles, 11.0 if crowded else 9.0), borderaxespad=0.3,
    )  # fmt: skip
    if own is None:
        ax.set_aspect("equal", adjustable="datalim")
    else:
        _fit_equal(ax, taken)
    if labels and len(table):
        place_labels(
            ax,
            table[axes].to_numpy(float),
            short_names(table["model"]),
            [styles[name].color for name in table["modality"]],
            fontsize=9.5 if crowded else 11,
            marker_radius=5.5 if crowded else 7.0,
            clear=taken,
        )
    return figure


@styled
def plot_networks(
    scores: pd.DataFrame,
    *,
    ax: Axes | None = None,
    feature: str = "stable_mode",
    value: str = "r2",
    title: str | None = None,
    colors: Mapping[str, str] | None = None,
    simulated: bool | None = None,
    max_columns: int = 30,
) -> Figure:
    """Draw the score of every model in every network as a heat map; rows grouped by modality.

    Args:
        scores: the scores table of a run; of one feature, ``model``, ``modality``, ``roi``, ``network`` and
            `value` are enough.
        ax: axes to draw on, which then carry title, legend and mark themselves; new ones when None.
        feature: one of `FEATURES`.
        value: ``"r2"`` or ``"r"``.
        title: in place of the usual one; ``""``: none.
        colors: of groups, by name, in place of the usual ones; those not named keep theirs.
        simulated: mark the figure as drawn from planted responses; read from the table when None.
        max_columns: at most so many networks, those of the highest mean; ROIs stand for themselves where they
            belong to no network.

    Raises:
        ValueError: a color is of no group, or neither `simulated` nor the table says whether responses were
            planted.
    """
    simulated = has_mark(simulated, scores)
    table = network_table(scores, value=value, feature=feature)
    total = table.shape[1]
    best = table.mean().sort_values(ascending=False).index[:max_columns]
    table = table[_by_preference(table, best)]
    rows, columns = table.shape
    own = ax
    figure, ax = new_axes(ax, min(17, 5.0 + 0.72 * columns), max(4.2, 2.9 + 0.34 * rows))
    styles = modality_styles(table.index.get_level_values("modality"), colors)
    image = ax.imshow(np.ma.masked_invalid(table.to_numpy(float)), cmap=SEQUENTIAL, aspect="auto", vmin=0)
    if rows * columns <= 360:
        _write_cells(ax, table.to_numpy(float), image.get_clim()[1])
    ax.set_yticks(range(rows), short_names(table.index.get_level_values("model")))
    for tick, modality in zip(ax.get_yticklabels(), table.index.get_level_values("modality"), strict=True):
        tick.set_color(styles[modality].color)
    ax.set_xticks(range(columns), table.columns, rotation=40, ha="right", rotation_mode="anchor")
    edges = np.flatnonzero(np.diff(pd.factorize(table.index.get_level_values("modality"))[0])) + 0.5
    ax.hlines(edges, -0.5, columns - 0.5, color="white", lw=4)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    is_single = set(table.columns) <= set(scores["roi"].astype(str))  # ROIs stand for themselves
    ax.set_xlabel(with_count("", columns, total, "ROIs" if is_single else "networks"))
    name = {"r2": "r²", "r": "r"}[value]
    name = name if is_single else f"mean {name}\nover the network's ROIs"
    figure.colorbar(image, ax=ax, label=name, shrink=min(1.0, 3.2 / (0.34 * rows + 1)), pad=0.02, aspect=16)
    usual = "Models by ROIs" if is_single else "Models by networks"
    finish(figure, usual, title=title, simulated=simulated, ax=own)
    taken = head_legend(
        ax, modality_handles(styles), inside=own is not None, simulated=simulated, columns=len(styles)
    )
    keep_clear(ax, taken)
    return figure


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


def _by_preference(table: pd.DataFrame, columns: pd.Index) -> list[str]:
    """Order networks by the modality that follows them best, then by how well: the blocks become visible."""
    means = table[columns].groupby(level="modality", sort=False).mean().fillna(-1.0)
    preferred = means.to_numpy().argmax(0)
    return [columns[i] for i in np.lexsort((-means.to_numpy().max(0), preferred))]


def _draw_hull(ax: Axes, points: np.ndarray, color: str) -> None:
    if len(points) < 3:
        return
    try:
        corners = points[ConvexHull(points).vertices]
    except QhullError:  # the models lie on a line: there is no area to shade
        return
    ax.add_patch(
        Polygon(corners, closed=True, facecolor=color, edgecolor=color, alpha=0.16, lw=1.5, zorder=1)
    )


def _write_cells(ax: Axes, values: np.ndarray, top: float) -> None:
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            color = "white" if value > 0.55 * top else INK
            ax.text(
                j,
                i,
                f"{value:.2f}".replace("0.", ".", 1),
                ha="center",
                va="center",
                fontsize=9.5,
                color=color,
            )
        else:
            ax.text(j, i, "–", ha="center", va="center", fontsize=9.5, color=MUTED)
