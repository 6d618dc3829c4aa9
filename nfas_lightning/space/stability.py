"""Does a space rest on one of its models? Every statistic with each model left out in turn."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import Tensor

if TYPE_CHECKING:
    from nfas_lightning.space.nfas import NFAS

__all__ = ["leave_one_out"]

_COLUMNS = ("model", "modality", "permanova", "p_value", "silhouette", "snci", "convergence", "anova")
_DRAWS = 999  # of each p: the smallest is .001


def leave_one_out(space: NFAS, *, n_permutations: int = _DRAWS, seed: int = 0) -> pd.DataFrame:
    """Compute the space's tests and maps without each of its models.

    Args:
        space: at least two groups of two models; groups of one are left aside, as in the tests.
        n_permutations: draws of each PERMANOVA.
        seed: of the draws.

    Returns:
        One row a model of a group of three or more: ``model``, ``modality``; ``permanova`` and ``p_value``,
        ``silhouette`` of the models that stay; and Spearman's rank correlation over ROIs between the maps
        with and without the model, of ``snci`` (bounded, of its own modality), ``convergence`` and ``anova``
        (F). NaN where a map is constant or undefined; no row where a group would be left with one model.
    """
    counts = space.models["modality"].value_counts()
    enough = counts.index[counts >= 2]
    if len(enough) < 2 or not bool(torch.isfinite(space.distances()).all()):
        return pd.DataFrame(columns=list(_COLUMNS))
    space = space.select(space.models["modality"].isin(enough).tolist())
    rows = []
    with warnings.catch_warnings():
        # what is degenerate without a model is so with it, and has been said
        warnings.simplefilter("ignore")
        whole = _maps(space)
        for i, model in enumerate(space.models.itertuples()):
            if counts.loc[str(model.modality)] < 3:
                continue
            keep = np.arange(len(space)) != i
            part = space.select(keep.tolist())
            test = part.permanova(n_permutations=n_permutations, seed=seed)
            silhouette = part.silhouette(n_permutations=1, seed=seed).statistic
            maps = _maps(part)
            own = space.modalities.index(str(model.modality))
            rows.append(
                (
                    model.model,
                    model.modality,
                    float(test.statistic),
                    float(test.p_value),
                    float(silhouette),
                    _spearman(whole["snci"][own], maps["snci"][own]),
                    _spearman(whole["convergence"], maps["convergence"]),
                    _spearman(whole["anova"], maps["anova"]),
                )
            )
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _maps(space: NFAS) -> dict[str, Tensor]:
    bounded = space.snci("bounded")
    return {"snci": bounded, "convergence": bounded.amin(0), "anova": space.anova().statistic}


def _spearman(first: Tensor, second: Tensor) -> float:
    both = torch.isfinite(first) & torch.isfinite(second)
    a, b = (rankdata(values[both].numpy()) for values in (first, second))
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
