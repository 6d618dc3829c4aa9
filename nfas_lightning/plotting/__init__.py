"""Figures, tables and the report of a run: drawn from results, never from models."""

from nfas_lightning.plotting.agreement import plot_convergence, plot_snci, plot_stability
from nfas_lightning.plotting.baselines import plot_baselines, plot_rois, plot_truth
from nfas_lightning.plotting.brain import plot_glass, plot_surface
from nfas_lightning.plotting.dynamics import plot_depth, plot_families, plot_spectra
from nfas_lightning.plotting.gallery import draw_figures
from nfas_lightning.plotting.heatmap import plot_networks
from nfas_lightning.plotting.lag_maps import plot_lags, plot_topographies
from nfas_lightning.plotting.model_ranks import plot_ranking
from nfas_lightning.plotting.modes import plot_modes
from nfas_lightning.plotting.page import write_report
from nfas_lightning.plotting.pictures import save_figure
from nfas_lightning.plotting.places import has_sizes, plot_sizes, plot_space
from nfas_lightning.plotting.score_tables import roi_score_table, score_table
from nfas_lightning.plotting.style import Look

__all__ = [
    "Look", "draw_figures", "has_sizes", "plot_baselines", "plot_convergence", "plot_depth",
    "plot_families", "plot_glass", "plot_lags", "plot_modes", "plot_networks", "plot_ranking", "plot_rois",
    "plot_sizes", "plot_snci", "plot_space", "plot_spectra", "plot_stability", "plot_surface",
    "plot_topographies", "plot_truth", "roi_score_table", "save_figure", "score_table", "write_report",
]  # fmt: skip
