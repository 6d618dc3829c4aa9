"""What is wrong with a command line or a config, in one message with the nearest names.

jsonargparse reports every type that a value could have had; here the one that was meant is picked out. A
message that is not recognized is shown as it came.
"""

from __future__ import annotations

import os
import re
import sys
from ast import literal_eval
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

__all__ = ["PlainErrors", "explain", "is_debugging", "missing_file", "nearest", "refuse", "say_loading"]

# what a value could have been and was not: said of every union, and never the reason
_NOISE = (
    "Expected a <class 'NoneType'>",
    "Not a valid subclass of",
    "Expected a path but",
    "Expected a <class 'bool'>",
    "Expected a <class 'collections.abc.Iterable'>",
)
# bases whose subclasses a config may name under a key, and where they are
_BASES = {
    "model": "pytorch_lightning:LightningModule",
    "data": "pytorch_lightning:LightningDataModule",
    "trainer.callbacks": "pytorch_lightning:Callback",
    "trainer.logger": "pytorch_lightning.loggers:Logger",
    "trainer.strategy": "pytorch_lightning.strategies:Strategy",
    "optimizer": "torch.optim:Optimizer",
    "lr_scheduler": "torch.optim.lr_scheduler:LRScheduler",
}


def is_debugging() -> bool:
    """Whether errors are to show their tracebacks: ``--debug``, or NFAS_DEBUG in the environment."""
    return os.environ.get("NFAS_DEBUG", "") not in ("", "0")


def say_loading(library: str) -> None:
    """Say on a terminal that a library is about to be imported, which takes seconds; else say nothing."""
    if _MODULES[library] in sys.modules or not sys.stderr.isatty():
        return
    dim, plain = ("", "") if os.environ.get("NO_COLOR") else ("\x1b[2m", "\x1b[0m")
    print(f"{dim}loading {library} ...{plain}", file=sys.stderr, flush=True)


_MODULES = {"Lightning": "pytorch_lightning", "PyTorch": "torch"}


class PlainErrors(ArgumentParser):  # type: ignore[misc]  # jsonargparse is not followed by mypy
    """A parser whose errors are one message with the nearest names, and exit code 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong without listing every option there is; see `explain`."""
        if not self.exit_on_error or is_debugging():
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        program = parser.prog.replace(" [options]", "")
        refuse(program, explain(message, _options(parser)))


