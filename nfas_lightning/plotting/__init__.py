"""Figures, tables and the report of a run: drawn from results, never from models."""

from nfas_lightning.plotting.agreement import plot_convergence, plot_snci
from nfas_lightning.plotting.baselines import plot_baselines, plot_rois, plot_truth
from nfas_lightning.plotting.brain import plot_brain, plot_glass, plot_rows, plot_surface
from nfas_lightning.plotting.dynamics import plot_depth, plot_spectra
from nfas_lightning.plotting.models import plot_families, plot_sizes, plot_stability
from nfas_lightning.plotting.report import draw_figures, write_report
from nfas_lightning.plotting.space import plot_networks, plot_space
from nfas_lightning.plotting.tables import roi_score_table, score_table

__all__ = [
    "draw_figures",
    "plot_baselines",
    "plot_brain",
    "plot_convergence",
    "plot_depth",
    "plot_families",
    "plot_glass",
    "plot_networks",
    "plot_rois",
    "plot_rows",
    "plot_sizes",
    "plot_snci",
    "plot_space",
    "plot_spectra",
    "plot_stability",
    "plot_surface",
    "plot_truth",
    "roi_score_table",
    "score_table",
    "write_report",
]
