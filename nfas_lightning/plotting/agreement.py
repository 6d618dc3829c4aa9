"""Where models agree, and whether that rests on one of them: SNCI, convergence, each model left out."""

from __future__ import annotations

import math
from typing import Unpack

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nfas_lightning.functional.snci import snci_noise
from nfas_lightning.plotting.legends import foot_legend, group_handles, legend_columns, set_head
from nfas_lightning.plotting.score_tables import network_or_roi
from nfas_lightning.plotting.style import (
    INK,
    MUTED,
    Look,
    finish,
    group_styles,
    has_mark,
    name_rows,
    new_axes,
    new_figure,
    styled,
    with_count,
    wrapped,
)
from nfas_lightning.results import SpaceStatistics, group_words

__all__ = ["plot_convergence", "plot_snci", "plot_stability"]

_MOST_GROUPS = 9  # of SNCI in one figure: as many as there are colors
_PURPLE = "#5b4b8a"  # of convergence, which belongs to no group


@styled
def plot_snci(
    statistics: SpaceStatistics, *, ax: Axes | None = None, max_rows: int = 30, **look: Unpack[Look]
) -> Figure:
    """Draw SNCI by network and group: the median over a network's ROIs and the middle half of them.

    Two panels: ``bounded``, in [0, 1], and ``ratio``, mean over standard deviation across models; on the
    caller's `ax` the bounded form alone. ROIs without a network are rows of their own, whose bar is the 95 %
    interval of their SNCI.

    Args:
        statistics: SNCI, and the groups' sizes.
        ax: see `plot_space`.
        max_rows: at most so many rows, those of the highest bounded SNCI.
        **look: see `Look`.
    """
    simulated = has_mark(look, statistics.coordinates)
    table = statistics.snci.assign(row=network_or_roi(statistics.snci))
    # a model alone in its group agrees with nobody: such groups have no SNCI
    shown = table.dropna(subset=["bounded"])["group"].unique()
    sizes = statistics.coordinates["group"].value_counts()
    largest = [name for name in sizes.index if name in shown][:_MOST_GROUPS]
    table = table[table["group"].isin(largest)] if largest else table
    order = table.groupby("row")["bounded"].median().sort_values(ascending=False)
    rows = order.index[:max_rows].tolist()[::-1]
    styles = group_styles(table["group"], look, among=sizes.index)
    single = _is_single(table)
    alone = single and "bounded_low" in table
    y = np.arange(len(rows))
    if ax is None:
        figure = new_figure(11.5, max(3.6, 1.9 + max(0.44, 0.13 * len(styles)) * len(rows)))
        panels = list(figure.subplots(1, 2, sharey=True))
    else:
        figure, panels = new_axes(ax, 0, 0)[0], [ax]
    forms = {"bounded": "bounded SNCI, from 0 to 1", "ratio": "SNCI = mean / std over models"}
    shifts = np.linspace(0.24, -0.24, len(styles)) if len(styles) > 1 else [0.0]
    for panel, (form, label) in zip(panels, forms.items(), strict=False):
        finite = table[np.isfinite(table[form])]
        for (group, style), shift in zip(styles.items(), shifts, strict=True):
            part = finite[finite["group"] == group]
            by_row = part.groupby("row")[form]
            low, median, high = (by_row.quantile(share).reindex(rows) for share in (0.25, 0.5, 0.75))
            if alone:  # one ROI per row: its interval over models says more than itself three times
                low, high = (part.set_index("row")[f"{form}_{end}"].reindex(rows) for end in ("low", "high"))
            panel.hlines(y + shift, low, high, color=style.color, lw=2.5, alpha=0.45)
            panel.scatter(
                median, y + shift, c=style.color, marker=style.marker, s=55, edgecolors="white",
                linewidths=0.6, zorder=3, gid=f"snci-{form}-{group}",
            )  # fmt: skip
            if form == "bounded" and sizes.get(group, 0) > 1:
                noise = snci_noise(int(sizes[group]), value=statistics.value)
                panel.axvline(noise, color=style.color, lw=1.3, ls=":", zorder=1, gid="noise")
        for line in y[::2]:
            panel.axhspan(line - 0.5, line + 0.5, color="#f6f6f6", zorder=0)
        panel.set_xlabel(with_count(label, len(rows), len(order), "ROIs" if single else "networks"))
        panel.grid(True, axis="x")
    panels[0].set_yticks(y, rows)
    panels[0].set_ylim(-0.6, len(rows) - 0.4)
    panels[0].set_xlim(-0.02, 1.02)
    if ax is None:
        panels[1].set_xlim(left=min(0.0, panels[1].get_xlim()[0]))
        _cut_wild(panels[1], table["ratio"])
    usual = f"SNCI: agreement among models of one {statistics.group_by}"
    if len(shown) > len(largest):
        usual += f" (the {len(largest)} largest of {len(shown)})"
    bar = "bar: 95 % interval over models" if alone else "point: median over ROIs; bar: middle half of them"
    bar += "\ndotted: 95 % of pure noise lies below"
    set_head(
        panels[0], usual, group_handles(styles), look, note=bar, inside=ax is not None, simulated=simulated,
        columns=legend_columns(styles, 8.5),
    )  # fmt: skip
    return figure


