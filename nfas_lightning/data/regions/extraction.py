"""Parcel means of many scans: in parallel, with a progress bar, from a cache keyed on content."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nfas_lightning.data.files import content_hash, require_file
from nfas_lightning.data.regions.atlas import Atlas
from nfas_lightning.data.regions.parcel_cache import parcels_key, read_parcels, write_parcels
from nfas_lightning.data.regions.parcels import Parcels, surface_parcels, volume_parcels
from nfas_lightning.errors import FailureError, InputError


class Scan(NamedTuple):
    """One run of one subject.

    Attributes:
        key: what errors call it.
        files: one 4D NIfTI file, or the left and right GIfTI file.
    """

    key: str
    files: tuple[Path, ...]


class _Job(NamedTuple):
    atlas: Atlas
    atlas_hash: str
    cache: Path | None


class _Done(NamedTuple):
    parcels: Parcels
    hashes: tuple[str, ...]
    complaint: str | None = None


def extract_scans(
    scans: Sequence[Scan],
    atlas: Atlas,
    *,
    cache: str | os.PathLike[str] | None,
    workers: int = 0,
    progress: bool = True,
) -> tuple[list[Parcels], dict[str, str]]:
    """Average every scan over the atlas's parcels, or take the means from the cache.

    A cached result is used if the content of the scan's files, the atlas and the version of this code are the
    same, see `content_hash`. A file of the cache that can't be used is computed anew with a warning.

    Args:
        scans: what to read; each file may occur several times.
        atlas: label image or spheres for volumes, annotations for surfaces.
        cache: folder of the cache, made if needed; None: no cache.
        workers: processes; 0 reads in this one. Processes are spawned, so a script that asks for them must
            guard its entry with ``if __name__ == "__main__"``.
        progress: show a bar on standard error.

    Returns:
        Parcels in the order of `scans`, and the sha256 of each file by name (by key and name where two files
        of one name differ).
    """
    if workers < 0:
        raise InputError(f"workers must be 0 (this process) or more, got {workers}.")
    for scan in scans:
        if len(scan.files) not in (1, 2):
            raise InputError(
                f"Scan {scan.key} must have one volume file or a left and a right surface file, got "
                f"{len(scan.files)}."
            )
        for file in scan.files:
            require_file(file)
    job = _Job(atlas, atlas.sha256(), None if cache is None else Path(cache).expanduser())
    done = {i: known for i, scan in enumerate(scans) if (known := _remembered(scan, job)) is not None}
    columns = (TextColumn("parcel means"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not progress, transient=True) as bar:
        task = bar.add_task("", total=len(scans), completed=len(done))
        todo = {i: scan for i, scan in enumerate(scans) if i not in done}
        for i, result in _in_pool(todo, job, workers) if workers and todo else _here(todo, job):
            done[i] = result
            bar.advance(task)
    for i in sorted(done):
        if done[i].complaint:
            warnings.warn(f"Scan {scans[i].key}: {done[i].complaint}; it was computed anew.", stacklevel=2)
    found = [done[i] for i in range(len(scans))]
    return [each.parcels for each in found], _named_hashes(scans, found)


def _key(hashes: tuple[str, ...], job: _Job) -> str:
    return parcels_key(hashes, job.atlas_hash, {"kind": "volume" if len(hashes) == 1 else "surface"})


def _remembered(scan: Scan, job: _Job) -> _Done | None:
    """Look a scan up without reading its files."""
    if job.cache is None:
        return None
    hashes = tuple(content_hash(file, job.cache, compute=False) or "" for file in scan.files)
    if not all(hashes):
        return None
    parcels, _ = read_parcels(job.cache, _key(hashes, job), len(job.atlas))
    return None if parcels is None else _Done(parcels, hashes)


def _extract(scan: Scan, job: _Job) -> _Done:
    before = [file.stat() for file in scan.files]
    hashes = tuple(str(content_hash(file, job.cache)) for file in scan.files)
    key, complaint = _key(hashes, job), None
    if job.cache is not None:
        known, complaint = read_parcels(job.cache, key, len(job.atlas))
        if known is not None:
            return _Done(known, hashes)
    if len(hashes) == 1:
        parcels = volume_parcels(scan.files[0], job.atlas)
    else:
        parcels = surface_parcels(scan.files[0], scan.files[1], job.atlas)
    for file, old in zip(scan.files, before, strict=True):
        new = file.stat()
        if (new.st_size, new.st_mtime_ns) != (old.st_size, old.st_mtime_ns):
            raise FailureError(f"{file} changed while it was read: run again when nothing writes to it.")
    if job.cache is not None:
        write_parcels(job.cache, key, parcels)
    return _Done(parcels, hashes, complaint)


def _here(todo: dict[int, Scan], job: _Job) -> Iterator[tuple[int, _Done]]:
    for i, scan in todo.items():
        with _named(scan):
            result = _extract(scan, job)
        yield i, result


_worker_job: list[_Job] = []


def _start_worker(job: _Job) -> None:
    # the processes share the cores already
    torch.set_num_threads(1)
    _worker_job[:] = [job]


def _work(scan: Scan) -> _Done:
    return _extract(scan, _worker_job[0])


def _in_pool(todo: dict[int, Scan], job: _Job, workers: int) -> Iterator[tuple[int, _Done]]:
    # a forked child would inherit locks of threads that torch and rich have started
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(todo)), spawn, initializer=_start_worker, initargs=(job,))
    try:
        futures: dict[Future[_Done], int] = {pool.submit(_work, scan): i for i, scan in todo.items()}
        for future in as_completed(futures):
            with _named(todo[futures[future]]):
                result = future.result()
            yield futures[future], result
    except BrokenProcessPool as error:
        raise FailureError(
            "A process that read scans died. Was memory short, or did a script start "
            'this without `if __name__ == "__main__":`? Then add it, or use workers=0.'
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _named(scan: Scan) -> Iterator[None]:
    """Add the scan and its files to whatever goes wrong inside."""
    try:
        yield
    except Exception as error:
        error.add_note(f"Scan {scan.key}: {', '.join(map(str, scan.files))}")
        raise


def _named_hashes(scans: Sequence[Scan], done: Sequence[_Done]) -> dict[str, str]:
    files = [(scan.key, file.name, value) for scan, each in zip(scans, done, strict=True)
             for file, value in zip(scan.files, each.hashes, strict=True)]  # fmt: skip
    contents: dict[str, set[str]] = {}
    for _, name, value in files:
        contents.setdefault(name, set()).add(value)
    return {name if len(contents[name]) == 1 else f"{key}/{name}": value for key, name, value in files}
