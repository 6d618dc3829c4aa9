"""NFAS: models as points in the space of ROI scores, and the statistics of that space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.functional.checks import check_option
from nfas_lightning.results import (
    SCORES,
    RunResults,
    Score,
    SpaceStatistics,
    query_models,
    write_csv,
    write_parquet,
)
from nfas_lightning.space.figures import SpaceFigures
from nfas_lightning.space.measures import Metric, Standardize
from nfas_lightning.space.runs import join_runs
from nfas_lightning.space.stability import leave_one_out
from nfas_lightning.space.statistics import space_statistics
from nfas_lightning.space.tables import (
    check_names,
    check_numbered,
    check_range,
    check_table,
    count_once,
    describe_models,
    score_matrix,
)

__all__ = ["NFAS"]


class NFAS(SpaceFigures):
    """Neural Functional Alignment Space: M models, each the vector of its R ROI scores.

    Args:
        scores: (M, R) tensor, array or table. A table's columns must be the ROIs in the order of `rois`.
        models: M rows with the columns ``model`` (unique) and ``modality``; others are kept.
        rois: R rows with the column ``roi`` (unique); ``network`` and coordinates are used where present.
            None: the columns of a `scores` table.
        value: what the scores are, ``"r2"`` or ``"r"``.
        standardize: ``"none"``, or ``"model"``: each model's scores to zero mean and unit variance over ROIs,
            so that geometry and tests compare patterns, not levels. SNCI and convergence always read the
            scores as they are: a standardized model has no level to be consistent about.
        metric: of the distances: ``"euclidean"``, ``"correlation"`` or ``"cosine"``.

    Attributes:
        scores: (M, R) float64 scores.
        models, rois: the tables.
        notes: sentences on what was left out on the way here.
        group_by: the column that groups are of: ``"modality"``, or what `regroup` was given.

    Raises:
        ValueError: tables that do not match the scores, repeated names, missing scores, or scores that are no
            squared correlations (`value` ``"r2"``) or correlations (``"r"``).

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
        metric: Metric = "euclidean",
        notes: Sequence[str] = (),
    ) -> None:
        check_option("standardize", standardize, ("none", "model"))
        check_option("metric", metric, ("euclidean", "correlation", "cosine"))
        if rois is None:
            if not isinstance(scores, pd.DataFrame):
                raise ValueError(
                    "rois must be given: scores without column names do not say what they are of."
                )
            rois = pd.DataFrame({"roi": scores.columns})
        # a copy: what the caller does to its scores later must not move the models
        if isinstance(scores, Tensor):
            self.scores = scores.detach().to("cpu", torch.float64, copy=True)
        else:
            self.scores = torch.from_numpy(np.array(scores, dtype=np.float64))
        self.models = check_table("models", models, "model", ("model", "modality"))
        self.rois = check_table("rois", rois, "roi", ("roi",))
        expected = len(self.models), len(self.rois)
        if tuple(self.scores.shape) != expected:
            raise ValueError(
                f"scores must have shape (M, R) = {expected}, a row a model and a column a ROI, got "
                f"{tuple(self.scores.shape)}."
            )
        if isinstance(scores, pd.DataFrame):
            check_names(scores, self.models["model"], self.rois["roi"])
        missing = ~torch.isfinite(self.scores)
        if bool(missing.any()):
            names = self.rois["roi"][missing.any(0).numpy()].tolist()
            raise ValueError(
                f"scores must be finite, got {int(missing.sum())} missing at {len(names)} ROIs, such as "
                f"{names[:3]}: drop those ROIs, or build the space with NFAS.from_scores, which does."
            )
        check_range(self.scores, value)
        self.value, self.standardize, self.metric = value, standardize, metric
        self.notes = tuple(notes)
        self.group_by = "modality"

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
        metric: Metric = "euclidean",
    ) -> NFAS:
        """Build the space from the long scores table of a run; scores are joined on ``roi``.

        Args:
            table: the scores table (see `results.COLUMNS`), or the results that hold one, whose `cards` then
                describe the models: family, size, objective, parameters.
            feature: which rows, e.g. ``"stable_mode"`` or a baseline.
            value: ``"r2"`` or ``"r"``.
            score: which of the three numbers places a model: ``"alone"``, ``"joint"`` or ``"partial"``, see
                `results.numbers`; None: the one that the runs report, see `ScoringSettings.score`.
            subject: whose scores: ``"group"``, the mean response of all subjects, or the name of one. None:
                the group's, or where that was not scored the mean over subjects, see
                `results.subject_scores`.
            rois: table of ROIs to describe the columns; None: the results' own, or ``roi`` and ``network``.
            axis: ``"strict"``: every model must have a row for every ROI. ``"intersection"``: the ROIs that
                all models have, which `notes` counts.
            standardize: see the class.
            metric: see the class.

        Returns:
            The space. ROIs at which any model's score is NaN are left out with a warning and a note, and so
            is a model that is another one under a second name (the same weights, or scores equal to the last
            bit, on one dataset): it would count twice. Scores other than the group's have a note too.

        Raises:
            ValueError: nothing selected, a subject that a model does not have, a model scored twice at an
                ROI, ROI axes that differ, or runs that report different numbers.
        """
        check_option("axis", axis, ("strict", "intersection"))
        if score is not None:
            check_option("score", score, SCORES)
        cards = None
        if isinstance(table, RunResults):
            rois = table.rois if rois is None else rois
            cards, table = table.cards, table.scores
        values, models, columns, notes = score_matrix(
            table,
            feature=feature,
            value=value,
            score=score,
            subject=subject,
            intersection=axis == "intersection",
        )
        if rois is None:
            check_numbered(models, columns["roi"])
            rois = columns
        elif "roi" not in rois.columns:
            raise ValueError(f"rois must have a column 'roi', got {list(rois.columns)}.")
        rois = rois.drop_duplicates("roi").set_index("roi").reindex(columns["roi"]).reset_index()
        if cards is not None and "model" in cards:
            models = describe_models(models, cards)
        values, models, repeated = count_once(values, models)
        notes += repeated
        return cls(values, models, rois, value=value, standardize=standardize, metric=metric, notes=notes)

    @classmethod
    def from_runs(
        cls,
        runs: str | Path | RunResults | Iterable[str | Path | RunResults],
        *,
        where: str | None = None,
        table: str | Path | pd.DataFrame | None = None,
        feature: str = "stable_mode",
        value: str = "r2",
        score: Score | None = None,
        subject: str | None = None,
        axis: Literal["strict", "intersection"] = "strict",
        standardize: Standardize = "none",
        metric: Metric = "euclidean",
    ) -> NFAS:
        """Build the space of finished runs, joined on the ROI's id.

        Args:
            runs: folders of finished runs, or what they hold; one alone need not be in a list.
            where: which models, as a query of `RunResults.cards`, e.g. ``"family == 'vit'"``; None: all.
            table: further columns of the models, to choose and to group them by: a table with the column
                ``model``, or its CSV file. Models that it does not name stay blank there.
            feature: see `from_scores`, as are the others.
            value: see `from_scores`.
            score: see `from_scores`.
            subject: see `from_scores`.
            axis: see `from_scores`.
            standardize: see the class.
            metric: see the class.

        Raises:
            FileNotFoundError: a folder holds no finished run.
            ValueError: runs on different ROI axes, both named; a `table` of other models, or with columns
                that there are already; or what `from_scores` refuses.
        """
        joined = join_runs(runs, where=where, table=table, intersection=axis == "intersection")
        return cls.from_scores(
            joined,
            feature=feature,
            value=value,
            score=score,
            subject=subject,
            axis=axis,
            standardize=standardize,
            metric=metric,
        )

    def __len__(self) -> int:
        return len(self.models)

    def __repr__(self) -> str:
        counts = self.models["modality"].value_counts(sort=False).sort_index()
        listed = ", ".join(f"{count} {name}" for name, count in counts.items())
        pattern = ", pattern only" if self.standardize == "model" else ""
        return f"NFAS({len(self.models)} models x {len(self.rois)} ROIs, {self.value}{pattern}: {listed})"

    def select(self, where: str | Sequence[bool] | Callable[[pd.DataFrame], Any]) -> NFAS:
        """The space of some of its models.

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
            if mask.dtype != bool or mask.shape != (len(self.models),):
                raise ValueError(
                    f"where must be a query or a mask of {len(self.models)} booleans, got {mask.dtype} of "
                    f"shape {mask.shape}."
                )
            rows = mask.nonzero()[0]
        if not len(rows):
            raise ValueError(f"No model of {len(self.models)} was selected by {where!r}.")
        return self._with(self.scores[torch.as_tensor(rows.copy())], self.models.loc[rows], self.group_by)

    def _with(self, scores: Tensor, models: pd.DataFrame, group_by: str) -> NFAS:
        space = NFAS(
            scores,
            models,
            self.rois,
            value=self.value,
            standardize=self.standardize,
            metric=self.metric,
            notes=self.notes,
        )
        space.group_by = group_by
        return space

    def regroup(self, group_by: str) -> NFAS:
        """The same models, with a column of the models table in the place of ``modality``.

        Tests, SNCI, figures and colors then go by that column; ``modality`` moves to ``modality_before``.
        """
        labels = [str(label) for label in self._labels(group_by)]
        if group_by in ("modality", self.group_by):
            return self
        models = self.models
        if self.group_by == "modality":  # else it has moved already
            models = models.rename(columns={"modality": "modality_before"})
        return self._with(self.scores, models.assign(modality=labels), group_by)

    def statistics(
        self,
        group_by: str = "modality",
        *,
        n_permutations: int = 9999,
        seed: int = 0,
        stability: bool = True,
    ) -> SpaceStatistics:
        """Compute all that figures and the report show; `notes` says what could not be computed, and why.

        Args:
            group_by: column of the models table that groups are of, see `regroup`.
            n_permutations: draws of each test.
            seed: of the draws.
            stability: also leave each model out in turn, see `space.stability.leave_one_out`.
        """
        return space_statistics(
            self, group_by=group_by, n_permutations=n_permutations, seed=seed, stability=stability
        )

    def stability(
        self, group_by: str = "modality", *, n_permutations: int = 999, seed: int = 0
    ) -> pd.DataFrame:
        """Tests and maps without each model; see `space.stability.leave_one_out`."""
        return leave_one_out(self.regroup(group_by), n_permutations=n_permutations, seed=seed)

    def tables(self, statistics: SpaceStatistics | None = None) -> dict[str, pd.DataFrame]:
        """Every table that `save` writes, by name: the space's own and those of the statistics.

        Args:
            statistics: what `statistics` returned; None: computed here.
        """
        scores, distance = (self.to_frame(of).reset_index() for of in ("scores", "distances"))
        scores.insert(1, "modality", self.models["modality"])
        own = {"scores": scores, "models": self.models, "rois": self.rois, "distances": distance}
        return own | (statistics or self.statistics()).tables()

    def save(self, path: str | Path, statistics: SpaceStatistics | None = None) -> Path:
        """Write scores, models, ROIs, distances and every table of the statistics as parquet and csv.

        Args:
            path: folder.
            statistics: what `statistics` returned; None: computed here.
        """
        for name, table in self.tables(statistics).items():
            write_parquet(Path(path) / f"{name}.parquet", table)
            write_csv(Path(path) / f"{name}.csv", table)
        return Path(path)

    def report(
        self,
        path: str | Path,
        results: RunResults | None = None,
        *,
        title: str | None = None,
        group_by: str = "modality",
        formats: Sequence[str] = ("png",),
    ) -> Path:
        """Write the statistics, and a run's tables where given, as one HTML page; return its path.

        `formats` are those of the figures beside it, see `write_report`.
        """
        from nfas_lightning.plotting.report import write_report  # figures load matplotlib

        return write_report(path, results, self.statistics(group_by), title=title, formats=formats)
