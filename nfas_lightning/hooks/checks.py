"""What must hold of a forward pass's states; where it does not, the error says what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nfas_lightning.hooks.selection import MIN_DEPTHS

__all__ = [
    "check_complete",
    "check_finite",
    "check_has_values",
    "check_one_row_a_stimulus",
    "check_same_blocks",
    "check_same_widths",
]


def check_complete(names: Sequence[str], states: Mapping[str, Tensor]) -> None:
    """Raise unless every block ran, often enough, on one batch.

    Args:
        names: of the blocks.
        states: (B, D_l) by key: a block's name, or ``"name[k]"`` where each of its runs is a depth.
    """
    fired = {key if key in names else key.rpartition("[")[0] for key in states}
    silent = [name for name in names if name not in fired]
    if silent:
        raise RuntimeError(
            f"{len(silent)} of {len(names)} hooks did not fire: {', '.join(silent[:5])}. Either no "
            f"forward pass has run since the recorder was attached, or it skips these modules, or the "
            f"network was compiled first: record it before torch.compile."
        )
    if len(states) < MIN_DEPTHS:
        raise RuntimeError(f"DMD over depth needs at least {MIN_DEPTHS} depths, got {list(states)}.")
    rows = {key: len(state) for key, state in states.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(
            f"Blocks disagree about the number of stimuli in the batch: {rows}. Each output must have "
            f"the batch on its first axis; leave out blocks that fold other axes into it."
        )


def check_finite(states: Mapping[str, Tensor], is_finite: Mapping[str, Tensor]) -> None:
    """Raise unless every state is finite.

    Args:
        states: (B, D_l) by key.
        is_finite: what hooks found of each, () booleans on its device: all are read in one transfer.
    """
    if not is_finite:
        return
    keys = list(is_finite)
    finite = torch.stack([flag.to(is_finite[keys[0]].device) for flag in is_finite.values()])
    if not bool(finite.all()):
        key = keys[int((~finite).nonzero()[0])]
        bad = (~states[key].isfinite().all(dim=1)).nonzero()[:, 0].tolist()
        raise ValueError(
            f"Block {key!r} has NaN or infinite states for the stimuli in rows {bad[:10]} of the "
            f"batch. Look at those stimuli, or run in float32 if half precision overflows."
        )


def check_has_values(network: nn.Module) -> None:
    """Raise if some weights are on the meta device, which has shapes and no values."""
    empty = [name for name, parameter in network.named_parameters() if parameter.is_meta]
    if empty:
        raise ValueError(
            f"Expected weights with values, got {len(empty)} parameters on the meta device, the first "
            f"{empty[0]!r}: load the weights first (network.to_empty(device='cpu'), then load_state_dict)."
        )


def check_one_row_a_stimulus(n_rows: int, n_ids: int, n_frames: Tensor | None) -> None:
    """Raise unless a batch's rows are its stimuli, or the frames of its clips."""
    if n_frames is not None and n_rows != n_ids and (len(n_frames) != n_ids or int(n_frames.sum()) != n_rows):
        raise ValueError(
            f"Expected a row a stimulus ({n_ids}) or a row a frame ({int(n_frames.sum())} in "
            f"{len(n_frames)} clips), got {n_rows} rows. Does the network fold other axes into the batch?"
        )
    if n_frames is None and n_rows != n_ids:
        raise ValueError(
            f"Expected one stimulus_id a row of the batch, got {n_ids} ids and {n_rows} rows. "
            f"Give n_frames if the rows are frames of clips. Does the network fold other axes into the "
            f"batch?"
        )


def check_same_blocks(keys: Sequence[str], earlier: Sequence[str]) -> None:
    """Raise unless a batch ran through the blocks of the batches before, in their order."""
    if keys != earlier:
        raise ValueError(
            f"The blocks of this batch are not those of the batches before: {keys} after {earlier}. "
            f"Record modules that every stimulus runs through in one order."
        )


def check_same_widths(states: Sequence[Tensor], earlier: Sequence[Tensor]) -> None:
    """Raise unless the states (B, D_l) of a batch are as wide as those of a batch before."""
    widths, before = ([state.shape[1] for state in batch] for batch in (states, earlier))
    if widths != before:
        raise ValueError(
            f"Widths differ between batches: {widths} after {before}. Use a pooling other than "
            f"'none', or stimuli of one size."
        )
