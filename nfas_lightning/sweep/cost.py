"""What a cell will take, from a probe, and what it took."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from nfas_lightning.datamodules import BrainDataModule
from nfas_lightning.hooks.trajectory import LayerInfo, Trajectory
from nfas_lightning.models import ModelSuite
from nfas_lightning.results import COLUMNS
from nfas_lightning.runner.memory import resident_mb
from nfas_lightning.runner.planning import least_seconds, plan
from nfas_lightning.scoring import ScoringSettings, score_trajectory

__all__ = ["estimate", "seconds_scoring", "share_stimuli"]

_DRAWS = 20  # of the null in the timed probe
_PROBE_BLOCKS = 3


def estimate(suite: ModelSuite, datamodule: BrainDataModule, settings: ScoringSettings) -> dict[str, Any]:
    """Probe one model: blocks, memory, and seconds of its forward passes and of its scoring.

    Forward passes are timed on a few stimuli with random weights; scoring on three random blocks of the
    model's mean width against the real responses, with few draws of the null, and carried on from there.

    Args:
        suite: of one model.
        datamodule: after ``setup``.
        settings: of the scoring.

    Returns:
        What `Cell.estimate` holds: seconds are the least time, with the random twin where the suite has one.
    """
    gc.collect()
    before = resident_mb()
    (row,) = plan(suite, datamodule, settings=settings, must_fit=False)
    n_stimuli = len(datamodule.responses.stimulus_ids)
    width = max(1, round(row.memory.trajectory / (4 * n_stimuli * row.n_blocks)))
    scoring = seconds_scoring(n_stimuli, width, row.n_blocks, datamodule, settings)
    twins = 2 if suite.random_twins else 1
    return {
        "parameters": row.parameters,
        "n_blocks": row.n_blocks,
        "trajectory_mb": row.memory.trajectory * 1e-6,
        "memory_mb": before + row.memory.of_host * 1e-6,
        "seconds_forward": twins * row.seconds,
        "seconds_scoring": scoring,
    }


def seconds_scoring(
    n_stimuli: int, width: int, n_blocks: int, datamodule: BrainDataModule, settings: ScoringSettings
) -> float:
    """Return the least seconds of scoring one model, extrapolated from three random blocks and few draws.

    Args:
        n_stimuli: N.
        width: of a block.
        n_blocks: L.
        datamodule: after ``setup``.
        settings: of the scoring.
    """
    generator = torch.Generator().manual_seed(0)
    states = tuple(torch.randn(n_stimuli, width, generator=generator) for _ in range(_PROBE_BLOCKS))
    layers = tuple(
        LayerInfo(f"probe.{i}", i, "Probe", (width,), width, "torch.float32") for i in range(_PROBE_BLOCKS)
    )
    trajectory = Trajectory(states, layers, torch.arange(n_stimuli))
    card = dict.fromkeys(("name", *COLUMNS["models"]), "")

    def timed(n_permutations: int) -> float:
        chosen = replace(settings, n_permutations=n_permutations)
        return least_seconds(lambda: score_trajectory(trajectory, datamodule.responses, card, chosen))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a model that is none, and whose scores nobody will see
        return _extrapolated(timed, n_blocks, settings)


def _extrapolated(timed: Callable[[int], float], n_blocks: int, settings: ScoringSettings) -> float:
    """Seconds of the whole scoring, from fits of a few blocks and a few draws of the null."""
    plain = timed(0)  # the least of several: the first one pays for allocations
    draws = min(_DRAWS, settings.n_permutations)
    null = max(0.0, timed(draws) - plain) / draws * settings.n_permutations if draws else 0.0
    # the stable mode, the mean and all blocks together are fitted beside the single blocks
    fits = (n_blocks + 3) / (_PROBE_BLOCKS + 3) if settings.baselines else 1.0
    return plain * fits + null


def share_stimuli(datamodule: BrainDataModule, limit_gb: float) -> str:
    """Keep a benchmark's stimuli in memory for the models of a job, where they fit.

    Args:
        datamodule: after ``setup``.
        limit_gb: gigabytes that stimuli may take; 0: never.

    Returns:
        What was decided, as a sentence for the log.
    """
    stimuli = datamodule.stimuli
    if isinstance(stimuli.items, torch.Tensor | list | tuple):
        return "Stimuli are in memory already."
    n, probe = len(stimuli), min(4, len(stimuli))
    items = [stimuli[i][1] for i in range(probe)]
    size = sum(item.nbytes if isinstance(item, torch.Tensor) else 1000 for item in items) / probe * n
    measured = f"Stimuli take about {size / 1e9:.2f} GB"
    if size > limit_gb * 1e9:
        return f"{measured}, more than share_gb = {limit_gb:g}: read anew for each model."
    if datamodule.num_workers:
        return f"{measured}; {datamodule.num_workers} workers of the loader can't share them: read anew."
    stimuli.items = _InMemory(stimuli.items)
    return f"{measured}: kept in memory for the models of this job."


class _InMemory(list[Any]):
    """What a dataset holds, read once; it hashes as the dataset does, or results would have other keys."""

    def __init__(self, items: Any) -> None:
        super().__init__(items[i] for i in range(len(items)))
        self.source = items

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "source":  # of a copy that is not filled yet
            raise AttributeError(name)
        return getattr(self.source, name)
