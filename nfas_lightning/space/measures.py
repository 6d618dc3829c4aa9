"""The measures of a space: distances and projections, tests between groups, SNCI."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
import pandas as pd
from torch import Tensor

from nfas_lightning.functional.anova import AnovaResult, anova
from nfas_lightning.functional.checks import check_option
from nfas_lightning.functional.embedding import MDSResult, PCAResult, distances, mds, pca
from nfas_lightning.functional.permanova import (
    PairwiseResult,
    PermutationResult,
    permanova,
    permanova_pairwise,
)
from nfas_lightning.functional.permdisp import permdisp
from nfas_lightning.functional.silhouette import SilhouetteResult, silhouette
from nfas_lightning.functional.snci import (
    SNCIInterval,
    convergence,
    snci,
    snci_bootstrap,
    snci_permutation,
)
from nfas_lightning.space.words import say_groups

__all__ = ["Metric", "SpaceMeasures", "Standardize"]

Metric = Literal["euclidean", "correlation", "cosine"]
Standardize = Literal["none", "model"]


class SpaceMeasures:
    """What `NFAS` computes of its scores: geometry and tests of `vectors`, SNCI of the scores as they are."""

    scores: Tensor
    models: pd.DataFrame
    rois: pd.DataFrame
    standardize: Standardize
    metric: Metric
    value: str
    group_by: str

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities in sorted order, the order of the rows of `snci`."""
        return tuple(sorted(self.models["modality"].unique()))

    @property
    def vectors(self) -> Tensor:
        """(M, R) vectors that the geometry is made of: the scores, standardized if asked for."""
        if self.standardize == "none":
            return self.scores
        centered = self.scores - self.scores.mean(1, keepdim=True)
        flat = (self.scores == self.scores[:, :1]).all(1)
        if bool(flat.any()):
            names = self.models["model"][flat.numpy()].tolist()
            raise ValueError(
                f"{names} score the same at every ROI and have no pattern to standardize: drop them."
            )
        return centered / centered.std(1, keepdim=True)

    def to_frame(self, of: Literal["scores", "vectors", "distances"] = "scores") -> pd.DataFrame:
        """What the models are made of, with names: the index ``model``, the columns ROIs, or models.

        Args:
            of: ``"scores"``; ``"vectors"``, standardized where the space is; ``"distances"`` between models.
        """
        check_option("of", of, ("scores", "vectors", "distances"))
        values = self.distances() if of == "distances" else getattr(self, of)
        models = pd.Index(self.models["model"], name="model")
        columns = models if of == "distances" else pd.Index(self.rois["roi"], name="roi")
        return pd.DataFrame(values.numpy(), index=models, columns=columns)

    def distances(self, metric: Metric | None = None) -> Tensor:
        """(M, M) distances between models; see `functional.embedding.distances`."""
        return distances(self.vectors, metric or self.metric)

    def pca(self, n_components: int | None = 2) -> PCAResult:
        """Principal components of the models; see `functional.embedding.pca`."""
        most = min(len(self.models) - 1, len(self.rois))
        return pca(self.vectors, n_components and min(n_components, most))

    def mds(self, n_components: int = 2, metric: Metric | None = None) -> MDSResult:
        """Classical scaling of the distances; see `functional.embedding.mds`."""
        return mds(self.distances(metric), n_components)

    def permanova(
        self, group_by: str = "modality", *, n_permutations: int = 9999, seed: int = 0
    ) -> PermutationResult:
        """Do groups of models sit apart? See `functional.permanova.permanova`."""
        return permanova(self.distances(), self._labels(group_by), n_permutations=n_permutations, seed=seed)

    def permanova_pairwise(
        self, group_by: str = "modality", *, n_permutations: int = 9999, seed: int = 0
    ) -> PairwiseResult:
        """Which groups sit apart? See `functional.permanova.permanova_pairwise`."""
        return permanova_pairwise(
            self.distances(), self._labels(group_by), n_permutations=n_permutations, seed=seed
        )

    def permdisp(
        self, group_by: str = "modality", *, n_permutations: int = 9999, seed: int = 0
    ) -> PermutationResult:
        """Do groups of models differ in spread? See `functional.permdisp.permdisp`."""
        return permdisp(self.distances(), self._labels(group_by), n_permutations=n_permutations, seed=seed)

    def silhouette(
        self, group_by: str = "modality", *, n_permutations: int = 9999, seed: int = 0
    ) -> SilhouetteResult:
        """How well separated are the groups? See `functional.silhouette.silhouette`."""
        return silhouette(self.distances(), self._labels(group_by), n_permutations=n_permutations, seed=seed)

    def anova(self, group_by: str = "modality") -> AnovaResult:
        """At which ROIs do groups differ? See `functional.anova.anova`.

        Tensors in the order of `rois`; ``statistics(group_by).anova`` is the table, with the ROIs' names.
        """
        return anova(self.vectors, self._labels(group_by))

    def snci(self, form: Literal["ratio", "db", "bounded"] = "ratio") -> Tensor:
        """(G, R) consistency of each modality at each ROI, from raw scores; see `functional.snci.snci`."""
        with say_groups(self.group_by):
            return snci(self.scores, self._labels("modality"), form=form)

    def snci_bootstrap(
        self, form: Literal["ratio", "db", "bounded"] = "ratio", *, confidence: float = 0.95, seed: int = 0
    ) -> SNCIInterval:
        """Confidence interval of `snci`; see `functional.snci.snci_bootstrap`."""
        labels = self._labels("modality")
        with say_groups(self.group_by):
            return snci_bootstrap(self.scores, labels, form=form, confidence=confidence, seed=seed)

    def snci_permutation(self, *, n_permutations: int = 9999, seed: int = 0) -> Tensor:
        """(G, R) p of `snci` against models of any modality; see `functional.snci.snci_permutation`."""
        labels = self._labels("modality")
        with say_groups(self.group_by):
            return snci_permutation(self.scores, labels, n_permutations=n_permutations, seed=seed)

    def convergence(self) -> Tensor:
        """(R,) smallest bounded SNCI over modalities; see `functional.snci.convergence`."""
        with say_groups(self.group_by):
            return convergence(self.scores, self._labels("modality"))

    def nearest(self, model: str, n: int = 5, metric: Metric | None = None) -> pd.DataFrame:
        """The `n` models nearest to one: ``model``, ``modality`` and ``distance``, nearest first."""
        names = self.models["model"].tolist()
        if model not in names:
            raise ValueError(f"model must be one of the {len(names)} in this space, got {model!r}: {names}.")
        row = names.index(model)
        distance = self.distances(metric)[row].numpy()
        order = [i for i in np.argsort(distance, kind="stable") if i != row][:n]
        found = self.models.loc[order, ["model", "modality"]].assign(distance=distance[order])
        return found.reset_index(drop=True)

    def _labels(self, group_by: str) -> list[Any]:
        if group_by not in self.models.columns:
            close = get_close_matches(str(group_by), map(str, self.models.columns), n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"group_by must be a column of the models table, got {group_by!r}.{hint} There are "
                f"{list(self.models.columns)}; columns of your own come by `table` of NFAS.from_runs, or "
                "`--table`."
            )
        blank = self.models["model"][self.models[group_by].isna()].tolist()
        if blank:
            raise ValueError(
                f"group_by={group_by!r} must say of every model which group it is in, but is blank for "
                f"{len(blank)} of {len(self.models)}, such as {blank[:3]}: fill them in, or leave them out "
                f'with where="{group_by}.notna()".'
            )
        return list(self.models[group_by])
