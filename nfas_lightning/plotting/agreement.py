"""Where models agree: SNCI and convergence by network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nfas_lightning.plotting.style import (
    INK,
    MUTED,
    finish,
    has_mark,
    head_legend,
    keep_clear,
    legend_columns,
    modality_handles,
    modality_styles,
    new_axes,
    new_figure,
    styled,
    with_count,
    wrapped,
)
from nfas_lightning.results import SpaceStatistics, group_words

__all__ = ["plot_convergence", "plot_snci"]

_MOST_GROUPS = 9  # of SNCI in one figure: as many as there are colors


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
        ValueError: a color is of no group, or neither `simulated` nor the coordinates say whether responses
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
        what = "ROIs" if (table["row"] == table["roi"].astype(str)).all() else "networks"
        ax.set_xlabel(with_count(label, len(rows), len(order), what))
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
    label = label if own is None else wrapped(ax, label, 12)
    what = "ROIs" if (table["row"] == table["roi"].astype(str)).all() else "networks"
    ax.set_xlabel(with_count(label, len(rows), len(order), what))
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
