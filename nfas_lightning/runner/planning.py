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

from nfas_lightning.callbacks import DepthTrajectory
from nfas_lightning.datamodules import BrainDataModule
from nfas_lightning.datamodules.streams import stream_of
from nfas_lightning.errors import InputError, NotEnoughMemoryError
from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.hooks.capture import Capture
from nfas_lightning.hooks.state_checks import is_placed
from nfas_lightning.models import FrozenModel, LoadedModel, ModelSuite, ZooEntry
from nfas_lightning.models.placement import as_dtype
from nfas_lightning.models.random_twin import NoTwinError, copied
from nfas_lightning.models.reach import check_hub
from nfas_lightning.models.sources import sources, split_name
from nfas_lightning.runner.memory import LivePeak, Memory, check_room, network_bytes, scoring_bytes
from nfas_lightning.scoring import ScoringSettings
from nfas_lightning.terminal import doing

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
        memory: what the run takes beyond what the process holds already.
        seconds: least time of the forward passes over all stimuli, from a probe of a few; other work on the
            machine adds to it.
        members: how many members of the suite have this architecture and are to be run: 2 with a random twin.
    """

    name: str
    parameters: int
    n_blocks: int
    memory: Memory
    seconds: float
    members: int = 1


def plan(
    suite: ModelSuite,
    datamodule: BrainDataModule,
    *,
    device: torch.device | str = "cpu",
    settings: ScoringSettings | None = None,
    capture: DepthTrajectory | None = None,
    must_fit: bool = True,
    is_finished: Callable[[FrozenModel, str], bool] | None = None,
    on_missing: Callable[[str, Exception], None] | None = None,
) -> list[PlannedModel]:
    """Probe models with a few stimuli: blocks, memory and time of the run that is about to start.

    The probe uses random weights, which cost the same as trained ones and need no download; trained ones
    where there are no random ones, as of quantized networks.

    Args:
        suite: the models.
        datamodule: after ``setup``.
        device: where the run's forward passes will be.
        settings: of the scoring; None: the default.
        capture: what will record; None: a `DepthTrajectory` as it comes.
        must_fit: refuse what can't run in the memory that is free.
        is_finished: whether a member of the suite, which is not loaded yet, is left out; given the member and
            its name, in the order of `ModelSuite.members`. None: all are planned.
        on_missing: called with the name of a model that is passed over, since its files or library are out of
            reach or there is no room for it, and the error. None: the error is raised.

    Raises:
        OSError, ImportError: a model is out of reach.
        NotEnoughMemoryError: a model can't run in the memory that is free.
    """
    rows, where = [], torch.device(device)
    is_ours = gc.get_freeze_count() == 0
    if is_ours:  # what is there stays: after each model _free need not look through a million objects
        gc.collect()
        gc.freeze()
    try:
        for spec in suite.specs:
            try:
                with doing(f"looking at {suite.name_of(spec)}"):
                    if on_missing is not None:
                        _check_reach(spec)
                    row = _planned(spec, suite, datamodule, where, settings, capture, must_fit, is_finished)
            except (OSError, ImportError, NotEnoughMemoryError) as error:
                if on_missing is None:
                    raise
                on_missing(suite.name_of(spec), error)
                continue
            rows += [] if row is None else [row]
            _free(where)
    finally:
        if is_ours:
            gc.unfreeze()
    return rows


def _planned(
    spec: Mapping[str, Any],
    suite: ModelSuite,
    datamodule: BrainDataModule,
    device: torch.device,
    settings: ScoringSettings | None,
    capture: DepthTrajectory | None,
    must_fit: bool,
    is_finished: Callable[[FrozenModel, str], bool] | None,
) -> PlannedModel | None:
    """Return one model's row; None where all its members are finished."""
    if must_fit:
        check_room(suite.name_of(spec), Memory(_known_weights(spec), 0, 0, 0, device, device))
    trained = suite.name_of(spec).removesuffix("_random")
    waiting, is_held = 0, False
    for member in suite.members_of(spec):
        is_random = member.hparams["weights"] == "random"
        name = f"{trained}_random" if is_random else trained
        waiting += is_finished is None or not is_finished(member, name)
        is_held = is_held or member.module is not None
        del member
    if not waiting:
        return None
    if is_held:
        _free(device)  # the probe needs the memory
    probed = _untouched(spec, suite)
    try:
        probed.load()
    except NoTwinError:
        if suite.random_twins or spec.get("weights") == "random":
            raise
        probed = FrozenModel(**spec)
    data = stream_of(datamodule, probed)
    chosen = settings or ScoringSettings(), capture or DepthTrajectory()
    try:
        row = _probe(probed, spec, data, device, *chosen, must_fit)
    except InputError as error:  # such as a model of another modality
        raise InputError(f"{suite.name_of(spec)}: {error}") from error
    return replace(row, name=suite.name_of(spec), members=waiting)


