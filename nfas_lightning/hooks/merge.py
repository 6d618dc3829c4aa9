"""Put rows of states in the order of their stimuli, each stimulus once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nfas_lightning.hooks.first_token import joined_pooling
from nfas_lightning.hooks.trajectory import LayerInfo, Trajectory

__all__ = ["concatenate", "sort_stimuli"]

# Two passes over one stimulus differ by rounding, more in half precision and with other batch shapes.
_SAME_STATE = 0.05


def sort_stimuli(states: Sequence[Tensor], layers: Sequence[LayerInfo], stimulus_ids: Tensor) -> Trajectory:
    """Return the rows sorted by stimulus_id, the first of each where samplers repeated some.

    Args:
        states: L matrices (rows, D_l).
        layers: L descriptions.
        stimulus_ids: (rows,) integers, in any order, possibly repeated.

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
    order = torch.argsort(stimulus_ids, stable=True)
    ordered = stimulus_ids[order]
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    if not bool(is_first.all()):
        group_of = is_first.cumsum(0) - 1
        twin = order[is_first][group_of][~is_first]
        _check_twins(states, layers, ordered[~is_first], order[~is_first], twin)
    keep = order[is_first]
    return Trajectory(
        states=tuple(state[keep.to(state.device)] for state in states),
        layers=tuple(layers),
        stimulus_ids=ordered[is_first],
    )


def _check_twins(
    states: Sequence[Tensor], layers: Sequence[LayerInfo], ids: Tensor, rows: Tensor, twins: Tensor
) -> None:
    for state, layer in zip(states, layers, strict=True):
        first, again = state[twins.to(state.device)].double(), state[rows.to(state.device)].double()
        apart = (first - again).norm(dim=1) > _SAME_STATE * first.norm(dim=1)
        if bool(apart.any()):
            worst = ids[apart.cpu()][0].item()
            raise ValueError(
                f"stimulus_id {worst} came twice with different states of {layer.name!r}: two stimuli share "
                f"an id, or the network is not deterministic (training mode, random crops)."
            )


def concatenate(parts: Sequence[Trajectory]) -> Trajectory:
    """Join trajectories of one model over several stimulus sets, sorted and deduplicated.

    Raises:
        ValueError: nothing to join, or the parts recorded different layers or pooled them differently.
    """
    if not parts:
        raise ValueError("Expected at least one trajectory to join, got none.")
    first = parts[0]
    for part in parts[1:]:
        if part.layer_names != first.layer_names or part.widths != first.widths:
            raise ValueError(
                f"Trajectories of different layers can't be joined: {part.layer_names} of widths "
                f"{part.widths} after {first.layer_names} of widths {first.widths}."
            )
    told = zip(*(part.layers for part in parts), strict=True)
    pooling = joined_pooling({same[0].name: {layer.pooling for layer in same} for same in told})
    layers = [replace(layer, pooling=pooling[layer.name]) for layer in first.layers]
    states = [torch.cat(rows) for rows in zip(*(part.states for part in parts), strict=True)]
    return sort_stimuli(states, layers, torch.cat([part.stimulus_ids for part in parts]))
