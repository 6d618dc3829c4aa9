"""What `BrainAlignment` and `BrainAlignmentHF` share: the arguments, and an evaluation in a training."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure
from torch import nn

from nfas_lightning.alignment import card_of, record_trajectory
from nfas_lightning.callbacks.curves import AlignmentCurves, network_scalars
from nfas_lightning.callbacks.first_look import try_stimuli
from nfas_lightning.callbacks.loggers import scalars_of
from nfas_lightning.data.responses import Responses
from nfas_lightning.errors import FailureError, InputError, InputTypeError
from nfas_lightning.functional.checks import check_count, check_option
from nfas_lightning.hooks.processes import (
    buffers_of_rank_zero,
    from_rank_zero,
    gather_trajectories,
    rank_and_world,
    reason_of,
    together,
)
from nfas_lightning.hooks.selection import Layers
from nfas_lightning.hooks.sharding import as_written, check_sharding
from nfas_lightning.hooks.spill import Spill
from nfas_lightning.hooks.trajectory import Trajectory, concatenate
from nfas_lightning.hooks.undisturbed import kept_random_states, plain_network, without_autocast
from nfas_lightning.lightning_packages import pl
from nfas_lightning.models.loaded import Preprocess
from nfas_lightning.plotting.training import plot_training
from nfas_lightning.results import ModelResult
from nfas_lightning.scoring import ScoringSettings, score_trajectory
from nfas_lightning.versions import installed_version

__all__ = ["AlignmentMonitor", "Moment"]

_WATCHED = ("mean_r", "mean_r2")
_DRY_RUN = 4  # stimuli that each process of a dry run shows


@dataclass(frozen=True)
class Moment:
    """Where a training loop stands.

    Attributes:
        step: optimizer steps done.
        epoch: epoch that is running, from 0.
        why: ``"start"``, ``"step"``, ``"epoch"``, ``"checkpoint"``, ``"end"`` or ``"stage"``.
        dry: run a few stimuli through the network, and keep and log nothing.
        context: made around each forward pass, e.g. the loop's autocast.
        stage: ``"validate"`` or ``"test"`` where no training runs: logged keys begin with it, and the curve
            over training is left alone.
    """

    step: int
    epoch: int
    why: str
    dry: bool = False
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    stage: str = ""


class AlignmentMonitor:
    """Score a network in training against a brain benchmark, and leave the training unchanged.

    The base of the callbacks, which say when an evaluation is due and log what it found.
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
        every_n_train_steps: int = 0,
        at_start: bool = False,
        at_end: bool = True,
        on_checkpoint: bool = False,
        settings: ScoringSettings | None = None,
        run_dir: str | Path | None = None,
        name: str | None = None,
        prefix: str = "brain",
        details_every: int = 5,
        batch_size: int | None = None,
        memory_budget: int | None = None,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        """Keep the options; the benchmark is read when the training begins.

        Args:
            datamodule: the benchmark, a `BrainDataModule`; not the one that the Trainer trains on.
            layers: blocks to record, see `resolve_layers`.
            pooling: see `nfas_lightning.hooks.pool`.
            preprocess: raw batch to the network's inputs (`ModelInputs`, a tensor, a tuple or keywords), for
                texts `TextPreprocess`. None: what the configuration of timm or transformers on the network
                asks for, else the batch's image or audio as it is, with a warning. `RawStimuli()` says that
                this is right. The training's own augmentation plays no part.
            submodule: dotted name of the network inside the module in training. None: its attribute ``model``
                or ``module`` if there is one, else the module itself, or, if that has no forward pass, the
                only network that it holds.
            average: evaluate the average that Lightning's ``WeightAveraging`` callback keeps, not the weights
                in training. For an average of your own, name it as `submodule`.
            every_n_epochs: evaluate at the end of every n-th epoch; 0 for never.
            every_n_train_steps: evaluate after every n-th optimizer step; 0 for never.
            at_start: evaluate before the first step.
            at_end: evaluate after the last step, unless that step was evaluated already.
            on_checkpoint: evaluate whenever a checkpoint is saved.
            settings: how a trajectory becomes scores; None: the defaults, without permutations.
            run_dir: folder that keeps the scores of every evaluation and the curves; None keeps them in
                memory.
            name: of the model in the tables; None: the network's class.
            prefix: of the logged keys.
            details_every: evaluations between two tables and figures.
            batch_size: stimuli per batch; None: the datamodule's.
            memory_budget: bytes of states that may stay on the network's device during an evaluation, see
                `DepthRecorder`; None: half of what is free.
            on_error: ``"warn"``: the training goes on after a failed evaluation, and the first failure is a
                warning with its reason; ``"raise"``: it stops the training.

        Raises:
            TypeError: the datamodule has no responses.
            ValueError: an unknown option, or a schedule that is never due.
        """
        if not hasattr(type(datamodule), "responses"):
            raise InputTypeError(
                "BrainAlignment needs a benchmark with stimuli and responses, a BrainDataModule such as "
                f"ArrayDataModule; got {type(datamodule).__name__}."
            )
        check_option("on_error", on_error, ("warn", "raise"))
        check_count("details_every", details_every, 1)
        schedule = {"every_n_epochs": every_n_epochs, "every_n_train_steps": every_n_train_steps}
        for option, every in schedule.items():
            if every < 0:
                raise InputError(f"{option} must be at least 1, or 0 for never, got {every}.")
        if not any((every_n_epochs, every_n_train_steps, at_start, at_end, on_checkpoint)):
            raise InputError("The schedule is never due: set every_n_epochs or one of its other arguments.")
        self.datamodule: Any = datamodule
        self.layers, self.pooling, self.preprocess = layers, pooling, preprocess
        self.submodule, self.average = submodule, average
        self.every_n_epochs, self.every_n_train_steps = every_n_epochs, every_n_train_steps
        self.at_start, self.at_end, self.on_checkpoint = at_start, at_end, on_checkpoint
        self.settings = ScoringSettings.given(settings, n_permutations=0)
        self.name, self.prefix, self.details_every = name, prefix, details_every
        self.batch_size, self.on_error, self.memory_budget = batch_size, on_error, memory_budget
        Spill(memory_budget)  # which refuses a bad one now
        self.result: ModelResult | None = None
        """What the last evaluation found, on rank zero."""
        self._curves = AlignmentCurves(run_dir)
        self._chosen_preprocess = preprocess  # or what is found for the network
        self._seen_step = 0
        self._evaluated_step = -1
        self._scored_step: int | None = None
        self._evaluations = 0
        self._failures = 0

    @property
    def curves(self) -> pd.DataFrame:
        """One row per evaluation, feature and network, on rank zero; see `AlignmentCurves.table`."""
        return self._curves.table()

    # what the callbacks log with, on rank zero alone

    def _log_scalars(self, values: Mapping[str, float], step: int) -> None:
        raise NotImplementedError

    def _log_table(self, key: str, table: pd.DataFrame, step: int) -> None:
        raise NotImplementedError

    def _log_figure(self, key: str, figure: Figure, step: int) -> None:
        raise NotImplementedError

    def _log_config(self, values: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def _say(self, text: str) -> None:
        """Tell the user; nothing where the loop prints what is logged."""

    # when an evaluation is due

    def _is_epoch_due(self, epoch: int) -> bool:
        """Whether the end of this epoch, counted from 0, is due."""
        return self.every_n_epochs > 0 and (epoch + 1) % self.every_n_epochs == 0

    def _is_step_due(self, step: int) -> bool:
        """Whether a step was due since the last call.

        A batch may take several steps (several optimizers), or none (accumulated gradients).
        """
        every, previous = self.every_n_train_steps, self._seen_step
        self._seen_step = step
        return every > 0 and step // every > previous // every

    # before the first step

    def _read(self, network: nn.Module, *, first_here: bool, barrier: Callable[[], object]) -> None:
        """Read the benchmark, so that responses that can't be scored are an error before the first step.

        `first_here`: this process prepares the data of its machine; `barrier` waits for all processes.
        """
        with kept_random_states(network):
            if first_here:
                self.datamodule.prepare_data()
            barrier()
            self.datamodule.setup()
            self.settings.check(self.datamodule.responses)

    def _check(self, network: nn.Module, owner: nn.Module, at: Moment, *, at_once: bool) -> None:
        """Show the network two stimuli, see `try_stimuli`."""
        check_sharding(owner)
        with kept_random_states(network):
            self._chosen_preprocess = together(
                lambda: try_stimuli(
                    network,
                    owner,
                    self.datamodule,
                    layers=self.layers,
                    preprocess=self.preprocess,
                    context=at.context,
                    at_once=at_once,
                    record=partial(self._record, network, owner, at),
                )
            )

    def _start(self, step: int, *, dry: bool = False) -> None:
        """Begin a training, or continue one that has done so many steps: its curve is taken up."""
        self._seen_step, self._evaluated_step, self._evaluations = step, -1, 0
        if not dry:
            together(lambda: self._curves.start(step) if rank_and_world()[0] == 0 else None)

    # an evaluation

    def _evaluate(self, network: nn.Module, owner: nn.Module, at: Moment) -> dict[str, float]:
        """Evaluate the network, unless this step was evaluated already; every process calls this.

        Returns:
            On every process, what checkpoints may watch; empty after a failure or a dry run.
        """
        if not at.stage:
            if at.step == self._evaluated_step:
                return {}
            self._evaluated_step = at.step
        started = time.perf_counter()
        rank, world = rank_and_world()
        limit = _DRY_RUN * world if at.dry else None
        with kept_random_states(network):
            try:
                options = {"preprocess": self._chosen_preprocess, "share": (rank, world), "limit": limit}
                with buffers_of_rank_zero(network):
                    own = together(lambda: self._record(network, owner, at, **options))
                shares = gather_trajectories(own)  # what it raises, it raises on every process
                is_reporter = rank == 0 and not at.dry
                watched: dict[str, float] = from_rank_zero(
                    together(lambda: self._report(network, owner, shares, at, started) if is_reporter else {})
                )
            except Exception as error:  # noqa: BLE001 - the training must not end because the monitor failed
                self._fail(at, error)
                return {}
        if watched and not at.stage:
            self._scored_step = at.step
        return watched

    def _record(self, network: nn.Module, owner: nn.Module, at: Moment, **options: Any) -> Trajectory | None:
        return record_trajectory(
            network,
            self.datamodule.stimuli,
            layers=self.layers,
            pooling=self.pooling,
            batch_size=self.batch_size or self.datamodule.batch_size,
            num_workers=self.datamodule.num_workers,
            memory_budget=self.memory_budget,
            context=at.context,
            owner=owner,
            **options,
        )

    def _report(
        self, network: nn.Module, owner: nn.Module, shares: list[Trajectory], at: Moment, started: float
    ) -> dict[str, float]:
        """Score, keep and log; return what checkpoints may watch."""
        responses = self.datamodule.responses
        trajectory = concatenate(shares)
        seconds = time.perf_counter() - started
        with as_written(owner):
            card = card_of(plain_network(network), responses, self.name, self.pooling, seconds=seconds)
        with without_autocast():
            result = score_trajectory(trajectory, responses, card, self.settings)
        self.result = result
        if not at.stage:  # what is evaluated outside a training may be no point of its curve
            self._curves.add(result, step=at.step, epoch=at.epoch, moment=at.why)
        if self._evaluations == 0:
            self._log_config({self.prefix: self._config(responses, trajectory)})
        prefix = f"{at.stage}/{self.prefix}".lstrip("/")
        scalars = scalars_of(result, prefix) | network_scalars(result.scores, prefix)
        scalars[f"{prefix}/seconds"] = time.perf_counter() - started
        # the epoch, which Lightning logs too, is what the rows of both are joined by
        self._log_scalars({**scalars, "epoch": float(at.epoch)}, at.step)
        r, r2 = (f"{prefix}/{key}" for key in _WATCHED)
        self._say(
            f"Brain alignment at step {at.step}: mean r {scalars[r]:.3f}, mean r2 {scalars[r2]:.4f} "
            f"({scalars[f'{prefix}/seconds']:.1f} s)"
        )
        if not at.stage:
            self._evaluations += 1
            if self._evaluations % self.details_every == 0:
                self._log_details(at.step)
        return {key: scalars[key] for key in (r, r2)}

    @property
    def _watched_keys(self) -> tuple[str, ...]:
        """The keys that a checkpoint may watch in training."""
        return tuple(f"{self.prefix}/{key}" for key in _WATCHED)

    def _finish(self, at: Moment) -> None:
        """Log the table and the figure that the last evaluations were not due for."""
        if self._evaluations % self.details_every:
            try:
                self._log_details(at.step)
            except Exception as error:  # noqa: BLE001 - the training must not end because a logger failed
                self._fail(at, error)

    def _config(self, responses: Responses, trajectory: Trajectory) -> dict[str, Any]:
        """What a logger's config says of the evaluations: settings, data with their hashes, blocks."""
        data = ("dataset", "modality", "simulated", "subjects", "hashes")
        found = self._chosen_preprocess
        return {
            "settings": asdict(self.settings),
            "data": {name: getattr(responses, name) for name in data}
            | {"responses_sha256": responses.fingerprint()},
            "layers": list(trajectory.layer_names),
            "pooling": self.pooling,
            "preprocess": "the model's own" if found is None else f"{found!r:.300}",
            "version": installed_version("nfas-lightning"),
        }

    def _log_details(self, step: int) -> None:
        if self.result is None:
            return
        columns = ["step", "feature", "roi", "network", "r", "r2", "r_joint", "r_partial"]
        self._log_table(f"{self.prefix}/scores", self.result.scores.assign(step=step)[columns], step)
        figure = plot_training(self.curves, simulated=self.datamodule.responses.simulated)
        self._log_figure(f"{self.prefix}/curves", figure, step)

    def _fail(self, at: Moment, error: Exception) -> None:
        text = f"The brain evaluation at step {at.step} failed"
        if self.on_error == "raise":
            raise FailureError(f"{text}: {reason_of(error)}") from error
        self._failures += 1
        if rank_and_world()[0] > 0:
            return
        if self._failures == 1:
            warnings.warn(
                f"{text}, and the training goes on without it: {reason_of(error)} Later failures are counted "
                f"as {self.prefix}/failures; on_error='raise' stops.",
                stacklevel=2,
            )
        try:
            self._log_scalars({f"{self.prefix}/failures": float(self._failures)}, at.step)
        except Exception as refused:  # noqa: BLE001 - where the logger is what failed, the warning has said so
            if reason_of(refused) != reason_of(error):
                warnings.warn(f"{self.prefix}/failures can't be logged: {reason_of(refused)}", stacklevel=2)
