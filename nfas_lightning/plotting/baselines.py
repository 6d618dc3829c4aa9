"""The stable mode beside its baselines, model by model and ROI by ROI, and beside a planted truth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nfas_lightning.errors import InputError
from nfas_lightning.functional.paired import paired_test
from nfas_lightning.plotting.legends import foot_legend, group_handles, set_head
from nfas_lightning.plotting.score_tables import (
    gain_table,
    mean_r2,
    model_order,
    roi_scores,
    value_name,
)
from nfas_lightning.plotting.style import (
    INK,
    MUTED,
    GroupStyle,
    Look,
    finish,
    group_styles,
    has_mark,
    new_axes,
    new_figure,
    short_names,
    styled,
)
from nfas_lightning.results import FEATURES, SpaceStatistics

__all__ = ["has_truth", "planted_groups", "plot_baselines", "plot_rois", "plot_truth"]


class _Look(NamedTuple):
    marker: str
    color: str
    filled: bool
    size: float


# modalities own the colors: baselines are told apart by shape, in ink and gray
_LOOKS = {
    "last_block": _Look("<", INK, False, 55),
    "best_block": _Look("^", INK, False, 60),
    "mean_depth": _Look("o", INK, False, 55),
    "all_blocks": _Look("s", INK, False, 50),
    "random_weights": _Look("x", MUTED, True, 50),
    "nuisance": _Look("|", "#B00020", True, 190),
}
_LIFT = 0.17  # the stable mode stands above the row's line, its baselines below: neither hides the other
_OTHER = _Look("d", MUTED, False, 50)


@styled
def plot_baselines(scores: pd.DataFrame, *, ax: Axes | None = None, **look: Unpack[Look]) -> Figure:
    """Draw what the stable mode gains over each baseline, in mean correlation over ROIs.

    One row per baseline: a dot per model, and below them the mean with its 95 % interval over models, which
    takes them as independent, see `functional.paired.paired_test`.

    Args:
        scores: the scores table of a run.
        ax: see `plot_space`.
        **look: see `Look`.

    Raises:
        ValueError: the table lacks the stable mode, or holds nothing beside it.
    """
    simulated = has_mark(look, scores)
    gains = gain_table(scores)
    if not gains.shape[1]:
        raise InputError(
            "scores must hold the stable mode and a baseline, got the features "
            f"{sorted(map(str, scores['feature'].unique()))}: score with baselines."
        )
    inside = ax is not None
    figure, ax = new_axes(ax, 10.5, 2.3 + 0.75 * gains.shape[1])
    modalities = gains.index.get_level_values("modality")
    styles = group_styles(modalities, look)
    rng = np.random.default_rng(0)  # the same results draw the same picture
    rows = list(range(gains.shape[1]))[::-1]
    for row, (name, column) in zip(rows, gains.items(), strict=True):
        for modality, style in styles.items():
            own = column[modalities == modality].dropna()
            y = row + _LIFT + rng.uniform(-0.14, 0.14, len(own))
            ax.scatter(
                own, y, c=style.color, marker=style.marker, s=42, alpha=0.75,
                edgecolors="white", linewidths=0.5, zorder=3, gid=f"gain-{name}",
            )  # fmt: skip
        test = paired_test(torch.tensor(list(column.dropna())))
        ax.hlines(row - _LIFT, test.low, test.high, color=INK, lw=3, zorder=4, gid="interval")
        ax.scatter(test.mean, row - _LIFT, c=INK, marker="D", s=60, zorder=5, gid="mean")
    ax.axvline(0, color=MUTED, lw=1.2, zorder=0)
    ax.set_yticks(rows, [FEATURES.get(str(name), str(name)) for name in gains])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_xlabel(f"{_axis_name(scores)} of the stable mode minus that of the baseline, mean over ROIs")
    ax.grid(True, axis="x")
    mean = Line2D([], [], marker="D", color=INK, lw=3, markersize=7, label="mean, 95 % interval over models")
    set_head(
        ax, "The stable mode and its baselines", [*group_handles(styles), mean], look, inside=inside,
        simulated=simulated, columns=4, handletextpad=0.4, columnspacing=1.2,
    )  # fmt: skip
    return figure


@styled
def plot_rois(scores: pd.DataFrame, *, alpha: float = 0.05, **look: Unpack[Look]) -> Figure:
    """Draw every ROI's correlations, one panel per model: for experiments with few ROIs.

    The stable mode is filled where its null is rejected (q below `alpha`, or p where no q is known), hollow
    elsewhere; a black line is the ROI's noise ceiling, a red bar what the nuisances reach alone.

    Args:
        scores: the scores table of a run.
        alpha: level of the tests.
        **look: see `Look`.
    """
    simulated = has_mark(look, scores)
    pairs = model_order(scores)
    styles = group_styles((modality for modality, _ in pairs), look)
    tables = {pair: roi_scores(scores, pair[1], pair[0]) for pair in pairs}
    n_rois = max(len(table) for table in tables.values())
    columns = min(len(pairs), 3)
    lines = -(-len(pairs) // columns)
    figure = new_figure(max(8.5, 4.4 * columns + 1.0), 1.9 + lines * (1.0 + 0.46 * n_rois))
    first = tables[pairs[0]].index
    same_rows = all(table.index.equals(first) for table in tables.values())
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=same_rows)
    for ax in panels.ravel()[len(pairs) :]:
        ax.set_axis_off()
    for (modality, model), ax in zip(pairs, panels.ravel(), strict=False):
        table, style = tables[modality, model][::-1], styles[modality]
        y = np.arange(len(table))
        ax.vlines(table["ceiling"], y - 0.36, y + 0.36, color=INK, lw=2.2, zorder=2, gid="ceiling")
        _draw_features(ax, table.drop(columns=["stable_mode", "p", "q", "ceiling"], errors="ignore"), y)
        if "stable_mode" in table:
            beats_null = (table["q"].where(table["q"].notna(), table["p"]) < alpha).to_numpy()
            face = [style.color if beaten else "white" for beaten in beats_null]
            ax.scatter(
                table["stable_mode"], y + _LIFT, c=face, edgecolors=style.color, marker=style.marker, s=110,
                linewidths=1.8, zorder=5, gid="stable_mode",
            )  # fmt: skip
        ax.axvline(0, color=MUTED, lw=1, zorder=0)
        ax.set_yticks(y, table.index.astype(str))
        for edge in y[:-1] + 0.5:
            ax.axhline(edge, color="#e8e8e8", lw=0.8, zorder=0)
        ax.set_ylim(-0.6, len(table) - 0.4)
        ax.set_title(short_names([model])[0], color=style.color, fontweight="bold", loc="left")
        ax.grid(True, axis="x")
        ax.tick_params(labelbottom=True)
        ax.set_xlabel(_axis_name(scores))
    features = [name for name in FEATURES if any(name in table for table in tables.values())]
    symbol = "q" if any(table["q"].notna().any() for table in tables.values()) else "p"
    style = styles[pairs[0][0]]
    handles = _feature_handles(features, {f"stable mode, null rejected ({symbol} < {alpha:g})": style})
    hollow = Line2D(
        [], [], marker=style.marker, ls="", mfc="white", color=style.color, markersize=9,
        label="stable mode, not rejected or not tested",
    )  # fmt: skip
    ceiling = Line2D([], [], marker="|", ls="", color=INK, markersize=13, mew=2.2, label="noise ceiling")
    foot_legend(figure, [handles[0], hollow, *handles[1:], ceiling], simulated=simulated)
    return finish(figure, "Scores by ROI", look, simulated=simulated)


def _axis_name(scores: pd.DataFrame) -> str:
    name = value_name(scores).split(" (")[0]
    return name[0].lower() + name[1:]


def has_truth(rois: pd.DataFrame) -> bool:
    """Whether a ROI table says which modality each ROI was planted to follow."""
    return {"driven_by", "integrative"} <= set(rois)


def _planted(rois: pd.DataFrame) -> tuple[pd.Series[Any], pd.Series[Any]]:
    """Return by ROI what it was planted to follow, and whether it integrates."""
    truth = rois.drop_duplicates("roi").set_index("roi")
    driven = truth["driven_by"].fillna("").astype(str).replace("none", "")
    integrative = truth["integrative"].fillna(False).astype(bool)
    if "planted" in truth and not truth["planted"].any():  # a null run: a plan, but no signal
        driven, integrative = driven.mask(driven != "", ""), integrative & False
    return driven, integrative


def planted_groups(rois: pd.DataFrame, modality: str) -> dict[str, pd.Series[Any]]:
    """Return the ROIs, as masks, by what they were planted to follow, seen from one modality."""
    driven, integrative = _planted(rois)
    own = driven.str.contains(rf"\b{re.escape(modality)}\b", regex=True)
    return {
        f"{modality}\nplanted": own & ~integrative,
        "integrative\nplanted": integrative,
        "another\nmodality": ~own & ~integrative & (driven != ""),
        "nothing\nplanted": ~integrative & (driven == ""),
    }


@styled
def plot_truth(
    scores: pd.DataFrame,
    rois: pd.DataFrame,
    statistics: SpaceStatistics | None = None,
    **look: Unpack[Look],
) -> Figure:
    """Draw what was planted beside what was recovered, always marked as simulated.

    One panel per modality: each ROI's mean r2 over the modality's models, by what the ROI was planted to
    follow. Where statistics are given, a last panel compares the convergence of planted integrative ROIs with
    that of the rest.

    Args:
        scores: the scores table of a run.
        rois: ROI table with ``driven_by`` (a modality, several joined by anything but letters, ``"all"``,
            ``"none"`` or empty), ``integrative`` and perhaps ``planted``, False everywhere in a null run.
        statistics: of the same run.
        **look: see `Look`.
    """
    recovered = mean_r2(scores)
    styles = group_styles(recovered.columns.astype(str), look)
    with_convergence = statistics is not None and statistics.convergence["convergence"].notna().any()
    n_panels = len(styles) + int(with_convergence)
    figure = new_figure(max(7.5, 3.7 * n_panels + 0.8), 4.8)
    panels = figure.subplots(1, n_panels, squeeze=False)[0]
    rng = np.random.default_rng(0)
    for (modality, style), ax in zip(styles.items(), panels, strict=False):
        groups = planted_groups(rois, modality)
        _draw_strips(ax, recovered[modality], groups, style.color, rng)
        ax.set_title(modality, color=style.color, fontweight="bold")
    for ax in panels[: len(styles)]:
        ax.set_ylim(0, max(float(np.nanmax(recovered.to_numpy(float), initial=0.0)) * 1.06, 1e-3))
    panels[0].set_ylabel("recovered: mean r² over models")
    if with_convergence and statistics is not None:
        values, integrative = statistics.convergence.set_index("roi")["convergence"], _planted(rois)[1]
        groups = {"integrative\nplanted": integrative, "all\nothers": ~integrative}
        _draw_strips(panels[-1], values, groups, "#5b4b8a", rng)
        panels[-1].set_title("convergence", color="#5b4b8a", fontweight="bold")
        panels[-1].set_ylim(0, 1.02)
    return finish(figure, "Planted truth and recovered scores", look, simulated=True)


def _draw_strips(
    ax: Axes, values: pd.Series, groups: dict[str, pd.Series], color: str, rng: np.random.Generator
) -> None:
    """Draw a strip of dots and its median for each group of ROIs that has any."""
    filled = {name: values.reindex(mask.index[mask]).dropna() for name, mask in groups.items() if mask.any()}
    for i, part in enumerate(filled.values()):
        x = i + rng.uniform(-0.24, 0.24, len(part))
        ax.scatter(x, part, s=22, c=color, alpha=0.5, linewidths=0, zorder=3, gid="truth")
        if len(part):
            ax.hlines(part.median(), i - 0.36, i + 0.36, color=INK, lw=2.5, zorder=4)
    ax.set_xticks(
        range(len(filled)), [f"{name}\n({len(part)})" for name, part in filled.items()], fontsize=10
    )
    ax.set_xlim(-0.6, len(filled) - 0.4)
    ax.grid(True, axis="y")


def _draw_features(ax: Axes, table: pd.DataFrame, y: np.ndarray) -> None:
    for name in table:
        look = _LOOKS.get(str(name), _OTHER)
        color: dict[str, Any] = (
            {"c": look.color} if look.filled else {"facecolors": "white", "edgecolors": look.color}
        )
        drop = 0.0 if name == "nuisance" else _LIFT
        ax.scatter(
            table[name], y - drop, marker=look.marker, s=look.size, linewidths=1.6, zorder=3, gid=str(name),
            **color,
        )  # fmt: skip


def _feature_handles(features: list[str], stable: Mapping[str, GroupStyle]) -> list[Line2D]:
    """Legend entries: those of the stable mode by their label, then one per baseline."""
    handles = [
        Line2D([], [], marker=style.marker, ls="", color=style.color, markersize=10, label=label)
        for label, style in stable.items()
    ]
    for name in features:
        if name == "stable_mode":
            continue
        look = _LOOKS.get(name, _OTHER)
        handles.append(
            Line2D(
                [], [], marker=look.marker, ls="", color=look.color, mew=1.6, label=FEATURES.get(name, name),
                mfc=look.color if look.filled else "white", markersize=13 if look.marker == "|" else 8,
            )
        )  # fmt: skip
    return handles
