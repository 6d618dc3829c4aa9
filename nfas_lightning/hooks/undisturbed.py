"""Run a network that is being trained, and leave no trace of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

__all__ = ["plain_network", "undisturbed"]


def plain_network(network: nn.Module) -> nn.Module:
    """Return the module that `torch.compile` wrapped, which shares its parameters and runs its hooks."""
    original = getattr(network, "_orig_mod", None)
    return original if isinstance(original, nn.Module) else network


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[nn.Module]:
    """Put a network in evaluation mode without gradients; on leaving, everything is as it was.

    Restored, after an exception too: each submodule's training flag, the random states of Python, numpy,
    torch and the network's CUDA device, and in-place compilation, which is off meanwhile because compiled
    code may skip hooks. ``no_grad`` and not inference mode: what a module caches inside (rotary tables,
    masks) would become inference tensors, which training cannot use.

    Args:
        network: the network; its parameters, gradients and buffers are not touched.

    Yields:
        The network to run, without the wrapper of `torch.compile`.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
        >>> with undisturbed(network) as frozen:
        ...     frozen.training, torch.is_grad_enabled()
        (False, False)
        >>> network.training
        True
    """
    plain = plain_network(network)
    modes = [(module, module.training) for module in plain.modules()]
    compiled = {
        module: module._compiled_call_impl
        for module in plain.modules()
        if getattr(module, "_compiled_call_impl", None) is not None
    }
    devices = sorted({p.device.index or 0 for p in plain.parameters() if p.device.type == "cuda"})
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global state is what is kept
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        try:
            for module in compiled:
                module._compiled_call_impl = None
            plain.eval()
            yield plain
        finally:
            for module, mode in modes:
                module.training = mode
            for module, call in compiled.items():
                module._compiled_call_impl = call
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
