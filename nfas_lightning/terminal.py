"""The terminal that commands print their tables to, or the pipe in its place."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import copy
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

__all__ = ["doing", "heartbeat", "printed", "stdout_console"]

printed: list[Table] = []
"""Every table that this process has printed, whole: what `nfas --json` writes."""

_BEAT = 3.0  # seconds: nobody should wait for more than five without a word, on a busy machine either
_now: list[str | Callable[[], str]] = []  # what is going on, from the whole to its parts
_beating: list[bool] = []  # of heartbeats inside one another, the outermost tells


class _Console(Console):
    """A console that prints whole columns: where they do not fit, the last ones are left out, and named."""

    def print(self, *objects: Any, **options: Any) -> None:
        printed.extend(o for o in objects if isinstance(o, Table))
        super().print(*(self._fitting(o) if isinstance(o, Table) else o for o in objects), **options)

    def _fitting(self, table: Table) -> Table:
        table = copy(table)
        table.columns = list(table.columns)
        plenty, left_out = self.options.update(width=10_000), list[str]()
        while len(table.columns) > 2 and Measurement.get(self, plenty, table).minimum > self.width:
            left_out.insert(0, str(table.columns.pop().header) or "the last column")
        if left_out:
            more = f"{self.width} columns leave no room for: {', '.join(left_out)}."
            table.caption = f"{table.caption}\n{more}" if table.caption else more
            table.caption_justify = "left"
        return table


def stdout_console(pipe_columns: int = 110) -> Console:
    """Return a console on stdout, as wide as the terminal; a pipe, taken to have 80, would cut tables."""
    return _Console() if sys.stdout.isatty() else _Console(width=pipe_columns)


@contextmanager
def doing(what: str | Callable[[], str]) -> Iterator[None]:
    """Name what goes on inside, for those who are told: see `heartbeat`.

    Args:
        what: in a few words, or a function that returns them.
    """
    _now.append(what)
    try:
        yield
    finally:
        _now.remove(what)


@contextmanager
def heartbeat(seconds: float = _BEAT) -> Iterator[None]:
    """Tell on stderr, every few seconds, what goes on inside: a line that moves, in a pipe one per beat.

    A notebook writes over its line, and needs no ipywidgets for it.

    Args:
        seconds: between two lines in a pipe.
    """
    if _beating:
        yield
        return
    ended, started, console = threading.Event(), time.monotonic(), Console(stderr=True)
    status = console.status("") if console.is_terminal else None

    def beat() -> None:
        while not ended.wait(seconds if status is None else 0.2):
            told = ", ".join(what if isinstance(what, str) else what() for what in [*_now]) or "working"
            line = f"{time.monotonic() - started:.0f} s: {told}"
            if status is None:
                line = f"\r... {line:<90}" if console.is_jupyter else f"... {line}\n"
                print(line, end="", file=sys.stderr, flush=True)
            else:
                status.update(line)

    teller = threading.Thread(target=beat, daemon=True)
    with status or nullcontext():
        _beating.append(True)
        teller.start()
        try:
            yield
        finally:
            _beating.pop()
            ended.set()
            teller.join()
            if console.is_jupyter:
                print(file=sys.stderr)  # what follows begins a line of its own
