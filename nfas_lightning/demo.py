"""The main job end to end: packaged pretrained models in a simulated brain space, and a report."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from nfas_lightning.errors import InputError

if TYPE_CHECKING:
    from nfas_lightning.lightning_packages import Logger
    from nfas_lightning.results import RunResults

__all__ = ["demo"]

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
    n_stimuli: int = 160,
    n_permutations: int = 500,
    signal: Literal["planted", "none"] = "planted",
    seed: int = 0,
    wandb: bool = True,
    no_cache: bool = False,
) -> RunResults:
    """Place pretrained vision, audio and language models in the space of a simulated brain.

    The models and their weights are real, the stimuli real or generated, the responses planted: see
    `SimulatedFilmDataModule`. A demo that was stopped continues where it was.

    Args:
        run_dir: folder of the runs and the report.
        models: names of packaged models; None: one of each family.
        n_stimuli: pictures, sounds and sentences, so many each.
        n_permutations: draws of each null; with too few no p is small enough for 300 ROIs.
        signal: ``"planted"``, or ``"none"`` for responses of pure noise.
        seed: seed of stimuli, responses and random weights.
        wandb: log to Weights & Biases where it is installed, offline unless you are logged in.
        no_cache: neither take states that an earlier run has kept, nor keep them.
    """
    # here: Lightning takes seconds to import, and a mistyped option should be answered at once
    from nfas_lightning.datamodules import SimulatedFilmDataModule
    from nfas_lightning.models.sources import sources
    from nfas_lightning.runner import quiet_lightning, score_models
    from nfas_lightning.scoring import ScoringSettings

    started = time.perf_counter()
    console = Console()
    packaged = sources()["packaged"].entries()
    names = list(_MODELS) if models is None else models
    unknown = [name for name in names if name not in packaged]
    if unknown:
        raise InputError(f"models must be packaged models, got {unknown}; there are {list(packaged)}.")
    quiet_lightning()
    loggers = _loggers(run_dir) if wandb else []
    settings = ScoringSettings(n_permutations=n_permutations, seed=seed)
    members = [{"model": name, "options": _OPTIONS.get(name)} for name in names]
    film = SimulatedFilmDataModule(n_stimuli=n_stimuli, signal=signal, seed=seed)
    console.rule("real models, real or generated stimuli, [red]simulated[/] responses")
    results = score_models(
        members,
        film,
        run_dir,
        name=Path(run_dir).name,
        settings=settings,
        seed=seed,
        loggers=loggers,
        cache=not no_cache,
    )
    console.print(f"{len(results.models)} models in {time.perf_counter() - started:.0f} s")
    return results


def _loggers(run_dir: str) -> list[Logger]:
    if find_spec("wandb") is None:
        return []
    from nfas_lightning.callbacks.wandb_runs import wandb_offline_without_key
    from nfas_lightning.lightning_packages import pl

    wandb_offline_without_key()
    Path(run_dir).mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"project": "nfas-lightning", "group": "demo", "job_type": "demo"}
    return [pl.loggers.WandbLogger(name="demo", save_dir=run_dir, **options)]
