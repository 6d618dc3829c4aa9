"""Carries a plan out: several files at once, a bar, and what went wrong.

`pooch` fetches a file under another name, compares its MD5 and tries again after a growing pause. Added here:
the size is compared too, the disk is looked at first, one process at a time writes into a folder, and an
answer that will not change (404) is not asked for again. `s3fs` would list buckets as well, but needs one
release of fsspec and no other, and torch needs fsspec too.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pooch
import requests
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

from nfas_lightning.datamodules.catalogue.source import Job, Plan
from nfas_lightning.errors import FailureError, InputError, UnreadableError
from nfas_lightning.writing import short_hash, write_whole

RETRIES = 5
"""Tries after the first one; pooch waits 1, 2, 3, ... seconds before them."""
TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and to wait for the next bytes."""
_CHUNK = 2**18
_BUSY = (408, 429, 500, 502, 503, 504)
_STAGING = ".nfas-get-"
# file systems need some room for themselves
_SPARE = 2**26


class TransferError(FailureError):
    """A file can't be had, or is not what was announced; trying again changes nothing."""


class UnreachableError(TransferError):
    """The server did not answer, or broke off, every time."""


class _Stopped(Exception):  # noqa: N818  (a request to stop, not an error)
    """Another thread asked to stop."""


class _Download:
    """What pooch calls for each try: one request, whose body must have the announced size."""

    def __init__(self, size: int | None, advance: Callable[[int], None], stop: threading.Event) -> None:
        self._size = size
        self._advance = advance
        self._stop = stop
        self._told = 0

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        self.take_back()
        # bytes as they are stored: a decompressed body would fit neither size nor checksum
        headers = {"Accept-Encoding": "identity"}
        with (
            requests.get(url, stream=True, timeout=TIMEOUT, headers=headers) as response,
            open(output_file, "wb") as file,
        ):
            if response.status_code in _BUSY:
                response.raise_for_status()  # pooch tries again
            if not response.ok:
                said = f"{response.status_code} {response.reason}"
                raise TransferError(f"{_plain(url)}: the server answers {said}.")
            for chunk in response.iter_content(_CHUNK):
                if self._stop.is_set():
                    raise _Stopped
                file.write(chunk)
                self._told += len(chunk)
                self._advance(len(chunk))
        if self._size not in (None, self._told):
            raise InputError(f"it has {self._told:,} bytes")

    def take_back(self) -> None:
        """Take back the bytes of a try that failed."""
        self._advance(-self._told)
        self._told = 0


def _plain(url: str) -> str:
    """Return an address without its options, which say nothing to a reader."""
    return url.partition("?")[0]


def fetch(
    url: str,
    folder: Path,
    *,
    size: int | None = None,
    md5: str = "",
    advance: Callable[[int], None] = lambda n: None,
    stop: threading.Event | None = None,
) -> Path:
    """Bring one file into a folder, under a name of its own there.

    Args:
        url: where it is.
        folder: where it goes.
        size: bytes it must have.
        md5: checksum it must have; empty: it is not compared.
        advance: told of bytes as they arrive; negative if those of a failed try are taken back.
        stop: set it, and the download ends at its next chunk.
    """
    pooch.get_logger().setLevel("WARNING")
    name, attempts = short_hash(url), RETRIES + 1
    download = _Download(size, advance, stop or threading.Event())
    registry = {name: f"md5:{md5}" if md5 else None}
    fetcher = pooch.Pooch(folder, base_url="", registry=registry, urls={name: url}, retry_if_failed=RETRIES)
    try:
        return Path(fetcher.fetch(name, downloader=download))
    except requests.RequestException as error:
        download.take_back()
        raise UnreachableError(f"{_plain(url)}: gave up after {attempts} tries ({error}).") from error
    except ValueError as error:
        download.take_back()
        wanted = f"{size:,} bytes" if size is not None else "the announced content"
        wanted += f" and MD5 {md5}" if md5 else ""
        raise TransferError(
            f"{_plain(url)} must have {wanted}, got something else {attempts} times ({error}): nothing of "
            "it was kept. It may have changed since it was listed: run again."
        ) from error


@dataclass
class Outcome:
    """What came of a download.

    Attributes:
        checksummed, sized: files whose MD5 was compared, and those whose size alone could be.
        failed: files that did not come, and why.
        not_tried: files left for another time, after the connection was lost.
    """

    checksummed: int = 0
    sized: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    not_tried: int = 0


def free_bytes(folder: Path) -> int:
    """Return the bytes that are free where a folder is, or is to be made."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def carry_out(plan: Plan, *, workers: int = 4, progress: bool = True) -> Outcome:
    """Bring the wanted files.

    A file appears under its name when it is whole. After Ctrl-C or a lost connection the finished files stay,
    and the same call fetches the others.

    Args:
        plan: of a `Source`.
        workers: files at once.
        progress: show a bar on standard error.

    Raises:
        OSError: the disk is too small or full, or the folder can't be written.
        RuntimeError: another process is writing into the folder.
        KeyboardInterrupt: after every thread has stopped.
    """
    free = free_bytes(plan.folder)
    if plan.n_bytes + _SPARE > free:
        raise UnreadableError(
            f"{plan.folder} must have room for {plan.n_bytes:,} bytes, its disk has {free:,} free: free "
            "some, name another root, or choose fewer subjects or kinds."
        )
    plan.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(plan.folder / ".nfas-get.lock", timeout=0):
            for left in plan.folder.glob(f"{_STAGING}*"):  # by a process that was killed
                shutil.rmtree(left)
            with tempfile.TemporaryDirectory(prefix=_STAGING, dir=plan.folder) as staging:
                return _fetch_all(plan, Path(staging), workers, progress)
    except Timeout as error:
        raise FailureError(
            f"Another `nfas data get` is writing into {plan.folder}: wait for it, or stop it."
        ) from error


def _fetch_all(plan: Plan, staging: Path, workers: int, progress: bool) -> Outcome:
    outcome, stop = Outcome(), threading.Event()
    with _bar(plan, progress) as advance, ThreadPoolExecutor(max(1, workers)) as pool:

        def bring(job: Job) -> None:
            if stop.is_set():
                raise _Stopped
            came = fetch(job.url, staging, size=job.size, md5=job.md5, advance=advance, stop=stop)
            # write_whole gives it the permissions of any new file: a temporary one is its owner's alone
            write_whole(job.target, lambda place: os.replace(came, place))

        futures = {pool.submit(bring, job): job for job in plan.wanted}
        try:
            for future in as_completed(futures):
                _note(outcome, future, futures[future], stop)
        except BaseException:
            # whatever ends this: threads stop at their next chunk, the pool waits for them
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return outcome


def _note(outcome: Outcome, future: Future[None], job: Job, stop: threading.Event) -> None:
    try:
        future.result()
    except _Stopped:
        outcome.not_tried += 1
    except TransferError as error:
        outcome.failed[job.name] = str(error)
        if isinstance(error, UnreachableError):
            # the other files would meet the same fate, each after minutes of trying
            stop.set()
    else:
        outcome.checksummed += bool(job.md5)
        outcome.sized += not job.md5


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
