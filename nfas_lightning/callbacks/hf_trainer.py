"""`BrainAlignment` for `transformers.Trainer`; the only callback that imports transformers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import pandas as pd
from matplotlib.figure import Figure
from torch import nn
from transformers import TrainerCallback

from nfas_lightning.callbacks.loop import Moment
from nfas_lightning.callbacks.schedule import Schedule
from nfas_lightning.callbacks.watch import BrainWatch
from nfas_lightning.hooks.selection import Layers, find_network
from nfas_lightning.models.loaded import Preprocess
from nfas_lightning.results import ModelResult
from nfas_lightning.scoring import ScoringSettings

__all__ = ["BrainAlignmentHF"]


class BrainAlignmentHF(TrainerCallback):  # type: ignore[misc] # transformers has no types
    """Run a brain benchmark through the network that a `transformers.Trainer` trains.

    The same looks, settings and promises as `BrainAlignment`. Scalars go through ``Trainer.log``, so that
    everything in ``report_to`` and ``state.log_history`` has them; tables and figures go to Weights & Biases
    and TensorBoard where those are in ``report_to``. The Trainer does not show itself to its callbacks, so
    `attach` it: that adds the callback, too. FSDP and DeepSpeed are not supported.

    The arguments are those of `BrainAlignment`, except `average`; where they differ:

    Args:
        datamodule: the benchmark, a `BrainDataModule`.
        preprocess: raw batch to the network's inputs, for texts
            ``TextPreprocess(tokenizer, max_length)``; None: what lies where the network was read from, else
            the batch's image or audio as it is, with a warning.
        submodule: dotted name of the network inside the Trainer's model; None: its attribute ``model`` or
            ``module`` if there is one, else the whole.
        on_checkpoint: whenever a checkpoint was saved.

    Raises:
        TypeError: the datamodule has no responses.
        ValueError: an unknown option; as the training begins an unknown layer or submodule, or responses
            without a value.
        RuntimeError: as the training begins, the network can't be shown the stimuli.

    Example:
        >>> from nfas_lightning.datamodules import ArrayDataModule
        >>> import torch
        >>> brain = ArrayDataModule(torch.rand(40, 3, 32, 32), torch.randn(40, 3), rois=["V1", "V4", "LOC"])
        >>> BrainAlignmentHF(brain, every_n_steps=100).curves.empty
        True
    """

    def __init__(
        self,
        datamodule: Any,
        *,
        layers: Layers = "auto",
        pooling: str = "auto",
        preprocess: Preprocess | None = None,
        submodule: str | None = None,
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
        self.submodule = submodule
        self._trainer: Any = None
        self._last_step = 0

    @property
    def curves(self) -> pd.DataFrame:
        """One row a look, feature and network, on rank zero; see `AlignmentCurves.table`."""
        return self._watch.curves.table()

    @property
    def result(self) -> ModelResult | None:
        """What the last look found, on rank zero."""
        return self._watch.result

    def attach(self, trainer: Any) -> Self:
        """Add this callback to a Trainer, and log through it.

        Args:
            trainer: a `transformers.Trainer`, before ``train``.

        Raises:
            ValueError: the Trainer shards the parameters.
        """
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise ValueError(
                "BrainAlignmentHF can't look inside FSDP or DeepSpeed, which shard the parameters: a block "
                "does not run outside its wrapper. Use plain distributed training, or align() a checkpoint."
            )
        self._trainer = trainer
        if self not in trainer.callback_handler.callbacks:
            trainer.add_callback(self)
        return self

    # the Trainer's events, in the order in which they come

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Read the benchmark, resolve the layers, take up an interrupted training's curve; look if due."""
        if self._trainer is None:
            raise RuntimeError(
                "BrainAlignmentHF was given to a Trainer it does not know: write callback.attach(trainer) "
                "instead of Trainer(callbacks=[callback])."
            )
        model = kwargs["model"]
        self._watch.read(
            model,
            first_here=args.local_process_index == 0,
            barrier=self._trainer.accelerator.wait_for_everyone,
        )
        network, moment = find_network(model, self.submodule, to_run=True), self._moment(state, "start")
        self._watch.check(network, model, moment, at_once=self.schedule.at_start)
        self._last_step = state.global_step
        self._watch.start(state.global_step)
        if self.schedule.at_start:
            self._look(state, kwargs["model"], "start")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look if the optimizer's step is due."""
        previous, self._last_step = self._last_step, state.global_step
        if self.schedule.due_after_step(state.global_step, previous):
            self._look(state, kwargs["model"], "step")

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look if the epoch is due."""
        if self.schedule.due_after_epoch(_epoch(state)):
            self._look(state, kwargs["model"], "epoch")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look if checkpoints are due."""
        if self.schedule.on_checkpoint:
            self._look(state, kwargs["model"], "checkpoint")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look if the end is due; log what looks since the last table found."""
        if self.schedule.at_end:
            self._look(state, kwargs["model"], "end")
        self._watch.finish(self._moment(state, "end"), _HFLoggers(self._trainer))

    # a look

    def _look(self, state: Any, model: nn.Module, why: str) -> None:
        network = find_network(model, self.submodule, to_run=True)
        self._watch.look(network, model, self._moment(state, why), _HFLoggers(self._trainer))

    def _moment(self, state: Any, why: str) -> Moment:
        return Moment(state.global_step, _epoch(state), why, context=self._trainer.accelerator.autocast)


class _HFLoggers:
    """What a `transformers.Trainer` reports to."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log scalars as the Trainer logs its own, and leave its plans for this step alone."""
        control = self._trainer.control
        planned = dict(vars(control))
        self._trainer.log(dict(values))
        vars(control).update(planned)  # logging clears should_log: the Trainer's own losses would be skipped

    def table(self, key: str, table: pd.DataFrame, step: int) -> None:
        """Log a table to Weights & Biases."""
        for wandb in self._kept("_wandb"):
            wandb.log({key: wandb.Table(dataframe=table), "train/global_step": step})

    def figure(self, key: str, figure: Figure, step: int) -> None:
        """Log a figure to Weights & Biases and TensorBoard."""
        for wandb in self._kept("_wandb"):
            wandb.log({key: wandb.Image(figure), "train/global_step": step})
        for writer in self._kept("tb_writer"):
            writer.add_figure(key, figure, global_step=step, close=False)

    def config(self, values: Mapping[str, Any]) -> None:
        """Log what the looks are made of to Weights & Biases."""
        for wandb in self._kept("_wandb"):
            wandb.config.update(dict(values), allow_val_change=True)

    def say(self, text: str) -> None:
        """Nothing: the Trainer prints what is logged."""

    def _kept(self, attribute: str) -> list[Any]:
        callbacks = self._trainer.callback_handler.callbacks
        found = (getattr(callback, attribute, None) for callback in callbacks)
        return [kept for kept in found if kept is not None]


def _epoch(state: Any) -> int:
    """Return the epoch that is running or has just ended, from 0: the Trainer counts its fraction up."""
    return max(0, math.ceil(round(state.epoch or 0.0, 6)) - 1)
