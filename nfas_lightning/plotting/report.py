"""report.html: one self-contained page of a run, and its figures as files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from nfas_lightning.plotting.agreement import plot_convergence, plot_snci
from nfas_lightning.plotting.baselines import has_truth, plot_baselines, plot_rois, plot_truth
from nfas_lightning.plotting.brain import has_coordinates, plot_brain, plot_glass
from nfas_lightning.plotting.dynamics import plot_depth, plot_spectra
from nfas_lightning.plotting.models import (
    has_sizes,
    plot_families,
    plot_sizes,
    plot_stability,
    size_table,
)
from nfas_lightning.plotting.page import contents, page_context
from nfas_lightning.plotting.pictures import embed
from nfas_lightning.plotting.space import plot_networks, plot_space
from nfas_lightning.plotting.style import check_formats, is_simulated, save_figure
from nfas_lightning.plotting.tables import FEW_ROIS, mean_r2
from nfas_lightning.results import RunResults, SpaceStatistics, group_words
from nfas_lightning.writing import write_text

__all__ = ["draw_figures", "write_report"]

_FEW_FAMILIES = 4  # fewer are told apart by their names at the unit circle
_NOISE = "Scores of noise alone lie above 0 too: a height here is no test."
_FEW_MAPS = 6  # more rows of brains are a page of their own


def write_report(
    path: str | Path,
    results: RunResults | None,
    statistics: SpaceStatistics,
    *,
    title: str | None = None,
    simulated: bool = False,
    dpi: int = 200,
    formats: Iterable[str] = ("png",),
) -> Path:
    """Write ``report.html``, a single file without any link to the network, and its figures beside it.

    Args:
        path: the html file, or the folder to write ``report.html`` in.
        results: tables of the run; without them the page has the sections that `statistics` alone can fill.
        statistics: of the space.
        title: heading of the page.
        simulated: mark the page as simulated even where `results` do not say so.
        dpi: dots per inch of the figures' files; the page shows them at 100, so 200 is sharp on dense
            screens. The page has them compressed, see `embed`.
        formats: of the figures' files: ``"pdf"`` and ``"svg"`` are for papers, with text that can be edited.
            ``"png"`` is always among them, for the page is made of it.

    Returns:
        Path of the html file. Figures are in ``figures/`` beside it.

    Raises:
        ValueError: an unknown format.
    """
    formats = check_formats(formats)
    path = Path(path)
    target = path if path.suffix in (".html", ".htm") else path / "report.html"
    simulated = simulated or _is_simulated(results, statistics)
    figures = {}
    for name, caption, draw in draw_figures(results, statistics, simulated=simulated):
        figure = draw()
        file = save_figure(figure, target.parent / "figures" / f"{name}.png", dpi=dpi, formats=formats)
        alt = figure.get_suptitle() or name
        spots = _spots(figure, name, results, statistics)
        source = embed(file, dpi=dpi, shaded=name.startswith("map_"))
        width = round(float(figure.get_figwidth()) * 100)
        figures[name] = {"source": source, "alt": alt, "caption": caption, "width": width, "spots": spots}
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8"))
    context = page_context(results, statistics, simulated=simulated, title=title)
    context["maps"] = [name for name in figures if name.startswith("map_")]
    context["contents"] = contents(context, figures)
    write_text(target, template.render(figures=figures, **context))
    return target


def draw_figures(
    results: RunResults | None, statistics: SpaceStatistics, *, simulated: bool = False
) -> Iterator[tuple[str, str, Callable[[], Figure]]]:
    """Yield name, caption and a function that draws, for every figure that these results can fill.

    Args:
        results: tables of the run, where there is one.
        statistics: of the space.
        simulated: mark the figures as simulated even where the tables do not say so.
    """
    simulated = simulated or _is_simulated(results, statistics)
    small = results is not None and statistics.is_small
    if not small:
        yield from _space(statistics, simulated)
    if results is None:
        return
    scores, rois = results.scores, results.rois
    few = scores["roi"].nunique() <= FEW_ROIS
    if not few:
        yield "networks", "Scores of the stable mode.", lambda: plot_networks(scores, simulated=simulated)
    if has_sizes(results.models) and not small:
        yield (
            "sizes",
            "Each point is a model: its parameters and the mean score of its stable mode.",
            lambda: plot_sizes(scores, results.models, simulated=simulated),
        )
    yield from _maps(results, statistics, simulated)
    if has_truth(rois):
        yield (
            "truth",
            "Each dot is a ROI; lines are medians; in brackets the number of ROIs.",
            lambda: plot_truth(scores, rois, statistics),
        )
    if len(results.spectra):
        yield (
            "spectra",
            "A mode on the unit circle neither grows nor fades; its angle is the rotation a block.",
            lambda: plot_spectra(results.spectra, simulated=simulated),
        )
        if "family" in results.models and results.models["family"].nunique() > _FEW_FAMILIES:
            yield (
                "families",
                "In brackets how many models a family has, where it has several.",
                lambda: plot_families(results.spectra, results.models, simulated=simulated),
            )
    if len(results.depth):
        yield (
            "depth",
            "Weights say which blocks the stable mode is made of.",
            lambda: plot_depth(results.depth, simulated=simulated),
        )
    yield (
        "baselines",
        "Every feature goes through the same encoding model and the same folds.",
        lambda: plot_baselines(scores, simulated=simulated),
    )
    if few:
        yield "rois", "Correlation by ROI and model.", lambda: plot_rois(scores, simulated=simulated)


def _is_simulated(results: RunResults | None, statistics: SpaceStatistics) -> bool:
    return is_simulated(statistics.coordinates) or (results is not None and results.simulated)


def _space(statistics: SpaceStatistics, simulated: bool) -> Iterator[tuple[str, str, Callable[[], Figure]]]:
    """Figures of the models among one another: places, agreement."""
    one_group = group_words(statistics.group_by)[0]
    if len(statistics.coordinates) > 1:
        yield (
            "space",
            f"Principal components of the models' ROI scores; each area holds the models of one {one_group}.",
            lambda: plot_space(statistics, simulated=simulated),
        )
    if "MDS1" in statistics.coordinates:
        yield (
            "mds",
            f"The same models by classical scaling of their {statistics.mds_metric} distances.",
            lambda: plot_space(statistics, projection="MDS", simulated=simulated),
        )
    if len(statistics.stability):
        yield (
            "stability",
            "Each row leaves one model out: a space that rests on one model shows it here.",
            lambda: plot_stability(statistics, simulated=simulated),
        )
    if np.isfinite(statistics.snci["bounded"].to_numpy(float)).any():
        yield (
            "snci",
            f"The most consistent first. {_NOISE}",
            lambda: plot_snci(statistics, simulated=simulated),
        )
    if _several(statistics) and statistics.convergence["convergence"].notna().any():
        yield (
            "convergence",
            f"Each dot is a ROI. {_NOISE}",
            lambda: plot_convergence(statistics, simulated=simulated),
        )


def _maps(
    results: RunResults, statistics: SpaceStatistics, simulated: bool
) -> Iterator[tuple[str, str, Callable[[], Figure]]]:
    rois = results.rois
    r2 = mean_r2(results.scores)
    on_cortex = "Each ROI colors the cortex around its center; gray is cortex without a ROI or a score."
    caption = on_cortex if has_coordinates(rois) else ""
    yield (
        "map_r2",
        caption,
        lambda: plot_brain(
            r2, rois, title="Score of the stable mode, mean over models", label="mean r²", simulated=simulated
        ),
    )
    if has_coordinates(rois):
        yield (
            "map_r2_glass",
            "The same values seen through the brain, regions under the cortex included.",
            lambda: plot_glass(
                r2, rois, title="Score of the stable mode, all ROIs", label="mean r²", simulated=simulated
            ),
        )
    if statistics.is_small:
        return
    snci = statistics.snci.pivot_table(index="roi", columns="modality", values="bounded", sort=False)
    sizes = statistics.coordinates["modality"].value_counts()
    groups = [name for name in r2 if name in snci] or [name for name in sizes.index if name in snci]
    snci = snci[groups[:_FEW_MAPS]]
    if snci.notna().to_numpy().any():
        largest = f" The {_FEW_MAPS} largest of {len(groups)} groups." if len(groups) > _FEW_MAPS else ""
        yield (
            "map_snci",
            f"{caption}{largest}".strip(),
            lambda: plot_brain(
                snci, rois, title="SNCI, bounded form", label="bounded SNCI", simulated=simulated
            ),
        )
    convergence = statistics.convergence.set_index("roi")[["convergence"]]
    if _several(statistics) and convergence.notna().to_numpy().any():
        yield (
            "map_convergence",
            caption,
            lambda: plot_brain(
                convergence,
                rois,
                title=f"Convergence: agreement inside every {statistics.group_by}",
                label="convergence",
                simulated=simulated,
            ),
        )
    if statistics.anova["statistic"].notna().any():
        f, several = statistics.anova.set_index("roi")[["statistic"]], group_words(statistics.group_by)[1]
        hits, count = int((statistics.anova["q_value"] < 0.05).sum()), int(f["statistic"].notna().sum())
        yield (
            "map_anova",
            f"One-way ANOVA over {several}: {hits} of {count} ROIs with q < .05. {caption}".strip(),
            lambda: plot_brain(
                f,
                rois,
                title=f"How far {several} differ",
                label="ANOVA F",
                simulated=simulated,
            ),
        )


def _several(statistics: SpaceStatistics) -> bool:
    # the convergence of one modality would be its SNCI again
    return len(set(statistics.coordinates["modality"])) > 1


def _spots(
    figure: Figure, name: str, results: RunResults | None, statistics: SpaceStatistics
) -> list[dict[str, Any]]:
    """Places of the models on a picture, in per cent, and the text that a pointer finds there."""
    table = _marks(name, results, statistics)
    if table is None or table.empty:
        return []
    figure.draw_without_rendering()
    pixels = figure.axes[0].transData.transform(table[["x", "y"]].to_numpy(float).reshape(-1, 2))
    share = 100 * figure.transFigure.inverted().transform(pixels)
    return [
        # a text near the right edge ends at its point instead of starting there
        {"x": f"{x:.2f}%", "y": f"{100 - y:.2f}%", "end": bool(x > 55), "label": label}
        for label, (x, y) in zip(table["label"], share, strict=True)
    ]


def _marks(name: str, results: RunResults | None, statistics: SpaceStatistics) -> pd.DataFrame | None:
    """Data coordinates and text of every model on a figure of models."""
    if name in ("space", "mds"):
        axes = ["PC1", "PC2"] if name == "space" else ["MDS1", "MDS2"]
        table = statistics.coordinates.dropna(subset=axes)
        silhouette = statistics.silhouette_samples
        widths = dict(zip(silhouette.get("model", []), silhouette.get("silhouette", []), strict=False))
        labels = []
        for row in table.to_dict("records"):
            own = widths.get(row["model"], math.nan)
            label = f"{row['model']} · {row['modality']} · " + ", ".join(f"{a} {row[a]:.3f}" for a in axes)
            labels.append(label + (f" · silhouette {own:.2f}" if pd.notna(own) else ""))
        return pd.DataFrame({"x": table[axes[0]], "y": table[axes[1]], "label": labels})
    if name == "sizes" and results is not None:
        table = size_table(results.scores, results.models)
        labels = [
            f"{row['model']} · {row['modality']} · {row['parameters'] / 1e6:.1f} M · r² {row['score']:.3f}"
            for row in table.to_dict("records")
        ]
        return pd.DataFrame({"x": table["parameters"], "y": table["score"], "label": labels})
    return None
