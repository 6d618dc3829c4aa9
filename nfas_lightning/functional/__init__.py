"""Pure functions: tensors in, tensors out. Dynamics over depth, encoding, and statistics of the space."""

from nfas_lightning.functional.anova import AnovaResult, anova
from nfas_lightning.functional.banded_ridge import BandedResult, banded_ridge_cv
from nfas_lightning.functional.bands import draw_band_weights
from nfas_lightning.functional.ceiling import noise_ceiling, normalize
from nfas_lightning.functional.clusters import ClusterTest, cluster_test, grid_edges
from nfas_lightning.functional.confounds import high_pass_basis, regress_out, regress_out_ar1
from nfas_lightning.functional.correlation import pearson, squared_correlation
from nfas_lightning.functional.dmd import (
    DMDResult,
    center_depths,
    combine_depths,
    depth_gram,
    dmd,
    stable_mode,
)
from nfas_lightning.functional.embedding import MDSResult, PCAResult, distances, mds, pca
from nfas_lightning.functional.fdr import fdr
from nfas_lightning.functional.folds import contiguous_folds
from nfas_lightning.functional.intervals import (
    BootstrapDraws,
    Interval,
    bootstrap_scores,
    dual_variance,
    interval,
)
from nfas_lightning.functional.latency import depth_slope, peak_times
from nfas_lightning.functional.missing import align_subjects
from nfas_lightning.functional.mode_kinds import ModeKinds, combine_modes, mode_kinds
from nfas_lightning.functional.nulls import block_permutation_null, circular_shift_null, permutation_p
from nfas_lightning.functional.paired import PairedResult, paired_test
from nfas_lightning.functional.partition import Partition, partition_parts, variance_partition
from nfas_lightning.functional.permanova import (
    PairwiseResult,
    PermutationResult,
    permanova,
    permanova_pairwise,
)
from nfas_lightning.functional.permdisp import permdisp
from nfas_lightning.functional.ridge import EncodingResult, default_alphas, ridge_cv
from nfas_lightning.functional.ridge_model import RidgeModel, ridge_fit
from nfas_lightning.functional.ridge_null import ridge_null
from nfas_lightning.functional.silhouette import SilhouetteResult, silhouette
from nfas_lightning.functional.snci import SNCIInterval, convergence, snci, snci_bootstrap, snci_permutation
from nfas_lightning.functional.state_space import StateSpace
from nfas_lightning.functional.temporal import fir_operators, hrf_operator

__all__ = [
    "AnovaResult",
    "BandedResult",
    "BootstrapDraws",
    "ClusterTest",
    "DMDResult",
    "EncodingResult",
    "Interval",
    "MDSResult",
    "ModeKinds",
    "PCAResult",
    "PairedResult",
    "PairwiseResult",
    "Partition",
    "PermutationResult",
    "RidgeModel",
    "SNCIInterval",
    "SilhouetteResult",
    "StateSpace",
    "align_subjects",
    "anova",
    "banded_ridge_cv",
    "block_permutation_null",
    "bootstrap_scores",
    "center_depths",
    "circular_shift_null",
    "cluster_test",
    "combine_depths",
    "combine_modes",
    "contiguous_folds",
    "convergence",
    "default_alphas",
    "depth_gram",
    "depth_slope",
    "distances",
    "dmd",
    "draw_band_weights",
    "dual_variance",
    "fdr",
    "fir_operators",
    "grid_edges",
    "high_pass_basis",
    "hrf_operator",
    "interval",
    "mds",
    "mode_kinds",
    "noise_ceiling",
    "normalize",
    "paired_test",
    "partition_parts",
    "pca",
    "peak_times",
    "pearson",
    "permanova",
    "permanova_pairwise",
    "permdisp",
    "permutation_p",
    "regress_out",
    "regress_out_ar1",
    "ridge_cv",
    "ridge_fit",
    "ridge_null",
    "silhouette",
    "snci",
    "snci_bootstrap",
    "snci_permutation",
    "squared_correlation",
    "stable_mode",
    "variance_partition",
]
