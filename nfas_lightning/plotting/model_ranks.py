"""Which model is better, and how sure: a picture of means with intervals, and tables for the terminal."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.markup import escape
from rich.table import Column, Table

from nfas_lightning.plotting.legends import group_handles, set_head
from nfas_lightning.plotting.style import (
    INK,
    MUTED,
    Look,
    group_styles,
    has_mark,
    name_rows,
    new_axes,
    styled,
)
from nfas_lightning.results import Ranking

__all__ = ["plot_ranking", "ranking_tables"]

_MOST_PAIRS = 21  # in the terminal: of seven models


@styled
def plot_ranking(ranking: Ranking, *, ax: Axes | None = None, **look: Unpack[Look]) -> Figure:
    """Draw the mean score of every model with its interval; models that share a letter are not told apart.

    Args:
        ranking: see `compare_models`.
        ax: see `plot_space`.
        **look: see `Look`.
    """
    simulated = has_mark(look)
    table = ranking.means[::-1]
    inside = ax is not None
    figure, ax = new_axes(ax, 10.5, 2.3 + 0.4 * max(len(table), 2))
    styles = group_styles(table["modality"], look)
    several = table["dataset"].nunique() > 1
    for y, row in enumerate(table.to_dict("records")):
        style = styles[row["modality"]]
        ax.hlines(y, row["low"], row["high"], color=style.color, lw=2.2, zorder=2, gid="interval")
        ax.scatter(row["mean"], y, c=style.color, marker=style.marker, s=95, edgecolors="white", zorder=3)
    # letters stand in a column of their own, right of every interval
    right = ax.get_yaxis_transform()
    for y, letters in enumerate(table["letters"]):
        ax.text(1.01, y, letters, transform=right, va="center", color=INK, family="monospace")
    ax.axvline(0, color=MUTED, lw=1, zorder=0)
    names = table["model"] + (" · " + table["dataset"].astype(str) if several else "")
    name_rows(ax, names, [styles[name].color for name in table["modality"]])
    ax.set_ylim(-0.7, len(table) - 0.3)
    ax.set_xlabel(f"{ranking.value}, mean over ROIs, with its 95 % interval")
    ax.grid(True, axis="x")
    handles = group_handles(styles) if len(styles) > 1 else []
    set_head(
        ax, "Which model is better, and how sure", handles, look, inside=inside, simulated=simulated,
        columns=len(styles),
    )  # fmt: skip
    return figure


def ranking_tables(ranking: Ranking) -> list[Table | str]:
    """Return the terminal's tables, of means with letters and of pairs where they are few, and a note."""
    first = Table(
        "model", *(Column(name, justify="right") for name in (ranking.value, "95 % interval", "ROIs")),
        "letters", box=box.SIMPLE_HEAD, title=f"Which model is better, and how sure: mean {ranking.value}",
        title_justify="left",
    )  # fmt: skip
    for dataset, part in ranking.means.groupby("dataset", sort=False):
        if ranking.means["dataset"].nunique() > 1:
            first.add_section()
            first.add_row(f"[italic]{escape(str(dataset))}[/italic]")
        for row in part.to_dict("records"):
            cells = (f"{row['mean']:.3f}", _span(row["low"], row["high"]), str(row["n_rois"]), row["letters"])
            first.add_row(escape(str(row["model"])), *cells)
    said = f"Models that share a letter are not told apart. {ranking.scope}"
    if not 0 < len(ranking.pairs) <= _MOST_PAIRS:
        return [first, said]
    numbers = ("difference", "95 % interval", "p", "q")
    second = Table("pair", *(Column(name, justify="right") for name in numbers), box=box.SIMPLE_HEAD)
    for dataset, part in ranking.pairs.groupby("dataset", sort=False):
        if ranking.means["dataset"].nunique() > 1:
            second.add_section()
            second.add_row(f"[italic]{escape(str(dataset))}[/italic]")
        for row in part.to_dict("records"):
            chances = ("-" if np.isnan(row[key]) else f"{row[key]:.4f}" for key in ("p_value", "q_value"))
            second.add_row(
                escape(f"{row['first']} - {row['second']}"), f"{row['difference']:+.3f}",
                _span(row["low"], row["high"], "+"), *chances,
            )  # fmt: skip
    return [first, second, said]


def _span(low: float, high: float, sign: str = "") -> str:
    return "-" if np.isnan(low) else f"{low:{sign}.3f} {high:{sign}.3f}"
