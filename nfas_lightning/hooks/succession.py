"""How the blocks of a pass follow each other: each is given what the one before it made."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["Succession"]


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
            raise TypeError(f"Block {question}")

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
