"""Lightning's Trainer, which tests a suite of models one after another."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from nfas_lightning.callbacks import DepthTrajectory, ScoreWriter
from nfas_lightning.callbacks.wandb_runs import open_runs
from nfas_lightning.datamodules import BrainDataModule
from nfas_lightning.datamodules.streams import stream_of
from nfas_lightning.errors import InputError, InputTypeError
from nfas_lightning.lightning_packages import LightningDataModule, Trainer
from nfas_lightning.models import FrozenModel, ModelSuite
from nfas_lightning.models.suite import RandomTwin
from nfas_lightning.runner.planning import plan, plan_table
from nfas_lightning.runner.suite_log import FailedModelsError, WarnedOnce, say_failed
from nfas_lightning.terminal import doing, heartbeat, stdout_console
from nfas_lightning.termination import ending_on_sigterm
from nfas_lightning.writing import check_folder

__all__ = ["SuiteTrainer", "quiet_lightning"]


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

        found = self._plan(model, datamodule, writer, failed) if self.is_global_zero else {}
        outputs: list[Any] = []
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
        for line in warned.repeated():
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if self.is_global_zero and (writer.has_results or not errors):
            writer.finish(self, datamodule.responses, getattr(datamodule, "truth", None))
        if errors:
            raise FailedModelsError(errors, len(model), writer.run_dir, writer.results) from next(
                iter(errors.values())
            )
        return outputs

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
        datamodule = stream_of(datamodule, member)
        if self.is_global_zero:  # which alone keeps the run's tables
            is_done = writer.resume(member, self, datamodule, found)
        else:
            is_done = writer.find(member, self, datamodule) is not None
        return [] if is_done else list(super().test(member, datamodule=datamodule, verbose=False))

    def _plan(
        self,
        suite: ModelSuite,
        datamodule: BrainDataModule,
        writer: ScoreWriter,
        on_missing: Callable[[str, Exception], None],
    ) -> dict[tuple[str, int], tuple[str, str]]:
        """Print what members without a result will take; return the results of the others.

        Those are by the name of the trained model, and 0 for itself or 1 for its random twin.
        """
        found: dict[tuple[str, int], tuple[str, str]] = {}
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
        return found

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
