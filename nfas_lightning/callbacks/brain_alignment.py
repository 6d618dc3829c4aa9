"""Watch a network's brain alignment while somebody else's loop trains it."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import nn

from nfas_lightning.alignment import Preprocess, card_of, record_trajectory
from nfas_lightning.callbacks.curves import AlignmentCurves, summarise
from nfas_lightning.callbacks.logging import log_figure, log_scalars, log_table
from nfas_lightning.callbacks.schedule import Schedule
from nfas_lightning.functional.checks import check_option
from nfas_lightning.hooks.merge import concatenate
from nfas_lightning.hooks.processes import buffers_of_rank_zero, from_rank_zero, to_everyone, to_rank_zero
from nfas_lightning.hooks.selection import Layers, find_network, resolve_layers
from nfas_lightning.hooks.trajectory import Trajectory
from nfas_lightning.hooks.undisturbed import plain_network
from nfas_lightning.plotting.training import ALL_ROIS, plot_training
from nfas_lightning.results import ModelResult
from nfas_lightning.scoring import ScoringSettings, score_trajectory

__all__ = ["BrainAlignment"]

_MAX_NETWORKS = 20  # one scalar each; more belong into the table
_DRY_RUN = 4  # stimuli a process of a fast_dev_run


class BrainAlignment(pl.Callback):
    """Run a brain benchmark through the network that is being trained, and log how well the two align.

    When due, every process shows its share of the stimuli to the network, frozen; the first scores the whole.
    The training is not changed by a bit: modes, gradients, random states, autocast and hooks are as they were
    before, and nothing is written into the module. What `torch.compile` wrapped runs uncompiled here, since
    compiled code may skip hooks. Sharded parameters (FSDP, DeepSpeed) are not supported: a block can't run
    outside its wrapper.

    Logged to every logger at the optimizer's step, under `prefix`: ``mean_r`` and ``mean_r2`` of the stable
    mode over ROIs, ``r2/<network>``, ``stable_modulus``, ``best_baseline_r2`` (with `settings.baselines`),
    ``seconds``; after a failure ``failures``. ``mean_r`` and ``mean_r2`` are in ``trainer.callback_metrics``
    too, so that ``ModelCheckpoint(monitor="brain/mean_r2")`` works. Every `details_every` looks, and after
    the last, a table ``scores`` (a row a ROI) and a figure ``curves``.

    Args:
        datamodule: the benchmark, a `BrainDataModule`; not the one that the Trainer trains on.
        layers: blocks to record, see `resolve_layers`.
        pooling: see `nfas_lightning.hooks.pool`.
        preprocess: raw batch to the network's inputs: `ModelInputs`, a tensor, a tuple or keywords; None: the
            batch's image or audio as it is. The training's own augmentation plays no part.
        submodule: dotted name of the network inside the LightningModule; None: its attribute ``model`` or
            ``module`` if there is one, else the LightningModule itself.
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
        ValueError: an unknown option, layer or submodule; the last two at the start of ``fit``.

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
        if not hasattr(type(datamodule), "responses"):
            raise TypeError(
                "BrainAlignment needs a benchmark with stimuli and responses, a BrainDataModule such as "
                f"ArrayDataModule; got {type(datamodule).__name__}."
            )
        check_option("on_error", on_error, ("warn", "raise"))
        if details_every < 1:
            raise ValueError(f"details_every must be at least 1, got {details_every}.")
        self.datamodule: Any = datamodule
        self.layers, self.pooling, self.preprocess = layers, pooling, preprocess
        self.submodule, self.average = submodule, average
        self.schedule = Schedule(every_n_epochs, every_n_steps, at_start, at_end, on_checkpoint)
        self.settings = settings or ScoringSettings(n_permutations=0)
        self.name, self.prefix, self.on_error = name, prefix, on_error
        self.details_every, self.batch_size = details_every, batch_size
        self.result: ModelResult | None = None
        self._curves = AlignmentCurves(run_dir)
        self._last_step = -1
        self._looks = 0
        self._failures = 0

    @property
    def curves(self) -> pd.DataFrame:
        """One row a look, feature and network, on rank zero; see `AlignmentCurves.table`."""
        return self._curves.table()

    # Lightning's hooks, in the order in which they run

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Read the benchmark and resolve the layers, so that a mistake shows before the first step."""
        if stage != "fit":
            return
        if trainer.local_rank == 0:
            self.datamodule.prepare_data()
        trainer.strategy.barrier("brain benchmark")
        self.datamodule.setup()
        resolve_layers(plain_network(find_network(pl_module, self.submodule)), self.layers)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take up an interrupted training's curve; look if that is due."""
        self._last_step, self._looks = -1, 0
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._curves.start(trainer.global_step)
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
        if self.schedule.due_after_step(trainer.global_step):
            self._look(trainer, pl_module, "step")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look if the epoch is due."""
        if self.schedule.due_after_epoch(trainer.current_epoch):
            self._look(trainer, pl_module, "epoch")

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Look if checkpoints are due."""
        if self.schedule.on_checkpoint:
            self._look(trainer, pl_module, "checkpoint")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look if the end is due; log what looks since the last table found."""
        if self.schedule.at_end:
            self._look(trainer, pl_module, "end")
        if self._looks % self.details_every:
            self._log_details(trainer)

    # a look

    def _look(self, trainer: pl.Trainer, pl_module: pl.LightningModule, moment: str) -> None:
        step = trainer.global_step
        if step == self._last_step:
            return
        self._last_step = step
        started = time.perf_counter()
        network = self._network(trainer, pl_module)
        with buffers_of_rank_zero(network):
            own = self._record(trainer, network)
        problem = next((p for p in to_everyone(own if isinstance(own, str) else None) if p), None)
        if problem is None:
            shares = to_rank_zero(own)
            outcome = from_rank_zero(self._score(trainer, network, shares, moment, started))
        else:
            outcome = problem
        if isinstance(outcome, str):
            self._fail(trainer, outcome)
        else:
            trainer.callback_metrics.update({k: torch.tensor(v) for k, v in outcome.items()})

    def _record(self, trainer: pl.Trainer, network: nn.Module) -> Trajectory | str | None:
        """This process's share of the trajectory, or why there is none: the others must hear of it."""
        dry = bool(trainer.fast_dev_run)  # type: ignore[attr-defined]
        try:
            return record_trajectory(
                network,
                self.datamodule.stimuli,
                layers=self.layers,
                pooling=self.pooling,
                preprocess=self.preprocess,
                batch_size=self.batch_size or self.datamodule.batch_size,
                num_workers=self.datamodule.num_workers,
                share=(trainer.global_rank, trainer.world_size),
                context=trainer.precision_plugin.forward_context,
                limit=_DRY_RUN * trainer.world_size if dry else None,
            )
        except Exception as error:  # noqa: BLE001 - a process that left alone would hang the others
            return _reason(error)

    def _network(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> nn.Module:
        module: nn.Module = pl_module
        if self.average:
            kept = [getattr(callback, "_average_model", None) for callback in trainer.callbacks]  # type: ignore[attr-defined]
            averages = [average for average in kept if average is not None]
            if not averages:
                raise ValueError(
                    "average=True needs Lightning's WeightAveraging (or EMAWeightAveraging) among the "
                    "Trainer's callbacks. For an average of your own, name it as submodule."
                )
            module = averages[0].module
        return find_network(module, self.submodule)

    def _score(
        self,
        trainer: pl.Trainer,
        network: nn.Module,
        shares: list[Trajectory | None],
        moment: str,
        started: float,
    ) -> dict[str, float] | str:
        """Score and log on rank zero; return what checkpoints may watch, or what went wrong."""
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return {}
        responses = self.datamodule.responses
        seconds = time.perf_counter() - started
        try:
            trajectory = concatenate([share for share in shares if share is not None])
            card = card_of(
                plain_network(network),
                responses,
                self.name,
                self.pooling,
                seconds=seconds,
            )
            self.result = score_trajectory(trajectory, responses, card, self.settings)
        except Exception as error:  # noqa: BLE001 - as above
            return _reason(error)
        self._curves.add(self.result, step=trainer.global_step, epoch=trainer.current_epoch, moment=moment)
        scalars = self._scalars(self.result) | {"seconds": time.perf_counter() - started}
        logged = {f"{self.prefix}/{key}": value for key, value in scalars.items()}
        log_scalars(trainer.loggers, logged, trainer.global_step)
        rank_zero_info(
            f"Brain alignment at step {trainer.global_step}: mean r {scalars['mean_r']:.3f}, "
            f"mean r2 {scalars['mean_r2']:.4f} ({scalars['seconds']:.1f} s)"
        )
        self._looks += 1
        if self._looks % self.details_every == 0:
            self._log_details(trainer)
        return {f"{self.prefix}/{key}": scalars[key] for key in ("mean_r", "mean_r2")}

    def _scalars(self, result: ModelResult) -> dict[str, float]:
        table = summarise(result.scores)
        overall = table[table["network"] == ALL_ROIS].set_index("feature")
        stable = table[(table["feature"] == "stable_mode") & (table["network"] != ALL_ROIS)]
        scalars = {f"mean_{key}": float(overall[key]["stable_mode"]) for key in ("r", "r2")}
        if len(stable) <= _MAX_NETWORKS:
            scalars |= {
                f"r2/{name}": float(r2) for name, r2 in zip(stable["network"], stable["r2"], strict=True)
            }
        baselines = overall["r2"].drop(["stable_mode", "nuisance"], errors="ignore")
        if len(baselines):
            scalars["best_baseline_r2"] = float(baselines.max())
        modulus = result.spectra.loc[result.spectra["stable"], "modulus"]
        return scalars | {"stable_modulus": float(modulus.to_numpy()[0])}

    def _log_details(self, trainer: pl.Trainer) -> None:
        if not trainer.is_global_zero or self.result is None:
            return
        scores = self.result.scores.assign(step=trainer.global_step)
        log_table(
            trainer.loggers, f"{self.prefix}/scores", scores[["step", "feature", "roi", "network", "r", "r2"]]
        )
        figure = plot_training(self.curves, simulated=self.datamodule.responses.simulated)
        log_figure(trainer.loggers, f"{self.prefix}/curves", figure, trainer.global_step)

    def _fail(self, trainer: pl.Trainer, problem: str) -> None:
        if self.on_error == "raise":
            raise RuntimeError(f"The brain pass at step {trainer.global_step} failed: {problem}")
        self._failures += 1
        log_scalars(trainer.loggers, {f"{self.prefix}/failures": float(self._failures)}, trainer.global_step)
        if self._failures == 1 and trainer.is_global_zero:
            warnings.warn(
                f"The brain pass at step {trainer.global_step} failed, and the training goes on without it: "
                f"{problem} Later failures are counted as {self.prefix}/failures; on_error='raise' stops.",
                stacklevel=2,
            )


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
