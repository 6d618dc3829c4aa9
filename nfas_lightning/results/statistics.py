"""The statistics of a space of models, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

__all__ = ["MIN_MODELS", "SpaceStatistics", "few_models", "group_words"]

MIN_MODELS = 3
"""Fewest models of a modality that a report shows the space and SNCI of."""

_TEST = ("statistic", "p_value")
_TABLES = (
    "coordinates", "pairwise", "silhouette_samples", "anova", "snci", "convergence", "nearest", "stability",
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

    Groups are modalities, or what `group_by` names; the tables call their column ``modality`` all the same.

    Attributes:
        coordinates: one row a model: ``model``, ``modality``, ``simulated`` (the responses are; where that is
            known), ``PC1``, ``PC2``, and where there are three models or more ``MDS1`` and
            ``MDS2``, classical scaling of the distances of `mds_metric`.
        explained: share of variance of PC1 and PC2.
        permanova, permdisp, silhouette: ``statistic`` and ``p_value``; empty where fewer than two modalities
            with two models each leave nothing to test.
        pairwise: a row a pair of modalities: ``first``, ``second``, ``statistic``, ``p_value``, ``q_value``.
        silhouette_samples: one row a model: ``model``, ``modality``, ``silhouette``.
        anova: one row a ROI: ``roi``, ``network``, ``statistic``, ``p_value``, ``q_value``, ``eta_squared``.
        snci: one row a modality and ROI: ``modality``, ``roi``, ``network``, ``ratio``, ``bounded``, the 95 %
            limits ``ratio_low``, ``ratio_high``, ``bounded_low``, ``bounded_high``, and where there are two
            modalities ``p_value`` and ``q_value`` (FDR over ROIs) against shuffled models.
        convergence: one row a ROI: ``roi``, ``network``, ``convergence``.
        notes: sentences on what could not be computed, and why.
        nearest: one row a model and neighbor: ``model``, ``modality``, ``rank``, ``neighbor``,
            ``neighbor_modality``, ``distance``.
        stability: one row a model that was left out: ``model``, ``modality``, the statistic and p of
            ``permanova``, ``silhouette``, and the rank correlations over ROIs of ``snci`` (of its own
            modality), ``convergence`` and ``anova`` with those of all models.
        group_by: the column of the models table that groups are of.
        mds_metric: ``"correlation"`` where the space's own metric is euclidean, whose scaling is PCA again.
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
    group_by: str = "modality"
    mds_metric: str = "correlation"

    @property
    def is_small(self) -> bool:
        """Whether every group has two models at most: SNCI of a pair and a plane of two points say little."""
        return bool(self.coordinates["modality"].value_counts().max() < MIN_MODELS)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by name, the tests as one of them, groups under the name that they have."""
        tests = {name: getattr(self, name) for name in ("permanova", "permdisp", "silhouette")}
        found = {
            "tests": pd.DataFrame(
                [(name, *(test[key] for key in _TEST)) for name, test in tests.items() if test],
                columns=["test", *_TEST],
            ),
            **{name: getattr(self, name) for name in _TABLES},
        }
        new = {"modality": self.group_by, "neighbor_modality": f"neighbor_{self.group_by}"}
        return {name: table.rename(columns=new) for name, table in found.items()}
