"""Files that appear whole or not at all, and YAML that is read safely."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

__all__ = ["check_folder", "load_yaml", "safe_name", "staging_file", "write_text", "write_whole"]

_MOST_NODES = 100_000  # of a YAML file, its aliases written out; the largest config here has some hundred


@contextmanager
def staging_file(path: Path) -> Iterator[Path]:
    """Make an empty file beside `path`, for as long as the block lasts; the folder is made too.

    Its name is its writer's alone, so that two of one file never meet. It has the permissions that the umask
    gives to any new file, for which `tempfile` is too strict: colleagues who share a folder would be locked
    out.

    Args:
        path: where the content is to go, by a rename or a link inside the block.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}-{uuid.uuid4().hex}.tmp")
    staging.touch(exist_ok=False)
    try:
        yield staging
    finally:
        staging.unlink(missing_ok=True)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that a reader sees the old file or the new one, never a part.

    Of two writers at once, the one that ends last wins. Whatever `write` raises leaves the old file and
    nothing else.

    Args:
        path: the file; its folder is made where it is missing.
        write: called with the path of an empty file, which it fills or replaces.
    """
    with staging_file(path) as staging:
        mode = staging.stat().st_mode
        write(staging)
        os.chmod(staging, mode)  # safetensors puts a file of mode 0600 in its place
        os.replace(staging, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, see `write_whole`."""
    write_whole(path, lambda staging: staging.write_text(text, encoding="utf-8"))


def check_folder(path: str | Path, name: str = "run_dir") -> None:
    """Make a folder if there is none, and refuse one that can't be written.

    Args:
        path: the folder.
        name: of the argument, for the message.

    Raises:
        OSError: it, or what it would lie in, is no folder or can't be written.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # permissions alone don't tell of full and read-only disks
            pass
    except OSError as error:
        in_the_way = (p for p in (folder, *folder.parents) if os.path.exists(p) and not os.path.isdir(p))
        found = next(in_the_way, None)
        reason = error.strerror or str(error) if found is None else f"{str(found)!r} is no folder"
        raise OSError(
            f"{name} must be a folder that can be written, got {str(path)!r}: {reason}. Choose another one."
        ) from error


def safe_name(text: str) -> str:
    """Return a name that is a folder's on every system.

    Example:
        >>> safe_name("openai/whisper-base")
        'openai_whisper-base'
    """
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in text)


def load_yaml(text: str) -> Any:
    """Read YAML with plain values alone: no objects, no key twice, and no more of it than was written.

    An alias stands for all that its anchor holds, so a file of a few lines can stand for more values than any
    memory has as soon as somebody walks through them.

    Raises:
        yaml.YAMLError: it is no YAML, a key of a mapping comes twice, an anchor holds itself, or the aliases
            stand for too much.
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
