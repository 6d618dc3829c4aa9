"""Run a suite of models on one benchmark: plan first, then model by model, then the tables."""

from __future__ import annotations

import gc
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import LightningDataModule, Trainer
from pytorch_lightning.loggers import Logger
from rich.console import Console
from rich.table import Table
from torch import nn

from nfas_lightning.callbacks import DepthTrajectory, ScoreWriter
from nfas_lightning.callbacks.logging import log_images, log_scalars
from nfas_lightning.callbacks.model_log import log_run
from nfas_lightning.callbacks.wandb_runs import log_artifact, open_runs
from nfas_lightning.datamodules import BrainDataModule
from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.models import FrozenModel, LoadedModel, ModelSuite
from nfas_lightning.plotting.report import write_report
from nfas_lightning.plotting.tables import roi_table, score_table
from nfas_lightning.results import RunResults, SpaceStatistics, subject_scores
from nfas_lightning.scoring import ScoringSettings
from nfas_lightning.space import NFAS

__all__ = [
    "PlannedModel",
    "SuiteTrainer",
    "plan",
    "plan_table",
    "quiet_lightning",
    "report_run",
    "score_models",
]

ModelLike = str | nn.Module | LoadedModel | Mapping[str, Any]

_FEW_ROIS = 20  # more do not fit a terminal; the report has them all
_PIPE_COLUMNS = 110
PROBE = 4  # stimuli in the timed probe: enough to amortise one call, little beside a benchmark


@dataclass(frozen=True)
class PlannedModel:
    """What one model will take.

    Attributes:
        name: the model.
        parameters: number of parameters.
        n_blocks: recorded depths L.
        megabytes: float32 trajectory of all stimuli, in 1e6 bytes.
        seconds: forward passes over all stimuli, from a probe of a few.
        members: how many members of the suite have this architecture and are to be run: 2 with a random twin.
    """

    name: str
    parameters: int
    n_blocks: int
    megabytes: float
    seconds: float
    members: int = 1


def plan(
    suite: ModelSuite,
    datamodule: BrainDataModule,
    *,
    device: torch.device | str = "cpu",
    is_finished: Callable[[FrozenModel, str], bool] | None = None,
) -> list[PlannedModel]:
    """Probe models with a few stimuli: blocks, memory and time of the run that is about to start.

    The probe uses random weights, which cost the same as trained ones and need no download.

    Args:
        suite: the models.
        datamodule: after ``setup``.
        device: where the run's forward passes will be.
        is_finished: whether a member of the suite, which is not loaded yet, is left out; given the member and
            its name, in the order of `ModelSuite.members`. None: all are planned.
    """
    rows = []
    for spec in suite.specs:
        probed = FrozenModel(**{**spec, "weights": "random"})
        random = probed.info.name
        waiting = 0
        for member in ModelSuite([spec], random_twins=suite.random_twins, seed=suite.seed).members():
            is_random = member.hparams["weights"] == "random"
            name = random if is_random else random.removesuffix("_random")
            waiting += is_finished is None or not is_finished(member, name)
            del member  # the probe follows, which needs the memory
        if waiting:
            rows.append(replace(_probe(probed, datamodule, torch.device(device)), members=waiting))
        del probed
        _free(torch.device(device))
    return rows


def _probe(model: FrozenModel, datamodule: BrainDataModule, device: torch.device) -> PlannedModel:
    stimuli = datamodule.stimuli
    batch = stimuli.collate([stimuli[i] for i in range(min(PROBE, len(stimuli)))])
    module = model.load().module
    model.to(device)
    with torch.inference_mode():
        model(stimuli.collate([stimuli[0]]))  # the first pass pays for allocations that later ones do not
    with torch.inference_mode(), DepthRecorder(module, model.layers, pooling=model.pooling) as recorder:
        _synchronise(device)
        started = time.perf_counter()
        inputs = model.inputs(batch)
        recorder.mask = inputs.mask
        module(*inputs.args, **inputs.kwargs)
        _synchronise(device)
        seconds = time.perf_counter() - started
    return PlannedModel(
        name=model.info.name.removesuffix("_random"),
        parameters=sum(p.numel() for p in module.parameters()),
        n_blocks=len(recorder.layers),
        megabytes=4e-6 * sum(layer.width for layer in recorder.layers) * len(stimuli),
        seconds=seconds / len(batch["stimulus_id"]) * len(stimuli),
    )


