"""Keys of results: what changes a number changes the key.

There are two. `capture_key` tells what the forward passes record, `scoring_key` what the scores are. Both are
a sha256 over declared content:

- tensors, arrays and tables count by type, shape and values; numbers and text by value;
- a network counts module by module: class, attributes, weights, buffers (saved or not) and forward hooks;
- an object counts by its class and attributes, as pickle would keep them;
- a function of yours counts by its module-qualified name, its source (`inspect.getsource`), its defaults, and
  the values that the source names: those of its module, and what a closure holds. A `functools.partial`
  counts by its function and arguments, a class of yours by what it defines;
- a module of yours that such a source names counts by the text of its file;
- what Python, an installed package or this one defines counts by name. `code_version` has the versions: of
  what states pass through in the capture key, of what scores pass through in the scoring key.

Where content can't be told (no source, an object that can't be pickled), `NoKeyError` says what is in the
way. The result is then computed anew by every run.
"""

from __future__ import annotations

import copyreg
import enum
import functools
import hashlib
import json
import os
import pickle
import types
from collections import OrderedDict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.hooks.undisturbed import plain_network
from nfas_lightning.results.source_code import (
    WRAPPERS,
    NoKeyError,
    defined,
    identifiers,
    is_own,
    name_of,
    source_of,
)
from nfas_lightning.versions import code_version

__all__ = ["capture_key", "content_key", "scoring_key", "stimuli_key"]

_PLAIN = (bool, int, float, str)
# objects of these keep a program going and compute nothing; their states change by themselves
_MACHINERY = frozenset((
    "_io", "_thread", "_weakref", "asyncio", "concurrent", "contextvars", "io", "lightning", "logging",
    "multiprocessing", "pytorch_lightning", "queue", "rich", "socket", "subprocess", "threading", "tqdm",
    "wandb", "weakref",
))  # fmt: skip


def capture_key(
    network: nn.Module,
    *,
    preprocess: object,
    stimuli: str,
    recorder: Mapping[str, object],
    precision: str,
) -> str:
    """Return the key of what the forward passes of a network over stimuli record.

    It holds, and nothing else:

    - the network, module by module: classes, attributes, weights, buffers and hooks, see this module's
      docstring;
    - the preprocessing, likewise;
    - the content of the stimuli;
    - how states are recorded: layers, pooling, time, submodule, repeats, layout, and the dtype they are kept
      in;
    - the precision of the forward passes;
    - the code that states pass through, of this package and of its libraries, see `code_version`.

    Batch size, device and the model's name are not in it: states do not depend on them.

    Args:
        network: the module that runs, in any mode and on any device.
        preprocess: raw batch to the network's inputs; None: the network gets the batch.
        stimuli: content of all stimuli, in order, see `stimuli_key`.
        recorder: how states are recorded, see `DepthTrajectory.options`; layers and pooling resolved.
        precision: see Lightning's Trainer.

    Raises:
        NoKeyError: something of it can't be told from other content.
    """
    return content_key(network, preprocess, stimuli, dict(recorder), precision, code_version("capture"))


def scoring_key(
    capture: str, *, responses: str, settings: Mapping[str, object], card: Mapping[str, object]
) -> str:
    """Return the key of the scores of a captured trajectory.

    Args:
        capture: see `capture_key`.
        responses: sha256 over responses, pairing, nuisances and ceilings, see `Responses.fingerprint`.
        settings: of the scoring, see `ScoringSettings`.
        card: what the tables say of the model: its name, source, license and so on.
    """
    return content_key(capture, responses, dict(settings), dict(card), code_version("scoring"))


def stimuli_key(datamodule: Any) -> str:
    """Return what a `capture_key` has of the stimuli: a benchmark's own hash, else all are read once.

    Args:
        datamodule: shows them, after ``setup``.

    Raises:
        NoKeyError: they are no `StimulusSet` and have no hash.
    """
    stimuli = getattr(datamodule, "stimuli", None)
    known = datamodule.responses.hashes.get("stimuli")
    if known is None:
        if not isinstance(stimuli, StimulusSet):
            raise NoKeyError(f"{type(datamodule).__name__} has no StimulusSet in `stimuli`")
        known = stimuli.sha256()
    return f"{known} {getattr(stimuli, 'as_clips', None)}"


