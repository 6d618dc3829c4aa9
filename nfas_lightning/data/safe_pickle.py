"""Pickles from the internet: numpy arrays and plain containers are read, nothing else, and nothing is run.

Work and memory are bounded by the size of the file: a length that it announces is compared with what is left
of it, and an object that it refers to many times is worked on once.

Ours, because an unpickler that only restricts names still lets numpy's own functions, which trust the file,
build the arrays, and takes memory for any length that the file announces.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from nfas_lightning.data.files import require_file
from nfas_lightning.errors import InputError

__all__ = ["read_pickle"]

# booleans, integers, floats, complex numbers, bytes and text of fixed length: nothing that holds pointers
_KINDS = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248]|c(8|16)|[SU][0-9]{1,6})")
# what the unpickler documents or is known to raise on data that is damaged
_DAMAGED = (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, KeyError, IndexError,
            ImportError, OverflowError, RecursionError, AssertionError, struct.error)  # fmt: skip
# what can be hashed in no time; a tuple of tuples of tuples takes as long as the tree that it spans
_PLAIN = (str, bytes, bool, int, float, complex, np.generic, type(None))


class _RefusedError(Exception):
    """The pickle asks for more than arrays and containers."""


def read_pickle(path: str | os.PathLike[str]) -> Any:
    """Read a pickle of numpy arrays in dicts, lists and tuples, and run nothing that it asks for.

    A pickle is a program. Of all it can call, only what rebuilds an array of numbers, booleans or text of
    fixed length is admitted, and that is done by functions of this module, which check kind, shape and
    size, never by numpy's own, which trust the file. Old and new names of numpy (``numpy.core``,
    ``numpy._core``) are known, and so are files of Python 2: their strings come as text, by latin1.

    Args:
        path: the file.

    Returns:
        What the file holds: dict, list, tuple, set, text, number, None and arrays, which may be read-only.

    Raises:
        FileNotFoundError: the file or its content is missing.
        ValueError: the pickle asks for anything else (the message names it), or it is cut short or damaged.
        MemoryError: it does not fit into memory, or says so because it is damaged.
    """
    path = require_file(path)
    try:
        with path.open("rb") as file:
            return _finished(_ArrayUnpickler(file).load())
    except _RefusedError as refusal:
        raise InputError(
            f"{path} must hold numpy arrays and plain containers alone, but it asks for {refusal}. It was "
            "refused, and nothing was run: do not open this file by other means. Is it the original?"
        ) from None
    except MemoryError as error:
        size = path.stat().st_size / 1e6
        raise MemoryError(
            f"{path} of {size:.0f} MB does not fit into memory, of which reading takes about twice the file: "
            "free some, or unpack it again if that can't be."
        ) from error
    except _DAMAGED as error:
        raise InputError(
            f"{path} must be a whole pickle of numpy arrays, got one that is cut short or damaged "
            f"({type(error).__name__}: {error}): unpack or download it again."
        ) from error


class _BoundedFile:
    """The file, which gives as many bytes as were asked for or says that it has not so many."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size

    def readline(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise EOFError("a name is cut short")
        return line

    def read(self, count: int) -> bytes:
        left = self.size - self._file.tell()
        if count > left:  # before memory is taken for them
            raise EOFError(f"{count} bytes are announced and {left} are left")
        return self._file.read(count)


# The unpickler that is written in Python, as joblib and dill build on: the one in C hashes what it is given,
# and takes memory for any position in its memo and any length that a file announces.
_PythonUnpickler: Any = pickle._Unpickler


class _ArrayUnpickler(_PythonUnpickler):  # type: ignore[misc]
    """Resolves names from a table of its own; whatever is absent from it is refused."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(_PythonUnpickler.dispatch)

    def __init__(self, file: io.BufferedReader) -> None:
        self._bounded = _BoundedFile(file)
        self._may_encode = self._bounded.size  # bytes; what a file holds is no more than the file
        # bytes, not latin1: the same letters without a second copy of each array as text
        super().__init__(self._bounded, encoding="bytes", fix_imports=False)

    def find_class(self, module: str, name: str, /) -> Any:
        """Return the stand-in for a name."""
        parts = module.split(".")
        if parts[:2] in (["numpy", "core"], ["numpy", "_core"]):
            parts[1] = "core"
        elif module == "__builtin__":
            parts = ["builtins"]
        rule = _RULES.get((".".join(parts), name))
        if rule is None:
            raise _RefusedError(f"{module}.{name}")
        return rule if rule is not _ENCODE else _Rule(self._encode)

    def persistent_load(self, pid: Any) -> NoReturn:
        """Refuse references to objects outside the file."""
        raise _RefusedError("an object outside the file (a persistent id)")

    def _encode(self, text: Any, encoding: Any) -> bytes:
        # how Python 3 writes bytes in the protocols of Python 2
        if _text(encoding) != "latin1" or not isinstance(text, str):
            raise _RefusedError(f"the codec {encoding!r}")
        self._may_encode -= len(text)
        if self._may_encode < 0:
            raise _RefusedError("more bytes than it holds")
        return text.encode("latin1")

    def _load_long4(self) -> NoReturn:
        raise _RefusedError("an integer of more than 255 bytes")

    def _load_bytearray8(self) -> None:
        (count,) = struct.unpack("<Q", self.read(8))
        if count > self._bounded.size:
            raise EOFError(f"{count} bytes are announced in a file of {self._bounded.size}")
        buffer = bytearray(count)
        self.readinto(buffer)
        self.append(buffer)

    def _load_setitem(self) -> None:
        _check_keys(self.stack[-2:-1])
        _PythonUnpickler.load_setitem(self)

    def _load_setitems(self) -> None:
        _check_keys(self.stack[::2])
        _PythonUnpickler.load_setitems(self)

    def _load_dict(self) -> None:
        _check_keys(self.stack[::2])
        _PythonUnpickler.load_dict(self)

    def _load_additems(self) -> None:
        _check_keys(self.stack)
        _PythonUnpickler.load_additems(self)

    def _load_frozenset(self) -> None:
        _check_keys(self.stack)
        _PythonUnpickler.load_frozenset(self)

    dispatch[pickle.LONG4[0]] = _load_long4
    dispatch[pickle.BYTEARRAY8[0]] = _load_bytearray8
    dispatch[pickle.SETITEM[0]] = _load_setitem
    dispatch[pickle.SETITEMS[0]] = _load_setitems
    dispatch[pickle.DICT[0]] = _load_dict
    dispatch[pickle.ADDITEMS[0]] = _load_additems
    dispatch[pickle.FROZENSET[0]] = _load_frozenset


def _check_keys(keys: Iterable[Any]) -> None:
    """Refuse what takes long to hash: containers in containers."""
    for key in keys:
        parts = key if isinstance(key, (tuple, frozenset)) else (key,)
        if not all(isinstance(part, _PLAIN) for part in parts):
            raise _RefusedError(f"a key or an item of a set that is a {type(key).__name__} of containers")


class _Rule:
    """A function that a pickle may call and can't change: setting attributes is one of its instructions."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any) -> Any:
        return object.__getattribute__(self, "_function")(*args)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise _RefusedError("a change of the function that it calls")

    def __setstate__(self, state: Any) -> NoReturn:
        raise _RefusedError("a change of the function that it calls")


class _Kind:
    """A numpy.dtype as the file describes it."""

    __slots__ = ("dtype",)

    def __init__(self, spec: Any, align: Any = False, copy: Any = False) -> None:
        spec = _text(spec)
        if not isinstance(spec, str) or not _KINDS.fullmatch(spec):
            raise _RefusedError(f"an array of kind {spec!r} (objects and records are not admitted)")
        self.dtype = np.dtype(spec)

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, subarray, names, fields, item size, alignment, flags): flags are not believed
        order = _text(state[1])
        if any(part is not None for part in state[2:5]) or order not in ("<", ">", "=", "|"):
            raise _RefusedError("an array of records")
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """A numpy.ndarray that is still to be filled."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        self.value = _from_bytes(data, kind, shape, "F" if fortran else "C")


def _from_bytes(data: Any, kind: Any, shape: Any, order: Any = "C") -> NDArray[Any]:
    if not isinstance(kind, _Kind) or not isinstance(data, (bytes, bytearray)):
        raise _RefusedError(f"an array whose data is a {type(data).__name__}")
    order = _text(order)
    if order not in ("C", "F") or not isinstance(shape, tuple) or not all(type(n) is int for n in shape):
        raise InputError(f"an array of shape {shape!r}")
    if not data:  # np.frombuffer takes no empty buffer
        return np.empty(shape, kind.dtype, order) if 0 in shape else np.frombuffer(data, kind.dtype)
    return np.frombuffer(data, kind.dtype).reshape(shape, order=order)


def _scalar(kind: Any, data: Any) -> Any:
    return _from_bytes(data, kind, ())[()]


def _set_of(items: Any = ()) -> set[Any]:
    _check_keys(items)
    return set(items)


def _frozen_set_of(items: Any = ()) -> frozenset[Any]:
    _check_keys(items)
    return frozenset(items)


def _reconstruct(kind: Any, shape: Any, typecode: Any) -> _Array:
    if kind is not _ARRAY:
        raise _RefusedError("an array of another class")
    return _Array()


def _no_call(*args: Any) -> NoReturn:
    raise _RefusedError("numpy.ndarray itself, unfilled")


def _text(value: Any) -> Any:
    return value.decode("latin1") if isinstance(value, bytes) else value


_ARRAY, _ENCODE = _Rule(_no_call), _Rule(_no_call)  # each unpickler encodes within a limit of its own
_RULES = {
    ("numpy", "ndarray"): _ARRAY,
    ("numpy", "dtype"): _Rule(_Kind),
    ("numpy.core.multiarray", "_reconstruct"): _Rule(_reconstruct),
    ("numpy.core.multiarray", "scalar"): _Rule(_scalar),
    ("numpy.core.numeric", "_frombuffer"): _Rule(_from_bytes),
    # containers and empty bytes in the protocols of Python 2
    ("_codecs", "encode"): _ENCODE,
    ("builtins", "bytes"): _Rule(lambda: b""),
    ("builtins", "set"): _Rule(_set_of),
    ("builtins", "frozenset"): _Rule(_frozen_set_of),
}


def _finished(value: Any, done: dict[int, Any] | None = None) -> Any:
    """Put arrays in the place of their stand-ins, and text in the place of Python 2's strings.

    What stands in several places is worked on once and stays one object: a list of a few lists that each hold
    the next one twice would otherwise span a tree without end.
    """
    done = {} if done is None else done
    if id(value) in done:
        if done[id(value)] is _UNDER_WAY:
            raise _RefusedError("a container that holds itself")
        return done[id(value)]
    done[id(value)] = _UNDER_WAY
    finished = value
    if isinstance(value, _Array):
        if value.value is None:
            raise InputError("an array without data")
        finished = value.value
    elif isinstance(value, (_Kind, _Rule)):
        raise _RefusedError("a type instead of data")
    elif isinstance(value, dict):
        finished = {_finished(key, done): _finished(item, done) for key, item in value.items()}
    elif isinstance(value, (list, tuple, set, frozenset)):
        finished = type(value)(_finished(item, done) for item in value)
    else:
        finished = _text(value)
    done[id(value)] = finished
    return finished


_UNDER_WAY = object()
