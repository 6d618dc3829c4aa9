"""What a recorder yields: one matrix per block, in the order of execution, and one row per stimulus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.stimulus_order import first_of_each

__all__ = ["LayerInfo", "Trajectory", "concatenate", "joined_pooling", "sort_stimuli"]

# Two passes over one stimulus differ by rounding, more in half precision and with other batch shapes.
_SAME_STATE = 0.05


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
        frames: F frames whose vectors a row holds side by side; 1: a row is one vector.
        time: what is to become of them, see `DepthRecorder`.
    """

    name: str
    index: int
    kind: str
    shape: tuple[int, ...]
    width: int
    dtype: str
    pooling: str = ""
    frames: int = 1
    time: str = "mean"


@dataclass(frozen=True, repr=False)
class Trajectory:
    """Depth trajectory of one model over a stimulus set.

    Attributes:
        states: L matrices (N, D_l), one per block, rows in the order of `stimulus_ids`; (N, F * D_l) where
            frames are kept, see `by_frame`.
        layers: L descriptions.
        stimulus_ids: (N,) integer indices of the stimuli, ascending, each once.
        device: where the states arose and are to be scored, wherever they lie now; None: where they lie.

    Example:
        >>> layers = tuple(LayerInfo(f"blocks.{i}", i, "Linear", (4,), 4, "torch.float32") for i in range(3))
        >>> Trajectory(tuple(torch.zeros(5, 4) for _ in layers), layers, torch.arange(5))
        Trajectory(5 stimuli x 3 depths of width 4, blocks.0 ... blocks.2)
    """

    states: tuple[Tensor, ...]
    layers: tuple[LayerInfo, ...]
    stimulus_ids: Tensor
    device: torch.device | None = None

    def __post_init__(self) -> None:
        if len(self.states) != len(self.layers):
            raise InputError(f"Expected one state per layer, got {len(self.states)} and {len(self.layers)}.")
        rows = {len(state) for state in self.states} | {len(self.stimulus_ids)}
        if len(rows) > 1:
            raise InputError(f"Every layer must hold the same stimuli, got row counts {sorted(rows)}.")

    def __repr__(self) -> str:
        sizes = sorted(set(self.widths))
        widths = (
            f"widths {sizes[0]} to {sizes[-1]}" if self.is_ragged else f"width {', '.join(map(str, sizes))}"
        )
        names = " ... ".join(dict.fromkeys([*self.layer_names[:1], *self.layer_names[-1:]]))
        frames = f" x {self.frames} frames" if self.frames > 1 else ""
        return (
            f"Trajectory({len(self.stimulus_ids)} stimuli{frames} x {len(self.states)} depths of {widths}, "
            f"{names})"
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """D_l of every layer."""
        return tuple(state.shape[1] // self.frames for state in self.states)

    @property
    def frames(self) -> int:
        """F frames of every stimulus; 1 where they were averaged, or there were none."""
        return self.layers[0].frames if self.layers else 1

    @property
    def time(self) -> str:
        """What is to become of the frames, see `DepthRecorder`."""
        return self.layers[0].time if self.layers else "mean"

    @property
    def is_ragged(self) -> bool:
        """Whether widths differ, so that a state space must align the layers first."""
        return len(set(self.widths)) > 1

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Module names, in the order of execution."""
        return tuple(layer.name for layer in self.layers)

    def stack(self) -> Tensor:
        """Return H (N, L, D) for equal widths; (N, F, L, D) where frames are kept.

        Raises:
            ValueError: the widths differ; use a StateSpace.
        """
        if self.is_ragged:
            listed = ", ".join(f"{n}: {w}" for n, w in zip(self.layer_names, self.widths, strict=True))
            raise InputError(f"Layers differ in width ({listed}): align them with a StateSpace first.")
        if self.frames > 1:
            return torch.stack([state.reshape(len(state), self.frames, -1) for state in self.states], dim=2)
        return torch.stack(self.states, dim=1)

    def by_frame(self) -> Trajectory:
        """Return N * F rows, one per frame: frame f of stimulus n has the stimulus_id n * F + f.

        Example:
            >>> info = LayerInfo("a", 0, "Linear", (1,), 1, "torch.float32", frames=2, time="keep")
            >>> frames = Trajectory((torch.tensor([[1.0, 2.0], [3.0, 4.0]]),), (info,), torch.arange(2))
            >>> frames.by_frame().states[0].T, frames.by_frame().stimulus_ids
            (tensor([[1., 2., 3., 4.]]), tensor([0, 1, 2, 3]))
        """
        ids = self.stimulus_ids
        frames = torch.arange(self.frames, dtype=ids.dtype, device=ids.device)
        return Trajectory(
            states=tuple(state.reshape(len(ids) * self.frames, -1) for state in self.states),
            layers=tuple(replace(layer, frames=1, time="mean") for layer in self.layers),
            stimulus_ids=(ids[:, None] * self.frames + frames).flatten(),
            device=self.device,
        )


def sort_stimuli(
    states: Sequence[Tensor],
    layers: Sequence[LayerInfo],
    stimulus_ids: Tensor,
    device: torch.device | None = None,
) -> Trajectory:
    """Return the rows sorted by stimulus_id, the first of each where samplers repeated some.

    Args:
        states: L matrices (rows, D_l).
        layers: L descriptions.
        stimulus_ids: (rows,) integers, in any order, possibly repeated.
        device: see `Trajectory`.

    Returns:
        The trajectory of the distinct stimuli.

    Raises:
        ValueError: rows of one stimulus differ by more than 5 % of their norm.

    Example:
        >>> info = LayerInfo("a", 0, "Linear", (1,), 1, "torch.float32")
        >>> sort_stimuli([torch.tensor([[2.0], [1.0], [2.0]])], [info], torch.tensor([7, 3, 7])).states[0]
        tensor([[1.],
                [2.]])
    """
    first, place = first_of_each(stimulus_ids)
    rows = torch.arange(len(stimulus_ids), device=stimulus_ids.device)
    twins = first[place]
    repeated = rows != twins
    if bool(repeated.any()):
        _check_twins(states, layers, stimulus_ids[repeated], rows[repeated], twins[repeated])
    as_they_are = len(first) == len(rows) and torch.equal(first, rows)
    return Trajectory(
        states=tuple(states if as_they_are else (state[first.to(state.device)] for state in states)),
        layers=tuple(layers),
        stimulus_ids=stimulus_ids[first],
        device=device,
    )


def _check_twins(
    states: Sequence[Tensor], layers: Sequence[LayerInfo], ids: Tensor, rows: Tensor, twins: Tensor
) -> None:
    for state, layer in zip(states, layers, strict=True):
        first, again = state[twins.to(state.device)].double(), state[rows.to(state.device)].double()
        apart = (first - again).norm(dim=1) > _SAME_STATE * first.norm(dim=1)
        if bool(apart.any()):
            worst = ids[apart.cpu()][0].item()
            raise InputError(
                f"stimulus_id {worst} came twice with different states of {layer.name!r}: two stimuli share "
                f"an id, or the network is not deterministic (training mode, random crops)."
            )


def concatenate(parts: Sequence[Trajectory]) -> Trajectory:
    """Join trajectories of one model over several stimulus sets, sorted and deduplicated.

    Raises:
        ValueError: nothing to join, or the parts recorded different layers or pooled them differently.
    """
    if not parts:
        raise InputError("Expected at least one trajectory to join, got none.")
    first = parts[0]
    if len(parts) == 1:
        return sort_stimuli(first.states, first.layers, first.stimulus_ids, first.device)
    for part in parts[1:]:
        if part.layer_names != first.layer_names or part.widths != first.widths:
            raise InputError(
                f"Trajectories of different layers can't be joined: {part.layer_names} of widths "
                f"{part.widths} after {first.layer_names} of widths {first.widths}."
            )
        if part.frames != first.frames:
            raise InputError(
                f"Trajectories must have one number of frames, got {part.frames} after {first.frames}: cut "
                f"clips alike."
            )
    told = zip(*(part.layers for part in parts), strict=True)
    pooling = joined_pooling({same[0].name: {layer.pooling for layer in same} for same in told})
    layers = [replace(layer, pooling=pooling[layer.name]) for layer in first.layers]
    states = [torch.cat(rows) for rows in zip(*(part.states for part in parts), strict=True)]
    return sort_stimuli(states, layers, torch.cat([part.stimulus_ids for part in parts]), first.device)


def joined_pooling(parts: Mapping[str, set[str]]) -> dict[str, str]:
    """Return each block's pooling, given those that parts of one trajectory tell of it.

    A part whose stimuli leave open what becomes of the first token agrees with either answer.

    Raises:
        ValueError: parts were pooled in different ways.
    """
    joined = {}
    for name, told in parts.items():
        closed = {how for how in told if not any(other.startswith(f"{how}:") for other in told)}
        if len(closed) > 1:
            raise InputError(
                f"Parts of one trajectory were pooled in different ways at {name!r}: {sorted(told)}. Where "
                f"they differ about the first token (an attention sink or not), say which: "
                f"pooling='mean:rest' leaves it out, 'mean:all' keeps it in."
            )
        joined[name] = closed.pop()
    return joined
