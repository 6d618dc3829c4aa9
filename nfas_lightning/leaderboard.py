"""Names in, a leaderboard out: models scored on a benchmark by its name, one row per model."""

from __future__ import annotations

from argparse import ArgumentError
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yaml import YAMLError

from nfas_lightning.errors import InputError, before_running, nearest
from nfas_lightning.runner.workers import prepare
from nfas_lightning.terminal import doing, heartbeat, stdout_console
from nfas_lightning.writing import load_yaml

if TYPE_CHECKING:
    import pandas as pd

    from nfas_lightning.results import RunResults

__all__ = ["CONFIGS", "benchmark_configs", "leaderboard", "score"]

_INSTALLED, _CLONE = (Path(__file__).parents[n] / "configs" for n in (0, 1))
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else _CLONE
"""Folder of the configs: an installed package carries them, a clone has them beside the package."""


def score(
    models: list[str],
    *,
    on: str | None = None,
    root: str | None = None,
    run_dir: str | None = None,
    n_permutations: int | None = None,
    no_twins: bool = False,
    no_cache: bool = False,
    processes: int | None = None,
) -> pd.DataFrame:
    """Score models on a benchmark, both by their names, and return the leaderboard.

    Data and settings are those of the benchmark's config (configs/experiments), so the numbers are those of
    `nfas test`. What is finished in RUN_DIR is not computed again. A model that fails, such as one whose
    weights are out of reach, is listed at the end; the exit code is then 1.

    Args:
        models: names, as `nfas models list` has them.
        on: a benchmark, e.g. alice, natural_sounds or simulated_language, or a config file with ``data``.
        root: folder of the benchmark's data; None: ``NFAS_DATA``.
        run_dir: folder of the tables and the report; None: runs/BENCHMARK, as in the config.
        n_permutations: draws of the nulls; None: as the config has them.
        no_twins: leave out the same networks with random weights.
        no_cache: neither take states that an earlier run has kept, nor keep them.
        processes: how many share the models; None: two to four, as there are cores, with an accelerator one.

    Returns:
        One row per model, the best first, see `leaderboard`.

    Raises:
        ValueError: a name that nobody knows; the nearest ones are given.
        FailedModelsError: no model could be scored.
    """
    with before_running():
        config = _read(on)
    if processes != 1 and len(models) > 1:
        prepare()
    with heartbeat():
        with doing("loading PyTorch and Lightning"):
            from nfas_lightning.models import ModelSuite
            from nfas_lightning.plotting.page import write_report
            from nfas_lightning.runner import (
                FailedModelsError,
                processes_here,
                quiet_lightning,
                score_models,
            )
            from nfas_lightning.space import NFAS
        quiet_lightning()
        with before_running():
            ModelSuite(models)  # refuses names before data are read
            data, settings = _build(config, str(on), root, n_permutations)
        with doing("reading the benchmark"):
            data.prepare_data()
            data.setup()
        processes = processes or processes_here(len(models))
        _say_how_long(models, data, settings, processes)
        failed: Mapping[str, Exception] = {}
        run_dir = run_dir or f"runs/{Path(str(on)).stem}"
        try:
            results = score_models(
                models,
                data,
                run_dir,
                settings=settings,
                random_twins=not no_twins,
                report=False,
                cache=not no_cache,
                processes=processes,
                enable_progress_bar=False,
            )
        except FailedModelsError as error:
            if error.results is None:
                raise
            results, failed = error.results, error.errors
        with doing("drawing the report"):
            statistics = NFAS.from_scores(results).statistics()
            path = write_report(Path(run_dir) / "report.html", results, statistics)
    table = leaderboard(results, failed)
    _print(table, results, failed)
    stdout_console().print(f"Report: {path}", markup=False, soft_wrap=True)
    return table


def leaderboard(results: RunResults, failed: Mapping[str, Exception] | None = None) -> pd.DataFrame:
    """Return one row per model, the best first: its score beside the ceiling and its baselines.

    Args:
        results: of a run.
        failed: models without a score, and why: rows at the end, with the column ``error``.

    Returns:
        Columns ``model``, ``modality``, ``score`` (which number is reported), ``r`` of the stable mode (mean
        over ROIs, as all that follow), its limits ``low`` and ``high`` where the run has intervals,
        ``ceiling``, ``alone``, ``joint`` and ``partial`` (what it adds to the nuisances), r of each baseline,
        and ``r2``.
    """
    import pandas as pd

    from nfas_lightning.plotting.score_tables import baseline_table, feature_scores
    from nfas_lightning.results import subject_scores, three_numbers

    own = feature_scores(results.scores)
    keys = ["model", "modality"]
    table = own.groupby(keys, sort=False).agg(
        score=("score", "first"), r=("r", "mean"), ceiling=("ceiling", "mean"), r2=("r2", "mean")
    )
    numbers = three_numbers(subject_scores(results.scores)).xs("stable_mode", level="feature")
    limits = results.ranking().means
    limits = limits[~limits.duplicated(keys, keep=False)]  # of several data sets there is no one interval
    if len(limits):
        limits = limits.set_index(keys)[["low", "high"]].reindex(table.index)
        table.insert(2, "low", limits["low"])
        table.insert(3, "high", limits["high"])
    means = baseline_table(results.scores)
    order = ["nuisance", "random_weights", "last_block", "best_block", "mean_depth", "all_blocks"]
    means = means[[name for name in order if name in means]]
    table = table.reset_index().merge(numbers, on=keys).merge(means, on=keys)
    table["r2"] = table.pop("r2")  # last: where a terminal is narrow, last columns are left out
    table = table.sort_values("r", ascending=False, ignore_index=True)
    if failed:
        rows = pd.DataFrame({"model": list(failed), "error": [str(e) for e in failed.values()]})
        table = pd.concat([table, rows], ignore_index=True)
    return table


