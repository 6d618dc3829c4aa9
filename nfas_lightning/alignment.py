"""Align a network with a brain benchmark in one call: the forward passes, the dynamics, the scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from time import perf_counter
from typing import Any, NamedTuple

import torch
from rich.progress import track
from torch import nn
from torch.utils.data import DataLoader

from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.data.stimuli.timing import check_moment, check_own_tokens
from nfas_lightning.functional.checks import check_count
from nfas_lightning.hooks.attached import take_off
from nfas_lightning.hooks.capture import Capture
from nfas_lightning.hooks.recorder import DepthRecorder
from nfas_lightning.hooks.selection import Layers, find_network, has_forward
from nfas_lightning.hooks.sharding import as_written, is_sharded, unwrapped
from nfas_lightning.hooks.trajectory import Trajectory
from nfas_lightning.hooks.undisturbed import (
    kept_random_states,
    plain_network,
    undisturbed,
    without_autocast,
)
from nfas_lightning.models.found import choose_preprocess
from nfas_lightning.models.frozen import FrozenModel
from nfas_lightning.models.loaded import LoadedModel, ModelInputs, Preprocess, as_inputs, move_inputs
from nfas_lightning.models.suite import RandomTwin
from nfas_lightning.results import CaptureCache, ModelResult, NoKeyError, capture_key, stimuli_key
from nfas_lightning.scoring import ScoringSettings, score_trajectory

__all__ = ["Captured", "align", "captured", "card_of", "preprocess_for", "record_trajectory"]


def align(
    model: str | nn.Module | LoadedModel,
    datamodule: Any,
    *,
    layers: Layers | None = None,
    pooling: str | None = None,
    time: str | None = None,
    preprocess: Preprocess | None = None,
    settings: ScoringSettings | None = None,
    name: str | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    memory_budget: int | None = None,
    cache: bool | str | CaptureCache | None = None,
    progress: bool = True,
) -> ModelResult:
    """Run a network over a benchmark's stimuli, frozen, and score it: for loops that are not Lightning's.

    The network's weights, modes, buffers, gradients and whatever else it holds, and the random states, are
    left as they were (see `undisturbed`), so this may be called between two training steps. Every process of
    a distributed run would do the whole work: use `BrainAlignment` there.

    Args:
        model: any module, or a name or `LoadedModel` as `FrozenModel` takes them. Of a LightningModule
            without a forward pass of its own, the network inside, see `find_network`.
        datamodule: a `BrainDataModule`: `setup` is called.
        layers: blocks to record, see `resolve_layers`; None: a `FrozenModel`'s own, else ``"auto"``.
        pooling: see `pool`; None: a `FrozenModel`'s own, else ``"auto"``.
        time: of clips that are read frame by frame, ``"mean"``, ``"keep"`` or ``"dmd"``, see `DepthRecorder`;
            None: a `FrozenModel`'s own, else ``"mean"``.
        preprocess: raw batch to the network's inputs; None: a `FrozenModel`'s own, else see
            `choose_preprocess`.
        settings: how a trajectory becomes scores; None: the defaults, without permutations.
        name: of the model in the tables; None: its class or name.
        batch_size: stimuli per batch; None: the datamodule's.
        device: the network is moved there first; None: it stays where it is. States are scored there too.
        memory_budget: bytes of states that may stay on the device, see `DepthRecorder`.
        cache: where states are kept, which other settings and responses then take from there without a
            forward pass, see `CaptureCache`: a folder, True for the usual one, or False. None: True, unless
            the network is in training mode and about to change.
        progress: show a bar.

    Returns:
        Tables of scores, spectrum and depth, and the card.

    Example:
        >>> from nfas_lightning.datamodules import ArrayDataModule
        >>> from nfas_lightning.models import RawStimuli
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Tanh(), nn.Linear(8, 8))
        >>> brain = ArrayDataModule(torch.rand(40, 3, 4, 4), torch.randn(40, 2), rois=["V1", "V4"])
        >>> result = align(net, brain, preprocess=RawStimuli(), progress=False)
        >>> sorted(result.scores["feature"].unique())
        ['all_blocks', 'best_block', 'last_block', 'mean_depth', 'stable_mode']
    """
    with kept_random_states():  # the benchmark's own draws must not shift a training's
        datamodule.prepare_data()
        datamodule.setup()
        settings = ScoringSettings.given(settings, n_permutations=0)
        settings.check(datamodule.responses)
        found = captured(
            model,
            datamodule,
            layers=layers,
            pooling=pooling,
            time=time,
            preprocess=preprocess,
            name=name,
            batch_size=batch_size,
            device=device,
            memory_budget=memory_budget,
            cache=cache,
            progress=progress,
        )
        with without_autocast():
            return score_trajectory(
                found.trajectory, datamodule.responses, found.card, settings, device=found.device
            )


class Captured(NamedTuple):
    """States of a network over a benchmark's stimuli.

    Attributes:
        trajectory: from a forward pass, or where they were kept.
        card: the row of the models table, see `card_of`.
        device: where the states arose; None for a network without parameters.
    """

    trajectory: Trajectory
    card: dict[str, Any]
    device: torch.device | str | None


def captured(
    model: str | nn.Module | LoadedModel,
    datamodule: Any,
    *,
    layers: Layers | None = None,
    pooling: str | None = None,
    time: str | None = None,
    preprocess: Preprocess | None = None,
    name: str | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    memory_budget: int | None = None,
    cache: bool | str | CaptureCache | None = None,
    progress: bool = True,
) -> Captured:
    """Return the states of a network over the stimuli of a benchmark that is set up, see `align`."""
    if batch_size is not None:
        check_count("batch_size", batch_size, 1)
    if not isinstance(model, nn.Module):
        model = FrozenModel(model)
    if not has_forward(model):
        model = find_network(model, to_run=True)
    if (time or (model.time if isinstance(model, FrozenModel) else "mean")) == "keep":
        datamodule.responses.check_clock()
    started = perf_counter()
    is_fixed = isinstance(model, FrozenModel) or not model.training
    store = CaptureCache.given(is_fixed if cache is None else cache)
    # a shard of the weights is no key: one process would read while the others wait for it
    is_keyed = bool(store.max_gb) and not is_sharded(model)
    key = _capture_key(model, datamodule, layers, pooling, time, preprocess) if is_keyed else None
    kept = None if key is None else store.read(key)
    trajectory = kept
    if trajectory is None:
        trajectory = record_trajectory(
            model if device is None else model.to(device),
            datamodule.stimuli,
            layers=layers,
            pooling=pooling,
            time=time,
            preprocess=preprocess,
            batch_size=batch_size or datamodule.batch_size,
            num_workers=datamodule.num_workers,
            memory_budget=memory_budget,
            progress=progress,
        )
        assert trajectory is not None  # it is without stimuli alone, which StimulusSet refuses
    seconds = perf_counter() - started
    with as_written(model):
        card = card_of(unwrapped(model), datamodule.responses, name, pooling, seconds=seconds)
    if key is not None and kept is None:
        store.write(key, trajectory, {"model": card["name"], "dataset": datamodule.responses.dataset})
    return Captured(trajectory, card, device or _device_of(model))


def _device_of(network: nn.Module) -> torch.device | None:
    """Return where a network's last parameters are, which is where its states arise; None without any."""
    return next((parameter.device for parameter in reversed([*network.parameters()])), None)


