"""Run a network whose parameters FSDP shards over processes, and leave FSDP as it was.

A block has its parameters only within a pass through the root, and the processes hand them to each other: all
of them have to run every pass, though their stimuli, and so their numbers of passes, differ.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from nfas_lightning.errors import InputError
from nfas_lightning.hooks.processes import OtherProcessError, highest

__all__ = ["Rerouted", "as_written", "check_sharding", "is_sharded", "root_of", "sharded", "unwrapped"]

_IS_DONE, _RUNS, _HAS_FAILED = range(3)  # what a process announces; the highest of all decides
_HOMES = ("fsdp", "_composable.fsdp", "algorithms._checkpoint.checkpoint_wrapper")  # the second until torch 2.5
_GONE = object()


def is_sharded(top: nn.Module) -> bool:
    """Whether FSDP shards parameters of a module."""
    return bool(_fsdp_modules(top))


def check_sharding(top: nn.Module) -> None:
    """Raise where parameters are split such that a block may return a part of its activations.

    Args:
        top: what holds the network.

    Raises:
        ValueError: DeepSpeed ZeRO-3; tensor or expert parallelism.
    """
    found = None
    of_fsdp = {id(p) for module in _fsdp_modules(top) for p in module.parameters()}
    for name, parameter in top.named_parameters():
        placements = getattr(parameter, "placements", ())
        n_split = sum("Shard" in type(placement).__name__ for placement in placements)
        if hasattr(parameter, "ds_id"):
            found = f"DeepSpeed ZeRO-3 (parameter {name!r})"
        elif n_split > 1 or (n_split and id(parameter) not in of_fsdp):
            found = f"tensor or expert parallelism (parameter {name!r})"
    if any((getattr(module, "_tp_size", None) or 1) > 1 for module in top.modules()):  # transformers' own
        found = "tensor parallelism"
    if found is not None:
        raise InputError(
            f"Expected parameters that are whole or sharded by FSDP, got {found}, where a block may return a "
            "part of its activations. Train with FSDP or DDP, or align() a saved checkpoint."
        )


def root_of(module: nn.Module, wrapped: nn.Module | None) -> nn.Module:
    """Return what FSDP1 wraps a module in, if it does so, else the module: any other wrapper is left alone."""
    return module if wrapped is None or unwrapped(wrapped) is not module else wrapped


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside the wrappers of FSDP1 and of activation checkpointing."""
    while isinstance(module, _wrappers()):
        module = next(module.children())
    return module


@contextmanager
def as_written(top: nn.Module) -> Iterator[None]:
    """Show modules as they were before FSDP and activation checkpointing: names, classes, sizes of parameters.

    They may be looked at, and get hooks, and are not to be run.

    Args:
        top: what holds them, with FSDP's root.
    """
    with ExitStack() as undo:
        _unwrap(top, undo)
        for module in [inner for outer in top.modules() for inner in _with_wrappers(outer)]:
            flat = getattr(vars(module).get("_handle"), "flat_param", None)  # FSDP1's
            for info, shape in () if flat is None else zip(flat._param_infos, flat._shapes, strict=True):
                own = info.module._parameters
                undo.callback(own.update, dict(own))
                undo.callback(own.clear)
                own[info.param_name] = nn.Parameter(torch.empty(shape, device="meta"), requires_grad=False)
        yield


def _unwrap(top: nn.Module, undo: ExitStack) -> None:
    """Give modules their classes back, and take wrappers out, through which calls still go."""
    for module in _fsdp_modules(top):
        kind: Any = type(module)
        if not isinstance(module, _wrappers()):
            undo.callback(setattr, module, "__class__", kind)
            module.__class__ = kind.__mro__[getattr(kind, "_orig_cls_mro_index", 2)]
    for parent in [module for module in top.modules() if not isinstance(module, _wrappers())]:
        for name, child in list(parent._modules.items()):
            if isinstance(child, _wrappers()):
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


@contextmanager
def sharded(network: nn.Module, top: nn.Module) -> Iterator[Passes]:
    """Let calls of a network be passes through FSDP's root, of all processes at once.

    Args:
        network: that will be called. Inside, modules have the names and classes of `as_written`.
        top: what holds it and FSDP's root.
    """
    modules = _fsdp_modules(top)
    around = [m for m in modules if unwrapped(m) is not network and any(n is network for n in m.modules())]
    with ExitStack() as undo:
        units = [_Unit(module, undo) for module in modules]
        _unwrap(top, undo)
        yield Passes(network, [unwrapped(module) for module in around], units, undo)


class Rerouted:
    """What runs in place of a module's forward and hooks, and goes on to them."""

    def __init__(self, module: nn.Module, undo: ExitStack) -> None:
        self.module = module
        before = vars(module).get("_compiled_call_impl")
        # what torch.compile made is passed over, see `undisturbed`
        self.go_on: Callable[..., Any] = before if isinstance(before, Rerouted) else module._call_impl
        # torch looks __call__ up on the class; this is its only way round that for one module
        _set(module, "_compiled_call_impl", self, undo)


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


