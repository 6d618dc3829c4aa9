"""Depth spectra drawn: which modes of a network carry what it explains of each part of the brain."""

from __future__ import annotations

from typing import Any, Unpack

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nfas_lightning.plotting.legends import foot_legend
from nfas_lightning.plotting.score_tables import network_or_roi
from nfas_lightning.plotting.style import (
    INK,
    MUTED,
    SYMBOLS,
    Look,
    finish,
    group_styles,
    has_mark,
    new_figure,
    styled,
)
from nfas_lightning.results import GROUP

__all__ = ["mode_table", "mode_traces", "plot_modes"]

_MARKERS = {"persistent": "o", "turning": "D", "decaying": "v", "growing": "^"}


@styled
def plot_modes(modes: pd.DataFrame, *, max_panels: int = 6, **look: Unpack[Look]) -> Figure:
    """Draw every mode's share of the variance that all modes explain over its modulus, a panel per network.

    One point per model and mode. A mode of modulus 1 persists, one below decays; a network of regions is one
    panel, and where there are no networks a region is.

    Args:
        modes: the modes table of a run.
        max_panels: at most so many networks, those of which most is explained.
        **look: see `Look`.
    """
    simulated = has_mark(look, modes)
    table = mode_table(modes)
    styles = group_styles(table["modality"], look)
    explained = table.groupby("network")["r2_whole"].mean().sort_values(ascending=False)
    names = list(explained.index[:max_panels])
    columns = max(1, min(3, len(names)))
    rows = -(-len(names) // columns) or 1
    figure = new_figure(4.0 * columns + 0.6, 2.7 * rows + 1.5)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for ax in panels.ravel()[len(names) :]:
        ax.set_axis_off()
    for name, ax in zip(names, panels.ravel(), strict=False):
        ax.axvline(1, color=INK, lw=1.2, zorder=1)
        ax.axhline(0, color="#d5d5d5", lw=1, zorder=0)
        for (modality, kind), part in table[table["network"] == name].groupby(["modality", "kind"]):
            dots: Any = {"c": styles[str(modality)].color, "marker": _MARKERS[str(kind)]}
            dots |= {"s": 54, "edgecolors": "white", "linewidths": 0.6, "zorder": 3}
            ax.scatter(part["modulus"], part["share"], gid=f"modes-{kind}", **dots)
        ax.set_title(f"{name}: r² of all modes {explained[name]:.3f}", fontsize=12)
        ax.grid(True, axis="y")
    for ax in panels[:, 0]:
        ax.set_ylabel("share of explained variance")
    for ax in panels[-1]:
        ax.set_xlabel("modulus |λ|")
    plain: Any = {"ls": "", "color": MUTED, "markersize": 8}
    handles = [Line2D([], [], label=kind, marker=mark, **plain) for kind, mark in _MARKERS.items()]
    handles += [
        Line2D([], [], label=modality, marker="s", ls="", color=style.color, markersize=8)
        for modality, style in styles.items()
    ]
    foot_legend(figure, handles, simulated=simulated)
    hidden = f": {len(names)} of {len(explained)} networks" if len(explained) > len(names) else ""
    return finish(figure, f"What the modes of depth dynamics explain{hidden}", look, simulated=simulated)


def mode_traces(modes: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one dot per model and mode for the report: its share in all regions, over its modulus."""
    table = mode_table(modes.assign(network="all"))
    traces: list[dict[str, Any]] = []
    for modality, style in group_styles(table["modality"]).items():
        for kind, part in table[table["modality"] == modality].groupby("kind"):
            text = [
                f"{row.model}: {kind}, modulus {row.modulus:.2f}, share {row.share:.2f}"
                for row in part.itertuples()
            ]
            marker = {"color": style.color, "symbol": SYMBOLS[_MARKERS[str(kind)]], "size": 9}
            traces.append(
                {
                    "type": "scatter", "mode": "markers", "name": f"{modality}, {kind}", "marker": marker,
                    "x": part["modulus"].round(5).tolist(), "y": part["share"].round(5).tolist(),
                    "text": text, "customdata": part["model"].tolist(), "hoverinfo": "text",
                }
            )  # fmt: skip
    return traces


def mode_table(modes: pd.DataFrame) -> pd.DataFrame:
    """Return one row per model, mode and network of regions, with the mode's ``share`` of ``r2_whole``.

    A share is the sum of the parts over that of the wholes, over regions, and over subjects where the group
    was not scored: regions of which nothing is explained hardly count.
    """
    of_group = modes[modes["subject"] == GROUP]
    shown = (of_group if len(of_group) else modes).dropna(subset=["r2_whole"])
    shown = shown.assign(network=network_or_roi(shown))
    keys = ["model", "modality", "dataset", "network", "mode"]
    about = dict.fromkeys(("kind", "modulus", "depth_constant", "turn"), "first")
    table = shown.groupby(keys, sort=False, as_index=False).agg({**about, "r2": "mean", "r2_whole": "mean"})
    share = table["r2"] / table["r2_whole"].where(table["r2_whole"] > 0)
    return table.assign(share=share).dropna(subset="share")
