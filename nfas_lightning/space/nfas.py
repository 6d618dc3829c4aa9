"""NFAS: models as points in the space of ROI scores, and the statistics of that space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import nfas_lightning.functional as F
from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_option
from nfas_lightning.functional.controls import MovedResult, moved_responses
from nfas_lightning.functional.embedding import DistanceMetric
from nfas_lightning.functional.relabeling import Restriction
from nfas_lightning.notebook import card
from nfas_lightning.results import (
    GROUP,
    SCORES,
    RunResults,
    Score,
    SpaceStatistics,
    query_models,
    write_csv,
    write_parquet,
)
from nfas_lightning.space.control import compare_control, standardized
from nfas_lightning.space.describe import describe_space, leave_one_out, nearest_models
from nfas_lightning.space.design import Design, design_of
from nfas_lightning.space.matrix import (
    check_groups,
    check_names,
    check_numbered,
    check_range,
    check_table,
    control_matrix,
    count_once,
    null_scores,
    score_matrix,
)
from nfas_lightning.space.runs import join_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["NFAS"]

Standardize = Literal["none", "model"]
Form = Literal["ratio", "db", "bounded"]


class NFAS:
    """Neural Functional Alignment Space: M models, each the vector of its R ROI scores.

    Args:
        scores: (M, R) tensor, array or table. A table's columns must be the ROIs in the order of `rois`.
        models: M rows with the column ``model`` (unique) and the column that `group_by` names; others are
            kept.
        rois: R rows with the column ``roi`` (unique); ``network`` and coordinates are used where present.
            None: the columns of a `scores` table.
        value: what the scores are, ``"r2"`` or ``"r"``.
        standardize: ``"none"``, or ``"model"``: each model's scores to zero mean and unit variance over ROIs,
            so that geometry and tests compare patterns, not levels. SNCI and convergence always read the
            scores as they are: a standardized model has no level to be consistent about.
        metric: of the distances: ``"euclidean"``, ``"correlation"`` or ``"cosine"``.
        group_by: the column of `models` that groups are of: what tests, SNCI and figures compare.
        strata: a column of `models`, such as ``"dataset"``: permutations stay inside a stratum.
        units: a column of `models`, such as ``"family"``: permutations exchange whole units.
        control: (M, R) scores of each model's control, its untrained twin, NaN where there is none.
        null: (P, M, R) scores on moved responses, the same moves for all models; None: not known.
        notes: sentences on what was left out on the way here.

    Attributes:
        scores: (M, R) float64 scores.
        models, rois: the tables.
        value, standardize, metric, group_by, strata, units, control, null, notes: as given.

    Raises:
        ValueError: tables that do not match the scores, repeated names, a model without a group, missing
            scores, or scores that are no squared correlations (`value` ``"r2"``) or correlations (``"r"``).

    Example:
        >>> import pandas as pd
        >>> models = pd.DataFrame({"model": list("abcd"), "modality": ["audio", "audio", "vision", "vision"]})
        >>> rois = pd.DataFrame({"roi": ["V1", "A1"]})
        >>> space = NFAS([[0.1, 0.5], [0.1, 0.4], [0.6, 0.1], [0.5, 0.2]], models, rois)
        >>> space
        NFAS(4 models x 2 ROIs, r2: 2 audio, 2 vision)
        >>> space.nearest("a", 1)
          model modality  distance
        0     b    audio       0.1
    """

    def __init__(
        self,
        scores: Tensor | np.ndarray[Any, Any] | pd.DataFrame | Sequence[Sequence[float]],
        models: pd.DataFrame,
        rois: pd.DataFrame | None = None,
        *,
        value: str = "r2",
        standardize: Standardize = "none",
        metric: DistanceMetric = "euclidean",
        group_by: str = "modality",
        strata: str | None = None,
        units: str | None = None,
        control: Tensor | np.ndarray[Any, Any] | None = None,
        null: Tensor | np.ndarray[Any, Any] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        check_option("standardize", standardize, ("none", "model"))
        check_option("metric", metric, ("euclidean", "correlation", "cosine"))
        if rois is None:
            if not isinstance(scores, pd.DataFrame):
                raise InputError("rois must be given where scores have no column names.")
            rois = pd.DataFrame({"roi": scores.columns})
        # a copy: what the caller does to its scores later must not move the models
        self.scores = _copied(scores)
        self.models = check_table("models", models, "model")
        self.rois = check_table("rois", rois, "roi")
        for name, column in (("group_by", group_by), ("strata", strata), ("units", units)):
            if column is not None:
                check_groups(self.models, column, name)
        expected = len(self.models), len(self.rois)
        if tuple(self.scores.shape) != expected:
            raise InputError(
                f"scores must have shape (M, R) = {expected}, one row per model and one column per ROI, got "
                f"{tuple(self.scores.shape)}."
            )
        if isinstance(scores, pd.DataFrame):
            check_names(scores, self.models["model"], self.rois["roi"])
        missing = ~torch.isfinite(self.scores)
        if bool(missing.any()):
            names = self.rois["roi"][missing.any(0).numpy()].tolist()
            raise InputError(
                f"scores must be finite, got {int(missing.sum())} missing at {len(names)} ROIs, such as "
                f"{names[:3]}: drop those ROIs, or build the space with NFAS.from_scores, which does."
            )
        check_range(self.scores, value)
        self.value, self.standardize, self.metric = value, standardize, metric
        self.group_by, self.strata, self.units, self.notes = group_by, strata, units, tuple(notes)
        self.control = None if control is None else _copied(control)
        if self.control is not None and self.control.shape != self.scores.shape:
            raise InputError(f"control must have shape (M, R) = {expected}, got {tuple(self.control.shape)}.")
        self.null = None if null is None else _copied(null)
        if self.null is not None and self.null.shape[1:] != self.scores.shape:
            raise InputError(
                f"null must have shape (P, M, R) with (M, R) = {expected}, got {tuple(self.null.shape)}."
            )

    @classmethod
    def from_scores(
        cls,
        table: pd.DataFrame | RunResults,
        *,
        feature: str = "stable_mode",
        value: str = "r2",
        score: Score | None = None,
        subject: str | None = None,
        rois: pd.DataFrame | None = None,
        axis: Literal["strict", "intersection"] = "strict",
        standardize: Standardize = "none",
        metric: DistanceMetric = "euclidean",
        group_by: str = "modality",
        strata: str | None = None,
        units: str | None = None,
    ) -> NFAS:
        """Build the space from the long scores table of a run; scores are joined on ``roi``.

        ROIs at which a model's score is NaN are left out with a warning and a note, and so is a model that is
        another one under a second name (the same weights, or bit-identical scores, on one dataset). Scores of
        the feature ``random_weights`` become the `control`.

        Args:
            table: the scores table (see `results.COLUMNS`), or the results that hold one, whose `cards` then
                describe the models: family, size, objective, parameters.
            feature: which rows, e.g. ``"stable_mode"`` or a baseline.
            value: ``"r2"`` or ``"r"``.
            score: which of the three numbers places a model, ``"alone"``, ``"joint"`` or ``"partial"``; None:
                the one that the runs report, see `ScoringSettings.score`.
            subject: whose scores, see `results.subject_scores`: ``"group"``, the mean response of all
                subjects, or the name of one. None: the group's, else the mean over subjects.
            rois: table of ROIs to describe the columns; None: the results' own, or ``roi`` and ``network``.
            axis: ``"strict"``: every model must have a row for every ROI. ``"intersection"``: the ROIs that
                all models have, which `notes` counts.
            standardize: see the class.
            metric: see the class.
            group_by: see the class.
            strata: see the class.
            units: see the class.

        Raises:
            ValueError: nothing selected, a subject that a model does not have, a model scored twice at an
                ROI, ROI axes that differ, or runs that report different numbers.
        """
        check_option("axis", axis, ("strict", "intersection"))
        if score is not None:
            check_option("score", score, SCORES)
        cards, nulls = None, None
        if isinstance(table, RunResults):
            rois = table.rois if rois is None else rois
            cards, nulls, table = table.cards, table.nulls, table.scores
        which: Any = {"feature": feature, "value": value, "score": score, "subject": subject}
        values, models, columns, notes = score_matrix(table, **which, intersection=axis == "intersection")
        if rois is None:
            check_numbered(models, columns["roi"])
            rois = columns
        elif "roi" not in rois.columns:
            raise InputError(f"rois must have a column 'roi', got {list(rois.columns)}.")
        rois = rois.drop_duplicates("roi").set_index("roi").reindex(columns["roi"]).reset_index()
        if cards is not None and "model" in cards:
            known = cards.drop_duplicates("model").set_index("model")
            new = [name for name in known if name not in models and name != "twin_of"]
            models = models.join(known[new], on="model")
        control = control_matrix(table, models["model"], columns["roi"], **which)
        values, models, repeated = count_once(values, models)
        is_tested = feature == "stable_mode" and score is None and subject in (None, GROUP)
        null = null_scores(nulls, models["model"], columns["roi"], value) if is_tested else None
        return cls(
            values,
            models,
            rois,
            value=value,
            standardize=standardize,
            metric=metric,
            group_by=group_by,
            strata=strata,
            units=units,
            control=None if control is None else control.loc[models["model"]].to_numpy(),
            null=null,
            notes=[*notes, *repeated],
        )

    @classmethod
    def from_runs(
        cls,
        runs: str | Path | RunResults | Iterable[str | Path | RunResults],
        *,
        where: str | None = None,
        table: str | Path | pd.DataFrame | None = None,
        axis: Literal["strict", "intersection"] = "strict",
        **options: Any,
    ) -> NFAS:
        """Build the space of finished runs, joined on the ROI's id.

        Args:
            runs: folders of finished runs, or what they hold; one alone need not be in a list.
            where: which models, as a query of `RunResults.cards`, e.g. ``"family == 'vit'"``; None: all.
            table: further columns of the models, to choose and to group them by: a table with the column
                ``model``, or its CSV file. Models that it does not name stay blank there.
            axis: see `from_scores`.
            options: of `from_scores`.

        Raises:
            FileNotFoundError: a folder holds no finished run.
            ValueError: runs on different ROI axes, both named; a `table` of other models, or with columns
                that there are already; or what `from_scores` refuses.
        """
        joined = join_runs(runs, where=where, table=table, intersection=axis == "intersection")
        return cls.from_scores(joined, axis=axis, **options)

    def __len__(self) -> int:
        return len(self.models)

    def __repr__(self) -> str:
        listed = ", ".join(f"{self.labels.count(name)} {name}" for name in self.groups)
        pattern = ", pattern only" if self.standardize == "model" else ""
        return f"NFAS({len(self.models)} models x {len(self.rois)} ROIs, {self.value}{pattern}: {listed})"

    def _repr_html_(self) -> str:
        table = pd.DataFrame(
            {
                "model": self.models["model"],
                self.group_by: self.labels,
                f"mean {self.value}": self.scores.mean(1).numpy(),
                "best ROI": self.rois["roi"].to_numpy()[self.scores.argmax(1).numpy()],
            }
        )
        design = self.design[0] if self.groups[1:] else None
        facts = {"distances": self.metric, "groups and benchmarks": design, "notes": list(self.notes)}
        ranked = table.sort_values(f"mean {self.value}", ascending=False)
        return card(repr(self), facts, ranked)

    @property
    def labels(self) -> list[str]:
        """The group of each of the M models."""
        return [str(label) for label in self.models[self.group_by]]

    @property
    def groups(self) -> tuple[str, ...]:
        """The G groups in sorted order, the order of the rows of `snci`."""
        return tuple(sorted(set(self.labels)))

    def regroup(self, group_by: str) -> NFAS:
        """Return the same models in the groups of another column of the models table."""
        return self._with(np.arange(len(self)), group_by)

    def select(self, where: str | Sequence[bool] | Callable[[pd.DataFrame], Any]) -> NFAS:
        """Return the space of some of the models.

        Args:
            where: a query of the models table (``"modality == 'audio'"``), a mask of M booleans, or a
                function of the table that returns one.

        Raises:
            ValueError: a query that can't be read, a mask of another shape, or nothing is selected.
        """
        if isinstance(where, str):
            rows = query_models(self.models, where).index.to_numpy()
        else:
            mask = np.asarray(where(self.models) if callable(where) else where)
            if mask.dtype != bool or mask.shape != (len(self),):
                raise InputError(
                    f"where must be a query or a mask of {len(self)} booleans, got {mask.dtype} of shape "
                    f"{mask.shape}."
                )
            rows = mask.nonzero()[0]
        if not len(rows):
            raise InputError(f"No model of {len(self)} was selected by {where!r}.")
        return self._with(rows, self.group_by)

    def gains(self) -> NFAS:
        """Return the space of what training adds: scores minus those of the untrained twins.

        Raises:
            ValueError: the space has no control, or not for every model and at any ROI.
        """
        if self.control is None:
            raise InputError(
                "The space has no untrained twins to subtract: build it with NFAS.from_runs from runs that "
                "have the feature 'random_weights', or give control=."
            )
        kept = torch.isfinite(self.control).all(0)
        if not bool(kept.any()):
            raise InputError(
                "At no ROI does every model have an untrained twin with a finite score: select() those that "
                "do."
            )
        gains, name = (self.scores - self.control)[:, kept], f"gain of {self.value}"
        return self._like(gains, self.models, rois=self.rois[kept.numpy()], value=name)

    def _with(self, rows: np.ndarray[Any, Any], group_by: str) -> NFAS:
        kept = rows.tolist()
        control = None if self.control is None else self.control[kept]
        null = None if self.null is None else self.null[:, kept]
        beside: Any = {"control": control, "null": null, "group_by": group_by}
        return self._like(self.scores[kept], self.models.loc[rows], **beside)

    def _like(self, scores: Tensor, models: pd.DataFrame, **changes: Any) -> NFAS:
        """Return other scores with the options of this space."""
        kept = ("rois", "value", "standardize", "metric", "group_by", "strata", "units", "notes")
        return NFAS(scores, models, **{name: getattr(self, name) for name in kept} | changes)

    # geometry

    @property
    def vectors(self) -> Tensor:
        """(M, R) vectors that the geometry is made of: the scores, standardized if asked for."""
        if self.standardize == "none":
            return self.scores
        flat = (self.scores == self.scores[:, :1]).all(1)
        if bool(flat.any()):
            names = self.models["model"][flat.numpy()].tolist()
            raise InputError(
                f"{names} score the same at every ROI and have no pattern to standardize: drop them."
            )
        return standardized(self.scores)

    def moved_responses(self) -> MovedResult | None:
        """Do groups sit further apart than where no network predicts anything? None without a `null`.

        See `functional.controls.moved_responses`.
        """
        if self.null is None:
            return None
        moved = self.null if self.standardize == "none" else standardized(self.null)
        return moved_responses(self.vectors, moved, self.labels, metric=self.metric)

    def to_frame(self, of: Literal["scores", "vectors", "distances"] = "scores") -> pd.DataFrame:
        """Return scores, vectors or distances with names: models x ROIs, or models x models."""
        check_option("of", of, ("scores", "vectors", "distances"))
        values = self.distances() if of == "distances" else getattr(self, of)
        models = pd.Index(self.models["model"], name="model")
        columns = models if of == "distances" else pd.Index(self.rois["roi"], name="roi")
        return pd.DataFrame(values.numpy(), index=models, columns=columns)

    def distances(self, metric: DistanceMetric | None = None) -> Tensor:
        """(M, M) distances between models; see `functional.embedding.distances`."""
        return F.distances(self.vectors, metric or self.metric)

    def nearest(self, model: str, n: int = 5, metric: DistanceMetric | None = None) -> pd.DataFrame:
        """Return the `n` models nearest to one: ``model``, its group and ``distance``, nearest first."""
        names = self.models["model"].tolist()
        if model not in names:
            raise InputError(f"model must be one of the {len(names)} in this space, got {model!r}: {names}.")
        row, between = names.index(model), self.distances(metric)
        order = nearest_models(between, row, n)
        found = self.models.loc[order, ["model", self.group_by]].assign(distance=between[row].numpy()[order])
        return found.reset_index(drop=True)

    def pca(self, n_components: int | None = 2) -> F.PCAResult:
        """Principal components of the models; see `functional.embedding.pca`."""
        most = min(len(self.models) - 1, len(self.rois))
        return F.pca(self.vectors, n_components and min(n_components, most))

    def mds(self, n_components: int = 2, metric: DistanceMetric | None = None) -> F.MDSResult:
        """Classical scaling of the distances; see `functional.embedding.mds`."""
        return F.mds(self.distances(metric), n_components)

    # tests between groups

    def permanova(self, *, n_permutations: int = 9999, seed: int = 0) -> F.PermutationResult:
        """Do groups of models sit apart? See `functional.permanova.permanova`."""
        return F.permanova(self.distances(), self.labels, **self._draws(n_permutations, seed))

    def permanova_pairwise(self, *, n_permutations: int = 9999, seed: int = 0) -> F.PairwiseResult:
        """Which groups sit apart? See `functional.permanova.permanova_pairwise`."""
        return F.permanova_pairwise(self.distances(), self.labels, **self._draws(n_permutations, seed))

    def permdisp(self, *, n_permutations: int = 9999, seed: int = 0) -> F.PermutationResult:
        """Do groups of models differ in spread? See `functional.permdisp.permdisp`."""
        draws = self._draws(n_permutations, seed)
        del draws["units"]
        return F.permdisp(self.distances(), self.labels, **draws)

    def silhouette(self, *, n_permutations: int = 9999, seed: int = 0) -> F.SilhouetteResult:
        """How well separated are the groups? See `functional.silhouette.silhouette`."""
        return F.silhouette(self.distances(), self.labels, **self._draws(n_permutations, seed))

    def anova(self, *, n_permutations: int = 9999, seed: int = 0) -> F.AnovaResult:
        """At which ROIs, in the order of `rois`, do groups differ? See `functional.anova.anova`."""
        return F.anova(self.vectors, self.labels, **self._draws(n_permutations, seed))

    def _draws(self, n_permutations: int, seed: int) -> dict[str, Any]:
        return {**self._restricted(), "n_permutations": n_permutations, "seed": seed}

    @property
    def design(self) -> Design:
        """How groups and benchmarks meet: what a test between groups can show, see `space.design`."""
        benchmarks = self.models.get("dataset", pd.Series("", self.models.index))
        return design_of(pd.Series(self.labels, name=self.group_by), benchmarks)

    def compare_control(self, *, n_permutations: int = 999, seed: int = 0) -> pd.DataFrame:
        """Compare the statistics of the space with those of the untrained twins.

        Returns:
            One row per statistic, see `functional.controls.compare_spaces`: ``statistic``, ``trained``,
            ``untrained``, ``difference``, ``p_value`` of the difference, and ``n_models`` and ``n_rois`` that
            have both scores. Without two groups of two such models, no rows.
        """
        return compare_control(
            self.scores,
            self.control,
            self.labels,
            standardize=self.standardize == "model",
            metric=self.metric,
            n_permutations=n_permutations,
            seed=seed,
        )

    # agreement inside groups, of the scores as they are

    def snci(self, form: Form = "ratio") -> Tensor:
        """(G, R) consistency of each group at each ROI, from raw scores; see `functional.snci.snci`."""
        return F.snci(self.scores, self.labels, form=form)

    def snci_bootstrap(
        self, form: Form = "ratio", *, confidence: float = 0.95, seed: int = 0
    ) -> F.SNCIInterval:
        """Confidence interval of `snci`; see `functional.snci.snci_bootstrap`."""
        return F.snci_bootstrap(self.scores, self.labels, form=form, confidence=confidence, seed=seed)

    def snci_permutation(self, *, n_permutations: int = 9999, seed: int = 0) -> Tensor:
        """(G, R) p of `snci` against models of any group; see `functional.snci.snci_permutation`."""
        return F.snci_permutation(self.scores, self.labels, n_permutations=n_permutations, seed=seed)

    def convergence(self) -> Tensor:
        """(R,) smallest bounded SNCI over groups; see `functional.snci.convergence`."""
        return F.convergence(self.scores, self.labels)

    # all of it at once, and files

    def statistics(
        self, *, n_permutations: int = 9999, seed: int = 0, stability: bool = True
    ) -> SpaceStatistics:
        """Compute all that figures and the report show; `notes` name what could not be computed, and why.

        Args:
            n_permutations: draws of each test; 0: no test is run.
            seed: of the draws.
            stability: also leave each model out in turn, see `stability`.
        """
        found = describe_space(
            self.scores,
            self.vectors,
            self._grouped(),
            self.rois,
            group_by=self.group_by,
            metric=self.metric,
            value=self.value,
            n_permutations=n_permutations,
            seed=seed,
            stability=stability,
            by=self._restricted(),
        )
        if n_permutations:
            beside = self.compare_control(n_permutations=min(n_permutations, 999), seed=seed)
            found = replace(found, controls=beside)
            if found.permanova and (moved := self.moved_responses()) is not None:
                apart = {**found.permanova, "p_moved": float(moved.p_value)}
                found = replace(found, permanova=apart)
        word, note = self.design
        own: Any = {"value": self.value, "standardize": self.standardize}
        return replace(found, notes=(*self.notes, *found.notes), design=word, design_note=note, **own)

    def stability(self, *, n_permutations: int = 999, seed: int = 0) -> pd.DataFrame:
        """Tests and maps without each model; see `space.describe.leave_one_out`."""
        draws: Any = {"n_permutations": n_permutations, "seed": seed, "by": self._restricted()}
        return leave_one_out(self.scores, self.vectors, self._grouped(), metric=self.metric, **draws)

    def _restricted(self) -> Restriction:
        """Return what restricts permutations."""
        strata, units = (
            None if column is None else self.models[column].astype(str).tolist()
            for column in (self.strata, self.units)
        )
        return {"strata": strata, "units": units}

    def _grouped(self) -> pd.DataFrame:
        """Return ``model``, ``group`` and, where known, ``simulated`` of each model."""
        kept = self.models[[name for name in ("model", "simulated") if name in self.models]]
        return kept.assign(group=self.labels)

    def tables(self, statistics: SpaceStatistics | None = None) -> dict[str, pd.DataFrame]:
        """Every table that `save` writes, by name; `statistics` are computed if None."""
        scores, distance = (self.to_frame(of).reset_index() for of in ("scores", "distances"))
        scores.insert(1, "group", self.labels)
        own = {"scores": scores, "models": self.models, "rois": self.rois, "distances": distance}
        return own | (statistics or self.statistics()).tables()

    def save(self, path: str | Path, statistics: SpaceStatistics | None = None) -> Path:
        """Write every table of `tables` into a folder, as parquet and csv; return the folder."""
        for name, table in self.tables(statistics).items():
            write_parquet(Path(path) / f"{name}.parquet", table)
            write_csv(Path(path) / f"{name}.csv", table)
        return Path(path)

    def report(
        self,
        path: str | Path,
        results: RunResults | None = None,
        *,
        statistics: SpaceStatistics | None = None,
        **options: Any,
    ) -> Path:
        """Write the statistics, and a run's tables where given, as one HTML page; return its path.

        See `nfas_lightning.plotting.write_report`, which takes `options`; `statistics` are computed if None.
        """
        from nfas_lightning.plotting import write_report  # figures load matplotlib

        return write_report(path, results, statistics or self.statistics(), **options)

    # figures: on `ax`, or each on its own; `look` are options of the function of that name in
    # nfas_lightning.plotting. Without `statistics` no permutation test is run, and none is shown

    def plot_pca(
        self, ax: Axes | None = None, *, statistics: SpaceStatistics | None = None, **look: Any
    ) -> Figure:
        """Draw the models on the first two principal components, with the tests of `statistics`."""
        return self._plot("space", statistics or self.statistics(n_permutations=0), ax=ax, **look)

    def plot_mds(
        self, ax: Axes | None = None, *, statistics: SpaceStatistics | None = None, **look: Any
    ) -> Figure:
        """Draw the models by classical scaling; of correlation distances where the space's are euclidean."""
        return self.plot_pca(ax, statistics=statistics, projection="MDS", **look)

    def plot_snci(self, ax: Axes | None = None, **look: Any) -> Figure:
        """Draw SNCI by network and group: on `ax` the bounded form, else both forms."""
        return self._plot("snci", self.statistics(n_permutations=0), ax=ax, **look)

    def plot_convergence(self, ax: Axes | None = None, **look: Any) -> Figure:
        """Draw the convergence of every ROI by network."""
        return self._plot("convergence", self.statistics(n_permutations=0), ax=ax, **look)

    def plot_networks(self, ax: Axes | None = None, **look: Any) -> Figure:
        """Draw the mean score of every model in every network as a heat map."""
        shown = {"value": self.value, "group_by": self.group_by, **look}
        return self._plot("networks", self._long(), ax=ax, **shown)

    def plot_sizes(self, ax: Axes | None = None, **look: Any) -> Figure:
        """Draw the mean score of every model against its parameters, which the models table must have."""
        from nfas_lightning.plotting import has_sizes

        if not has_sizes(self.models):
            raise InputError(
                "The models table must have a column 'parameters' with several values, got "
                f"{list(self.models)}: build the space with NFAS.from_runs, which reads the cards."
            )
        shown = {"value": self.value, "group_by": self.group_by, **look}
        return self._plot("sizes", self._long(), self.models, ax=ax, **shown)

    def _plot(self, name: str, *data: Any, **options: Any) -> Figure:
        from nfas_lightning import plotting  # figures load matplotlib

        planted = "simulated" in self.models and bool(self.models["simulated"].any())
        figure: Figure = getattr(plotting, f"plot_{name}")(*data, **{"simulated": planted} | options)
        return figure

    def _long(self) -> pd.DataFrame:
        """Return one row per model and ROI: ``model``, its group, ``roi``, ``network`` and the score."""
        rois = self.rois[["roi"]].assign(network=self.rois.get("network"))
        models = zip(self.models["model"], self.labels, self.scores.numpy(), strict=True)
        rows = [rois.assign(**{"model": name, self.group_by: of, self.value: r}) for name, of, r in models]
        return pd.concat(rows, ignore_index=True)


def _copied(values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().to("cpu", torch.float64, copy=True)
    return torch.from_numpy(np.array(values, dtype=np.float64))