def _check_reach(spec: Mapping[str, Any]) -> None:
    """Raise where a model of the zoo can't be had: its probe, which needs no weights, may take a minute."""
    if not isinstance(spec["model"], str) or spec.get("weights", "pretrained") != "pretrained":
        return
    source, name = split_name(spec["model"])
    elsewhere = spec.get("folder") or spec.get("revision")
    if source == "zoo" and not elsewhere and not sources()[source].is_local(name):
        check_hub()


def _known_weights(spec: Mapping[str, Any]) -> int:
    """Bytes of weights that nothing has to be built for; 0 where that is not known, or they are spread."""
    model: Any = spec["model"]
    if not isinstance(model, str | ZooEntry) or {"device_map", "quantization_config"} & set(spec):
        return 0
    if isinstance(model, str):
        name, model = split_name(model)[1], sources()[split_name(model)[0]]
        known = model.entries().get(name)
        n_parameters = known.parameters if known else model.n_parameters(name)
    else:
        n_parameters = model.parameters
    dtype = spec.get("dtype")
    # what "auto" is, only the checkpoint tells: half precision at least
    size = 2 if dtype == "auto" else as_dtype(dtype).itemsize
    return int(size * n_parameters)


def _untouched(spec: Mapping[str, Any], suite: ModelSuite) -> FrozenModel:
    """Return a model to probe: its random twin, or without twins a copy of a network that is at hand."""
    model = spec["model"]
    if not suite.random_twins and isinstance(model, nn.Module | LoadedModel):
        network: nn.Module = model.module if isinstance(model, LoadedModel) else model
        # a copy of what is placed or quantized may not run, and looking at it changes nothing
        copy = network if is_placed(network) else copied(network)
        whole = replace(model, module=copy) if isinstance(model, LoadedModel) else copy
        return FrozenModel(**{**spec, "model": whole})
    return FrozenModel(**{**spec, "weights": "random"})


def _probe(
    model: FrozenModel,
    spec: Mapping[str, Any],
    datamodule: BrainDataModule,
    device: torch.device,
    settings: ScoringSettings,
    capture: DepthTrajectory,
    must_fit: bool,
) -> PlannedModel:
    """Show one stimulus, by which memory is counted, and if there is room a few more, which are timed."""
    stimuli = datamodule.stimuli
    module, (network, layers, pooling) = model.load().module, capture.target(model)
    model.to(device)
    with torch.inference_mode(), DepthRecorder(network, layers, pooling=pooling) as recorder:
        shown = Capture(recorder, model.inputs, network=module)
        with LivePeak() as live:
            shown.states(stimuli.collate([stimuli[0]]))
        # of clips whose frames are kept, all of one length
        n_frames = 1 if capture.time_of(model) == "mean" else len(stimuli[0][1])
        widths, weights = [layer.width for layer in recorder.layers], network_bytes(module)
        is_drawn = model.hparams["weights"] == "random"
        at_hand = isinstance(spec["model"], nn.Module | LoadedModel)
        memory = Memory(
            weights=0 if at_hand and not is_drawn and device.type == "cpu" else weights,
            activations=live.peak * min(datamodule.batch_size, len(stimuli)),
            trajectory=as_dtype(capture.dtype).itemsize * len(stimuli) * n_frames * sum(widths),
            scoring=scoring_bytes(len(stimuli), widths, datamodule.responses, settings),
            device=device,
            home=torch.device(capture.device or device),
            # a twin's parameters are compared with what was there, one after the other
            building=weights + is_drawn * 2 * max((p.nbytes for p in module.parameters()), default=0),
        )
        name = model.info.name.removesuffix("_random")
        if must_fit:
            check_room(name, memory)
        batch = stimuli.collate([stimuli[i] for i in range(min(PROBE, len(stimuli)))])

        def run() -> None:
            shown.show(batch)
            _synchronize(device)

        _synchronize(device)
        seconds = least_seconds(run) / len(batch["stimulus_id"]) * len(stimuli)
    return PlannedModel(name, sum(p.numel() for p in module.parameters()), len(widths), memory, seconds)


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
    for column in ("model", "parameters", "blocks", "memory", "time"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for row in rows:
        cells = (
            f"{row.parameters / 1e6:.1f} M",
            row.n_blocks,
            str(row.memory),
            f"{row.seconds:.0f} s",
        )
        table.add_row(escape(row.name), *(escape(str(cell)) for cell in cells))
    return table
