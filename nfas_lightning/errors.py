"""The package's own errors, each one message for the user: what was expected, what came, what to do.

They derive from Python's own, so that ``except ValueError`` keeps its meaning, and from `NFASError`, by which
the command line tells a message from a fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

__all__ = [
    "FailureError",
    "InputError",
    "InputTypeError",
    "MissingFileError",
    "MissingPackageError",
    "NFASError",
    "NotEnoughMemoryError",
    "UnreadableError",
    "before_running",
    "nearest",
]


class NFASError(Exception):
    """Base of the errors that this package raises on purpose.

    Attributes:
        exit_code: of a command that it ends: 1, or 2 where nothing was run, see `before_running`.
    """

    exit_code = 1


class InputError(NFASError, ValueError):
    """A value, a shape or a combination that has no answer."""


class InputTypeError(NFASError, TypeError):
    """An argument of the wrong type."""


class MissingFileError(NFASError, FileNotFoundError):
    """A file or folder that is not there."""


class UnreadableError(NFASError, OSError):
    """A file that is there and cannot be used."""


class MissingPackageError(NFASError, ImportError):
    """An optional package that is not installed."""


class NotEnoughMemoryError(NFASError, MemoryError):
    """A run that can't fit into what is free."""


class FailureError(NFASError, RuntimeError):
    """Something that cannot go on, though its input was right."""


@contextmanager
def before_running() -> Iterator[None]:
    """Mark errors of the block as of what was asked for: nothing has been run yet."""
    try:
        yield
    except NFASError as error:
        error.exit_code = 2
        raise


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
