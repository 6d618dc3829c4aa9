"""The main job end to end: packaged pretrained models in a simulated brain space, and a report."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nfas_lightning.errors import InputError, before_running
from nfas_lightning.runner.workers import prepare
from nfas_lightning.terminal import doing, heartbeat, stdout_console

if TYPE_CHECKING:
    from nfas_lightning.lightning_packages import Logger
    from nfas_lightning.results import RunResults

__all__ = ["demo"]

# one model per family; `nfas models` lists the others
_MODELS = (
    *("mobilenet_v2", "efficientnet_lite0", "hed_vgg16", "xfeat", "mtcnn_onet"),
    *("whisper_base", "ge2e_voice_encoder", "silero_vad", "fcpe_conformer", "nsnet2"),
    *("minilm_l6", "paraphrase_minilm_l3", "multilingual_e5_small", "smollm2_135m"),
)
_STIMULI = 128
# small ones that everybody knows, a download of 110 MB; with fewer stimuli and draws, a minute on two cores
_QUICK, _QUICK_STIMULI, _QUICK_PERMUTATIONS = ("mobilenet_v2", "silero_vad", "minilm_l6"), 80, 100
_RECORDED = ("mobilenet_v2", "xfeat")
_RECORDING: dict[str, Any] = {"montage": "biosemi16", "sfreq": 50.0}  # 496 targets: a minute too
# sounds here last two seconds and photographs are crops: smaller inputs save most of the time
_OPTIONS = {"whisper_base": {"max_seconds": 2.5}, "hed_vgg16": {"size": 96}}


def demo(
    *,
    run_dir: str | None = None,
    quick: bool = False,
    recording: bool = False,
    models: list[str] | None = None,
    n_stimuli: int | None = None,
    n_permutations: int | None = None,
    signal: Literal["planted", "none"] = "planted",
    seed: int = 0,
    wandb: bool = False,
    no_cache: bool = False,
    processes: int | None = None,
) -> RunResults:
    """Place pretrained vision, audio and language models in the space of a simulated brain.

    The models and their weights are real, the stimuli real or generated, the responses planted: see
    `SimulatedFilmDataModule` and, with `recording`, `SimulatedRecordingDataModule`. A demo that was stopped
    continues where it was.

    Args:
        run_dir: folder of the runs and the report; None: ``runs/demo``, or ``runs/demo_recording``.
        quick: three small models, and fewer stimuli and draws: a minute on two cores.
        recording: two models on a simulated recording of sensors over time, as MEG and EEG make them: which
            block predicts which lag, when each does so best, and a null; a minute too. It needs MNE.
        models: names of packaged models; None: one of each family.
        n_stimuli: pictures, sounds and sentences, so many each; None: 128, of a quick demo or a recording 80.
        n_permutations: draws of each null; None: 500, of a quick demo or a recording 100. With too few no p
            is small enough for 300 ROIs.
        signal: ``"planted"``, or ``"none"`` for responses of pure noise.
        seed: seed of stimuli, responses and random weights.
        wandb: log to Weights & Biases where it is installed: offline, nothing is uploaded. It costs a minute.
        no_cache: neither take states that an earlier run has kept, nor keep them.
        processes: how many share the models; None: two to four, as there are cores, with an accelerator one.
    """
    started, console = time.perf_counter(), stdout_console()
    is_short = quick or recording
    if run_dir is None:
        run_dir = "runs/demo_recording" if recording else "runs/demo"
    if n_stimuli is None:
        n_stimuli = _QUICK_STIMULI if is_short else _STIMULI
    if n_permutations is None:
        n_permutations = _QUICK_PERMUTATIONS if is_short else 500
    names = models or list(_RECORDED if recording else _QUICK if quick else _MODELS)
    about = "a minute" if is_short else f"{len(names) / 3:.0f} minutes"
    shown = "pictures while sensors record" if recording else "pictures, sounds and sentences of a film"
    console.print(
        f"{len(names)} pretrained models and their random twins, shown {n_stimuli} {shown}. "
        "The models are real, the stimuli real or generated, the responses "
        f"[red]simulated[/]. About {about} on two idle cores, and the first time a download of weights."
    )
    if processes != 1:
        prepare()
    with heartbeat():
        with doing("loading PyTorch and Lightning"):
            # here: they take seconds to import, and a mistyped option should be answered at once
            from nfas_lightning.datamodules import (
                BrainDataModule,
                SimulatedFilmDataModule,
                SimulatedRecordingDataModule,
            )
            from nfas_lightning.models.sources import sources
            from nfas_lightning.runner import processes_here, quiet_lightning, score_models
            from nfas_lightning.scoring import ScoringSettings
        packaged = sources()["packaged"].entries()
        with before_running():
            if unknown := [name for name in names if name not in packaged]:
                raise InputError(
                    f"models must be packaged models, got {unknown}; there are {list(packaged)}."
                )
            planted: dict[str, Any] = {"n_stimuli": n_stimuli, "signal": signal, "seed": seed}
            brain: BrainDataModule
            if recording:
                brain = SimulatedRecordingDataModule(**_RECORDING, **planted)
            else:
                brain = SimulatedFilmDataModule(**planted)
            settings = ScoringSettings(n_permutations=n_permutations, seed=seed)
        quiet_lightning()
        results = score_models(
            [{"model": name, "options": _OPTIONS.get(name)} for name in names],
            brain,
            run_dir,
            name=Path(run_dir).name,
            settings=settings,
            seed=seed,
            loggers=_loggers(run_dir) if wandb else [],
            cache=not no_cache,
            processes=processes or processes_here(len(names)),
            enable_progress_bar=False,
        )
    console.print(f"{len(results.models)} models in {time.perf_counter() - started:.0f} s")
    return results


def _loggers(run_dir: str) -> list[Logger]:
    if find_spec("wandb") is None:
        return []
    from nfas_lightning.lightning_packages import pl

    Path(run_dir).mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"project": "nfas-lightning", "group": "demo", "job_type": "demo"}
    return [pl.loggers.WandbLogger(name="demo", save_dir=run_dir, offline=True, **options)]
