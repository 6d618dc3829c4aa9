"""Keys of results: a hash over all that could change a number."""

from __future__ import annotations

import copyreg
import enum
import functools
import hashlib
import json
import pickle
import re
import types
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from nfas_lightning.hooks.undisturbed import plain_network
from nfas_lightning.results.arrays import array_parts, tensor_parts
from nfas_lightning.results.code import class_parts, function_parts, is_transient, name_of
from nfas_lightning.results.networks import network_parts

__all__ = ["content_key", "network_code"]


def content_key(*parts: object) -> str:
    """Return a sha256 over `parts`, the cache key of a result.

    Numbers, arrays and tensors count by their values; functions and classes by their code, what they hold and
    the code of one's own that they call; objects by their class and attributes; networks by all of this,
    module by module, with weights, buffers and forward hooks. Libraries count by name. Memory addresses,
    devices and the caches of libraries do not count, nor the order of a mapping of plain values.

    Raises:
        ValueError: something is nested too deeply to be read.
    """
    try:
        return _sha256([_Content().of(part) for part in parts])
    except RecursionError as error:
        raise ValueError(
            "The model or its preprocessing holds something nested too deeply (a linked list?) to tell it "
            "from others: keep it out of the attributes of the preprocessing and of the network."
        ) from error


def network_code(network: nn.Module) -> str:
    """Return a sha256 over all that a network computes with, see `content_key`."""
    return content_key(network)


_PLAIN = (bool, int, float, str)
# what keeps a program going and computes nothing, with states that change by themselves
_MACHINERY = frozenset((
    "_io", "_thread", "asyncio", "concurrent", "contextvars", "io", "lightning", "logging",
    "multiprocessing", "os", "pytorch_lightning", "queue", "rich", "socket", "subprocess", "threading",
    "tqdm", "wandb", "weakref",
))  # fmt: skip


