"""States within a budget of memory: on their device, then on the host, then on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from nfas_lightning.functional.batches import free_memory
from nfas_lightning.functional.checks import check_count

__all__ = ["Spill"]

_SHARE = 0.5  # of the memory that is free


class Spill:
    """Keep tensors where they arise until a budget is used up, then on the host, then on disk.

    What is kept is an ordinary tensor wherever it lies, with the same values to the last bit. On the host it
    is pinned if it comes from a CUDA device. On disk it is mapped into memory: a file without a name, which
    goes with the tensor.

    Args:
        budget: bytes on the device; None: half of what is free there at the first tensor.
        host_budget: bytes on the host for what exceeds the budget of another device; None: likewise.
        folder: on a disk with room; None: the system's for temporary files.

    Raises:
        ValueError: a budget is negative.

    Example:
        >>> rows = torch.arange(6.0).view(2, 3)
        >>> torch.equal(Spill(budget=0).keep(rows), rows)
        True
    """

    def __init__(
        self,
        budget: int | None = None,
        *,
        host_budget: int | None = None,
        folder: str | Path | None = None,
    ) -> None:
        for name, value in (("memory_budget", budget), ("host_budget", host_budget)):
            if value is not None:
                check_count(name, value, 0, unit="bytes")
        self.budget, self.host_budget, self.folder = budget, host_budget, folder
        self.clear()

    def clear(self) -> None:
        """Begin with whole budgets: what was kept has been let go."""
        self._left: dict[torch.device, int] = {}
        self._mapped: set[int] = set()  # addresses of what lies on disk

    def keep(self, value: Tensor) -> Tensor:
        """Return the tensor, or where its device is full a copy on the host or on disk."""
        place = self._place(value.nbytes, value.device)
        return value if place == value.device else self._empty(value, value.shape, place).copy_(value)

    def join(self, parts: Sequence[Tensor], device: torch.device) -> Tensor:
        """Join kept parts (B, ...), which the caller lets go, into one tensor, on `device` if it has room."""
        for part in parts:
            if part.device in self._left and part.data_ptr() not in self._mapped:
                self._left[part.device] += part.nbytes
        place = self._place(sum(part.nbytes for part in parts), device)
        if place == device:
            return torch.cat([part.to(device) for part in parts])
        rows = [len(part) for part in parts]
        whole = self._empty(parts[0], torch.Size([sum(rows), *parts[0].shape[1:]]), place)
        for slot, part in zip(torch.split(whole, rows), parts, strict=True):
            slot.copy_(part)
        return whole

    def _place(self, size: int, device: torch.device) -> torch.device | None:
        """Book so many bytes on the device, or on the host; None: on disk, as neither has them."""
        for place, budget in ((device, self.budget), (torch.device("cpu"), self.host_budget)):
            if place not in self._left:
                self._left[place] = int(_SHARE * free_memory(place)) if budget is None else budget
            if self._left[place] >= size:
                self._left[place] -= size
                return place
        return None

    def _empty(self, like: Tensor, shape: torch.Size, place: torch.device | None) -> Tensor:
        """Return memory on the host, or for None in a file."""
        if place is not None or not shape.numel():
            return torch.empty(shape, dtype=like.dtype, pin_memory=like.is_cuda)
        with tempfile.NamedTemporaryFile(prefix="nfas-states-", dir=self.folder) as file:
            flat = torch.from_file(file.name, shared=True, size=shape.numel(), dtype=like.dtype)
        self._mapped.add(flat.data_ptr())
        return flat.view(shape)
