"""What a cell will take, from a probe, and what it took."""

from __future__ import annotations

import contextlib
import gc
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nfas_lightning.datamodules import BrainDataModule
from nfas_lightning.hooks.trajectory import LayerInfo, Trajectory
from nfas_lightning.models import ModelSuite
from nfas_lightning.results import COLUMNS
from nfas_lightning.runner.planning import PROBE, least_seconds, plan
from nfas_lightning.scoring import ScoringSettings, score_trajectory

__all__ = ["available_mb", "estimate", "peak_mb", "reset_peak", "resident_mb", "share_stimuli"]

_DRAWS = 20  # of the null in the timed probe
_PROBE_BLOCKS = 3
_COPIES = 3  # of a trajectory: as recorded, in one state space, and all blocks side by side


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
    before, probed = resident_mb(), reset_peak()
    (row,) = plan(suite, datamodule)
    weights = 4e-6 * row.parameters
    batch = min(datamodule.batch_size, len(datamodule.stimuli))
    # what the probe's few stimuli took on their way through the network, for a whole batch
    passing = max(0.0, probed() - before - weights) * batch / min(PROBE, batch)
    n_stimuli = len(datamodule.responses.stimulus_ids)
    width = max(1, round(row.megabytes / (4e-6 * n_stimuli * row.n_blocks)))
    scoring = _seconds_scoring(n_stimuli, width, row.n_blocks, datamodule, settings)
    twins = 2 if suite.random_twins else 1
    return {
        "parameters": row.parameters,
        "n_blocks": row.n_blocks,
        "trajectory_mb": row.megabytes,
        "memory_mb": before + weights + max(passing, _COPIES * row.megabytes),
        "seconds_forward": twins * row.seconds,
        "seconds_scoring": scoring,
    }


def _seconds_scoring(
    n_stimuli: int, width: int, n_blocks: int, datamodule: BrainDataModule, settings: ScoringSettings
) -> float:
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


def reset_peak() -> Callable[[], float]:
    """Forget the highest memory so far where the system can; return a function that reads it in MB."""
    # elsewhere the peak stays that of the process: right for the first model of a job
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak of this process starts anew
    return peak_mb


def peak_mb() -> float:
    """Highest resident memory in 1e6 bytes, since `reset_peak` where the system can tell."""
    found = _kilobytes("/proc/self/status", "VmHWM")
    if found is not None:
        return found
    import resource  # not on every system, and not needed where /proc is

    unit = 1e-6 if sys.platform == "darwin" else 1024e-6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_mb() -> float:
    """Resident memory now, in 1e6 bytes; the peak where the system tells no more."""
    found = _kilobytes("/proc/self/status", "VmRSS")
    return peak_mb() if found is None else found


def available_mb() -> float:
    """Memory of the machine that is free to take, in 1e6 bytes; infinite where the system does not say."""
    return _kilobytes("/proc/meminfo", "MemAvailable") or float("inf")


def _kilobytes(path: str, name: str) -> float | None:
    """Return what a line of a file of the kernel holds, in 1e6 bytes."""
    with contextlib.suppress(OSError):
        for line in Path(path).read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024e-6
    return None