def benchmark_configs() -> dict[str, Path]:
    """Return the configs of benchmarks by the name of their file."""
    folders = [CONFIGS / "data", CONFIGS / "experiments"]  # the latter have the settings that suit the data
    return {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}


def _read(on: str | None) -> Mapping[str, Any]:
    """Return the config of a benchmark that was named, or of a file."""
    known = benchmark_configs()
    if on not in known and not (on and Path(on).is_file()):
        hint = nearest(on or "", known)
        raise InputError(f"on must name a benchmark or a config file, got {on!r}.{hint} {', '.join(known)}.")
    try:
        config = load_yaml(known.get(str(on), Path(str(on))).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, YAMLError) as error:
        raise InputError(f"{on} must be YAML in UTF-8: {error}.") from error
    if not isinstance(config, dict) or not isinstance(config.get("data"), dict):
        raise InputError(f"{on} must have a BrainDataModule under `data:`, with class_path and init_args.")
    return config


def _build(
    config: Mapping[str, Any], on: str, root: str | None, n_permutations: int | None
) -> tuple[Any, Any]:
    """Build the data module and the settings of its scores that a config of LightningCLI has."""
    from dataclasses import replace

    from jsonargparse import ArgumentParser

    from nfas_lightning import datamodules
    from nfas_lightning.callbacks import ScoreWriter
    from nfas_lightning.scoring import ScoringSettings

    for name in datamodules.__all__:  # imported here, so that their short names resolve
        getattr(datamodules, name)
    data = {**config["data"], "init_args": {**(config["data"].get("init_args") or {})}}
    if root is not None:
        data["init_args"]["root"] = root
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=datamodules.BrainDataModule)
    parser.add_argument("--writer", type=ScoreWriter)  # whose other options are checked
    parser.add_argument("--settings", type=ScoringSettings, default=ScoringSettings())
    given = {"data": data, **_writer(config, on)}
    try:
        built = parser.instantiate(parser.parse_object(given))
    except ArgumentError as error:
        name = str(data.get("class_path"))
        hint = "" if name in datamodules.__all__ else nearest(name, datamodules.__all__)
        raise InputError(f"{on}: {error}.{hint}") from error
    settings = built.settings
    if n_permutations is not None:
        settings = replace(settings, n_permutations=n_permutations)
    return built.data, settings


def _writer(config: Mapping[str, Any], on: str) -> dict[str, Any]:
    """Return the ScoreWriter of a config of LightningCLI, and apart from it its settings, where there are."""
    trainer = config.get("trainer") or {}
    callbacks = (trainer.get("callbacks") or []) if isinstance(trainer, dict) else trainer
    listed = callbacks if isinstance(callbacks, list) else [callbacks]
    if wrong := [part for part in listed if not isinstance(part, dict) or "class_path" not in part]:
        raise InputError(
            f"{on}: trainer.callbacks must be a list of class_path and init_args, got {wrong[0]}."
        )
    for part in listed:
        if str(part["class_path"]).endswith("ScoreWriter"):
            options = {**(part.get("init_args") or {})}
            settings = {key: options.pop(key) for key in ("settings",) if options.get(key) is not None}
            return {"writer": {**part, "init_args": options}, **settings}
    return {}


def _say_how_long(models: list[str], data: Any, settings: Any, processes: int) -> None:
    from nfas_lightning.runner.planning import span
    from nfas_lightning.sweep.cost import seconds_scoring

    with doing("estimating the time"):
        n_stimuli, width, n_blocks = len(data.responses.stimulus_ids), 512, 12  # of a model of middling size
        seconds = seconds_scoring(n_stimuli, width, n_blocks, data, settings)
    rounds = -(-len(models) // processes)
    stdout_console().print(
        f"Scoring {len(models)} models takes {span(rounds * seconds)}, beside their forward passes:"
    )


def _print(table: pd.DataFrame, results: RunResults, failed: Mapping[str, Exception]) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Column, Table

    from nfas_lightning.plotting.score_tables import few_stimuli, value_name
    from nfas_lightning.results import SCORES, tells_apart

    scored = table[~table["model"].isin(list(failed))]
    # the number that is reported stands as r already; without nuisances all three are one
    same = [scored["score"].iloc[0]] if tells_apart(results.scores) else list(SCORES)
    hidden = ["model", "modality", "score", "error", *same]
    shown = scored.drop(columns=hidden, errors="ignore").dropna(axis=1, how="all")
    title = f"{value_name(results.scores)} of the stable mode, then of its baselines, mean over ROIs"
    if results.simulated:
        title = f"[bold red]SIMULATED responses[/]\n{title}"
    names = [str(name).partition("_")[0] for name in shown]
    columns = [Column(name, justify="right", no_wrap=True) for name in names]
    board = Table(
        Column("model", no_wrap=True), *columns, title=title, title_justify="left", box=box.SIMPLE_HEAD
    )
    for model, row in zip(scored["model"], shown.itertuples(index=False), strict=True):
        board.add_row(escape(model), *("-" if v != v else f"{v:.3f}" for v in row))
    console = stdout_console()
    console.print(board)
    for caution in few_stimuli(results):
        console.print(f"[yellow]{escape(caution)}[/]")
    for name, error in failed.items():
        console.print(f"[red]✗[/] {escape(name)}: {escape(str(error))}", soft_wrap=True)
