"""Alignment over a training: one curve per network of ROIs."""

from __future__ import annotations

from typing import Unpack

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nfas_lightning.plotting.legends import set_head
from nfas_lightning.plotting.style import INK, MUTED, PALETTE, Look, has_mark, new_axes, styled
from nfas_lightning.results import FEATURES

__all__ = ["ALL_ROIS", "plot_training"]

ALL_ROIS = "all ROIs"
_MAX_NETWORKS = len(PALETTE) - 1  # black is for the mean over all


@styled
def plot_training(
    curves: pd.DataFrame, *, value: str = "r2", ax: Axes | None = None, **look: Unpack[Look]
) -> Figure:
    """Draw how the alignment changed while a network was trained.

    Args:
        curves: one row per step, feature and network, as `BrainAlignment` keeps them: ``step``, ``feature``,
            ``network`` (``"all ROIs"`` for the mean), ``r``, ``r2``.
        value: ``"r2"`` or ``"r"``.
        ax: see `plot_space`.
        **look: see `Look`.
    """
    simulated = has_mark(look, curves)
    figure, axes = new_axes(ax, 8.0, 4.6)
    stable = curves[curves["feature"] == "stable_mode"]
    whole = stable[stable["network"] == ALL_ROIS].sort_values("step")
    last = stable[stable["step"] == stable["step"].max()].set_index("network")[value].drop(ALL_ROIS)
    shown = last.sort_values(ascending=False).index[:_MAX_NETWORKS]
    for color, network in zip(PALETTE, shown, strict=False):
        line = stable[stable["network"] == network].sort_values("step")
        axes.plot(line["step"], line[value], color=color, marker="o", markersize=4, label=network)
    axes.plot(whole["step"], whole[value], color=INK, marker="o", markersize=5, lw=2.5, label=ALL_ROIS)
    for feature, style in (("last_block", "--"), ("mean_depth", ":")):
        line = curves[(curves["feature"] == feature) & (curves["network"] == ALL_ROIS)].sort_values("step")
        if len(line):
            label = f"{FEATURES[feature]}, {ALL_ROIS}"
            axes.plot(line["step"], line[value], color=MUTED, ls=style, lw=1.5, label=label)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("mean r²" if value == "r2" else "mean r")
    axes.grid(axis="y")
    handles = axes.get_lines() if ax is not None else []
    set_head(axes, "Alignment over training", handles, look, inside=ax is not None, simulated=simulated)
    if ax is None:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure
