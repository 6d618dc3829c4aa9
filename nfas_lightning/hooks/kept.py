"""Keep the state of modules by value, and put it back to the last bit."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from nfas_lightning.errors import InputError

__all__ = ["kept_state", "lazy_parameters"]

_GONE = object()


@contextmanager
def kept_state(*holders: nn.Module | dict[str, Any]) -> Iterator[list[nn.Module]]:
    """Keep all that modules hold, and put back on leaving what has changed meanwhile.

    Kept by value, whoever writes and however (kernels, ``.data`` and numpy bump no version): parameters and
    buffers, with their shapes; every attribute of every submodule, and what its lists, dictionaries and sets
    hold; tensors, arrays and random generators among these. What has not changed is not written, so that no
    version counts up. Objects of other classes are not looked into.

    The values are copied on their device; where that has no room, to the host.

    Args:
        holders: modules, or the attributes (``vars``) of other objects.

    Yields:
        The modules that were found: the given ones, their submodules, and those in plain lists.

    Raises:
        ValueError: a parameter or buffer has no shape yet (lazy modules): the first pass would make it.

    Example:
        >>> network = nn.Embedding(3, 2, max_norm=0.1)  # writes into its weights whenever it is read
        >>> before = network.weight.detach().clone()
        >>> with kept_state(network):
        ...     _ = network(torch.arange(3))
        ...     changed = not torch.equal(network.weight, before)
        >>> changed, torch.equal(network.weight, before)
        (True, True)
    """
    for module in holders:
        if isinstance(module, nn.Module) and (lazy := lazy_parameters(module)):
            raise InputError(
                f"{lazy[0]!r} of {type(module).__name__} has no shape yet: the first forward pass would make "
                "it, and a training must make its own. Show the network one batch of the training first."
            )
    keeper = _Keeper()
    for holder in holders:
        keeper.keep(holder)
    try:
        yield keeper.modules
    finally:
        keeper.restore()


def lazy_parameters(module: nn.Module) -> list[str]:
    """Return the names of the parameters and buffers that have no shape before the first forward pass."""
    named = [*module.named_parameters(), *module.named_buffers()]
    return [name for name, value in named if nn.parameter.is_lazy(value)]


class _Keeper:
    """What was found, and how to put it back."""

    def __init__(self) -> None:
        self.modules: list[nn.Module] = []
        self._seen: dict[int, object] = {}  # with the objects themselves, so that no id is used twice
        self._storages: set[tuple[str, int, int]] = set()
        self._undo = ExitStack()  # which goes on where one of its callbacks fails
        # most are, as a module has a dozen dictionaries for hooks; copies would wake the garbage collector
        self._empty: list[Any] = []
        self._undo.callback(self._empty_again)

    def keep(self, first: object) -> None:
        """Keep an object and all that it holds."""
        waiting = [first]  # and no recursion: networks can be deep
        while waiting:
            value = waiting.pop()
            if value is None or isinstance(value, str | int | float | bytes) or id(value) in self._seen:
                continue
            self._seen[id(value)] = value
            waiting += self._one(value)

    def restore(self) -> None:
        """Put everything back."""
        self._undo.close()

    def _one(self, value: Any) -> list[object]:
        """Keep one object; return what it holds."""
        if isinstance(value, nn.Module):
            return self._module(value)
        if isinstance(value, Tensor):
            self._tensor(value)
        elif isinstance(value, np.ndarray):
            self._array(value)
        elif isinstance(value, dict | list | deque | set) and not value:
            self._empty.append(value)
        elif isinstance(value, dict):
            self._contents(value, dict(value), lambda: dict(value), value.update)
            return list(value.values())
        elif isinstance(value, list | deque):
            self._contents(value, list(value), lambda: list(value), value.extend)
            return list(value)
        elif isinstance(value, set):
            self._contents(value, set(value), lambda: set(value), value.update)
        elif isinstance(value, tuple):
            return list(value)
        else:
            self._generator(value)
        return []

    def _module(self, module: nn.Module) -> list[object]:
        self.modules.append(module)
        if isinstance(module, torch.jit.ScriptModule):  # its attributes live elsewhere
            return [*module.parameters(), *module.buffers()]
        kind, before = type(module), dict(vars(module))

        def undo() -> None:
            if type(module) is not kind:
                module.__class__ = kind
            now = vars(module)
            for name in [name for name in now if name not in before]:
                del now[name]
            for name, value in before.items():
                if now.get(name, _GONE) is not value:
                    now[name] = value

        self._undo.callback(undo)
        return list(before.values())

    def _contents(
        self, holder: Any, before: Any, now: Callable[[], Any], fill: Callable[[Any], object]
    ) -> None:
        def undo() -> None:
            if not _holds_the_same(now(), before):
                holder.clear()
                fill(before)

        self._undo.callback(undo)

    def _empty_again(self) -> None:
        for holder in self._empty:
            if holder:
                holder.clear()

    def _array(self, array: Any) -> None:
        if array.dtype.hasobject or not array.flags.writeable or isinstance(array, np.memmap):
            return
        before = array.copy()

        def undo() -> None:
            if array.tobytes() != before.tobytes():
                array[...] = before

        self._undo.callback(undo)

    def _generator(self, value: Any) -> None:
        if isinstance(value, torch.Generator):
            self._undo.callback(value.set_state, value.get_state())
        elif isinstance(value, random.Random):
            self._undo.callback(value.setstate, value.getstate())
        elif isinstance(value, np.random.RandomState):
            self._undo.callback(value.set_state, value.get_state())
        elif isinstance(value, np.random.Generator):
            self._undo.callback(setattr, value.bit_generator, "state", value.bit_generator.state)

    def _tensor(self, tensor: Tensor) -> None:
        if tensor.device.type == "meta":
            return
        value: Any = tensor
        if is_traceable_wrapper_subclass(value):
            for inner in (getattr(value, name) for name in value.__tensor_flatten__()[0]):
                if isinstance(inner, Tensor):  # a DTensor has its mesh there, too
                    self._tensor(inner)
            return
        if tensor.layout != torch.strided:  # sparse: without a storage of its own
            before = tensor.detach().clone()
            self._undo.callback(_write, tensor, before)
            return
        alias, leaf, flag = tensor.detach(), tensor.is_leaf, tensor.requires_grad
        self._storage(alias.untyped_storage())

        def undo() -> None:
            if not _is_same_view(tensor, alias):
                tensor.data = alias
            if leaf and tensor.requires_grad != flag:
                tensor.requires_grad_(flag)

        self._undo.callback(undo)

    def _storage(self, storage: torch.UntypedStorage) -> None:
        """Keep bytes: tied weights, views and every dtype alike, and no version counts what is put back."""
        size = storage.nbytes()
        key = (str(storage.device), storage.data_ptr(), size)
        if not size or key in self._storages:
            return
        self._storages.add(key)
        try:
            before = _bytes(storage).clone()
        except torch.OutOfMemoryError:
            before = _bytes(storage).cpu()

        def undo() -> None:
            if storage.nbytes() != size:
                storage.resize_(size)
            now = _bytes(storage)
            if before.device != now.device or not torch.equal(_wide(now), _wide(before)):
                now.copy_(before)

        self._undo.callback(undo)


def _holds_the_same(now: Any, before: Any) -> bool:
    """Whether two lists, dictionaries or sets hold the very same objects, in the same order."""
    if isinstance(now, set):
        return bool(now == before)
    if isinstance(now, dict):
        return _holds_the_same([*now, *now.values()], [*before, *before.values()])
    return len(now) == len(before) and all(a is b for a, b in zip(now, before, strict=True))


def _is_same_view(tensor: Tensor, alias: Tensor) -> bool:
    """Whether a tensor still shows the same memory in the same way."""
    if (tensor.device, tensor.dtype, tensor.layout) != (alias.device, alias.dtype, alias.layout):
        return False
    if tensor.untyped_storage()._cdata != alias.untyped_storage()._cdata:
        return False
    shown = [(view.shape, view.stride(), view.storage_offset()) for view in (tensor, alias)]
    return bool(shown[0] == shown[1])


def _bytes(storage: torch.UntypedStorage) -> Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


def _wide(values: Tensor) -> Tensor:
    """The same bytes as integers of eight, which compare seven times as fast."""
    return values.view(torch.int64) if len(values) % 8 == 0 else values


def _write(tensor: Tensor, value: Tensor) -> None:
    with torch.no_grad():
        tensor.copy_(value)
