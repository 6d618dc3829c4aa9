"""What a download would bring: parts chosen by subject, task and kind of file, with their sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nfas_lightning.data.bids import add_sub, entities
from nfas_lightning.datamodules.bold_moments.bold_moments_reader import RESPONSES as BOLD_MOMENTS_RESPONSES
from nfas_lightning.datamodules.catalogue.bucket import RemoteFile, list_bucket, object_url, safe_path
from nfas_lightning.datamodules.catalogue.transfer import Client
from nfas_lightning.datamodules.little_prince.little_prince_reader import LANGUAGES

__all__ = ["OPENNEURO", "SOURCES", "Job", "Plan", "make_plan", "state_of"]

OPENNEURO = "https://s3.amazonaws.com/openneuro.org"
"""Address of OpenNeuro's public bucket; it holds the latest version of each data set."""


@dataclass(frozen=True)
class _Kind:
    """A kind of file: where it lies, and what its names look like.

    Attributes:
        what: what it is.
        prefixes: of the keys, below the data set; ``{subject}`` stands for ``sub-`` and what follows.
        pattern: of the keys below the data set, a regular expression.
    """

    what: str
    prefixes: tuple[str, ...]
    pattern: str = ".*"

    @property
    def per_subject(self) -> bool:
        return any("{subject}" in prefix for prefix in self.prefixes)


@dataclass(frozen=True)
class Source:
    """A data set of the bucket.

    Attributes:
        dataset: accession number, which is its folder's name too.
        kinds: kinds of files.
        usual: kinds taken where none are named.
    """

    dataset: str
    kinds: dict[str, _Kind]
    usual: tuple[str, ...]


_METADATA = _Kind("tables and descriptions", ("", "code/"), r"[^/]+|code/.*")
_RAW = _Kind("raw scans and their sidecars", ("{subject}/func/",))
_ANATOMY = _Kind("anatomical images", ("{subject}/anat/",))
SOURCES: dict[str, Source] = {
    "bold_moments": Source(
        "ds005165",
        {
            "metadata": _METADATA,
            "responses": _Kind(
                "responses of the functional ROIs",
                (f"{BOLD_MOMENTS_RESPONSES}/{{subject}}/",),
                r".*/(?!WB_)[^/]+_allvoxel\.pkl",
            ),
        },
        ("metadata", "responses"),
    ),
    "narratives": Source(
        "ds002345",
        {
            "metadata": _METADATA,
            "stimuli": _Kind("sounds, and the word timings the bucket has", ("stimuli/",)),
            "events": _Kind("event tables and sidecars", ("{subject}/func/",), r".*\.(tsv|json)"),
            "raw": _RAW,
            "anat": _ANATOMY,
        },
        ("metadata", "stimuli"),
    ),
    "little_prince": Source(
        "ds003643",
        {
            "metadata": _METADATA,
            "stimuli": _Kind("sounds", ("stimuli/",)),
            "annotation": _Kind("word tables", ("annotation/",)),
            "derivatives": _Kind("preprocessed scans", ("derivatives/{subject}/",)),
            "raw": _RAW,
            "anat": _ANATOMY,
        },
        ("metadata", "stimuli", "annotation", "derivatives"),
    ),
}
"""Data sets that may be downloaded, by the benchmark's name."""


@dataclass(frozen=True)
class Job:
    """One file to bring.

    Attributes:
        remote: name, size and checksum.
        url: where from.
        target: where to.
        kind: of the source's kinds.
        state: ``"here"`` (whole, nothing to do), ``"wanted"``, or why something else is in its place.
    """

    remote: RemoteFile
    url: str
    target: Path
    kind: str
    state: str


@dataclass(frozen=True)
class Plan:
    """Everything that a download would do.

    Attributes:
        folder: the data set's, made when the first file comes.
        jobs: all chosen files, those that are here too.
    """

    folder: Path
    jobs: tuple[Job, ...]

    @property
    def wanted(self) -> list[Job]:
        """Files to bring."""
        return [job for job in self.jobs if job.state == "wanted"]

    @property
    def obstructed(self) -> list[Job]:
        """Files in whose place lies something else, which is left alone."""
        return [job for job in self.jobs if job.state not in ("wanted", "here")]

    @property
    def n_bytes(self) -> int:
        """Bytes to bring, those of begun parts included."""
        return sum(job.remote.size for job in self.wanted)


