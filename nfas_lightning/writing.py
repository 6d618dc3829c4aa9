"""Files that appear whole or not at all, YAML that is read safely, and where a user's cache is."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import tempfile
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nfas_lightning.errors import UnreadableError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "cache_dir",
    "check_folder",
    "load_yaml",
    "remove_abandoned",
    "safe_name",
    "short_hash",
    "staging_file",
    "staging_place",
    "write_csv",
    "write_parquet",
    "write_text",
    "write_whole",
]

_MOST_NODES = 100_000  # of a YAML file, its aliases written out; the largest config here has some hundred


def cache_dir() -> Path:
    """Return the folder of what was fetched or computed once; whoever writes into it makes it.

    ``NFAS_CACHE`` if set, else ``nfas-lightning`` in ``XDG_CACHE_HOME`` or ``~/.cache``.
    """
    if chosen := os.environ.get("NFAS_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nfas-lightning"


@contextmanager
def staging_file(path: Path) -> Iterator[Path]:
    """Make an empty file beside `path`, for as long as the block lasts; the folder is made too.

    It has the permissions that the umask gives to any new file: those of `tempfile` would lock out colleagues
    who share a folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = staging_place(path)
    staging.touch(exist_ok=False)
    try:
        yield staging
    finally:
        staging.unlink(missing_ok=True)


def staging_place(path: Path) -> Path:
    """Return a place beside `path` of its writer alone, named for `remove_abandoned`."""
    # its whole length must fit into a name, whatever that of `path` is; the suffix tells a writer the format
    return path.with_name(f".{path.name[:100]}-{_machine()}-{os.getpid()}-{uuid.uuid4().hex}.tmp")


def remove_abandoned(folder: Path) -> None:
    """Remove what killed processes left half written in a run's folder, and up to two folders deeper.

    Those are places of `staging_place` whose process is gone from this machine, or, of other machines, after
    a week.
    """
    left = [path for depth in ("", "*/", "*/*/") for path in folder.glob(f"{depth}.*.tmp")]
    for path in left:
        found = _STAGING.search(path.name)
        if found is None:
            continue
        with suppress(OSError):  # its writer, or another process that cleans up, was faster
            if found["machine"] == _machine():
                is_abandoned = not _is_running(int(found["pid"]))
            else:
                is_abandoned = time.time() - path.stat().st_mtime > _WEEK
            if is_abandoned and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif is_abandoned:
                path.unlink()


_STAGING = re.compile(r"-(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{32}\.tmp$")
_WEEK = 7 * 24 * 3600


@cache
def _machine() -> str:
    # a container counts its processes for itself, and has a name of its own
    return short_hash(platform.node())


def _is_running(pid: int) -> bool:
    if os.name != "posix":  # elsewhere signal 0 would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that a reader sees the old file or the new one, never a part.

    `write` is called with the path of an empty file, which it fills or replaces; whatever it raises leaves
    the old file and nothing else.
    """
    with staging_file(path) as staging:
        mode = staging.stat().st_mode
        write(staging)
        os.chmod(staging, mode)  # safetensors puts a file of mode 0600 in its place
        os.replace(staging, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, see `write_whole`."""
    write_whole(path, lambda staging: staging.write_text(text, encoding="utf-8"))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a csv file whole or not at all, see `write_whole`."""
    write_whole(path, lambda staging: table.to_csv(staging, index=False))


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a parquet file whole or not at all, see `write_whole`."""
    write_whole(path, lambda staging: table.to_parquet(staging, index=False))


def check_folder(path: str | Path, name: str = "run_dir") -> None:
    """Make a folder that can be written, and remove what is abandoned there."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder)
        with tempfile.TemporaryFile(dir=folder):  # permissions alone don't tell of full and read-only disks
            pass
    except OSError as error:
        in_the_way = (p for p in (folder, *folder.parents) if os.path.exists(p) and not os.path.isdir(p))
        found = next(in_the_way, None)
        reason = error.strerror or str(error) if found is None else f"{str(found)!r} is no folder"
        raise UnreadableError(
            f"{name} must be a folder that can be written, got {str(path)!r}: {reason}. Choose another one."
        ) from error


_LONGEST = 60  # characters: 240 bytes at most, of the 255 that file systems give a name
_TAKEN = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))}
)


def safe_name(text: str) -> str:
    """Return a name that is a folder's on every system, and that no other text has.

    Where characters are lost, a short hash of the text follows: ``"a/b"`` and ``"a:b"`` must not share a
    folder, nor ``"Net"`` and ``"net"``, which are one folder on file systems that ignore case.

    Example:
        >>> safe_name("whisper-base"), safe_name("openai/whisper-base")
        ('whisper-base', 'openai_whisper-base-6a4aa629')
    """
    slug = "".join(c if c.isalnum() or c in "._-" else "_" for c in text[:_LONGEST])
    slug = re.sub(r"^\.+|\.+$", "_", slug) or "_"
    is_taken = slug.partition(".")[0] in _TAKEN  # on Windows
    is_hashed = re.search(r"-[0-9a-f]{8}$", slug)  # it could be the name of another text
    if slug == text == unicodedata.normalize("NFC", text).casefold() and not (is_taken or is_hashed):
        return slug
    return f"{slug}-{short_hash(text)}"


def short_hash(text: str) -> str:
    """Return eight hexadecimal digits that tell a text from others."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def load_yaml(text: str) -> Any:
    """Read YAML with plain values alone: no objects, no key twice, and no more than was written.

    A file of a few lines whose aliases are of aliases stands for more values than any memory has.
    """
    loader = _UniqueKeys(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _written_out(node, {})
        return loader.construct_document(node)
    except RecursionError as error:
        raise yaml.constructor.ConstructorError(None, None, "it is nested too deeply") from error
    finally:
        loader.dispose()


def _written_out(node: yaml.Node, counted: dict[int, int]) -> int:
    """Count the nodes below a node, aliases written out."""
    if id(node) not in counted:
        counted[id(node)] = _MOST_NODES + 1  # until it is known: an anchor that holds itself has no end
        children = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            children = [part for pair in children for part in pair]
        counted[id(node)] = 1 + sum(_written_out(child, counted) for child in children)
    if counted[id(node)] > _MOST_NODES:
        raise yaml.constructor.ConstructorError(
            None, None, f"its aliases stand for more than {_MOST_NODES:,} values", node.start_mark
        )
    return counted[id(node)]


class _UniqueKeys(yaml.SafeLoader):
    """A safe loader for which a key that comes twice is an error; YAML's own would drop the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} comes twice", key.start_mark
                )
            seen.add(key.value if isinstance(key.value, str) else id(key))
        return super().construct_mapping(node, deep)
