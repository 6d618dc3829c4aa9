"""The layouts of a network's blocks, each found in the first pass that shows it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from nfas_lightning.hooks.layout import Watch, known_layers, layout_evidence

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
