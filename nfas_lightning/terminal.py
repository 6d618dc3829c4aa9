"""The terminal that commands print their tables to, or the pipe in its place."""

from __future__ import annotations

import sys

from rich.console import Console

__all__ = ["stdout_console"]


def stdout_console(pipe_columns: int = 110) -> Console:
    """Return a console on stdout, as wide as the terminal.

    Args:
        pipe_columns: width where stdout is no terminal: it would be taken to have 80 columns, and tables that
            need more would lose numbers.
    """
    return Console() if sys.stdout.isatty() else Console(width=pipe_columns)
