"""A space beside that of its untrained twins, where models have them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.functional.controls import STATISTICS, compare_spaces
from nfas_lightning.functional.embedding import DistanceMetric

__all__ = ["compare_control", "standardized"]

_COLUMNS = ("statistic", "trained", "untrained", "difference", "p_value", "n_models", "n_rois")


def standardized(scores: Tensor) -> Tensor:
    """Return scores (..., R) with zero mean and unit variance of every model over ROIs."""
    centered = scores - scores.mean(-1, keepdim=True)
    return centered / centered.std(-1, keepdim=True)


def compare_control(
    scores: Tensor,
    control: Tensor | None,
    labels: Sequence[str],
    *,
    standardize: bool = False,
    metric: DistanceMetric = "euclidean",
    n_permutations: int = 999,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare a space with its control on the models and ROIs that have both scores.

    Args:
        scores: (M, R) scores.
        control: (M, R) scores of each model's untrained twin, NaN where there is none; None: no twins.
        labels: the group of each model.
        standardize: geometry and ANOVA see `standardized` scores.
        metric: of the distances.
        n_permutations: see `functional.controls.exchange_test`.
        seed: see there.

    Returns:
        See `NFAS.compare_control`.
    """
    empty = pd.DataFrame(columns=list(_COLUMNS))
    if control is None:
        return empty
    paired = torch.isfinite(control).any(1)
    if standardize or metric != "euclidean":  # a twin that scores alike everywhere has no pattern
        paired &= ((control - control.nanmean(1, keepdim=True)).abs() > 0).any(1)
    rois = torch.isfinite(control[paired]).all(0)
    groups = pd.Series(labels)[paired.numpy()]
    if not bool(rois.any()) or (groups.value_counts() > 1).sum() < 2:
        return empty
    both = scores[paired][:, rois], control[paired][:, rois]
    seen = (standardized(both[0]), standardized(both[1])) if standardize else None
    result = compare_spaces(
        *both, groups.tolist(), vectors=seen, metric=metric, n_permutations=n_permutations, seed=seed
    )
    numbers = (result.first, result.second, result.difference, result.p_value)
    table = pd.DataFrame(dict(zip(_COLUMNS[1:5], (number.numpy() for number in numbers), strict=True)))
    table.insert(0, "statistic", list(STATISTICS))
    return table.assign(n_models=int(paired.sum()), n_rois=int(rois.sum()))
