"""The layouts of a network's blocks, each found in the first pass that shows it.

Whether three axes are (B, K, D) or (K, B, D) is found by running one stimulus more: the axis that grows is
that of the stimuli.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nfas_lightning.errors import InputError, InputTypeError
from nfas_lightning.hooks.attached import Attached
from nfas_lightning.hooks.layout import Watch, axes_of, known_layers, layout_evidence
from nfas_lightning.hooks.outputs import first_tensor, given_tensors, main_tensor
from nfas_lightning.hooks.undisturbed import undisturbed

__all__ = ["BlockLayouts", "Given", "OpenBlock", "find_batch_axes", "settle"]

_LAYOUTS = ("channels_last", "sequence_first")  # the batch on the first axis, and on the second
_TOLERANCE = 1e-3  # of a block's largest mean; batches of two sizes differ by rounding alone
_NO_INPUTS = ("stimulus_id", "n_frames")
_PLAIN = (type(None), bool, int, float, str, torch.dtype, torch.device)


class BlockLayouts:
    """Where the blocks of a network keep their channels: asked block by block, and remembered.

    Args:
        network: the network.
        names: of the blocks.
    """

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        self._network, self._names = network, names
        self._found: dict[str, str] = {}
        self._by_kind: dict[tuple[type, int], str] = {}
        self._watches: dict[str, Watch] = {}

    def attach(self) -> None:
        """Watch the layers of the blocks whose layout is not known yet."""
        undecided = [name for name in self._names if name not in self._found]
        blocks = {name: self._network.get_submodule(name) for name in undecided}
        without_layers = [name for name, block in blocks.items() if next(known_layers(block), None) is None]
        if without_layers:
            before = Watch(list(known_layers(self._network)))
            self._watches = dict.fromkeys(without_layers, before)
        for name, block in blocks.items():
            layers = list(known_layers(block))
            if layers and layers != [block]:
                self._watches[name] = Watch(layers, block)

    def detach(self) -> None:
        """Remove the hooks of the watches; nothing happens if they are gone already."""
        while self._watches:
            self._watches.popitem()[1].close()

    def of(
        self, name: str, block: nn.Module, output: Tensor, batch: int | None, given: int | None = None
    ) -> tuple[str, ...]:
        """Return a block's layout, see `infer_layout`.

        Args:
            name: of the block.
            block: the module that ran under this name.
            output: its raw output.
            batch: B where the mask tells.
            given: length of the first axis of what the network was given, most often B.

        Returns:
            The layout; two of them where the batch may be on the first axis as well as on the second, which
            another batch tells, see `decide`.

        Raises:
            ValueError: the evidence leaves more than one.
        """
        known = self._found.get(name)
        if known is not None or output.ndim < 3:
            return (known or "channels_last",)  # vectors have one axis beside the batch's
        watch = self._watches.get(name)
        seen = () if watch is None else watch.seen
        sibling = self._by_kind.get((type(block), output.ndim))
        found, is_sure = layout_evidence(block, output, batch, seen, sibling)
        first, second = output.shape[:2]
        if first == second == 1:  # one token of one stimulus fits every order
            return (found,)
        n = given if batch is None else batch
        may_be_second = first == second if n is None else second == n and (batch is None or first == second)
        if output.ndim == 3 and found != "channels_first" and may_be_second and not is_sure:
            return ("channels_last", "sequence_first")
        self.decide(name, block, output.ndim, found)
        return (found,)

    def decide(self, name: str, block: nn.Module, ndim: int, layout: str) -> None:
        """Remember a block's layout, and watch its layers no longer."""
        self._found[name] = layout
        if type(block) is not nn.Sequential:  # what lies in two plain containers need not be alike
            self._by_kind[type(block), ndim] = layout
        watch = self._watches.pop(name, None)
        if watch is not None and watch not in self._watches.values():
            watch.close()


@dataclass(frozen=True)
class Given:
    """What a network was given in one pass.

    Attributes:
        args: its arguments.
        kwargs: its keywords.
        mask: (B, K) booleans for pooling, see `DepthRecorder.mask`.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    mask: Tensor | None = None

    @classmethod
    def of_batch(cls, batch: Mapping[Any, Any]) -> Given:
        """Return what `as_batch` made of it; what says which stimuli they are is left out."""
        args = tuple(value for key, value in batch.items() if isinstance(key, int))
        kwargs = {key: batch[key] for key in batch if isinstance(key, str) and key not in _NO_INPUTS}
        return cls(args, kwargs)

    def as_batch(self) -> dict[Any, Any]:
        """Return arguments and keywords in one dictionary, arguments under their position."""
        return {**dict(enumerate(self.args)), **self.kwargs}

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

    def check_repeatable(self) -> None:
        """Raise TypeError where an argument, such as a cache, can't be given twice."""
        _one_more((self.args, dict(self.kwargs)), batch=-1)

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
            raise InputError(f"Block {block.name!r}: {question}{reason}") from cause
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
        raise InputTypeError(
            f"an argument of type {type(value).__name__} can't be made longer by one stimulus."
        )
    return value
