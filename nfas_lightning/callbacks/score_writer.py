"""Score a recorded trajectory against the benchmark's responses, and keep the result in a run folder."""

from __future__ import annotations

import math
import platform
import time
import uuid
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from rich.markup import escape

from nfas_lightning.alignment import card_of
from nfas_lightning.callbacks.depth_trajectory import DepthTrajectory
from nfas_lightning.callbacks.loggers import (
    config_of,
    log_config,
    log_model,
    log_run,
    log_scalars,
    scalars_of,
)
from nfas_lightning.callbacks.model_keys import model_capture_key, model_scoring_key, remember_pass
from nfas_lightning.callbacks.wandb_runs import model_links, model_run, wandb_loggers
from nfas_lightning.data.responses import Responses
from nfas_lightning.errors import InputError, InputTypeError
from nfas_lightning.hooks.processes import from_rank_zero
from nfas_lightning.hooks.trajectory import Trajectory
from nfas_lightning.lightning_packages import Callback, LightningModule, Trainer, kinds, pl
from nfas_lightning.models.frozen import FrozenModel
from nfas_lightning.models.random_twin import state_sha256
from nfas_lightning.results import (
    SCORES,
    CaptureCache,
    ModelResult,
    NoKeyError,
    RunFolder,
    RunResults,
)
from nfas_lightning.scoring import ScoringSettings, score_trajectory
from nfas_lightning.scoring.encoder import Encoder
from nfas_lightning.terminal import doing
from nfas_lightning.versions import installed_version
from nfas_lightning.writing import check_folder

__all__ = ["ScoreWriter"]

_VERSIONS = (
    "nfas-lightning",
    "torch",
    "pytorch-lightning",
    "torchmetrics",
    "numpy",
    "scipy",
    "pandas",
    "nilearn",
)
_BETWEEN = 20  # joining the tables of all models takes longer with each: it waits so many times what it took


