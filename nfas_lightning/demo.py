"""The main job end to end: packaged pretrained models in a simulated brain space, and a report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from nfas_lightning.errors import InputError

if TYPE_CHECKING:
    from nfas_lightning.data.stimuli.stimulus_set import Modality
    from nfas_lightning.lightning_packages import Logger
    from nfas_lightning.results import RunResults

__all__ = ["demo", "score_modality"]

# one model per family; `nfas models` lists the others
_MODELS = (
    *("mobilenet_v2", "efficientnet_lite0", "hed_vgg16", "xfeat", "mtcnn_onet"),
    *("whisper_base", "crepe_tiny", "ge2e_voice_encoder", "silero_vad", "fcpe_conformer", "nsnet2"),
    *("minilm_l6", "paraphrase_minilm_l3", "multilingual_e5_small", "smollm2_135m"),
)
# sounds here last two seconds and photographs are crops: smaller inputs save most of the time
_OPTIONS = {"whisper_base": {"max_seconds": 5.0}, "hed_vgg16": {"size": 128}}


def demo(
    *,
    run_dir: str = "runs/demo",
    models: list[str] | None = None,
    n_stimuli: int = 200,
    n_permutations: int = 500,
    signal: Literal["planted", "none"] = "planted",
    seed: int = 0,
    wandb: bool = True,
    no_cache: bool = False,
    processes: int = 0,
) -> RunResults:
    """Place pretrained vision, audio and language models in the space of a simulated brain.

    The models and their weights are real, the stimuli real or generated, the responses planted: see
    `SimulatedBrainDataModule`. A demo that was stopped continues where it was.

    Args:
        run_dir: folder of the runs and the report.
        models: names of packaged models; None: one of each family.
        n_stimuli: stimuli per modality.
        n_permutations: draws of each null; with too few no p is small enough for 300 ROIs.
        signal: ``"planted"``, or ``"none"`` for responses of pure noise.
        seed: seed of stimuli, responses and random weights.
        wandb: log to Weights & Biases where it is installed, offline unless you are logged in.
        no_cache: neither take states that an earlier run has kept, nor keep them.
        processes: that score at once at most, one modality each; 0: one per core, or one where there is a
            GPU.
    """
    # here: Lightning takes seconds to import, and a mistyped option should be answered at once
    from nfas_lightning.data.stimuli.stimulus_set import MODALITIES
    from nfas_lightning.models.sources import sources
    from nfas_lightning.results import RunResults
    from nfas_lightning.runner import FailedModelsError, quiet_lightning, report_run

    started = time.perf_counter()
    console = Console()
    packaged = sources()["packaged"].entries()
    names = list(_MODELS) if models is None else models
    unknown = [name for name in names if name not in packaged]
    if unknown:
        raise InputError(f"models must be packaged models, got {unknown}; there are {list(packaged)}.")
    if processes < 0:
        raise InputError(f"processes must be 0 or more, got {processes}.")
    quiet_lightning()
    loggers = _loggers(run_dir, "demo") if wandb else []
    by_modality = {m: [name for name in names if packaged[name].modality == m] for m in MODALITIES}
    jobs: list[dict[str, Any]] = [
        {
            "modality": modality,
            "models": members,
            "run_dir": f"{run_dir}/{modality}",
            "stimuli": {"n_stimuli": n_stimuli, "signal": signal, "seed": seed},
            "settings": {"n_permutations": n_permutations, "seed": seed},
            "cache": not no_cache,
        }
        for modality, members in by_modality.items()
        if members
    ]
    console.rule("real models, real or generated stimuli, [red]simulated[/] responses")
    scored = _score_apart(jobs, processes or _n_cores(), wandb=run_dir if wandb else None)
    runs: list[RunResults] = []
    failed: list[FailedModelsError] = []
    for job in jobs:
        try:  # where a process has failed, this one goes on with what it left, and says why
            done = job["modality"] in scored
            runs.append(RunResults.load(job["run_dir"]) if done else score_modality(**job, loggers=loggers))
        except FailedModelsError as error:  # raised again after the report of the others
            failed.append(error)
            if error.results is not None:
                runs.append(error.results)
    if failed and not runs:
        raise failed[0]
    joined = RunResults.concatenate(runs, meta={"name": Path(run_dir).name, "simulated": True})
    joined.save(run_dir)
    console.rule("[bold]the space[/]")
    report_run(joined, run_dir, loggers)
    console.print(f"{len(joined.models)} models in {time.perf_counter() - started:.0f} s")
    if failed:
        raise failed[0]
    return joined


def score_modality(
    modality: Modality,
    models: list[str],
    run_dir: str,
    *,
    stimuli: dict[str, Any],
    settings: dict[str, Any],
    cache: bool,
    loggers: Iterable[Logger] = (),
    **trainer: Any,
) -> RunResults:
    """Score the models of one modality on a simulated brain of the same.

    Args:
        modality: of models and stimuli.
        models: names of packaged models.
        run_dir: folder of the tables.
        stimuli: arguments of `SimulatedBrainDataModule`.
        settings: arguments of `ScoringSettings`.
        cache: keep states and take those that are kept.
        loggers: Lightning's.
        trainer: arguments of the Trainer.

    Raises:
        FailedModelsError: see `score_models`.
    """
    from nfas_lightning.datamodules import SimulatedBrainDataModule
    from nfas_lightning.runner import score_models
    from nfas_lightning.scoring import ScoringSettings

    return score_models(
        [{"model": name, "options": _OPTIONS.get(name)} for name in models],
        SimulatedBrainDataModule(modality, **stimuli),
        run_dir,
        name=f"demo/{modality}",
        settings=ScoringSettings(**settings),
        seed=settings["seed"],
        cache=cache,
        loggers=loggers,
        report=False,
        **trainer,
    )


def _score_apart(jobs: list[dict[str, Any]], n_processes: int, *, wandb: str | None) -> set[str]:
    """Score modalities beside each other, each in a process of its own.

    One process uses two cores badly: most of its work is too small to be shared between threads.

    Args:
        jobs: arguments of `score_modality`.
        n_processes: at once; with one nothing is done.
        wandb: folder of the Weights & Biases runs; None: none.

    Returns:
        The modalities of which all models were scored.
    """
    n_processes = min(n_processes, len(jobs))
    if n_processes < 2:
        return set()
    # what is slow first, so that no core is idle at the end
    waiting = sorted(jobs, key=lambda job: -len(job["models"]))
    threads = str(max(1, _n_cores() // n_processes))
    environment = {"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    running: dict[str, subprocess.Popen[bytes]] = {}
    scored: set[str] = set()
    try:
        while waiting or running:
            while waiting and len(running) < n_processes:
                job = waiting.pop(0)
                command = [sys.executable, "-m", __name__, json.dumps({"job": job, "wandb": wandb})]
                running[job["modality"]] = subprocess.Popen(command, env=environment)
            time.sleep(0.2)
            ended = {modality: process.poll() for modality, process in running.items()}
            scored |= {modality for modality, code in ended.items() if code == 0}
            running = {m: process for m, process in running.items() if ended[m] is None}
    finally:
        for process in running.values():
            process.terminate()
    return scored


def _n_cores() -> int:
    """Cores that this process may use; 1 where there is a GPU, which processes would share."""
    import torch

    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return 1 if has_gpu else cores or 1


def _main(text: str) -> int:
    """Run one of the processes of `_score_apart`; return its exit code."""
    from nfas_lightning.runner import FailedModelsError

    given = json.loads(text)
    job, wandb = given["job"], given["wandb"]
    loggers = _loggers(wandb, f"demo/{job['modality']}") if wandb else []
    try:
        score_modality(**job, loggers=loggers, enable_progress_bar=False)
    except FailedModelsError:  # said already; the first process tries again, and ends with it
        return 1
    return 0


def _loggers(run_dir: str, name: str) -> list[Logger]:
    if find_spec("wandb") is None:
        return []
    from nfas_lightning.callbacks.wandb_runs import wandb_offline_without_key
    from nfas_lightning.lightning_packages import pl

    wandb_offline_without_key()
    Path(run_dir).mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"project": "nfas-lightning", "group": "demo", "job_type": "demo"}
    return [pl.loggers.WandbLogger(name=name, save_dir=run_dir, **options)]


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