def refuse(command: str, message: str, code: int = 2) -> NoReturn:
    """End a command with the one error that it has.

    Args:
        command: as it is typed, ``"nfas data get"``.
        message: what was expected, what came, what to do.
        code: exit code, see `nfas_lightning.cli.process.EXIT_CODES`.
    """
    print(f"{command}: error: {message}", file=sys.stderr)
    raise SystemExit(code)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ``" Did you mean ...?"`` with the names that look most like `name`, or nothing.

    Example:
        >>> nearest("ScoreWritr", ["ScoreWriter", "DepthTrajectory"])
        " Did you mean 'ScoreWriter'?"
        >>> nearest("qqq", ["ScoreWriter"])
        ''
    """
    by_folded = {candidate.casefold(): candidate for candidate in names}
    close = get_close_matches(name.casefold(), by_folded, n=3, cutoff=0.55)
    return f" Did you mean {' or '.join(repr(by_folded[c]) for c in close)}?" if close else ""


def explain(message: str, options: Iterable[str] = ()) -> str:
    """Return an error message of jsonargparse's in plain words.

    Args:
        message: as jsonargparse made it, or an error that it wrapped.
        options: the options that the parser knows, without dashes.

    Example:
        >>> explain("unrecognized arguments: --modl x", ["model", "data"])
        "unknown option '--modl'. Did you mean '--model'?"
    """
    options = list(options)
    for pattern, answer in _ANSWERS:
        found = re.search(pattern, message)
        if found:
            return answer(found, options)
    reasons = _reasons(message) or _no_class(message)
    return "\n".join(reasons) if reasons else message.strip()


def _reasons(message: str) -> list[str]:
    """The reasons in a nested report of types, each behind the key that it is about."""
    key, owner, skipped = "", "", -1
    reasons: list[str] = []
    depths: list[tuple[int, str]] = []  # the keys around a line, with their indents
    for line in message.splitlines():
        text = line.strip().removeprefix("- ").strip()
        indent = len(line) - len(line.lstrip())
        if skipped >= 0 and (indent > skipped or not text):
            continue
        skipped = -1
        if text.startswith("Given value"):
            break
        if found := re.match(r'Parser key "([^"]+)"(?: element \d+)?:\s*(.*)', text):
            depths = [(depth, name) for depth, name in depths if depth < indent]
            depths.append((indent, found[1]))
            key, text = ".".join(name for _, name in depths), found[2]
        if found := re.match(r"Problem with given class_path '([^']+)':\s*(.*)", text):
            owner, text = found[1], found[2]
        if text.startswith(_NOISE):
            skipped = indent
            continue
        if not text or text.startswith(("Does not validate", "Subtypes:", "Errors:", "Subclass types")):
            continue
        reason = _reason(text, owner, key)
        if re.search(_UNFINISHED, reason):
            reason += _given(message, indent)
        reasons.append(f"{key}: {reason}" if key else reason)
    return list(dict.fromkeys(reasons))


def _given(message: str, indent: int) -> str:
    """What was given where a reason of this indent was found: the first value that encloses it."""
    values = re.findall(r"^( *)Given value: (.*)$", message, flags=re.MULTILINE)
    given = next((value.strip() for spaces, value in values if len(spaces) <= indent), "")
    return f", got {given!r}." if 0 < len(given) < 60 else "."


def _no_class(message: str) -> list[str]:
    """What is said where a class is expected and something else stands, e.g. a mistyped class_path."""
    found = re.search(r'Parser key "([^"]+)".*Given value: (.*)$', message, flags=re.DOTALL)
    if found is None or "Not a valid subclass of" not in message:
        return []
    try:
        given = literal_eval(found[2].strip())
    except (ValueError, SyntaxError):
        return []
    keys = [str(key) for key in given] if isinstance(given, dict) else []
    hint = next((h for key in keys if (h := nearest(key, _WRAPPERS)) and key not in _WRAPPERS), "")
    got = f"the keys {', '.join(keys)}" if keys else repr(given)
    return [f"{found[1]}: expected class_path and init_args, got {got}.{hint}"]


def _reason(text: str, owner: str, key: str) -> str:
    """One reason of a nested report; `owner` is the class whose arguments are being read."""
    short = owner.rpartition(".")[2]
    if found := re.match(r"Expected a dot import path string: (.*)", text):
        return f"there is no class {found[1]!r}.{nearest(found[1], _class_names(key))} {_OWN_CLASS}"
    if found := re.match(r"module '([^']+)' has no attribute '([^']+)'", text):
        return f"{found[1]} has no {found[2]!r}.{nearest(found[2], _public_names(found[1]))}"
    if found := re.match(r"No module named '([^']+)'", text):
        return f"there is no module {found[1]!r}. {_OWN_CLASS}"
    if found := re.match(r"Option '([^']+)' is not accepted", text):
        name = found[1].partition(".")[0]
        if name not in _arguments(owner) and (wrapper := nearest(name, _WRAPPERS)):
            return f"unknown key {name!r}.{wrapper}"
        return f"{short} has no option {name!r}.{nearest(name, _arguments(owner))} {_see(owner)}"
    if found := re.match(r"the following arguments are required: (.*)", text):
        return f"{short} needs {found[1]}. {_see(owner)}"
    if found := re.match(r"Expected a typing\.Literal\[(.*)\](?:\. Got value: (.*))?$", text):
        if found[2] is None:
            return f"expected one of {found[1]}"
        hint = nearest(found[2], re.findall(r"'([^']*)'", found[1]))
        return f"expected one of {found[1]}, got {found[2]!r}.{hint}"
    if found := re.match(r"Expected an? <class '([^']+)'>(?:\. Got value: (.*))?$", text):
        return f"expected {found[1]}" + (f", got {found[2]!r}." if found[2] else "")
    return text


_WRAPPERS = ("class_path", "init_args")
_UNFINISHED = r"(^|: )expected (\w+|one of '.*')$"
_OWN_CLASS = (
    "A class of your own goes by its module, my_module.MyClass, found in the current folder or installed."
)


def _see(owner: str) -> str:
    return f"`nfas help {owner.rpartition('.')[2]}` lists them." if owner else ""


def _unknown_flag(found: re.Match[str], options: list[str]) -> str:
    flag = found[1].partition("=")[0]
    name = flag.lstrip("-")
    return f"unknown option {flag!r}." + nearest(name, options).replace("'", "'--", 1).replace(
        " or '", " or '--"
    )


def _unknown_key(found: re.Match[str], options: list[str]) -> str:
    # the parser stops at the first part that it knows nothing about: 'trainner.logger' for a typo in trainner
    group, key = found.groupdict().get("group"), found["key"]
    if group:
        names = [name.removeprefix(f"{group}.") for name in options if name.startswith(f"{group}.")]
        hint = nearest(key, names).replace("'", f"'{group}.", 1).replace(" or '", f" or '{group}.")
        return f"unknown key '{group}.{key}'.{hint} {group} has {', '.join(names)}."
    tops = sorted({option.partition(".")[0] for option in options} - {"help"})
    top = key.partition(".")[0]
    if top not in tops:
        return f"unknown key {top!r}.{nearest(top, tops)} There are {', '.join(tops)}."
    return f"unknown key {key!r}.{nearest(key, options)}"


def _missing_file(found: re.Match[str], options: list[str]) -> str:
    return missing_file(found[1])


def missing_file(path: str | Path) -> str:
    """Say that a file is missing, with those of its folder, or one below, that look like it."""
    path = Path(path)
    if path.is_dir():
        return f"{path} is a folder, expected a file."
    folder = path.parent
    while not folder.is_dir():
        folder = folder.parent
    suffix = path.suffix or ".yaml"
    here = [str(p) for pattern in (f"*{suffix}", f"*/*{suffix}") for p in sorted(folder.glob(pattern))][:500]
    by_name = {Path(p).name: p for p in here}
    close = get_close_matches(path.name, by_name, n=3, cutoff=0.55)
    hint = f" Did you mean {' or '.join(by_name[c] for c in close)}?" if close else ""
    return f"there is no file {path}.{hint}"


def _required(found: re.Match[str], options: list[str]) -> str:
    names = sorted((name.strip().rpartition(".")[2] for name in found[1].split(",")), reverse=True)
    wanted = " and ".join(names)
    if not {"model", "data"} & set(names):
        return f"{wanted} missing. `--help` says more."
    flags = " ".join(f"--{name} NAME" for name in names)
    return (
        f"{wanted} missing: give a config that has {wanted} (--config FILE), or {flags}. `--help` shows one."
    )


_ANSWERS: tuple[tuple[str, Callable[[re.Match[str], list[str]], str]], ...] = (
    (r"^unrecognized arguments: (\S+)", _unknown_flag),
    (r"^Group '(?P<group>[^']+)' does not accept option '(?P<key>[^']+)'", _unknown_key),
    (r"does not accept option '(?P<key>[^']+)'", _unknown_key),
    (r"^Option '(?P<key>[^']+)' is not accepted", _unknown_key),
    (
        r"^(?:Parser key \"config\": )?(?:File|Path) (?:does not exist|is not a file): '([^']+)'",
        _missing_file,
    ),
    (r"^the following arguments are required: (.*)$", _required),
    (
        r"^--[\w.]+\.help: Expected a dot import path string: (.*)$",
        lambda found, _: f"there is no class {found[1]!r}.{nearest(found[1], _class_names())}",
    ),
    (
        r"^(\w+ must be one of ([^\n]*), got '([^'\n]*)'\.?)$",
        lambda found, _: found[1] + nearest(found[3], re.findall(r"'([^']*)'", found[2])),
    ),
)


def _options(parser: Any) -> list[str]:
    """Long options of a parser, without dashes."""
    strings = [string for action in parser._actions for string in action.option_strings]
    return sorted({s[2:] for s in strings if s.startswith("--") and not s.endswith(("+", ".help"))})


def _class_names(key: str = "") -> list[str]:
    """Names of the classes that may stand under a key, or under any."""
    names = set()
    for base in [base for place, base in _BASES.items() if place == key] or _BASES.values():
        module, _, name = base.partition(":")
        pending = [getattr(import_module(module), name)]
        while pending:
            subclasses = pending.pop().__subclasses__()
            pending += subclasses
            names |= {subclass.__name__ for subclass in subclasses if not subclass.__name__.startswith("_")}
    return sorted(names)


def _public_names(module: str) -> list[str]:
    return [name for name in dir(import_module(module)) if not name.startswith("_")]


def _arguments(class_path: str) -> list[str]:
    if not class_path:
        return []
    module, _, name = class_path.rpartition(".")
    return [key for key in signature(getattr(import_module(module), name)).parameters if key != "self"]
