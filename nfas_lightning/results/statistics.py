"""The statistics of a space of models, as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

__all__ = ["MIN_MODELS", "SpaceStatistics", "few_models", "group_words"]

MIN_MODELS = 3
"""Fewest models of a group for which a report shows the space and SNCI."""

_TEST = ("statistic", "p_value", "p_moved")
_TABLES = (
    "coordinates", "pairwise", "silhouette_samples", "anova", "snci", "convergence", "nearest", "stability",
    "controls",
)  # fmt: skip


def group_words(group_by: str) -> tuple[str, str]:
    """Return what a group of models is called, one and several: modality, or of which column they are.

    >>> group_words("modality"), group_words("family")
    (('modality', 'modalities'), ('group by family', 'groups by family'))
    """
    if group_by == "modality":
        return "modality", "modalities"
    return f"group by {group_by}", f"groups by {group_by}"


def few_models(group_by: str) -> str:
    """Return what is said of fewer than `MIN_MODELS`, in place of what can't be computed."""
    return f"A space needs three models or more of one {group_by}: until then read the scores by ROI."


@dataclass(frozen=True)
class SpaceStatistics:
    """What is known of a space of models; tables that figures and the report are drawn from.

    The column ``group`` is the model's modality, or what the column `group_by` of the models table says.

    Attributes:
        coordinates: one row per model: ``model``, ``group``, ``simulated`` (the responses are; where that is
            known), ``PC1``, ``PC2``, and where there are three models or more ``MDS1`` and ``MDS2``,
            classical scaling of the distances of `mds_metric`.
        explained: share of variance of PC1 and PC2.
        permanova, permdisp, silhouette: ``statistic`` and ``p_value``, of the first also ``p_moved`` where
            responses were moved, see `functional.controls.moved_responses`; empty where fewer than two groups
            with two models each leave nothing to test, or no test was asked for.
        pairwise: one row per pair of groups: ``first``, ``second``, ``statistic``, ``p_value``, ``q_value``.
        silhouette_samples: one row per model: ``model``, ``group``, ``silhouette``.
        anova: one row per ROI: ``roi``, ``network``, ``statistic``, ``p_value``, ``q_value``,
            ``eta_squared``.
        snci: one row per group and ROI: ``group``, ``roi``, ``network``, ``ratio``, ``bounded``, the 95 %
            limits ``ratio_low``, ``ratio_high``, ``bounded_low``, ``bounded_high``, and where there are two
            groups ``p_value`` and ``q_value`` (FDR over ROIs) against shuffled models.
        convergence: one row per ROI: ``roi``, ``network``, ``convergence``.
        notes: sentences on what could not be computed, and why.
        nearest: one row per model and neighbor: ``model``, ``group``, ``rank``, ``neighbor``,
            ``neighbor_group``, ``distance``.
        stability: one row per model that was left out: ``model``, ``group``, the statistic and p of
            ``permanova``, ``silhouette``, and the rank correlations over ROIs of ``snci`` (of its own
            group), ``convergence`` and ``anova`` with those of all models.
        controls: one row per statistic of the space beside that of its untrained twins, see
            `NFAS.compare_control`; empty without twins.
        design: how groups and benchmarks meet: ``"crossed"``, ``"partly crossed"`` or ``"confounded"``;
            empty: not known.
        design_note: what a test between the groups can and cannot show in this design.
        group_by: the column of the models table that groups are of.
        mds_metric: ``"correlation"`` where the space's own metric is euclidean, whose scaling is PCA again.
        value: what the scores are, ``"r2"`` or ``"r"``.
        standardize: whether coordinates and tests are of patterns, ``"model"``, or ``"none"``; see `NFAS`.
    """

    coordinates: pd.DataFrame
    explained: tuple[float, float]
    permanova: Mapping[str, float]
    permdisp: Mapping[str, float]
    silhouette: Mapping[str, float]
    pairwise: pd.DataFrame
    silhouette_samples: pd.DataFrame
    anova: pd.DataFrame
    snci: pd.DataFrame
    convergence: pd.DataFrame
    notes: tuple[str, ...] = ()
    nearest: pd.DataFrame = field(default_factory=pd.DataFrame)
    stability: pd.DataFrame = field(default_factory=pd.DataFrame)
    controls: pd.DataFrame = field(default_factory=pd.DataFrame)
    design: str = ""
    design_note: str = ""
    group_by: str = "modality"
    mds_metric: str = "correlation"
    value: Literal["r", "r2"] = "r2"
    standardize: str = "none"

    @property
    def is_small(self) -> bool:
        """Whether every group has two models at most: SNCI of a pair and a plane of two points say little."""
        return bool(self.coordinates["group"].value_counts().max() < MIN_MODELS)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by name, the tests as one of them."""
        tests = {name: getattr(self, name) for name in ("permanova", "permdisp", "silhouette")}
        rows = [(name, *(test.get(key, math.nan) for key in _TEST)) for name, test in tests.items() if test]
        tables = {"tests": pd.DataFrame(rows, columns=["test", *_TEST])}
        return tables | {name: getattr(self, name) for name in _TABLES}