class _Unit(Rerouted):
    """A module whose parameters FSDP gathers as it is called."""

    def __init__(self, module: nn.Module, undo: ExitStack) -> None:
        super().__init__(module, undo)
        self.entered: list[_Unit] = []  # of all units in a pass
        self.open: list[_Unit] = []
        self._is_fsdp1 = isinstance(module, _classes("FullyShardedDataParallel"))
        if self._is_fsdp1:
            _fsdp1()._is_fsdp_root(module, module)  # which completes FSDP's state
            self._handles = [handle for handle in [module._handle] if handle is not None]
            self.states = [vars(module), vars(module._exec_order_data), *map(vars, self._handles)]
        else:
            self._state: Any = module._get_fsdp_state()  # type: ignore[operator]
            self._state._lazy_init()
            # one before torch 2.9
            self._groups = getattr(self._state, "_fsdp_param_groups", None) or [self._state._fsdp_param_group]
            self._groups = [group for group in self._groups if group is not None]
            shared = (self._state._state_ctx, self._state._comm_ctx)
            self.states = [vars(holder) for holder in (self._state, *shared, *self._groups)]
        self._was_sharded = self._is_sharded()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.entered.append(self)
        self.open.append(self)
        result = self.go_on(*args, **kwargs)
        self.open.pop()
        return result

    def close(self) -> None:
        """End a call that failed."""
        if self._is_fsdp1:
            fsdp, module = _fsdp1(), self.module
            fsdp._post_forward(module, module._handle, fsdp._post_forward_reshard, module, (), None)
        else:
            self._state._post_forward(self.module, (), None)

    def gather(self) -> None:
        """Give the other processes what a call would give them."""
        if self._is_fsdp1:
            with ExitStack() as undo:
                _set(next(self.module.children()), "_compiled_call_impl", lambda *_, **__: None, undo)
                self.module.forward()
        else:
            self._state._pre_forward(self.module, (), {})
            self.close()

    def reshard(self) -> None:
        """Free parameters that were sharded before."""
        if not self._was_sharded or self._is_sharded():
            return
        for group in [] if self._is_fsdp1 else self._groups:
            group._to_sharded()
        for handle in self._handles if self._is_fsdp1 else []:
            _fsdp1()._reshard(self.module, handle, True)

    def _is_sharded(self) -> bool:
        if self._is_fsdp1:
            return all(handle.needs_unshard() for handle in self._handles)
        return all(group.is_sharded for group in self._groups)


class _OtherHasFailed(BaseException):  # which no `except Exception` on the way catches
    pass


class Passes(Rerouted):
    """Passes of a network through FSDP's root, which all processes run at once.

    Before each, the processes announce it. Those that have run their own repeat the last one while others run
    theirs; where one has failed outside of a pass, all leave. One that fails inside a pass goes on to gather
    parameters first, since the others wait for its part of them.

    Attributes:
        states: FSDP's own, to be kept beside the modules.
    """

    def __init__(
        self, network: nn.Module, around: list[nn.Module], units: list[_Unit], undo: ExitStack
    ) -> None:
        self.states = [state for unit in units for state in unit.states]
        self._units, self._order, self._is_inside = units, list(units), False
        self._entered: list[_Unit] = []
        self._open: list[_Unit] = []
        for unit in units:
            unit.entered, unit.open = self._entered, self._open
        if not units:
            return
        super().__init__(network, undo)
        self._through = self.go_on
        for module in reversed(around):
            _set(module, "forward", self._through, undo)
            self._through = module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._is_inside:  # a look at the network from within a pass, alike on all processes
            n_entered = len(self._entered)
            result = self.go_on(*args, **kwargs)
            del self._entered[n_entered:]
            return result
        self._announce(_RUNS)
        self._last = args, kwargs
        return self._run(*args, **kwargs)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Stay until no process runs passes any more; then parameters are sharded as they were before.

        Raises:
            OtherProcessError: another process failed.
        """
        for unit in self._units:
            vars(unit.module)["training"] = False  # of FSDP1's wrappers, too
        try:
            yield
            while self._units and self._announce(_IS_DONE) == _RUNS:
                self._run(*self._last[0], **self._last[1])
        except _OtherHasFailed as error:
            raise OtherProcessError from error  # `processes.together` knows the reason
        except Exception:
            if self._units:
                highest(_HAS_FAILED)
            raise
        finally:
            for unit in self._units:
                unit.reshard()

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        self._entered.clear()
        self._open.clear()
        self._is_inside = True
        try:
            result = self._through(*args, **kwargs)
        except Exception:
            while self._open:
                self._open.pop().close()
            for unit in self._order[len(self._entered) :]:
                unit.gather()
            raise
        finally:
            self._is_inside = False
        self._order = list(self._entered)
        return result

    @staticmethod
    def _announce(what: int) -> int:
        found = highest(what)
        if found == _HAS_FAILED:
            raise _OtherHasFailed
        return found


def _set(module: nn.Module, name: str, value: Any, undo: ExitStack) -> None:
    """Set an attribute of a module past its `__setattr__`."""
    undo.callback(_put_back, vars(module), name, vars(module).get(name, _GONE))
    vars(module)[name] = value


def _put_back(holder: dict[str, Any], name: str, value: Any) -> None:
    if value is _GONE:
        holder.pop(name, None)
    else:
        holder[name] = value


def _fsdp_modules(top: nn.Module) -> list[Any]:
    """The modules whose parameters FSDP gathers, from the outside in."""
    kinds = _classes("FSDPModule", "FullyShardedDataParallel")
    return [module for module in top.modules() if isinstance(module, kinds)]


def _wrappers() -> tuple[type, ...]:
    return _classes("FullyShardedDataParallel", "ActivationWrapper")


def _classes(*names: str) -> tuple[type, ...]:
    """Classes of torch, of those that anybody has imported; no module is an object of others."""
    loaded = [sys.modules.get(f"torch.distributed.{home}") for home in _HOMES]
    return tuple(getattr(home, name) for home in loaded for name in names if hasattr(home, name))


def _fsdp1() -> Any:
    from torch.distributed.fsdp import _runtime_utils

    return _runtime_utils
