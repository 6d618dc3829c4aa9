"""Figures of the space: models as points, what agrees across models, models by networks."""

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
    new_figure,
    short_names,
    styled,
    wrapped,
)
from nfas_lightning.plotting.tables import network_table
from nfas_lightning.results import SpaceStatistics, group_words

__all__ = ["format_p", "plot_convergence", "plot_networks", "plot_snci", "plot_space", "result_line"]


_MOST_GROUPS = 9  # of SNCI in one figure: as many as there are colours


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
        ValueError: the statistics have no such projection, a colour is of no group, or neither `simulated`
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
def plot_snci(
    statistics: SpaceStatistics,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    colors: Mapping[str, str] | None = None,
    simulated: bool | None = None,
    max_rows: int = 30,
) -> Figure:
    """Draw SNCI by network and modality: the median over a network's ROIs and the middle half of them.

    Two panels: ``bounded``, in [0, 1], and ``ratio``, mean over standard deviation across models; on the
    caller's `ax` the bounded form alone. ROIs without a network are rows of their own, with the 95 % interval
    of their own SNCI as the bar; the `max_rows` rows of highest bounded SNCI are shown.

    Args:
        statistics: SNCI, and the groups' sizes.
        ax: axes to draw on, which then carry title, legend and mark themselves; new ones when None.
        title: in place of the usual one; ``""``: none.
        colors: of groups, by name, in place of the usual ones; those not named keep theirs.
        simulated: mark the figure as drawn from planted responses; read from the coordinates when None.
        max_rows: at most so many rows.

    Raises:
        ValueError: a colour is of no group, or neither `simulated` nor the coordinates say whether responses
            were planted.
    """
    simulated = has_mark(simulated, statistics.coordinates)
    table = _with_row(statistics.snci)
    # a model alone in its group agrees with nobody: such groups have no SNCI
    shown = table.dropna(subset=["bounded"])["modality"].unique()
    sizes = statistics.coordinates["modality"].value_counts()
    largest = [name for name in sizes.index if name in shown][:_MOST_GROUPS] or list(shown)
    table = table[table["modality"].isin(largest)] if len(largest) else table
    order = table.groupby("row")["bounded"].median().sort_values(ascending=False)
    rows = order.index[:max_rows].tolist()[::-1]
    styles = modality_styles(table["modality"], colors, among=sizes.index)
    alone = bool((table["row"] == table["roi"].astype(str)).all()) and "bounded_low" in table
    own = ax
    if ax is None:
        figure = new_figure(11.5, max(3.6, 1.9 + max(0.44, 0.13 * len(styles)) * len(rows)))
        panels = list(figure.subplots(1, 2, sharey=True))
    else:
        figure, ax = new_axes(ax, 0, 0)
        panels = [ax]
    for ax, form, label in zip(
        panels, ("bounded", "ratio"), ("bounded SNCI, 0 to 1", "SNCI = mean / std over models"), strict=False
    ):
        finite = table[np.isfinite(table[form])]
        shifts = np.linspace(0.24, -0.24, len(styles)) if len(styles) > 1 else [0.0]
        for (modality, style), shift in zip(styles.items(), shifts, strict=True):
            groups = finite[finite["modality"] == modality].groupby("row")[form]
            low, median, high = (groups.quantile(share).reindex(rows) for share in (0.25, 0.5, 0.75))
            if alone:  # one ROI a row: its interval over models says more than itself three times
                single = finite[finite["modality"] == modality].set_index("row")
                low, high = (single[f"{form}_{end}"].reindex(rows) for end in ("low", "high"))
            y = np.arange(len(rows)) + shift
            ax.hlines(y, low, high, color=style.color, lw=2.5, alpha=0.45)
            ax.scatter(
                median, y, c=style.color, marker=style.marker, s=55, edgecolors="white", linewidths=0.6,
                zorder=3,
                gid=f"snci-{form}-{modality}",
            )  # fmt: skip
        for y in np.arange(len(rows))[::2]:
            ax.axhspan(y - 0.5, y + 0.5, color="#f6f6f6", zorder=0)
        ax.set_xlabel(label)
        ax.grid(True, axis="x")
        ax.set_ylim(-0.6, len(rows) - 0.4)
    panels[0].set_xlim(-0.02, 1.02)
    if len(panels) > 1:
        panels[1].set_xlim(left=min(0.0, panels[1].get_xlim()[0]))
        _cut_wild(panels[1], table["ratio"])
    panels[0].set_yticks(range(len(rows)), rows)
    usual = f"SNCI: how far models of one {statistics.group_by} agree"
    if len(shown) > len(largest):
        usual += f" (the {len(largest)} largest of {len(shown)})"
    finish(figure, usual, title=title, simulated=simulated, ax=own)
    bar = "bar: 95 % interval over models" if alone else "point: median over ROIs; bar: middle half of them"
    taken = head_legend(
        panels[0], modality_handles(styles), note=bar, inside=own is not None, simulated=simulated,
        columns=legend_columns(styles, 8.5),
    )  # fmt: skip
    keep_clear(panels[0], taken)
    return figure


