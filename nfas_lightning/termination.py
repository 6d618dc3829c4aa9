"""SIGTERM, which schedulers send before they kill: an orderly end with a word and exit code 143."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Terminated", "ending_on_sigterm"]


class Terminated(SystemExit):
    """The process was asked to end by SIGTERM; its exit code is 143, as a shell has it."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


@contextmanager
def ending_on_sigterm(last_words: Callable[[], str] | None = None) -> Iterator[None]:
    """Raise `Terminated` in the main thread as soon as SIGTERM comes, for as long as the block lasts.

    Lightning alone looks at the signal between two batches, so that a long computation ignores it and an
    evaluation at its end returns code 0. A handler that the program has set itself stays. What `last_words`
    returns goes to stderr.
    """
    known = signal.getsignal(signal.SIGTERM)
    installs = known is signal.SIG_DFL and threading.current_thread() is threading.main_thread()
    if installs:
        signal.signal(signal.SIGTERM, _raising(os.getpid()))
    try:
        yield
    except SystemExit as stop:
        # Lightning's own has no code, which a shell takes for success
        if not isinstance(stop, Terminated) and type(stop).__name__ != "SIGTERMException":
            raise
        if last_words is not None:
            print(last_words(), file=sys.stderr, flush=True)
        if isinstance(stop, Terminated):
            raise
        raise Terminated from stop
    finally:
        if installs:
            signal.signal(signal.SIGTERM, known)


def _raising(owner: int) -> Callable[[int, Any], None]:
    def stop(number: int, frame: Any) -> None:
        if os.getpid() != owner:  # a forked worker of a loader, which ends as it would without this
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        raise Terminated

    return stop
