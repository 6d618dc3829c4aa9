"""Which of the tensors that a block returns carries its state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from nfas_lightning.errors import InputTypeError

__all__ = ["all_tensors", "as_numbers", "first_tensor", "given_tensors", "main_tensor", "rivals"]

# Their tuples begin with the output, as torch's documentation says.
_STATE_FIRST = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
_ADVICE = "Let it return the state alone, or record a module inside it."


def main_tensor(
    output: object, name: str = "The block", given: Sequence[Tensor] = (), module: nn.Module | None = None
) -> Tensor:
    """Return the tensor that carries a block's state.

    That is the output itself; the first tensor of a tuple or list, nested ones included, as transformers
    order theirs; of a mapping or a named tuple ``last_hidden_state``, or its only tensor.

    Args:
        output: what the block returned.
        name: the block's, for errors.
        given: the tensors that the block was called with, the first one first.
        module: the block; of torch's own recurrent and attention layers the first tensor is the state.

    Raises:
        TypeError: a `PackedSequence`, which hides the time axis; a mapping or named tuple of several tensors,
            none of which says that it is the state; a list of branches; a tuple of two tensors with the shape
            of the input, of the streams that the block was given, or that begins with attention weights and
            holds a state later; integers or booleans; or no tensor at all.
    """
    if isinstance(module, _STATE_FIRST) and isinstance(output, tuple):
        output = output[0]
    if isinstance(output, PackedSequence) or (
        isinstance(output, tuple) and output and isinstance(output[0], PackedSequence)
    ):
        raise InputTypeError(
            f"{name} returned a PackedSequence, whose rows are no stimuli: run the recurrent layers on "
            f"padded batches and give the mask, or stimuli of one length at a time."
        )
    tensors = list(_tensors(_values(output, name)))
    if not tensors:
        raise InputTypeError(
            f"{name} returned {type(output).__name__} without a tensor: record another module."
        )
    state = tensors[0]
    if not (state.is_floating_point() or state.is_complex() or state.is_quantized):
        raise InputTypeError(
            f"{name} returned {state.dtype}{' first' if len(tensors) > 1 else ''}, which is no state: "
            f"expected floating point numbers. {_ADVICE}"
        )
    others = [other for other in tensors[1:] if other is not state]
    if others and given and _is_attention(state, given[0]) and rivals(output, state, given):
        raise InputTypeError(
            f"{name} returned tensors of shapes {_shapes(tensors)}: the first, which would be taken as the "
            f"state, looks like attention weights, and its input had shape {tuple(given[0].shape)}. Let it "
            f"return the state first, or record a module inside it."
        )
    if _has_streams(output, state, given):
        raise InputTypeError(
            f"{name} returned several tensors of shapes {_shapes(tensors)}, any of which may be its state: "
            f"streams, branches, or a state and what is still to be added to it. {_ADVICE}"
        )
    return state


def as_numbers(state: Tensor) -> Tensor:
    """Return a state as plain numbers: what a quantized tensor stands for, and a sparse one with its zeros.

    Example:
        >>> as_numbers(torch.eye(2).to_sparse())
        tensor([[1., 0.],
                [0., 1.]])
    """
    if state.is_quantized:
        return state.dequantize()
    return state if state.is_nested or state.layout == torch.strided else state.to_dense()


def rivals(output: object, state: Tensor, given: Sequence[Tensor]) -> list[Tensor]:
    """Return later tensors with the shape of the block's input, which what was taken as the state has not.

    Either the block changes shapes (a stage that merges tokens, and returns what it had before), or what it
    returns first is no state (the logits of a gate): what the next block is given tells.
    """
    if not given or state.is_nested or given[0].is_nested or state.shape == given[0].shape:
        return []
    own = list(output) if isinstance(output, tuple | list) else []
    return [
        other
        for other in _tensors(own)
        if other is not state and not other.is_nested and other.shape == given[0].shape
    ]


def _has_streams(output: object, state: Tensor, given: Sequence[Tensor]) -> bool:
    """Whether several tensors of a tuple or list have equal claims to be the state."""
    if not isinstance(output, tuple | list) or state.is_nested:
        return False
    own = [one for one in output if isinstance(one, Tensor) and one.is_floating_point() and not one.is_nested]
    if not any(one is state for one in own):
        return False
    others = [one for one in own if one.ndim == state.ndim > 1 and one is not state]
    if isinstance(output, list) and others:
        return True
    shapes = [tuple(one.shape) for one in given if not one.is_nested]
    twice = shapes[:1] == [tuple(state.shape)] and any(one.shape == state.shape for one in others)
    # what is handed on beside a state, as a bias over positions is, has another width
    wide = [one for one in others if one.shape[-1] == state.shape[-1]]
    streams = any(tuple(one.shape) in shapes[1:] for one in wide) and tuple(state.shape) in shapes
    return twice or streams


def given_tensors(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """A call's tensors, in their order; none where its first argument is no tensor."""
    values = (*args, *kwargs.values())
    if not values or not isinstance(values[0], Tensor):
        return []
    return [value for value in values if isinstance(value, Tensor)]


def all_tensors(values: object) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and mappings."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping | tuple | list):
        for value in values.values() if isinstance(values, Mapping) else values:
            yield from all_tensors(value)


def first_tensor(values: object) -> Tensor | None:
    """The first tensor in nested tuples, lists and mappings."""
    return next(all_tensors(values), None)


def _values(output: object, name: str) -> list[object]:
    if isinstance(output, Tensor):
        return [output]
    named = output._asdict() if isinstance(output, tuple) and hasattr(output, "_asdict") else output
    if not isinstance(named, Mapping):
        return list(output) if isinstance(output, tuple | list) else []
    state = named.get("last_hidden_state")
    if isinstance(state, Tensor):
        return [state]
    found = {key: tuple(v.shape) for key, v in named.items() if isinstance(v, Tensor)}
    if len(found) > 1:
        kind = "mapping" if named is output else "named tuple"
        raise InputTypeError(
            f"{name} returned a {kind} of several tensors, {found}, and none is said to be the state: "
            "record a module inside it, or call that entry 'last_hidden_state'."
        )
    return list(named.values())


def _tensors(values: Sequence[object]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)


def _is_attention(tensor: Tensor, given: Tensor) -> bool:
    """Whether a tensor has the shape of weights (B, K, K) or (B, heads, K, K) over an input's tokens."""
    if tensor.is_nested or given.is_nested or given.ndim != 3 or tensor.shape == given.shape:
        return False
    return (
        tensor.ndim in (3, 4) and tensor.shape[-1] == tensor.shape[-2] and tensor.shape[-1] in given.shape[:2]
    )


def _shapes(tensors: Sequence[Tensor]) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in tensors]
