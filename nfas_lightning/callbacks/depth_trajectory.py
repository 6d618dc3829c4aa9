"""Record a model's depth trajectory while a Trainer validates, tests or predicts."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from nfas_lightning.callbacks.loggers import log_scalars
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.data.stimuli.timing import check_moment
from nfas_lightning.errors import FailureError, InputError
from nfas_lightning.functional.checks import check_option
from nfas_lightning.hooks.block_layouts import Given
from nfas_lightning.hooks.capture import Capture
from nfas_lightning.hooks.pooling import TIMES
from nfas_lightning.hooks.processes import from_rank_zero, gather_trajectories, to_rank_zero
from nfas_lightning.hooks.recorder import DepthRecorder
from nfas_lightning.hooks.selection import Layers, find_network
from nfas_lightning.hooks.sharding import as_written, check_sharding, is_sharded, root_of
from nfas_lightning.hooks.shards import begin_shards, finish_shards, read_shards, write_shard
from nfas_lightning.hooks.spill import Spill
from nfas_lightning.hooks.trajectory import Trajectory, concatenate
from nfas_lightning.hooks.undisturbed import undisturbed
from nfas_lightning.lightning_packages import Callback, pl
from nfas_lightning.models.frozen import FrozenModel

__all__ = ["DepthTrajectory"]

_DTYPES = {name: getattr(torch, name) for name in ("float16", "bfloat16", "float32", "float64")}


class DepthTrajectory(Callback):
    """Record pooled states of a network's blocks, one row per stimulus, over a whole stage.

    Hooks are on the network from a stage's start to its end, an exception included. Batches are dictionaries
    with ``stimulus_id``; padded duplicates of distributed samplers are dropped by it. After the stage
    `trajectory` holds every stimulus once, gathered from all processes on rank zero.

    Where states depend on what else is in a batch, stimuli are shown one by one, see `Capture`. The network
    in a LightningModule of your own gets again what its step gave it, row by row, without the padding that an
    ``attention_mask`` hides; not where the step passes over the network's own ``forward``.

    Args:
        layers: blocks to record, see `resolve_layers`; None: a FrozenModel's own, else ``"auto"``.
        pooling: see `pool`; None: a FrozenModel's own, else ``"auto"``.
        time: of clips that are read frame by frame, ``"mean"``, ``"keep"`` or ``"dmd"``, see `DepthRecorder`;
            None: a FrozenModel's own, else ``"mean"``.
        dtype: of the states that are kept.
        device: where they are kept, and scored, such as ``"cpu"``; None: where they arise.
        memory_budget: bytes of states that may stay there, see `DepthRecorder`: scores do not depend on it.
        save_dir: folder for safetensors shards, one subfolder per stage: memory is then O(batch), and
            `trajectory` reads them when asked (`read_shards` does so in another session). A new run removes
            the subfolder as it starts: until it has finished, there is nothing to read. None keeps states
            in memory.
        shard_size: stimuli per shard, in each process.
        metric: a torchmetrics Metric or MetricCollection, such as `DMDAlignment` and `DepthSpectrum`, whose
            ``update`` takes a batch's trajectory and stimulus_id (B,). The trajectory is (B, L, D), or where
            blocks differ in width a list of L matrices (B, D_l). States are handed over and, without
            `save_dir`, not kept. After the stage its value and its `details` are in `metric_values`; those
            that are real numbers are logged as ``<stage>/<name>``, and are in ``trainer.callback_metrics``.
        submodule: dotted name of the network inside the LightningModule (inside a FrozenModel's network);
            None: a FrozenModel's network, else see `find_network`: the attribute ``model`` or ``module``, the
            only network inside, or the LightningModule itself.
        repeats: what a block that runs twice means, see `DepthRecorder`.
        layout: where maps keep their channels, see `pool`.

    Example:
        >>> callback = DepthTrajectory(layers=["encoder.layer.*"], pooling="mean")
        >>> callback.trajectory
        Traceback (most recent call last):
        ...
        nfas_lightning.errors.FailureError: No trajectory yet: run trainer.validate, test or predict, ...
    """

    def __init__(
        self,
        layers: str | list[str] | Callable[[nn.Module], list[str]] | None = None,
        pooling: str | None = None,
        *,
        time: str | None = None,
        dtype: str = "float32",
        device: str | None = None,
        memory_budget: int | None = None,
        save_dir: str | Path | None = None,
        shard_size: int = 4096,
        metric: Metric | MetricCollection | None = None,
        submodule: str | None = None,
        repeats: str = "error",
        layout: str = "auto",
    ) -> None:
        check_option("dtype", dtype, tuple(_DTYPES))
        if shard_size < 1:
            raise InputError(f"shard_size must be at least 1, got {shard_size}.")
        if time is not None:
            check_option("time", time, TIMES)
        self.layers, self.pooling, self.time, self.submodule = layers, pooling, time, submodule
        self.dtype, self.repeats, self.layout = dtype, repeats, layout
        self.device, self.memory_budget = device, memory_budget
        Spill(memory_budget)  # which refuses a bad one now
        self.save_dir = None if save_dir is None else Path(save_dir)
        self.shard_size = shard_size
        self.metric = metric
        self.metric_values: dict[str, Any] = {}
        self._recorder: DepthRecorder | None = None
        self._capture: Capture | None = None
        self._trajectory: Trajectory | None = None
        self._home: torch.device | None = None  # of the network, or as `device` asked
        self._finished: Path | None = None
        self._unfinished: Path | None = None  # where shards lie until the stage has ended
        self._shards: list[str] = []
        self._taken: list[Trajectory] = []  # what a metric has seen and the next shard will hold

    @property
    def trajectory(self) -> Trajectory:
        """The last stage's trajectory, on rank zero; its states lie where they arose, within the budget.

        Raises:
            RuntimeError: no stage has ended yet, or this is another rank.
        """
        if self._trajectory is None and self._finished is not None:
            self._trajectory = replace(read_shards(self._finished), device=self._home)
        if self._trajectory is None and self.metric is not None and self.save_dir is None:
            raise FailureError(
                "The states went to the metric and were not kept: give a save_dir to keep them."
            )
        if self._trajectory is None:
            raise FailureError(
                "No trajectory yet: run trainer.validate, test or predict, and read it on rank zero."
            )
        return self._trajectory

    @trajectory.setter
    def trajectory(self, captured: Trajectory) -> None:
        """Take over states that an earlier run has recorded."""
        self._trajectory = captured

    # what is recorded

    @property
    def options(self) -> dict[str, Any]:
        """What changes the states: layers, pooling and so on, as given."""
        names = ("layers", "pooling", "submodule", "dtype", "repeats", "layout")
        return {name: getattr(self, name) for name in names}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Build a recorder, so that a wrong name fails before any data is read."""
        self._build(pl_module)

    def target(self, pl_module: pl.LightningModule) -> tuple[nn.Module, Layers, str]:
        """Return the network that is recorded, its layers and its pooling."""
        layers: Layers | None = self.layers
        pooling = self.pooling
        if isinstance(pl_module, FrozenModel):
            network = pl_module.load().module
            layers = pl_module.layers if layers is None else layers
            pooling = pl_module.pooling if pooling is None else pooling
            if self.submodule is not None:
                network = find_network(network, self.submodule)
        else:
            network = find_network(pl_module, self.submodule)
        return network, "auto" if layers is None else layers, "auto" if pooling is None else pooling

    def time_of(self, pl_module: pl.LightningModule) -> str:
        """Return what becomes of the frames of clips."""
        own = pl_module.time if isinstance(pl_module, FrozenModel) else "mean"
        return own if self.time is None else self.time

    def _build(self, pl_module: pl.LightningModule, *, may_run: bool = True) -> DepthRecorder:
        network, layers, pooling = self.target(pl_module)
        return DepthRecorder(
            network,
            layers,
            pooling=pooling,
            time=self.time_of(pl_module),
            layout=self.layout,
            repeats=self.repeats,
            device=self.device,
            memory_budget=self.memory_budget,
            dtype=_DTYPES[self.dtype],
            mask_source=lambda: pl_module.mask if isinstance(pl_module, FrozenModel) else None,
            may_run=may_run,
        )

    def _start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._detach()
        if trainer.sanity_checking:
            return
        datamodule, time = trainer.datamodule, self.time_of(pl_module)  # type: ignore[attr-defined]
        check_moment(getattr(datamodule, "stimuli", None), self.target(pl_module)[2])
        if time == "keep" and isinstance(responses := getattr(datamodule, "responses", None), Responses):
            responses.check_clock()
        if time != "mean" and self.metric is not None:
            raise InputError(
                f"A metric takes one vector per stimulus and block, and time={time!r} keeps F: use "
                "time='mean', or no metric."
            )
        self._home = torch.device(self.device or pl_module.device)
        top = root_of(pl_module, trainer.strategy.model)
        check_sharding(top)
        # processes have to run their passes together: no pass but the stage's own
        may_run = not is_sharded(top)
        with as_written(top):
            self._recorder = self._build(pl_module, may_run=may_run).attach()
        context = trainer.precision_plugin.forward_context
        if may_run and isinstance(pl_module, FrozenModel):
            network = pl_module.load().module
            self._capture = Capture(self._recorder, pl_module.inputs, network=network, context=context)
            stimuli = getattr(getattr(trainer, "datamodule", None), "stimuli", None)
            if trainer.world_size > 1 and isinstance(stimuli, StimulusSet):
                self._capture.begin(stimuli.collate([stimuli[i]]) for i in range(min(2, len(stimuli))))
        elif may_run:
            self._capture = Capture(
                self._recorder,
                Given.of_batch,
                context=context,
                around=partial(undisturbed, self._recorder.model, pl_module),
            )
        self._trajectory, self._finished, self._shards, self._taken = None, None, [], []
        self.metric_values = {}
        if self.save_dir is not None:
            begun = begin_shards(self._folder(trainer)) if trainer.is_global_zero else None
            self._unfinished = from_rank_zero(begun)
        if self.metric is not None:
            self.metric.reset()

    def _record(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any) -> None:
        if self._recorder is None:
            return
        if not isinstance(batch, Mapping) or "stimulus_id" not in batch:
            got = sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__
            raise InputError(
                f"DepthTrajectory needs batches with a 'stimulus_id', got {got}. Let each item of the "
                "dataset be a dictionary {'stimulus_id': i, ...} that holds its index i beside its data."
            )
        shown = batch if isinstance(pl_module, FrozenModel) else _given_again(self._recorder, batch)
        if self._capture is None or shown is None:
            self._recorder.collect(batch["stimulus_id"], batch.get("n_frames"))
        else:
            self._capture.collect(shown)
        if self.metric is not None:
            states = self._recorder.take()
            given = list(states.states) if states.is_ragged else states.stack()
            self.metric.update(given, states.stimulus_ids)
            self._taken += [states] if self.save_dir is not None else []
        if self.save_dir is not None and self._n_kept(self._recorder) >= self.shard_size:
            self._write(trainer, self._recorder)

    def _n_kept(self, recorder: DepthRecorder) -> int:
        return recorder.n_collected + sum(len(states.stimulus_ids) for states in self._taken)

    # the stage's end

    def _end(self, trainer: pl.Trainer) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        recorder.detach()
        if self.metric is not None:
            self._compute(trainer, self.metric)
        if self.save_dir is None and self.metric is None:
            own = recorder.take() if recorder.n_collected else None
            parts = gather_trajectories(own)
            if trainer.is_global_zero:
                with torch.inference_mode(False):  # so that the states can be used under autograd later
                    self._trajectory = concatenate(parts)
        elif self.save_dir is not None:
            if self._n_kept(recorder):
                self._write(trainer, recorder)
            written = to_rank_zero(self._shards)
            if trainer.is_global_zero:
                self._finished = self._folder(trainer)
                assert self._unfinished is not None
                finish_shards(self._unfinished, self._finished, chain.from_iterable(written))
        self._detach()

    def _compute(self, trainer: pl.Trainer, metric: Metric | MetricCollection) -> None:
        values = metric.compute()  # on every process: it gathers
        members: dict[str, Any] = {}
        if isinstance(metric, MetricCollection):
            members = {f"{name}_": member for name, member in metric.items()}
        found = dict(values) if isinstance(values, Mapping) else {type(metric).__name__.lower(): values}
        for prefix, member in (members or {"": metric}).items():
            found |= {f"{prefix}{name}": value for name, value in getattr(member, "details", {}).items()}
        self.metric_values = found
        assert trainer.state.stage is not None
        scalars = {
            f"{trainer.state.stage.value}/{name}": value.detach().cpu()
            for name, value in self.metric_values.items()
            if isinstance(value, Tensor) and value.ndim == 0 and not value.is_complex()
        }
        trainer.callback_metrics.update(scalars)
        if trainer.is_global_zero:
            numbers = {name: float(value) for name, value in scalars.items()}
            log_scalars(trainer.loggers, numbers, trainer.global_step)

    def _write(self, trainer: pl.Trainer, recorder: DepthRecorder) -> None:
        name = f"rank{trainer.global_rank:03d}-{len(self._shards):05d}.safetensors"
        assert self._unfinished is not None
        write_shard(self._unfinished / name, concatenate(self._taken) if self._taken else recorder.take())
        self._shards.append(name)
        self._taken = []

    def _folder(self, trainer: pl.Trainer) -> Path:
        assert self.save_dir is not None
        assert trainer.state.stage is not None
        return self.save_dir / trainer.state.stage.value

    def _detach(self) -> None:
        if self._recorder is not None:
            self._recorder.detach()
            self._recorder = self._capture = None

    # Lightning's hooks, in the order in which they run

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Attach."""
        self._start(trainer, pl_module)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Attach."""
        self._start(trainer, pl_module)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Attach; warn where Lightning would keep every prediction in memory."""
        if trainer.predict_loop.return_predictions and not isinstance(pl_module, FrozenModel):
            warnings.warn(
                "trainer.predict keeps what predict_step returns in memory: pass return_predictions=False.",
                stacklevel=2,
            )
        self._start(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the batch's states."""
        self._record(trainer, pl_module, batch)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the batch's states."""
        self._record(trainer, pl_module, batch)

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the batch's states."""
        self._record(trainer, pl_module, batch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Detach and gather."""
        self._end(trainer)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Detach and gather."""
        self._end(trainer)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Detach and gather."""
        self._end(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Detach: Lightning does not call teardown when a step raises."""
        self._detach()
        if self._unfinished is not None:
            shutil.rmtree(self._unfinished, ignore_errors=True)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Detach; the trajectory stays."""
        self._detach()


def _given_again(recorder: DepthRecorder, batch: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the network was given in its last pass as a batch that can be shown to it again.

    Returns:
        The batch; None where the network's own forward was passed over, or works in training mode.
    """
    given = recorder.given.as_batch()
    if not given or recorder.model.training:
        return None
    return given | {key: batch[key] for key in ("stimulus_id", "n_frames") if key in batch}
