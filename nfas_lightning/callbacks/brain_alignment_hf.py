"""`BrainAlignment` for `transformers.Trainer`; the only callback that imports transformers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import pandas as pd
from matplotlib.figure import Figure
from torch import nn
from transformers import TrainerCallback

from nfas_lightning.callbacks.monitor import AlignmentMonitor, Moment
from nfas_lightning.errors import FailureError, InputError
from nfas_lightning.hooks.selection import find_network
from nfas_lightning.hooks.sharding import as_written, unwrapped

__all__ = ["BrainAlignmentHF"]


class BrainAlignmentHF(AlignmentMonitor, TrainerCallback):  # type: ignore[misc] # transformers has no types
    """Run a brain benchmark through the network that a `transformers.Trainer` trains.

    Arguments, evaluations, logged keys and promises are those of `BrainAlignment`; only `average` needs a
    Lightning Trainer. Scalars go through ``Trainer.log``, so that everything in ``report_to`` and
    ``state.log_history`` has them; tables and figures go to Weights & Biases and TensorBoard where those are
    in ``report_to``. The Trainer does not show itself to its callbacks, so `attach` it, which also adds the
    callback.

    Raises:
        TypeError: the datamodule has no responses.
        ValueError: an unknown option; as the training begins an unknown layer or submodule, or responses
            without a value.
        RuntimeError: as the training begins, the network can't be shown the stimuli.

    Example:
        >>> from nfas_lightning.datamodules import ArrayDataModule
        >>> import torch
        >>> brain = ArrayDataModule(torch.rand(40, 3, 32, 32), torch.randn(40, 3), rois=["V1", "V4", "LOC"])
        >>> BrainAlignmentHF(brain, every_n_train_steps=100).curves.empty
        True
    """

    _trainer: Any = None

    def attach(self, trainer: Any) -> Self:
        """Add this callback to a Trainer, and log through it.

        Args:
            trainer: a `transformers.Trainer`, before ``train``.

        Raises:
            ValueError: `average` is set.
        """
        if self.average:
            raise InputError(
                "average=True needs a Lightning Trainer. Name an average of your own as submodule."
            )
        self._trainer = trainer
        if self not in trainer.callback_handler.callbacks:
            trainer.add_callback(self)
        return self

    # the Trainer's events, in the order in which they come

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: nn.Module, **_: Any) -> None:
        """Read the benchmark, show the network two stimuli, take up an interrupted training's curve."""
        if self._trainer is None:
            raise FailureError(
                "BrainAlignmentHF was given to a Trainer it does not know: write callback.attach(trainer) "
                "instead of Trainer(callbacks=[callback])."
            )
        self._read(
            model,
            first_here=args.local_process_index == 0,
            barrier=self._trainer.accelerator.wait_for_everyone,
        )
        self._check(self._network(model), model, self._moment(state, "start"), at_once=self.at_start)
        self._start(state.global_step)
        if self.at_start:
            self._evaluate_at(state, model, "start")

    def on_step_end(self, args: Any, state: Any, control: Any, *, model: nn.Module, **_: Any) -> None:
        """Evaluate if the optimizer's step is due."""
        if self._is_step_due(state.global_step):
            self._evaluate_at(state, model, "step")

    def on_epoch_end(self, args: Any, state: Any, control: Any, *, model: nn.Module, **_: Any) -> None:
        """Evaluate if the epoch is due."""
        if self._is_epoch_due(_epoch(state)):
            self._evaluate_at(state, model, "epoch")

    def on_save(self, args: Any, state: Any, control: Any, *, model: nn.Module, **_: Any) -> None:
        """Evaluate if checkpoints are due."""
        if self.on_checkpoint:
            self._evaluate_at(state, model, "checkpoint")

    def on_train_end(self, args: Any, state: Any, control: Any, *, model: nn.Module, **_: Any) -> None:
        """Evaluate if the end is due; log the table and the figure that are still to come."""
        if self.at_end:
            self._evaluate_at(state, model, "end")
        self._finish(self._moment(state, "end"))

    def _evaluate_at(self, state: Any, model: nn.Module, why: str) -> None:
        self._evaluate(self._network(model), model, self._moment(state, why))

    def _network(self, model: nn.Module) -> nn.Module:
        with as_written(model):
            return find_network(unwrapped(model), self.submodule, to_run=True)

    def _moment(self, state: Any, why: str) -> Moment:
        return Moment(state.global_step, _epoch(state), why, context=self._trainer.accelerator.autocast)

    # what the Trainer reports to

    def _log_scalars(self, values: Mapping[str, float], step: int) -> None:
        control = self._trainer.control
        planned = dict(vars(control))
        self._trainer.log(dict(values))
        vars(control).update(planned)  # logging clears should_log: the Trainer's own losses would be skipped

    def _log_table(self, key: str, table: pd.DataFrame, step: int) -> None:
        for wandb in self._reporters("_wandb"):
            wandb.log({key: wandb.Table(dataframe=table), "train/global_step": step})

    def _log_figure(self, key: str, figure: Figure, step: int) -> None:
        for wandb in self._reporters("_wandb"):
            wandb.log({key: wandb.Image(figure), "train/global_step": step})
        for writer in self._reporters("tb_writer"):
            writer.add_figure(key, figure, global_step=step, close=False)

    def _log_config(self, values: Mapping[str, Any]) -> None:
        for wandb in self._reporters("_wandb"):
            wandb.config.update(dict(values), allow_val_change=True)

    def _reporters(self, attribute: str) -> list[Any]:
        callbacks = self._trainer.callback_handler.callbacks
        found = (getattr(callback, attribute, None) for callback in callbacks)
        return [reporter for reporter in found if reporter is not None]


def _epoch(state: Any) -> int:
    """Return the epoch that is running or has just ended, from 0: the Trainer counts its fraction up."""
    return max(0, math.ceil(round(state.epoch or 0.0, 6)) - 1)
