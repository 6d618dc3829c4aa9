"""Names and values of a config, checked before anything is built: one message for the first mistake.

What is not certain here (an annotation that cannot be read, a value that only the class can judge) passes:
the parser and the classes have the last word.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from enum import EnumType
from importlib import import_module
from itertools import zip_longest
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import yaml
from jsonargparse import ArgumentParser

from nfas_lightning.errors import InputError, nearest
from nfas_lightning.writing import load_yaml

__all__ = ["ConfigError", "check_arguments", "check_lightning", "check_value"]

_UNKNOWN = object()  # a value that stands elsewhere
_WRAPPERS = ("class_path", "init_args", "dict_kwargs")
_OWN = "A class of your own goes by its module, my_module.MyClass, found in the current folder or installed."
# bases whose subclasses a config names by class_path
_LATER = {"Optimizer", "LRScheduler"}  # whose first argument comes later
_BASES = {"LightningModule", "LightningDataModule", "Callback", "Logger", "Strategy", "Profiler", *_LATER}


class ConfigError(InputError):
    """A config that names what there is not, or gives a value that cannot be meant."""


def check_arguments(
    given: Mapping[str, Any],
    owner: Callable[..., Any],
    where: str = "",
    *,
    whole: bool = True,
    also: Sequence[str] = (),
) -> None:
    """Check the options that a config gives to a class.

    Args:
        given: options by name.
        owner: the class, or a function.
        where: the key of the config that they stand under, ``"trainer.callbacks"``; empty: on top.
        whole: whether options without a default must be there.
        also: names that are given elsewhere, on the command line.

    Raises:
        ConfigError: a name that the class does not have, a value of another type, a missing option.
    """
    parameters = _parameters(owner)
    hints = _hints(owner)
    name_of = getattr(owner, "__name__", str(owner))
    listed = not where or is_typeddict(owner)
    see = f" There are {', '.join(parameters)}." if listed else f" `nfas help {name_of}` lists them."
    for key, value in [*given.items(), *((name, _UNKNOWN) for name in also)]:
        name = str(key).removesuffix("+")
        if name not in parameters:
            what = f"{where}: {name_of} has no option" if where else "unknown key"
            raise ConfigError(f"{what} {name!r}.{nearest(name, parameters)}{see}")
        if value is _UNKNOWN or (value is None and parameters[name].default is None):
            continue
        if problem := _problem(value, hints.get(name, Any), f"{where}.{name}".lstrip(".")):
            raise ConfigError(problem)
    if whole:
        required = [
            name
            for name, parameter in parameters.items()
            # a dataclass is made of its own defaults
            if parameter.default is inspect.Parameter.empty and not is_dataclass(hints.get(name))
        ]
        here = {str(key).removesuffix("+") for key in (*given, *also)}
        if missing := [name for name in required if name not in here]:
            raise ConfigError(f"{where}: {name_of} needs {', '.join(missing)}.{see}".lstrip(": "))


def check_value(value: Any, hint: Any, where: str) -> None:
    """Check one value against the annotation of its parameter.

    Raises:
        ConfigError: it is of another type, or none of the choices.
    """
    if problem := _problem(value, hint, where):
        raise ConfigError(problem)


def check_lightning(
    args: Sequence[str],
    configs: Sequence[Mapping[str, Any]],
    flags: Sequence[str],
    trainer: type,
    classes: Mapping[str, type],
    required: Sequence[str] = (),
) -> None:
    """Check a command line of LightningCLI's, with its config files.

    Args:
        args: words behind the command.
        configs: the files' contents, later ones winning.
        flags: options of the command, with dashes.
        trainer: class of the Trainer.
        classes: keys that name a class, with the base of that class.
        required: those of them that must be there.

    Raises:
        ConfigError: the first name that there is not, or value that cannot be meant.
    """
    tops = sorted({flag[2:].partition(".")[0].rstrip("+") for flag in flags} - {"help"})
    of_trainer = _parameters(trainer)
    given: dict[str, Any] = {}
    for config in configs:
        for key, value in config.items():
            name = str(key).rstrip("+")
            if name not in tops:
                raise ConfigError(f"unknown key {name!r}.{nearest(name, tops)} There are {', '.join(tops)}.")
            if name == "trainer" and isinstance(value, Mapping):
                check_arguments(value, trainer, "trainer", whole=False)
            given[name] = value
    options: dict[str, list[str]] = {}
    for word, after in zip_longest(args, args[1:], fillvalue=""):
        flag, equals, value = word.partition("=")
        if not flag.startswith("--"):
            continue
        top, *rest = (part.rstrip("+") for part in flag[2:].split("."))
        if top not in tops or (top == "trainer" and rest and rest[0] not in of_trainer):
            raise ConfigError(f"unknown option {flag!r}.{nearest(flag, flags)}")
        if rest and rest[0] in ("help", "dict_kwargs"):
            continue
        if rest and rest != ["class_path"]:
            options.setdefault(top, []).append(rest[-1] if rest[0] == "init_args" else rest[0])
        else:
            given[top] = value if equals else after
    for key, base in classes.items():
        if isinstance(given.get(key), str) and (
            given[key].endswith((".yaml", ".yml")) or given[key].startswith("{")
        ):
            continue  # a file of its own, or a mapping
        if key in given:
            _check_class(given[key], base, key, options.get(key, ()))
    missing = [key for key in required if given.get(key) is None]
    unfinished = list(args[-1:]) == ["--config"]  # which the parser says
    if missing and "--print_config" not in args and not unfinished:
        wanted, words = " and ".join(missing), " ".join(f"--{name} NAME" for name in missing)
        raise ConfigError(
            f"{wanted} missing: give a config that has {wanted} (--config FILE), or {words}. "
            "`--help` shows one."
        )


def _parameters(owner: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters that can be given by name, those that ``**kwargs`` passes on among them."""
    if is_typeddict(owner):
        keys = {k: inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY) for k in owner.__annotations__}
        optional = vars(owner)["__optional_keys__"]
        return {k: p.replace(default=None) if k in optional else p for k, p in keys.items()}
    of_class = isinstance(owner, type)
    own = list(inspect.signature(owner.__init__ if of_class else owner).parameters.values())[of_class:]
    many = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = {parameter.name: parameter for parameter in own if parameter.kind not in many}
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in own):
        return found
    # where they go stands in the source, which the parser reads
    parser = ArgumentParser(exit_on_error=False)
    (parser.add_class_arguments if of_class else parser.add_function_arguments)(owner, fail_untyped=False)
    for action in parser._actions:
        name, _, below = action.dest.partition(".")
        if name not in found and name != "help":
            default = inspect.Parameter.empty if action.required and not below else action.default
            found[name] = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
    return found


