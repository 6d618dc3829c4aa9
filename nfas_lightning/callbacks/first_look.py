"""Show a network two stimuli, so that what would fail every evaluation fails before the first step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from nfas_lightning.alignment import preprocess_for
from nfas_lightning.errors import FailureError
from nfas_lightning.hooks.blocks import find_blocks
from nfas_lightning.hooks.kept import lazy_parameters
from nfas_lightning.hooks.processes import OtherProcessError, reason_of
from nfas_lightning.hooks.recorder import DepthRecorder
from nfas_lightning.hooks.selection import MIN_DEPTHS, Layers, has_forward
from nfas_lightning.hooks.sharding import as_written, unwrapped
from nfas_lightning.hooks.undisturbed import plain_network
from nfas_lightning.models.frozen import FrozenModel
from nfas_lightning.models.loaded import ModelInputs, Preprocess, as_inputs

__all__ = ["try_stimuli"]


def try_stimuli(
    network: nn.Module,
    owner: nn.Module,
    datamodule: Any,
    *,
    layers: Layers,
    preprocess: Preprocess | None,
    context: Callable[[], AbstractContextManager[Any]],
    at_once: bool,
    record: Callable[..., object],
) -> Preprocess | None:
    """Record two stimuli, and choose the preprocessing of every evaluation.

    A network whose first training batch makes its parameters (lazy modules) is left alone, unless it would be
    evaluated before that.

    Args:
        network: what will be evaluated.
        owner: what holds it, and other networks that may have been meant.
        datamodule: the benchmark.
        layers: blocks to record, see `resolve_layers`.
        preprocess: as it was given; None: what is found for the network.
        context: made around the forward pass.
        at_once: whether the first evaluation comes before the first step.
        record: records ``limit`` stimuli with a ``preprocess``.

    Returns:
        The preprocessing; None where the network has its own, or can't be shown anything yet.

    Raises:
        ValueError: an unknown layer, or stimuli that need a preprocessing.
        RuntimeError: the network can't be shown the stimuli.
    """
    made = "its own preprocessing"
    if not isinstance(network, FrozenModel):
        with as_written(owner):
            DepthRecorder(plain_network(network), layers)  # which refuses an unknown name
        if lazy_parameters(network) and not at_once:
            return preprocess
        if preprocess is None:
            preprocess = preprocess_for(network, datamodule.stimuli, context=context, owner=owner)
        inputs = as_inputs(preprocess(datamodule.stimuli.collate([datamodule.stimuli[0]])))
        made = f"{_shapes(inputs)} of {preprocess!r:.300}"
    try:
        record(preprocess=preprocess, limit=2)
    except OtherProcessError:
        raise
    except Exception as error:  # whatever a network raises that is shown what it does not read
        with as_written(owner):
            kind, shown = type(plain_network(network)).__name__, datamodule.responses.dataset
            names = [name for name, one in _networks_in(unwrapped(owner)) if one is not network]
        others = " or ".join(f"submodule={name!r}" for name in names)
        raise FailureError(
            f"{kind} can't be shown the stimuli of {shown!r}, so that every evaluation "
            f"would fail: {reason_of(error).rstrip('.')}. It got {made}. Choose a preprocess that makes what "
            "it reads, or layers that fit" + (f", or another network: {others}." if others else ".")
        ) from error
    return preprocess


def _shapes(inputs: ModelInputs) -> str:
    """The shapes of what a network is given."""
    named = [*(("", value) for value in inputs.args), *inputs.kwargs.items()]
    told = [f"{name} {tuple(value.shape)}".lstrip() for name, value in named if isinstance(value, Tensor)]
    return ", ".join(told) or "no tensor"


def _networks_in(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The outermost modules inside one that have blocks to record, and their names."""
    for name, child in module.named_children():
        if has_forward(child) and len(find_blocks(child)) >= MIN_DEPTHS:
            yield name, child
        else:
            yield from ((f"{name}.{inner}", one) for inner, one in _networks_in(child))
