"""Hooks that stay with the module that they were put on: its copies are never recorded in its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

__all__ = ["Attached", "take_off"]


class Attached:
    """A hook that works for one module alone.

    Copying or pickling a module takes its hooks along, so that a copy would report to the recorder of the
    original. Of this hook a copy gets a stand-in, which does nothing and leaves at the copy's first pass.

    Args:
        module: that the hook is put on; replicas that share its hooks are passed over.
        call: the hook; called with what torch hands to it.
    """

    def __init__(self, module: nn.Module, call: Callable[..., Any]) -> None:
        self._module, self._call = module, call

    def __call__(self, module: nn.Module, *args: Any) -> Any:
        """Run the hook, if it is the module's own."""
        return self._call(module, *args) if module is self._module else None

    def __deepcopy__(self, memo: object) -> _Left:
        return _Left()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return _Left, ()


class _Left:
    """What a copied module holds in place of a hook."""

    def __call__(self, module: nn.Module, *args: Any) -> None:
        _take_off(module, type(self))


def take_off(network: nn.Module) -> None:
    """Take off all such hooks of a network, which `undisturbed` puts back: others' recorders see no pass."""
    for module in network.modules():
        _take_off(module, Attached)


def _take_off(module: nn.Module, kind: type) -> None:
    for hooks in (module._forward_hooks, module._forward_pre_hooks):
        for key in [key for key, hook in hooks.items() if isinstance(hook, kind)]:
            del hooks[key]
