"""What `score_models` is given, refused where it can't be used before anything is read or run."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

from nfas_lightning.lightning_packages import Logger, Trainer, kinds

__all__ = ["check_loggers", "check_path", "check_trainer_options"]


def check_trainer_options(options: Iterable[str], function: Callable[..., Any]) -> None:
    """Refuse names that neither a function nor the Trainer has an argument for.

    Args:
        options: names that are not arguments of `function` itself.
        function: what hands them to the Trainer, whose callbacks and loggers it sets.

    Raises:
        TypeError: there is no such argument; the nearest name is given.
    """
    trainer = set(inspect.signature(Trainer).parameters) - {"callbacks", "logger"}
    own = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    for name in options:
        if name == "callbacks":
            raise TypeError(
                f"{function.__name__} sets the Trainer's callbacks, got callbacks=...: with your own, test a "
                "ModelSuite with SuiteTrainer(callbacks=[DepthTrajectory(), ScoreWriter(run_dir), ...])."
            )
        if name not in trainer:
            close = get_close_matches(name, [*own, *sorted(trainer)], n=1)
            meant = f": did you mean {close[0]!r}?" if close else "."
            raise TypeError(
                f"{function.__name__} has no argument {name!r}{meant} It takes {', '.join(own)}, and those "
                "of Lightning's Trainer."
            )


def check_loggers(loggers: Any) -> list[Logger]:
    """Return loggers as a list.

    Raises:
        TypeError: they are no list of loggers.
    """
    is_several = isinstance(loggers, Iterable) and not isinstance(loggers, str)
    several = list(loggers) if is_several else [loggers]
    known = kinds("Logger")
    wrong = [logger for logger in several if not isinstance(logger, known)]
    if wrong or not is_several:
        one = (wrong or several)[0]
        advice = "leave it out to log nothing" if wrong else "put it into a list"
        raise TypeError(
            "loggers must be a list of Lightning's loggers, such as [CSVLogger('logs')], got "
            f"{_described(one)}: {advice}."
        )
    return several


def check_path(name: str, path: Any) -> str:
    """Return a path as text.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{name} must be the path of a folder, such as 'runs/mine', got {_described(path)}.")
    return os.fspath(path)


def _described(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    return f"the class {value.__name__}" if isinstance(value, type) else f"one {type(value).__name__}"
