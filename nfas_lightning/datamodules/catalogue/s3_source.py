"""Data sets in a public S3 bucket: what is listed, and parts chosen by subject, task and kind of file."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import quote, unquote, urlencode
from xml.etree.ElementTree import Element, ParseError, fromstring

from nfas_lightning.data.bids import add_sub, entities
from nfas_lightning.datamodules.catalogue.download import TransferError, fetch
from nfas_lightning.datamodules.catalogue.source import Choice, Job, Plan, Source
from nfas_lightning.errors import InputError

OPENNEURO = "https://s3.amazonaws.com/openneuro.org"
"""Address of OpenNeuro's public bucket; it holds the latest version of each data set."""
_MOST_PAGES = 2000


@dataclass(frozen=True)
class Kind:
    """A kind of file: where it lies, and what its names look like.

    In the prefixes of its keys ``{subject}`` stands for ``sub-`` and what follows; an empty prefix stands for
    the files of the data set's own folder, without those in folders below. The pattern is a regular
    expression of the keys below the data set.
    """

    what: str
    prefixes: tuple[str, ...]
    pattern: str = ".*"


METADATA = Kind("tables and descriptions", ("", "code/"))
RAW = Kind("raw scans and their sidecars", ("{subject}/func/",))
ANATOMY = Kind("anatomical images", ("{subject}/anat/",))


class S3Source(Source):
    """A BIDS data set of a bucket.

    Args:
        name: of the benchmark, for messages.
        dataset: accession number, which begins the keys.
        kinds: kinds of files.
        usual: kinds that are taken if none are named.
        by_hand: kinds that are had in another way.
        groups: beginnings of subjects' names, each of which stands for all subjects that have it.
        bucket: address of the bucket.
    """

    def __init__(
        self,
        name: str,
        dataset: str,
        kinds: Mapping[str, Kind],
        usual: Sequence[str],
        *,
        by_hand: tuple[str, ...] = (),
        groups: Sequence[str] = (),
        bucket: str = OPENNEURO,
    ) -> None:
        self.name = name
        self.dataset = dataset
        self.kinds = kinds
        self.usual = usual
        self.by_hand = by_hand
        self.groups = tuple(add_sub(group) for group in groups)
        self.bucket = bucket

    def plan(self, folder: Path, choice: Choice) -> Plan:
        """Ask the bucket what it has of the data set, and choose; see `Source.plan`.

        Subjects choose among the kinds that come by subject, tasks among the files that name one.
        """
        chosen = list(self.usual if choice.kinds is None else choice.kinds)
        if unknown := [kind for kind in chosen if kind not in self.kinds]:
            known = ", ".join(f"{kind} ({what.what})" for kind, what in self.kinds.items())
            raise InputError(f"{self.name} has no files of kind {unknown[0]!r}; there are {known}.")
        subjects = None if choice.subjects is None else [add_sub(subject) for subject in choice.subjects]
        tasks = self.tasks_of(subjects) if choice.tasks is None else choice.tasks
        bucket = choice.bucket or self.bucket
        jobs: dict[str, Job] = {}
        for kind in chosen:
            for remote in self._list(self.kinds[kind], bucket, subjects):
                path = remote.key.removeprefix(f"{self.dataset}/")
                task = self.task_of(path)
                if tasks is None or task is None or task in tasks:
                    target = folder.joinpath(*safe_path(path).parts)
                    md5 = remote.etag if re.fullmatch(r"[0-9a-f]{32}", remote.etag) else ""
                    url = f"{bucket.rstrip('/')}/{quote(remote.key)}"
                    jobs.setdefault(remote.key, Job(remote.key, url, target, remote.size, md5, kind))
        of_subjects = [kind for kind in chosen if "{subject}" in "".join(self.kinds[kind].prefixes)]
        self._check_found(jobs, of_subjects, subjects, choice.tasks)
        return Plan(folder, list(jobs.values()))

    def tasks_of(self, subjects: Sequence[str] | None) -> Sequence[str] | None:
        """Return the tasks that are taken for these subjects if none are named; None: all."""
        del subjects
        return None

    def task_of(self, path: str) -> str | None:
        """Return the task of a file by its path below the data set, None if it belongs to none."""
        return entities(PurePosixPath(path).name).get("task")

    def _list(self, kind: Kind, bucket: str, subjects: Sequence[str] | None) -> Iterator[RemoteFile]:
        for prefix in kind.prefixes:
            before, placeholder, after = prefix.partition("{subject}")
            for subject in (subjects or ["sub-"]) if placeholder else [""]:
                # one listing for several subjects; what lies deeper is sorted out by its path
                start = f"{self.dataset}/{before}{subject}"
                several = bool(placeholder) and subject in ("sub-", *self.groups)
                below = re.compile(
                    re.escape(start) + ("[^/]*" if placeholder else "") + re.escape(after) + ".*"
                )
                for remote in list_bucket(bucket, start if several else start + after, flat=not prefix):
                    path = remote.key.removeprefix(f"{self.dataset}/")
                    if below.fullmatch(remote.key) and re.fullmatch(kind.pattern, path):
                        yield remote

    def _check_found(
        self,
        jobs: Mapping[str, Job],
        of_subjects: Sequence[str],
        subjects: Sequence[str] | None,
        tasks: Sequence[str] | None,
    ) -> None:
        if not jobs:
            raise InputError(
                f"The bucket lists no such files of {self.name}: check subjects, kinds and tasks."
            )
        if not of_subjects:
            return
        there = "".join(f"/{key}/" for key in jobs)
        missing = [s for s in subjects or () if f"/{s}{'' if s in self.groups else '/'}" not in there]
        if missing:
            with_task = "" if tasks is None else f" with task {', '.join(tasks)}"
            raise InputError(
                f"The bucket lists no files of kind {', '.join(of_subjects)} for {', '.join(missing)}"
                f"{with_task}: check the names."
            )
        named = {entities(PurePosixPath(key).name).get("task") for key in jobs}
        if missing := [task for task in tasks or () if task not in named]:
            raise InputError(f"The bucket lists no files of task {', '.join(missing)}: check the names.")


