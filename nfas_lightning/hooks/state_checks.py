"""What must hold of a forward pass's states; where it does not, the error says what to do."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from nfas_lightning.errors import FailureError, InputError, InputTypeError
from nfas_lightning.hooks.selection import MIN_DEPTHS

__all__ = [
    "as_stimulus_ids",
    "check_complete",
    "check_finite",
    "check_has_values",
    "check_in_range",
    "check_one_pass",
    "check_real",
    "check_rows",
    "check_same_blocks",
    "check_same_widths",
    "check_tokens",
    "is_placed",
    "is_quantized",
    "is_strided",
    "warn_of_training",
]


def as_stimulus_ids(stimulus_ids: Tensor | Sequence[int]) -> Tensor:
    """Return ids as (B,) int64 on the CPU.

    Raises:
        TypeError: they are no integers.
        ValueError: an id is negative.
    """
    try:
        ids = torch.as_tensor(stimulus_ids).detach().cpu().reshape(-1)
    except (TypeError, ValueError, RuntimeError):
        ids = None
    wrong = type(stimulus_ids).__name__ if ids is None else str(ids.dtype)
    if ids is None or ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise InputTypeError(
            f"stimulus_id must hold integers, the stimuli's indices in their dataset, got {wrong}: number "
            f"the stimuli from 0."
        )
    if bool((ids < 0).any()):
        raise InputError(f"stimulus_id must be 0 or more, got {int(ids.min())}.")
    return ids.to(torch.int64)


def check_complete(names: Sequence[str], states: Mapping[str, Tensor]) -> None:
    """Raise unless every block ran, often enough, on one batch.

    Args:
        names: of the blocks.
        states: (B, D_l) by key: a block's name, or ``"name[k]"`` where each of its runs is a depth.
    """
    fired = {key if key in names else key.rpartition("[")[0] for key in states}
    silent = [name for name in names if name not in fired]
    if silent:
        raise FailureError(
            f"{len(silent)} of {len(names)} hooks did not fire: {', '.join(silent[:5])}. Either no "
            f"forward pass has run since the recorder was attached, or it skips these modules, or the "
            f"network was compiled first: record it before torch.compile."
        )
    if len(states) < MIN_DEPTHS:
        raise FailureError(f"DMD over depth needs at least {MIN_DEPTHS} depths, got {list(states)}.")
    rows = {key: len(state) for key, state in states.items()}
    if len(set(rows.values())) > 1:
        raise InputError(
            f"Blocks disagree about the number of stimuli in the batch: {rows}. Each output must have "
            f"the batch on its first axis; leave out blocks that fold other axes into it."
        )


def check_finite(states: Mapping[str, Tensor], dtypes: Mapping[str, str]) -> None:
    """Raise unless every state is finite.

    Args:
        states: (B, D_l) by key.
        dtypes: of what the blocks returned, e.g. ``"torch.float16"``, by key.
    """
    # a sum of finite states may overflow, but one with NaN or infinity is never finite: one launch per state
    # and one transfer for all of them, and a closer look where it is called for
    sums = [state.sum() for state in states.values()]
    if not sums or bool(torch.stack([total.to(sums[0].device) for total in sums]).isfinite().all()):
        return
    for key, state in states.items():
        bad = (~state.isfinite().all(dim=1)).nonzero()[:, 0].tolist()
        if bad:
            limit = torch.finfo(torch.float16).max
            advice = (
                f"It runs in float16, which ends at {limit:.0f}: take bfloat16 or float32 (dtype= of the "
                "model, or precision= of the Trainer)."
                if dtypes[key] == "torch.float16"
                else "Look at those stimuli."
            )
            raise InputError(
                f"Block {key!r} has NaN or infinite states for the stimuli in rows {bad[:10]} of the "
                f"batch. {advice}"
            )


def check_real(states: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Raise if states are complex and the dtype they are to be kept in is not."""
    key = next((key for key, state in states.items() if state.is_complex()), None)
    if key is not None and not dtype.is_complex:
        raise InputError(
            f"Block {key!r} has complex states, of which {dtype} would keep the real part alone: record with "
            f"dtype=None or a complex dtype, or let it return torch.view_as_real(...)."
        )