@styled
def plot_convergence(
    statistics: SpaceStatistics, *, ax: Axes | None = None, max_rows: int = 30, **look: Unpack[Look]
) -> Figure:
    """Draw the convergence of every ROI by network; a figure of its own names the highest ROI of each.

    Convergence is the smallest bounded SNCI over groups: high only where every group agrees.

    Args:
        statistics: convergence by ROI.
        ax: see `plot_space`.
        max_rows: at most so many networks, those of the highest median.
        **look: see `Look`.
    """
    simulated = has_mark(look, statistics.coordinates)
    table = statistics.convergence.dropna(subset=["convergence"])
    table = table.assign(row=network_or_roi(table))
    order = table.groupby("row")["convergence"].median().sort_values(ascending=False)
    rows = order.index[:max_rows].tolist()[::-1]
    inside = ax is not None
    figure, ax = new_axes(ax, 10.5, max(3.4, 1.6 + 0.42 * len(rows)))
    shown = table[table["row"].isin(rows)]
    y = shown["row"].map({name: i for i, name in enumerate(rows)})
    # a fixed generator: the same results draw the same picture
    jitter = np.random.default_rng(0).uniform(-0.2, 0.2, len(shown))
    ax.scatter(
        shown["convergence"], y + jitter, s=34, c=_PURPLE, alpha=0.65, linewidths=0, zorder=3,
        gid="convergence",
    )  # fmt: skip
    medians, places = order.reindex(rows), np.arange(len(rows))
    ax.vlines(medians, places - 0.36, places + 0.36, color=INK, lw=2.5, zorder=4)
    ax.set_yticks(places, rows)
    ax.set_ylim(-0.7, len(rows) + (0.4 if inside else -0.3))
    ax.set_xlim(-0.02, 1.02)
    groups = group_words(statistics.group_by)[1]
    label = f"convergence: smallest bounded SNCI over {groups} (line: median of the network)"
    label = wrapped(ax, label, 12) if inside else label
    ax.set_xlabel(with_count(label, len(rows), len(order), "ROIs" if _is_single(table) else "networks"))
    ax.grid(True, axis="x")
    usual = f"Convergence: agreement within every {statistics.group_by}"
    set_head(ax, usual, [], look, inside=inside, simulated=simulated)
    if not inside and not _is_single(shown):
        best = shown.assign(y=y).sort_values("convergence", ascending=False).drop_duplicates("row")
        names = [(len(rows) - 0.1, "highest ROI"), *zip(best["y"], best["roi"].astype(str), strict=True)]
        for height, name in names:
            beside = ax.get_yaxis_transform()
            ax.text(1.01, height, name, transform=beside, va="center", fontsize=10, color=MUTED)
    return figure


@styled
def plot_stability(statistics: SpaceStatistics, *, max_rows: int = 20, **look: Unpack[Look]) -> Figure:
    """Draw what the tests and maps become without each model, for the models that change them most.

    Left pseudo-F of PERMANOVA and in the middle the silhouette, against the line of all models; right the
    rank correlation over ROIs of SNCI (filled) and of convergence (hollow) with those of all models.

    Args:
        statistics: of the space, each model left out in turn.
        max_rows: at most so many models.
        **look: see `Look`.
    """
    simulated = has_mark(look, statistics.coordinates)
    table = statistics.stability
    whole = statistics.permanova.get("statistic", math.nan)
    change = (table["permanova"] - whole).abs()
    shown = table.loc[change.sort_values(ascending=False).index[:max_rows]][::-1]
    styles = group_styles(shown["group"], look, among=table["group"])
    y = np.arange(len(shown))
    figure = new_figure(11.5, 2.3 + 0.3 * max(len(shown), 2))
    panels = figure.subplots(1, 3, sharey=True)
    drawn = (
        (["permanova"], whole, "PERMANOVA pseudo-F without it"),
        (["silhouette"], statistics.silhouette.get("statistic", math.nan), "silhouette without it"),
        (["snci", "convergence"], 1.0, "rank correlation with the full maps"),
    )
    for ax, (columns, line, label) in zip(panels, drawn, strict=True):
        for column in columns:
            for group, style in styles.items():
                own = (shown["group"] == group).to_numpy()
                ax.scatter(
                    shown[column][own], y[own], s=48, marker=style.marker, edgecolors=style.color,
                    facecolors="white" if column == "convergence" else style.color, linewidths=1.3, zorder=3,
                    gid=f"stability-{column}",
                )  # fmt: skip
        if math.isfinite(line):
            ax.axvline(line, color=INK, lw=1.2, zorder=1)
        ax.set_xlabel(label)
        ax.grid(True, axis="x")
    name_rows(panels[0], shown["model"], [styles[name].color for name in shown["group"]])
    panels[0].set_ylim(-0.7, len(shown) - 0.3)
    most = f"; the {len(shown)} models of largest effect" if len(shown) < len(table) else ""
    panels[0].set_title(f"line: all models{most}", fontsize=10.5, color=MUTED, loc="left")
    panels[2].set_title("filled: SNCI; hollow: convergence", fontsize=10.5, color=MUTED, loc="left")
    foot_legend(figure, group_handles(styles), simulated=simulated)
    return finish(figure, "Effect of leaving out one model", look, simulated=simulated)


def _is_single(table: pd.DataFrame) -> bool:
    """Whether every row of the figure is one ROI."""
    return bool((table["row"] == table["roi"].astype(str)).all())


def _cut_wild(ax: Axes, ratios: pd.Series) -> None:
    """End the axis where two models that happen to agree would stretch it, and say so."""
    finite = ratios[np.isfinite(ratios)]
    if finite.empty or (limit := 3 * float(finite.quantile(0.9))) <= 0 or finite.max() <= limit:
        return
    ax.set_xlim(right=limit)
    beyond = f"{int((finite > limit).sum())} ROIs beyond {limit:.1f}"
    ax.set_title(beyond, fontsize=10, color=MUTED, loc="right")
