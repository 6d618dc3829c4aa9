"""What finished runs found: tables in the terminal, report.html, and the figures for the loggers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from nfas_lightning.plotting.model_ranks import ranking_tables
from nfas_lightning.plotting.page import write_report
from nfas_lightning.plotting.pictures import check_formats
from nfas_lightning.plotting.reading import ceiling_note
from nfas_lightning.plotting.score_tables import (
    FEW_ROIS,
    few_stimuli,
    roi_score_table,
    score_table,
    space_table,
)
from nfas_lightning.results import (
    RunResults,
    Score,
    SpaceStatistics,
    report_as,
    subject_scores,
    write_csv,
)
from nfas_lightning.space import NFAS
from nfas_lightning.terminal import doing, stdout_console

if TYPE_CHECKING:
    from nfas_lightning.lightning_packages import Logger

__all__ = ["report_run"]


def report_run(
    results: RunResults,
    run_dir: str | Path,
    loggers: Iterable[Logger] = (),
    *,
    feature: str = "stable_mode",
    value: str = "r2",
    score: Score | None = None,
    subject: str | None = None,
    statistics: SpaceStatistics | None = None,
    formats: Iterable[str] = ("png",),
) -> Path:
    """Print the tables of finished runs, write report.html, and log its figures.

    Args:
        results: what the runs found.
        run_dir: folder that gets the report.
        loggers: get the space's tests and the figures, W&B the report as an artifact too.
        feature: which feature's scores place a model in the space.
        value: ``"r2"`` or ``"r"``.
        score: which of the three numbers is shown, see `NFAS.from_scores`.
        subject: whose scores are shown, see `NFAS.from_scores`.
        statistics: of their space, where they are known already.
        formats: of the figures' files, ``"png"``, ``"pdf"`` and ``"svg"``, see `write_report`.

    Returns:
        Path of the report.

    Raises:
        ValueError: an unknown format.
    """
    formats = check_formats(formats)
    everyone, results = results, replace(results, scores=subject_scores(results.scores, subject))
    for column, chosen in (("subject", subject), ("score", score)):
        if chosen is not None:
            results = replace(results, draws=results.draws[results.draws[column] == chosen])
    if score is not None:
        results = replace(results, scores=report_as(results.scores, score))
    console = stdout_console()
    console.print(score_table(results))
    if len(results.rois) <= FEW_ROIS:
        console.print(roi_score_table(results))
    if statistics is None:
        with doing("statistics of the space"):
            statistics = NFAS.from_scores(
                everyone, feature=feature, value=value, score=score, subject=subject
            ).statistics()
    if statistics.permanova:
        console.print(space_table(statistics))
    for caution in few_stimuli(results):
        console.print(f"[yellow]{escape(caution)}[/]")
    ranking = results.ranking()
    if len(ranking.pairs):
        for table in ranking_tables(ranking):
            console.print(table)
        for name in ("means", "pairs", "features"):
            write_csv(Path(run_dir) / "ranking" / f"{name}.csv", getattr(ranking, name))
    for note in (*statistics.notes, *ranking.notes, *ceiling_note(results.scores)):
        console.print(f"[dim]{escape(note)}[/]")
    with doing("drawing the report"):
        path = Path(run_dir) / "report.html"
        path = write_report(path, results, statistics, feature=feature, formats=formats)
    if loggers := list(loggers):
        _log(loggers, results, statistics, Path(run_dir))
    console.print(f"Report: {path}", markup=False)
    return path


def _log(loggers: list[Logger], results: RunResults, statistics: SpaceStatistics, run_dir: Path) -> None:
    """Give loggers the space's tests and the figures, and W&B the report."""
    # here: they import Lightning, which a report without loggers does without
    from nfas_lightning.callbacks.loggers import log_images, log_run, log_scalars
    from nfas_lightning.callbacks.wandb_runs import log_artifact

    if "runs" in results.meta:  # joined from several runs; a single run logged its own tables
        log_run(loggers, results)
    tests = {"permanova": statistics.permanova, "silhouette": statistics.silhouette}
    for label, test in tests.items():
        if test:
            numbers = {f"space/{label}": test["statistic"], f"space/{label}_p": test["p_value"]}
            log_scalars(loggers, numbers, step=0)
    for row in statistics.controls.to_dict("records"):
        beside = {"untrained": "untrained", "gain": "difference", "gain_p": "p_value"}
        numbers = {f"space/{row['statistic']}_{name}": float(row[key]) for name, key in beside.items()}
        log_scalars(loggers, numbers, step=0)
    log_images(loggers, {figure.stem: figure for figure in sorted((run_dir / "figures").glob("*.png"))})
    about = {name: results.meta[name] for name in ("dataset", "responses_sha256") if name in results.meta}
    name = str(results.meta.get("name") or run_dir.name)
    log_artifact(loggers, name, run_dir, {**about, "models": list(results.models["model"])})
