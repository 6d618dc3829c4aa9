"""Figures of depth dynamics: eigenvalues on the unit circle and by family, the stable mode over depth."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from nfas_lightning.plotting.legends import foot_legend, group_handles
from nfas_lightning.plotting.score_tables import model_order
from nfas_lightning.plotting.style import (
    INK,
    MUTED,
    GroupStyle,
    Look,
    finish,
    group_styles,
    has_mark,
    name_rows,
    new_figure,
    short_names,
    styled,
)

__all__ = ["plot_depth", "plot_families", "plot_spectra"]

_PALE = 0.3  # opacity of a fill that says: here, but not the one that counts
_LONGEST_NAME = 26  # characters beside a circle
_RIDGE = 0.86  # height of a row of `plot_depth` at its scale's end
_REACH = 1.6  # eigenvalues beyond this modulus are drawn at the rim: one wild value must not shrink the rest


@styled
def plot_spectra(spectra: pd.DataFrame, *, max_labels: int = 16, **look: Unpack[Look]) -> Figure:
    """Draw the DMD eigenvalues of all models in the complex plane, one panel per modality.

    The stable mode's eigenvalue is filled, the others are hollow. A complex eigenvalue of real states comes
    with its conjugate, which is the same mode once more: that of the stable one is pale. Values of modulus
    above 1.6 are moved to the rim and counted.

    Args:
        spectra: the spectra table of a run.
        max_labels: panels with more models than this carry no names.
        **look: see `Look`.
    """
    simulated = has_mark(look, spectra)
    styles = group_styles(spectra["modality"], look)
    columns = max(1, min(len(styles), 3))
    rows = -(-len(styles) // columns) or 1
    names = dict(zip(named := spectra["model"].unique(), short_names(named, _LONGEST_NAME), strict=True))
    wide = max(4.8, 3.0 + 0.1 * max(map(len, names.values()), default=0))  # inches: the circle and its names
    figure = new_figure(max(9.0, wide * columns + 0.4), 3.5 * rows + 1.1)
    panels = figure.subplots(rows, columns, squeeze=False)
    for ax in panels.ravel()[len(styles) :]:
        ax.set_axis_off()
    values = spectra.dropna(subset=["real", "imag"])
    modulus = np.hypot(values["real"], values["imag"])
    limit = float(np.clip(modulus.max() * 1.08 if len(modulus) else 1.0, 1.12, _REACH * 1.04))
    paired = False
    for (modality, style), ax in zip(styles.items(), panels.ravel(), strict=False):
        _draw_circle(ax, limit)
        part = values[values["modality"] == modality]
        shrink = np.minimum(1.0, _REACH / np.maximum(np.hypot(part["real"], part["imag"]), 1e-12))
        x, y = part["real"] * shrink, part["imag"] * shrink
        twin = conjugates(part)
        stable = part["stable"].astype(bool).to_numpy() & ~twin
        other = ~stable & ~twin
        dots: Any = {"marker": style.marker, "s": 60, "linewidths": 1.2, "edgecolors": style.color}
        ax.scatter(x[other], y[other], facecolors="none", alpha=0.7, gid="others", zorder=3, **dots)
        pale = to_rgba(style.color, _PALE)
        ax.scatter(x[twin], y[twin], facecolors=pale, gid="conjugates", zorder=3.5, **dots)
        dots["edgecolors"] = "white"
        ax.scatter(x[stable], y[stable], c=style.color, gid="stable", zorder=4, **dots)
        paired = paired or bool(twin.any())
        n_models = part["model"].nunique()
        ax.set_title(
            f"{modality}: {n_models} model{'s' * (n_models != 1)}", color=style.color, fontweight="bold"
        )
        if (moved := int((shrink < 1).sum())) > 0:
            note = f"{moved} beyond modulus {_REACH:g}, drawn at the rim"
            ax.text(0.02, 0.02, note, transform=ax.transAxes, fontsize=10, color=MUTED)
        shown = part.assign(x=x, y=y, name=part["model"].map(names))[stable]
        _name_stable(ax, shown, style.color, limit, max_labels)
        _enlarge(ax, x[stable].to_numpy(), y[stable].to_numpy(), style)
    dot: Any = {"marker": "o", "ls": "", "color": MUTED, "markersize": 8}
    handles = [Line2D([], [], label="stable mode", **dot)]
    if paired:
        pale = to_rgba(MUTED, _PALE)
        handles.append(Line2D([], [], mfc=pale, label="its complex conjugate: the same mode", **dot))
    handles += [
        Line2D([], [], mfc="none", label="other modes", **dot),
        Line2D([], [], color=INK, lw=1.3, label="unit circle: neither growth nor decay"),
    ]
    foot_legend(figure, handles, simulated=simulated)
    return finish(figure, "Eigenvalues of depth dynamics", look, simulated=simulated)


@styled
def plot_depth(depth: pd.DataFrame, **look: Unpack[Look]) -> Figure:
    """Draw for every model the stable mode's weights `|c_l|` and each block's own score over relative depth.

    One row per model: on the left the weights, scaled to the row's maximum; on the right the correlation of
    the block alone, on one scale for all models. A dot marks the maximum of a row. Relative depth runs from
    the first recorded block (0) to the last (1).

    Args:
        depth: the depth table of a run.
        **look: see `Look`.
    """
    simulated = has_mark(look, depth)
    pairs = model_order(depth)
    styles = group_styles((modality for modality, _ in pairs), look)
    figure = new_figure(11.5, 1.9 + 0.42 * len(pairs))
    panels = figure.subplots(1, 2, sharey=True)
    top = max(float(depth["r"].max(skipna=True)) if depth["r"].notna().any() else 0.0, 1e-9)
    below = bool((depth["r"] < 0).any())
    for row, (modality, model) in enumerate(reversed(pairs)):
        part = depth[(depth["model"] == model) & (depth["modality"] == modality)].sort_values("depth")
        place = part["depth"].to_numpy(float)
        place = (place - place.min()) / max(float(np.ptp(place)), 1.0)
        largest = float(part["weight"].max()) if part["weight"].notna().any() else 1.0
        heights = part["weight"].to_numpy(float) / max(largest, 1e-12), part["r"].to_numpy(float) / top
        for panel, height in zip(panels, heights, strict=True):
            _draw_ridge(panel, place, height, row, styles[modality].color)
    name_rows(
        panels[0], [model for _, model in pairs[::-1]], [styles[of].color for of, _ in pairs[::-1]], lift=0.4
    )
    headings = (
        "weight |c| of the stable mode\n(each row scaled to its maximum)",
        f"r of the block alone\n(row height: r = {top:.2f}{'; below 0 drawn as 0' if below else ''})",
    )
    for ax, heading, most in zip(panels, headings, ("max", f"{top:.2f}"), strict=True):
        ax.set_title(heading, fontsize=12)
        # one scale holds for all rows: it stands beside the first
        scale = ax.secondary_yaxis("right")
        scale.set_yticks([len(pairs) - 1, len(pairs) - 1 + _RIDGE], ["0", most], fontsize=9)
        scale.spines[:].set_visible(False)
        ax.set_xlabel("relative depth: first block 0, last block 1")
        ax.set_ylim(-0.1, len(pairs) + 0.05)
        ax.set_xlim(-0.02, 1.02)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.grid(True, axis="x")
    if len(styles) > 1:
        foot_legend(figure, group_handles(styles), simulated=simulated)
    return finish(figure, "The stable mode over depth", look, simulated=simulated)


@styled
def plot_families(spectra: pd.DataFrame, models: pd.DataFrame, **look: Unpack[Look]) -> Figure:
    """Draw the stable eigenvalue of every model by family: its modulus, and its rotation per block.

    One row per family, one point per model: left the modulus (1: neither growth nor decay), right the angle
    per block in degrees. Families are sorted by modality, then by their mean modulus.

    Args:
        spectra: the spectra table of a run.
        models: its models table, with ``family``.
        **look: see `Look`.
    """
    simulated = has_mark(look, spectra, models)
    stable = spectra[spectra["stable"].astype(bool)].dropna(subset=["real", "imag"])
    stable = stable.sort_values("imag").drop_duplicates(["model", "modality"], keep="last").sort_index()
    family = models.drop_duplicates(["model", "modality"])[["model", "modality", "family"]]
    table = stable.drop(columns="family", errors="ignore").merge(family, on=["model", "modality"], how="left")
    table["family"] = table["family"].fillna("unknown").astype(str)
    table["modulus"] = np.hypot(table["real"], table["imag"])
    table["angle"] = np.degrees(np.arctan2(table["imag"].abs(), table["real"]))
    styles = group_styles(table["modality"], look)
    rank = {name: i for i, name in enumerate(styles)}
    means = table.groupby(["modality", "family"], sort=False)["modulus"].mean()
    rows = sorted(means.index, key=lambda pair: (rank[pair[0]], -means[pair]))[::-1]
    place = {pair: i for i, pair in enumerate(rows)}
    y = np.array([place[pair] for pair in zip(table["modality"], table["family"], strict=True)])
    figure = new_figure(11.0, 1.9 + 0.3 * max(len(rows), 2))
    panels = figure.subplots(1, 2, sharey=True)
    for ax, column, label in (
        (panels[0], "modulus", "modulus |λ| of the stable mode"),
        (panels[1], "angle", "rotation per block, degrees"),
    ):
        for modality, style in styles.items():
            own = (table["modality"] == modality).to_numpy()
            ax.scatter(
                table[column][own], y[own], s=48, c=style.color, marker=style.marker, edgecolors="white",
                linewidths=0.6, zorder=3, gid=f"families-{column}-{modality}",
            )  # fmt: skip
        for line in np.arange(len(rows)):
            ax.axhline(line, color="#ececec", lw=0.8, zorder=0)
        ax.set_xlabel(label)
        ax.grid(True, axis="x")
        ax.set_ylim(-0.7, len(rows) - 0.3)
    panels[0].axvline(1, color=INK, lw=1.2, zorder=1)
    counts = table.groupby(["modality", "family"]).size()
    names = [f"{pair[1]} ({counts[pair]})" if counts[pair] > 1 else pair[1] for pair in rows]
    name_rows(panels[0], names, [styles[modality].color for modality, _ in rows])
    panels[0].legend(
        handles=group_handles(styles), loc="lower left", bbox_to_anchor=(0, 1), ncols=len(styles),
        handletextpad=0.2,
    )  # fmt: skip
    return finish(figure, "Stable modes by family", look, simulated=simulated)


def conjugates(part: pd.DataFrame) -> np.ndarray:
    """Whether each mode is the complex conjugate of its model's stable one: the same mode, seen twice."""
    values = part["real"].to_numpy(float) + 1j * part["imag"].to_numpy(float)
    marked = part["stable"].astype(bool).to_numpy()
    twin = np.zeros(len(part), dtype=bool)
    owner = part.groupby(["model", "dataset"], sort=False).ngroup().to_numpy()
    for rows in (np.flatnonzero(owner == index) for index in np.unique(owner)):
        stable = rows[marked[rows]]
        if len(stable):
            lead = stable[np.argmax(values[stable].imag)]
            # real spectra have exact pairs; a tolerance because tables may have been written in fewer digits
            same = np.abs(values[rows] - values[lead].conj()) <= 1e-4 * np.abs(values[lead])
            twin[rows[same & (rows != lead)]] = True
    return twin


