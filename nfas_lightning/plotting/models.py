"""Figures over models: score against size, stable modes by family, what each model's absence changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from scipy.stats import spearmanr

from nfas_lightning.plotting.labels import place_labels
from nfas_lightning.plotting.space import format_p
from nfas_lightning.plotting.style import (
    INK,
    MUTED,
    finish,
    foot_legend,
    has_mark,
    head_legend,
    keep_clear,
    legend_columns,
    modality_handles,
    modality_styles,
    new_axes,
    new_figure,
    short_names,
    styled,
)
from nfas_lightning.plotting.tables import human, mean_scores
from nfas_lightning.results import SpaceStatistics

__all__ = ["has_sizes", "plot_families", "plot_sizes", "plot_stability", "size_table"]


def size_table(scores: pd.DataFrame, models: pd.DataFrame, *, value: str = "r2") -> pd.DataFrame:
    """Return one row a model with known parameters: ``model``, ``modality``, ``parameters``, ``score``.

    Args:
        scores: the scores table of a run.
        models: its models table.
        value: ``"r2"`` or ``"r"``, of the stable mode, averaged over ROIs.
    """
    table = mean_scores(scores, value=value).rename("score").reset_index()
    count = models.drop_duplicates(["modality", "model"])[["modality", "model", "parameters"]]
    table = table.merge(count, on=["modality", "model"], how="left")
    table["parameters"] = pd.to_numeric(table["parameters"], errors="coerce")
    return table[table["parameters"].gt(0) & table["score"].notna()].reset_index(drop=True)


def has_sizes(models: pd.DataFrame) -> bool:
    """Whether there are three models whose parameters are known and differ."""
    if "parameters" not in models:
        return False
    count = pd.to_numeric(models["parameters"], errors="coerce")
    return int(count.gt(0).sum()) > 2 and bool(count.max() > count.min())


@styled
def plot_sizes(
    scores: pd.DataFrame,
    models: pd.DataFrame,
    *,
    ax: Axes | None = None,
    value: str = "r2",
    labels: bool = True,
    title: str | None = None,
    colors: Mapping[str, str] | None = None,
    simulated: bool | None = None,
) -> Figure:
    """Draw the mean score of every model against its parameters, with Spearman's correlation a modality.

    Args:
        scores: the scores table of a run; of one feature, ``model``, ``modality`` and `value` are enough.
        models: its models table, with ``parameters``.
        ax: axes to draw on, which then carry title, legend and mark themselves; new ones when None.
        value: ``"r2"`` or ``"r"``.
        labels: write each model's name beside its point.
        title: in place of the usual one; ``""``: none.
        colors: of groups, by name, in place of the usual ones; those not named keep theirs.
        simulated: mark the figure as drawn from planted responses; read from the tables when None.

    Raises:
        ValueError: a color is of no group, or neither `simulated` nor a table says whether responses were
            planted.
    """
    simulated = has_mark(simulated, scores, models)
    table = size_table(scores, models, value=value)
    crowded = len(table) > 20
    own = ax
    figure, ax = new_axes(ax, 12.5 if crowded else 10.5, 8.0 if crowded else 6.5)
    styles = modality_styles(table["modality"], colors, among=models["modality"])
    lines = []
    for modality, style in styles.items():
        part = table[table["modality"] == modality]
        ax.scatter(
            part["parameters"], part["score"], s=55, c=style.color, marker=style.marker,
            edgecolors="white", linewidths=0.8, zorder=4, gid=f"sizes-{modality}",
        )  # fmt: skip
        if len(part) > 3 and np.ptp(part["parameters"]) > 0 and np.ptp(part["score"]) > 0:
            found = spearmanr(part["parameters"], part["score"])
            lines.append(f"{modality} {found.statistic:+.2f} ({format_p(found.pvalue)}, {len(part)} models)")
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # sizes may span less than a power of ten
    ax.xaxis.set_major_formatter(FuncFormatter(lambda count, _: human(count)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("parameters")
    ax.set_ylabel({"r2": "mean r² over ROIs", "r": "mean r over ROIs"}[value])
    ax.margins(0.08)
    ax.grid(True)
    note = "Spearman's correlation: " + "; ".join(lines) if lines else ""
    if own is None:
        note = fill(note, width=130 if crowded else 105, break_long_words=False)
    finish(figure, "Alignment against size", title=title, simulated=simulated, ax=own)
    taken = head_legend(
        ax, modality_handles(styles), note=note, notesize=10.5, inside=own is not None, simulated=simulated,
        columns=legend_columns(styles, 11.0 if crowded else 9.0),
    )  # fmt: skip
    keep_clear(ax, taken)
    if labels and len(table):
        place_labels(
            ax,
            table[["parameters", "score"]].to_numpy(float),
            short_names(table["model"]),
            [styles[name].color for name in table["modality"]],
            fontsize=9.5 if crowded else 11,
            marker_radius=5.5,
            clear=taken,
        )
    return figure


@styled
def plot_families(
    spectra: pd.DataFrame,
    models: pd.DataFrame,
    *,
    title: str | None = None,
    colors: Mapping[str, str] | None = None,
    simulated: bool | None = None,
) -> Figure:
    """Draw the stable eigenvalue of every model by family: modulus, and rotation a block.

    One row a family, one mark a model: left the modulus (the line at 1 neither grows nor fades), right the
    angle between two blocks in degrees. Families go by modality, then by their mean modulus.

    Args:
        spectra: the spectra table of a run.
        models: its models table, with ``family``.
        title: in place of the usual one; ``""``: none.
        colors: of groups, by name, in place of the usual ones; those not named keep theirs.
        simulated: mark the figure as drawn from planted responses, ``results.simulated`` of the run; read
            from the tables when None.

    Raises:
        ValueError: neither `simulated` nor a table says whether responses were planted.
    """
    simulated = has_mark(simulated, spectra, models)
    stable = spectra[spectra["stable"].astype(bool)].dropna(subset=["real", "imag"])
    stable = stable.sort_values("imag").drop_duplicates(["model", "modality"], keep="last").sort_index()
    family = models.drop_duplicates(["model", "modality"])[["model", "modality", "family"]]
    table = stable.drop(columns="family", errors="ignore").merge(family, on=["model", "modality"], how="left")
    table["family"] = table["family"].fillna("unknown").astype(str)
    table["modulus"] = np.hypot(table["real"], table["imag"])
    table["angle"] = np.degrees(np.arctan2(table["imag"].abs(), table["real"]))
    styles = modality_styles(table["modality"], colors)
    rank = {name: i for i, name in enumerate(styles)}
    means = table.groupby(["modality", "family"], sort=False)["modulus"].mean()
    rows = sorted(means.index, key=lambda pair: (rank[pair[0]], -means[pair]))[::-1]
    place = {pair: i for i, pair in enumerate(rows)}
    y = np.array([place[pair] for pair in zip(table["modality"], table["family"], strict=True)])
    figure = new_figure(11.0, 1.9 + 0.3 * max(len(rows), 2))
    panels = figure.subplots(1, 2, sharey=True)
    for ax, column, label in (
        (panels[0], "modulus", "modulus |λ| of the stable mode"),
        (panels[1], "angle", "its rotation from block to block, degrees"),
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
    panels[0].set_yticks(range(len(rows)), names)
    for tick, (modality, _) in zip(panels[0].get_yticklabels(), rows, strict=True):
        tick.set_color(styles[modality].color)
    panels[0].legend(
        handles=modality_handles(styles), loc="lower left", bbox_to_anchor=(0, 1), ncols=len(styles),
        handletextpad=0.2,
    )  # fmt: skip
    return finish(figure, "Stable modes by family", title=title, simulated=simulated)


@styled
def plot_stability(
    statistics: SpaceStatistics,
    *,
    title: str | None = None,
    colors: Mapping[str, str] | None = None,
    simulated: bool | None = None,
    max_rows: int = 20,
) -> Figure:
    """Draw what the tests and maps become without each model: the models that change them most.

    Left pseudo-F of PERMANOVA and in the middle the silhouette, against the line of all models; right the
    rank correlation over ROIs of SNCI (filled) and of convergence (hollow) with those of all models.

    Args:
        statistics: of the space, each model left out in turn.
        title: in place of the usual one; ``""``: none.
        colors: of groups, by name, in place of the usual ones; those not named keep theirs.
        simulated: mark the figure as drawn from planted responses; read from the coordinates when None.
        max_rows: at most so many models.

    Raises:
        ValueError: neither `simulated` nor the coordinates say whether responses were planted.
    """
    simulated = has_mark(simulated, statistics.coordinates)
    table = statistics.stability
    whole = statistics.permanova.get("statistic", math.nan)
    change = (table["permanova"] - whole).abs()
    shown = table.loc[change.sort_values(ascending=False).index[:max_rows]][::-1]
    styles = modality_styles(shown["modality"], colors, among=table["modality"])
    inks = [styles[name].color for name in shown["modality"]]
    y = np.arange(len(shown))
    figure = new_figure(11.5, 2.3 + 0.3 * max(len(shown), 2))
    panels = figure.subplots(1, 3, sharey=True)
    lines = (whole, statistics.silhouette.get("statistic", math.nan), 1.0)
    labels = ("PERMANOVA pseudo-F without it", "silhouette without it", "rank correlation with all models")
    for ax, columns, line, label in zip(
        panels, (["permanova"], ["silhouette"], ["snci", "convergence"]), lines, labels, strict=True
    ):
        for column, filled in zip(columns, (True, False), strict=False):
            for modality, style in styles.items():
                own = (shown["modality"] == modality).to_numpy()
                ax.scatter(
                    shown[column][own], y[own], s=48, facecolors=style.color if filled else "white",
                    edgecolors=style.color, marker=style.marker, linewidths=1.3, zorder=3,
                    gid=f"stability-{column}",
                )  # fmt: skip
        if math.isfinite(line):
            ax.axvline(line, color=INK, lw=1.2, zorder=1)
        ax.set_xlabel(label)
        ax.grid(True, axis="x")
    panels[0].set_yticks(y, short_names(shown["model"]))
    for tick, color in zip(panels[0].get_yticklabels(), inks, strict=True):
        tick.set_color(color)
    panels[0].set_ylim(-0.7, len(shown) - 0.3)
    note = "line: all models" + (f"; the {len(shown)} of most effect" if len(shown) < len(table) else "")
    panels[0].set_title(note, fontsize=10.5, color=MUTED, loc="left")
    panels[2].set_title("filled: SNCI; hollow: convergence", fontsize=10.5, color=MUTED, loc="left")
    foot_legend(figure, modality_handles(styles), simulated=simulated)
    return finish(figure, "What leaving out one model changes", title=title, simulated=simulated)
