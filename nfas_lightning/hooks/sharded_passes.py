"""Run a network whose parameters FSDP shards over processes, and leave FSDP as it was.

A block has its parameters only within a pass through the root, and the processes hand them to each other: all
of them have to run every pass, though their stimuli, and so their numbers of passes, differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from nfas_lightning.hooks.processes import OtherProcessError, highest
from nfas_lightning.hooks.sharding import (
    Rerouted,
    fsdp_modules,
    is_fsdp1,
    set_attribute,
    take_wrappers_out,
    unwrapped,
)

__all__ = ["Passes", "sharded_passes"]

_IS_DONE, _RUNS, _HAS_FAILED = range(3)  # what a process announces; the highest of all decides


@contextmanager
def sharded_passes(network: nn.Module, top: nn.Module) -> Iterator[Passes]:
    """Let calls of a network be passes through FSDP's root, of all processes at once.

    Inside, modules have the names and classes of `as_written`. Without FSDP nothing changes.

    Args:
        network: that will be called.
        top: what holds it, and FSDP's root.
    """
    modules = fsdp_modules(top)
    around = [m for m in modules if unwrapped(m) is not network and any(n is network for n in m.modules())]
    with ExitStack() as undo:
        units = [_Unit(module, undo) for module in modules]
        take_wrappers_out(top, undo)
        yield Passes(network, [unwrapped(module) for module in around], units, undo)


class _OtherHasFailed(BaseException):  # which no `except Exception` on the way catches
    pass


class Passes(Rerouted):
    """Passes of a network through FSDP's root, which all processes run at once.

    Before each, the processes announce it. Those that have run their own repeat the last one while others run
    theirs; where one has failed outside of a pass, all leave. One that fails inside a pass goes on to gather
    parameters first, since the others wait for its part of them.

    Args:
        network: that is called.
        around: what FSDP shards around it, from the outside in, and what has to be called for that.
        units: all that FSDP shards; empty without FSDP.
        undo: restores the modules.

    Attributes:
        states: FSDP's own, to be kept beside the modules.
    """

    def __init__(
        self, network: nn.Module, around: list[nn.Module], units: list[_Unit], undo: ExitStack
    ) -> None:
        self.states: list[dict[str, Any]] = [state for unit in units for state in unit.states]
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
            set_attribute(module, "forward", self._through, undo)
            self._through = module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run a pass, and all other processes one of theirs."""
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
        """Stay until no process runs passes any more.

        Raises:
            OtherProcessError: another process failed.
        """
        for unit in self._units:
            vars(unit.module)["training"] = False  # of FSDP1's wrappers, too; kept with the states
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
            for unit in self._units:  # the root, too: each pass begins alike on all processes
                unit.reshard()
        self._order = list(self._entered)
        return result

    @staticmethod
    def _announce(what: int) -> int:
        found = highest(what)
        if found == _HAS_FAILED:
            raise _OtherHasFailed
        return found


class _Unit(Rerouted):
    """A module whose parameters FSDP gathers as it is called.

    Attributes:
        entered: units of this pass, in the order of their calls.
        open: those whose calls have not ended.
        states: what FSDP notes in passes.
    """

    entered: list[_Unit]
    open: list[_Unit]

    def __init__(self, module: nn.Module, undo: ExitStack) -> None:
        super().__init__(module, undo)
        self._is_fsdp1 = is_fsdp1(module)
        if self._is_fsdp1:
            _fsdp1()._is_fsdp_root(module, module)  # completes FSDP's state, else the first pass would do so
            handle: Any = module._handle
            self._parts = [] if handle is None else [handle]
            holders: list[Any] = [module, module._exec_order_data, *self._parts]
        else:
            self._state: Any = module._get_fsdp_state()  # type: ignore[operator]
            self._state._lazy_init()
            groups = getattr(self._state, "_fsdp_param_groups", None)  # older torch has one
            self._parts = [group for group in groups or [self._state._fsdp_param_group] if group is not None]
            shared = (self._state._state_ctx, self._state._comm_ctx)
            holders = [self._state, *shared, *self._parts]
            for group in self._parts:
                if group.is_unsharded:  # and not to be kept by value
                    undo.callback(group.wait_for_unshard)
                    undo.callback(group.unshard)
        self.states: list[dict[str, Any]] = [vars(holder) for holder in holders]
        self.reshard()

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
                inside = next(self.module.children())
                set_attribute(inside, "_compiled_call_impl", lambda *_, **__: None, undo)
                self.module.forward()
        else:
            self._state._pre_forward(self.module, (), {})
            self.close()

    def reshard(self) -> None:
        """Free the parameters of the other processes."""
        for part in self._parts:
            if not self._is_fsdp1:
                part._to_sharded()
            elif part.uses_sharded_strategy and not part.needs_unshard():
                _fsdp1()._reshard(self.module, part, True)


def _fsdp1() -> Any:
    from torch.distributed.fsdp import _runtime_utils

    return _runtime_utils
