"""Pickles from the internet: numpy arrays and plain containers are read, nothing else, and nothing is run.

Ours, because an unpickler that only restricts names still lets numpy's own functions, which trust the file,
build the arrays, and takes memory for any length that the file announces.
"""

from __future__ import annotations

import mmap
import os
import pickle
import pickletools
import re
import struct
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from nfas_lightning.data.files import require_file
from nfas_lightning.errors import InputError

# booleans, integers, floats, complex numbers, bytes and text of fixed length: nothing that holds pointers
_KINDS = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248]|c(8|16)|[SU][0-9]{1,6})")
# what the unpickler documents or is known to raise on data that is damaged
_DAMAGED = (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, KeyError, IndexError,
            ImportError, OverflowError, RecursionError, AssertionError, struct.error)  # fmt: skip
# objects other than arrays, sets, and integers of more than 255 bytes
_REFUSED = (pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX,
            pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET,
            pickle.LONG4, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER)  # fmt: skip


class _RefusedError(Exception):
    """The pickle asks for more than arrays and containers."""


def read_pickle(path: str | os.PathLike[str]) -> Any:
    """Read a pickle of numpy arrays in dicts, lists and tuples, and run nothing that it asks for.

    Of all that a pickle can call, only what rebuilds an array of numbers, booleans or text of fixed length is
    admitted, and functions of this module do it. Memory is bounded by the size of the file. Files of Python 2
    are read too: their strings come as text, by latin1. Arrays may be read-only.
    """
    path = require_file(path)
    try:
        with path.open("rb") as file, _Map(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _finished(_ArrayUnpickler(data).load(), {})
    except _RefusedError as refusal:
        raise InputError(
            f"{path} must hold numpy arrays and plain containers alone, but it asks for {refusal}. It was "
            "refused, and nothing was run: do not open this file by other means. Is it the original?"
        ) from None
    except MemoryError as error:
        raise MemoryError(
            f"{path} of {path.stat().st_size / 1e6:.0f} MB does not fit into memory, of which reading takes "
            "about twice the file."
        ) from error
    except _DAMAGED as error:
        raise InputError(
            f"{path} must be a whole pickle of numpy arrays, got one that is cut short or damaged "
            f"({type(error).__name__}: {error}): unpack or download it again."
        ) from error


# The unpickler that is written in Python, as joblib and dill build on: the one in C hashes what it is given,
# and takes memory for any position in its memo and any length that a file announces.
_PythonUnpickler: Any = pickle._Unpickler


def _refuse(code: bytes) -> Callable[[Any], NoReturn]:
    name = next(op.name for op in pickletools.opcodes if op.code == code.decode("latin1"))

    def load(unpickler: Any) -> NoReturn:
        raise _RefusedError(f"the instruction {name}")

    return load


def _with_plain_keys(load: Callable[[Any], None], keys: slice) -> Callable[[Any], None]:
    """Refuse containers as keys: tuples of tuples take as long to hash as the tree that they span."""

    def checked(unpickler: Any) -> None:
        for key in unpickler.stack[keys]:
            if not isinstance(key, str | bytes | int | float | complex | np.generic | None):
                raise _RefusedError(f"a key that is a {type(key).__name__}")
        load(unpickler)

    return checked


class _Map(mmap.mmap):
    """A file that, unlike an open one, takes no memory for bytes that are announced and not there."""

    def readline(self) -> bytes:
        line = super().readline()
        if not line.endswith(b"\n"):
            raise EOFError("a name is cut short")
        return line


class _ArrayUnpickler(_PythonUnpickler):  # type: ignore[misc]
    """Resolves names from a table of its own; whatever is absent from it is refused."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(_PythonUnpickler.dispatch)

    def __init__(self, data: _Map) -> None:
        self._may_encode = len(data)  # bytes; what a file holds is no more than the file
        # bytes, not latin1: the same letters without a second copy of each array as text
        super().__init__(data, encoding="bytes", fix_imports=False)

    def find_class(self, module: str, name: str, /) -> Any:
        """Return the stand-in for a name."""
        home = re.sub(r"^numpy\._?core\b", "numpy.core", module).replace("__builtin__", "builtins")
        if (home, name) == ("_codecs", "encode"):
            return self._encode
        if (home, name) not in _ADMITTED:
            raise _RefusedError(f"{module}.{name}")
        return _ADMITTED[home, name]

    def persistent_load(self, pid: Any) -> NoReturn:
        """Refuse references to objects outside the file."""
        raise _RefusedError("an object outside the file")

    def _encode(self, text: Any, encoding: Any) -> bytes:
        # how Python 3 writes bytes in the protocols of Python 2
        if _text(encoding) != "latin1" or not isinstance(text, str):
            raise _RefusedError(f"the codec {encoding!r}")
        self._may_encode -= len(text)
        if self._may_encode < 0:
            raise _RefusedError("more bytes than it holds")
        return text.encode("latin1")

    def _load_build(self) -> None:
        # the standard one would set attributes of anything
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, _Kind | _Array):
            raise _RefusedError("a change of attributes")
        target.fill(*state)

    def _load_bytearray8(self) -> None:
        self.append(self.read(*struct.unpack("<Q", self.read(8))))

    dispatch.update({code[0]: _refuse(code) for code in _REFUSED})
    dispatch[pickle.BUILD[0]] = _load_build
    dispatch[pickle.BYTEARRAY8[0]] = _load_bytearray8
    dispatch[pickle.SETITEM[0]] = _with_plain_keys(_PythonUnpickler.load_setitem, slice(-2, -1))
    dispatch[pickle.SETITEMS[0]] = _with_plain_keys(_PythonUnpickler.load_setitems, slice(0, None, 2))
    dispatch[pickle.DICT[0]] = _with_plain_keys(_PythonUnpickler.load_dict, slice(0, None, 2))


class _Kind:
    """A numpy.dtype as the file describes it."""

    def __init__(self, spec: Any, align: Any = False, copy: Any = False) -> None:
        spec = _text(spec)
        if not isinstance(spec, str) or not _KINDS.fullmatch(spec):
            raise _RefusedError(f"an array of kind {spec!r} (objects and records are not admitted)")
        self.dtype = np.dtype(spec)

    def fill(self, version: Any, order: Any, *others: Any) -> None:
        # others: subarray, names, fields, item size, alignment, and flags, which are not believed
        order = _text(order)
        if any(part is not None for part in others[:3]) or order not in ("<", ">", "=", "|"):
            raise _RefusedError("an array of records")
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """A numpy.ndarray that is still to be filled."""

    value: NDArray[Any] | None = None

    def fill(self, version: Any, shape: Any, kind: Any, fortran: Any, data: Any) -> None:
        self.value = _from_bytes(data, kind, shape, "F" if fortran else "C")


def _from_bytes(data: Any, kind: Any, shape: Any, order: Any = "C") -> NDArray[Any]:
    if not isinstance(kind, _Kind) or not isinstance(data, bytes):
        raise _RefusedError(f"an array whose data is a {type(data).__name__}")
    order = _text(order)
    if order not in ("C", "F") or not isinstance(shape, tuple) or not all(type(n) is int for n in shape):
        raise InputError(f"an array of shape {shape!r}")
    if not data:  # np.frombuffer takes no empty buffer
        return np.empty(shape, kind.dtype, order) if 0 in shape else np.frombuffer(data, kind.dtype)
    return np.frombuffer(data, kind.dtype).reshape(shape, order=order)


def _reconstruct(kind: Any, shape: Any, typecode: Any) -> _Array:
    if kind is not _no_call:
        raise _RefusedError("an array of another class")
    return _Array()


def _no_call(*args: Any) -> NoReturn:
    raise _RefusedError("numpy.ndarray itself, unfilled")


def _text(value: Any) -> Any:
    return value.decode("latin1") if isinstance(value, bytes) else value


_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _no_call,
    ("numpy", "dtype"): _Kind,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): lambda kind, data: _from_bytes(data, kind, ())[()],
    ("numpy.core.numeric", "_frombuffer"): _from_bytes,
    ("builtins", "bytes"): lambda: b"",  # empty bytes in the protocols of Python 2
}


def _finished(value: Any, done: dict[int, Any]) -> Any:
    """Put arrays in the place of their stand-ins, and text in the place of Python 2's strings.

    What is in several places is worked on once and stays one object: a list of lists that each hold the next
    one twice would otherwise span a tree without end.
    """
    if id(value) in done:
        if done[id(value)] is _Array:
            raise _RefusedError("a container that holds itself")
        return done[id(value)]
    done[id(value)] = _Array  # under way
    finished = _text(value)
    if isinstance(value, _Array):
        if value.value is None:
            raise InputError("an array without data")
        finished = value.value
    elif isinstance(value, _Kind) or callable(value):
        raise _RefusedError("a type instead of data")
    elif isinstance(value, dict):
        finished = {_finished(key, done): _finished(item, done) for key, item in value.items()}
    elif isinstance(value, list | tuple):
        finished = type(value)(_finished(item, done) for item in value)
    done[id(value)] = finished
    return finished
