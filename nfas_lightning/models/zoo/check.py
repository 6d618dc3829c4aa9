"""Check an entry without its weights: shapes at full size, values in a small network of the same blocks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from nfas_lightning.hooks.capture import Capture, one_stimulus
from nfas_lightning.hooks.recorder import DepthRecorder
from nfas_lightning.models.frozen import FrozenModel
from nfas_lightning.models.loaded import LoadedModel, ModelInfo, Preprocess
from nfas_lightning.models.random_twin import random_twin, seeded
from nfas_lightning.models.zoo.architecture import build_network, build_preprocess, check_network, merged
from nfas_lightning.models.zoo.entry import ZooEntry
from nfas_lightning.models.zoo.registry import load_zoo
from nfas_lightning.models.zoo.stand_ins import stand_in_batch, stand_in_tokenizer

__all__ = ["CheckResult", "check_entry", "check_values"]

_N = 8
_TOLERANCE = 1e-4
"""Largest difference between a batch and its rows alone, as a share of the block's largest value: float32
sums in another order stay a hundred times below it, one padded token in a mean is far above it."""
# what libraries raise when an entry does not fit them; each becomes the entry's problem in the table
_FAILURES = (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError, RuntimeError,
             TypeError, ValueError)  # fmt: skip


@dataclass(frozen=True)
class CheckResult:
    """What the check of one entry found.

    Attributes:
        name: of the entry.
        modality: of the entry.
        parameters: found at full size.
        blocks: found at full size.
        widths: found at full size, one per block.
        weights: ``"random"``, or where the loaded weights came from.
        seconds: that the check took.
        problem: why it failed; empty where it passed.
    """

    name: str
    modality: str
    parameters: int = 0
    blocks: int = 0
    widths: tuple[int, ...] = field(default=())
    weights: str = "random"
    seconds: float = 0.0
    problem: str = ""


def check_entry(entry: ZooEntry, folder: str | Path | None = None) -> CheckResult:
    """Check one entry, and with a folder its weights too; a failure is returned, not raised.

    1. At full size, on the meta device: parameters, blocks and the width of every block are the entry's.
    2. In the reduced network, with values: see `check_values`.
    3. With `folder`: the weights in it load, and one forward pass with them is finite.

    Args:
        entry: the model.
        folder: local folder with the repository's files.
    """
    started = time.perf_counter()
    found: dict[str, Any] = {}
    problem = ""
    try:
        found |= _shapes(entry)
        check_values(entry)
        if folder is not None:
            found["weights"] = _loads(entry, folder)
    except _FAILURES as error:
        problem = f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - started
    return CheckResult(entry.name, entry.modality, seconds=seconds, problem=problem, **found)


def check_values(entry: ZooEntry, seed: int = 0) -> Tensor | list[Tensor]:
    """Run the reduced network and its random twin, and raise unless every promise about a trajectory holds.

    The trajectory has the entry's blocks, is finite, differs between stimuli, and is the same for a batch of
    8 and for each stimulus alone, padding included; networks that can't be padded refuse unequal lengths.

    Returns:
        H (N, L, D), or L matrices (N, D_l) where widths differ.

    Raises:
        AssertionError: a promise does not hold.
    """
    module = seeded(seed, lambda: build_network(entry, reduced=True))
    layers = check_network(entry, module, parameters=False)
    values = merged(entry.preprocessing, entry.reduced.get("preprocessing", {}))
    vocabulary = _vocabulary(module)
    preprocess = build_preprocess(values, lambda: stand_in_tokenizer(vocabulary))
    equal = bool(values.get("equal_lengths"))
    batch = stand_in_batch(entry.modality, _N, equal_lengths=equal, seed=seed)

    info = ModelInfo(entry.name, entry.modality, entry.family, "random")
    network, twin_network = (
        FrozenModel(LoadedModel(part, preprocess, info, layers, entry.pooling))
        for part in (module, random_twin(module, seed + 1))
    )
    states = _check_trajectory(entry, network, layers, batch)
    (twin,) = _record(twin_network, batch)
    if all(torch.equal(one, other) for one, other in zip(states, twin, strict=True)):
        raise AssertionError("The random twin computes what the network computes: nothing was drawn anew.")
    if equal:
        _check_refusal(preprocess, stand_in_batch(entry.modality, _N, equal_lengths=False, seed=seed))
    ragged = len({state.shape[1] for state in states}) > 1
    return states if ragged else torch.stack(states, dim=1)


def _shapes(entry: ZooEntry) -> dict[str, Any]:
    """Parameters, blocks and widths at full size, without a value computed."""
    module = build_network(entry, device="meta")
    layers = check_network(entry, module)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    vocabulary = _vocabulary(module)
    preprocess = build_preprocess(entry.preprocessing, lambda: stand_in_tokenizer(vocabulary))
    inputs = preprocess(stand_in_batch(entry.modality, 2, equal_lengths=True))
    # tensors without memory that pass for real ones: on the meta device itself some networks refuse to run;
    # the shape environment lets a network select by a mask, whose length only values would tell
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv(), static_shapes=True)
    with mode, torch.no_grad():
        for part in module.modules():  # each once: blocks that depths share can't be made a second time
            part._apply(lambda t: _without_memory(mode, t), recurse=False)  # type: ignore[no-untyped-call]
        # there are no values to tell an attention sink by, and looking for one takes a quarter of the time
        pooling = f"{entry.pooling}:all" if entry.pooling in ("auto", "mean", "max") else entry.pooling
        with DepthRecorder(module, layers, pooling=pooling, check_finite=False) as recorder:
            module(
                *(_fake(mode, value) for value in inputs.args),
                **{key: _fake(mode, value) for key, value in inputs.kwargs.items()},
            )
            widths = tuple(layer.width for layer in recorder.layers)
    if list(widths) != entry.width_list:
        raise AssertionError(f"The entry says widths {entry.widths}, its blocks have {_runs(widths)}.")
    return {"parameters": parameters, "blocks": len(layers), "widths": widths}


def _without_memory(mode: FakeTensorMode, tensor: Tensor) -> Tensor:
    if tensor.device.type != "meta":  # some buffers have values on any device
        return mode.from_tensor(tensor)
    return FakeTensor(mode, tensor, torch.device("cpu"))


def _fake(mode: FakeTensorMode, value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return mode.from_tensor(value.float() if value.is_floating_point() else value)


def _runs(widths: tuple[int, ...]) -> str:
    return str(widths[0]) if len(set(widths)) == 1 else str(list(widths))


def _vocabulary(module: nn.Module) -> int:
    return int(getattr(getattr(module, "config", None), "vocab_size", 0) or 0)


def _record(model: FrozenModel, *batches: Mapping[str, Any]) -> list[list[Tensor]]:
    """Return the states of each batch, one per depth; raise where one is not finite."""
    assert isinstance(model.layers, list)
    module = model.load().module
    with torch.inference_mode(), DepthRecorder(module, model.layers, pooling=model.pooling) as recorder:
        capture = Capture(recorder, model.inputs)
        return [capture.states(batch) for batch in batches]


def _check_trajectory(
    entry: ZooEntry, model: FrozenModel, layers: list[str], batch: Mapping[str, Any]
) -> list[Tensor]:
    rows = [one_stimulus(batch, row) or {} for row in range(_N)]
    together, *alone = _record(model, batch, *rows)
    if len(together) != entry.blocks:
        raise AssertionError(f"Expected {entry.blocks} depths, got {len(together)}.")
    for depth, state in enumerate(together):
        single = torch.cat([states[depth] for states in alone])
        scale = float(state.abs().max())
        apart = float((state - single).abs().max())
        if state.shape != single.shape or apart > _TOLERANCE * scale:
            raise AssertionError(
                f"Block {layers[depth]!r}: a batch of {_N} and each stimulus alone differ by "
                f"{apart / scale:.2g} of the block's largest value: padding or other stimuli leak in."
            )
    if float((together[-1] - together[-1][:1]).abs().max()) == 0:
        raise AssertionError(
            "The last block has the same state for every stimulus: the input does not arrive."
        )
    return together


def _check_refusal(preprocess: Preprocess, batch: Mapping[str, Any]) -> None:
    try:
        preprocess(batch)
    except ValueError:
        return
    raise AssertionError("Unequal lengths were accepted by a network that padding would change.")


def _loads(entry: ZooEntry, folder: str | Path) -> str:
    """Load the weights of a folder and run them once; return where they came from."""
    model = FrozenModel(load_zoo(entry, folder=folder))
    _record(model, stand_in_batch(entry.modality, 2, equal_lengths=True))
    return f"{model.info.source}, sha256 {model.info.weights_sha256[:12]}"