def check_in_range(states: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> None:
    """Raise if finite states became infinite in a narrower dtype; all are read in one transfer.

    Args:
        states: (B, D_l) by key, before the conversion.
        kept: the same, after.
    """
    finite = {
        key: state.isfinite().all()
        for key, state in kept.items()
        if state.is_floating_point() and state.dtype.itemsize < states[key].dtype.itemsize
    }
    flags = list(finite.values())
    if flags and not bool(torch.stack([flag.to(flags[0].device) for flag in flags]).all()):
        key = next(key for key, flag in finite.items() if not bool(flag))
        dtype = kept[key].dtype
        raise InputError(
            f"Block {key!r} has states up to {float(states[key].abs().max()):.4g}, beyond {dtype}, which "
            f"ends at {torch.finfo(dtype).max:.4g}: record in float32 or bfloat16."
        )


def check_has_values(network: nn.Module) -> None:
    """Raise if some weights are on the meta device, which has shapes alone, and nothing fetches them."""
    if is_placed(network):
        return
    empty = [name for name, parameter in network.named_parameters() if parameter.is_meta]
    if empty:
        raise InputError(
            f"Expected weights with values, got {len(empty)} parameters on the meta device, the first "
            f"{empty[0]!r}: load the weights first (network.to_empty(device='cpu'), then load_state_dict)."
        )


def is_placed(network: nn.Module) -> bool:
    """Whether a network must stay where it is: it is quantized, or accelerate has placed or offloaded it."""
    return (
        bool(getattr(network, "hf_device_map", None))
        or any(hasattr(module, "_hf_hook") for module in network.modules())
        or is_quantized(network)
    )


def is_quantized(network: nn.Module) -> bool:
    """Whether weights are packed: by torch, torchao, bitsandbytes or another quantizer of transformers."""
    values = chain(network.parameters(), network.state_dict().values())
    return bool(getattr(network, "is_quantized", False)) or any(map(_is_packed, values))


def _is_packed(value: object) -> bool:
    if not isinstance(value, Tensor):
        return isinstance(value, tuple | list) and any(map(_is_packed, value))
    if hasattr(value, "__tensor_flatten__"):  # of several tensors, as those of torchao are
        parts = [getattr(value, name) for name in value.__tensor_flatten__()[0]]  # a DTensor's mesh is one
        return any(isinstance(part, Tensor) and not part.is_floating_point() for part in parts)
    is_number = value.is_floating_point() or value.is_complex()
    return value.is_quantized or (isinstance(value, nn.Parameter) and not is_number)


def warn_of_training(network: nn.Module) -> None:
    """Warn if dropout or the statistics of the batch are at work: a state is then not the stimulus's own."""
    noisy = [name for name, module in network.named_modules() if module.training and _depends_on_mode(module)]
    if noisy:
        warnings.warn(
            f"{type(network).__name__} is in training mode: {len(noisy)} modules, the first {noisy[0]!r}, "
            f"drop units or use the statistics of the batch, so that a state is not the stimulus's own. Call "
            f"network.eval() before recording.",
            stacklevel=2,
        )


def _depends_on_mode(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return True
    is_dropout = isinstance(module, nn.modules.dropout._DropoutNd)
    rates = [
        value
        for name, value in vars(module).items()
        if isinstance(value, float) and ("drop" in name or (is_dropout and name == "p"))
    ]
    return any(rate > 0 for rate in rates)


def check_one_pass(n_passes: int) -> None:
    """Raise if the network ran several times since its states were last asked for."""
    if n_passes > 1:
        raise FailureError(
            f"The network ran {n_passes} times since its states were last collected, and only the last pass "
            f"is left. Call collect() after each pass; run passes that only warm up before the recorder is "
            f"attached. Of a loop that generates token by token each pass is one token: run the network once "
            f"on the whole text."
        )


def check_tokens(n_tokens: int, mask: Tensor | None, n_given: int | None, is_strided: bool) -> None:
    """Raise where a block has tokens that the stimulus does not have, or the mask is not the block's.

    Args:
        n_tokens: of the block, K.
        mask: (B, K') over the tokens that the network was given.
        n_given: tokens of each stimulus that the network was given; None: it reads something else.
        is_strided: whether the network holds convolutions or pooling with strides, which shorten a mask.
    """
    if mask is None and n_given is not None and n_tokens > n_given:
        raise InputError(
            f"it has {n_tokens} tokens, the network was given {n_given}, and no mask says which count: the "
            f"network pads or adds tokens of its own. Give the mask of the block's own {n_tokens} tokens."
        )
    if mask is not None and mask.shape[1] > n_tokens and not is_strided:
        raise InputError(
            f"The mask has {mask.shape[1]} tokens and the block {n_tokens}, and nothing in the network has a "
            f"stride: which of the block's tokens count can't be told. Give the mask of the block's own "
            f"{n_tokens} tokens, or record blocks that keep the tokens of the input."
        )


def is_strided(network: nn.Module) -> bool:
    """Whether a network holds convolutions or pooling with strides."""
    strides = (getattr(module, "stride", 1) for module in network.modules() if not module._modules)
    return any(n > 1 for s in strides for n in (s if isinstance(s, tuple) else (s,)) if isinstance(n, int))


def check_rows(n_rows: int, n_ids: int, n_frames: Tensor | None) -> None:
    """Raise unless a batch's rows are its stimuli, or the frames of its clips."""
    if n_frames is not None and n_rows != n_ids and (len(n_frames) != n_ids or int(n_frames.sum()) != n_rows):
        raise InputError(
            f"Expected one row per stimulus ({n_ids}) or per frame ({int(n_frames.sum())} in "
            f"{len(n_frames)} clips), got {n_rows} rows. Does the network fold other axes into the batch?"
        )
    if n_frames is None and n_rows != n_ids:
        raise InputError(
            f"Expected one stimulus_id per row of the batch, got {n_ids} ids and {n_rows} rows. "
            f"Give n_frames if the rows are frames of clips. Does the network fold other axes into the "
            f"batch?"
        )


def check_frames(time: str, n_rows: int, n_frames: Tensor | None, earlier: int) -> int:
    """Return how many frames each clip of a batch has, which `time` is to keep.

    Args:
        time: ``"keep"`` or ``"dmd"``.
        n_rows: rows of the batch.
        n_frames: (B,) frames of each stimulus; None: they are no clips.
        earlier: frames of the clips of the batches before; 0: there were none.

    Raises:
        ValueError: one row per stimulus, or clips of several lengths.
    """
    if n_frames is None or n_rows == len(n_frames):
        raise InputError(
            f"time={time!r} keeps the frames of clips that a network reads one by one, and this one made one "
            f"row per stimulus: stimuli are no clips of several frames, or the network reads whole clips. "
            f"Use time='mean'."
        )
    counts = sorted({*n_frames.tolist(), *([earlier] if earlier else [])})
    if len(counts) > 1:
        raise InputError(
            f"time={time!r} needs clips of equally many frames, got {counts}: cut them alike, such as with "
            f"ClipFiles(seconds=...)."
        )
    return int(counts[0])


def check_same_blocks(keys: Sequence[str], earlier: Sequence[str]) -> None:
    """Raise unless a batch ran through the blocks of the batches before, in their order."""
    if keys != earlier:
        raise InputError(
            f"The blocks of this batch are not those of the batches before: {keys} after {earlier}. "
            f"Record modules that every stimulus runs through in one order."
        )


def check_same_widths(states: Sequence[Tensor], earlier: Sequence[Tensor]) -> None:
    """Raise unless the states (B, D_l) of a batch are as wide as those of a batch before."""
    widths, before = ([state.shape[1] for state in batch] for batch in (states, earlier))
    if widths != before:
        raise InputError(
            f"Widths differ between batches: {widths} after {before}. Use a pooling other than "
            f"'none', or stimuli of one size."
        )
