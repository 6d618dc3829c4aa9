"""What the processes of a distributed run tell each other; a single process talks to itself."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

__all__ = ["from_rank_zero", "to_everyone", "to_rank_zero"]


def to_rank_zero(own: Any) -> list[Any]:
    """Return every process's object on rank zero, nothing elsewhere; uneven shares are fine."""
    if not _is_distributed():
        return [own]
    parts: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(own, parts, dst=0)
    return parts or []


def to_everyone(own: Any) -> list[Any]:
    """Return every process's object on every process, in the order of ranks."""
    if not _is_distributed():
        return [own]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, own)
    return parts


def from_rank_zero(own: Any) -> Any:
    """Return rank zero's object on every process."""
    if not _is_distributed():
        return own
    box = [own]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
