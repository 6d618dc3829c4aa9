"""A job: models of one benchmark, one after another in one process, each failing on its own."""

from __future__ import annotations

import gc
import os
import time
import traceback
import uuid
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from nfas_lightning.callbacks import DepthTrajectory, ScoreWriter
from nfas_lightning.datamodules import BrainDataModule
from nfas_lightning.errors import InputError
from nfas_lightning.models import ModelSuite
from nfas_lightning.results import NoKeyError, content_key
from nfas_lightning.runner import SuiteTrainer, quiet_lightning
from nfas_lightning.runner.memory import reset_peak
from nfas_lightning.sweep import cost
from nfas_lightning.sweep.cell import Cell
from nfas_lightning.sweep.config import Sweep
from nfas_lightning.versions import code_version

__all__ = ["PARENT", "estimate_key", "run_job"]

PARENT = "NFAS_SWEEP_PARENT"
"""Environment variable with the process that a local worker belongs to: without it a worker stops."""


def run_job(sweep: Sweep, cells: Sequence[Cell], *, only_estimate: bool = False) -> bool:
    """Run models on their benchmark; a failure is written down and the next model runs.

    Args:
        sweep: whose cells they are.
        cells: of one benchmark.
        only_estimate: probe what they will take, and run nothing.

    Returns:
        Whether all of them are done.
    """
    quiet_lightning()
    console = Console()
    benchmark = sweep.benchmarks[cells[0].benchmark]
    try:
        datamodule = benchmark.data
        datamodule.prepare_data()
        datamodule.setup("test")
        found = datamodule.responses.modality
        if found != benchmark.modality:
            raise InputError(
                f"The benchmark {cells[0].benchmark!r} is said to be {benchmark.modality}, and its data are "
                f"{found}."
            )
    except Exception as error:  # noqa: BLE001 - written down for every model that it stops
        for cell in cells:
            _fail(cell, error, console, estimating=only_estimate)
        return False
    shared = False
    for cell in cells:
        if _orphaned():
            console.print("The sweep that started this job is gone: stopping before the next model.")
            return False
        try:
            with cell.lock():
                if only_estimate:
                    _estimate(sweep, cell, datamodule)
                    continue
                if not shared and len(cells) > 1:
                    console.print(cost.share_stimuli(datamodule, sweep.share_gb))
                    shared = True
                _run(sweep, cell, datamodule)
        except Exception as error:  # noqa: BLE001 - written down, and the next model runs
            _fail(cell, error, console, estimating=only_estimate)
        gc.collect()
    return only_estimate or all(cell.status()["state"] == "done" for cell in cells)


def _run(sweep: Sweep, cell: Cell, datamodule: BrainDataModule) -> None:
    started, peak = time.perf_counter(), reset_peak()
    before = cell.status()
    cell.say("running", pid=os.getpid(), log=os.environ.get("NFAS_SWEEP_LOG", ""))
    settings = sweep.scoring(cell.benchmark)
    writer = ScoreWriter(
        str(cell.folder), settings=settings, name=cell.name, resume=sweep.resume, cache=sweep.cache
    )
    computed = 0
    suite = ModelSuite([cell.spec.arguments()], random_twins=sweep.random_twins, seed=sweep.seed)
    for member in suite.members():
        member.load()
        trainer = SuiteTrainer(
            callbacks=[DepthTrajectory(dtype=sweep.dtype), writer],
            accelerator=sweep.accelerator,
            precision=sweep.precision,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
        if writer.resume(member, trainer, datamodule):
            continue
        trainer.test(member, datamodule=datamodule, verbose=False)
        computed += 1
    writer.gather(datamodule.responses, getattr(datamodule, "truth", None))
    key = content_key([key for _, key in writer.finished])
    if computed == 0 and before["state"] == "done" and before.get("key") == key:
        kept = {name: before[name] for name in ("seconds", "peak_mb") if name in before}
        cell.say("done", key=key, **kept, found=True)  # the cost is that of the run that computed it
        return
    cell.say("done", key=key, seconds=time.perf_counter() - started, peak_mb=peak(), found=not computed)


def estimate_key(sweep: Sweep, cell: Cell) -> str:
    """Return a key over what an estimate depends on, as far as it is known before anything is read."""
    data = sweep.benchmarks[cell.benchmark].data
    about = [type(data), dict(getattr(data, "hparams", {}))]
    settings = sweep.scoring(cell.benchmark)
    parts = (
        dict(cell.spec.given),
        about,
        vars(settings),
        sweep.random_twins,
        code_version("capture"),
        code_version("scoring"),
    )
    try:
        return content_key(*parts)
    except NoKeyError:  # a benchmark of one's own without a source: it is probed each time
        return uuid.uuid4().hex


def _estimate(sweep: Sweep, cell: Cell, datamodule: BrainDataModule) -> None:
    key = estimate_key(sweep, cell)
    if not cell.estimate(key):
        suite = ModelSuite([cell.spec.arguments()], random_twins=sweep.random_twins, seed=sweep.seed)
        cell.keep_estimate({**cost.estimate(suite, datamodule, sweep.scoring(cell.benchmark)), "key": key})


def _fail(cell: Cell, error: Exception, console: Console, *, estimating: bool) -> None:
    text = "".join(traceback.format_exception(error))
    console.print(f"{cell.name} failed:\n{text}", markup=False)
    said = f"{type(error).__name__}: {error}"
    if estimating:
        cell.keep_estimate({"error": said})
    else:
        log = os.environ.get("NFAS_SWEEP_LOG", "")
        cell.say("failed", error=said, traceback=text, log=log and str(Path(log)))


def _orphaned() -> bool:
    parent = os.environ.get(PARENT)
    return bool(parent) and os.getppid() != int(str(parent))
