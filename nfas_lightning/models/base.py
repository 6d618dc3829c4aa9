"""What a loader hands over: a module, how to feed it, where to look, and where it came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from nfas_lightning.hooks.selection import Layers

__all__ = ["LoadedModel", "ModelInfo", "ModelInputs", "Preprocess"]


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


Preprocess = Callable[[Mapping[str, Any]], ModelInputs]
"""Raw batch (`nfas_lightning.data.stimuli`) to the network's inputs, on the CPU."""


@dataclass(frozen=True)
class ModelInfo:
    """A model's card, written beside its results.

    Attributes:
        name: short unique name, e.g. ``"minilm_l6"``.
        modality: ``"vision"``, ``"audio"`` or ``"language"``.
        family: architecture family, e.g. ``"bert"``.
        source: where the weights came from (package==version, hub name, ``"random"``).
        licence: licence of the weights, SPDX where there is one.
        parameters: number of parameters.
        weights_sha256: hash of the weight file or, for any module, of its state dict.
        note: what a reader of the results must know, e.g. that weights were dequantised.
        objective: what the model was trained for, where that is known.
    """

    name: str
    modality: str
    family: str
    source: str
    licence: str = ""
    parameters: int = 0
    weights_sha256: str = ""
    note: str = ""
    objective: str = ""


@dataclass(frozen=True)
class LoadedModel:
    """A module with all that FrozenModel needs to run it.

    Attributes:
        module: the network.
        preprocess: raw batch (see data/stimuli.py) to the module's inputs, on the CPU.
        info: the card.
        layers: blocks to record: ``"auto"``, names, globs, ``"re:..."`` or a callable.
        pooling: how a block's output becomes one vector a stimulus.
    """

    module: nn.Module
    preprocess: Preprocess
    info: ModelInfo
    layers: Layers = "auto"
    pooling: str = "auto"
