"""How the blocks of a pass follow each other: each is given what the one before it made."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nfas_lightning.errors import InputTypeError
from nfas_lightning.hooks.attached import Attached
from nfas_lightning.hooks.block_layouts import Given
from nfas_lightning.hooks.outputs import all_tensors
from nfas_lightning.hooks.undisturbed import undisturbed

__all__ = ["RowInPass", "Succession", "watch_rows"]


@dataclass(frozen=True)
class RowInPass:
    """What one pass showed of a row of blocks.

    Attributes:
        n_blocks: of the row.
        n_ran: how many of them the pass ran through.
        n_fed: how many were given what the one that ran before them in the row returned, itself or as a view.
        n_beside: how many were given what that one was given, and not what it returned.
        first: when the first one ran, in the order of all.
        given: memory that the first one was given.
        returned: memory that the last one returned.
    """

    n_blocks: int
    n_ran: int
    n_fed: int
    n_beside: int
    first: int
    given: frozenset[int]
    returned: frozenset[int]

    @property
    def may_be_trunk(self) -> bool:
        """Whether the pass ran through all blocks, one after the other."""
        return self.n_ran == self.n_blocks and not self.n_beside

    def is_fed_by(self, other: RowInPass) -> bool:
        """Whether the other row's last block fed the first one of this row."""
        return not self.given.isdisjoint(other.returned)

    def __str__(self) -> str:
        if not self.n_ran:
            return "did not run"
        if self.n_beside:
            return f"{self.n_beside} of {self.n_blocks} work beside the one before"
        ran = "all" if self.n_ran == self.n_blocks else f"{self.n_ran} of {self.n_blocks}"
        return f"{ran} ran, {self.n_fed} got what the one before made"


class _Run(NamedTuple):
    """One run of a module: its place among all runs, and memory by its addresses."""

    at: int
    module: nn.Module
    state: frozenset[int]  # of the first tensor that it was given
    given: frozenset[int]
    returned: frozenset[int]


def watch_rows(network: nn.Module, rows: Sequence[Sequence[nn.Module]], given: Given) -> list[RowInPass]:
    """Run a network once, and see how its rows of blocks feed each other.

    Args:
        network: the network; afterwards it is as it was (see `undisturbed`).
        rows: blocks of each row.
        given: to the network.

    Returns:
        What was seen of each row.

    Raises:
        TypeError: an argument, such as a cache, can't be given twice.
    """
    given.check_repeatable()
    runs: list[_Run] = []
    held: list[Tensor] = []  # so that no other tensor comes to lie in its memory

    def see(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        own, returned = list(all_tensors((args, kwargs))), list(all_tensors(output))
        held.extend((*own, *returned))
        runs.append(_Run(len(runs), module, _memory(own[:1]), _memory(own), _memory(returned)))

    handles = []
    try:
        with undisturbed(network) as plain:
            for module in {id(module): module for row in rows for module in row}.values():
                handles.append(module.register_forward_hook(Attached(module, see), with_kwargs=True))
            plain(*given.args, **given.kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return [_row_in_pass(row, runs) for row in rows]


def _row_in_pass(row: Sequence[nn.Module], runs: Sequence[_Run]) -> RowInPass:
    members = set(map(id, row))
    own = [run for run in runs if id(run.module) in members]
    if not own:
        return RowInPass(len(row), 0, 0, 0, 0, frozenset(), frozenset())
    pairs = list(pairwise(own))
    fed = [bool(one.returned & other.given) for one, other in pairs]
    beside = [
        not is_fed and one.state == other.state for is_fed, (one, other) in zip(fed, pairs, strict=True)
    ]
    n_ran = len({id(run.module) for run in own})
    return RowInPass(len(row), n_ran, sum(fed), sum(beside), own[0].at, own[0].given, own[-1].returned)


def _memory(tensors: Sequence[Tensor]) -> frozenset[int]:
    return frozenset(
        tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.layout == torch.strided
    )


class Succession:
    """Look at what each block was given, pass by pass, in the order in which blocks finish."""

    def __init__(self) -> None:
        self._has_warned = False
        self._known_kinds: set[type] = set()
        self.begin()

    def begin(self) -> None:
        """Forget the last pass."""
        self._previous: tuple[str, weakref.ref[Tensor]] | None = None
        self._doubt: tuple[type, weakref.ref[Tensor], str] | None = None

    def see(
        self, name: str, block: nn.Module, given: Sequence[Tensor], state: Tensor, rivals: Sequence[Tensor]
    ) -> None:
        """Take in one block.

        Args:
            name: of the block.
            block: the module.
            given: the tensors it was called with, the first one first.
            state: what was taken as its state.
            rivals: what may be its state as well; the next block's input tells.

        Raises:
            TypeError: the next block was not given what was taken as the state of the block before.
        """
        first = given[0] if given else None
        self._settle(first)
        if rivals:
            shapes = [tuple(tensor.shape) for tensor in (state, *rivals)]
            question = (
                f"{name!r} returned tensors of shapes {shapes}: the first would be taken as "
                f"its state, a later one has the shape of its input, and the next block was given neither. "
                f"Let it return the state alone, or record a module inside it."
            )
            self._doubt = (type(block), weakref.ref(state), question)
        self._warn_of_siblings(name, first, state)

    def finish(self) -> None:
        """Raise if the last block's state is in doubt, and no block of its class has told."""
        self._settle(None)

    def _settle(self, given: Tensor | None) -> None:
        doubt, self._doubt = self._doubt, None
        if doubt is None:
            return
        kind, state, question = doubt
        if given is not None and state() is given:
            self._known_kinds.add(kind)
        elif kind not in self._known_kinds:
            raise InputTypeError(f"Block {question}")

    def _warn_of_siblings(self, name: str, given: Tensor | None, state: Tensor) -> None:
        """Warn once where a block got what the block before it got, and not what that one made of it."""
        previous, self._previous = self._previous, None
        if given is None or self._has_warned:
            return
        if previous is not None and previous[1]() is given and not _is_nested(previous[0], name):
            self._has_warned = True
            warnings.warn(
                f"Blocks {previous[0]!r} and {name!r} were given the very same tensor: they work side by "
                f"side and are no successive depths. Name the blocks of one trunk in `layers`.",
                stacklevel=2,
            )
        if state is not given:  # a block that works in place hands its input on
            self._previous = (name, weakref.ref(given))


def _is_nested(one: str, other: str) -> bool:
    """Whether one of two modules lies inside the other."""
    return one.startswith(f"{other}.") or other.startswith(f"{one}.") or one == other
