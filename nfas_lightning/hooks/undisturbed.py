"""Run a network that is being trained, and leave no trace of it."""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import numpy as np
import torch
from torch import nn

from nfas_lightning.hooks.kept import kept_state
from nfas_lightning.hooks.sharded_passes import sharded_passes
from nfas_lightning.hooks.sharding import Rerouted, unwrapped

__all__ = ["kept_random_states", "plain_network", "undisturbed", "without_autocast"]


def plain_network(network: nn.Module) -> nn.Module:
    """Return the module that `torch.compile` wrapped, which shares its parameters and runs its hooks."""
    original = getattr(network, "_orig_mod", None)
    return original if isinstance(original, nn.Module) else network


@contextmanager
def kept_random_states(network: nn.Module | None = None) -> Iterator[None]:
    """Put the random states of Python, numpy, torch and the network's devices back on leaving.

    Args:
        network: whose accelerators' states are kept as well; None: those of the CPU alone.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> with kept_random_states():
        ...     inside = torch.rand(1)
        >>> bool(inside == torch.rand(1))
        True
    """
    devices: dict[str, set[int]] = defaultdict(set)
    for parameter in () if network is None else network.parameters():
        if parameter.device.type not in ("cpu", "meta", "mps"):  # mps has no states by device
            devices[parameter.device.type].add(parameter.device.index or 0)
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global state is what is kept
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        for kind, indices in devices.items():
            stack.enter_context(torch.random.fork_rng(devices=sorted(indices), device_type=kind))
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


@contextmanager
def without_autocast() -> Iterator[None]:
    """Leave the autocast that a loop may have on, for mathematics that needs its own precision."""
    kinds = {"cpu", *({"cuda"} if torch.cuda.is_available() else ())}
    with ExitStack() as stack:
        for kind in sorted(kind for kind in kinds if torch.is_autocast_enabled(kind)):
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def undisturbed(network: nn.Module, owner: nn.Module | None = None) -> Iterator[nn.Module]:
    """Put a network in evaluation mode without gradients; on leaving, everything is as it was.

    Restored, after an exception too: all that the network's modules hold, by value (see `kept_state`):
    parameters, buffers, training flags, counters, caches, generators of its own; the random states (see
    `kept_random_states`), autocast's cache of weights, and compilation, which is off meanwhile because
    compiled code may skip hooks. What a module logs by Lightning's ``log`` and ``log_dict`` is dropped.
    ``no_grad`` and not inference mode: what a module hands out (rotary tables, masks) would become inference
    tensors, which training cannot use. Objects of other classes that a module holds are not looked into.

    Args:
        network: the network; its gradients are not touched.
        owner: what holds the network and may be reached from it, e.g. by a forward hook that logs; kept, too.

    Yields:
        The network to run, without the wrapper of `torch.compile`.

    Raises:
        ValueError: a parameter or buffer has no shape yet (lazy modules).

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
        >>> with undisturbed(network) as frozen:
        ...     frozen.training, torch.is_grad_enabled()
        (False, False)
        >>> network.training
        True
    """
    plain = unwrapped(plain_network(network))
    cache = torch.is_autocast_cache_enabled()
    top = network if owner is None else owner
    with (
        kept_random_states(plain),
        sharded_passes(plain, top) as passes,
        kept_state(network, top, *passes.states) as modules,
        passes.together(),
        _own_modes(plain),
        _uncompiled(plain),
        torch.no_grad(),
    ):
        try:
            # a weight cast here, without a gradient, must not serve a training step in the same autocast
            torch.set_autocast_cache_enabled(False)
            _mute(modules)
            plain.eval()
            yield plain
        finally:
            torch.set_autocast_cache_enabled(cache)


@contextmanager
def _own_modes(network: nn.Module) -> Iterator[None]:
    """Let modules whose `train` does more than set a flag (merge weights, swap a part) undo it themselves.

    What they hold is put back by value afterwards: this is for what they hold in objects of other classes.
    """
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            if type(module).train is not nn.Module.train:
                module.train(mode)


def _mute(modules: Iterable[nn.Module]) -> None:
    """Let Lightning's modules log nothing: the values would be those of other stimuli."""
    for module in modules:
        for name in ("log", "log_dict"):
            if callable(getattr(type(module), name, None)) and hasattr(type(module), "training_step"):
                vars(module)[name] = lambda *_, **__: None


@contextmanager
def _uncompiled(network: nn.Module) -> Iterator[None]:
    """Run what was compiled, in place or around submodules, as it was written.

    Compiled code may call no hooks, and what is compiled anew for a look counts against the limit after which
    the training itself would go on uncompiled.
    """
    compiled = {
        module: module._compiled_call_impl
        for module in network.modules()
        if not isinstance(getattr(module, "_compiled_call_impl", None), type(None) | Rerouted)
    }
    stance: AbstractContextManager[object] = nullcontext()
    # from torch 2.6 on; where dynamo was never imported, which takes seconds, nothing is compiled
    if hasattr(torch.compiler, "set_stance") and "torch._dynamo" in sys.modules:
        stance = torch.compiler.set_stance("force_eager")
    with stance:
        try:
            for module in compiled:
                module._compiled_call_impl = None
            yield
        finally:
            for module, call in compiled.items():
                module._compiled_call_impl = call
