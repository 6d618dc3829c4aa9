"""Validation of tensors, in one message style: what was expected, what came, what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from nfas_lightning.errors import InputError, InputTypeError, nearest

__all__ = [
    "check_count",
    "check_device",
    "check_distances",
    "check_finite",
    "check_option",
    "check_seed",
    "check_shape",
    "double_device",
    "is_constant",
    "seeded_generator",
    "to_device",
    "with_float64",
    "working_dtype",
]

_MOST = 2**63 - 1
_NO_FLOAT64 = {"mps"}
_WITHOUT_FLOAT64 = {torch.float64: torch.float32, torch.complex128: torch.complex64}
P = ParamSpec("P")
T = TypeVar("T")


def check_shape(name: str, value: Tensor, letters: str, **sizes: int) -> None:
    """Raise unless `value` has one axis a letter and the given sizes.

    Args:
        name: the argument's name, as the caller wrote it.
        value: the tensor to look at.
        letters: the axes, separated by spaces, e.g. ``"N L D"``.
        sizes: required length of an axis, by its letter, e.g. ``R=6``.

    Raises:
        TypeError: `value` is no tensor.
        ValueError: the number of axes or a length differs.

    Example:
        >>> check_shape("H", torch.zeros(3, 4, 5), "N L D", L=4)
        >>> check_shape("H", torch.zeros(3, 4), "N L D")
        Traceback (most recent call last):
        ...
        nfas_lightning.errors.InputError: H must have shape (N, L, D), got (3, 4).
    """
    if not isinstance(value, Tensor):
        raise InputTypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}.")
    axes = letters.split()
    got = tuple(value.shape)
    wanted = ", ".join(f"{a}={sizes[a]}" if a in sizes else a for a in axes)
    if len(axes) == 1:
        wanted += ","
    if len(got) != len(axes):
        raise InputError(f"{name} must have shape ({wanted}), got {got}.")
    if any(got[i] != sizes[a] for i, a in enumerate(axes) if a in sizes):
        raise InputError(f"{name} must have shape ({wanted}), got {got}.")


def check_finite(name: str, value: Tensor) -> None:
    """Raise if `value` holds NaN or infinity, and say how many and where the first one is."""
    finite = torch.isfinite(value)
    if not bool(finite.all()):
        bad = int((~finite).sum())
        first = tuple(int(i) for i in (~finite).nonzero()[0])
        raise InputError(
            f"{name} must be finite, got {bad} NaN or infinite of {value.numel()} values, the first at "
            f"{first}. Mask or drop them before this call."
        )


def check_device(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    """Raise unless two tensors lie on one device."""
    if value.device != other.device:
        raise InputError(
            f"{name} must be on the device of {other_name}, {other.device}, got {value.device}: "
            "move one of them."
        )


def check_distances(distances: Tensor) -> Tensor:
    """Return `distances` in float64, symmetric to the last bit, or say why they are no distances.

    Raises:
        ValueError: not square, empty, not finite, negative, asymmetric or with a diagonal other than zero.
    """
    check_shape("distances", distances, "M M", M=len(distances) if distances.ndim else 0)
    if not len(distances):
        raise InputError("distances must be those of at least one model, got a matrix of none.")
    check_finite("distances", distances)
    if not distances.is_floating_point():
        distances = distances.to(torch.float64)
    wide = distances.to(torch.float64)
    # squares that cancel, as in torch.cdist, leave the root of the precision on the diagonal
    tolerance = 8 * torch.finfo(distances.dtype).eps ** 0.5 * float(wide.max())
    if bool((wide < -tolerance).any()):
        raise InputError(f"distances must not be negative, got {float(wide.min()):g}.")
    if float(wide.diagonal().abs().max()) > tolerance:
        raise InputError(
            f"distances must be zero on the diagonal, got up to {float(wide.diagonal().abs().max()):g}. "
            "A similarity s may become sqrt(2 - 2 s) first."
        )
    if float((wide - wide.T).abs().max()) > tolerance:
        raise InputError(
            f"distances must be symmetric, got {float((wide - wide.T).abs().max()):g} between the triangles."
        )
    wide = ((wide + wide.T) / 2).clamp(min=0)
    return wide.fill_diagonal_(0)


def check_count(name: str, value: Any, least: int = 0, most: int | None = None, *, unit: str = "") -> None:
    """Raise unless `value` is a whole number within bounds; True and "5" are none.

    Args:
        name: the argument's name, as the caller wrote it.
        value: what was given.
        least: smallest value allowed.
        most: largest value allowed; None: any.
        unit: what is counted, e.g. ``"pixels"``, for the message.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is out of bounds.

    Example:
        >>> check_count("n_folds", 5, 2)
        >>> check_count("n_folds", "5", 2)
        Traceback (most recent call last):
        ...
        nfas_lightning.errors.InputTypeError: n_folds must be a whole number, got '5' (str).
    """
    of = f" of {unit}" if unit else ""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputTypeError(
            f"{name} must be a whole number{of}, got {value!r:.80} ({type(value).__name__})."
        )
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        raise InputError(f"{name} must be {bounds}{' ' + unit if unit else ''}, got {value}.")


def check_seed(seed: Any) -> None:
    """Raise unless a seed is one that both torch and numpy take.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is negative, or 2^63 or more.
    """
    check_count("seed", seed, 0, _MOST)


def seeded_generator(seed: int) -> torch.Generator:
    """Return a generator of its own on the CPU; see `check_seed`."""
    check_seed(seed)
    return torch.Generator().manual_seed(int(seed))


def check_option(name: str, value: str, options: tuple[str, ...]) -> None:
    """Raise unless `value` is one of `options`."""
    if value not in options:
        hint = nearest(str(value), options)
        raise InputError(f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}.{hint}")


def working_dtype(*tensors: Tensor) -> torch.dtype:
    """Return the dtype to compute in: the widest of the inputs, half precisions raised to float32."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def is_constant(deviation: Tensor, size: Tensor | float, dtype: torch.dtype) -> Tensor:
    """Tell what deviates from its mean by rounding alone: standardized, it would correlate with anything.

    The mean of a constant is off by a few eps of its size, five over 30 000 values; eight leave room.

    Args:
        deviation: what is left of the values once their mean is off, or their range.
        size: the values before that, measured as `deviation` is: both largest moduli, or both squares.
        dtype: that the values were rounded to.

    Returns:
        Booleans of the shape of `deviation`; False for NaN.
    """
    return deviation <= 8 * torch.finfo(dtype).eps * size


def with_float64(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function work on the CPU where its tensors' device has no float64; what it returns goes back."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        places = {value.device for value in (*args, *kwargs.values()) if isinstance(value, Tensor)}
        away = [place for place in places if double_device(place) != place]
        if not away:
            return function(*args, **kwargs)
        home = double_device(away[0])
        given = [to_device(value, home) for value in args]
        return cast(T, to_device(function(*given, **to_device(kwargs, home)), away[0]))

    return wrapped


def to_device(value: Any, device: torch.device) -> Any:
    """Move the tensors in a value, dictionary, named tuple or dataclass; float64 where it can be kept."""
    if isinstance(value, Tensor):
        lacks = double_device(device) != device
        return value.to(device, _WITHOUT_FLOAT64.get(value.dtype, value.dtype) if lacks else value.dtype)
    if isinstance(value, dict):
        return {name: to_device(part, device) for name, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(to_device(part, device) for part in value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{part.name: to_device(getattr(value, part.name), device) for part in fields(value)}
        )
    return value


def double_device(device: torch.device) -> torch.device:
    """Return `device`, or the CPU where `device` has no float64 (Apple's MPS)."""
    return torch.device("cpu") if device.type in _NO_FLOAT64 else device