def _draw_circle(ax: Axes, limit: float) -> None:
    ax.add_patch(Circle((0, 0), 1, fill=False, edgecolor=INK, lw=1.3, zorder=1))
    ax.axhline(0, color="#e0e0e0", lw=1, zorder=0)
    ax.axvline(0, color="#e0e0e0", lw=1, zorder=0)
    ax.set_xlim(-limit, limit)
    ax.set_ylim(-limit, limit)
    ax.set_aspect("equal")
    ticks = [-1.0, -0.5, 0.0, 0.5, 1.0]
    ax.set_xticks(ticks)
    ax.set_yticks(ticks)
    ax.set_xlabel("real part")
    ax.set_ylabel("imaginary part")


def _enlarge(ax: Axes, x: np.ndarray, y: np.ndarray, style: GroupStyle) -> None:
    """Show once more, enlarged, where the stable eigenvalues crowd at 1; in the corner that holds none."""
    y = np.abs(y)  # of a conjugate pair, whichever is marked
    half = 0.62 * max(np.ptp(x), np.ptp(y), 0.02) if len(x) > 1 else np.inf
    if half > 0.3:
        return
    middle = (x.min() + x.max()) / 2, (y.min() + y.max()) / 2
    inset = ax.inset_axes((0.03, 0.03, 0.4, 0.4))
    inset.scatter(
        x, y, c=style.color, marker=style.marker, s=26, edgecolors="white", linewidths=0.5, gid="enlarged"
    )
    inset.add_patch(Circle((0, 0), 1, fill=False, edgecolor=INK, lw=1.3, zorder=1))
    inset.set_xlim(middle[0] - half, middle[0] + half)
    inset.set_ylim(middle[1] - half, middle[1] + half)
    inset.set_aspect("equal")
    inset.tick_params(
        labelsize=8,
        top=True,
        labeltop=True,
        bottom=False,
        labelbottom=False,
        right=True,
        labelright=True,
        left=False,
        labelleft=False,
    )
    inset.locator_params(nbins=3)
    ax.indicate_inset_zoom(inset, edgecolor=MUTED)


