"""Watch a network's brain alignment while somebody else's loop trains it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn

from nfas_lightning.callbacks.logging import log_config, log_figure, log_scalars, log_table
from nfas_lightning.callbacks.loop import Moment
from nfas_lightning.callbacks.schedule import Schedule
from nfas_lightning.callbacks.watch import BrainWatch
from nfas_lightning.hooks.selection import Layers, find_network
from nfas_lightning.lightning_packages import Callback, pl
from nfas_lightning.models.frozen import FrozenModel
from nfas_lightning.models.loaded import Preprocess
from nfas_lightning.results import ModelResult
from nfas_lightning.scoring import ScoringSettings

__all__ = ["BrainAlignment"]

_STAGES = ("validate", "test")
_SHARDED = ("FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy")


class BrainAlignment(Callback):
    """Run a brain benchmark through the network that is being trained, and log how well the two align.

    When due, every process shows its share of the stimuli to the network, frozen; the first scores the whole.
    ``trainer.validate`` and ``trainer.test`` end with a look, too. Two stimuli are shown before the first
    step, so that layers, submodule, size and preprocessing that do not fit fail then.
    The training is not changed by a bit: weights, buffers, whatever else modules hold, modes, gradients,
    random states, autocast and hooks are as they were before. What `torch.compile` wrapped runs uncompiled
    here, since compiled code may skip hooks. Sharded parameters (FSDP, DeepSpeed) are not supported: a block
    can't run outside its wrapper.

    Logged to every logger at the optimizer's step, under `prefix`: ``mean_r`` and ``mean_r2`` of the stable
    mode over ROIs, the number that `settings.score` names, and where the benchmark has nuisances all three
    (``mean_r_alone``, ``mean_r_joint``, ``mean_r_partial``); ``r2/<network>``, ``stable_modulus``,
    ``best_baseline_r2`` (with `settings.baselines`), ``seconds``; after a failure ``failures``. ``mean_r``
    and ``mean_r2`` are in ``trainer.callback_metrics``
    too, so that ``ModelCheckpoint(monitor="brain/mean_r2")`` works. Every `details_every` looks, and after
    the last, a table ``scores`` (one row per ROI) and a figure ``curves``. In ``validate`` and ``test`` the
    scalars are ``validate/brain/mean_r`` and so on; `curves` is that of a training alone.

    Args:
        datamodule: the benchmark, a `BrainDataModule`; not the one that the Trainer trains on.
        layers: blocks to record, see `resolve_layers`.
        pooling: see `nfas_lightning.hooks.pool`.
        preprocess: raw batch to the network's inputs: `ModelInputs`, a tensor, a tuple or keywords; None:
            what the configuration of timm or transformers on the network asks for, else the batch's image
            or audio as it is, with a warning. `RawStimuli()` says that this is right. The training's own
            augmentation plays no part.
        submodule: dotted name of the network inside the LightningModule; None: its attribute ``model`` or
            ``module`` if there is one, else the LightningModule itself, or if that has no forward pass the
            only network that it holds.
        average: look at the average that Lightning's ``WeightAveraging`` callback keeps instead of the
            weights in training. For an average of your own, name it as `submodule`.
        every_n_epochs: at the end of every n-th epoch; 0 for never.
        every_n_steps: after every n-th optimizer step; 0 for never.
        at_start: before the first step.
        at_end: after the last step, unless it was looked at already.
        on_checkpoint: whenever a checkpoint is saved.
        settings: how a trajectory becomes scores; None: the defaults, without permutations.
        run_dir: folder that keeps every look's scores and the curves; None keeps them in memory.
        name: of the model in the tables; None: the network's class.
        prefix: of the logged keys.
        details_every: looks between two tables and figures.
        batch_size: stimuli a batch; None: the datamodule's.
        on_error: ``"warn"``: a look that fails is reported once, with its reason, and the training goes on;
            ``"raise"``: it stops the training.

    Raises:
        TypeError: the datamodule has no responses.
        ValueError: an unknown option; at the start of ``fit`` an unknown layer or submodule, or responses
            without a value.
        RuntimeError: at the start of ``fit``, the network can't be shown the stimuli.

    Example:
        >>> from nfas_lightning.datamodules import ArrayDataModule
        >>> brain = ArrayDataModule(torch.rand(40, 3, 32, 32), torch.randn(40, 3), rois=["V1", "V4", "LOC"])
        >>> callback = BrainAlignment(brain, every_n_epochs=2)
        >>> callback.curves.empty
        True
    """

    def __init__(
        self,
        datamodule: pl.LightningDataModule,
        *,
        layers: Layers = "auto",
        pooling: str = "auto",
        preprocess: Preprocess | None = None,
        submodule: str | None = None,
        average: bool = False,
        every_n_epochs: int = 1,
        every_n_steps: int = 0,
        at_start: bool = False,
        at_end: bool = True,
        on_checkpoint: bool = False,
        settings: ScoringSettings | None = None,
        run_dir: str | Path | None = None,
        name: str | None = None,
        prefix: str = "brain",
        details_every: int = 5,
        batch_size: int | None = None,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        self._watch = BrainWatch(
            datamodule,
            layers=layers,
            pooling=pooling,
            preprocess=preprocess,
            settings=settings,
            run_dir=run_dir,
            name=name,
            prefix=prefix,
            details_every=details_every,
            batch_size=batch_size,
            on_error=on_error,
        )
        self.schedule = Schedule(every_n_epochs, every_n_steps, at_start, at_end, on_checkpoint)
        self.submodule, self.average = submodule, average
        self._last_step = 0
        self._has_warned = False

    @property
    def curves(self) -> pd.DataFrame:
        """One row a look, feature and network, on rank zero; see `AlignmentCurves.table`."""
        return self._watch.curves.table()

    @property
    def result(self) -> ModelResult | None:
        """What the last look found, on rank zero."""
        return self._watch.result

    # Lightning's hooks, in the order in which they run

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Read the benchmark."""
        if stage not in ("fit", *_STAGES):
            return
        strategy = type(trainer.strategy)
        if any(kind.__name__ in _SHARDED for kind in strategy.__mro__):
            raise ValueError(
                f"BrainAlignment can't look inside {strategy.__name__}, which shards the parameters: a block "
                "does not run outside its wrapper. Use DDP, or align() a saved checkpoint."
            )
        if self.average and not any(hasattr(c, "_average_model") for c in trainer.callbacks):  # type: ignore[attr-defined]
            raise ValueError(
                "average=True needs Lightning's WeightAveraging (or EMAWeightAveraging) among the "
                "Trainer's callbacks. For an average of your own, name it as submodule."
            )
        self._watch.read(
            pl_module,
            first_here=trainer.local_rank == 0,
            barrier=lambda: trainer.strategy.barrier("brain benchmark"),
        )

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the network two stimuli, on its device, so that a mistake shows before the first step."""
        self._watch.check(
            self._network(trainer, pl_module),
            pl_module,
            _moment(trainer, "start"),
            at_once=self.schedule.at_start,
        )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take up an interrupted training's curve; look if that is due."""
        self._last_step = trainer.global_step
        self._watch.start(trainer.global_step, dry=bool(trainer.fast_dev_run))  # type: ignore[attr-defined]
        if self.schedule.at_start:
            self._look(trainer, pl_module, "start")

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Look if the optimizer's step is due; batches that only accumulate do not count."""
        previous, self._last_step = self._last_step, trainer.global_step
        if self.schedule.due_after_step(trainer.global_step, previous):
            self._look(trainer, pl_module, "step")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look if the epoch is due."""
        if self.schedule.due_after_epoch(trainer.current_epoch):
            self._look(trainer, pl_module, "epoch")

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Look if checkpoints are due; warn once of a checkpoint that was ranked by an older look."""
        if not self._has_warned and self._watch.last_success not in (None, trainer.global_step):
            keys = self._watch.watched_keys
            if any(getattr(c, "monitor", None) in keys for c in trainer.checkpoint_callbacks):
                self._has_warned = True
                warnings.warn(
                    f"A checkpoint of step {trainer.global_step} was ranked by the brain alignment of step "
                    f"{self._watch.last_success}. Save when BrainAlignment looks: give ModelCheckpoint the "
                    "same every_n_epochs (or every_n_train_steps as its every_n_steps), and "
                    "save_on_train_epoch_end=True.",
                    stacklevel=2,
                )
        if self.schedule.on_checkpoint:
            self._look(trainer, pl_module, "checkpoint")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look if the end is due; log what looks since the last table found."""
        if self.schedule.at_end:
            self._look(trainer, pl_module, "end")
        self._watch.finish(_moment(trainer, "end"), _TrainerLoggers(trainer))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the network two stimuli, unless a training validates."""
        self._check_stage(trainer, pl_module)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the network two stimuli."""
        self._check_stage(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look, unless a training validates."""
        self._look_at_stage(trainer, pl_module)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look."""
        self._look_at_stage(trainer, pl_module)

    # a look

    def _check_stage(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if _stage(trainer):
            moment = _moment(trainer, "stage")
            self._watch.check(self._network(trainer, pl_module), pl_module, moment, at_once=True)

    def _look_at_stage(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if _stage(trainer):
            self._look(trainer, pl_module, "stage")

    def _look(self, trainer: pl.Trainer, pl_module: pl.LightningModule, why: str) -> None:
        network = self._network(trainer, pl_module)
        watched = self._watch.look(network, pl_module, _moment(trainer, why), _TrainerLoggers(trainer))
        trainer.callback_metrics.update({key: torch.tensor(value) for key, value in watched.items()})

    def _network(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> nn.Module:
        module: nn.Module = pl_module
        if isinstance(pl_module, FrozenModel) and self.submodule is None:
            return pl_module  # which prepares stimuli itself
        if self.average and not _stage(trainer):
            kept = (getattr(callback, "_average_model", None) for callback in trainer.callbacks)  # type: ignore[attr-defined]
            module = next(average.module for average in kept if average is not None)
        return find_network(module, self.submodule, to_run=True)


class _TrainerLoggers:
    """A Trainer's loggers."""

    def __init__(self, trainer: pl.Trainer) -> None:
        self._loggers = trainer.loggers

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log scalars to every logger."""
        log_scalars(self._loggers, values, step)

    def table(self, key: str, table: pd.DataFrame, step: int) -> None:
        """Log a table to the loggers that show tables."""
        log_table(self._loggers, key, table, step)

    def figure(self, key: str, figure: Figure, step: int) -> None:
        """Log a figure to the loggers that show or keep figures."""
        log_figure(self._loggers, key, figure, step)

    def config(self, values: Mapping[str, Any]) -> None:
        """Log what the looks are made of to the loggers that keep a config."""
        log_config(self._loggers, values)

    def say(self, text: str) -> None:
        """Tell the user through Lightning's own messages."""
        pl.utilities.rank_zero_info(text)


def _moment(trainer: pl.Trainer, why: str) -> Moment:
    return Moment(
        trainer.global_step,
        trainer.current_epoch,
        why,
        dry=bool(trainer.fast_dev_run),  # type: ignore[attr-defined]
        context=trainer.precision_plugin.forward_context,
        stage=_stage(trainer),
    )


def _stage(trainer: pl.Trainer) -> str:
    """The stage that runs by itself; nothing while a training does."""
    running = getattr(trainer.state.fn, "value", "")
    return running if running in _STAGES else ""
