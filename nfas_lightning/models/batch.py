"""What the preprocessing of every modality shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nfas_lightning.errors import InputError

__all__ = ["batch_field", "prefix_mask"]


def prefix_mask(lengths: Tensor, size: int) -> Tensor:
    """(B, size) booleans, True on the first `lengths` of each row."""
    return torch.arange(size) < lengths.cpu().unsqueeze(1)


def batch_field(batch: Mapping[str, Any], key: str) -> Any:
    """Return what the batch holds under `key`, or say that model and benchmark do not match."""
    if key not in batch:
        raise InputError(
            f"This model reads {key!r} and the batch holds {sorted(batch)}: pair a model with a benchmark of "
            f"its own modality."
        )
    return batch[key]
