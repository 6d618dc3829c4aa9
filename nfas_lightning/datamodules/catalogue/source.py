"""Where a benchmark's files come from, and which of them a download would bring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Choice:
    """What was asked for; None leaves it to the source.

    Attributes:
        subjects: with or without ``sub-``.
        kinds: kinds of files.
        tasks: BIDS tasks that files which name one must have.
        bucket: address of another bucket.
    """

    subjects: Sequence[str] | None = None
    kinds: Sequence[str] | None = None
    tasks: Sequence[str] | None = None
    bucket: str | None = None


@dataclass(frozen=True)
class Job:
    """One file to bring, and what messages call it.

    It must have `size` bytes and, where the server gives it, the MD5; `kind` is one of the source's kinds.
    """

    name: str
    url: str
    target: Path
    size: int
    md5: str
    kind: str

    @property
    def state(self) -> str:
        """``"here"`` (whole, nothing to do), ``"wanted"``, or what is in its place."""
        if self.target.is_symlink() and not self.target.exists():
            return "a link whose content is not here: this is a DataLad folder, use `datalad get`"
        if not self.target.exists():
            return "wanted"
        if not self.target.is_file():
            return "something that is no file"
        have = self.target.stat().st_size
        if have == self.size:
            return "here"
        return f"a file of {have:,} bytes, not {self.size:,}: delete it to have it fetched"


class Plan:
    """Everything that a download would do.

    Args:
        folder: of the benchmark, made when the first file comes.
        jobs: all chosen files.

    Attributes:
        wanted, here, obstructed: files to bring, those that are whole already, and those in whose place lies
            something else, which is left alone.
    """

    def __init__(self, folder: Path, jobs: Sequence[Job]) -> None:
        self.folder = folder
        self.jobs = tuple(jobs)
        states = [(job, job.state) for job in self.jobs]
        self.wanted = [job for job, state in states if state == "wanted"]
        self.here = [job for job, state in states if state == "here"]
        self.obstructed = [(job, state) for job, state in states if state not in ("wanted", "here")]

    @property
    def n_bytes(self) -> int:
        """Bytes to bring."""
        return sum(job.size for job in self.wanted)


class Source(ABC):
    """Files that `nfas data get` brings.

    Attributes:
        by_hand: kinds of files that the benchmark's ``rest`` tells how to get.
        converts: whether the files are converted after they came, see `convert`.
    """

    by_hand: tuple[str, ...] = ()
    converts: bool = False

    @abstractmethod
    def plan(self, folder: Path, choice: Choice) -> Plan:
        """Ask the server what there is, and choose.

        Args:
            folder: of the benchmark.
            choice: the parts to bring.
        """

    def convert(self, folder: Path, release: Path | None) -> list[str]:
        """Write what the benchmark reads out of what came.

        Args:
            folder: of the benchmark.
            release: an unpacked copy of the release to read; None: what `plan` brought.

        Returns:
            Lines for the user: what was left out, and why.
        """
        raise NotImplementedError


class LibrarySource(ABC):
    """Files that another library fetches, keeps and finds again.

    Attributes:
        kinds: what each kind is.
        usual: kinds that are fetched if none are named.
        library: its name.
        variable: environment variable that names the folder in which the library looks.
    """

    kinds: Mapping[str, str]
    usual: tuple[str, ...]
    library: str
    variable: str

    @abstractmethod
    def fetch(self, kind: str, folder: Path | None) -> list[Path]:
        """Fetch one kind of `kinds` into a folder (None: the library's own), or find it where it was put.

        Raises:
            OSError: no network, or the folder can't be written.
        """
