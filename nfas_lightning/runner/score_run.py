"""Models, a benchmark and a folder: everything from the first forward pass to the report in one call."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import nn

from nfas_lightning.callbacks import DepthTrajectory, ScoreWriter
from nfas_lightning.datamodules import BrainDataModule
from nfas_lightning.errors import InputTypeError
from nfas_lightning.lightning_packages import Logger, Trainer, kinds
from nfas_lightning.models import LoadedModel, ModelSuite
from nfas_lightning.results import RunResults
from nfas_lightning.runner.run_report import report_run
from nfas_lightning.runner.suite_log import FailedModelsError
from nfas_lightning.runner.suite_trainer import SuiteTrainer, quiet_lightning
from nfas_lightning.scoring import ScoringSettings

__all__ = ["score_models"]

ModelLike = str | nn.Module | LoadedModel | Mapping[str, Any]


def score_models(
    models: ModelLike | Iterable[ModelLike],
    datamodule: BrainDataModule,
    run_dir: str | Path,
    *,
    settings: ScoringSettings | None = None,
    random_twins: bool = True,
    seed: int = 0,
    loggers: Iterable[Logger] = (),
    name: str | None = None,
    report: bool = True,
    resume: bool = True,
    cache: bool | str = True,
    processes: int = 1,
    **trainer: Any,
) -> RunResults:
    """Score models on a benchmark and report: `SuiteTrainer`, its callbacks and `report_run` in one call.

    What is finished in `run_dir` is not computed again, so a call that was stopped continues where it was.
    `capture_key` and `scoring_key` say what makes a result another one. Where states are kept from an earlier
    run, in whatever folder, no forward pass is run, see `CaptureCache`.

    Args:
        models: one or several, by name (``"minilm_l6"``, ``"timm:resnet50"``, ``"zoo:gpt2"``), or as mappings
            with the arguments of `FrozenModel`, ``{"model": net, "name": "mine", "preprocess": ...}``. A
            network of your own (`nn.Module`), a `LoadedModel` and a `FrozenModel` will do as they are; a
            network stays frozen afterwards, in eval mode and without gradients.
        datamodule: the benchmark.
        run_dir: folder of the tables and of report.html.
        settings: how a trajectory becomes scores; None: `ScoringSettings()`.
        random_twins: score each model's architecture without its training too.
        seed: of the random twins.
        loggers: Lightning's, e.g. a `WandbLogger`.
        name: of the run; None: the folder's.
        report: print the tables and write report.html.
        resume: take the finished results in `run_dir`, and states that are kept; False: compute every model
            anew, and replace them.
        cache: folder that keeps states, True for the usual one; False: keep none, and take none.
        processes: how many share the models, each with its share of the cores, see `SuiteTrainer`. On two
            cores two halve the time of most suites.
        trainer: further arguments of `Trainer`, e.g. ``accelerator="gpu"``, ``precision="bf16-mixed"``. One
            device is used unless ``devices`` says more; ``devices=2, strategy="ddp"`` runs the whole script
            once per device.

    Returns:
        The tables: ``scores``, ``spectra``, ``depth``, ``models``, ``rois``; on every process of several, of
        which the first alone prints and reports.

    Raises:
        ValueError: a model that does not exist, or that the benchmark has no stimuli for, or two of one name,
            see `ModelSuite`; or responses without a value.
        TypeError: something that is no model, no list of loggers or no path, or an argument that neither
            this function nor the Trainer has.
        OSError: `run_dir` is no folder, or can't be written.
        FailedModelsError: some of several models failed, such as one whose weights are out of reach. The
            tables and the report of the others are written first; `results` holds what this would have
            returned.

    Example:
        >>> results = score_models(["mobilenet_v2", "xfeat"], brain, "runs/mine")  # doctest: +SKIP
        >>> results.scores.to_csv("runs/mine/scores.csv", index=False)  # doctest: +SKIP
    """
    _check_trainer_options(trainer, score_models)
    loggers = _check_loggers(loggers)
    folder = _check_path("run_dir", run_dir)
    quiet_lightning()
    is_one = isinstance(models, str | Mapping | nn.Module) or not isinstance(models, Iterable)
    several: list[Any] = [models] if is_one else list(models)  # type: ignore[arg-type]
    suite = ModelSuite(several, random_twins=random_twins, seed=seed)
    writer = ScoreWriter(folder, settings=settings, name=name, resume=resume, cache=cache)
    options = {"devices": 1, "enable_checkpointing": False, "enable_model_summary": False, **trainer}
    callbacks: list[Any] = [DepthTrajectory(), writer]
    runner = SuiteTrainer(callbacks=callbacks, logger=loggers, processes=processes, **options)
    try:
        runner.test(suite, datamodule=datamodule)
    except FailedModelsError as failed:
        if report and failed.results is not None:
            report_run(failed.results, run_dir, loggers)
        raise
    runner.strategy.barrier("the first process has written the run's tables")
    if not runner.is_global_zero:
        return RunResults.load(run_dir)
    assert writer.results is not None  # a suite that was tested has results, or has raised
    if report:
        report_run(writer.results, run_dir, loggers)
    return writer.results


def _check_trainer_options(options: Iterable[str], function: Callable[..., Any]) -> None:
    """Refuse names that neither a function nor the Trainer has an argument for.

    Args:
        options: names that are not arguments of `function` itself.
        function: what hands them to the Trainer, whose callbacks and loggers it sets.

    Raises:
        TypeError: there is no such argument; the nearest name is given.
    """
    trainer = set(inspect.signature(Trainer).parameters) - {"callbacks", "logger"}
    own = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    for name in options:
        if name == "callbacks":
            raise InputTypeError(
                f"{function.__name__} sets the Trainer's callbacks, got callbacks=...: with your own, test a "
                "ModelSuite with SuiteTrainer(callbacks=[DepthTrajectory(), ScoreWriter(run_dir), ...])."
            )
        if name not in trainer:
            close = get_close_matches(name, [*own, *sorted(trainer)], n=1)
            meant = f": did you mean {close[0]!r}?" if close else "."
            raise InputTypeError(
                f"{function.__name__} has no argument {name!r}{meant} It takes {', '.join(own)}, and those "
                "of Lightning's Trainer."
            )


def _check_loggers(loggers: Any) -> list[Logger]:
    """Return loggers as a list.

    Raises:
        TypeError: they are no list of loggers.
    """
    is_several = isinstance(loggers, Iterable) and not isinstance(loggers, str)
    several = list(loggers) if is_several else [loggers]
    known = kinds("Logger")
    wrong = [logger for logger in several if not isinstance(logger, known)]
    if wrong or not is_several:
        one = (wrong or several)[0]
        advice = "leave it out to log nothing" if wrong else "put it into a list"
        raise InputTypeError(
            "loggers must be a list of Lightning's loggers, such as [CSVLogger('logs')], got "
            f"{_described(one)}: {advice}."
        )
    return several


def _check_path(name: str, path: Any) -> str:
    """Return a path as text.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputTypeError(
            f"{name} must be the path of a folder, such as 'runs/mine', got {_described(path)}."
        )
    return os.fspath(path)


def _described(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    return f"the class {value.__name__}" if isinstance(value, type) else f"one {type(value).__name__}"
