"""Source of functions, classes and modules: what a key knows of code."""

from __future__ import annotations

import functools
import inspect
import io
import os
import sys
import textwrap
import time
import tokenize
import types
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import is_dataclass
from typing import Any

from nfas_lightning.errors import InputError

__all__ = ["WRAPPERS", "NoKeyError", "defined", "identifiers", "is_own", "name_of", "source_of"]

_STARTED = time.time()
WRAPPERS: dict[type, str] = {
    staticmethod: "__func__",
    classmethod: "__func__",
    property: "fget",
    functools.cached_property: "func",
    type(functools.cache(len)): "__wrapped__",
}
"""Where what wraps a function keeps it."""


class NoKeyError(InputError):
    """Content that can't be told from other content, so that a result of it can't be found again."""


def name_of(value: object) -> str:
    """Return where a class or a function is defined."""
    return f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', None)}"


def defined(kind: type) -> dict[str, object]:
    """Return what a class of yours defines, and of a library's class the functions that you put into it."""
    functions = types.FunctionType, *WRAPPERS
    if not is_own(kind.__module__):
        patched = {n: v for n, v in vars(kind).items() if isinstance(v, types.FunctionType)}
        return {n: v for n, v in patched.items() if is_own(str(v.__globals__.get("__name__")))}
    found = {}
    for name, value in vars(kind).items():
        is_pythons = name.startswith("__") and name.endswith("__")
        if is_dataclass(kind) and is_pythons and name != "__call__":
            continue  # written by Python, which has no source of them
        if isinstance(value, functions) or not (is_pythons or name == "_abc_impl"):
            found[name] = value
    return found


def source_of(value: Any) -> str:
    """Return the source of a function or module.

    Raises:
        NoKeyError: there is none, or it may be another's.
    """
    name = value.__name__ if isinstance(value, types.ModuleType) else name_of(value)
    try:
        if inspect.getfile(value) == "<string>":  # of exec: Python 3.13 shows the text of `python -c` for it
            raise OSError("made by exec")
        source, file = textwrap.dedent(inspect.getsource(value)), inspect.getsourcefile(value)
    except (OSError, TypeError) as error:
        raise NoKeyError(f"{name} has no source: define it in a file") from error
    if name.endswith("<lambda>") and list(identifiers(source)).count("lambda") != 1:
        raise NoKeyError(f"several lambdas share the source of {name}: give each a line or a name of its own")
    if file is not None and os.path.exists(file) and os.path.getmtime(file) > _STARTED:
        raise NoKeyError(f"{file}, which defines {name}, was changed after this process had begun")
    return source


def identifiers(source: str) -> Iterator[str]:
    """Yield the names in a source, without its comments and texts."""
    # a lambda's source is the lines that it stands on, which may end in the middle of an expression
    with suppress(tokenize.TokenError, IndentationError, SyntaxError):
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        yield from (token.string for token in tokens if token.type == tokenize.NAME)


@functools.cache
def is_own(module: str) -> bool:
    """Whether a module is the user's: not Python's, not an installed package's and not this package's."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top == "nfas_lightning" or top.startswith("namedtuple_"):
        return False
    file = getattr(sys.modules.get(module) or sys.modules.get(top), "__file__", None) or ""
    return "site-packages" not in file and "dist-packages" not in file
