"""Keys of results: a hash over all that could change a number."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import types
from collections.abc import Mapping

from torch import Tensor, nn

__all__ = ["content_key", "network_code"]


def content_key(*parts: object) -> str:
    """Return a sha256 over `parts`, the cache key of a result.

    Objects count by their class and attributes; functions by their name, code, defaults, what they enclose
    and the plain globals that they read: never by where they lie in memory.
    """
    text = json.dumps(parts, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def network_code(network: nn.Module) -> list[object]:
    """Return what a network's own classes do, so that a changed ``forward`` is another network.

    Classes of installed libraries count by name: their versions stand in the model's card.
    """
    classes = {kind for module in network.modules() for kind in type(module).__mro__}
    own = sorted(
        (kind for kind in classes if kind.__module__.split(".")[0] not in _LIBRARIES),
        key=lambda kind: f"{kind.__module__}.{kind.__qualname__}",
    )
    return [
        [kind.__qualname__, [_function(f) for _, f in sorted(vars(kind).items()) if _is_function(f)]]
        for kind in own
    ]


_LIBRARIES = frozenset({"builtins", "torch", "torchvision", "timm", "transformers", "abc", "typing"})


def _is_function(value: object) -> bool:
    return isinstance(value, types.FunctionType)


def _plain(value: object) -> object:
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, types.FunctionType):
        return _function(value)
    if isinstance(value, types.MethodType):
        return [_plain(value.__func__), _enclosed(value.__self__)]
    if isinstance(value, functools.partial):
        return ["partial", value.func, list(value.args), value.keywords]
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if type(value).__repr__ is object.__repr__ and hasattr(value, "__dict__"):
        return [kind, vars(value)]
    return [kind, _without_address(repr(value))]


def _function(value: types.FunctionType, outer: tuple[int, ...] = ()) -> list[object]:
    """A function in plain values; one that encloses itself is named the second time."""
    name = f"{value.__module__}.{value.__qualname__}"
    if id(value) in outer:
        return [name]
    outer = (*outer, id(value))
    cells = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
    names = [n for n in value.__code__.co_names if isinstance(value.__globals__.get(n), _PLAIN)]
    defaults = [*(value.__defaults__ or ()), *sorted((value.__kwdefaults__ or {}).items())]
    return [
        name,
        _code(value.__code__),
        [_enclosed(default, outer) for default in defaults],
        [_enclosed(cell, outer) for cell in cells],
        [[n, value.__globals__[n]] for n in names],
    ]


_PLAIN = (bool, int, float, str)


def _code(code: types.CodeType) -> list[object]:
    """Instructions, names and constants; not the lines that they stand on."""
    constants = [_code(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), constants]


def _enclosed(value: object, outer: tuple[int, ...] = ()) -> object:
    """What a function encloses, in plain values. An object counts by what it says of itself, not in full."""
    if value is None or isinstance(value, _PLAIN):
        return value
    if isinstance(value, types.FunctionType):
        return _function(value, outer)
    if isinstance(value, list | tuple):
        return [_enclosed(item, outer) for item in value]
    if isinstance(value, Mapping):
        return [[str(name), _enclosed(item, outer)] for name, item in value.items()]
    if isinstance(value, Tensor):
        return value.tolist()
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if type(value).__repr__ is object.__repr__ and hasattr(value, "__dict__"):
        plain = {name: item for name, item in vars(value).items() if isinstance(item, (*_PLAIN, Tensor))}
        return [kind, [[name, _enclosed(item)] for name, item in sorted(plain.items())]]
    return [kind, _without_address(repr(value))]


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  # raises where a name was not yet bound
    except ValueError:
        return False
    return True


def _without_address(text: str) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", text)