@styled
def plot_convergence(
    statistics: SpaceStatistics,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    simulated: bool | None = None,
    max_rows: int = 30,
) -> Figure:
    """Draw the convergence of every ROI by network, and name the highest ROI of each.

    Convergence is the smallest bounded SNCI over modalities: high only where every modality agrees.

    Args:
        statistics: convergence by ROI.
        ax: axes to draw on, which then carry title, legend and mark themselves; new ones when None.
        title: in place of the usual one; ``""``: none.
        simulated: mark the figure as drawn from planted responses; read from the coordinates when None.
        max_rows: at most so many networks, those of the highest median.

    Raises:
        ValueError: neither `simulated` nor the coordinates say whether responses were planted.
    """
    simulated = has_mark(simulated, statistics.coordinates)
    table = _with_row(statistics.convergence.dropna(subset=["convergence"]))
    order = table.groupby("row")["convergence"].median().sort_values(ascending=False)
    rows = order.index[:max_rows].tolist()[::-1]
    own = ax
    figure, ax = new_axes(ax, 10.5, max(3.4, 1.6 + 0.42 * len(rows)))
    shown = table[table["row"].isin(rows)]
    # a fixed generator: the same results draw the same picture
    jitter = np.random.default_rng(0).uniform(-0.2, 0.2, len(shown))
    place = {name: i for i, name in enumerate(rows)}
    y = shown["row"].map(place).to_numpy(float) + jitter
    x = shown["convergence"].to_numpy(float)
    ax.scatter(x, y, s=34, c="#5b4b8a", alpha=0.65, linewidths=0, zorder=3, gid="convergence")
    medians = order.reindex(rows)
    ax.vlines(medians, np.arange(len(rows)) - 0.36, np.arange(len(rows)) + 0.36, color=INK, lw=2.5, zorder=4)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(-0.7, len(rows) - 0.3 if own is None else len(rows) + 0.4)
    ax.set_xlim(-0.02, 1.02)
    groups = group_words(statistics.group_by)[1]
    label = f"convergence: smallest bounded SNCI over {groups} (line: median of the network)"
    ax.set_xlabel(label if own is None else wrapped(ax, label, 12))
    ax.grid(True, axis="x")
    usual = f"Convergence: agreement inside every {statistics.group_by}"
    finish(figure, usual, title=title, simulated=simulated, ax=own)
    taken = head_legend(ax, [], inside=own is not None, simulated=simulated, columns=1)
    if (shown["row"] != shown["roi"]).any():
        best = shown.sort_values("convergence", ascending=False).drop_duplicates("row")
        names = {float(place[row.row]): str(row.roi) for row in best.itertuples()}
        _name_best(ax, {**names, len(rows) - 0.1: "highest ROI"}, inside=own is not None)
    keep_clear(ax, taken)
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
        ValueError: a colour is of no group, or neither `simulated` nor the table says whether responses were
            planted.
    """
    simulated = has_mark(simulated, scores)
    table = network_table(scores, value=value, feature=feature)
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


def _name_best(ax: Axes, names: Mapping[float, str], *, inside: bool) -> None:
    """Write the best ROI's name at each height: right of the axes, or inside, where values end before it."""
    x, side = (0.99, "right") if inside else (1.01, "left")
    texts = [
        ax.text(
            x, y, name, transform=ax.get_yaxis_transform(), va="center", ha=side, fontsize=10, color=MUTED
        )
        for y, name in names.items()
    ]
    if inside:
        ax.set_xticks(np.linspace(0, 1, 6))
        width = max(text.get_window_extent().width for text in texts)
        left, right = ax.get_xlim()
        share = min(width / ax.get_window_extent().width + 0.03, 0.5)
        ax.set_xlim(left, left + (right - left) / (1 - share))


def _by_preference(table: pd.DataFrame, columns: pd.Index) -> list[str]:
    """Order networks by the modality that follows them best, then by how well: the blocks become visible."""
    means = table[columns].groupby(level="modality", sort=False).mean().fillna(-1.0)
    preferred = means.to_numpy().argmax(0)
    return [columns[i] for i in np.lexsort((-means.to_numpy().max(0), preferred))]


def _with_row(table: pd.DataFrame) -> pd.DataFrame:
    """Add ``row``: the network of a ROI, or the ROI itself where networks are unknown."""
    known = table["network"].notna() & (table["network"] != "")
    return table.assign(row=table["network"].where(known, table["roi"]).astype(str))


def _cut_wild(ax: Axes, ratios: pd.Series) -> None:
    """End the axis where two models that happen to agree would stretch it, and say so."""
    finite = ratios[np.isfinite(ratios)]
    if finite.empty or (limit := 3 * float(finite.quantile(0.9))) <= 0 or finite.max() <= limit:
        return
    ax.set_xlim(right=limit)
    beyond = f"{int((finite > limit).sum())} ROIs beyond {limit:.1f}"
    ax.set_title(beyond, fontsize=10, color=MUTED, loc="right")


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
