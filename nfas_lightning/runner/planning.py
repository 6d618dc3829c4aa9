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
from nfas_lightning.datamodules.streams import stream_of
from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.hooks.capture import Capture
from nfas_lightning.models import FrozenModel, LoadedModel, ModelSuite
from nfas_lightning.models.random_twin import copied

__all__ = ["PROBE", "PlannedModel", "least_seconds", "plan", "plan_table", "span"]

_REPEATS, _ENOUGH = 3, 2.0  # of the probe, and seconds that it may take
_BUSY = 3  # how many times the least time a machine with other work was seen to take
PROBE = 4  # stimuli in the timed probe: enough to amortize one call, little beside a benchmark


@dataclass(frozen=True)
class PlannedModel:
    """What one model will take.

    Attributes:
        name: the model.
        parameters: number of parameters.
        n_blocks: recorded depths L.
        megabytes: float32 trajectory of all stimuli, in 1e6 bytes.
        seconds: least time of the forward passes over all stimuli, from a probe of a few; other work on the
            machine adds to it.
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
    on_missing: Callable[[str, Exception], None] | None = None,
) -> list[PlannedModel]:
    """Probe models with a few stimuli: blocks, memory and time of the run that is about to start.

    The probe uses random weights, which cost the same as trained ones and need no download.

    Args:
        suite: the models.
        datamodule: after ``setup``.
        device: where the run's forward passes will be.
        is_finished: whether a member of the suite, which is not loaded yet, is left out; given the member and
            its name, in the order of `ModelSuite.members`. None: all are planned.
        on_missing: called with the name of a model whose files or library are out of reach, which is then
            passed over, and the error. None: the error is raised.

    Raises:
        OSError, ImportError: a model is out of reach.
    """
    rows = []
    for spec in suite.specs:
        probed = _untouched(spec, suite)
        try:
            probed.load()
        except (OSError, ImportError) as error:
            if on_missing is None:
                raise
            on_missing(suite.name_of(spec), error)
            continue
        trained = probed.info.name.removesuffix("_random")
        waiting = 0
        for member in suite.members_of(spec):
            is_random = member.hparams["weights"] == "random"
            name = f"{trained}_random" if is_random else trained
            waiting += is_finished is None or not is_finished(member, name)
            del member  # the probe follows, which needs the memory
        if waiting:
            rows.append(
                replace(_probe(probed, stream_of(datamodule, probed), torch.device(device)), members=waiting)
            )
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
        capture = Capture(recorder, model.inputs)

        def run() -> None:
            capture.show(batch)
            _synchronize(device)

        _synchronize(device)
        seconds = least_seconds(run)
    return PlannedModel(
        name=model.info.name.removesuffix("_random"),
        parameters=sum(p.numel() for p in module.parameters()),
        n_blocks=len(recorder.layers),
        megabytes=4e-6 * sum(layer.width for layer in recorder.layers) * len(stimuli),
        seconds=seconds / len(batch["stimulus_id"]) * len(stimuli),
    )


def least_seconds(run: Callable[[], object]) -> float:
    """Return the least time of a few runs: what other processes add to it is no part of the work.

    Args:
        run: repeated at most three times, and not again once two seconds have passed.
    """
    taken: list[float] = []
    while len(taken) < _REPEATS and sum(taken) < _ENOUGH:
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return min(taken)


def span(seconds: float) -> str:
    """Return how long work may take whose least time was measured: busy machines take a few times as long.

    Example:
        >>> span(20), span(300), span(9000)
        ('20 to 60 s', '5 to 15 min', '2.5 to 7.5 h')
    """
    longest = _BUSY * seconds
    if longest < 120:
        return f"{seconds:.0f} to {longest:.0f} s"
    if longest < 7200:
        return f"{seconds / 60:.0f} to {longest / 60:.0f} min"
    return f"{seconds / 3600:.1f} to {longest / 3600:.1f} h"


def _synchronize(device: torch.device) -> None:
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
        caption=f"{span(total)} of forward passes{', random-weights twins included' if twins else ''}",
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
