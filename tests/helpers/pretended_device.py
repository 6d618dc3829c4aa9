"""A pretended accelerator: tensors that compute on the CPU and refuse the company of CPU tensors.

Most machines that run the tests have no GPU, where an index or a constant left on the CPU would raise. Under
`PretendedDevice` operations on `pretend(x)` give what `x` gives, and mixing the two raises what CUDA raises.
Sparse tensors cannot be wrapped.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
"""What the pretended device calls itself: torch knows the name and no kernel of ours runs on it."""

_INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
_COPYING = {"aten::copy_", "aten::_to_copy", "aten::lift_fresh", "aten::set_"}


class _Pretended(Tensor):
    """A tensor whose values lie on the CPU and whose device says otherwise."""

    values: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: Tensor) -> _Pretended:
        wrapper = torch.Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=DEVICE,
        )
        wrapper.values = values
        return wrapper

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})

    def tolist(self) -> Any:
        _note(self.values)
        return self.values.tolist()

    def __repr__(self) -> str:
        return f"pretended({self.values})"


class PretendedDevice(TorchDispatchMode):
    """Context in which `pretend` may be used; creation functions honor ``device=DEVICE``.

    Args:
        float64: False: the device has none, and raises as MPS does.

    Attributes:
        brought: sizes of the floating-point tensors that were brought to the host, one per copy or read.
    """

    def __init__(self, *, float64: bool = True) -> None:
        super().__init__()
        self.float64 = float64
        self.brought: list[int] = []

    def __enter__(self) -> PretendedDevice:
        self._tensor = torch.tensor
        torch.tensor = self._make  # does not pass through the dispatcher
        _open.append(self)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        torch.tensor = self._tensor
        _open.remove(self)
        super().__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})

    def _make(self, data: Any, *, device: Any = None, **options: Any) -> Tensor:
        made = self._tensor(data, **options)
        return pretend(made) if _is_pretended(device) else made


def pretend(values: Tensor) -> Tensor:
    """Copy a tensor to the pretended device."""
    return _Pretended(values.clone())


def reveal(value: Any) -> Any:
    """Bring a tensor back; everything else is returned as it is."""
    return value.values if isinstance(value, _Pretended) else value


_open: list[PretendedDevice] = []


def _note(values: Tensor) -> None:
    """Count a copy to the host."""
    if _open and (values.is_floating_point() or values.is_complex()):
        _open[-1].brought.append(values.numel())


def _is_pretended(device: Any) -> bool:
    return device is not None and torch.device(device).type == DEVICE.type


def _run(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation on the values, after the checks that CUDA makes."""
    name, device = function._schema.name, kwargs.get("device")
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    if not _is_pretended(device) and not any(isinstance(tensor, _Pretended) for tensor in tensors):
        return function(*args, **kwargs)
    _check(name, function, args, tensors)
    wrappers = {id(tensor.values): tensor for tensor in tensors if isinstance(tensor, _Pretended)}
    options = dict(kwargs) if device is None else {**kwargs, "device": torch.device("cpu")}
    result = function(*tree_map(reveal, args), **tree_map(reveal, options))
    if name == "aten::copy_":
        if isinstance(args[1], _Pretended) and not isinstance(args[0], _Pretended):
            _note(args[1].values)
        return args[0]
    stays = device is not None and not _is_pretended(device)

    def wrap(value: Any) -> Any:
        if not isinstance(value, Tensor):
            if isinstance(value, float):
                _note(torch.tensor(value))
            return value
        if stays:
            _note(value)
            return value
        if _open and not _open[-1].float64 and value.dtype in (torch.float64, torch.complex128):
            raise TypeError(f"{name}: the pretended device has no float64.")
        # a wrapper does not know that its values are to be read as conjugates
        return wrappers[id(value)] if id(value) in wrappers else _Pretended(value.resolve_conj())

    return tree_map(wrap, result)


def _check(name: str, function: Any, args: tuple[Any, ...], tensors: list[Tensor]) -> None:
    """Raise where CUDA would: operands on two devices, unless one is a number in a tensor's clothing."""
    on_cpu = [t for t in tensors if not isinstance(t, _Pretended)]
    if name in _INDEXING:
        owner, indices = args[0], [index for index in args[1] if index is not None]
        if not isinstance(owner, _Pretended) and any(isinstance(index, _Pretended) for index in indices):
            raise RuntimeError(f"{name}: indices must be on the CPU or on the device of the indexed tensor.")
        put = args[2:3]
        if any(isinstance(v, _Pretended) != isinstance(owner, _Pretended) and v.dim() for v in put):
            raise RuntimeError(f"{name}: values and tensor are on different devices.")
    elif name not in _COPYING:
        on_device = [tensor for tensor in tensors if isinstance(tensor, _Pretended)]
        if on_device and any(tensor.dim() for tensor in on_cpu):
            shapes = [tuple(tensor.shape) for tensor in on_cpu if tensor.dim()]
            raise RuntimeError(f"{name}: expected all tensors on one device, got {shapes} on the CPU.")
        if on_device and function._schema.is_mutable and not isinstance(args[0], _Pretended):
            raise RuntimeError(f"{name}: a CPU tensor cannot be written from another device.")
