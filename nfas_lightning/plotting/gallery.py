"""Every figure that a run and its space can fill, with its caption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec

import numpy as np
from matplotlib.figure import Figure

from nfas_lightning.plotting.agreement import plot_convergence, plot_snci, plot_stability
from nfas_lightning.plotting.baselines import has_truth, plot_baselines, plot_rois, plot_truth
from nfas_lightning.plotting.brain import has_coordinates, plot_glass, plot_surface
from nfas_lightning.plotting.dynamics import plot_depth, plot_families, plot_spectra
from nfas_lightning.plotting.heatmap import plot_networks
from nfas_lightning.plotting.lag_maps import has_places, plot_lags, plot_topographies
from nfas_lightning.plotting.model_ranks import plot_ranking
from nfas_lightning.plotting.modes import plot_modes
from nfas_lightning.plotting.places import has_sizes, plot_sizes, plot_space
from nfas_lightning.plotting.score_tables import FEW_ROIS, gain_table, mean_r2
from nfas_lightning.plotting.style import is_simulated
from nfas_lightning.results import RunResults, SpaceStatistics, group_words

__all__ = ["draw_figures"]

_FEW_FAMILIES = 4  # fewer are told apart by their names at the unit circle
_NOISE = "Scores of pure noise lie above 0 too: a high value here is not a test."
_FEW_MAPS = 6  # more rows of brains are a page of their own

Drawing = tuple[str, str, Callable[[], Figure]]


def draw_figures(
    results: RunResults | None, statistics: SpaceStatistics, *, simulated: bool = False
) -> Iterator[Drawing]:
    """Yield name, caption and a function that draws, for every figure that a run and its space can fill.

    `simulated` marks the figures as simulated even where the tables do not say so.
    """
    simulated = simulated or is_simulated(statistics.coordinates) or bool(results and results.simulated)
    small = results is not None and statistics.is_small
    if not small:
        yield from _space(statistics, simulated)
    if results is None:
        return
    scores, rois, models, spectra = results.scores, results.rois, results.models, results.spectra
    few = scores["roi"].nunique() <= FEW_ROIS
    if not few:
        yield "networks", "Scores of the stable mode.", partial(plot_networks, scores, simulated=simulated)
    if has_sizes(models) and not small:
        caption = "One point per model: its parameters and the mean score of its stable mode."
        yield "sizes", caption, partial(plot_sizes, scores, models, simulated=simulated)
    if has_coordinates(rois):
        yield from _maps(results, statistics, simulated)
    if has_truth(rois):
        caption = "One dot per ROI; lines are medians; in brackets the number of ROIs."
        yield "truth", caption, partial(plot_truth, scores, rois, statistics)
    if len(spectra):
        caption = "A mode on the unit circle neither grows nor decays; its angle is the rotation per block."
        yield "spectra", caption, partial(plot_spectra, spectra, simulated=simulated)
        if "family" in models and models["family"].nunique() > _FEW_FAMILIES:
            caption = "In brackets the number of models of a family that has several."
            yield "families", caption, partial(plot_families, spectra, models, simulated=simulated)
    if len(results.depth):
        caption = "The weights say which blocks the stable mode is made of."
        yield "depth", caption, partial(plot_depth, results.depth, simulated=simulated)
    ranking = results.ranking()
    if len(ranking.pairs):
        caption = "Models that share a letter are not told apart (q of their difference is .05 or more)."
        yield "ranking", caption, partial(plot_ranking, ranking, simulated=simulated)
    if len(results.lags):
        caption = "Lags after stimulus onset; the bar marks lags in a cluster with p < .05."
        yield "lags", caption, partial(plot_lags, results.lags, results.depth, simulated=simulated)
        if has_places(rois) and find_spec("mne"):
            caption = "r of the stable mode at the sensors, seen from above; the nose is up."
            yield "topographies", caption, partial(plot_topographies, scores, rois, simulated=simulated)
    if len(results.modes):
        caption = "One point per model and mode: its share of the variance that all modes explain together."
        yield "modes", caption, partial(plot_modes, results.modes, simulated=simulated)
    if gain_table(scores).shape[1]:
        caption = "Every feature goes through the same encoding model and the same folds."
        yield "baselines", caption, partial(plot_baselines, scores, simulated=simulated)
    if few:
        yield "rois", "Correlation by ROI and model.", partial(plot_rois, scores, simulated=simulated)


def _space(statistics: SpaceStatistics, simulated: bool) -> Iterator[Drawing]:
    """Yield the figures of the models' places and of their agreement."""
    if len(statistics.coordinates) > 1:
        one = group_words(statistics.group_by)[0]
        caption = f"Principal components of the models' ROI scores; each area holds the models of one {one}."
        yield "space", caption, partial(plot_space, statistics, simulated=simulated)
    if "MDS1" in statistics.coordinates:
        caption = f"The same models by classical scaling of their {statistics.mds_metric} distances."
        yield "mds", caption, partial(plot_space, statistics, projection="MDS", simulated=simulated)
    if len(statistics.stability):
        caption = "Each row leaves out one model: a space that depends on a single model shows it here."
        yield "stability", caption, partial(plot_stability, statistics, simulated=simulated)
    if np.isfinite(statistics.snci["bounded"].to_numpy(float)).any():
        caption = f"The most consistent first. {_NOISE}"
        yield "snci", caption, partial(plot_snci, statistics, simulated=simulated)
    if _has_convergence(statistics):
        caption = f"One dot per ROI. {_NOISE}"
        yield "convergence", caption, partial(plot_convergence, statistics, simulated=simulated)


