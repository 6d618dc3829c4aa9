"""One look at a network in training: what `BrainAlignment` and `BrainAlignmentHF` have in common.

Nothing here belongs to one kind of loop: the callbacks say when to look, and show the loop through
`nfas_lightning.callbacks.loop`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeVar

from torch import Tensor, nn

from nfas_lightning.alignment import card_of, preprocess_for, record_trajectory
from nfas_lightning.callbacks.curves import AlignmentCurves, summarize
from nfas_lightning.callbacks.loop import Loggers, Moment
from nfas_lightning.callbacks.model_log import summary_scalars
from nfas_lightning.data.responses import Responses
from nfas_lightning.functional.checks import check_option
from nfas_lightning.hooks.blocks import find_blocks
from nfas_lightning.hooks.kept import lazy_parameters
from nfas_lightning.hooks.processes import (
    buffers_of_rank_zero,
    from_rank_zero,
    gather_trajectories,
    rank_and_world,
    to_everyone,
)
from nfas_lightning.hooks.recorder import DepthRecorder
from nfas_lightning.hooks.selection import MIN_DEPTHS, Layers, has_forward
from nfas_lightning.hooks.trajectory import Trajectory, concatenate
from nfas_lightning.hooks.undisturbed import kept_random_states, plain_network, without_autocast
from nfas_lightning.models.base import ModelInputs, Preprocess, as_inputs
from nfas_lightning.models.frozen import FrozenModel
from nfas_lightning.plotting.training import ALL_ROIS, plot_training
from nfas_lightning.results import ModelResult
from nfas_lightning.scoring import ScoringSettings, score_trajectory
from nfas_lightning.versions import installed_version

__all__ = ["BrainWatch"]

_MAX_NETWORKS = 20  # one scalar each; more belong into the table
_WATCHED = ("mean_r", "mean_r2")
_TRIED = 2  # stimuli that are shown before the first step
_DRY_RUN = 4  # stimuli that a process of a dry run shows
T = TypeVar("T")


class BrainWatch:
    """Show a benchmark to a network in training, score it, log it, and leave no trace in the training.

    The arguments are those of `BrainAlignment`, which explains them.

    Raises:
        TypeError: the datamodule has no responses.
        ValueError: an unknown option.
    """

    def __init__(
        self,
        datamodule: Any,
        *,
        layers: Layers = "auto",
        pooling: str = "auto",
        preprocess: Preprocess | None = None,
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
        self.datamodule = datamodule
        self.layers, self.pooling, self.preprocess = layers, pooling, preprocess
        self.settings = ScoringSettings.given(settings, n_permutations=0)
        self.name, self.prefix, self.on_error = name, prefix, on_error
        self.details_every, self.batch_size = details_every, batch_size
        self.result: ModelResult | None = None
        self.curves = AlignmentCurves(run_dir)
        self.last_success: int | None = None
        self._preprocess = preprocess  # or what was found
        self._last_step = -1
        self._looks = 0
        self._failures = 0

    def read(
        self, network: nn.Module, *, first_here: bool = True, barrier: Callable[[], object] = lambda: None
    ) -> None:
        """Read the benchmark: responses that can't be scored show before the first step.

        Args:
            network: whose devices' random states are kept.
            first_here: whether this process prepares the data of its machine.
            barrier: waits until every process has come to it.
        """
        with kept_random_states(network):
            if first_here:
                self.datamodule.prepare_data()
            barrier()
            self.datamodule.setup()
            self.settings.check(self.datamodule.responses)

    def check(self, network: nn.Module, owner: nn.Module, at: Moment, *, at_once: bool = False) -> None:
        """Show the network two stimuli: what would let every look fail is an error before the first step.

        A network whose first training batch makes its parameters (lazy modules) is left alone, unless it
        would be looked at before that.

        Args:
            network: what will be looked at.
            owner: what holds it, and stays as it was, too.
            at: where the loop stands, for its context.
            at_once: whether the first look comes before the first step.

        Raises:
            ValueError: an unknown layer, or stimuli that need a preprocessing.
            RuntimeError: the network can't be shown the stimuli.
        """
        with kept_random_states(network):
            _, error = _attempt(lambda: self._try(network, owner, at, at_once))
            problem = next((p for p in to_everyone(_reason(error)) if p), None)
        if error is not None:
            raise error
        if problem is not None:  # else the other processes would say only that this one is gone
            raise RuntimeError(problem)

    def _try(self, network: nn.Module, owner: nn.Module, at: Moment, at_once: bool) -> None:
        stimuli, made = self.datamodule.stimuli, "its own preprocessing"
        self._preprocess = self.preprocess
        if not isinstance(network, FrozenModel):
            DepthRecorder(plain_network(network), self.layers)  # which refuses an unknown name
            if lazy_parameters(network) and not at_once:
                return
            if self._preprocess is None:
                self._preprocess = preprocess_for(network, stimuli, context=at.context, owner=owner)
            inputs = as_inputs(self._preprocess(stimuli.collate([stimuli[0]])))
            made = f"{_shapes(inputs)} of {self._preprocess!r:.300}"
        try:
            self._record(network, owner, at, share=(0, 1), limit=_TRIED)
        except Exception as error:  # whatever a network raises that is shown what it does not read
            names = [name for name in _networks_in(owner) if owner.get_submodule(name) is not network]
            others = " or ".join(f"submodule={name!r}" for name in names)
            raise RuntimeError(
                f"{type(plain_network(network)).__name__} can't be shown the stimuli of "
                f"{self.datamodule.responses.dataset!r}, so that every look would fail: "
                f"{str(_reason(error)).rstrip('.')}. It got {made}. Choose a preprocess that makes what it "
                "reads, or layers that fit" + (f", or another network: {others}." if others else ".")
            ) from error

    def start(self, step: int, *, dry: bool = False) -> None:
        """Begin a training, or go on with one that has done so many steps: its curve is taken up."""
        self._last_step, self._looks = -1, 0
        error: Exception | None = None
        if rank_and_world()[0] == 0 and not dry:
            _, error = _attempt(lambda: self.curves.start(step))
        problem = from_rank_zero(_reason(error))
        if error is not None:
            raise error
        if problem is not None:  # else the other processes would say only that the first is gone
            raise RuntimeError(problem)

    def look(self, network: nn.Module, owner: nn.Module, at: Moment, loggers: Loggers) -> dict[str, float]:
        """Look at the network, unless this step was looked at already; every process calls this.

        Args:
            network: what is shown the stimuli.
            owner: what holds it, and stays as it was, too.
            at: where the loop stands.
            loggers: of the loop.

        Returns:
            On every process, what checkpoints may watch; empty after a failure or a dry run.

        Raises:
            RuntimeError: the look failed, and `on_error` is ``"raise"``.
        """
        if not at.stage:
            if at.step == self._last_step:
                return {}
            self._last_step = at.step
        started = time.perf_counter()
        with kept_random_states(network):
            with buffers_of_rank_zero(network):
                own, error = _attempt(lambda: self._share(network, owner, at))
            problem = next((p for p in to_everyone(_reason(error)) if p), None)
            watched: dict[str, float] | None = {}
            if problem is None:
                gathered, error = _attempt(lambda: gather_trajectories(own))
                problem = _reason(error)  # the same on every process
            if problem is None:
                shares = gathered or []
                if rank_and_world()[0] == 0 and not at.dry:
                    watched, error = _attempt(lambda: self._report(network, shares, at, loggers, started))
                watched, problem = from_rank_zero((watched, _reason(error)))
            if problem is not None:
                self._fail(at, problem, error, loggers)
            elif watched and not at.stage:
                self.last_success = at.step
        return watched or {}

    @property
    def watched_keys(self) -> tuple[str, ...]:
        """What `look` returns, which checkpoints may watch."""
        return tuple(f"{self.prefix}/{key}" for key in _WATCHED)

    def finish(self, at: Moment, loggers: Loggers) -> None:
        """Log what looks since the last table found."""
        if self._looks % self.details_every:
            _, error = _attempt(lambda: self._log_details(at.step, loggers))
            if error is not None:
                self._fail(at, str(_reason(error)), error, loggers)

    def _share(self, network: nn.Module, owner: nn.Module, at: Moment) -> Trajectory | None:
        """What this process shows of the stimuli."""
        rank, world = rank_and_world()
        return self._record(network, owner, at, (rank, world), _DRY_RUN * world if at.dry else None)

    def _record(
        self, network: nn.Module, owner: nn.Module, at: Moment, share: tuple[int, int], limit: int | None
    ) -> Trajectory | None:
        size = self.batch_size or self.datamodule.batch_size
        return record_trajectory(
            network,
            self.datamodule.stimuli,
            layers=self.layers,
            pooling=self.pooling,
            preprocess=self._preprocess,
            batch_size=size,
            num_workers=self.datamodule.num_workers,
            share=share,
            context=at.context,
            limit=limit,
            owner=owner,
        )

    def _report(
        self,
        network: nn.Module,
        shares: list[Trajectory],
        at: Moment,
        loggers: Loggers,
        started: float,
    ) -> dict[str, float]:
        """Score, keep and log."""
        responses = self.datamodule.responses
        trajectory = concatenate(shares)
        seconds = time.perf_counter() - started
        card = card_of(plain_network(network), responses, self.name, self.pooling, seconds=seconds)
        with without_autocast():
            self.result = score_trajectory(trajectory, responses, card, self.settings)
        if not at.stage:  # what was evaluated may be no point of the training's curve
            self.curves.add(self.result, step=at.step, epoch=at.epoch, moment=at.why)
        scalars = _scalars(self.result) | {"seconds": time.perf_counter() - started}
        if self._looks == 0:
            loggers.config({self.prefix: self._config(responses, trajectory)})
        prefix = f"{at.stage}/{self.prefix}".lstrip("/")
        named = {f"{prefix}/{key}": value for key, value in scalars.items()}
        loggers.scalars({**named, "epoch": float(at.epoch)}, at.step)  # as Lightning does, to join by
        loggers.say(
            f"Brain alignment at step {at.step}: mean r {scalars['mean_r']:.3f}, "
            f"mean r2 {scalars['mean_r2']:.4f} ({scalars['seconds']:.1f} s)"
        )
        if not at.stage:
            self._looks += 1
            if self._looks % self.details_every == 0:
                self._log_details(at.step, loggers)
        return {f"{prefix}/{key}": scalars[key] for key in _WATCHED}

    def _config(self, responses: Responses, trajectory: Trajectory) -> dict[str, Any]:
        """What a logger's config says of the looks: settings, data with their hashes, blocks."""
        data = ("dataset", "modality", "simulated", "subjects", "hashes")
        return {
            "settings": asdict(self.settings),
            "data": {name: getattr(responses, name) for name in data}
            | {"responses_sha256": responses.fingerprint()},
            "layers": list(trajectory.layer_names),
            "pooling": self.pooling,
            "preprocess": f"{self._preprocess!r:.300}" if self._preprocess is not None else "the model's own",
            "version": installed_version("nfas-lightning"),
        }

    def _log_details(self, step: int, loggers: Loggers) -> None:
        if self.result is None:
            return
        scores = self.result.scores.assign(step=step)
        columns = ["step", "feature", "roi", "network", "r", "r2", "r_joint", "r_partial"]
        loggers.table(f"{self.prefix}/scores", scores[columns], step)
        simulated = self.datamodule.responses.simulated
        figure = plot_training(self.curves.table(), simulated=simulated)
        loggers.figure(f"{self.prefix}/curves", figure, step)

    def _fail(self, at: Moment, problem: str, error: Exception | None, loggers: Loggers) -> None:
        if self.on_error == "raise":
            raise RuntimeError(f"The brain pass at step {at.step} failed: {problem}") from error
        self._failures += 1
        if rank_and_world()[0] > 0:
            return
        # where the logger itself is what failed, the warning below still says so
        _attempt(lambda: loggers.scalars({f"{self.prefix}/failures": float(self._failures)}, at.step))
        if self._failures == 1:
            warnings.warn(
                f"The brain pass at step {at.step} failed, and the training goes on without it: "
                f"{problem} Later failures are counted as {self.prefix}/failures; on_error='raise' stops.",
                stacklevel=2,
            )