def _find_class(name: str, base: type, where: str) -> type | None:
    """Return the class that a config names: short, if it is a subclass that is loaded, or by its module.

    None stands for what only the parser can judge: a function that makes one, or a name inside a class.

    Raises:
        ConfigError: there is no such class.
    """
    module_name, _, short = name.rpartition(".")
    if not module_name:
        known = _subclasses(base)
        if short not in known:
            raise ConfigError(f"{where}: there is no class {name!r}.{nearest(name, known)} {_OWN}")
        return known[short]
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        outer, _, inner = module_name.rpartition(".")
        if hasattr(sys.modules.get(outer), inner):
            return None
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigError(f"{where}: {module_name} cannot be imported: {error}.") from error
        raise ConfigError(f"{where}: there is no module {error.name!r}. {_OWN}") from error
    except Exception as error:  # a module of the user's may raise anything
        told = f"{type(error).__name__}: {error}."
        raise ConfigError(f"{where}: {module_name} cannot be imported: {told}") from error
    kind = getattr(module, short, None)
    if kind is None:
        public = [n for n in dir(module) if not n.startswith("_")]
        raise ConfigError(f"{where}: {module_name} has no {short!r}.{nearest(short, public)}")
    if not isinstance(kind, type):
        return None
    if not issubclass(kind, base):
        raise ConfigError(f"{where}: expected a {base.__name__}, got {name}, which is none.")
    return kind


def _hints(owner: Callable[..., Any]) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for maker in reversed(owner.__mro__) if isinstance(owner, type) else [owner]:
        try:
            hints |= get_type_hints(vars(maker).get("__init__", maker) if isinstance(owner, type) else maker)
        except (NameError, TypeError, AttributeError):  # written for type checkers alone
            continue
    return hints


def _subclasses(base: type) -> dict[str, type]:
    found: dict[str, type] = {}
    pending = [base]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if not kind.__name__.startswith("_"):
            found[kind.__name__] = kind  # a subclass of the same name, as Lightning's ReduceLROnPlateau, wins
    return found


def _problem(value: Any, hint: Any, where: str) -> str | None:
    """Return what is wrong with a value of a config, None where nothing is known to be."""
    problem = _problem_as_is(value, hint, where)
    if problem is None or not isinstance(value, str):
        return problem
    try:  # the parser reads text as YAML where the type is not text
        read = load_yaml(value)
    except yaml.YAMLError:
        return problem
    return problem if isinstance(read, str) or _problem_as_is(read, hint, where) else None