def _name_stable(ax: Axes, values: pd.DataFrame, color: str, limit: float, max_labels: int) -> None:
    """Name the stable eigenvalues in a column right of the circle: they crowd where the circle meets 1."""
    named = values.sort_values("imag").drop_duplicates("model", keep="last").sort_values("y")
    if not 0 < len(named) <= max_labels:
        return
    gap = min(0.19, 2 * limit / len(named))
    heights = _spread(named["y"].to_numpy(float), gap, -limit + 0.1, limit - 0.1)
    for row, height in zip(named.itertuples(), heights, strict=True):
        line = {"arrowstyle": "-", "color": color, "lw": 0.7, "alpha": 0.6, "shrinkA": 2, "shrinkB": 4}
        line["relpos"] = (0.0, 0.5)  # from the start of the name, so that no line runs under a name
        ax.annotate(
            str(row.name), (row.x, row.y), xytext=(limit + 0.08, height), va="center", fontsize=10,
            color=color, annotation_clip=False, arrowprops=line,
        )  # fmt: skip


def _spread(heights: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Move sorted heights apart by at least `gap`, near where they were and inside [low, high]."""
    out = heights.copy()
    for i in range(1, len(out)):
        out[i] = max(out[i], out[i - 1] + gap)
    out -= np.mean(out - heights)
    out -= max(0.0, out[-1] - high)
    return np.asarray(out + max(0.0, low - out[0]))


def _draw_ridge(ax: Axes, place: np.ndarray, height: np.ndarray, row: int, color: str) -> None:
    ax.axhline(row, color="#d5d5d5", lw=0.8, zorder=0)
    if not np.isfinite(height).any():
        ax.text(0.0, row + 0.3, "not computed", fontsize=9.5, color=MUTED)
        return
    tall = _RIDGE * np.clip(height, 0, 1)
    ax.fill_between(place, row, row + tall, color=color, alpha=0.28, lw=0)
    ax.plot(place, row + tall, color=color, lw=1.6, marker="o" if len(place) == 1 else None)
    best = int(np.nanargmax(height))
    ax.plot(place[best], row + tall[best], "o", color=color, markersize=5)