class _Content:
    """What values hold, as plain values; whatever is more than one number or text, as a hash over that."""

    def __init__(self) -> None:
        # with the values themselves, so that no other comes to lie at the address of one that is gone
        self._known: dict[int, tuple[object, str]] = {}
        self._open: list[int] = []

    def of(self, value: object) -> object:
        """Return a value that is equal for equal content, in any process."""
        if value is None or type(value) in _PLAIN:
            return value
        if id(value) in self._known:
            return self._known[id(value)][1]
        if id(value) in self._open:  # it holds itself: so many steps further out
            return ["outer", len(self._open) - self._open.index(id(value))]
        self._open.append(id(value))
        try:
            found = _sha256(self._parts(value))
        finally:
            self._open.pop()
        self._known[id(value)] = (value, found)
        return found

    def _parts(self, value: Any) -> object:
        if isinstance(value, nn.Module):
            return network_parts(plain_network(value), self.of, self._attributes)
        if isinstance(value, Tensor):
            return tensor_parts(value, self.of)
        if isinstance(value, np.ndarray | np.generic):
            return array_parts(np.asarray(value), self.of)
        if isinstance(value, pd.DataFrame | pd.Series | pd.Index):
            labels = [self.of(axis.to_numpy()) for axis in getattr(value, "axes", ())]
            return [name_of(type(value)), labels, self.of(value.to_numpy())]
        if isinstance(value, type):
            return class_parts(value, self.of)
        if isinstance(value, enum.Enum):
            return [name_of(type(value)), value.name, self.of(value.value)]
        if isinstance(value, _PLAIN):
            return [self.of(type(value)), str(value)]
        if callable(value) and (parts := self._callable(value)) is not None:
            return parts
        if isinstance(value, torch.device):
            return "device"
        if isinstance(value, types.ModuleType):
            return value.__name__
        if type(value).__module__.split(".")[0] in _MACHINERY:
            return name_of(type(value))
        if hasattr(value, "get_vocab") and hasattr(value, "special_tokens_map"):
            return self._tokenizer(value)
        if isinstance(value, bytes | bytearray):
            return ["bytes", hashlib.sha256(value).hexdigest()]
        if isinstance(value, Mapping | AbstractSet | list | tuple):
            is_own = type(value).__module__ not in ("builtins", "collections")
            return [*self._container(value), *(self._object(value) if is_own else ())]
        return self._object(value)

    def _callable(self, value: Any) -> list[object] | None:
        value = getattr(value, "_torchdynamo_orig_callable", value)  # what torch.compile wrapped
        if isinstance(value, types.FunctionType):
            return function_parts(value, self.of)
        if isinstance(value, types.MethodType):
            return [self.of(value.__func__), self.of(value.__self__)]
        if isinstance(value, functools.partial):
            return ["partial", self.of(value.func), self.of(value.args), self.of(value.keywords)]
        if isinstance(value, torch.jit.ScriptFunction):
            return [value.name, value.code]
        if isinstance(wrapped := getattr(value, "__wrapped__", None), types.FunctionType):
            return [name_of(type(value)), self.of(wrapped)]  # functools.cache and the like
        if isinstance(getattr(value, "__qualname__", None), str):
            whose = getattr(value, "__self__", None)
            is_bound = not isinstance(whose, type | types.ModuleType)
            return [name_of(value), self.of(whose) if is_bound else None]
        return None

    def _container(self, value: Any) -> list[object]:
        if isinstance(value, AbstractSet):
            return ["set", *sorted(json.dumps(self.of(item)) for item in value)]
        if isinstance(value, Mapping):
            items = [[self.of(name), self.of(item)] for name, item in value.items()]
            is_plain = all(item is None or type(item) in _PLAIN for item in value.values())
            if is_plain and not isinstance(value, OrderedDict):
                items.sort(key=json.dumps)
            return ["mapping", *items]
        return ["list" if isinstance(value, list) else "tuple", *map(self.of, value)]

    def _object(self, value: Any) -> list[object]:
        kind = type(value)
        if isinstance(value, staticmethod | classmethod):
            return [kind.__name__, self.of(value.__func__)]
        if isinstance(value, property):
            return [kind.__name__, self.of(value.fget)]
        names = {name for base in kind.__mro__ for name in _slots(base) if hasattr(value, name)}
        if hasattr(value, "__dict__"):
            names |= set(vars(value))
        elif not names:
            return [self.of(kind), self._reduced(value)]
        return [self.of(kind), self._attributes(value, names)]

    def _attributes(self, value: Any, names: AbstractSet[str]) -> list[object]:
        computed = {
            name
            for name in names
            if is_transient(name, type(value).__module__)
            or isinstance(getattr(type(value), name, None), functools.cached_property)
        }
        return [[name, self.of(object.__getattribute__(value, name))] for name in sorted(names - computed)]

    def _reduced(self, value: Any) -> object:
        """What pickle would keep of an object without attributes."""
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            kept = value.__reduce_ex__(4) if reduce is None else reduce(value)
        except (TypeError, ValueError, RuntimeError, AttributeError, pickle.PickleError):
            return re.sub(r"0x[0-9a-fA-F]+", "", repr(value))
        if isinstance(kept, str):
            return kept
        make, args, state, items, pairs = (*kept, None, None, None)[:5]
        rest = [self.of(list(more)) for more in (items, pairs) if more is not None]
        # a constructor is a library's own way to make the class, which is told already
        return [name_of(make), [self.of(arg) for arg in args if arg is not type(value)], self.of(state), rest]

    def _tokenizer(self, value: Any) -> list[object]:
        """A tokenizer of transformers without padding and truncation, which each call sets anew."""
        parts: list[object] = [self.of(type(value)), self.of(value.get_vocab())]
        if getattr(value, "is_fast", False):
            rules = json.loads(value.backend_tokenizer.to_str())
            parts.append(json.dumps({**rules, "padding": None, "truncation": None}, sort_keys=True))
        names = ("padding_side", "truncation_side", "model_max_length", "special_tokens_map")
        return [*parts, *(self.of(getattr(value, name, None)) for name in names)]


def _sha256(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _slots(kind: type) -> Sequence[str]:
    slots = vars(kind).get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return [name for name in names if name not in ("__dict__", "__weakref__")]
