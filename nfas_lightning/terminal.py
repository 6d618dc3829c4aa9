"""The terminal that commands print their tables to, or the pipe in its place."""

from __future__ import annotations

import sys

from rich.console import Console

__all__ = ["stdout_console"]


def stdout_console(pipe_columns: int = 110) -> Console:
    """Return a console on stdout, as wide as the terminal; a pipe, taken to have 80, would cut tables."""
    return Console() if sys.stdout.isatty() else Console(width=pipe_columns)
