"""`nfas space`: finished runs joined into one space of models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nfas_lightning.cli.messages import refusing, say_loading
from nfas_lightning.writing import check_folder

if TYPE_CHECKING:
    from nfas_lightning.results import RunResults

__all__ = ["space"]


def space(
    runs: list[str],
    *,
    out: str = "runs/space",
    where: str | None = None,
    table: str | None = None,
    group_by: str = "modality",
    strata: str | None = None,
    units: str | None = None,
    gains: bool = False,
    feature: str = "stable_mode",
    value: Literal["r2", "r"] = "r2",
    score: Literal["alone", "joint", "partial"] | None = None,
    subject: str | None = None,
    axis: Literal["strict", "intersection"] = "strict",
    standardize: Literal["none", "model"] = "none",
    metric: Literal["euclidean", "correlation", "cosine"] = "euclidean",
    n_permutations: int = 9999,
    seed: int = 0,
    formats: Sequence[Literal["png", "pdf", "svg"]] = ("png",),
) -> RunResults:
    """Join finished runs into one space of models: its statistics as tables and as a report.

    OUT gets report.html and figures/, the joined tables of the runs, and in space/ the space itself as
    parquet and csv: scores, distances, tests, SNCI with intervals, neighbors, each model left out, and more.

    Args:
        runs: folders of finished runs with the same ROIs, which are joined by id.
        out: folder of the report and the tables.
        where: which models, as a query of their table, e.g. ``"family == 'vit' and parameters < 1e8"``.
        table: CSV file with the column ``model`` and columns of your own, for ``where`` and ``group_by``.
        group_by: the groups to compare, a column of the models: modality, family, size, objective_kind, ...
        strata: a column of the models, e.g. dataset or family: permutations exchange models inside a stratum.
        units: a column of the models, e.g. family: permutations exchange whole units.
        gains: place models by what training adds: their scores minus those of their untrained twins.
        feature: which feature's scores place a model.
        value: ``r2`` or ``r``.
        score: what places a model: the feature ``alone``, ``joint`` with the nuisances, or ``partial``, what
            it adds to them; else the number that the runs report.
        subject: whose scores: ``group``, or the name of one; else the group's, or the mean over subjects.
        axis: ``intersection`` keeps the ROIs that all runs share, where they differ.
        standardize: ``model`` compares patterns over ROIs, without their level.
        metric: of distances.
        n_permutations: draws of each test.
        seed: of the draws.
        formats: of the figures' files, any of ``png pdf svg``; png is always among them.
    """
    say_loading("PyTorch")
    from nfas_lightning.runner import report_run
    from nfas_lightning.space import NFAS
    from nfas_lightning.space.runs import join_runs

    with refusing("nfas space"):
        joined = join_runs(runs, where=where, table=table, intersection=axis == "intersection")
        placed = NFAS.from_scores(
            joined,
            feature=feature,
            value=value,
            score=score,
            subject=subject,
            axis=axis,
            standardize=standardize,
            metric=metric,
            group_by=group_by,
            strata=strata,
            units=units,
        )
        placed = placed.gains() if gains else placed
        check_folder(out, "out")
    statistics = placed.statistics(n_permutations=n_permutations, seed=seed)
    joined.save(out)
    placed.save(Path(out) / "space", statistics)
    report_run(joined, out, score=score, subject=subject, statistics=statistics, formats=formats)
    return joined
