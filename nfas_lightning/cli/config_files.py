"""Look at config files before anything heavy is imported: a slip in YAML shows at once, with its line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from nfas_lightning.cli.check_config import ConfigError
from nfas_lightning.cli.messages import missing_file
from nfas_lightning.writing import load_yaml

__all__ = ["read_config_files"]

_REPLACED = ("callbacks", "logger")  # lists of a Trainer that a second file takes the place of


def read_config_files(args: Sequence[str]) -> list[dict[str, Any]]:
    """Read every ``--config`` file once, and find what YAML would let pass or report without the file's name.

    Says on stderr where a later file's list takes the place of an earlier one's, which is easily overlooked.

    Returns:
        The configs, in the order of the command line.

    Raises:
        ConfigError: a file is missing, empty, no mapping, indented with tabs, or names a key twice.
    """
    seen: dict[str, tuple[str, Any]] = {}
    configs = []
    for path in _config_paths(args):
        config = _read(path)
        configs.append(config)
        trainer = config.get("trainer")
        if not isinstance(trainer, dict):
            continue
        for key in _REPLACED:
            if key not in trainer:
                continue
            if key in seen and isinstance(seen[key][1], list) and trainer[key] != seen[key][1]:
                print(
                    f"nfas: note: trainer.{key} of {path} takes the place of the one in {seen[key][0]}; "
                    f"write `{key}+:` to add to it.",
                    file=sys.stderr,
                )
            seen[key] = str(path), trainer[key]
    return configs


def _config_paths(args: Sequence[str]) -> list[Path]:
    paths = []
    for place, word in enumerate(args):
        flag, equals, value = word.partition("=")
        if flag in ("--config", "-c"):
            value = value if equals else "".join(args[place + 1 : place + 2])
            paths += [Path(value)] if value and not value.startswith("-") else []
    return paths


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(missing_file(path))
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} must be text in UTF-8 ({error}): save it as that.") from error
    for number, line in enumerate(text.splitlines(), 1):
        if "\t" in line[: len(line) - len(line.lstrip())]:
            raise ConfigError(f"{path}, line {number}: YAML is indented with spaces, and here is a tab.")
    try:
        config = load_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{place}: {getattr(error, 'problem', None) or error}.") from error
    if config is None:
        raise ConfigError(f"{path} is empty. `nfas test --help` shows what a config looks like.")
    if not isinstance(config, dict):
        raise ConfigError(
            f"{path} must hold keys and values (trainer:, model:, data:), got a {type(config).__name__}."
        )
    return config
