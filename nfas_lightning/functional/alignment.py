"""Alignment of predicted with observed responses: the score, its share of the noise ceiling, its null.

The parts live beside this file: `correlation`, `ceiling`, `nulls`, `ridge_null`, `fdr`.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from nfas_lightning.functional.ceiling import noise_ceiling
from nfas_lightning.functional.checks import check_shape
from nfas_lightning.functional.correlation import pearson, squared_correlation
from nfas_lightning.functional.fdr import fdr
from nfas_lightning.functional.nulls import block_permutation_null, circular_shift_null, permutation_p
from nfas_lightning.functional.ridge_null import ridge_null

__all__ = [
    "block_permutation_null",
    "circular_shift_null",
    "fdr",
    "noise_ceiling",
    "normalise",
    "pearson",
    "permutation_p",
    "ridge_null",
    "squared_correlation",
]


def normalise(r: Tensor, ceiling: Tensor, threshold: float = 0.1) -> Tensor:
    """Divide correlations by the noise ceiling, and mask ROIs that have none to speak of.

    Args:
        r: (..., R) correlations.
        ceiling: (R,) noise ceilings on the correlation scale.
        threshold: ROIs whose ceiling is below it, or NaN, become NaN; a warning says how many.

    Returns:
        (..., R) r / ceiling; above 1 where a model beats the ceiling's estimate.

    Raises:
        ValueError: the sizes differ, or the threshold is not positive.

    Example:
        >>> normalise(torch.tensor([0.3, 0.2]), torch.tensor([0.6, 0.8]))
        tensor([0.5000, 0.2500])
    """
    check_shape("ceiling", ceiling, "R", R=r.shape[-1])
    if not threshold > 0:
        raise ValueError(f"threshold must be positive, got {threshold}.")
    usable = ceiling >= threshold
    masked = int((~usable).sum())
    if masked:
        warnings.warn(
            f"{masked} of {len(ceiling)} ROIs have a noise ceiling below {threshold:g} and are masked "
            "with NaN.",
            stacklevel=2,
        )
    return r / torch.where(usable, ceiling, torch.full_like(ceiling, float("nan")))
