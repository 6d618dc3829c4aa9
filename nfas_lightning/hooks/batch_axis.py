"""Find the axis of the stimuli by running one more: the axis that grows is theirs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nfas_lightning.hooks.attached import Attached
from nfas_lightning.hooks.layout import axes_of
from nfas_lightning.hooks.outputs import first_tensor, given_tensors, main_tensor
from nfas_lightning.hooks.undisturbed import undisturbed

__all__ = ["Given", "OpenBlock", "find_batch_axes", "settle"]

_LAYOUTS = ("channels_last", "sequence_first")  # the batch on the first axis, and on the second
_TOLERANCE = 1e-3  # of a block's largest mean; batches of two sizes differ by rounding alone
_PLAIN = (type(None), bool, int, float, str, torch.dtype, torch.device)


@dataclass(frozen=True)
class Given:
    """What a network was given in one pass.

    Attributes:
        args: its arguments.
        kwargs: its keywords.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_rows(self) -> int | None:
        """Length of the first tensor's first axis, B for most networks; None where there is none."""
        first = self._first()
        return None if first is None or first.ndim == 0 or first.is_nested else len(first)

    @property
    def n_tokens(self) -> int | None:
        """Length of the texts, None where the network reads something else than (B, K) token ids."""
        first = self._first()
        is_text = first is not None and first.ndim == 2 and first.dtype in (torch.int64, torch.int32)
        return int(first.shape[1]) if first is not None and is_text else None

    def _first(self) -> Tensor | None:
        return first_tensor((self.args, self.kwargs))


@dataclass(frozen=True)
class OpenBlock:
    """A block whose first two axes may be (B, K) or (K, B).

    Attributes:
        name: of the block.
        shape: of its raw output.
        states: its pooled states, by layout.
    """

    name: str
    shape: tuple[int, ...]
    states: Mapping[str, Tensor]


def settle(network: nn.Module, given: Given, blocks: Collection[OpenBlock]) -> dict[str, str]:
    """Return the layouts of open blocks by their names, see `find_batch_axes`.

    Raises:
        ValueError: a block's batch can't be found; names the choices.
    """
    axes: dict[str, int] = {}
    cause: Exception | None = None
    if given.n_rows is not None:
        names = list(dict.fromkeys(block.name for block in blocks))
        try:
            axes = find_batch_axes(network, names, given, given.n_rows)
        except (TypeError, ValueError, RuntimeError, IndexError, AssertionError) as error:
            cause = error  # whatever made the second pass fail, the question is the same
    for block in blocks:
        if block.name not in axes:
            reason = "" if cause is None else f" (A pass with one stimulus more failed: {cause})"
            question = axes_of(block.shape, list(block.states))
            raise ValueError(f"Block {block.name!r}: {question}{reason}") from cause
    return {name: _LAYOUTS[axis] for name, axis in axes.items()}


def find_batch_axes(network: nn.Module, names: Collection[str], given: Given, batch: int) -> dict[str, int]:
    """Run a network on its input, and on its input with the first stimulus twice.

    Args:
        network: the network; afterwards it is as it was (see `undisturbed`).
        names: of blocks that returned three axes.
        given: to the network in the pass that is repeated.
        batch: B; tensors with B rows hold one for each stimulus.

    Returns:
        0 or 1 by name: the axis that grew by one row (or by the frames of one clip) while what the other
        stimuli gave stayed the same. A block for which this can't be said is missing.

    Raises:
        TypeError: an argument, such as a cache, can't be given twice or made longer.
    """
    longer = Given(_one_more(given.args, batch), _one_more(dict(given.kwargs), batch))
    with undisturbed(network) as plain:
        once = _run(plain, names, given)
        more = _run(plain, names, longer)
    axes = {name: _axis(once[name], more[name], batch) for name in names if name in once and name in more}
    return {name: axis for name, axis in axes.items() if axis is not None}


def _run(network: nn.Module, names: Collection[str], given: Given) -> dict[str, tuple[Tensor, Tensor]]:
    """The means over the second axis and over the first one of what each block returned."""
    means = {}

    def see(name: str) -> Any:
        def hook(block: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            raw = main_tensor(output, repr(name), given_tensors(args, kwargs), block).detach()
            if raw.ndim == 3:
                means[name] = raw.float().mean(1), raw.float().mean(0)

        return hook

    handles = []
    try:
        for name in names:
            block = network.get_submodule(name)
            handles.append(block.register_forward_hook(Attached(block, see(name)), with_kwargs=True))
        network(*given.args, **given.kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return means


def _axis(once: tuple[Tensor, Tensor], more: tuple[Tensor, Tensor], batch: int) -> int | None:
    grew = [len(after) - len(before) for before, after in zip(once, more, strict=True)]
    if min(grew) != 0 or max(grew) == 0:
        return None
    axis = grew.index(max(grew))
    before, after = once[axis], more[axis][grew[axis] :]
    if len(before) != batch * grew[axis]:
        return None
    apart = float((after - before).abs().max())
    return axis if apart <= _TOLERANCE * float(before.abs().max()) else None


def _one_more(value: Any, batch: int) -> Any:
    if isinstance(value, Tensor):
        return torch.cat([value[:1], value]) if value.ndim and len(value) == batch else value
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        return type(value)(_one_more(one, batch) for one in value)
    if type(value) is dict:
        return {key: _one_more(one, batch) for key, one in value.items()}
    if not isinstance(value, _PLAIN):
        raise TypeError(f"an argument of type {type(value).__name__} can't be made longer by one stimulus.")
    return value
