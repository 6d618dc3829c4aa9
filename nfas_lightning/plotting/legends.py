"""Legends and labels that keep clear of the data, of each other and of the mark of simulated results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nfas_lightning.plotting.style import (
    INK,
    MARK,
    SIMULATED,
    GroupStyle,
    Look,
    finish,
    text_size,
    wrapped,
)

__all__ = ["foot_legend", "group_handles", "legend_columns", "place_labels", "set_head"]


def group_handles(styles: dict[str, GroupStyle]) -> list[Line2D]:
    """Return one legend entry per group."""
    return [
        Line2D([], [], color=style.color, marker=style.marker, linestyle="", markersize=9, label=name)
        for name, style in styles.items()
    ]


def legend_columns(names: Iterable[str], width: float) -> int:
    """Return how many columns of a legend fit into `width` inches."""
    longest = max(map(len, names), default=0)
    return max(1, min(int(width / (0.65 + 0.095 * longest)), sum(1 for _ in names)))


def foot_legend(figure: Figure, handles: Sequence[Line2D], *, simulated: bool) -> None:
    """Put a legend at the foot of a figure, in as many columns as leave the mark of `finish` its room.

    The layout keeps one band for both: it would draw a wide legend and the mark over each other.
    """
    room = figure.bbox.width - (240 if simulated else 30)
    for columns in range(len(handles), 0, -1):
        legend = figure.legend(handles=list(handles), loc="outside lower left", ncols=columns)
        if columns == 1 or legend.get_window_extent().width <= room:
            return
        legend.remove()


def set_head(
    ax: Axes,
    usual: str,
    handles: Sequence[Line2D],
    look: Look,
    *,
    inside: bool,
    simulated: bool,
    columns: int = 1,
    note: str = "",
    notesize: float = 11,
    stretch: bool = True,
    **options: Any,
) -> float:
    """Set the title of axes, their legend above them or inside, and the mark of simulated results.

    Args:
        ax: the axes.
        usual: the title, unless `look` has one.
        handles: entries of the legend; none: no legend.
        look: see `Look`.
        inside: the axes are the caller's: what stands above them would cover other panels or be covered.
        simulated: whether the mark is set.
        columns: of a legend above the axes.
        note: title of the legend.
        notesize: its size in points.
        stretch: extend the linear vertical axis, so that no data lie behind a legend inside.
        options: of ``ax.legend``.

    Returns:
        Height in pixels that the legend takes of the inside.
    """
    figure: Any = ax.figure
    place: Any = {"alignment": "left", "title_fontsize": notesize, "handletextpad": 0.2} | options
    if not inside:
        finish(figure, usual, look, simulated=simulated)
        if handles:
            place |= {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": columns, "title": note}
            ax.legend(handles=list(handles), **place)
        return 0.0
    _lay_out(ax)  # decides how large the axes are
    title = look.get("title")
    title = wrapped(ax, usual if title is None else title, 15)  # bold is a quarter wider than 12 points
    ax.set_title(title, fontsize=12, fontweight="bold", color=INK)
    _lay_out(ax)
    frame, taken = ax.get_window_extent(), 0.0
    if simulated:
        mark = ax.annotate(
            SIMULATED, (1, 1), xycoords="axes fraction", xytext=(-4, -4), textcoords="offset points",
            ha="right", va="top", zorder=6, **MARK | {"fontsize": 10},
        )  # fmt: skip
        taken = frame.y1 - mark.get_window_extent().y0
    # grid lines would run through its words
    place |= {"borderaxespad": 0.3, "frameon": True, "facecolor": "white", "edgecolor": "none"}
    place |= {"loc": "upper left", "bbox_to_anchor": (0, 1 - taken / frame.height)}
    for n in range(len(handles), 0, -1):
        legend = ax.legend(handles=list(handles), ncols=n, title=wrapped(ax, note, notesize), **place)
        box = legend.get_window_extent()
        if n == 1 or box.width <= 0.97 * frame.width:
            taken = float(frame.y1 - box.y0) + 0.4 * notesize  # and a little air
            break
    if stretch and taken > 0:
        low, high = ax.get_ylim()
        ax.set_ylim(low, low + (high - low) / (1 - min(taken / frame.height, 0.6)))
    return taken


def place_labels(
    ax: Axes,
    points: np.ndarray,
    texts: Sequence[str],
    colors: Sequence[str],
    *,
    fontsize: float = 10.5,
    marker_radius: float = 7.0,
    clear: float = 0.0,
) -> None:
    """Write a label beside each point so that labels cover neither each other nor a point.

    Each label may stand in 24 directions at growing distances; labels take turns choosing the cheapest place
    given all others, for a few rounds. One that had to move away is tied to its point by a thin line.

    Args:
        ax: axes whose limits are final.
        points: (n, 2) data coordinates; rows with a non-finite value get no label.
        texts: n labels.
        colors: n colors.
        fontsize: points.
        marker_radius: pixels to keep clear around each point.
        clear: pixels at the top of the axes that belong to something else, see `set_head`.
    """
    _lay_out(ax)
    keep = np.flatnonzero(np.isfinite(points).all(1))
    if not keep.size:
        return
    pixels = ax.transData.transform(points[keep])
    sizes = np.array([text_size(ax, texts[i], fontsize) for i in keep.tolist()]) + 3.0
    frame = np.asarray(ax.get_window_extent().extents) - [0, 0, 0, clear]
    offsets = _arrange(pixels, sizes, marker_radius, frame)
    scale = 72.0 / ax.figure.dpi
    for i, offset, size in zip(keep.tolist(), offsets, sizes, strict=True):
        gap = float(np.hypot(*np.clip(np.abs(offset) - size / 2, 0, None)))
        line = {"arrowstyle": "-", "color": colors[i], "lw": 0.7, "alpha": 0.7, "shrinkA": 0, "shrinkB": 4}
        ax.annotate(
            texts[i], points[i], xytext=tuple(offset * scale), textcoords="offset points", ha="center",
            va="center", fontsize=fontsize, color=colors[i], zorder=5,
            arrowprops=line if gap > 2.0 * marker_radius else None,
        ).set_in_layout(False)  # fmt: skip


def _lay_out(ax: Axes) -> None:
    """Place axes as drawing their figure would, in half the time: nothing is drawn."""
    figure: Any = ax.figure
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
    ax.get_xlim(), ax.get_ylim()  # of data that were added since
    ax.apply_aspect()


def _arrange(points: np.ndarray, sizes: np.ndarray, radius: float, frame: np.ndarray) -> np.ndarray:
    """Return (n, 2) pixel offsets from points to the centers of their labels."""
    n = len(points)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    reach = np.array([radius + 2, 18, 28, 40, 55, 75, 100, 130, 165, 205])
    direction = np.stack([np.cos(angles), np.sin(angles)], 1)
    ring = np.repeat(reach, len(angles))
    candidates = np.tile(direction, (len(reach), 1))[None] * (sizes[:, None] / 2 + ring[:, None])  # (n, C, 2)
    own_cost = np.repeat(reach, len(angles)) * 0.05 + np.tile(0.3 * np.abs(np.sin(angles)), len(reach))
    chosen = candidates[:, 0].copy()
    # the most crowded points choose last, so that they see what the others left
    crowding = (np.linalg.norm(points[:, None] - points[None], axis=-1) < 60).sum(1)
    order = np.argsort(crowding, kind="stable")
    steps = np.linspace(0.1, 0.9, 12)
    for _ in range(8):
        before = chosen.copy()
        for i in order:
            others = np.arange(n) != i
            placed, half = (points + chosen)[others], sizes[others] / 2
            low, high = points[i] + candidates[i] - sizes[i] / 2, points[i] + candidates[i] + sizes[i] / 2
            width = np.minimum(high[:, None], placed + half) - np.maximum(low[:, None], placed - half)
            covered = np.prod(np.clip(width, 0, None), axis=-1).sum(1)
            near = np.clip(np.maximum(low[:, None] - points, points - high[:, None]), 0, None)
            hits = (np.hypot(near[..., 0], near[..., 1]) < radius).sum(1)
            outside = (low < frame[:2]).any(1) | (high > frame[2:]).any(1)
            cost = own_cost + 0.2 * covered + 20 * hits + 1e4 * outside
            # lines are dear to look at: only those of the places that are good without them
            best = np.argsort(cost, kind="stable")[:60]
            line = points[i] + candidates[i][best, None] * steps[:, None]  # (C, S, 2)
            crossed = (np.abs(line[:, :, None] - placed) < half + 1).all(-1).any(1).sum(1)
            through = (np.linalg.norm(line[:, :, None] - points[others], axis=-1) < radius).any(1).sum(1)
            # and the other labels' lines, which must not run through this one
            lines = points[others, None] + chosen[others, None] * steps[:, None]  # (n - 1, S, 2)
            lines = lines[np.linalg.norm(chosen[others], axis=1) > np.linalg.norm(half, axis=1) + 2 * radius]
            inside = (lines[None] > low[best, None, None]) & (lines[None] < high[best, None, None])
            total = cost[best] + 45 * crossed + 5 * through + 45 * inside.all(-1).any(2).sum(1)
            chosen[i] = candidates[i][best[int(np.argmin(total))]]
        if np.array_equal(chosen, before):
            break
    return np.asarray(chosen)
