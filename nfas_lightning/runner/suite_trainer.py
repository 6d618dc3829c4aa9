"""Lightning's Trainer, which tests a suite of models one after another."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from copy import copy
from dataclasses import dataclass
from functools import partial
from io import StringIO
from typing import Any

from rich.text import Text

from nfas_lightning.callbacks import DepthTrajectory, ScoreWriter
from nfas_lightning.callbacks.wandb_runs import open_runs
from nfas_lightning.datamodules import BrainDataModule
from nfas_lightning.datamodules.streams import stream_of
from nfas_lightning.errors import InputError, InputTypeError
from nfas_lightning.lightning_packages import LightningDataModule, Trainer
from nfas_lightning.models import FrozenModel, ModelSuite
from nfas_lightning.models.suite import RandomTwin
from nfas_lightning.runner.memory import available_mb
from nfas_lightning.runner.planning import PlannedModel, plan, plan_table
from nfas_lightning.runner.suite_log import FailedModelsError, WarnedOnce, say_failed
from nfas_lightning.runner.workers import prepare, share
from nfas_lightning.terminal import doing, heartbeat, stdout_console
from nfas_lightning.termination import ending_on_sigterm
from nfas_lightning.writing import check_folder

__all__ = ["SuiteTrainer", "quiet_lightning"]

# label and key of a result, by the name of the trained model, and 0 for itself or 1 for its random twin
_Found = dict[tuple[str, int], tuple[str, str]]


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

    Args:
        *args: of the Trainer.
        processes: how many share a suite's models, each with its share of the cores: many networks use no
            more than one. Models and data are sent to each; scores do not depend on it but for rounding.
        **kwargs: of the Trainer.

    Raises:
        ValueError: `processes` is below one.
    """

    def __init__(self, *args: Any, processes: int = 1, **kwargs: Any) -> None:
        if processes < 1:
            raise InputError(f"processes must be at least 1, got {processes}.")
        self.processes = processes
        self._options = {name: value for name, value in kwargs.items() if name not in ("callbacks", "logger")}
        super().__init__(*args, **kwargs)

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
            ValueError: a suite comes without `DepthTrajectory` and `ScoreWriter` callbacks, or its responses
                can't be scored.
            OSError: the run's folder can't be written.
            FailedModelsError: some of several models failed; the others' tables are written.
            SystemExit: SIGTERM came while a suite was tested (code 143); what is finished is kept.
        """
        if not isinstance(model, ModelSuite):
            for writer in self._writers():
                check_folder(writer.run_dir)  # W&B's ids are kept there before the callbacks are set up
            self._open_wandb("model")
            return super().test(model, dataloaders, datamodule=datamodule, **kwargs)
        if not isinstance(datamodule, BrainDataModule):
            raise InputTypeError(
                "A ModelSuite is tested on a BrainDataModule, which knows the responses; got "
                f"{type(datamodule).__name__}."
            )
        if getattr(self.strategy, "_start_method", "popen") != "popen":
            raise InputError(
                "A ModelSuite needs a strategy that starts this script on each device, got processes that "
                "are spawned or forked, whose results do not come back here: take strategy='ddp'."
            )
        writer = self._writer()
        check_folder(writer.run_dir)
        if min(self.processes, len(model)) > 1:
            prepare()
        self._open_wandb("suite")
        environment = type(getattr(self.strategy, "cluster_environment", None))
        # by name, since each of Lightning's packages has a class of its own
        if not {"NoneType", "LightningEnvironment"} & {kind.__name__ for kind in environment.__mro__}:
            # torchrun and Slurm start all processes: they must meet even where no member is left to run
            self.strategy.setup_environment()
        with doing("reading the benchmark"):
            datamodule.prepare_data()
            datamodule.setup("test")
        writer.settings.check(datamodule.responses)
        with ending_on_sigterm(writer.last_words), self._one_bar():
            return self._test_members(model, datamodule, writer)

    @contextmanager
    def _one_bar(self) -> Iterator[None]:
        """Tell which model of how many is running, in the place of a bar per model, if bars are wanted."""
        bar = self.progress_bar_callback
        if bar is None or not self.is_global_zero:
            yield
            return
        bar.disable()
        try:
            with heartbeat():
                yield
        finally:
            bar.enable()

    def _test_members(self, model: ModelSuite, datamodule: BrainDataModule, writer: ScoreWriter) -> list[Any]:
        console, warned = stdout_console(), WarnedOnce()
        errors: dict[str, Exception] = {}
        # of one model nothing is left, and several processes must not go on without one another
        goes_on = len(model) > 1 and self.world_size == 1

        def failed(name: str, error: Exception) -> None:
            if not goes_on:
                raise error
            errors[name] = error
            say_failed(console, name, error)

        found, rows = self._plan(model, datamodule, writer, failed) if self.is_global_zero else ({}, [])
        outputs: list[Any] = []
        if min(self.processes, len(rows)) > 1:
            found |= self._shared(model, datamodule, writer, rows, warned, failed)
        for number, spec in enumerate(model.specs, 1):
            name = model.name_of(spec)
            for place, member in enumerate(model.members_of(spec)):
                if name in errors:  # nor does its random twin run
                    break
                at = f"model {number} of {len(model)}, {name}{' with random weights' if place else ''}"
                try:
                    with warned.of(name), doing(partial(self._how_far, at)):
                        outputs += self._test_member(member, datamodule, writer, found.get((name, place)))
                except Exception as error:  # noqa: BLE001 - listed, raised at the end, and the next one runs
                    failed(name, error)
        self._in_order(model, writer)
        for line in warned.repeated():
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if self.is_global_zero and (writer.has_results or not errors):
            writer.finish(self, datamodule.responses, getattr(datamodule, "truth", None))
        if errors:
            raise FailedModelsError(errors, len(model), writer.run_dir, writer.results) from next(
                iter(errors.values())
            )
        return outputs

    def _shared(
        self,
        suite: ModelSuite,
        datamodule: BrainDataModule,
        writer: ScoreWriter,
        rows: Iterable[PlannedModel],
        warned: WarnedOnce,
        failed: Callable[[str, Exception], None],
    ) -> _Found:
        """Test the models of a plan in several processes, the longest first; return their results."""
        if self.world_size > 1 or not writer.is_alone(self):
            raise InputError(
                f"processes={self.processes} needs one device, a DepthTrajectory without metric or save_dir "
                "and no callback that looks at the batches of a test: take processes=1."
            )
        planned = {row.name: row for row in sorted(rows, key=lambda row: -row.seconds * row.members)}
        recorder = next(found for found in self.callbacks if isinstance(found, DepthTrajectory))  # type: ignore[attr-defined]
        data = copy(datamodule)
        data.trainer = None  # which knows everything
        twins = {"random_twins": suite.random_twins, "seed": suite.seed}
        specs = {suite.name_of(spec): spec for spec in suite.specs}
        part = _Part(specs, twins, data, recorder, {**writer.options, "tables": False}, self._options)
        console, found = stdout_console(), _Found()

        def fits(name: str) -> bool:
            return planned[name].memory.of_host < 1e6 * available_mb()

        n_done = 0
        with doing(lambda: f"{n_done} of {len(planned)} models done, {self.processes} processes at work"):
            for n_done, (name, done) in enumerate(share(part, planned, self.processes, fits), 1):  # noqa: B007
                if isinstance(done, Exception):
                    failed(name, done)
                    continue
                with warned.of(name):
                    for warning in done.warned:
                        warnings.warn_explicit(*warning)
                console.print(Text.from_ansi(done.said.rstrip()), soft_wrap=True)
                for place, entry in enumerate(done.entries):
                    writer.take(entry, self, datamodule)
                    found[name, place] = entry
        return found

    @staticmethod
    def _in_order(suite: ModelSuite, writer: ScoreWriter) -> None:
        """Put results into the order of the suite, whoever was done first, behind those of earlier suites."""
        place = {suite.name_of(spec): number for number, spec in enumerate(suite.specs)}
        trained = {
            label: label if label in place else label.removesuffix("_random") for label, _ in writer.finished
        }
        writer.finished.sort(key=lambda entry: place.get(trained[entry[0]], -1))

    def _how_far(self, at: str) -> str:
        shown, batches = self.test_loop.batch_progress.current.completed, sum(self.num_test_batches)
        return f"{at}: {shown} of {batches} batches" if 0 < shown < batches else at

    def _test_member(
        self,
        member: FrozenModel,
        datamodule: BrainDataModule,
        writer: ScoreWriter,
        found: tuple[str, str] | None,
    ) -> list[Any]:
        """Test one member, unless its result is there already."""
        if found is not None:  # nothing has to be loaded
            writer.resume(member, self, datamodule, found)
            return []
        datamodule = stream_of(datamodule, member)
        if self.is_global_zero:  # which alone keeps the run's tables
            is_done = writer.resume(member, self, datamodule)
        else:
            is_done = writer.find(member, self, datamodule) is not None
        return [] if is_done else list(super().test(member, datamodule=datamodule, verbose=False))

    def _plan(
        self,
        suite: ModelSuite,
        datamodule: BrainDataModule,
        writer: ScoreWriter,
        on_missing: Callable[[str, Exception], None],
    ) -> tuple[_Found, list[PlannedModel]]:
        """Print what members without a result will take; return the results of the others, and the plan."""
        found: _Found = {}
        captured = writer.cache.models()

        def is_finished(member: FrozenModel, name: str) -> bool:
            # weights are loaded, and hashed, only where there is a result, or states, that may be of them
            has_result, entry = writer.folder.has_any(name), None
            if not (has_result or name in captured):
                return False
            shown = stream_of(datamodule, member)
            if has_result:
                entry = writer.find(member, self, shown)
            if entry is not None:
                place = int(isinstance(member, RandomTwin))
                found[member.twin_of if isinstance(member, RandomTwin) else name, place] = entry
            return entry is not None or (name in captured and writer.is_captured(member, self, shown))

        device = self.strategy.root_device
        capture = next(found for found in self.callbacks if isinstance(found, DepthTrajectory))  # type: ignore[attr-defined]
        rows = plan(
            suite,
            datamodule,
            device=device,
            settings=writer.settings,
            capture=capture,
            is_finished=is_finished,
            on_missing=on_missing,
        )
        if rows:
            stdout_console().print(plan_table(rows, datamodule))
        return found, rows

    def _open_wandb(self, job_type: str) -> None:
        """Open Weights & Biases runs in a group of the experiment, before Lightning opens them anywhere."""
        writer = next(iter(self._writers()), None)
        if job_type == "suite":  # else each member's hyperparameters would replace those of the one before
            self.enable_autolog_hparams = False
        if writer is not None and self.is_global_zero:
            open_runs(self.loggers, group=writer.name, job_type=job_type, folder=writer.run_dir)

    def _writers(self) -> list[ScoreWriter]:
        return [callback for callback in self.callbacks if isinstance(callback, ScoreWriter)]  # type: ignore[attr-defined]

    def _writer(self) -> ScoreWriter:
        callbacks: list[Any] = self.callbacks  # type: ignore[attr-defined]
        writers = self._writers()
        if len(writers) != 1 or not any(isinstance(callback, DepthTrajectory) for callback in callbacks):
            raise InputError(
                "Testing a ModelSuite needs one DepthTrajectory and one ScoreWriter among the Trainer's "
                f"callbacks; got {[type(callback).__name__ for callback in callbacks]}."
            )
        return writers[0]


@dataclass(frozen=True)
class _Done:
    """What testing one model of a suite in another process has come to."""

    entries: list[tuple[str, str]]
    said: str
    warned: list[tuple[Any, ...]]


@dataclass(frozen=True)
class _Part:
    """What a process needs to test models of a suite: called once, it makes the function that tests one."""

    specs: dict[str, dict[str, Any]]
    twins: dict[str, Any]
    datamodule: BrainDataModule
    recorder: DepthTrajectory
    writer: dict[str, Any]
    trainer: dict[str, Any]

    def __call__(self) -> Callable[[str], _Done]:
        quiet_lightning()
        # what is said is printed by the process that asked, which knows how wide and colorful it may be
        os.environ |= {"COLUMNS": "1000", "FORCE_COLOR": "1"}
        return self._test

    def _test(self, name: str) -> _Done:
        writer = ScoreWriter(**self.writer)
        options = {**self.trainer, "logger": False, "enable_progress_bar": False}
        trainer = SuiteTrainer(callbacks=[self.recorder, writer], **options)
        with redirect_stdout(StringIO()) as said, warnings.catch_warnings(record=True) as caught:
            for member in ModelSuite([self.specs[name]], **self.twins).members():
                trainer._test_member(member, self.datamodule, writer, None)
        warned = [(one.message, one.category, one.filename, one.lineno) for one in caught]
        return _Done(writer.finished, said.getvalue(), warned)
