"""The layouts of a network's blocks, each found in the first pass that shows it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from nfas_lightning.hooks.layout import Watch, infer_layout, known_layers, needs_watch

__all__ = ["BlockLayouts"]


class BlockLayouts:
    """Where the blocks of a network keep their channels: asked block by block, and remembered.

    Args:
        network: the network.
        names: of the blocks.
    """

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        self._network, self._names = network, names
        self._found: dict[str, str] = {}
        self._by_kind: dict[tuple[type, int] | None, str] = {}
        self._watches: dict[str, Watch] = {}

    def attach(self) -> None:
        """Watch the layers of those blocks that would not show their layout otherwise."""
        undecided = [name for name in self._names if name not in self._found]
        blocks = {name: self._network.get_submodule(name) for name in undecided}
        without_layers = [name for name, block in blocks.items() if next(known_layers(block), None) is None]
        if without_layers:
            before = Watch(list(known_layers(self._network)))
            self._watches = dict.fromkeys(without_layers, before)
        for name, block in blocks.items():
            if needs_watch(block):
                self._watches[name] = Watch(list(known_layers(block)), block)

    def detach(self) -> None:
        """Remove the hooks of the watches; nothing happens if they are gone already."""
        while self._watches:
            self._watches.popitem()[1].close()

    def of(self, name: str, block: nn.Module, output: Tensor, batch: int | None) -> str:
        """Return a block's layout, see `infer_layout`.

        Args:
            name: of the block.
            block: the module that ran under this name.
            output: its raw output.
            batch: B where it is known.

        Raises:
            ValueError: the evidence leaves more than one.
        """
        known = self._found.get(name)
        if known is not None or output.ndim < 3:
            return known or "channels_last"  # vectors have one axis beside the batch's
        watch = self._watches.get(name)
        # what lies in two plain containers need not be alike
        kind = None if type(block) is nn.Sequential else (type(block), output.ndim)
        seen = () if watch is None else watch.seen
        found = infer_layout(block, output, batch=batch, seen=seen, sibling=self._by_kind.get(kind))
        if tuple(output.shape[:2]) != (1, 1):  # one token of one stimulus fits every order
            self._found[name] = found
            if kind is not None:
                self._by_kind[kind] = found
        return found