def _attempt(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """Return a result or the reason why there is none: the other processes must hear of it, or they hang."""
    try:
        return work(), None
    except Exception as error:  # noqa: BLE001 - the caller reports it, or raises it again
        return None, error


def _shapes(inputs: ModelInputs) -> str:
    """The shapes of what a network is given."""
    named = [*(("", value) for value in inputs.args), *inputs.kwargs.items()]
    told = [f"{name} {tuple(value.shape)}".lstrip() for name, value in named if isinstance(value, Tensor)]
    return ", ".join(told) or "no tensor"


def _networks_in(module: nn.Module) -> Iterator[str]:
    """The names of the outermost modules inside one that have blocks to record."""
    for name, child in module.named_children():
        if has_forward(child) and len(find_blocks(child)) >= MIN_DEPTHS:
            yield name
        else:
            yield from (f"{name}.{inner}" for inner in _networks_in(child))


def _reason(error: Exception | None) -> str | None:
    return None if error is None else f"{type(error).__name__}: {error}"


def _scalars(result: ModelResult) -> dict[str, float]:
    """The means over all ROIs, and one a network of ROIs."""
    table = summarize(result.scores)
    stable = table[(table["feature"] == "stable_mode") & (table["network"] != ALL_ROIS)]
    scalars = summary_scalars(result)
    if len(stable) <= _MAX_NETWORKS:
        scalars |= {f"r2/{name}": float(r2) for name, r2 in zip(stable["network"], stable["r2"], strict=True)}
    return scalars