def _maps(results: RunResults, statistics: SpaceStatistics, simulated: bool) -> Iterator[Drawing]:
    """Yield the brain maps."""
    rois, r2 = results.rois, mean_r2(results.scores)
    draw = partial(plot_surface, rois=rois, simulated=simulated)
    caption = "Each ROI colors the cortex around its center; gray: no ROI; brown: a ROI without a score."
    if "index" in rois:
        caption = (
            "Each vertex shows its own score, or that of the nearest voxel; gray: none; brown: no score."
        )
    title = "Score of the stable mode, mean over models"
    yield "map_r2", caption, partial(draw, r2, title=title, label="mean r²")
    seen = "The same values seen through the brain, regions under the cortex included."
    glass = partial(plot_glass, r2, rois, title="Score of the stable mode, all ROIs", label="mean r²")
    yield "map_r2_glass", seen, partial(glass, simulated=simulated)
    if statistics.is_small:
        return
    snci = statistics.snci.pivot_table(index="roi", columns="group", values="bounded", sort=False)
    sizes = statistics.coordinates["group"].value_counts()
    groups = [name for name in r2 if name in snci] or [name for name in sizes.index if name in snci]
    if snci[groups].notna().to_numpy().any():
        largest = f" The {_FEW_MAPS} largest of {len(groups)} groups." if len(groups) > _FEW_MAPS else ""
        bounded = partial(draw, snci[groups[:_FEW_MAPS]], title="SNCI, bounded form", label="bounded SNCI")
        yield "map_snci", caption + largest, bounded
    if _has_convergence(statistics):
        table = statistics.convergence.set_index("roi")[["convergence"]]
        title = f"Convergence: agreement within every {statistics.group_by}"
        yield "map_convergence", caption, partial(draw, table, title=title, label="convergence")
    if statistics.anova["eta_squared"].notna().any():
        size, several = (
            statistics.anova.set_index("roi")[["eta_squared"]],
            group_words(statistics.group_by)[1],
        )
        hits, count = int((statistics.anova["q_value"] < 0.05).sum()), int(size["eta_squared"].notna().sum())
        found = f"One-way ANOVA over {several}: {hits} of {count} ROIs with q < .05. {caption}"
        yield "map_anova", found, partial(draw, size, title=f"Where {several} differ", label="eta squared")


def _has_convergence(statistics: SpaceStatistics) -> bool:
    # the convergence of one group would be its SNCI again
    several = len(set(statistics.coordinates["group"])) > 1
    return several and bool(statistics.convergence["convergence"].notna().any())
