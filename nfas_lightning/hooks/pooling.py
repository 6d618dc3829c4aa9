"""From a block's raw output to one vector a stimulus, blind to padding."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from nfas_lightning.functional.checks import check_option

__all__ = [
    "LAYOUTS",
    "POOLINGS",
    "average_frames",
    "check_mask",
    "infer_layout",
    "main_tensor",
    "pool",
    "pool_checked",
]

POOLINGS = ("auto", "mean", "cls", "last", "max", "none")
LAYOUTS = ("auto", "channels_first", "channels_last", "sequence_first")

# Strides of the convolutions in front of speech encoders. Longer ones (wav2vec2's 320 samples) have kernels
# that cross the border between sound and padding, so that only the preprocessing can count their frames.
_STRIDES = (2, 4, 8)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_MAP_LEAVES = (*_CONVOLUTIONS, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm,
               nn.MaxPool1d, nn.AvgPool1d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool1d)  # fmt: skip


def pool(output: Tensor, how: str = "auto", mask: Tensor | None = None, *, layout: str = "auto") -> Tensor:
    """Reduce a block's output to one vector a stimulus.

    Args:
        output: (B, D) vectors, (B, K, D) tokens, (B, C, T) or (B, C, H, W) or (B, C, T, H, W) maps, or the
            same maps with channels last.
        how: one of

            - ``"auto"``: mean over space, or over the tokens that the mask shows; vectors stay as they are;
            - ``"mean"``, ``"max"``: the same axes, always;
            - ``"cls"``: the first token, whatever the mask says: special tokens are never in it;
            - ``"last"``: the last token that the mask shows;
            - ``"none"``: everything flattened; refused where the mask hides a token.
        mask: (B, K) booleans, True where a token may be seen; None: all. For (B, C, T) and (B, C, F, T) maps
            K is the length of the last axis. A mask that is 2, 4 or 8 times longer than the tokens is taken
            as the mask before strided convolutions: a token counts if any of its inputs does.
        layout: ``"channels_first"``, ``"channels_last"``, ``"sequence_first"`` for (K, B, D), or ``"auto"``:
            three axes are tokens (B, K, D), more axes are maps with their channels first. A shape alone
            can't tell a Swin stage (B, H, W, C) from a convolutional map: `infer_layout` looks at the block.

    Returns:
        (B, D) in the dtype of `output`, half precisions raised to float32; detached, and no view of `output`.

    Raises:
        ValueError: unknown option; a mask that fits neither batch nor tokens, or that hides a whole stimulus.

    Example:
        >>> tokens = torch.tensor([[[1.0], [3.0], [100.0]]])
        >>> pool(tokens, "mean", torch.tensor([[True, True, False]]))
        tensor([[2.]])
    """
    check_option("pooling", how, POOLINGS)
    check_option("layout", layout, LAYOUTS)
    if mask is not None:
        check_mask(mask)
    return pool_checked(output, how, mask, layout)


def check_mask(mask: Tensor) -> None:
    """Raise unless the mask has shape (B, K) and shows a token of every stimulus."""
    if mask.ndim != 2:
        raise ValueError(f"mask must have shape (B, K), one row a stimulus, got {tuple(mask.shape)}.")
    shown = mask.bool().any(dim=1)
    if not bool(shown.all()):
        rows = (~shown).nonzero()[:, 0].tolist()
        raise ValueError(f"The mask hides every token of the stimuli in rows {rows[:10]} of the batch.")


def pool_checked(output: Tensor, how: str, mask: Tensor | None, layout: str) -> Tensor:
    """`pool` for checked arguments: a recorder checks a mask once a pass, since that waits for the device."""
    output = output.detach()
    if output.dtype in (torch.float16, torch.bfloat16):
        output = output.float()
    if output.ndim < 2:
        raise ValueError(f"Pooling needs a batch axis and a unit axis, got shape {tuple(output.shape)}.")
    if output.ndim == 2:
        return output.clone()
    if layout == "sequence_first":
        output = output.transpose(0, 1)
    if how == "none":
        if mask is not None and not bool(mask.all()):
            raise ValueError(
                "pooling='none' would keep padding or special tokens, which the mask hides. Use 'mean', "
                "'max', 'cls' or 'last', or stimuli of equal length without a mask."
            )
        return output.flatten(1).clone()
    if layout in ("auto", "sequence_first"):
        layout = "channels_last" if output.ndim == 3 else "channels_first"
    if how in ("cls", "last") and output.ndim > 3:
        raise ValueError(_no_tokens(how, output))  # with a mask or without: one band's frame is no token
    if mask is None and how != "last":
        return _pool_all(output, how, layout)
    tokens, token_mask = _as_tokens(output, mask, layout)
    return _pool_tokens(tokens, how, token_mask)


def _pool_all(output: Tensor, how: str, layout: str) -> Tensor:
    """Pool without a mask, in one reduction: this runs once a block, batch after batch."""
    if how == "cls":
        return (output[:, 0] if layout == "channels_last" else output[..., 0]).clone()
    axes = list(range(1, output.ndim - 1)) if layout == "channels_last" else list(range(2, output.ndim))
    return output.amax(axes) if how == "max" else output.mean(axes)


def _as_tokens(output: Tensor, mask: Tensor | None, layout: str) -> tuple[Tensor, Tensor | None]:
    """Return tokens (B, K, D), where D holds frequency too for (B, C, F, T) maps, and their mask (B, K)."""
    tokens = output if layout == "channels_last" else output.movedim(1, -1)
    if tokens.ndim > 4:
        raise ValueError(f"A mask over tokens does not fit a map of shape {tuple(output.shape)}.")
    n_tokens = tokens.shape[-2]
    if mask is not None:
        mask = _fit_mask(mask.to(tokens.device), tokens.shape[0], n_tokens)
    if tokens.ndim == 4:  # (B, F, T, C): every frequency at a time shares the time's mask
        batch, n_bands, _, width = tokens.shape
        assert mask is not None  # without one, maps are pooled whole
        tokens = tokens.transpose(1, 2).reshape(batch, n_tokens * n_bands, width)
        mask = mask.repeat_interleave(n_bands, dim=1)
    return tokens, mask


def _fit_mask(mask: Tensor, batch: int, n_tokens: int) -> Tensor:
    """Return the mask (B, K) over a block's own tokens."""
    if mask.shape[0] != batch:
        raise ValueError(
            f"mask must have shape (B={batch}, K), one row a stimulus, got {tuple(mask.shape)}. Give the "
            f"mask of the batch that is run."
        )
    mask = mask.bool()
    length = mask.shape[1]
    if length != n_tokens:
        stride = next((s for s in _STRIDES if -(-length // s) == n_tokens), None)
        if stride is None:
            raise ValueError(
                f"The mask has {length} tokens and the block {n_tokens}. A block behind strided convolutions "
                f"may have 2, 4 or 8 times fewer; anything else, such as prepended CLS or prefix tokens, "
                f"must be counted by the preprocessing: give the mask of the block's own {n_tokens} tokens."
            )
        mask = nn.functional.pad(mask, (0, n_tokens * stride - length))
        mask = mask.view(batch, n_tokens, stride).any(dim=2)
    return mask


def _pool_tokens(tokens: Tensor, how: str, mask: Tensor | None) -> Tensor:
    if how == "cls":
        return tokens[:, 0].clone()
    if mask is None:
        return tokens[:, -1].clone()
    if how == "last":
        positions = torch.arange(mask.shape[1], device=mask.device)
        last = (positions * mask).amax(dim=1)
        return tokens[torch.arange(len(tokens), device=tokens.device), last]
    if how == "max":
        return tokens.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(dim=1)
    # filled rather than multiplied by zero: a padded token may hold NaN
    return tokens.masked_fill(~mask.unsqueeze(-1), 0).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def _no_tokens(how: str, output: Tensor) -> str:
    shape = tuple(output.shape)
    return f"pooling={how!r} needs tokens (B, K, D), got a map of shape {shape}: use 'mean' or 'max'."


def average_frames(state: Tensor, n_frames: Tensor) -> Tensor:
    """Average pooled vectors of frames over the clip that they belong to.

    Args:
        state: (sum of F, D) a row a frame, clip after clip.
        n_frames: (B,) frames F of each clip.

    Returns:
        (B, D).

    Example:
        >>> average_frames(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([2, 1]))
        tensor([[2.],
                [5.]])
    """
    return torch.stack([clip.mean(dim=0) for clip in torch.split(state, n_frames.tolist())])


def main_tensor(output: object, name: str = "the block") -> Tensor:
    """Return the tensor that carries a block's state.

    That is the output itself; the first tensor of a tuple or list, as transformers order theirs; of a mapping
    ``last_hidden_state``, or its only tensor.

    Raises:
        TypeError: a `PackedSequence`, which hides the time axis; a mapping of several tensors, none of which
            says that it is the state; or no tensor at all.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, PackedSequence) or (
        isinstance(output, tuple) and output and isinstance(output[0], PackedSequence)
    ):
        raise TypeError(
            f"{name} returned a PackedSequence, whose rows are no stimuli: run the recurrent layers on "
            f"padded batches and give the mask, or stimuli of one length at a time."
        )
    if isinstance(output, Mapping):
        state = output.get("last_hidden_state")
        values = [state] if isinstance(state, Tensor) else list(output.values())
        found = {key: tuple(v.shape) for key, v in output.items() if isinstance(v, Tensor)}
        if len(found) > 1 and not isinstance(state, Tensor):
            raise TypeError(
                f"{name} returned a mapping of several tensors, {found}, and none is said to be the state: "
                "record a module inside it, or call that entry 'last_hidden_state'."
            )
    else:
        values = list(output) if isinstance(output, (tuple, list)) else []
    tensor = next((value for value in values if isinstance(value, Tensor)), None)
    if tensor is None:
        raise TypeError(f"{name} returned {type(output).__name__} without a tensor: record another module.")
    return tensor


def infer_layout(module: nn.Module, output: Tensor, batch: int | None = None) -> str:
    """Tell where a block keeps its units, from the block itself.

    Three axes: sequence first if the block holds a recurrence or attention built with ``batch_first=False``;
    channels first if it is made of convolutions and pooling alone (no linear layer, layer norm or
    recurrence); else tokens. More axes: channels last if the block has weights but no convolution and one of
    its linear layers or norms has as many units as the last axis (Swin keeps (B, H, W, C)), else first.

    Args:
        module: the block.
        output: its raw output.
        batch: B where it is known; settles which axis is the batch's.

    Returns:
        ``"channels_first"``, ``"channels_last"`` or ``"sequence_first"``.
    """
    leaves = list(module.modules())
    has_convolution = any(isinstance(leaf, _MAP_LEAVES) for leaf in leaves)
    widths = {int(leaf.normalized_shape[-1]) for leaf in leaves if isinstance(leaf, nn.LayerNorm)}
    widths |= {leaf.out_features for leaf in leaves if isinstance(leaf, nn.Linear)}
    if output.ndim > 3:
        return "channels_last" if not has_convolution and output.shape[-1] in widths else "channels_first"
    sequential = [leaf for leaf in leaves if isinstance(leaf, (nn.RNNBase, nn.MultiheadAttention))]
    if any(not leaf.batch_first for leaf in sequential) and output.ndim == 3:
        is_batch_first = batch == output.shape[0] != output.shape[1]
        return "channels_last" if is_batch_first else "sequence_first"
    return "channels_first" if has_convolution and not widths and not sequential else "channels_last"