def _capture_key(
    model: nn.Module,
    datamodule: Any,
    layers: Layers | None,
    pooling: str | None,
    time: str | None,
    preprocess: Preprocess | None,
) -> str | None:
    """Return the `capture_key` of a pass, which is that of `DepthTrajectory`; None where there is none."""
    frozen = model if isinstance(model, FrozenModel) else None
    network = model if frozen is None else frozen.load().module
    devices = {parameter.device.type for parameter in network.parameters()} or {"cpu"}
    casts = [str(torch.get_autocast_dtype(kind)) for kind in devices if torch.is_autocast_enabled(kind)]
    with suppress(NoKeyError):
        return capture_key(
            network,
            # of other networks, what they and the stimuli decide: see `choose_preprocess`
            preprocess=preprocess or ("chosen" if frozen is None else frozen.load().preprocess),
            stimuli=stimuli_key(datamodule),
            recorder={
                "layers": layers or ("auto" if frozen is None else frozen.layers),
                "pooling": pooling or ("auto" if frozen is None else frozen.pooling),
                "submodule": None,
                "dtype": "float64"
                if any(p.dtype is torch.float64 for p in network.parameters())
                else "float32",
                "repeats": "error",
                "layout": "auto",
                "time": time or ("mean" if frozen is None else frozen.time),
            },
            precision=", ".join(casts) or "32-true",
        )
    return None