def _synchronise(device: torch.device) -> None:
    """Wait for an accelerator, which works on after a call has returned."""
    if device.type in ("cuda", "xpu"):
        getattr(torch, device.type).synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _free(device: torch.device) -> None:
    gc.collect()  # a LightningModule refers to itself
    if device.type in ("cuda", "mps", "xpu"):
        getattr(torch, device.type).empty_cache()


def plan_table(rows: Iterable[PlannedModel], datamodule: BrainDataModule) -> Table:
    """Return the plan as a table for the terminal."""
    rows = list(rows)
    about = datamodule.describe()
    counts = ", ".join(f"{about[name]} {name}" for name in ("stimuli", "volumes", "rois", "subjects", "runs"))
    total = sum(row.seconds * row.members for row in rows)
    twins = any(row.members > 1 for row in rows)
    table = Table(
        title=f"{about['dataset']} ({about['modality']}): {counts}",
        caption=f"about {total:.0f} s of forward passes{', random-weights twins included' if twins else ''}",
    )
    for column in ("model", "parameters", "blocks", "trajectory", "time"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for row in rows:
        cells = (
            f"{row.parameters / 1e6:.1f} M",
            row.n_blocks,
            f"{row.megabytes:.0f} MB",
            f"{row.seconds:.0f} s",
        )
        table.add_row(row.name, *map(str, cells))
    return table


def quiet_lightning() -> None:
    """Silence what Lightning says on every run of a suite and nobody can act on."""
    # under either name of the framework
    for package in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(f"{package}.utilities.rank_zero").addFilter(_worth_reading)
    for message in (
        ".*does not have many workers.*",  # workers would cost more than they save on stimuli in memory
        ".*You have overridden `transfer_batch_to_device`.*",  # FrozenModel keeps raw batches on the CPU
        ".*isinstance\\(treespec, LeafSpec\\).*",  # between Lightning and torch
    ):
        warnings.filterwarnings("ignore", message=message)


def _worth_reading(record: logging.LogRecord) -> bool:
    said = record.getMessage()
    return not said.startswith(("GPU available", "TPU available", "HPU available", "LOCAL_RANK", "💡 Tip"))


class SuiteTrainer(Trainer):
    """Lightning's Trainer that, given a `ModelSuite`, tests its members one after another.

    Everything else is the Trainer's own. Finished members are found by the `ScoreWriter` among the callbacks
    and skipped, so a killed run continues at the next model.
    """

    def test(  # type: ignore[override]
        self,
        model: Any = None,
        dataloaders: Any = None,
        *,
        datamodule: LightningDataModule | None = None,
        **kwargs: Any,
    ) -> Any:
        """Test a model, or every model of a suite; see `pytorch_lightning.Trainer.test`.

        Raises:
            TypeError: a suite comes without a `BrainDataModule`.
            ValueError: a suite comes without `DepthTrajectory` and `ScoreWriter` callbacks.
        """
        self._open_wandb("suite" if isinstance(model, ModelSuite) else "model")
        if not isinstance(model, ModelSuite):
            return super().test(model, dataloaders, datamodule=datamodule, **kwargs)
        if not isinstance(datamodule, BrainDataModule):
            raise TypeError(
                "A ModelSuite is tested on a BrainDataModule, which knows the responses; got "
                f"{type(datamodule).__name__}."
            )
        writer = self._writer()
        environment = getattr(self.strategy, "cluster_environment", None)
        if environment is not None and not isinstance(environment, LightningEnvironment):
            # torchrun and Slurm start all processes: they must meet even where no member is left to run
            self.strategy.setup_environment()
        datamodule.prepare_data()
        datamodule.setup("test")
        writer.settings.ridge(datamodule.responses)  # refuses before any pass what could not be scored after
        found = self._plan(model, datamodule, writer) if self.is_global_zero else {}
        outputs = []
        for i, member in enumerate(model.members()):
            if self.is_global_zero:  # which alone keeps the run's tables
                is_done = writer.resume(member, datamodule.responses, found.get(i))
            else:
                is_done = writer.find(member, datamodule.responses) is not None
            if is_done:
                continue
            outputs += super().test(member, datamodule=datamodule, verbose=False)
        if self.is_global_zero:
            writer.finish(self, datamodule.responses, getattr(datamodule, "truth", None))
        return outputs

    def _plan(
        self, suite: ModelSuite, datamodule: BrainDataModule, writer: ScoreWriter
    ) -> dict[int, tuple[str, str]]:
        """Print what members without a result will take; return the results of the others by position."""
        found: list[tuple[str, str] | None] = []

        def is_finished(member: FrozenModel, name: str) -> bool:
            # weights are loaded, and hashed, only where there is a result that may be of them
            known = writer.folder.has_any(name)
            found.append(writer.find(member, datamodule.responses) if known else None)
            return found[-1] is not None

        rows = plan(suite, datamodule, device=self.strategy.root_device, is_finished=is_finished)
        if rows:
            Console().print(plan_table(rows, datamodule))
        return {i: entry for i, entry in enumerate(found) if entry is not None}

    def _open_wandb(self, job_type: str) -> None:
        """Open Weights & Biases runs in a group of the experiment, before Lightning opens them anywhere."""
        writer = next((c for c in self.callbacks if isinstance(c, ScoreWriter)), None)  # type: ignore[attr-defined]
        if job_type == "suite":  # else each member's hyperparameters would replace those of the one before
            self.enable_autolog_hparams = False
        if writer is not None and self.is_global_zero:
            open_runs(self.loggers, group=writer.name, job_type=job_type, folder=writer.run_dir)

    def _writer(self) -> ScoreWriter:
        callbacks: list[Any] = self.callbacks  # type: ignore[attr-defined]
        writers = [callback for callback in callbacks if isinstance(callback, ScoreWriter)]
        if len(writers) != 1 or not any(isinstance(callback, DepthTrajectory) for callback in callbacks):
            raise ValueError(
                "Testing a ModelSuite needs one DepthTrajectory and one ScoreWriter among the Trainer's "
                f"callbacks; got {[type(callback).__name__ for callback in callbacks]}."
            )
        return writers[0]


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
    **trainer: Any,
) -> RunResults:
    """Score models on a benchmark and report: `SuiteTrainer`, its callbacks and `report_run` in one call.

    What is finished in `run_dir` is not computed again, so a call that was stopped continues where it was.

    Args:
        models: one or several, by name (``"minilm_l6"``, ``"timm:resnet50"``, ``"zoo:gpt2"``), or as mappings
            with the arguments of `FrozenModel`, ``{"model": net, "name": "mine", "preprocess": ...}``. A
            network of your own (`nn.Module`), a `LoadedModel` and a `FrozenModel` will do as they are.
        datamodule: the benchmark.
        run_dir: folder of the tables and of report.html.
        settings: how a trajectory becomes scores; None: `ScoringSettings()`.
        random_twins: score each model's architecture without its training too.
        seed: of the random twins.
        loggers: Lightning's, e.g. a `WandbLogger`.
        name: of the run; None: the folder's.
        report: print the tables and write report.html.
        trainer: further arguments of `Trainer`, e.g. ``accelerator="gpu"``, ``precision="bf16-true"``. One
            device is used unless ``devices`` says more; ``devices=2, strategy="ddp"`` runs the whole script
            once a device.

    Returns:
        The tables: ``scores``, ``spectra``, ``depth``, ``models``, ``rois``; on every process of several, of
        which the first alone prints and reports.

    Raises:
        ValueError: a model that does not exist, or that the benchmark has no stimuli for, or two of one name,
            see `ModelSuite`.
        TypeError: something that is no model.

    Example:
        >>> results = score_models(["mobilenet_v2", "xfeat"], brain, "runs/mine")  # doctest: +SKIP
        >>> results.scores.to_csv("runs/mine/scores.csv", index=False)  # doctest: +SKIP
    """
    quiet_lightning()
    is_one = isinstance(models, str | Mapping | nn.Module) or not isinstance(models, Iterable)
    several: list[Any] = [models] if is_one else list(models)  # type: ignore[arg-type]
    suite = ModelSuite(several, random_twins=random_twins, seed=seed)
    loggers = list(loggers)
    writer = ScoreWriter(str(run_dir), settings=settings, name=name)
    options = {"devices": 1, "enable_checkpointing": False, "enable_model_summary": False, **trainer}
    runner = SuiteTrainer(callbacks=[DepthTrajectory(), writer], logger=loggers, **options)
    runner.test(suite, datamodule=datamodule)
    runner.strategy.barrier("the first process has written the run's tables")
    if not runner.is_global_zero:
        return RunResults.load(run_dir)
    assert writer.results is not None  # a suite that was tested has results, or has raised
    if report:
        report_run(writer.results, run_dir, loggers)
    return writer.results


