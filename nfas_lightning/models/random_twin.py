"""The same architecture without its training: the baseline that tells what training adds."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

__all__ = ["random_twin", "seeded", "state_sha256"]

T = TypeVar("T")


def random_twin(module: nn.Module, seed: int = 0) -> nn.Module:
    """Return a copy with random weights.

    Modules that know how to initialise themselves (``reset_parameters``) do. Parameters of the others (class
    tokens, position embeddings, layer scales, weight norms) have their values shuffled: their distribution
    stays, what they learnt is gone. Buffers are kept, except running statistics, which norms reset.

    Args:
        module: left as it is.
        seed: of the random weights; the global generator is left as it was.

    Returns:
        A deep copy of `module`, initialised anew.

    Example:
        >>> net = nn.Linear(3, 3)
        >>> bool((random_twin(net, 1).weight == random_twin(net, 1).weight).all())
        True
    """
    twin = copy.deepcopy(module)
    devices = sorted({p.device.index or 0 for p in twin.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(seed)
        for part in twin.modules():
            # multi-head attention and the transformer keep theirs private
            reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
            if callable(reset):
                reset()
                continue
            for parameter in part.parameters(recurse=False):
                order = torch.randperm(parameter.numel(), device=parameter.device)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return twin


def seeded(seed: int, build: Callable[[], T]) -> T:
    """Build something under a seed of its own; the global generator is left as it was."""
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)
        return build()


def state_sha256(module: nn.Module) -> str:
    """Return a sha256 over names, shapes and values of the state dict: equal weights, equal hash."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}".encode())
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(raw.numpy())
    return digest.hexdigest()