def record_trajectory(
    network: nn.Module,
    stimuli: StimulusSet,
    *,
    layers: Layers | None = None,
    pooling: str | None = None,
    time: str | None = None,
    preprocess: Preprocess | None = None,
    batch_size: int = 16,
    num_workers: int = 0,
    share: tuple[int, int] = (0, 1),
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    limit: int | None = None,
    memory_budget: int | None = None,
    progress: bool = False,
    owner: nn.Module | None = None,
) -> Trajectory | None:
    """Run a network over stimuli, frozen and undisturbed, and return its depth trajectory; see `align`.

    A batch that does not fit into an accelerator's memory is halved until it does, with a warning. Where a
    stimulus's states depend on what else is in its batch, stimuli are shown one by one, see `Capture`.

    Args:
        network: any module; its own modes and random states are left as they were.
        stimuli: what it is shown.
        layers: see `align`.
        pooling: see `align`.
        time: see `align`.
        preprocess: see `align`.
        batch_size: stimuli per batch.
        num_workers: worker processes that read stimuli.
        share: (rank, world): this process takes every world-th stimulus, from the rank-th on; None if none.
        context: made around each forward pass, e.g. an autocast.
        limit: stop after so many stimuli.
        memory_budget: see `align`.
        progress: show a bar.
        owner: what holds the network and stays as it was, too, see `undisturbed`.
    """
    rank, world = share
    top = owner or network
    indices = list(range(len(stimuli)))[:limit][rank::world]
    if not indices and is_sharded(top):
        indices = [0]  # a process with nothing of its own to show has parameters that the others need
    if not indices:
        return None
    if preprocess is None and not isinstance(network, FrozenModel):
        preprocess = preprocess_for(network, stimuli, context=context, owner=owner)
    frozen = network if isinstance(network, FrozenModel) else None
    module = network if frozen is None else frozen.load().module
    layers = layers or ("auto" if frozen is None else frozen.layers)
    pooling = pooling or ("auto" if frozen is None else frozen.pooling)
    time = time or ("mean" if frozen is None else frozen.time)
    check_moment(stimuli, pooling)

    def inputs(batch: Mapping[str, Any]) -> ModelInputs:
        if preprocess is None:
            assert frozen is not None  # of others it was chosen
            return frozen.inputs(batch)
        given = as_inputs(preprocess(batch))
        check_own_tokens(batch, given.mask)
        return move_inputs(given, module)

    loader: DataLoader[Any] = DataLoader(
        stimuli, batch_size, sampler=indices, num_workers=num_workers, collate_fn=list
    )
    with undisturbed(module, top) as plain:
        take_off(plain)
        with as_written(top):
            recorder = DepthRecorder(plain, layers, pooling=pooling, time=time, memory_budget=memory_budget)
        capture = Capture(recorder, inputs, context=context)
        with recorder:
            if world > 1:
                capture.begin(stimuli.collate([stimuli[i]]) for i in range(min(2, len(stimuli))))
            capture.run(track(loader, "stimuli", transient=True) if progress else loader, stimuli.collate)
        return recorder.take()


def preprocess_for(
    network: nn.Module,
    stimuli: StimulusSet,
    *,
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    owner: nn.Module | None = None,
) -> Preprocess:
    """Return how a network wants to be shown a benchmark's stimuli, see `choose_preprocess`."""
    few = stimuli.collate([stimuli[i] for i in range(min(2, len(stimuli)))])
    return choose_preprocess(plain_network(network), few, context=context, owner=owner)


def card_of(
    model: nn.Module, responses: Responses, name: str | None, pooling: str | None, *, seconds: float
) -> dict[str, Any]:
    """Return the row of the models table that `score_trajectory` wants."""
    twin_of = model.twin_of if isinstance(model, RandomTwin) else ""
    common = {"twin_of": twin_of, "seconds_capture": seconds}
    if isinstance(model, FrozenModel):
        info = dict(vars(model.info))
        return {
            **info,
            **common,
            "name": name or info["name"],
            "modality": info["modality"] or responses.modality,
            "weights": _weights(info["source"]),
            "pooling": pooling or model.pooling,
        }
    kind = type(model).__name__
    return {
        **common,
        "name": name or kind.lower(),
        "modality": responses.modality,
        "family": kind.lower(),
        "source": "module",
        "license": "",
        "parameters": sum(p.numel() for p in model.parameters()),
        "weights_sha256": "",
        "note": "",
        "weights": "as given",
        "pooling": pooling or "auto",
    }


def _weights(source: str) -> str:
    """What a network's weights are: nobody knows whether one that was handed over was trained."""
    if source.startswith("random"):
        return "random"
    return "as given" if source == "module" else "pretrained"
