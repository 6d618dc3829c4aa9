"""What `nfas` understands: its own commands, each a function, and LightningCLI's for the rest."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib import import_module
from inspect import Parameter, signature
from itertools import takewhile, zip_longest
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_origin, get_type_hints

from nfas_lightning.cli.check_config import check_value
from nfas_lightning.cli.config_files import read_config_files
from nfas_lightning.cli.messages import (
    EXIT_CODES,
    PlainErrors,
    is_debugging,
    printing_json,
    refuse,
    refusing,
    say_loading,
    summary,
)
from nfas_lightning.errors import NFASError, nearest
from nfas_lightning.versions import installed_version

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, str] = {
    "demo": "nfas_lightning.demo:demo",
    "score": "nfas_lightning.leaderboard:score",
    "sweep": "nfas_lightning.cli.sweep:sweep",
    "space": "nfas_lightning.cli.space:space",
    "compare": "nfas_lightning.cli.compare:compare",
    "models list": "nfas_lightning.cli.models:list_models",
    "models search": "nfas_lightning.cli.models:search_models",
    "models info": "nfas_lightning.cli.models:show_model",
    "models check": "nfas_lightning.cli.models:check_models",
    "models pin": "nfas_lightning.cli.models:pin_models",
    "data list": "nfas_lightning.cli.data:list_data",
    "data check": "nfas_lightning.cli.data:check_data",
    "data get": "nfas_lightning.cli.data_get:get_data",
    "cache list": "nfas_lightning.cli.cache:list_cache",
    "cache prune": "nfas_lightning.cli.cache:prune_cache",
    "cache clear": "nfas_lightning.cli.cache:clear_cache",
    "doctor": "nfas_lightning.cli.doctor:doctor",
    "help": "nfas_lightning.cli.help:help_on",
}
"""Command, or command and subcommand, to the function that runs it: imported when it is asked for.

Its module must be quick to import, so that help and slips of the pen are answered at once: what takes seconds
the function imports itself, and says so with `say_loading`.

A parameter without a default is given by position, a list by one word or more, or by none where its default
is ``()``; the others are options, and the docstring is the help.
"""

_USAGE = f"""Neural Functional Alignment Space

  nfas demo [--quick]                pretrained models in a simulated brain space, and a report
  nfas score MODEL [MODEL ...] --on BENCHMARK
                                     models and a benchmark by their names: a leaderboard
  nfas test --config CONFIG          score a model or a suite of models on a benchmark
  nfas fit|validate|predict --config CONFIG
                                     the other commands of LightningCLI
  nfas sweep FILE                    models x benchmarks, resumable: configs/sweeps/packaged.yaml
  nfas space RUN [RUN ...]           join finished runs into one space and its report
  nfas compare RUN [RUN ...]         the stable mode against its baselines, over every data set
  nfas models list|search|info|check|pin
                                     pretrained models: the zoo and those that registry packages carry
  nfas data list|check|get           benchmarks: what they are, what of them is here, and downloads
  nfas cache list|prune|clear        states that were captured once and are scored again without a pass
  nfas doctor                        what is installed, which device, what is here, and what to do
  nfas help NAME                     options of a class that a config may name, or of a command

