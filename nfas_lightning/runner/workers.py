"""Work that several processes of this machine share, each a whole piece at a time."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing import get_all_start_methods, get_context, set_forkserver_preload
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from pickle import PickleError
from typing import Any, TypeVar, cast

from nfas_lightning.errors import FailureError, InputError

__all__ = ["cores", "prepare", "processes_here", "share"]

_MOST = 4  # processes that are started unasked: each holds a model
_ENDED: dict[int | None, str] = {
    -9: "was killed (signal 9); the usual reason is that memory ran out",
    1: (
        "ended with code 1; what it wrote stands above. A script that asks for several processes needs the "
        "line `if __name__ == '__main__':` before what it runs"
    ),
}
# a server imports once what spawned processes would import each
_METHOD = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
_PRELOADED = ["nfas_lightning.runner.suite_trainer"]
T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes_here(n_models: int) -> int:
    """Return how many processes serve a suite best: one where there is an accelerator, else two to four."""
    import torch  # here and below: it takes seconds, in which `prepare` has begun already

    if torch.accelerator.is_available():
        return 1
    return max(1, min(n_models, cores(), max(2, cores() // 2), _MOST))


def prepare() -> None:
    """Begin the imports of the processes of `share`, which take seconds; this one goes on meanwhile."""
    if _METHOD == "forkserver":
        from multiprocessing.forkserver import ensure_running  # not on every system

        set_forkserver_preload(_PRELOADED)  # a server that runs already keeps its own
        ensure_running()


def share(
    make: Callable[[], Callable[[T], R]],
    items: Iterable[T],
    processes: int,
    fits: Callable[[T], bool] = lambda item: True,
) -> Iterator[tuple[T, R | Exception]]:
    """Yield each item and what a function returned for it, in the order in which they are done.

    The processes are no forks of this one: those would inherit locks of threads that they do not have. They
    end with this one, however that ends; one that dies costs the item that it had.

    Args:
        make: called once in each process, returns the function. Like what it refers to it has to pickle.
        items: handed out in this order, one at a time.
        processes: how many at a time; they share the cores.
        fits: whether there is room for an item beside those that run; one alone is always tried.

    Yields:
        Item, and its result, or the error that was raised, or `FailureError` of a process that died.
    """
    waiting, threads = list(items), max(1, cores() // processes)
    running = dict[Connection, T]()
    started = dict[Connection, BaseProcess]()
    idle = list[Connection]()
    try:
        while waiting or running:
            while waiting and len(running) < processes and (not running or fits(waiting[0])):
                if not idle:
                    ours, process = _start(make, threads)
                    started[ours] = process
                    idle.append(ours)
                running[ours := idle.pop()] = waiting.pop(0)
                with suppress(BrokenPipeError):
                    ours.send(running[ours])
            for ours in cast(list[Connection], wait(running)):
                item = running.pop(ours)
                try:
                    result = ours.recv()
                    idle.append(ours)
                except (EOFError, OSError):
                    result = _died(started.pop(ours))
                yield item, result
    finally:
        for ours, process in started.items():
            ours.close()
            process.kill()  # Lightning would take SIGTERM for a wish; results are written whole or not at all
        for process in started.values():
            process.join()


def _died(process: BaseProcess) -> FailureError:
    process.join()
    code = process.exitcode
    return FailureError(f"The process that worked on it {_ENDED.get(code, f'ended with code {code}')}.")


def _start(make: Callable[[], Callable[[T], R]], threads: int) -> tuple[Connection, BaseProcess]:
    try:
        sent = ForkingPickler.dumps((dict(os.environ), os.getcwd(), make))
    except (PickleError, TypeError, AttributeError, ValueError) as error:  # a lambda, a lock, an open file
        raise InputError(
            f"Several processes need models and data that can be sent to them, models by name above all: "
            f"{error}. Take processes=1."
        ) from error
    prepare()
    context: Any = get_context(_METHOD)
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, threads))
    process.start()
    theirs.close()
    with suppress(BrokenPipeError):  # it has died, which is seen where its result is waited for
        ours.send_bytes(sent)
    return ours, process


def _work(theirs: Connection, threads: int) -> None:
    """Do what comes until nobody is there to ask."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal: ours ends us
    torch.set_num_threads(threads)
    with suppress(EOFError, BrokenPipeError):  # nobody is left
        with warnings.catch_warnings():  # torch's own, of how it reads sparse matrices
            warnings.simplefilter("ignore")
            environment, folder, make = theirs.recv()
        # a server has those of when it was started
        os.environ |= environment
        os.chdir(folder)
        try:
            function, broken = make(), None
        except Exception as error:  # noqa: BLE001 - handed over for every item
            function, broken = repr, _portable(error)
        while True:
            item = theirs.recv()
            try:
                theirs.send(broken or function(item))
            except Exception as error:  # noqa: BLE001 - handed over: its own, or of a result that can't be sent
                theirs.send(_portable(error))


def _portable(error: Exception) -> Exception:
    """An error that another process can read, with its traceback as a note."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:  # noqa: BLE001 - whatever its class makes of it; its words are kept
        return FailureError(f"{type(error).__name__}: {error}")
    return error