class RemoteFile(NamedTuple):
    """One object of a bucket; `etag` is the MD5 of an object that was uploaded in one piece."""

    key: str
    size: int
    etag: str


def list_bucket(bucket: str, prefix: str, *, flat: bool = False) -> list[RemoteFile]:
    """List the objects whose key starts with `prefix` (S3's ListObjectsV2, without credentials).

    With `flat`, what lies in folders below is left out. An answer that is no listing, a key that leaves the
    prefix, and pages that go round in a circle are a `TransferError`.
    """
    params = {"list-type": "2", "prefix": prefix, "encoding-type": "url", "max-keys": "1000"}
    params |= {"delimiter": "/"} if flat else {}
    files: list[RemoteFile] = []
    seen = set[str]()
    for _ in range(_MOST_PAGES):
        page = _page(bucket, params)
        files += _objects(page, prefix)
        if _text(page, "IsTruncated") != "true":
            return files
        token = _text(page, "NextContinuationToken")
        if not token or token in seen:
            raise TransferError(f"{bucket} says its listing goes on, but not where: it was not used.")
        seen.add(token)
        params["continuation-token"] = token
    raise TransferError(f"{bucket} lists more than {_MOST_PAGES} pages under {prefix!r}: name a part of it.")


def _page(bucket: str, params: Mapping[str, str]) -> Element:
    with tempfile.TemporaryDirectory(prefix="nfas-listing-") as folder:
        body = fetch(f"{bucket}?{urlencode(params)}", Path(folder)).read_bytes()
    wrong = f"{bucket} must answer with an S3 listing, got"
    try:
        # expat itself stops entities that grow, and the tree builder fetches none from outside
        root = fromstring(body)
    except ParseError as error:
        raise TransferError(f"{wrong} something else ({error}): is it a bucket's address?") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    if root.tag != "ListBucketResult":
        raise TransferError(f"{wrong} {root.tag}: is it a bucket's address?")
    return root


def _objects(page: Element, prefix: str) -> Iterator[RemoteFile]:
    encoded = _text(page, "EncodingType") == "url"
    for item in page.iter("Contents"):
        key, size = item.findtext("Key") or "", _text(item, "Size")
        key = unquote(key.replace("+", " ")) if encoded else key
        if key.endswith("/") and size == "0":
            continue  # a mark that stands for a folder
        if not key.startswith(prefix) or not size.isdecimal():
            raise TransferError(
                f"The listing of {prefix!r} must hold keys that start so, each with a size, got {key!r} of "
                f"{size!r} bytes: it was not used."
            )
        safe_path(key)
        yield RemoteFile(key, int(size), _text(item, "ETag").strip('"'))


def _text(element: Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


def safe_path(key: str) -> PurePosixPath:
    """Return a key as a relative path that stays below the folder it is joined to, on every system.

    Raises:
        TransferError: it is absolute, climbs, or has characters that some systems give a meaning.

    Example:
        >>> safe_path("ds1/sub-01/func/x.nii.gz")
        PurePosixPath('ds1/sub-01/func/x.nii.gz')
        >>> safe_path("ds1/../../.ssh/authorized_keys")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        nfas_lightning.datamodules.catalogue.download.TransferError: The bucket lists ...
    """
    bad = any(part in ("", ".", "..") for part in key.split("/"))
    if bad or any(c in '\\:*?"<>|' or ord(c) < 32 or ord(c) == 127 for c in key):
        raise TransferError(f"The bucket lists {key!r}, which is no path below a folder: it was not used.")
    return PurePosixPath(key)