def _problem_as_is(value: Any, hint: Any, where: str) -> str | None:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _problem_of_union(value, args, where)
    if choices := _choices(hint):
        meant = nearest(str(value), map(str, choices))
        return None if value in choices else f"{where}: expected {_name(hint)}, got {value!r}.{meant}"
    if (_is_plain(origin, Mapping) or is_typeddict(hint)) and not isinstance(value, Mapping):
        return f"{where}: expected keys and values, got {value!r}."
    if _is_plain(origin, Mapping):
        problems = (_problem(v, args[1], f"{where}.{key}") for key, v in value.items() if len(args) == 2)
        return next((problem for problem in problems if problem), None)
    if _is_plain(origin, Iterable):
        if isinstance(value, str) or not isinstance(value, Sequence):
            return f"{where}: expected a list, got {value!r}."
        if origin is tuple and Ellipsis not in args:
            if len(value) != len(args):
                return f"{where}: expected {len(args)} values, got {value!r}."
            problems = (_problem(v, kind, where) for v, kind in zip(value, args, strict=True))
        else:
            problems = (_problem(v, args[0], where) for v in value if args)
        return next((problem for problem in problems if problem), None)
    if hint in (bool, int, float, NoneType):
        return None if _is_scalar(value, hint) else f"{where}: expected {_name(hint)}, got {value!r}."
    if hint is str:
        other = isinstance(value, bool | int | float | Mapping | list)
        return f"{where}: expected text, got {value!r}." if other else None
    builtin = hint is Any or getattr(hint, "__module__", "") == "builtins"
    if builtin or not isinstance(hint, type) or getattr(hint, "_is_protocol", False):
        return None
    if hint.__module__ == "torch" and isinstance(value, str) and "." not in value:
        there = [f"torch.{n}" for n, found in vars(sys.modules["torch"]).items() if isinstance(found, hint)]
        meant = nearest(f"torch.{value}", there)
        return f"{where}: expected a {hint.__name__} by its module, got {value!r}.{meant}"
    try:
        _check_class(value, hint, where)
    except ConfigError as error:
        return str(error)
    return None


def _problem_of_union(value: Any, hints: tuple[Any, ...], where: str) -> str | None:
    problems = {hint: _problem(value, hint, where) for hint in hints}
    if None in problems.values():
        return None
    # the reason that is about what was meant: a class for keys and names, an element of a list for a list
    for hint, problem in problems.items():
        if isinstance(value, list) and _is_plain(get_origin(hint), Iterable):
            return problem
        if isinstance(value, str | Mapping) and (_is_base(hint) or _choices(hint)):
            return problem
        if isinstance(value, Mapping) and _is_record(hint):
            return problem
    return f"{where}: expected {' or '.join(dict.fromkeys(map(_name, hints)))}, got {value!r}."


def _check_class(value: Any, hint: type, where: str, also: Sequence[str] = ()) -> None:
    if isinstance(value, str) and _is_base(hint):
        value = {"class_path": value}
    if isinstance(value, Mapping) and "class_path" not in value and _is_record(hint):
        check_arguments(value, hint, where)
    elif isinstance(value, Mapping) and ("class_path" in value or _is_base(hint)):
        if "class_path" not in value:
            meant = next((n for key in value if (n := nearest(str(key), _WRAPPERS))), "")
            keys = f"the keys {', '.join(map(str, value))}" if value else "nothing"
            raise ConfigError(f"{where}: expected class_path and init_args, got {keys}.{meant}")
        if unknown := [str(key) for key in value if key not in _WRAPPERS]:
            meant = nearest(unknown[0], _WRAPPERS[:2])
            raise ConfigError(f"{where}: unknown key {unknown[0]!r}.{meant}")
        kind = _find_class(str(value["class_path"]), hint, where)
        if kind is None:
            return
        options = value.get("init_args", {})
        if not isinstance(options, Mapping):
            raise ConfigError(f"{where}.init_args: expected keys and values, got {options!r}.")
        check_arguments(options, kind, where, whole=not _is_base(kind, _LATER), also=also)
    elif _is_base(hint) and isinstance(value, bool | int | float | list):
        raise ConfigError(f"{where}: expected a class (class_path and init_args), got {value!r}.")


def _is_base(hint: Any, bases: set[str] = _BASES) -> bool:
    return isinstance(hint, type) and any(kind.__name__ in bases for kind in hint.__mro__)


def _is_scalar(value: Any, hint: Any) -> bool:
    if hint is NoneType:
        return value is None
    if hint is bool or isinstance(value, bool):
        return hint is bool and isinstance(value, bool)
    if hint is int:
        return isinstance(value, int)
    try:  # YAML takes 1e-3 for text
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _is_plain(origin: Any, kind: type) -> bool:
    """Whether a type is one of Python's own containers: a generic class goes by its class_path."""
    return (
        isinstance(origin, type)
        and issubclass(origin, kind)
        and origin.__module__.startswith(("builtins", "collections"))
    )


def _is_record(hint: Any) -> bool:
    """Whether values go by keys of its own, without class_path."""
    return isinstance(hint, type) and (is_dataclass(hint) or is_typeddict(hint))


def _choices(hint: Any) -> tuple[Any, ...]:
    """Return the values that a config may give, where they are few."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(hint.__members__) if isinstance(hint, EnumType) else ()


def _name(hint: Any) -> str:
    if hint is NoneType:
        return "null"
    if choices := _choices(hint):
        return f"one of {', '.join(map(repr, choices))}"
    origin = get_origin(hint) or hint
    if _is_plain(origin, Mapping):
        return "keys and values"
    if _is_plain(origin, Iterable) and origin is not str:
        return "a list"
    return {str: "text"}.get(origin, getattr(origin, "__name__", str(origin)))