def content_key(*parts: object) -> str:
    """Return a sha256 over the content of `parts`, the same in every process; see the module's docstring.

    Memory addresses, devices and the caches of libraries do not count, nor the order of a mapping of plain
    values.

    Raises:
        NoKeyError: something can't be told from other content.
    """
    try:
        return _sha256([_Content().of(part) for part in parts])
    except RecursionError as error:
        raise NoKeyError(
            "the model or its preprocessing holds something nested too deeply (a linked list?): keep it out "
            "of the attributes of the preprocessing and of the network"
        ) from error


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

    def named(self, values: Mapping[str, object]) -> list[object]:
        """Return names and contents, sorted by name."""
        return [[name, self.of(values[name])] for name in sorted(values)]

    def _parts(self, value: Any) -> object:
        if isinstance(value, nn.Module):
            return self._network(plain_network(value))
        value = getattr(value, "_torchdynamo_orig_callable", value)  # what torch.compile wrapped
        kind = type(value)
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, np.ndarray | np.generic):
            return self._array(np.asarray(value))
        if isinstance(value, pd.DataFrame | pd.Series | pd.Index):
            labels = [self.of(axis.to_numpy()) for axis in getattr(value, "axes", ())]
            return [name_of(kind), labels, self.of(value.to_numpy())]
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, enum.Enum):
            return [name_of(kind), value.name]
        if isinstance(value, (*_PLAIN, bytes, bytearray, torch.dtype, os.PathLike)):
            return [self.of(kind), str(value)]
        if isinstance(value, torch.device):
            return "device"
        if isinstance(value, types.ModuleType):
            return [value.__name__, source_of(value) if is_own(value.__name__) else ""]
        if (parts := self._callable(value)) is not None:
            return parts
        if kind.__module__.split(".")[0] in _MACHINERY:
            return name_of(kind)
        if hasattr(value, "get_vocab") and hasattr(value, "special_tokens_map"):
            return self._tokenizer(value)
        if isinstance(value, Mapping | AbstractSet | list | tuple):
            return [*self._container(value), *(self._object(value) if is_own(kind.__module__) else ())]
        return self._object(value)

    # values

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

    def _array(self, value: np.ndarray[Any, Any]) -> list[object]:
        about: list[object] = ["array", str(value.dtype), list(value.shape)]
        return [*about, self.of(value.tolist()) if value.dtype.hasobject else _sha256_of(value.tobytes())]

    def _tensor(self, value: Any) -> list[object]:
        if nn.parameter.is_lazy(value):
            return ["tensor", "not yet made"]
        about: list[object] = ["tensor", str(value.dtype), list(value.shape)]
        if hasattr(value, "__tensor_flatten__"):  # subclasses around several tensors, such as torchao's
            names, context = value.__tensor_flatten__()
            inner = [self.of(getattr(value, name)) for name in names]
            return [*about, name_of(type(value)), inner, self.of(context)]
        if value.is_meta:
            return [*about, "meta"]
        if value.is_quantized:
            return [*about, self.of(value.int_repr()), self.of(value.dequantize())]
        dense = value.detach().to_dense() if value.layout != torch.strided else value.detach()
        raw = dense.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
        return [*about, hashlib.sha256(raw.numpy().data).hexdigest()]

    # networks and objects

    def _network(self, module: nn.Module) -> list[object]:
        if isinstance(module, torch.jit.ScriptModule):
            raise NoKeyError(f"{type(module).__name__} is TorchScript, which has no source")
        parameters, kind = module._parameters, type(module)
        # weight_norm, spectral_norm and prune compute these anew before each pass
        computed = {name for name in vars(module) if {f"{name}_v", f"{name}_orig"} & set(parameters)}
        if isinstance(module, torch.fx.GraphModule):
            computed |= {"_graph", "meta"}  # its code stands in an attribute
        names = set(vars(module)) - _framework_attributes() - computed
        unsaved = module._non_persistent_buffers_set & set(module._buffers)
        attributes = {name: vars(module)[name] for name in names}
        attributes |= {name: module._buffers[name] for name in unsaved}  # some are caches, too
        has_extra = kind.get_extra_state is not nn.Module.get_extra_state
        return [
            self.of(kind),
            self._attributes(kind, attributes),
            self.named(parameters),
            self.named({name: b for name, b in module._buffers.items() if name not in unsaved}),
            self.of(module.get_extra_state()) if has_extra else None,
            self._hooks(module._forward_pre_hooks, module._forward_pre_hooks_with_kwargs),
            self._hooks(module._forward_hooks, module._forward_hooks_with_kwargs),
            [[name, self.of(child)] for name, child in module._modules.items()],  # Sequential runs in order
        ]

    def _hooks(self, hooks: Mapping[int, Any], with_kwargs: Mapping[int, bool]) -> list[object]:
        """Hooks in their order, without those of this package, which look and change nothing."""
        own = [(i, hook) for i, hook in hooks.items() if not name_of(hook).startswith("nfas_lightning.")]
        return [[self.of(hook), i in with_kwargs] for i, hook in own]

    def _object(self, value: Any) -> list[object]:
        """An object by its class and the state that pickle would keep of it."""
        kind = type(value)
        try:
            reduce = copyreg.dispatch_table.get(kind)
            kept = value.__reduce_ex__(4) if reduce is None else reduce(value)
        except (TypeError, ValueError, RuntimeError, AttributeError, pickle.PickleError) as error:
            raise NoKeyError(f"an object of {name_of(kind)} can't be pickled ({error})") from error
        if isinstance(kept, str):
            return [self.of(kind), kept]
        make, args, state, items, pairs = (*kept, None, None, None)[:5]
        parts: list[object] = [self.of(kind), name_of(make)]
        parts.append([self.of(arg) for arg in args if arg is not kind])
        for held in state if isinstance(state, tuple) else (state,):  # attributes, and slots after them
            parts.append(self._attributes(kind, held) if isinstance(held, dict) else self.of(held))
        return [*parts, *(self.of(list(more)) for more in (items, pairs) if more is not None)]

    def _attributes(self, kind: type, held: Mapping[Any, object]) -> object:
        """Attributes by name, without what a library keeps only to be faster or to tell where it was read.

        What one's own code calls a cache may as well be features that were computed before, and counts.
        """
        told = ("_name_or_path", "name_or_path", "_commit_hash")
        is_library = not is_own(kind.__module__)
        counts = {
            name: value
            for name, value in held.items()
            if not (is_library and ("cache" in str(name).lower() or name in told))
            and not isinstance(getattr(kind, str(name), None), functools.cached_property)
        }
        return [[str(name), self.of(counts[name])] for name in sorted(counts, key=str)]

    def _tokenizer(self, value: Any) -> list[object]:
        """A tokenizer of transformers without padding and truncation, which each call sets anew."""
        parts: list[object] = [self.of(type(value))]
        if getattr(value, "is_fast", False):
            rules = json.loads(value.backend_tokenizer.to_str())  # with its vocabulary
            parts.append(json.dumps({**rules, "padding": None, "truncation": None}, sort_keys=True))
        else:
            parts.append(self.of(value.get_vocab()))
        names = ("padding_side", "truncation_side", "model_max_length", "special_tokens_map")
        return [*parts, *(self.of(getattr(value, name, None)) for name in names)]

    # code

    def _callable(self, value: Any) -> list[object] | None:
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return [self.of(value.__func__), self.of(value.__self__)]
        if isinstance(value, functools.partial):
            return ["partial", self.of(value.func), self.of(value.args), self.of(value.keywords)]
        for kind, attribute in WRAPPERS.items():
            if isinstance(value, kind):
                return [name_of(kind), self.of(getattr(value, attribute))]
        if callable(value) and isinstance(getattr(value, "__qualname__", None), str):
            whose = getattr(value, "__self__", None)  # of a built-in, such as torch.tanh or [].append
            is_bound = not isinstance(whose, type | types.ModuleType)
            return [name_of(value), self.of(whose) if is_bound else None]
        return None

    def _function(self, function: types.FunctionType) -> list[object]:
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        closure = {
            name: cell.cell_contents for name, cell in cells if name != "__class__" and _is_filled(cell)
        }
        parts = [name_of(function), self.of(function.__defaults__), self.of(function.__kwdefaults__)]
        parts.append(self.named(closure))
        # of the module that the code is from: what functools.wraps made has another's name
        if not is_own(str(function.__globals__.get("__name__"))):
            return parts
        source = source_of(function)
        known = function.__globals__
        read = {name: known[name] for name in set(identifiers(source)) & set(known)}
        attributes = {name: value for name, value in vars(function).items() if not name.startswith("_")}
        return [*parts, source, self.named(read), self.named(attributes)]

    def _class(self, kind: type) -> list[object]:
        """A class's bases by name; of those that are yours what they define, too."""
        return [[name_of(base), self.named(defined(base))] for base in kind.__mro__]


@functools.cache
def _framework_attributes() -> frozenset[str]:
    """Attributes that torch and Lightning keep in any module: flags, registries and the Trainer."""
    # here: it takes seconds to import, which readers of finished runs do without
    from nfas_lightning.lightning_packages import LightningModule

    compiled = ("_compiled_call_impl", "_compile_kwargs", "_is_torch_compile")
    return frozenset((*vars(nn.Module()), *vars(LightningModule()), *compiled))


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  # raises where a name was not yet bound
    except ValueError:
        return False
    return True


def _sha256(parts: object) -> str:
    return _sha256_of(json.dumps(parts).encode())


def _sha256_of(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
