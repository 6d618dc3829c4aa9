"""`BrainAlignment`: the brain alignment of a network while somebody else's loop trains it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn

from nfas_lightning.callbacks.loggers import log_config, log_figure, log_scalars, log_table
from nfas_lightning.callbacks.monitor import AlignmentMonitor, Moment
from nfas_lightning.errors import InputError
from nfas_lightning.hooks.selection import find_network
from nfas_lightning.hooks.sharding import as_written, root_of
from nfas_lightning.lightning_packages import Callback, pl
from nfas_lightning.models.frozen import FrozenModel

__all__ = ["BrainAlignment"]

_STAGES = ("validate", "test")


class BrainAlignment(AlignmentMonitor, Callback):
    """Run a brain benchmark through the network that is being trained, and log how well the two align.

    When an evaluation is due, every process shows its share of the stimuli to the network, frozen; the first
    process scores them all. ``trainer.validate`` and ``trainer.test`` end with an evaluation, too. Before the
    first step two stimuli are shown, so that a wrong layer, submodule, size or preprocessing fails then.

    The training stays bit-identical: weights, buffers, whatever else modules hold, modes, gradients, random
    states, autocast and hooks are as they were before. What `torch.compile` wrapped runs uncompiled here,
    since compiled code may skip hooks. Where FSDP shards the parameters, evaluations run through its root, on
    all processes at once; other splits (DeepSpeed ZeRO-3, tensor parallelism) are refused as ``fit`` starts.

    Logged to every logger at the optimizer's step, under `prefix`:

    - ``mean_r`` and ``mean_r2`` of the stable mode over ROIs, the score that `settings.score` names. They are
      in ``trainer.callback_metrics``, too, so that ``ModelCheckpoint(monitor="brain/mean_r2")`` works.
    - ``mean_r_alone``, ``mean_r_joint`` and ``mean_r_partial``, where the benchmark has nuisances;
    - ``r2/<network>``, ``stable_modulus``, ``best_baseline_r2`` (with `settings.baselines`), ``seconds``, and
      after a failure ``failures``;
    - at every `details_every`-th evaluation, and after the last, a table ``scores`` (one row per feature and
      ROI) and a figure ``curves``.

    In ``validate`` and ``test`` the scalars are ``validate/brain/mean_r`` and so on; `curves` is that of a
    training alone.

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

    _has_warned = False
    _loggers: tuple[pl.loggers.Logger, ...] = ()

    # Lightning's hooks, in the order in which they run

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Read the benchmark."""
        if stage not in ("fit", *_STAGES):
            return
        if self.average and not any(hasattr(c, "_average_model") for c in trainer.callbacks):  # type: ignore[attr-defined]
            raise InputError(
                "average=True needs Lightning's WeightAveraging (or EMAWeightAveraging) among the "
                "Trainer's callbacks. For an average of your own, name it as submodule."
            )
        self._loggers = tuple(trainer.loggers)
        self._read(
            pl_module,
            first_here=trainer.local_rank == 0,
            barrier=lambda: trainer.strategy.barrier("brain benchmark"),
        )

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the network two stimuli, on its device, so that a mistake shows before the first step."""
        self._check(*self._networks(trainer, pl_module), _moment(trainer, "start"), at_once=self.at_start)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take up an interrupted training's curve; evaluate if that is due."""
        self._start(trainer.global_step, dry=bool(trainer.fast_dev_run))  # type: ignore[attr-defined]
        if self.at_start:
            self._evaluate_at(trainer, pl_module, "start")

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Evaluate if the optimizer's step is due; batches that only accumulate do not count."""
        if self._is_step_due(trainer.global_step):
            self._evaluate_at(trainer, pl_module, "step")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Evaluate if the epoch is due."""
        if self._is_epoch_due(trainer.current_epoch):
            self._evaluate_at(trainer, pl_module, "epoch")

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Evaluate if checkpoints are due; warn once of a checkpoint that an older evaluation ranked."""
        if not self._has_warned and self._scored_step not in (None, trainer.global_step):
            monitors = (getattr(keeper, "monitor", None) for keeper in trainer.checkpoint_callbacks)
            if not set(self._watched_keys).isdisjoint(monitors):
                self._has_warned = True
                warnings.warn(
                    f"A checkpoint of step {trainer.global_step} was ranked by the brain alignment of step "
                    f"{self._scored_step}. Save when BrainAlignment evaluates: give ModelCheckpoint the same "
                    "every_n_epochs or every_n_train_steps, and save_on_train_epoch_end=True.",
                    stacklevel=2,
                )
        if self.on_checkpoint:
            self._evaluate_at(trainer, pl_module, "checkpoint")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Evaluate if the end is due; log the table and the figure that are still to come."""
        if self.at_end:
            self._evaluate_at(trainer, pl_module, "end")
        self._finish(_moment(trainer, "end"))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the network two stimuli, unless a training validates."""
        if _stage(trainer):
            self._check(*self._networks(trainer, pl_module), _moment(trainer, "stage"), at_once=True)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Evaluate, unless a training validates."""
        if _stage(trainer):
            self._evaluate_at(trainer, pl_module, "stage")

    on_test_start, on_test_end = on_validation_start, on_validation_end

    def _evaluate_at(self, trainer: pl.Trainer, pl_module: pl.LightningModule, why: str) -> None:
        found = self._evaluate(*self._networks(trainer, pl_module), _moment(trainer, why))
        trainer.callback_metrics.update({key: torch.tensor(value) for key, value in found.items()})

    def _networks(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> tuple[nn.Module, nn.Module]:
        """Return what is shown the stimuli, and what holds it: the module, or FSDP1's root around it."""
        module: nn.Module = pl_module
        owner = root_of(pl_module, trainer.strategy.model)
        if isinstance(pl_module, FrozenModel) and self.submodule is None:
            return pl_module, owner  # which prepares stimuli itself
        if self.average and not _stage(trainer):
            kept = (getattr(callback, "_average_model", None) for callback in trainer.callbacks)  # type: ignore[attr-defined]
            module = next(average.module for average in kept if average is not None)
        with as_written(owner):
            return find_network(module, self.submodule, to_run=True), owner

    def _log_scalars(self, values: Mapping[str, float], step: int) -> None:
        log_scalars(self._loggers, values, step)

    def _log_table(self, key: str, table: pd.DataFrame, step: int) -> None:
        log_table(self._loggers, key, table, step)

    def _log_figure(self, key: str, figure: Figure, step: int) -> None:
        log_figure(self._loggers, key, figure, step)

    def _log_config(self, values: Mapping[str, Any]) -> None:
        log_config(self._loggers, values)

    def _say(self, text: str) -> None:
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
