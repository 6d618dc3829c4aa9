"""What the `nfas` command says: errors in one message, help out of docstrings, exit codes."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from difflib import get_close_matches
from inspect import getdoc
from pathlib import Path
from traceback import walk_tb
from typing import Any, NoReturn

from jsonargparse import ArgumentParser
from rich.text import Text

from nfas_lightning.errors import NFASError
from nfas_lightning.terminal import printed

__all__ = [
    "EXIT_CODES", "PlainErrors", "is_debugging", "is_message", "missing_file", "printing_json",
    "refuse", "refusing", "say_loading", "summary",
]  # fmt: skip

EXIT_CODES = {
    0: "done",
    1: "failed",
    2: "wrong command line or config, nothing was run",
    130: "Ctrl-C",
    143: "terminated",
}
"""What the codes of the process mean, as `nfas --help` says it."""

_LIGHTNING = ("pytorch_lightning.", "lightning_fabric.")
_MODULES = {"Lightning": "pytorch_lightning", "PyTorch": "torch"}


def is_debugging() -> bool:
    """Whether errors are to show their tracebacks: ``--debug``, or NFAS_DEBUG in the environment."""
    return os.environ.get("NFAS_DEBUG", "") not in ("", "0")


def is_message(error: BaseException) -> bool:
    """Whether an error is a message for the user, which a traceback would only hide.

    Ours are, and what Lightning says of a wrong configuration; a folder that may not be written and a full
    disk are the user's to mend, and Python names them.
    """
    told = PermissionError | NotADirectoryError | IsADirectoryError | FileExistsError | ConnectionError
    if isinstance(error, NFASError | told):
        return True
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
        return True
    lightning = sys.modules.get("lightning_fabric.utilities.exceptions")
    if lightning is not None and isinstance(error, lightning.MisconfigurationException):
        return True
    # the Trainer says ValueError of an option that it does not know
    homes = [str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(error.__traceback__)]
    return isinstance(error, ValueError) and bool(homes) and homes[-1].startswith(_LIGHTNING)


class PlainErrors(ArgumentParser):  # type: ignore[misc]  # jsonargparse is not followed by mypy
    """A parser whose errors are the message alone, without the list of every option, and exit code 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong, and end."""
        if not self.exit_on_error or is_debugging():
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        refuse(parser.prog.replace(" [options]", ""), message.strip())


def refuse(command: str, message: str, code: int = 2) -> NoReturn:
    """End a command with the one error that it has.

    Args:
        command: as it is typed, ``"nfas data get"``.
        message: what was expected, what came, what to do.
        code: exit code, see `EXIT_CODES`.
    """
    print(f"{command}: error: {message}", file=sys.stderr)
    raise SystemExit(code)


@contextmanager
def refusing(command: str) -> Iterator[None]:
    """End a command with code 2 where the block, which runs nothing yet, refuses what was asked for.

    Args:
        command: as it is typed, ``"nfas space"``.
    """
    try:
        yield
    except Exception as error:
        if is_debugging() or not is_message(error):
            raise
        refuse(command, str(error))


@contextmanager
def printing_json() -> Iterator[Callable[[Any], None]]:
    """Print JSON alone on stdout: the value that is given inside, or the tables that were printed there.

    What is printed inside goes to stderr. Nothing is printed where nothing was found.
    """
    found: list[Any] = []
    printed.clear()
    try:
        with redirect_stdout(sys.stderr):
            yield found.append
    finally:
        value = found[0] if found and found[0] is not None else [_rows(table) for table in printed]
        value = _records(value) if hasattr(value, "to_json") else value
        if value:
            print(json.dumps(value, indent=1, default=_records))


def _records(value: Any) -> Any:
    """Return the rows of a data frame, in JSON's own kinds, and the text of what JSON has no kind for."""
    if hasattr(value, "to_json"):
        return json.loads(value.to_json(orient="records", double_precision=15))
    return str(value)


def _rows(table: Any) -> dict[str, Any]:
    columns = [[_plain(cell) for cell in column.cells] for column in table.columns]
    names = [str(column.header) for column in table.columns]
    rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return {"title": _plain(table.title or ""), "rows": rows}


def _plain(cell: Any) -> str | float:
    text = Text.from_markup(str(cell)).plain.strip()
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return text


def say_loading(library: str) -> None:
    """Say on a terminal that a library is about to be imported, which takes seconds; else say nothing."""
    if _MODULES[library] in sys.modules or not sys.stderr.isatty():
        return
    dim, plain = ("", "") if os.environ.get("NO_COLOR") else ("\x1b[2m", "\x1b[0m")
    print(f"{dim}loading {library} ...{plain}", file=sys.stderr, flush=True)


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


def summary(function: Callable[..., Any], argument: str | None = None) -> str:
    """Return the first line of a docstring, or what its Args section says of one argument.

    Example:
        >>> summary(summary)
        'Return the first line of a docstring, or what its Args section says of one argument.'
    """
    text = getdoc(function) or ""
    if argument is None:
        return text.split("\n")[0]
    found = re.search(rf"^    {re.escape(argument)}: (.*(?:\n {{8}}.*)*)", text, flags=re.MULTILINE)
    return re.sub(r"\s+", " ", found.group(1)) if found else ""
