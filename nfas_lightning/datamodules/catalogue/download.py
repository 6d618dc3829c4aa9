"""Carries a plan out: several files at once, a bar, and what went wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from nfas_lightning.datamodules.catalogue.download_plan import Job, Plan
from nfas_lightning.datamodules.catalogue.transfer import (
    Client,
    Stopped,
    TransferError,
    UnreachableError,
    fetch_file,
)

__all__ = ["Outcome", "carry_out", "room_for"]

# file systems need some room for themselves
_SPARE = 2**26


@dataclass
class Outcome:
    """What came of a download.

    Attributes:
        checksummed: files whose MD5 was compared.
        sized: files whose size alone was, since the server gives no MD5 of them.
        failed: files that did not come, and why.
        not_tried: files left for another time, after the connection was lost.
    """

    checksummed: int = 0
    sized: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    not_tried: int = 0


def room_for(plan: Plan) -> tuple[int, int]:
    """Return the bytes still to come, begun parts taken off, and the bytes free where they go."""
    begun = sum(
        part.stat().st_size
        for job in plan.wanted
        if job.target.parent.is_dir()
        for part in job.target.parent.glob(f".{job.target.name}.*.part")
    )
    place = plan.folder
    while not place.exists():
        place = place.parent
    return max(0, plan.n_bytes - begun), shutil.disk_usage(place).free


def carry_out(plan: Plan, client: Client, *, workers: int = 4, progress: bool = True) -> Outcome:
    """Bring the wanted files.

    Interrupted, by Ctrl-C or by a lost connection, it leaves finished files and begun parts; the same call
    goes on from there.

    Args:
        plan: of `make_plan`.
        client: how to talk.
        workers: files at once.
        progress: show a bar on standard error.

    Raises:
        OSError: the disk is too small or full, or the folder can't be written.
        RuntimeError: another process is writing into the folder.
        KeyboardInterrupt: after every thread has stopped.
    """
    need, free = room_for(plan)
    if need + _SPARE > free:
        raise OSError(
            f"{plan.folder} must have room for {need:,} bytes, its disk has {free:,} free: free some, name "
            "another root, or choose fewer subjects or kinds."
        )
    plan.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(plan.folder / ".nfas-get.lock", timeout=0)
    try:
        with lock:
            return _fetch_all(plan, client, workers, progress)
    except Timeout as error:
        raise RuntimeError(
            f"Another `nfas data get` is writing into {plan.folder}: wait for it, or stop it."
        ) from error


def _fetch_all(plan: Plan, client: Client, workers: int, progress: bool) -> Outcome:
    outcome = Outcome()
    with _bar(plan, progress) as advance, ThreadPoolExecutor(max(1, workers)) as pool:

        def fetch(job: Job) -> bool:
            size, etag = job.remote.size, job.remote.etag
            return fetch_file(client, job.url, job.target, size=size, etag=etag, advance=advance)

        futures: dict[Future[bool], Job] = {pool.submit(fetch, job): job for job in plan.wanted}
        try:
            for future in as_completed(futures):
                _note(outcome, future, futures[future], client)
        except BaseException:
            # whatever ends this: threads stop at their next chunk, the pool waits for them
            client.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return outcome


def _note(outcome: Outcome, future: Future[bool], job: Job, client: Client) -> None:
    try:
        if future.result():
            outcome.checksummed += 1
        else:
            outcome.sized += 1
    except Stopped:
        outcome.not_tried += 1
    except UnreachableError as error:
        outcome.failed[job.remote.key] = str(error)
        # the other files would meet the same fate, each after minutes of trying
        client.stop.set()
    except TransferError as error:
        outcome.failed[job.remote.key] = str(error)


@contextmanager
def _bar(plan: Plan, show: bool) -> Iterator[Callable[[int], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not show) as bar:
        task = bar.add_task(f"{len(plan.wanted)} files", total=plan.n_bytes)
        yield lambda n: bar.advance(task, n)
