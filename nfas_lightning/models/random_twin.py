"""The same architecture without its training: the baseline that tells what training adds."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _Orthogonal

from nfas_lightning.errors import InputError, InputTypeError
from nfas_lightning.hooks.state_checks import is_quantized
from nfas_lightning.hooks.undisturbed import kept_random_states

__all__ = ["NoTwinError", "copied", "random_twin", "seeded", "state_sha256"]

T = TypeVar("T")


class NoTwinError(InputError):
    """A network whose weights can't be drawn anew."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} has no random twin: {reason}. Score it without one (random_twins=False).")


def copied(network: nn.Module) -> nn.Module:
    """Return a deep copy, also of a network with weights that a pass computes (weight_norm, spectral_norm).

    Raises:
        TypeError: something in it can't be copied.
    """
    computed = {
        id(value): value.detach().clone()
        for part in network.modules()
        for value in vars(part).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    try:
        return copy.deepcopy(network, computed)
    except (TypeError, RuntimeError) as error:
        raise InputTypeError(
            f"{type(network).__name__} can't be copied ({error}): keep what can't be out of its attributes."
        ) from error


def random_twin(module: nn.Module, seed: int = 0) -> nn.Module:
    """Return a copy with random weights.

    Modules that know how to initialize themselves (``reset_parameters``) do. Parameters that this leaves as
    they are, and those of other modules (class tokens, position embeddings, layer scales, weight norms), have
    their values shuffled: their distribution stays, what they learned is gone. Buffers are kept, except
    running statistics, which norms reset.

    Args:
        module: left as it is.
        seed: of the random weights; the global generators are left as they were.

    Returns:
        A deep copy of `module`, initialized anew.

    Raises:
        ValueError: nothing, or less than all, can be drawn anew: weights are quantized, held in buffers, or
            offloaded.
        TypeError: the module can't be copied.

    Warns:
        UserWarning: saved buffers hold more numbers than the parameters, and may be what was learned.

    Example:
        >>> net = nn.Linear(3, 3)
        >>> bool((random_twin(net, 1).weight == random_twin(net, 1).weight).all())
        True
    """
    if any(parameter.is_meta for parameter in module.parameters()):
        raise NoTwinError(type(module).__name__, "its weights are offloaded, or have no values")
    if is_quantized(module):
        raise NoTwinError(type(module).__name__, "its weights are quantized")
    twin = copied(module)
    seeded(seed, lambda: _forget(twin), twin)
    _check_forgotten(module, twin)
    return twin


@torch.no_grad()
def _forget(network: nn.Module) -> None:
    for part in network.modules():
        # multi-head attention and the transformer keep theirs private
        reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
        before = (
            [parameter.clone() for parameter in part.parameters(recurse=False)] if callable(reset) else []
        )
        if callable(reset):
            reset()
        for i, parameter in enumerate(part.parameters(recurse=False)):
            if before and (_is_constant(parameter) or not torch.equal(parameter, before[i])):
                continue
            # under weight_norm a reset meets the computed weight, and leaves what it is computed from
            order = torch.randperm(parameter.numel(), device=parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
        if isinstance(part, _Orthogonal) and getattr(part, "base", None) is not None:
            # a buffer with the weights that training started from
            part.base.copy_(torch.linalg.qr(torch.randn_like(part.base)).Q)


def _is_constant(parameter: Tensor) -> bool:
    return parameter.numel() == 0 or bool((parameter == parameter.flatten()[0]).all())


def _check_forgotten(module: nn.Module, twin: nn.Module) -> None:
    """Refuse a twin that is the trained network."""
    learned = sum(parameter.numel() for parameter in module.parameters())
    if state_sha256(twin) == state_sha256(module):
        raise NoTwinError(
            type(module).__name__,
            f"none of its weights could be drawn anew. They must be parameters, got {learned} numbers in "
            f"parameters and {sum(b.numel() for b in module.buffers())} in buffers",
        )
    saved = module.state_dict()
    kept = sum(
        buffer.numel()
        for key, buffer in module.named_buffers()
        if key in saved and buffer.ndim > 1 and buffer.is_floating_point()
    )
    if kept > learned:
        warnings.warn(
            f"The random twin of {type(module).__name__} keeps {kept} numbers in buffers, more than the "
            f"{learned} parameters that were drawn anew: were they learned, it is no baseline, and "
            "random_twins=False leaves it out.",
            stacklevel=3,
        )


def seeded(seed: int, build: Callable[[], T], network: nn.Module | None = None) -> T:
    """Build something under a seed of its own; the global generators are left as they were.

    Args:
        seed: of the generators of the CPU and of the network's accelerators. The other accelerators' go on as
            they are, which `torch.manual_seed` would seed as well.
        build: called without arguments; what it returns is returned.
        network: whose accelerators `build` draws on; None: it draws on the CPU alone.
    """
    with kept_random_states(network):
        torch.default_generator.manual_seed(seed)
        for device in set() if network is None else {p.device for p in network.parameters()}:
            if device.type == "mps":
                torch.mps.manual_seed(seed)
            elif device.type not in ("cpu", "meta"):
                getattr(torch, device.type).default_generators[device.index].manual_seed(seed)
        return build()


def _offloaded(module: nn.Module) -> dict[str, tuple[Mapping[str, Tensor], str]]:
    """What accelerate keeps elsewhere and fetches when a module runs: where it is, by its name."""
    found = {}
    for prefix, part in module.named_modules():
        hook: Any = getattr(part, "_hf_hook", None)
        for one in getattr(hook, "hooks", [hook]):
            if (weights := getattr(one, "weights_map", None)) is not None:
                own = part.state_dict() if one.place_submodules else {**part._parameters, **part._buffers}
                for name, value in own.items():
                    if isinstance(value, Tensor) and value.is_meta:
                        found[f"{prefix}.{name}".lstrip(".")] = weights, name
    return found


def state_sha256(module: nn.Module) -> str:
    """Return a sha256 over names, shapes and values of the state dict: equal weights, equal hash.

    What is no plain tensor, such as the packed weights of a quantized layer, counts as in `content_key`.
    What is offloaded is fetched one tensor at a time.
    """
    digest, offloaded = hashlib.sha256(), _offloaded(module)
    for key, value in sorted({**module.state_dict(), **offloaded}.items()):
        # of a submodule that torch.compile wrapped
        _digest(digest, key.replace("_orig_mod.", ""), value[0][value[1]] if key in offloaded else value)
    return digest.hexdigest()


def _digest(digest: Any, name: str, value: Any) -> None:
    if hasattr(value, "__tensor_flatten__"):
        for part in value.__tensor_flatten__()[0]:
            _digest(digest, f"{name}.{part}", getattr(value, part))
    elif not isinstance(value, Tensor) or value.is_quantized or value.layout != torch.strided:
        # imported here, since it brings Lightning, which lists of models do without
        from nfas_lightning.results import content_key

        digest.update(f"{name}:{content_key(value)}".encode())
    else:
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}".encode())
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(raw.numpy().data)
