"""Figures of responses in time: blocks by lag, and the sensors at chosen lags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nfas_lightning.errors import InputError
from nfas_lightning.models.optional import require
from nfas_lightning.plotting.style import (
    INK,
    MUTED,
    SEQUENTIAL,
    Look,
    finish,
    has_mark,
    new_figure,
    short_names,
    styled,
)
from nfas_lightning.results.subjects import subject_scores

__all__ = ["has_places", "plot_lags", "plot_topographies"]

_PLACE = ["head_x", "head_y", "head_z"]
_MAX_MODELS = 6  # columns, or rows, that one page can hold


@styled
def plot_lags(lags: pd.DataFrame, depth: pd.DataFrame, **look: Unpack[Look]) -> Figure:
    """Draw when models predict: the stable mode against lag, and below it each block by lag.

    Above, r of the stable mode, mean over channels, with its 95 % interval; a bar under it marks lags in a
    cluster with p < .05. Below, one row per block, the first at the foot; a dot is the lag at which a block
    predicts best, with its interval. One column per model, the six with the highest r.

    Args:
        lags: the lags table of a run.
        depth: its depth table.
        **look: see `Look`.

    Raises:
        ValueError: the table has no rows, as of responses that are not in time.
    """
    simulated = has_mark(look, lags, depth)
    if lags.empty:
        raise InputError("plot_lags needs responses in time, got an empty table of lags.")
    stable = lags[lags["feature"] == "stable_mode"]
    order = stable.groupby("model")["r"].max().sort_values(ascending=False).index[:_MAX_MODELS]
    blocks = lags[lags["feature"] == "block"]
    figure = new_figure(max(7.0, 1.2 + 3.6 * len(order)), 6.2)
    panels = figure.subplots(2, len(order), squeeze=False, sharex=True, height_ratios=[1, 1.7])
    top = max(float(blocks["r"].max()) if len(blocks) else 0.0, 1e-3)
    image = None
    for column, (model, name) in enumerate(zip(order, short_names(order, 26), strict=True)):
        above, below = panels[:, column]
        _draw_course(above, stable[stable["model"] == model], name)
        own = blocks[blocks["model"] == model]
        if len(own):
            image = _draw_blocks(below, own, depth[depth["model"] == model], top)
        else:
            below.text(0.5, 0.5, "no blocks scored", transform=below.transAxes, ha="center", color=MUTED)
        below.set_xlabel("lag after onset (ms)")
    lowest = min(ax.get_ylim()[0] for ax in panels[0])
    for ax in panels[0]:
        ax.set_ylim(lowest, max(other.get_ylim()[1] for other in panels[0]))
    panels[0, 0].set_ylabel("r of the stable mode")
    panels[1, 0].set_ylabel("block, from first to last")
    if image is not None:
        figure.colorbar(image, ax=list(panels[1]), label="r, mean over channels", shrink=0.9, aspect=22)
    return finish(figure, "When models predict the brain", look, simulated=simulated)


@styled
def plot_topographies(
    scores: pd.DataFrame,
    rois: pd.DataFrame,
    *,
    lags: Sequence[float] | None = None,
    feature: str = "stable_mode",
    **look: Unpack[Look],
) -> Figure:
    """Draw r at the sensors, seen from above, at chosen lags: one row per model, one column per lag.

    Args:
        scores: the scores table of a run on responses in time.
        rois: its ROI table, with ``head_x``, ``head_y`` and ``head_z`` of each channel.
        lags: seconds after onset; the nearest sampled ones are drawn. None: five, evenly spaced from onset.
        feature: whose scores.
        **look: see `Look`.

    Raises:
        ImportError: MNE is not installed.
        ValueError: no channel has a place, as where regions were scored.
    """
    mne = require("mne", "meg")
    simulated = has_mark(look, scores)
    if not has_places(rois):
        raise InputError(f"plot_topographies needs the places of channels, columns {_PLACE} of rois.")
    table = subject_scores(scores)
    table = table[table["feature"] == feature]
    order = table.groupby("model")["r"].mean().sort_values(ascending=False).index[:_MAX_MODELS]
    known = np.sort(table["lag"].unique())
    wanted = np.linspace(max(known[0], 0.0), known[-1], 7)[1:-1] if lags is None else np.asarray(lags)
    chosen = [float(known[np.abs(known - lag).argmin()]) for lag in wanted]
    places = rois.drop_duplicates("channel").set_index("channel")
    kind = places["kind"].iloc[0]  # one kind of sensor on a page: magnetometers and EEG differ in unit
    places = places[places["kind"] == kind]
    info = mne.create_info(list(places.index), 1.0, kind)
    for channel, place in zip(info["chs"], places[_PLACE].to_numpy(float), strict=True):
        channel["loc"][:3] = place
    maps = table[table["channel"].isin(places.index)].pivot_table(
        index=["model", "lag"], columns="channel", values="r"
    )[list(places.index)]
    top = float(np.nanmax(np.abs(maps.loc[list(order)].to_numpy())))
    figure = new_figure(max(7.0, 1.9 * len(chosen) + 1.4), 1.9 * len(order) + 1.2)
    panels = figure.subplots(len(order), len(chosen), squeeze=False)
    look_of: Any = {"cmap": "RdBu_r", "vlim": (-top, top), "contours": 0, "show": False, "sensors": True}
    image: Any = None
    for row, (model, name) in enumerate(zip(order, short_names(order, 22), strict=True)):
        for ax, lag in zip(panels[row], chosen, strict=True):
            values = maps.loc[(model, lag)].to_numpy(float)
            image, _ = mne.viz.plot_topomap(np.nan_to_num(values), info, axes=ax, **look_of)
            if row == 0:
                ax.set_title(f"{1000 * lag:.0f} ms", fontsize=12)
        panels[row, 0].text(
            -0.12, 0.5, name, transform=panels[row, 0].transAxes, rotation=90, ha="right", va="center"
        )
    figure.colorbar(image, ax=panels.ravel().tolist(), label="r", shrink=0.7, aspect=18)
    return finish(figure, "Where models predict, from above", look, simulated=simulated)


def has_places(rois: pd.DataFrame) -> bool:
    """Whether channels have places to draw them at, one or more of each."""
    return "channel" in rois and set(_PLACE) <= set(rois) and not rois[_PLACE].isna().to_numpy().any()


def _draw_course(ax: Axes, part: pd.DataFrame, name: str) -> None:
    part = part.sort_values("lag")
    ms = 1000 * part["lag"].to_numpy(float)
    r, low, high, p = (part[column].to_numpy(float) for column in ("r", "low", "high", "p_cluster"))
    ax.fill_between(ms, low, high, color=INK, alpha=0.15, lw=0)
    ax.plot(ms, r, color=INK, lw=1.8)
    ax.axhline(0, color=MUTED, lw=0.8)
    if (p < 0.05).any():
        foot = min(float(np.nanmin(low)), 0.0) - 0.03
        ax.plot(ms, np.where(p < 0.05, foot, np.nan), color="#D55E00", lw=4, solid_capstyle="butt")
    ax.set_title(name)
    ax.set_xlim(ms[0], ms[-1])


def _draw_blocks(ax: Axes, part: pd.DataFrame, depth: pd.DataFrame, top: float) -> Any:
    table = part.pivot_table(index="depth", columns="lag", values="r")
    ms = 1000 * table.columns.to_numpy(float)
    image = ax.pcolormesh(
        ms, np.arange(len(table)), table.to_numpy(), cmap=SEQUENTIAL, vmin=0, vmax=top, shading="nearest"
    )
    if "peak_lag" in depth:
        rows = depth.sort_values("depth")
        peak, low, high = (1000 * rows[f"peak_{name}"].to_numpy(float) for name in ("lag", "low", "high"))
        place = np.arange(len(rows))
        bounds = np.clip([peak - low, high - peak], 0, None)
        ax.errorbar(
            peak,
            place,
            xerr=bounds,
            fmt="o",
            ms=4,
            color="#D55E00",
            mec="white",
            mew=0.6,
            elinewidth=0.9,
            zorder=3,
        )
    ax.set_xlim(ms[0], ms[-1])
    ax.set_ylim(-0.5, len(table) - 0.5)
    ax.set_yticks([0, len(table) - 1] if len(table) > 1 else [0])
    return image