def make_plan(
    name: str,
    root: Path,
    client: Client,
    *,
    subjects: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    bucket: str = OPENNEURO,
) -> Plan:
    """Ask the bucket what it has of a data set and choose.

    Args:
        name: of `SOURCES`.
        root: the folder that holds the data set's, or is it.
        client: how to talk.
        subjects: with or without ``sub-``, for the kinds that come by subject; ``EN``, ``CN`` or ``FR``
            stands for all who heard that language; None: all.
        kinds: of the source's; None: its usual ones.
        tasks: BIDS tasks (stories; ``lppEN``) that files which name one must have; None: all, except that
            subjects of The Little Prince bring the sounds and words of their language alone.
        bucket: the bucket's address.

    Raises:
        ValueError: an unknown kind, subject or task.
        TransferError: the bucket does not answer, or with nonsense.
    """
    source = SOURCES[name]
    chosen = list(source.usual if kinds is None else kinds)
    if unknown := [kind for kind in chosen if kind not in source.kinds]:
        known = ", ".join(f"{kind} ({what.what})" for kind, what in source.kinds.items())
        raise ValueError(f"{name} has no files of kind {unknown[0]!r}; there are {known}.")
    names = None if subjects is None else [add_sub(subject) for subject in subjects]
    wanted_tasks = tasks
    if names is not None and tasks is None and name == "little_prince":
        wanted_tasks = sorted({f"lpp{subject[4:6]}" for subject in names})
    folder = root if root.name == source.dataset else root / source.dataset
    jobs: dict[str, Job] = {}
    for kind in chosen:
        for remote in _list(source, source.kinds[kind], client, bucket, names):
            path = remote.key.removeprefix(f"{source.dataset}/")
            if re.fullmatch(source.kinds[kind].pattern, path) and _has_task(path, wanted_tasks):
                target = folder.joinpath(*safe_path(path).parts)
                job = Job(remote, object_url(bucket, remote.key), target, kind, state_of(target, remote.size))
                jobs.setdefault(remote.key, job)
    _check_found(name, names, tasks, [key for key in chosen if source.kinds[key].per_subject], jobs)
    return Plan(folder, tuple(jobs.values()))


def _list(
    source: Source, kind: _Kind, client: Client, bucket: str, subjects: Sequence[str] | None
) -> Iterator[RemoteFile]:
    for prefix in kind.prefixes:
        if "{subject}" not in prefix:
            yield from list_bucket(client, bucket, f"{source.dataset}/{prefix}", flat=not prefix)
            continue
        before, _, after = prefix.partition("{subject}")
        for subject in subjects or ["sub-"]:
            # of several subjects one listing; what lies deeper is sorted out by its path
            start = f"{source.dataset}/{before}{subject}"
            several = subject in ("sub-", *(f"sub-{language}" for language in LANGUAGES))
            below = re.compile(f"{re.escape(start)}[^/]*{re.escape(after)}.*")
            found = list_bucket(client, bucket, start if several else start + after)
            yield from (remote for remote in found if below.fullmatch(remote.key))


def _has_task(path: str, tasks: Sequence[str] | None) -> bool:
    task = entities(path.rsplit("/", 1)[-1]).get("task")
    if language := re.match(r"annotation/([A-Z]{2})/", path):
        task = f"lpp{language.group(1)}"
    return tasks is None or task is None or task in tasks


def state_of(target: Path, size: int) -> str:
    """Say whether a file of `size` bytes is here, is wanted, or what is in its place."""
    if target.is_symlink() and not target.exists():
        return "a link whose content is not here: this is a DataLad folder, use `datalad get`"
    if not target.exists():
        return "wanted"
    if not target.is_file():
        return "something that is no file"
    have = target.stat().st_size
    return "here" if have == size else f"a file of {have:,} bytes, not {size:,}: delete it to have it fetched"


def _check_found(
    name: str,
    subjects: Sequence[str] | None,
    tasks: Sequence[str] | None,
    kinds: Sequence[str],
    jobs: dict[str, Job],
) -> None:
    if not jobs:
        raise ValueError(f"The bucket lists no such files of {name}: check subjects, kinds and tasks.")
    if subjects is not None and kinds:
        there = "".join(f"/{key}/" for key in jobs)
        groups = {f"sub-{language}" for language in LANGUAGES}
        absent = [s for s in subjects if f"/{s}{'' if s in groups else '/'}" not in there]
        if absent:
            raise ValueError(
                f"The bucket lists no files of kind {', '.join(kinds)} for {', '.join(absent)}"
                f"{'' if tasks is None else f' with task {chr(44).join(tasks)}'}: check the names."
            )
    if tasks is not None:
        named = {entities(key.rsplit("/", 1)[-1]).get("task", "") for key in jobs}
        if (absent := [task for task in tasks if task not in named]) and kinds:
            raise ValueError(f"The bucket lists no files of task {', '.join(absent)}: check the names.")
