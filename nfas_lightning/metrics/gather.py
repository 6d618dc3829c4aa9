"""Gather rows that processes hold unevenly, in blocks."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["gather_rows"]

_BLOCK_BYTES = 2**26


def gather_rows(result: Tensor, group: Any = None) -> list[Tensor]:
    """Return every process's rows, in the order of their ranks; a torchmetrics ``dist_sync_fn``.

    Unlike torchmetrics' own it lets a process hold no rows at all, keeps host memory on the host where the
    backend only speaks to devices, and passes it through the device in blocks of 64 MB.

    Args:
        result: (n, ...) rows of this process; n may differ, and where it is 0 the other axes may too.
        group: process group; None: all processes.

    Returns:
        One tensor a process, each on the device of `result`.

    Raises:
        ValueError: processes hold rows of different shapes or dtypes. Raised on all of them.
    """
    world = dist.get_world_size(group)
    told: list[Any] = [None] * world
    dist.all_gather_object(told, (len(result), tuple(result.shape[1:]), result.dtype), group=group)
    kinds = {(tail, dtype) for rows, tail, dtype in told if rows}
    if len(kinds) > 1:
        listed = ", ".join(sorted(f"{tail} {dtype}" for tail, dtype in kinds))
        raise ValueError(f"All processes must hold rows of one shape and dtype, got {listed}.")
    if not kinds:
        return [result] * world
    tail, dtype = kinds.pop()
    counts = [rows for rows, _, _ in told]
    mine = result if len(result) else torch.empty(0, *tail, dtype=dtype, device=result.device)
    on_device = dist.get_backend(group) == "nccl"
    carrier = torch.device("cuda", torch.cuda.current_device()) if on_device else torch.device("cpu")
    step = max(1, _BLOCK_BYTES // max(1, torch.empty(tail, dtype=dtype, device="meta").nbytes))
    parts: list[list[Tensor]] = [[] for _ in range(world)]
    for start in range(0, max(counts), step):
        block = torch.zeros(min(step, max(counts) - start), *tail, dtype=dtype, device=carrier)
        here = mine[start : start + len(block)]
        block[: len(here)] = here
        got = [torch.empty_like(block) for _ in range(world)]
        # bytes: not every backend carries every dtype
        dist.all_gather([part.view(torch.uint8) for part in got], block.view(torch.uint8), group=group)
        for rank, part in enumerate(got):
            parts[rank].append(part[: max(0, counts[rank] - start)].to(result.device))
    return [torch.cat(rows) for rows in parts]