`nfas COMMAND --help` lists the options of a command, `nfas --version` the versions that matter.
--debug, or NFAS_DEBUG=1, shows the traceback of an error; --json prints what a command finds as JSON, and
all else on stderr. `eval "$(nfas --print_completion bash)"` completes commands, options and models; or zsh.
Exit codes: {"; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())}."""

_LIGHTNING = ("fit", "validate", "test", "predict")


def main(args: Sequence[str] | None = None) -> None:
    """Run the `nfas` command.

    Args:
        args: arguments; None takes those of the process.

    Raises:
        SystemExit: the command line or a config is wrong (code 2), or help was asked for (code 0).
    """
    given = list(sys.argv[1:] if args is None else args)
    if not given or given[0] in ("-h", "--help"):
        print(_USAGE)
        return
    if given[0] == "help" and len(given) > 1 and given[1] in {name.partition(" ")[0] for name in COMMANDS}:
        given = [*given[1:], "--help"]
    given = [_packaged(word) for word in given]
    for words in (2, 1):
        name = " ".join(given[:words])
        if name in COMMANDS:
            _run_command(name, given[words:])
            return
    if given[0] == "--version":
        names = ("nfas-lightning", "torch", "pytorch-lightning")
        print(*(f"{name} {installed_version(name)}" for name in names), sep="\n")
        print(f"python {platform.python_version()}")
        return
    if given[0] == "--print_completion":
        from nfas_lightning.cli.completion import completion

        options = {name: dict(signature(_load(target)).parameters) for name, target in COMMANDS.items()}
        print(completion("".join(given[1:2]) or "bash", options, _LIGHTNING))
        return
    group = {name: target for name, target in COMMANDS.items() if name.startswith(f"{given[0]} ")}
    if group:
        _group_usage(given, group)
    _run_lightning(given)


def _packaged(word: str) -> str:
    """Return the path of a config that the package carries, where there is none in the working folder."""
    if not word.startswith("configs/") or Path(word).exists():
        return word
    from nfas_lightning.leaderboard import CONFIGS

    carried = CONFIGS.parent / word
    return str(carried) if carried.is_file() else word


def _run_lightning(given: list[str]) -> None:
    """Hand over to LightningCLI, or to the page that introduces it."""
    known = {name.partition(" ")[0] for name in COMMANDS}
    if given[0] not in _LIGHTNING and not given[0].startswith("-"):
        hint = nearest(given[0], [*_LIGHTNING, *known])
        refuse("nfas", f"there is no command {given[0]!r}.{hint} `nfas --help` lists them.")
    if given[0] in _LIGHTNING and ({"-h", "--help"} & set(given[1:])):
        from nfas_lightning.cli.help import page

        print(page(given[0]))
        return
    with refusing(f"nfas {given[0]}"):
        configs = read_config_files(given)
    # Lightning takes seconds to import: the commands above do without it where they can
    say_loading("Lightning")
    from nfas_lightning.cli.lightning import NFASCLI

    words = ["--help" if word == "--help-all" else word for word in given if word != "--json"]
    with printing_json() if "--json" in given else nullcontext() as give:
        cli = NFASCLI(words, configs)
        if give:
            give(cli.found)


def _load(target: str) -> Callable[..., Any]:
    module, _, function = target.partition(":")
    loaded: Callable[..., Any] = getattr(import_module(module), function)
    return loaded


def _run_command(name: str, args: list[str]) -> None:
    command = _load(COMMANDS[name])
    parser = PlainErrors(prog=f"nfas {name}", description=summary(command))
    parser.add_argument("--config", action="config", help="options from a YAML file")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, all else on stderr")
    hints, parameters = _hints(command), signature(command).parameters
    # options that take a value, positional ones without a default, and flags
    valued, needed, flags = dict(hints), [], []
    # one by one: add_function_arguments would import what the command leaves for later
    for key, parameter in parameters.items():
        flag, given = f"--{key}", {"type": hints[key], "default": parameter.default}
        if parameter.default is Parameter.empty or parameter.default == ():
            flag, optional = key, parameter.default == ()
            needed += [] if optional else [key]
            given = {"type": hints[key]}
            if get_origin(hints[key]) is list:
                given = {"nargs": "*", "default": []} if optional else {"nargs": "+"}
            elif optional:
                given |= {"nargs": "?", "default": None}
            del valued[key]
        elif parameter.default is False:
            given = {"type": bool, "nargs": "?", "const": True, "default": False}
            flags.append(key)
            del valued[key]
        elif get_origin(hints[key]) is Sequence:
            # words beside each other, as the positional ones are
            given = {"nargs": "+", "type": get_args(hints[key])[0], "default": list(parameter.default)}
        parser.add_argument(flag, help=summary(command, key), **given)
    _check_names(name, args, list(parameters), needed)
    _check_values(name, args, valued)
    # the name alone means yes, as on every command line, and the word behind it is another argument
    words = [
        f"{word}=true" if word[2:] in flags and after.lower() not in ("true", "false") else word
        for word, after in zip_longest(args, args[1:], fillvalue="")
    ]
    options = parser.parse_args(words)
    options.pop("config")
    is_json = options.pop("json")
    with printing_json() if is_json else nullcontext() as give:
        try:
            found = command(**parser.instantiate(options).as_dict())
        except NFASError as error:
            if error.exit_code != 2 or is_debugging():
                raise
            refuse(f"nfas {name}", str(error))
        if hasattr(found, "scores"):  # the tables of a run
            from nfas_lightning.leaderboard import leaderboard

            found = leaderboard(found)
        if give:
            give(found)
    if "error" in getattr(found, "columns", ()):  # of a leaderboard, some models of which failed
        raise SystemExit(1)


def _check_names(command: str, args: list[str], known: list[str], needed: list[str]) -> None:
    """End where an option or a key of a config is none of the command's, or an argument is missing."""
    flags = [f"--{name}" for name in (*known, "config", "print_config", "json", "help")]
    for word in args:
        flag = word.partition("=")[0]
        if flag.startswith("--") and len(flag) > 2 and flag not in flags:
            refuse(f"nfas {command}", f"unknown option {flag!r}.{nearest(flag, flags)}")
    if {"-h", "--help"} & set(args):
        return
    if needed and not args:
        refuse(f"nfas {command}", f"{' and '.join(needed)} missing. `--help` says more.")
    with refusing(f"nfas {command}"):
        configs = read_config_files(args)
    for key in {key for config in configs for key in config}:
        if key not in known:
            refuse(
                f"nfas {command}",
                f"unknown key {key!r}.{nearest(str(key), known)} There are {', '.join(known)}.",
            )


def _check_values(command: str, args: list[str], hints: dict[str, Any]) -> None:
    """End where the value of an option is of another type than its parameter, or none of its choices."""
    for place, word in enumerate(args):
        flag, equals, value = word.partition("=")
        key = flag.removeprefix("--")
        if key not in hints or flag == key:
            continue
        after = [value] if equals else list(takewhile(lambda w: not w.startswith("--"), args[place + 1 :]))
        given: Any = after if get_origin(hints[key]) is Sequence else "".join(after[:1])
        if given and given != "null":
            with refusing(f"nfas {command}"):
                check_value(given, hints[key], key)


def _hints(command: Callable[..., Any]) -> dict[str, Any]:
    """Types of the parameters; that of what is returned may not be imported yet."""
    of_parameters = {key: hint for key, hint in command.__annotations__.items() if key != "return"}
    return get_type_hints(
        SimpleNamespace(__annotations__=of_parameters, __globals__=vars(sys.modules[command.__module__]))
    )


def _group_usage(given: list[str], group: dict[str, str]) -> None:
    """Print what a command's subcommands do; end with an error where an unknown one was asked for."""
    lines = "\n".join(f"  nfas {name:<20} {summary(_load(target))}" for name, target in group.items())
    asked_for_help = len(given) == 1 or given[1] in ("-h", "--help")
    if not asked_for_help:
        hint = nearest(given[1], [name.partition(" ")[2] for name in group])
        print(f"nfas: {given[0]} has no subcommand {given[1]!r}.{hint}", file=sys.stderr)
    print(lines, file=sys.stdout if asked_for_help else sys.stderr)
    raise SystemExit(0 if asked_for_help else 2)
