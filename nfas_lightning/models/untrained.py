"""Networks of timm without training, each block of which computes something."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

__all__ = ["untrained_timm"]


def untrained_timm(timm: Any, name: str, **options: Any) -> nn.Module:
    """Build a network of timm with random weights, no residual branch of which is zero.

    To ease training, timm's residual networks start with zeros in the last norm of each branch
    (``zero_init_last``). Half of a ResNet's blocks are then the identity, so that depths would be equal.

    Args:
        timm: the library.
        name: of the model.
        **options: of ``timm.create_model``; ``zero_init_last=True`` keeps the zeros.
    """
    module: nn.Module = timm.create_model(name, pretrained=False, **options)
    takes = "zero_init_last" in inspect.signature(type(module)).parameters
    # some of timm's own constructors switch it off already, and can't be told twice
    if takes and "zero_init_last" not in options and _has_zeros(module):
        module = timm.create_model(name, pretrained=False, zero_init_last=False, **options)
    return module


def _has_zeros(module: nn.Module) -> bool:
    weights = (p for name, p in module.named_parameters() if name.endswith("weight") and not p.is_meta)
    return any(not bool(weight.any()) for weight in weights)
