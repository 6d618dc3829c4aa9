"""What FSDP and activation checkpointing make of a network, seen as it was written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from nfas_lightning.errors import InputError

__all__ = [
    "Rerouted",
    "as_written",
    "check_sharding",
    "fsdp_modules",
    "is_fsdp1",
    "is_sharded",
    "root_of",
    "set_attribute",
    "take_wrappers_out",
    "unwrapped",
]

_HOMES = ("fsdp", "algorithms._checkpoint.checkpoint_wrapper")
_GONE = object()


def is_sharded(top: nn.Module) -> bool:
    """Whether FSDP shards parameters of a module."""
    return bool(fsdp_modules(top))


def check_sharding(top: nn.Module) -> None:
    """Raise where parameters are split such that a block may return a part of its activations.

    Args:
        top: what holds the network.

    Raises:
        ValueError: DeepSpeed ZeRO-3; tensor or expert parallelism.
    """
    found = []
    of_fsdp = {id(p) for module in fsdp_modules(top) for p in module.parameters()}
    for name, parameter in top.named_parameters():
        placements = getattr(parameter, "placements", ())
        n_split = sum("Shard" in type(placement).__name__ for placement in placements)
        if hasattr(parameter, "ds_id"):
            found.append(f"DeepSpeed ZeRO-3 (parameter {name!r})")
        elif n_split > 1 or (n_split and id(parameter) not in of_fsdp):
            found.append(f"tensor or expert parallelism (parameter {name!r})")
    if any((getattr(module, "_tp_size", None) or 1) > 1 for module in top.modules()):  # transformers' own
        found.append("tensor parallelism")
    if found:
        raise InputError(
            f"Expected parameters that are whole or sharded by FSDP, got {found[0]}, where a block may "
            "return a part of its activations. Train with FSDP or DDP, or align() a saved checkpoint."
        )


def root_of(module: nn.Module, wrapped: nn.Module | None) -> nn.Module:
    """Return FSDP1's wrapper around a module, if `wrapped` is that, else the module."""
    return module if wrapped is None or unwrapped(wrapped) is not module else wrapped


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside the wrappers of FSDP1 and of activation checkpointing."""
    while isinstance(module, _wrappers()):
        module = next(module.children())
    return module


@contextmanager
def as_written(top: nn.Module) -> Iterator[None]:
    """Show modules as they were before FSDP and activation checkpointing: names, classes, sizes of weights.

    They may be looked at, and get hooks, and are not to be run.

    Args:
        top: what holds them, with FSDP's root.
    """
    with ExitStack() as undo:
        take_wrappers_out(top, undo)
        for module in [inner for outer in top.modules() for inner in _with_wrappers(outer)]:
            flat = getattr(vars(module).get("_handle"), "flat_param", None)  # FSDP1's
            if flat is None:
                continue
            _keep_parameters(unwrapped(module), undo).pop("_flat_param", None)
            for info, shape in zip(flat._param_infos, flat._shapes, strict=True):
                own = _keep_parameters(info.module, undo)
                own[info.param_name] = nn.Parameter(flat.new_zeros(()).expand(shape), requires_grad=False)
        yield


def _keep_parameters(module: nn.Module, undo: ExitStack) -> dict[str, nn.Parameter | None]:
    own = module._parameters
    undo.callback(own.update, dict(own))
    undo.callback(own.clear)
    return own


def take_wrappers_out(top: nn.Module, undo: ExitStack) -> None:
    """Give modules their classes back, and take wrappers out, through which calls still go."""
    for module in fsdp_modules(top):
        kind: Any = type(module)
        if not isinstance(module, _wrappers()):
            undo.callback(setattr, module, "__class__", kind)
            module.__class__ = kind.__mro__[getattr(kind, "_orig_cls_mro_index", 2)]
    for parent in [module for module in top.modules() if not isinstance(module, _wrappers())]:
        for name, child in list(parent._modules.items()):
            if child is not None and isinstance(child, _wrappers()):
                undo.callback(parent._modules.__setitem__, name, child)
                parent._modules[name] = unwrapped(child)
                _detour(child, undo)
    _detour(top, undo)


def _detour(wrapper: nn.Module, undo: ExitStack) -> None:
    module = unwrapped(wrapper)
    if module is not wrapper and not isinstance(vars(module).get("_compiled_call_impl"), _Detour):
        _Detour(module, wrapper, undo)


def _with_wrappers(module: nn.Module) -> Iterator[nn.Module]:
    """A module, and the wrappers around it."""
    detour = vars(module).get("_compiled_call_impl")
    around = detour.wrapper if isinstance(detour, _Detour) else module
    yield around
    while around is not module:
        around = next(around.children())
        yield around


class Rerouted:
    """What runs in place of a module's forward and hooks, and goes on to them."""

    def __init__(self, module: nn.Module, undo: ExitStack) -> None:
        self.module = module
        before = vars(module).get("_compiled_call_impl")
        # what torch.compile made is passed over, see `undisturbed`
        self.go_on: Any = before if isinstance(before, Rerouted) else module._call_impl
        # torch looks __call__ up on the class; this is its only way round that for one module
        set_attribute(module, "_compiled_call_impl", self, undo)


class _Detour(Rerouted):
    """Through a wrapper, whose forward calls the module a second time."""

    def __init__(self, module: nn.Module, wrapper: nn.Module, undo: ExitStack) -> None:
        super().__init__(module, undo)
        self.wrapper, self._is_inside = wrapper, False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._is_inside:
            return self.go_on(*args, **kwargs)
        self._is_inside = True
        try:
            return self.wrapper(*args, **kwargs)
        finally:
            self._is_inside = False


def set_attribute(module: nn.Module, name: str, value: Any, undo: ExitStack) -> None:
    """Set an attribute of a module past its `__setattr__`."""
    undo.callback(_put_back, vars(module), name, vars(module).get(name, _GONE))
    vars(module)[name] = value


def _put_back(holder: dict[str, Any], name: str, value: Any) -> None:
    if value is _GONE:
        holder.pop(name, None)
    else:
        holder[name] = value


def fsdp_modules(top: nn.Module) -> list[Any]:
    """The modules whose parameters FSDP gathers, from the outside in."""
    kinds = _classes("FSDPModule", "FullyShardedDataParallel")
    return [module for module in top.modules() if isinstance(module, kinds)]


def is_fsdp1(module: nn.Module) -> bool:
    """Whether a module is FSDP1's wrapper."""
    return isinstance(module, _classes("FullyShardedDataParallel"))


def _wrappers() -> tuple[type, ...]:
    return _classes("FullyShardedDataParallel", "ActivationWrapper")


def _classes(*names: str) -> tuple[type, ...]:
    """Classes of torch, of those that anybody has imported; no module is an object of others."""
    loaded = [sys.modules.get(f"torch.distributed.{home}") for home in _HOMES]
    return tuple(getattr(home, name) for home in loaded for name in names if hasattr(home, name))
