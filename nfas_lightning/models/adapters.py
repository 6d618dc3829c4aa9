"""Two architectures whose depth a forward hook can't see as they come, made visible.

Results do not change: parameters are the same objects, and what each block computes is the same.
"""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["adapt"]


class SharedBlock(nn.Module):
    """One depth of a network that runs the same block at every depth."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the shared block."""
        return self.block(*args, **kwargs)


class SequenceFirstBlock(nn.Module):
    """A block that computes on (K, B, D), with its state shown as (B, K, D) on the side.

    Hooks go on `state`, whose output has the batch first; what the next block gets is untouched.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.state = nn.Identity()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the block and show its first output."""
        outputs = self.block(*args, **kwargs)
        self.state(outputs[0].transpose(0, 1))
        return outputs


def adapt(module: nn.Module) -> tuple[nn.Module, str]:
    """Make a transformers network's depth visible to hooks, in place.

    ALBERT runs one block at every depth: each depth becomes a module of its own around the shared one.
    XLNet's blocks compute on (K, B, D): each shows its state batch first, in ``layer.*.state``.

    Args:
        module: a network of transformers, its weights loaded.

    Returns:
        The same module, and the blocks to record: ``"auto"`` for every other architecture.
    """
    name = type(module).__name__
    network: Any = module
    if name == "AlbertModel":
        encoder = network.encoder
        groups = encoder.albert_layer_groups
        depth, n_groups = network.config.num_hidden_layers, len(groups)
        # the encoder picks its group as int(i / (layers / groups)): with one group per depth, the i-th
        encoder.albert_layer_groups = nn.ModuleList(
            SharedBlock(groups[int(i / (depth / n_groups))]) for i in range(depth)
        )
        encoder.config.num_hidden_groups = depth
        return module, "encoder.albert_layer_groups.*"
    if name == "XLNetModel":
        network.layer = nn.ModuleList(SequenceFirstBlock(block) for block in network.layer)
        return module, "layer.*.state"
    return module, "auto"
