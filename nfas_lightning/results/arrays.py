"""Tensors and arrays in plain values: a hash over their bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from nfas_lightning.results.code import name_of

__all__ = ["array_parts", "tensor_parts"]

Describe = Callable[[object], object]


def array_parts(value: np.ndarray[Any, Any], describe: Describe) -> list[object]:
    """Return an array's type, shape and values."""
    about: list[object] = ["array", str(value.dtype), list(value.shape)]
    if value.dtype.hasobject:
        return [*about, describe(value.tolist())]
    return [*about, hashlib.sha256(value.tobytes()).hexdigest()]


def tensor_parts(value: Any, describe: Describe) -> list[object]:
    """Return a tensor's type, shape and values, of whatever layout it is."""
    if nn.parameter.is_lazy(value):
        return ["tensor", "not yet made"]
    if value.is_nested:
        return ["tensor", str(value.dtype), *map(describe, value.unbind())]
    about: list[object] = ["tensor", str(value.dtype), list(value.shape)]
    if hasattr(value, "__tensor_flatten__"):  # subclasses around several tensors, such as torchao's
        names, context = value.__tensor_flatten__()
        inner = [describe(getattr(value, name)) for name in names]
        return [*about, name_of(type(value)), inner, describe(context)]
    if value.is_meta:
        return [*about, "meta"]
    if value.is_quantized:
        per_channel = value.qscheme() in (
            torch.per_channel_affine,
            torch.per_channel_affine_float_qparams,
        )
        scale = (
            [describe(value.q_per_channel_scales()), describe(value.q_per_channel_zero_points())]
            if per_channel
            else [value.q_scale(), value.q_zero_point()]
        )
        return [*about, scale, describe(value.int_repr())]
    dense = value.detach().to_dense() if value.layout != torch.strided else value.detach()
    raw = dense.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
    return [*about, hashlib.sha256(raw.numpy()).hexdigest()]