def report_run(
    results: RunResults,
    run_dir: str | Path,
    loggers: Iterable[Logger] = (),
    *,
    feature: str = "stable_mode",
    value: str = "r2",
    subject: str | None = None,
    statistics: SpaceStatistics | None = None,
) -> Path:
    """Print the tables of finished runs, write report.html, and log its figures.

    Args:
        results: what the runs found.
        run_dir: folder that gets the report.
        loggers: get the space's tests and the figures, W&B the report as an artifact too.
        feature: which feature's scores place a model in the space.
        value: ``"r2"`` or ``"r"``.
        subject: whose scores are shown, see `NFAS.from_scores`.
        statistics: of their space, where they are known already.

    Returns:
        Path of the report.
    """
    everyone, results = results, replace(results, scores=subject_scores(results.scores, subject))
    # tables cut to the 80 columns that a pipe is taken to have would lose their numbers
    console = Console() if sys.stdout.isatty() else Console(width=_PIPE_COLUMNS)
    console.print(score_table(results))
    if len(results.rois) <= _FEW_ROIS:
        console.print(roi_table(results))
    if statistics is None:
        statistics = NFAS.from_scores(everyone, feature=feature, value=value, subject=subject).statistics()
    for label, test in (("PERMANOVA", statistics.permanova), ("silhouette", statistics.silhouette)):
        if test:
            console.print(f"{label}: {test['statistic']:.3f}, p = {test['p_value']:.4f}")
    for note in statistics.notes:
        console.print(f"[dim]{note}[/]")
    path = write_report(Path(run_dir) / "report.html", results, statistics)
    loggers = list(loggers)
    if "runs" in results.meta:  # joined from several runs; a single run logged its own tables
        log_run(loggers, results)
    tests = {"permanova": statistics.permanova, "silhouette": statistics.silhouette}
    for label, test in tests.items():
        if test:
            numbers = {f"space/{label}": test["statistic"], f"space/{label}_p": test["p_value"]}
            log_scalars(loggers, numbers, step=0)
    log_images(loggers, {figure.stem: figure for figure in sorted((Path(run_dir) / "figures").glob("*.png"))})
    about = {name: results.meta[name] for name in ("dataset", "responses_sha256") if name in results.meta}
    name = str(results.meta.get("name") or Path(run_dir).name)
    log_artifact(loggers, name, Path(run_dir), {**about, "models": list(results.models["model"])})
    console.print(f"Report: {path}")
    return path
