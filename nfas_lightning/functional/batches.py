"""Targets in batches: how many of them fit beside what there is already."""

from __future__ import annotations

import os

import torch

from nfas_lightning.functional.checks import check_count

__all__ = ["batch_size", "free_memory", "split_targets"]

_UNKNOWN = 8 * 2**30  # bytes taken to be free where nothing can be asked
# Workspace of a batch. On a CPU more is no faster, as products of a few hundred columns are at full speed; an
# accelerator takes a quarter of what is free, up to a size that keeps it busy.
_WORKSPACE_CPU, _WORKSPACE_ACCELERATOR = 2**28, 2**32


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on a device; those that torch holds without using them count."""
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held
    if device.type == "cpu" and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _UNKNOWN


def batch_size(per_target: int, device: torch.device, free: int | None = None) -> int:
    """Return how many targets to work on at a time.

    Args:
        per_target: bytes that one of them takes.
        device: that does the work.
        free: bytes free there; None: asks.

    Example:
        >>> batch_size(2**20, torch.device("cpu"))
        256
    """
    workspace = _WORKSPACE_CPU
    if device.type != "cpu":
        workspace = min(_WORKSPACE_ACCELERATOR, (free_memory(device) if free is None else free) // 4)
    return max(1, workspace // max(1, per_target))


def split_targets(
    n_targets: int, per_target: int, device: torch.device, size: int | None = None
) -> list[slice]:
    """Cut R targets into slices of about equal length.

    Args:
        n_targets: R.
        per_target: see `batch_size`.
        device: that does the work.
        size: targets in a slice at most; None: `batch_size`.

    Raises:
        ValueError: `size` is no positive whole number.

    Example:
        >>> split_targets(5, 0, torch.device("cpu"), size=2)
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    if size is not None:
        check_count("target_batch", size, 1)
    else:
        n_batches = -(-n_targets // batch_size(per_target, device))
        size = max(1, -(-n_targets // max(1, n_batches)))
    return [slice(start, min(start + size, n_targets)) for start in range(0, n_targets, size)]
