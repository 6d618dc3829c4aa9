"""What the processes of a distributed run tell each other; a single process talks to itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

__all__ = ["buffers_of_rank_zero", "from_rank_zero", "rank_and_world", "to_everyone", "to_rank_zero"]


def rank_and_world() -> tuple[int, int]:
    """Return this process's rank and the number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if _is_distributed() else (0, 1)


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


@contextmanager
def buffers_of_rank_zero(network: nn.Module) -> Iterator[None]:
    """Give every process rank zero's buffers for a while; their own come back on leaving.

    Under distributed training each process has running statistics of its own batches, and what a checkpoint
    keeps are rank zero's: without this the processes would run different networks.
    """
    if not _is_distributed():
        yield
        return
    buffers = list(network.buffers())
    own = [buffer.clone() for buffer in buffers]
    try:
        with torch.no_grad():
            for buffer in buffers:
                dist.broadcast(buffer, src=0)
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, own, strict=True):
                buffer.copy_(value)


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