class ScoreWriter(Callback):
    """Turn what `DepthTrajectory` recorded into scores, and write them.

    Runs at the end of ``test``, on the first process. A model's result is written when it is there; the
    run's tables are joined after every model, in a suite as often as it costs a twentieth of the time. The
    module is a `FrozenModel`, or a LightningModule of your own whose ``test_step`` runs its network on the
    batch's stimuli; the Trainer's datamodule offers ``responses`` (`Responses`). A finished model is kept
    under its `scoring_key`, by which later runs find it again. The run's tables hold the models that this
    writer has tested or found; it names the others of the folder.

    States of a `FrozenModel` are kept under its `capture_key`, see `CaptureCache`. Where they are there
    already, the test runs no forward pass, unless a callback of yours or a metric looks at the batches.

    Logged of a model: ``nfas/mean_r``, ``nfas/mean_r2`` (of the number that `settings.score` names; with
    nuisances also ``nfas/mean_r_alone``, ``_joint`` and ``_partial``), ``nfas/stable_modulus``,
    ``nfas/best_baseline_r2``;
    tables ``nfas/rois`` and ``nfas/spectrum``, figures of spectrum and depth, and what the run was made of as
    config. Of a suite: the scalars at one step per model, and the tables ``nfas/models``, ``nfas/scores``
    (model x ROI), ``nfas/rois``, ``nfas/numbers`` and ``nfas/spectra``; in Weights & Biases each model is a
    run of its own in the suite's group, see `nfas_lightning.callbacks.wandb_runs`.

    Args:
        run_dir: folder of the run; a run that was stopped continues in the same folder.
        settings: how a trajectory becomes scores.
        name: name of the experiment; None: that of the folder.
        model_name: of a LightningModule of your own in the tables; None: its network's class. A `FrozenModel`
            has its own.
        resume: take finished results that lie in `run_dir`, and states that are kept; False: compute every
            model anew and replace them.
        cache: folder that keeps states for later runs, True for the usual one, see `CaptureCache`; False:
            keep none, and take none.
        tables: join the tables of the run; False where another process does, which `take`s the results.

    Attributes:
        options: these arguments.
    """

    def __init__(
        self,
        run_dir: str,
        *,
        settings: ScoringSettings | None = None,
        name: str | None = None,
        model_name: str | None = None,
        resume: bool = True,
        cache: bool | str = True,
        tables: bool = True,
    ) -> None:
        self.options = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self.run_dir = run_dir
        self.settings = ScoringSettings.given(settings)
        self.name = name or Path(run_dir).name
        self.model_name = model_name
        self.folder = RunFolder(run_dir)
        self.results: RunResults | None = None
        self.finished: list[tuple[str, str]] = []  # names and keys of what the tables hold
        self._is_suite = False
        self._takes_finished = resume
        self.cache = CaptureCache.given(cache)
        self._kept: Trajectory | None = None  # of the model that is tested
        self._limit: Any = None  # of the Trainer's batches, while there are none to show
        self._capture_of_test = self._key_of_test = ""
        self._card: dict[str, Any] = {}
        self._started = 0.0
        self._gather_next = 0.0 if tables else math.inf
        self._line = ""
        self._has_said_where = not tables
        self._console = Console()

    def _recorder(self, trainer: Trainer) -> DepthTrajectory:
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        for callback in callbacks[: callbacks.index(self)]:
            if isinstance(callback, DepthTrajectory):
                return callback
        raise InputError("ScoreWriter needs a DepthTrajectory before it among the Trainer's callbacks.")

    @staticmethod
    def _responses(datamodule: Any) -> Responses:
        responses = getattr(datamodule, "responses", None)
        if not isinstance(responses, Responses):
            got = "none" if datamodule is None else f"a {type(datamodule).__name__}"
            raise InputTypeError(
                "ScoreWriter needs a datamodule with brain responses, such as an ArrayDataModule, got "
                f"{got}: trainer.test(model, datamodule=...)."
            )
        return responses

    def find(self, module: FrozenModel, trainer: Trainer, datamodule: Any) -> tuple[str, str] | None:
        """Return label and key of this model's result if it is finished under the present settings."""
        label = module.info.name
        if not (self._takes_finished and self.folder.has_any(label)):
            return None
        try:
            key = self._keys(module, trainer, datamodule)[1]
        except NoKeyError:
            return None
        return (label, key) if self.folder.has(label, key) else None

    def is_captured(self, module: FrozenModel, trainer: Trainer, datamodule: Any) -> bool:
        """Whether a model's states are kept, so that its test runs no forward pass; the model is loaded."""
        if not self._takes_captured(module, trainer):
            return False
        try:
            return self.cache.has(self._keys(module, trainer, datamodule)[0])
        except NoKeyError:
            return False

    def _takes_captured(self, module: LightningModule, trainer: Trainer) -> bool:
        """Whether kept states will do for the passes over the stimuli."""
        return self._takes_finished and isinstance(module, FrozenModel) and self.is_alone(trainer)

    def is_alone(self, trainer: Trainer) -> bool:
        """Whether nothing but scores comes of the passes over the stimuli."""
        recorder, callbacks = self._recorder(trainer), trainer.callbacks  # type: ignore[attr-defined]
        others = [callback for callback in callbacks if callback not in (self, recorder)]
        return recorder.metric is None and recorder.save_dir is None and not any(map(_looks_at_tests, others))

    def _keys(self, module: LightningModule, trainer: Trainer, datamodule: Any) -> tuple[str, str]:
        recorder = self._recorder(trainer)
        capture = model_capture_key(module, recorder, datamodule, trainer.precision)
        return capture, model_scoring_key(
            module, capture, self._responses(datamodule), self.settings, self.model_name
        )

    def resume(
        self, module: FrozenModel, trainer: Trainer, datamodule: Any, found: tuple[str, str] | None = None
    ) -> bool:
        """Whether this model is finished under the present settings; if so it counts as done in this run.

        Asked of each member of a suite, whose models become W&B runs of their own.

        Args:
            module: the model; loaded unless `found` is given.
            trainer: that would test it.
            datamodule: that it would be tested on, after ``setup``.
            found: what `find` has returned already.
        """
        self._is_suite = True
        found = found or self.find(module, trainer, datamodule)
        if found and found not in self.finished:
            self._add(*found)
            self._console.print(
                f"[green]✓[/] {escape(found[0])}: found finished in {escape(str(self.run_dir))}"
            )
            self._has_said_where = True
        return found is not None

    def _add(self, label: str, key: str) -> None:
        """Count a result to the run, once; of several models of one name, the last."""
        if (label, key) in self.finished:
            return
        kept = [done for done in self.finished if done[0] != label]
        if len(kept) < len(self.finished):
            self._console.print(f"{label}: the tables hold the last model of this name", markup=False)
        self.finished = [*kept, (label, key)]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a folder that can't be written, and what could not be scored.

        Raises:
            TypeError: there is no datamodule with responses.
            ValueError: no `DepthTrajectory` stands before this callback, or the responses can't be scored.
            OSError: the folder can't be written.
        """
        if stage != "test":
            return
        check_folder(self.run_dir)
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        responses, recorder = self._responses(datamodule), self._recorder(trainer)
        self.settings.check(responses)
        self._card, self._capture_of_test, self._kept = {}, "", None
        if trainer.is_global_zero:
            self._card = self._card_of(recorder, pl_module, responses)
            self._started = time.perf_counter()
            try:  # before the first pass and anyone's hooks
                self._capture_of_test, self._key_of_test = self._keys(pl_module, trainer, datamodule)
            except NoKeyError as error:
                self._key_of_test = uuid.uuid4().hex
                self._console.print(
                    f"{self._card['name']}: every run computes it anew, for it can't be told from a changed "
                    f"one: {error}.",
                    markup=False,
                    soft_wrap=True,
                )
            if self._capture_of_test and self._takes_captured(pl_module, trainer):
                self._kept = self.cache.read(self._capture_of_test)
        if from_rank_zero(self._kept is not None):
            self._limit, trainer.limit_test_batches = trainer.limit_test_batches, 0
            trainer.test_loop.max_batches.clear()  # of the test before this one

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the capture."""
        self._started = time.perf_counter()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep and score the trajectory, write the result, and say so in one line."""
        if not trainer.is_global_zero:
            return
        seconds = time.perf_counter() - self._started
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        recorder = self._recorder(trainer)
        if self._capture_of_test:
            remember_pass(pl_module, recorder, datamodule, trainer.precision, self._capture_of_test)
            if isinstance(pl_module, FrozenModel) and recorder.save_dir is None:
                about = {"model": self._card["name"], "dataset": self._responses(datamodule).dataset}
                self.cache.write(self._capture_of_test, recorder.trajectory, about)
        self._score(trainer, recorder.trajectory, seconds)

    def _score(self, trainer: Trainer, trajectory: Trajectory, seconds: float) -> None:
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        responses = self._responses(datamodule)
        card = {**self._card, "seconds_capture": seconds}
        started = time.perf_counter()
        label, key = card["name"], self._key_of_test
        with doing("scoring"):
            result = score_trajectory(trajectory, responses, card, self.settings)
        completed = {**result.card, "seconds_scoring": time.perf_counter() - started, "key": key}
        result = replace(result, card=completed)
        self.folder.write(label, key, result, replace=not self._takes_finished)
        self._take(result, (label, key), trainer.loggers, datamodule)
        self._line = _in_one_line(label, result, is_kept=self._kept is not None)

    def take(self, entry: tuple[str, str], trainer: Trainer, datamodule: Any) -> None:
        """Count a result of a suite that another process has written to the run, and log it.

        Args:
            entry: its name and key.
            trainer: whose loggers they are.
            datamodule: that the model was tested on.
        """
        self._is_suite = True
        self._take(self.folder.read(*entry), entry, trainer.loggers, datamodule)

    def _take(self, result: ModelResult, entry: tuple[str, str], loggers: list[Any], datamodule: Any) -> None:
        self._add(*entry)
        if not self._is_suite or time.perf_counter() >= self._gather_next:
            self.gather(self._responses(datamodule), getattr(datamodule, "truth", None))
        if loggers:
            self._log(loggers, result, entry)

    def _card_of(
        self, recorder: DepthTrajectory, module: LightningModule, responses: Responses
    ) -> dict[str, Any]:
        if isinstance(module, FrozenModel):
            return card_of(module, responses, None, recorder.pooling, seconds=0.0)
        network, _, pooling = recorder.target(module)
        card = card_of(network, responses, self.model_name, pooling, seconds=0.0)
        return {**card, "weights_sha256": state_sha256(network)}

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Score states that were kept; print the model's line, now that the progress bar is gone."""
        self._show_batches_again(trainer)
        if self._kept is not None:
            seconds = time.perf_counter() - self._started
            recorder = self._recorder(trainer)
            # scored where a pass would have left them
            home = torch.device(recorder.device or trainer.strategy.root_device)
            recorder.trajectory = replace(self._kept, device=home)
            self._score(trainer, recorder.trajectory, seconds)
            self._kept = None
        if self._line:
            self._console.print(self._line)
            self._line = ""
            if not self._is_suite:
                self._name_others()
            if not self._has_said_where:
                # not wrapped, so that a path stays one that can be copied
                self._console.print(f"[dim]results in {escape(str(self.run_dir))}[/]", soft_wrap=True)
                self._has_said_where = True

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the Trainer as it was: Lightning does not call teardown when something raises."""
        self._show_batches_again(trainer)
        self._kept = None

    def _show_batches_again(self, trainer: Trainer) -> None:
        if self._limit is not None:
            trainer.limit_test_batches, self._limit = self._limit, None

    @property
    def has_results(self) -> bool:
        """Whether any model is finished."""
        return bool(self.finished)

    def last_words(self) -> str:
        """Say what a run that is ended before its time leaves, and how it goes on."""
        done = len(self.finished)
        return (
            f"Terminated with {done} model{'s' * (done != 1)} finished, random twins included: "
            f"{'they are kept' if done else 'nothing is kept yet'} in {self.run_dir}. Start it again, and it "
            "goes on from there."
        )

    def gather(self, responses: Responses, truth: pd.DataFrame | None = None) -> RunResults:
        """Join the models that are finished so far into the run's tables, and write these.

        Args:
            responses: the benchmark, for the ROI table and the hashes.
            truth: what was planted in simulated responses, one row per ROI with a column ``roi``.
        """
        started = time.perf_counter()
        rois = self.settings.rows(responses.rois)
        if truth is not None:
            rois = rois.merge(truth[[c for c in truth if c == "roi" or c not in rois]], on="roi", how="left")
        meta = {
            "name": self.name,
            "dataset": responses.dataset,
            "modality": responses.modality,
            "simulated": responses.simulated,
            "subjects": list(responses.subjects),
            "settings": asdict(self.settings),
            # of two runs no more than two can be held out, whatever was asked for
            "folds_made": int(Encoder(responses, self.settings).fold.max()) + 1,
            "responses_sha256": responses.fingerprint(),
            "hashes": responses.hashes,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {
                "python": platform.python_version(),
                **{name: installed_version(name) for name in _VERSIONS},
            },
        }
        self.results = self.folder.gather(self.finished, rois, meta)
        now = time.perf_counter()
        self._gather_next = now + _BETWEEN * (now - started)
        return self.results

    def finish(self, trainer: Trainer, responses: Responses, truth: pd.DataFrame | None = None) -> RunResults:
        """Gather the run's tables, found models included, and log them; see `gather`."""
        results = self.gather(responses, truth)
        self._name_others()
        self._log_members(wandb_loggers(trainer.loggers), self.finished)
        log_config(trainer.loggers, {**config_of(results.meta), "models": list(results.models["model"])})
        known = [(label, _known_by(label, key)) for label, key in self.finished]
        for logger in trainer.loggers:
            log_run([logger], results, model_links(logger, self.run_dir, known))
            logger.finalize("success")  # which the Trainer does after a test: here there may have been none
        for logger in wandb_loggers(trainer.loggers):
            if logger.experiment.offline:
                folder = Path(logger.save_dir or ".") / "wandb"
                self._console.print(
                    f"W&B ran offline. To upload: wandb sync {folder}/offline-run-*", markup=False
                )
        return results

    def _name_others(self) -> None:
        """Name the models that earlier runs have left in the folder, which the tables are without."""
        others = self.folder.others(label for label, _ in self.finished)
        if others:
            self._console.print(
                f"not in these tables, though finished in {self.run_dir}: {', '.join(others)}. Score them in "
                "one call with the others, which finds what is finished; or give each call a run_dir of its "
                "own, and join those with `nfas space` or NFAS.from_runs.",
                markup=False,
                soft_wrap=True,
            )

    def _log(self, loggers: list[pl.loggers.Logger], result: ModelResult, entry: tuple[str, str]) -> None:
        assert self.results is not None  # gathered after this model or an earlier one
        if not self._is_suite:
            log_model(loggers, result, self.results.meta)
            return
        for logger in loggers:
            if not isinstance(logger, kinds("WandbLogger")):
                # a CSV file takes the model's name as it takes a number
                row: dict[str, Any] = dict(scalars_of(result))
                if isinstance(logger, kinds("CSVLogger")):
                    row["nfas/model"] = entry[0]
                log_scalars([logger], row, step=len(self.finished))
        # a model waits for its random twin, which is scored after it
        ready = [done for done in self.finished if done != entry or result.card["twin_of"]]
        self._log_members(wandb_loggers(loggers), ready)

    def _log_members(self, loggers: list[Any], entries: list[tuple[str, str]]) -> None:
        """Give every finished model its W&B run, those included that were scored before W&B was asked for."""
        if not loggers or self.results is None:
            return
        meta = self.results.meta
        found = {entry: self.folder.read(*entry) for entry in entries}
        twins = {result.card["twin_of"]: result for result in found.values() if result.card["twin_of"]}
        for (label, key), result in found.items():
            if result.card["twin_of"]:
                continue
            config = config_of(meta, result.card)
            for logger in loggers:
                known = _known_by(label, key)
                with model_run(logger, name=label, key=known, folder=self.run_dir, config=config) as own:
                    if own is not None:
                        log_model([own], result, meta, twin=twins.get(label))


