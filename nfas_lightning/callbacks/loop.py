"""What a watch must know of the loop that it watches: where it stands, and what it logs with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd
from matplotlib.figure import Figure

__all__ = ["Loggers", "Moment"]


@dataclass(frozen=True)
class Moment:
    """Where a loop stands.

    Attributes:
        step: optimizer steps done.
        epoch: epoch that is running, from 0.
        why: ``"start"``, ``"step"``, ``"epoch"``, ``"checkpoint"``, ``"end"`` or ``"stage"``.
        dry: run a few stimuli through the network, and keep and log nothing.
        context: made around each forward pass, e.g. the loop's autocast.
        stage: ``"validate"`` or ``"test"`` where no training runs: keys begin with it, and the curve over
            training is left alone.
    """

    step: int
    epoch: int
    why: str
    dry: bool = False
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    stage: str = ""


class Loggers(Protocol):
    """What a loop logs with; called on rank zero alone."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log scalars."""

    def table(self, key: str, table: pd.DataFrame, step: int) -> None:
        """Log a table where tables are shown."""

    def figure(self, key: str, figure: Figure, step: int) -> None:
        """Log a figure where figures are shown."""

    def config(self, values: Mapping[str, Any]) -> None:
        """Log what the looks are made of, where runs have a config."""

    def say(self, text: str) -> None:
        """Tell the user."""
