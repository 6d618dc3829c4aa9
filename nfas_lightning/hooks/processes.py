"""What the processes of a distributed run tell each other; a single process talks to itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nfas_lightning.errors import FailureError, InputError
from nfas_lightning.hooks.trajectory import Trajectory

__all__ = [
    "OtherProcessError",
    "buffers_of_rank_zero",
    "from_rank_zero",
    "gather_rows",
    "gather_trajectories",
    "highest",
    "rank_and_world",
    "reason_of",
    "to_everyone",
    "to_rank_zero",
    "together",
]

_BLOCK_BYTES = 2**26
T = TypeVar("T")


def rank_and_world() -> tuple[int, int]:
    """Return this process's rank and the number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if _is_distributed() else (0, 1)


def to_rank_zero(own: Any) -> list[Any]:
    """Return every process's object on rank zero, nothing elsewhere.

    For small objects: NCCL carries them through device memory in one piece. See `gather_trajectories`.
    """
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


def highest(value: int) -> int:
    """Return the highest of all processes' integers, on every process."""
    if not _is_distributed():
        return value
    box = torch.tensor(value, device=_carrier())
    dist.all_reduce(box, dist.ReduceOp.MAX)
    return int(box)


class OtherProcessError(FailureError):
    """What another process failed with."""


def together(work: Callable[[], T]) -> T:
    """Do something on every process; where one fails all fail, since the others would wait for it for ever.

    Raises:
        Exception: what `work` raised here; else an `OtherProcessError` with the first reason of the others.
    """
    error: Exception | None = None
    try:
        result = work()
    except Exception as caught:  # noqa: BLE001 - raised again below, when the others know
        error = caught
    problem = next(filter(None, to_everyone(None if error is None else reason_of(error))), None)
    if error is not None and not (problem and isinstance(error, OtherProcessError)):
        raise error
    if problem is not None:
        raise OtherProcessError(problem)
    return result


def reason_of(error: Exception) -> str:
    """Return an error's type and text, on every process those of the process that failed."""
    return str(error) if isinstance(error, OtherProcessError) else f"{type(error).__name__}: {error}"


def gather_rows(result: Tensor, group: Any = None, *, everywhere: bool = True) -> list[Tensor]:
    """Return every process's rows, in the order of their ranks; a torchmetrics ``dist_sync_fn``.

    Unlike torchmetrics' own it lets a process hold no rows at all, keeps host memory on the host where the
    backend only speaks to devices, and passes it through the device in blocks, of 64 MB for all processes
    together.

    Args:
        result: (n, ...) rows of this process; n may differ, and where it is 0 the other axes may too.
        group: process group; None: all processes.
        everywhere: False gives the rows to rank zero alone, which saves the others their memory.

    Returns:
        One tensor per process, each on the device of `result`; nothing where the rows do not go.

    Raises:
        ValueError: processes hold rows of different shapes or dtypes. Raised on all of them.
    """
    world = dist.get_world_size(group)
    told: list[Any] = [None] * world
    dist.all_gather_object(told, (len(result), tuple(result.shape[1:]), result.dtype), group=group)
    kinds = {(tail, dtype) for rows, tail, dtype in told if rows}
    if len(kinds) > 1:
        listed = ", ".join(sorted(f"{tail} {dtype}" for tail, dtype in kinds))
        raise InputError(f"All processes must hold rows of one shape and dtype, got {listed}.")
    keeps = everywhere or dist.get_rank(group) == 0
    if not kinds:
        return [result] * world if keeps else []
    tail, dtype = kinds.pop()
    counts = [rows for rows, _, _ in told]
    mine = result if len(result) else torch.empty(0, *tail, dtype=dtype, device=result.device)
    carrier = _carrier(group)
    row_bytes = max(1, torch.empty(tail, dtype=dtype, device="meta").nbytes)
    step = max(1, _BLOCK_BYTES // (world * row_bytes))
    parts: list[list[Tensor]] = [[] for _ in range(world)]
    for start in range(0, max(counts), step):
        block = torch.zeros(min(step, max(counts) - start), *tail, dtype=dtype, device=carrier)
        here = mine[start : start + len(block)]
        block[: len(here)] = here
        got = [torch.empty_like(block) for _ in range(world)] if keeps else []
        # bytes: not every backend carries every dtype
        sent, received = block.view(torch.uint8), [part.view(torch.uint8) for part in got]
        if everywhere:
            dist.all_gather(received, sent, group=group)
        else:
            first = 0 if group is None else dist.get_global_rank(group, 0)
            dist.gather(sent, received or None, dst=first, group=group)
        for rank, part in enumerate(got):
            parts[rank].append(part[: max(0, counts[rank] - start)].to(result.device))
    return [torch.cat(rows) for rows in parts] if keeps else []


def gather_trajectories(own: Trajectory | None) -> list[Trajectory]:
    """Return every process's trajectory on rank zero, nothing elsewhere; see `gather_rows`.

    Args:
        own: of this process, None where its share is empty.

    Raises:
        ValueError: processes recorded different layers, widths or dtypes. Raised on all of them.
    """
    if not _is_distributed():
        return [] if own is None else [own]
    told = to_everyone(None if own is None else own.layers)
    blocks = {tuple((layer.name, layer.width) for layer in layers) for layers in told if layers is not None}
    if len(blocks) > 1:
        listed = "; ".join(str(list(block)) for block in sorted(blocks))
        raise InputError(f"All processes must record the same layers of the same widths, got {listed}.")
    if not blocks:
        return []
    empty = torch.empty(0)
    ids = gather_rows(empty if own is None else own.stimulus_ids, everywhere=False)
    states = [
        gather_rows(empty if own is None else own.states[depth], everywhere=False)
        for depth in range(len(blocks.pop()))
    ]
    by_rank = zip(told, zip(*states, strict=True), ids, strict=True) if ids else ()
    device = None if own is None else own.device
    return [Trajectory(rows, layers, names, device) for layers, rows, names in by_rank if layers is not None]


@contextmanager
def buffers_of_rank_zero(network: nn.Module) -> Iterator[None]:
    """Give every process rank zero's buffers for a while; their own come back on leaving.

    Under distributed training each process has running statistics of its own batches, and what a checkpoint
    keeps are rank zero's: without this the processes would run different networks.
    """
    if not _is_distributed():
        yield
        return
    own: list[tuple[Tensor, Tensor]] = []
    try:
        with torch.no_grad():
            for buffer in network.buffers():
                first = buffer.detach().clone(memory_format=torch.contiguous_format)
                dist.broadcast(first, src=0)
                if not torch.equal(first, buffer):  # what is equal is not written: it may be an expanded view
                    own.append((buffer, buffer.detach().clone()))
                    buffer.copy_(first)
        yield
    finally:
        with torch.no_grad():
            for buffer, value in own:
                buffer.copy_(value)


def _carrier(group: Any = None) -> torch.device:
    """The device whose memory the backend carries."""
    on_device = dist.get_backend(group) == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_device else torch.device("cpu")


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
