"""Parcel means of many scans: in parallel, with a progress bar, from a cache keyed on content."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
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

__all__ = ["Scan", "extract_scans"]


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
    mask: Path | None
    mask_hash: str


class _Done(NamedTuple):
    parcels: Parcels
    hashes: tuple[str, ...]
    complaint: str | None


def extract_scans(
    scans: Sequence[Scan],
    atlas: Atlas,
    *,
    cache: str | os.PathLike[str] | None,
    workers: int = 0,
    progress: bool = True,
    mask: str | os.PathLike[str] | None = None,
) -> tuple[list[Parcels], dict[str, str]]:
    """Average every scan over the atlas's parcels, or take the means from the cache.

    A cached result is used if the content of the scan's files, the atlas, the mask and the version of this
    code are the same. Big files are hashed once: the cache remembers a hash by resolved path, size and
    times, so a change that leaves all of these is not noticed. A result is written beside its place and
    renamed. A file of the cache that can't be read, or is another's, is computed anew with a warning.

    Args:
        scans: what to read; each file may occur several times.
        atlas: label image or spheres for volumes, annotations for surfaces.
        cache: folder of the cache, made if needed; None: no cache.
        workers: processes; 0 reads in this one. Processes are spawned, so a script that asks for them must
            guard its entry with ``if __name__ == "__main__"``.
        progress: show a bar on standard error.
        mask: 3D NIfTI file for all volumes, as in `volume_parcels`.

    Returns:
        Parcels in the order of `scans`, and the sha256 of each file by name (by key and name where two files
        of one name differ).

    Raises:
        FileNotFoundError: a file or its content is missing; told for all files before any is read.
        ValueError: a file is broken or does not fit the atlas; the message names it.
        RuntimeError: a process died, or a file changed while it was read.
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
    folder = None if cache is None else Path(cache).expanduser()
    mask_file = None if mask is None else require_file(mask)
    mask_hash = "" if mask_file is None else str(content_hash(mask_file, folder))
    job = _Job(atlas, atlas.sha256(), folder, mask_file, mask_hash)
    done: dict[int, _Done] = {}
    with _bar(len(scans), progress) as advance:
        for i, scan in enumerate(scans):
            if (remembered := _remembered(scan, job)) is not None:
                done[i] = remembered
                advance()
        todo = [i for i in range(len(scans)) if i not in done]
        results = _in_pool(scans, todo, job, workers) if workers and todo else _here(scans, todo, job)
        for i, result in results:
            done[i] = result
            advance()
    for i in sorted(done):
        if done[i].complaint:
            warnings.warn(f"Scan {scans[i].key}: {done[i].complaint}; it was computed anew.", stacklevel=2)
    return [done[i].parcels for i in range(len(scans))], _named_hashes(scans, done)


def _hash(scan: Scan, job: _Job, *, compute: bool) -> tuple[str, ...] | None:
    """Return the hashes of the scan's files; None if one is neither remembered nor to be computed."""
    hashes = tuple(content_hash(file, job.cache, compute=compute) for file in scan.files)
    return None if None in hashes else tuple(map(str, hashes))


def _key(scan: Scan, hashes: tuple[str, ...], job: _Job) -> str:
    kind = "volume" if len(scan.files) == 1 else "surface"
    return parcels_key(hashes, job.atlas_hash, {"kind": kind, "mask": job.mask_hash})


def _remembered(scan: Scan, job: _Job) -> _Done | None:
    """Look a scan up without reading its files."""
    hashes = None if job.cache is None else _hash(scan, job, compute=False)
    if job.cache is None or hashes is None:
        return None
    parcels, _ = read_parcels(job.cache, _key(scan, hashes, job), len(job.atlas))
    return None if parcels is None else _Done(parcels, hashes, None)


def _extract(scan: Scan, job: _Job) -> _Done:
    before = [file.stat() for file in scan.files]
    hashes = tuple(str(content_hash(file, job.cache)) for file in scan.files)
    key, complaint = _key(scan, hashes, job), None
    if job.cache is not None:
        parcels, complaint = read_parcels(job.cache, key, len(job.atlas))
        if parcels is not None:
            return _Done(parcels, hashes, None)
    if len(scan.files) == 1:
        parcels = volume_parcels(scan.files[0], job.atlas, mask=job.mask)
    else:
        parcels = surface_parcels(scan.files[0], scan.files[1], job.atlas)
    for file, old in zip(scan.files, before, strict=True):
        new = file.stat()
        if (new.st_size, new.st_mtime_ns) != (old.st_size, old.st_mtime_ns):
            raise FailureError(f"{file} changed while it was read: run again when nothing writes to it.")
    if job.cache is not None:
        write_parcels(job.cache, key, parcels)
    return _Done(parcels, hashes, complaint)


def _here(scans: Sequence[Scan], todo: Sequence[int], job: _Job) -> Iterator[tuple[int, _Done]]:
    for i in todo:
        with _named(scans[i]):
            result = _extract(scans[i], job)
        yield i, result


_worker_job: list[_Job] = []


def _start_worker(job: _Job) -> None:
    # the processes share the cores already
    torch.set_num_threads(1)
    _worker_job[:] = [job]


def _work(scan: Scan) -> _Done:
    return _extract(scan, _worker_job[0])


def _in_pool(
    scans: Sequence[Scan], todo: Sequence[int], job: _Job, workers: int
) -> Iterator[tuple[int, _Done]]:
    pool = ProcessPoolExecutor(
        min(workers, len(todo)),
        # a forked child would inherit locks of threads that torch and rich have started
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(job,),
    )
    try:
        futures: dict[Future[_Done], int] = {pool.submit(_work, scans[i]): i for i in todo}
        for future in as_completed(futures):
            with _named(scans[futures[future]]):
                result = future.result()
            yield futures[future], result
    except BrokenProcessPool as error:
        raise FailureError(
            "A process that read scans died. Was memory short? Then use fewer workers. Did a script start "
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


@contextmanager
def _bar(total: int, show: bool) -> Iterator[Callable[[], None]]:
    columns = (TextColumn("parcel means"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not show, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def _named_hashes(scans: Sequence[Scan], done: dict[int, _Done]) -> dict[str, str]:
    contents: dict[str, set[str]] = {}
    for i, scan in enumerate(scans):
        for file, value in zip(scan.files, done[i].hashes, strict=True):
            contents.setdefault(file.name, set()).add(value)
    return {
        file.name if len(contents[file.name]) == 1 else f"{scan.key}/{file.name}": value
        for i, scan in enumerate(scans)
        for file, value in zip(scan.files, done[i].hashes, strict=True)
    }
