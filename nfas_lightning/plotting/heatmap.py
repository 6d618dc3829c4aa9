"""Models by networks: one score per cell."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nfas_lightning.plotting.legends import group_handles, set_head
from nfas_lightning.plotting.score_tables import network_table
from nfas_lightning.plotting.style import (
    INK,
    MUTED,
    SEQUENTIAL,
    Look,
    group_styles,
    has_mark,
    name_rows,
    new_axes,
    styled,
    with_count,
)

__all__ = ["plot_networks"]


@styled
def plot_networks(
    scores: pd.DataFrame,
    *,
    ax: Axes | None = None,
    feature: str = "stable_mode",
    value: str = "r2",
    group_by: str = "modality",
    max_columns: int = 30,
    **look: Unpack[Look],
) -> Figure:
    """Draw the score of every model in every network as a heat map, one row per model, sorted by group.

    Args:
        scores: the scores table of a run; of one feature, ``model``, `group_by`, ``roi``, ``network`` and
            `value` are enough.
        ax: see `plot_space`.
        feature: one of `FEATURES`.
        value: ``"r2"`` or ``"r"``.
        group_by: the column that says which group a model is in.
        max_columns: at most so many networks, those of the highest mean; ROIs stand for themselves where they
            belong to no network.
        **look: see `Look`.
    """
    simulated = has_mark(look, scores)
    table = network_table(scores, value=value, feature=feature, group_by=group_by)
    total = table.shape[1]
    best = table.mean().sort_values(ascending=False).index[:max_columns]
    table = table[_by_preference(table, best)]
    groups = table.index.get_level_values(0)
    rows, columns = table.shape
    inside = ax is not None
    figure, ax = new_axes(ax, min(17, 5.0 + 0.72 * columns), max(4.2, 2.9 + 0.34 * rows))
    styles = group_styles(groups, look)
    image = ax.imshow(np.ma.masked_invalid(table.to_numpy(float)), cmap=SEQUENTIAL, aspect="auto", vmin=0)
    if rows * columns <= 360:
        _write_cells(ax, table.to_numpy(float), image.get_clim()[1])
    name_rows(ax, table.index.get_level_values("model"), [styles[name].color for name in groups])
    ax.set_xticks(range(columns), table.columns, rotation=40, ha="right", rotation_mode="anchor")
    edges = np.flatnonzero(np.diff(pd.factorize(groups)[0])) + 0.5
    ax.hlines(edges, -0.5, columns - 0.5, color="white", lw=4)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    is_single = set(table.columns) <= set(scores["roi"].astype(str))  # ROIs stand for themselves
    ax.set_xlabel(with_count("", columns, total, "ROIs" if is_single else "networks"))
    name = {"r2": "r²", "r": "r"}[value]
    name = name if is_single else f"mean {name}\nover the network's ROIs"
    figure.colorbar(image, ax=ax, label=name, shrink=min(1.0, 3.2 / (0.34 * rows + 1)), pad=0.02, aspect=16)
    usual = "Models by ROIs" if is_single else "Models by networks"
    set_head(ax, usual, group_handles(styles), look, inside=inside, simulated=simulated, columns=len(styles))
    return figure


def _by_preference(table: pd.DataFrame, columns: pd.Index) -> list[str]:
    """Order networks by the group that follows them best, then by how well: the blocks become visible."""
    means = table[columns].groupby(level=0, sort=False).mean().fillna(-1.0)
    preferred = means.to_numpy().argmax(0)
    return [columns[i] for i in np.lexsort((-means.to_numpy().max(0), preferred))]


def _write_cells(ax: Axes, values: np.ndarray, top: float) -> None:
    middle: Any = {"ha": "center", "va": "center", "fontsize": 9.5}
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            color = "white" if value > 0.55 * top else INK
            ax.text(j, i, f"{value:.2f}".replace("0.", ".", 1), color=color, **middle)
        else:
            ax.text(j, i, "–", color=MUTED, **middle)
