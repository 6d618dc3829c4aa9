"""What functions and classes do, in plain values: their code, what they hold and what they call."""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections.abc import Callable, Iterator

__all__ = ["class_parts", "function_parts", "is_library", "is_transient", "name_of"]

Describe = Callable[[object], object]

_LIBRARIES = frozenset((
    "PIL", "lightning", "lightning_fabric", "lightning_utilities", "nilearn", "numpy", "pandas",
    "pytorch_lightning", "rich", "scipy", "sentencepiece", "sklearn", "timm", "tokenizers", "torch",
    "torchao", "torchaudio", "torchmetrics", "torchvision", "tqdm", "transformers", "wandb",
))  # fmt: skip
_WRAPPERS = (staticmethod, classmethod, property, functools.cached_property)


def name_of(value: object) -> str:
    """Return where a class or a function is defined."""
    return f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', None)}"


def is_library(module: str | None) -> bool:
    """Whether a module belongs to Python or to a library whose version stands in the model's card."""
    top = str(module).split(".")[0]
    return top in _LIBRARIES or top in sys.stdlib_module_names


def is_transient(name: str, home: str | None) -> bool:
    """Whether a library keeps this only to be faster, or to tell where something was read.

    What one's own code calls a cache may as well be features that were computed before, and counts.
    """
    told = ("_name_or_path", "name_or_path", "_commit_hash")
    return is_library(home) and ("cache" in name.lower() or name in told)


def function_parts(function: types.FunctionType, describe: Describe) -> list[object]:
    """Return a function's name, defaults, what it encloses, its code, and the globals that it reads.

    The home of the code tells whether it is a library's: what `functools.wraps` made has another's name.
    Installed packages do not change while they are worked with: what their functions call is not followed.
    """
    home = function.__globals__.get("__name__")
    code = function.__code__
    attributes = {name for part in _nested(code) for name in part.co_names}

    def held(value: object) -> object:
        return _held(value, attributes, describe, ())

    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    parts = [
        name_of(function),
        describe(function.__defaults__),
        describe(function.__kwdefaults__),
        [[name, held(cell.cell_contents)] for name, cell in cells if _is_filled(cell)],
    ]
    if is_library(home):
        return parts
    own = {name: value for name, value in vars(function).items() if not name.startswith("_")}
    parts += [_code(code, describe), describe(own)]
    if not _is_installed(home):
        read = sorted(set(_global_names(code)) & set(function.__globals__))
        parts += [[name, held(function.__globals__[name])] for name in read]
    return parts


def class_parts(kind: type, describe: Describe) -> list[object]:
    """Return a class's bases by name with what they define; of a library's, what others put into it."""
    return [
        [name_of(base), [[n, describe(v)] for n, v in sorted(vars(base).items()) if _counts(base, n, v)]]
        for base in kind.__mro__
    ]


def _counts(kind: type, name: str, value: object) -> bool:
    if is_library(kind.__module__):
        return isinstance(value, types.FunctionType) and not is_library(value.__globals__.get("__name__"))
    if isinstance(value, (types.FunctionType, *_WRAPPERS)):
        return True
    is_pythons = name.startswith("__") and name.endswith("__")
    return not is_pythons and name != "_abc_impl"


def _held(value: object, attributes: set[str], describe: Describe, outer: tuple[object, ...]) -> object:
    """A value that a function reads; of a module of one's own, what the function may take from it."""
    if not isinstance(value, types.ModuleType):
        return describe(value)
    name = value.__name__
    if is_library(name) or _is_installed(name) or value in outer:
        return name
    taken = sorted(attributes & set(vars(value)))
    return [name, [[n, _held(vars(value)[n], attributes, describe, (*outer, value))] for n in taken]]


@functools.cache
def _is_installed(module: str | None) -> bool:
    """Whether a module lies among the installed packages; this one is worked on, wherever it lies."""
    file = getattr(sys.modules.get(str(module)), "__file__", None) or ""
    is_own = str(module).split(".")[0] == "nfas_lightning"
    return not is_own and ("site-packages" in file or "dist-packages" in file)


def _code(code: types.CodeType, describe: Describe) -> list[object]:
    """Instructions, names and constants; not the lines that they stand on."""
    constants = [_code(c, describe) if isinstance(c, types.CodeType) else describe(c) for c in code.co_consts]
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    handlers = getattr(code, "co_exceptiontable", b"")
    names = [list(code.co_names), list(arguments), list(code.co_freevars)]
    return [code.co_code.hex(), handlers.hex(), code.co_flags, names, constants]


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested(constant)


def _global_names(code: types.CodeType) -> Iterator[str]:
    for part in _nested(code):
        for instruction in dis.get_instructions(part):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                yield instruction.argval


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  # raises where a name was not yet bound
    except ValueError:
        return False
    return True
