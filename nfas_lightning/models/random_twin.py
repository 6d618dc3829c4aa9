"""The same architecture without its training: the baseline that tells what training adds."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from nfas_lightning.hooks.undisturbed import kept_random_states

__all__ = ["random_twin", "seeded", "state_sha256"]

T = TypeVar("T")


def random_twin(module: nn.Module, seed: int = 0) -> nn.Module:
    """Return a copy with random weights.

    Modules that know how to initialise themselves (``reset_parameters``) do. Parameters of the others (class
    tokens, position embeddings, layer scales, weight norms) have their values shuffled: their distribution
    stays, what they learnt is gone. Buffers are kept, except running statistics, which norms reset.

    Args:
        module: left as it is.
        seed: of the random weights; the global generators are left as they were.

    Returns:
        A deep copy of `module`, initialised anew.

    Example:
        >>> net = nn.Linear(3, 3)
        >>> bool((random_twin(net, 1).weight == random_twin(net, 1).weight).all())
        True
    """
    twin = copy.deepcopy(module)
    seeded(seed, lambda: _forget(twin), twin)
    return twin


@torch.no_grad()
def _forget(network: nn.Module) -> None:
    for part in network.modules():
        # multi-head attention and the transformer keep theirs private
        reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
        if callable(reset):
            reset()
            continue
        for parameter in part.parameters(recurse=False):
            order = torch.randperm(parameter.numel(), device=parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))


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


def state_sha256(module: nn.Module) -> str:
    """Return a sha256 over names, shapes and values of the state dict: equal weights, equal hash."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}".encode())
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(raw.numpy())
    return digest.hexdigest()
