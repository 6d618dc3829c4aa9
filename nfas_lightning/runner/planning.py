"""What a run will take: every model is probed with a few stimuli before the first one runs."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.markup import escape
from rich.table import Table
from torch import nn

from nfas_lightning.datamodules import BrainDataModule
from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.models import FrozenModel, LoadedModel, ModelSuite
from nfas_lightning.models.random_twin import copied

__all__ = ["PROBE", "PlannedModel", "plan", "plan_table"]

PROBE = 4  # stimuli in the timed probe: enough to amortise one call, little beside a benchmark


@dataclass(frozen=True)
class PlannedModel:
    """What one model will take.

    Attributes:
        name: the model.
        parameters: number of parameters.
        n_blocks: recorded depths L.
        megabytes: float32 trajectory of all stimuli, in 1e6 bytes.
        seconds: forward passes over all stimuli, from a probe of a few.
        members: how many members of the suite have this architecture and are to be run: 2 with a random twin.
    """

    name: str
    parameters: int
    n_blocks: int
    megabytes: float
    seconds: float
    members: int = 1


def plan(
    suite: ModelSuite,
    datamodule: BrainDataModule,
    *,
    device: torch.device | str = "cpu",
    is_finished: Callable[[FrozenModel, str], bool] | None = None,
) -> list[PlannedModel]:
    """Probe models with a few stimuli: blocks, memory and time of the run that is about to start.

    The probe uses random weights, which cost the same as trained ones and need no download.

    Args:
        suite: the models.
        datamodule: after ``setup``.
        device: where the run's forward passes will be.
        is_finished: whether a member of the suite, which is not loaded yet, is left out; given the member and
            its name, in the order of `ModelSuite.members`. None: all are planned.
    """
    rows = []
    for spec in suite.specs:
        probed = _untouched(spec, suite)
        trained = probed.info.name.removesuffix("_random")
        waiting = 0
        for member in ModelSuite([spec], random_twins=suite.random_twins, seed=suite.seed).members():
            is_random = member.hparams["weights"] == "random"
            name = f"{trained}_random" if is_random else trained
            waiting += is_finished is None or not is_finished(member, name)
            del member  # the probe follows, which needs the memory
        if waiting:
            rows.append(replace(_probe(probed, datamodule, torch.device(device)), members=waiting))
        del probed
        _free(torch.device(device))
    return rows


def _untouched(spec: Mapping[str, Any], suite: ModelSuite) -> FrozenModel:
    """Return a model to probe: its random twin, or without twins a copy of a network that is at hand."""
    model = spec["model"]
    if not suite.random_twins and isinstance(model, nn.Module):
        return FrozenModel(**{**spec, "model": copied(model)})
    if not suite.random_twins and isinstance(model, LoadedModel):
        return FrozenModel(**{**spec, "model": replace(model, module=copied(model.module))})
    return FrozenModel(**{**spec, "weights": "random"})


def _probe(model: FrozenModel, datamodule: BrainDataModule, device: torch.device) -> PlannedModel:
    stimuli = datamodule.stimuli
    batch = stimuli.collate([stimuli[i] for i in range(min(PROBE, len(stimuli)))])
    module = model.load().module
    model.to(device)
    with torch.inference_mode():
        model(stimuli.collate([stimuli[0]]))  # the first pass pays for allocations that later ones do not
    with torch.inference_mode(), DepthRecorder(module, model.layers, pooling=model.pooling) as recorder:
        _synchronise(device)
        started = time.perf_counter()
        inputs = model.inputs(batch)
        recorder.mask = inputs.mask
        module(*inputs.args, **inputs.kwargs)
        _synchronise(device)
        seconds = time.perf_counter() - started
    return PlannedModel(
        name=model.info.name.removesuffix("_random"),
        parameters=sum(p.numel() for p in module.parameters()),
        n_blocks=len(recorder.layers),
        megabytes=4e-6 * sum(layer.width for layer in recorder.layers) * len(stimuli),
        seconds=seconds / len(batch["stimulus_id"]) * len(stimuli),
    )


def _synchronise(device: torch.device) -> None:
    """Wait for an accelerator, which works on after a call has returned."""
    if device.type in ("cuda", "xpu"):
        getattr(torch, device.type).synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _free(device: torch.device) -> None:
    gc.collect()  # a LightningModule refers to itself
    if device.type in ("cuda", "mps", "xpu"):
        getattr(torch, device.type).empty_cache()


def plan_table(rows: Iterable[PlannedModel], datamodule: BrainDataModule) -> Table:
    """Return the plan as a table for the terminal."""
    rows = list(rows)
    about = datamodule.describe()
    counts = ", ".join(f"{about[name]} {name}" for name in ("stimuli", "volumes", "rois", "subjects", "runs"))
    total = sum(row.seconds * row.members for row in rows)
    twins = any(row.members > 1 for row in rows)
    table = Table(
        title=f"{about['dataset']} ({about['modality']}): {counts}",
        caption=f"about {total:.0f} s of forward passes{', random-weights twins included' if twins else ''}",
    )
    for column in ("model", "parameters", "blocks", "trajectory", "time"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for row in rows:
        cells = (
            f"{row.parameters / 1e6:.1f} M",
            row.n_blocks,
            f"{row.megabytes:.0f} MB",
            f"{row.seconds:.0f} s",
        )
        table.add_row(escape(row.name), *(escape(str(cell)) for cell in cells))
    return table
