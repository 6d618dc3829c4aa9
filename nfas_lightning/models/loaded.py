"""What a loader hands over: a module, how to feed it, where to look, and where it came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from nfas_lightning.errors import InputTypeError
from nfas_lightning.hooks.selection import Layers
from nfas_lightning.hooks.state_checks import is_placed
from nfas_lightning.models.random_twin import state_sha256

__all__ = [
    "LoadedModel",
    "ModelInfo",
    "ModelInputs",
    "Preprocess",
    "as_inputs",
    "model_info",
    "move_inputs",
]


@dataclass(frozen=True)
class ModelInputs:
    """Arguments of one forward pass.

    Attributes:
        args: positional arguments.
        kwargs: keyword arguments.
        mask: (B, K) booleans over the token axis; True marks the tokens that pooling may see. None: all.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    mask: Tensor | None = None


def move_inputs(inputs: ModelInputs, network: nn.Module) -> ModelInputs:
    """Move inputs to the device of a network's weights, and floating point ones to their dtype.

    Args:
        inputs: of the network, on any device.
        network: its first parameter counts, or its first buffer where it has none; where it has neither, the
            inputs stay as they are. What is offloaded moves its inputs itself.

    Example:
        >>> import torch
        >>> moved = move_inputs(ModelInputs((torch.zeros(1), torch.tensor([3]))), nn.Linear(1, 1).double())
        >>> [value.dtype for value in moved.args]
        [torch.float64, torch.int64]
    """
    weights = list(chain(network.parameters(), network.buffers()))
    if not weights:
        return inputs
    device = None if weights[0].is_meta and is_placed(network) else weights[0].device
    # quantized weights are integers, what is around them is not
    dtype = next((value.dtype for value in weights if value.is_floating_point()), None)

    def move(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(device, dtype if value.is_floating_point() else None)

    return ModelInputs(
        args=tuple(move(value) for value in inputs.args),
        kwargs={key: move(value) for key, value in inputs.kwargs.items()},
        mask=None if inputs.mask is None else inputs.mask.to(device or inputs.mask.device),
    )


Preprocess = Callable[[Mapping[str, Any]], Any]
"""Raw batch (`nfas_lightning.data.stimuli.collate`) to the network's inputs, on the CPU: see `as_inputs`."""


def as_inputs(value: Any) -> ModelInputs:
    """Return what a preprocessing made as the arguments of a forward pass.

    Args:
        value: `ModelInputs`, one tensor, a tuple of arguments or a mapping of keywords.

    Raises:
        TypeError: it is none of these.

    Example:
        >>> import torch
        >>> as_inputs({"pixel_values": torch.zeros(1)})
        ModelInputs(args=(), kwargs={'pixel_values': tensor([0.])}, mask=None)
    """
    if isinstance(value, ModelInputs):
        return value
    if isinstance(value, Tensor):
        return ModelInputs(args=(value,))
    if isinstance(value, Mapping):
        return ModelInputs(kwargs=value)
    if isinstance(value, tuple):
        return ModelInputs(args=value)
    raise InputTypeError(
        "preprocess must return ModelInputs, a tensor, a tuple of arguments or a mapping of keywords, got "
        f"{type(value).__name__}."
    )


@dataclass(frozen=True)
class ModelInfo:
    """A model's card, written beside its results.

    Attributes:
        name: short unique name, e.g. ``"minilm_l6"``.
        modality: ``"vision"``, ``"audio"`` or ``"language"``; empty: that of the benchmark it is scored on.
        family: architecture family, e.g. ``"bert"``.
        source: where the weights came from (package==version, hub name, ``"random"``).
        license: license of the weights, SPDX where there is one.
        parameters: number of parameters.
        weights_sha256: hash of the weight file or, for any module, of its state dict.
        note: what a reader of the results must know, e.g. that weights were dequantized.
        objective: what the model was trained for, where that is known.
    """

    name: str
    modality: str
    family: str
    source: str
    license: str = ""
    parameters: int = 0
    weights_sha256: str = ""
    note: str = ""
    objective: str = ""


def model_info(module: nn.Module, *, seed: int | None, **facts: Any) -> ModelInfo:
    """Return a network's card, with the number and the hash of its weights, how they are packed and run.

    Args:
        module: the network as it runs.
        seed: of random weights, whose name is ``<name>_random``; None: the weights are pretrained.
        **facts: fields of `ModelInfo`, of the model with its pretrained weights.
    """
    if seed is not None:
        facts |= {"name": f"{facts['name']}_random", "source": f"random (seed {seed})", "license": ""}
        facts |= {"note": "Random weights, never trained.", "objective": "none"}
    dtypes = {str(p.dtype) for p in module.parameters() if p.is_floating_point() and p.dtype != torch.float32}
    runs = f"Runs in {', '.join(sorted(dtypes))}." if dtypes else ""
    method = getattr(module, "quantization_method", None)  # an enumeration of transformers
    packed = f"Quantized ({getattr(method, 'value', method)})." if method else ""
    facts["note"] = " ".join(filter(None, (facts.get("note"), packed, runs)))
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return ModelInfo(**facts, parameters=parameters, weights_sha256=state_sha256(module))


@dataclass(frozen=True)
class LoadedModel:
    """A module with all that FrozenModel needs to run it.

    Attributes:
        module: the network.
        preprocess: raw batch (see `nfas_lightning.data.stimuli.collate`) to the module's inputs, on the CPU.
        info: the card.
        layers: blocks to record: ``"auto"``, names, globs, ``"re:..."`` or a callable.
        pooling: how a block's output becomes one vector per stimulus.
    """

    module: nn.Module
    preprocess: Preprocess
    info: ModelInfo
    layers: Layers = "auto"
    pooling: str = "auto"