def _known_by(label: str, key: str) -> str:
    """What the W&B run of a result is known by in its folder."""
    return f"{label}/{key[:16]}"


def _looks_at_tests(callback: Any) -> bool:
    """Whether a callback, which is none of Lightning's own, looks at the batches of a test."""
    kind = type(callback)
    hooks = [
        f"on_test_{part}" for part in ("start", "epoch_start", "batch_start", "batch_end", "epoch_end", "end")
    ]
    own = any(getattr(kind, hook).__qualname__ != f"Callback.{hook}" for hook in hooks)
    return own and kind.__module__.partition(".")[0] not in ("pytorch_lightning", "lightning")


def _in_one_line(label: str, result: ModelResult, *, is_kept: bool) -> str:
    scalars, card = scalars_of(result), result.card
    baseline = scalars.get("nfas/best_baseline_r2")
    rows = result.scores[result.scores["feature"] != "nuisance"]
    others = [score for score in SCORES if score != rows["score"].iloc[0]]
    beside = ", ".join(
        f"{score} {scalars[key]:.3f}" for score in others if (key := f"nfas/mean_r_{score}") in scalars
    )
    kind = f"{rows['score'].iloc[0]} " if beside else ""
    return (
        f"[green]✓[/] {escape(label)}: mean {kind}r {scalars['nfas/mean_r']:.3f}"
        + (f" ({beside})" if beside else "")
        + f", r² {scalars['nfas/mean_r2']:.3f}"
        + (f" (best baseline {baseline:.3f})" if baseline is not None else "")
        + f", stable |λ| {scalars['nfas/stable_modulus']:.3f}, {card['n_blocks']} blocks, "
        + ("states of an earlier run" if is_kept else f"{card['seconds_capture']:.1f} s capture")
        + f", {card['seconds_scoring']:.1f} s scoring"
    )
