"""What a recorder yields: one matrix a block, in the order of execution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LayerInfo", "Trajectory"]


@dataclass(frozen=True)
class LayerInfo:
    """One recorded block.

    Attributes:
        name: dotted module name inside the model.
        index: position in the order of execution, from 0.
        kind: class name of the module.
        shape: shape of the raw output for one stimulus, before pooling, without the batch axis.
        width: D_l, units after pooling.
        dtype: dtype of the raw output, e.g. ``"torch.float32"``.
        pooling: how it became a vector, see `pool`: ``"mean:rest"`` where the first token stayed out,
            ``"mean:all"`` where it did not, ``"mean"`` where no stimulus asked; empty: not told.
    """

    name: str
    index: int
    kind: str
    shape: tuple[int, ...]
    width: int
    dtype: str
    pooling: str = ""


@dataclass(frozen=True, repr=False)
class Trajectory:
    """Depth trajectory of one model over a stimulus set.

    Attributes:
        states: L matrices (N, D_l), one a block, rows in the order of `stimulus_ids`.
        layers: L descriptions.
        stimulus_ids: (N,) integer indices of the stimuli, ascending, each once.

    Example:
        >>> layers = tuple(LayerInfo(f"blocks.{i}", i, "Linear", (4,), 4, "torch.float32") for i in range(3))
        >>> Trajectory(tuple(torch.zeros(5, 4) for _ in layers), layers, torch.arange(5))
        Trajectory(5 stimuli x 3 depths of width 4, blocks.0 ... blocks.2)
    """

    states: tuple[Tensor, ...]
    layers: tuple[LayerInfo, ...]
    stimulus_ids: Tensor

    def __post_init__(self) -> None:
        if len(self.states) != len(self.layers):
            raise ValueError(f"Expected one state a layer, got {len(self.states)} and {len(self.layers)}.")
        rows = {len(state) for state in self.states} | {len(self.stimulus_ids)}
        if len(rows) > 1:
            raise ValueError(f"Every layer must hold the same stimuli, got row counts {sorted(rows)}.")

    def __repr__(self) -> str:
        sizes = sorted(set(self.widths))
        widths = (
            f"widths {sizes[0]} to {sizes[-1]}" if self.is_ragged else f"width {', '.join(map(str, sizes))}"
        )
        names = " ... ".join(dict.fromkeys([*self.layer_names[:1], *self.layer_names[-1:]]))
        return (
            f"Trajectory({len(self.stimulus_ids)} stimuli x {len(self.states)} depths of {widths}, {names})"
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """D_l of every layer."""
        return tuple(state.shape[1] for state in self.states)

    @property
    def is_ragged(self) -> bool:
        """Whether widths differ, so that a state space must align the layers first."""
        return len(set(self.widths)) > 1

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Module names, in the order of execution."""
        return tuple(layer.name for layer in self.layers)

    def stack(self) -> Tensor:
        """Return H (N, L, D) for equal widths.

        Raises:
            ValueError: the widths differ; use a StateSpace.
        """
        if self.is_ragged:
            listed = ", ".join(f"{n}: {w}" for n, w in zip(self.layer_names, self.widths, strict=True))
            raise ValueError(f"Layers differ in width ({listed}): align them with a StateSpace first.")
        return torch.stack(self.states, dim=1)
