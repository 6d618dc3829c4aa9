"""From a block's raw output to one vector per stimulus, blind to padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_option
from nfas_lightning.hooks.grid import DEFAULT_CELLS, grid_average
from nfas_lightning.hooks.layout import LAYOUTS

__all__ = [
    "POOLINGS",
    "TIMES",
    "average_frames",
    "check_mask",
    "join_frames",
    "pad_nested",
    "pool",
    "pool_checked",
    "shown_tokens",
    "split_pooling",
    "without_first",
]

POOLINGS = ("auto", "mean", "cls", "last", "max", "none", "grid")
_OVER_TOKENS = ("auto", "mean", "max")
TIMES = ("mean", "keep", "dmd")
"""What becomes of the frames of a clip, see `DepthRecorder`."""

# Strides of the convolutions in front of speech encoders. Longer ones (wav2vec2's 320 samples) have kernels
# that cross the border between sound and padding, so that only the preprocessing can count their frames.
_STRIDES = (2, 4, 8)


def pool(output: Tensor, how: str = "auto", mask: Tensor | None = None, *, layout: str = "auto") -> Tensor:
    """Reduce a block's output to one vector per stimulus.

    Args:
        output: (B, D) vectors, (B, K, D) tokens, (B, C, T) or (B, C, H, W) or (B, C, T, H, W) maps, or the
            same maps with channels last.
        how: one of

            - ``"auto"``: mean over space, or over the tokens that the mask shows; vectors stay as they are;
            - ``"mean"``, ``"max"``: the same axes, always;
            - ``"cls"``: the first token, whatever the mask says: special tokens are never in it;
            - ``"last"``: the last token that the mask shows;
            - ``"none"``: everything flattened; refused where the mask hides a token;
            - ``"grid"``: the mean of each cell of a coarse grid over a map, or over a square of patch tokens
              (what stands before them, CLS and registers, is left out): 4 x 4, or n x n as ``"grid:n"``. For
              regions with retinotopy, whose position in the image a mean over space takes away.

            A mean or maximum over tokens may say what becomes of the first: ``"mean:all"`` counts every token
            that the mask shows, ``"mean:rest"`` leaves the first out where a stimulus shows another. Without
            either this function counts all, and `DepthRecorder` decides by the network: an attention sink
            stays out.
        mask: (B, K) booleans, or zeros and ones, True where a token may be seen; None: all. For (B, C, T) and
            (B, C, F, T) maps K is the length of the last axis. A mask that is 2, 4 or 8 times longer than the
            tokens is taken as the mask before strided convolutions: a token counts if any of its inputs does.
        layout: ``"channels_first"``, ``"channels_last"``, ``"sequence_first"`` for (K, B, D), or ``"auto"``:
            three axes are tokens (B, K, D), more axes are maps with their channels first. A shape alone
            can't tell a Swin stage (B, H, W, C) from a convolutional map: `infer_layout` looks at the block.

    Special tokens of text (CLS, SEP, the beginning and end of a sequence) are in no mean, maximum or last
    token: `TextPreprocess` hides them with the mask.

    Returns:
        (B, D), of a grid (B, D * n * n), in the dtype of `output`, half precisions raised to float32;
        detached, and no view of `output`.

    Raises:
        ValueError: unknown option; a mask that fits neither batch nor tokens, that hides a whole stimulus, or
            that is additive (0 where a token counts, a large negative number elsewhere).

    Example:
        >>> tokens = torch.tensor([[[1.0], [3.0], [100.0]]])
        >>> pool(tokens, "mean", torch.tensor([[True, True, False]]))
        tensor([[2.]])
    """
    split_pooling(how)
    check_option("layout", layout, LAYOUTS)
    if mask is not None:
        check_mask(mask)
    return pool_checked(output, how, mask, layout)


def split_pooling(how: str) -> tuple[str, str]:
    """Return what stands before and after the colon of a pooling, see `pool`.

    Raises:
        ValueError: there is no such pooling.

    Example:
        >>> split_pooling("grid:7"), split_pooling("mean")
        (('grid', '7'), ('mean', ''))
    """
    kind, colon, detail = how.partition(":")
    check_option("pooling", kind if kind in POOLINGS else how, POOLINGS)
    if kind == "grid":
        wanted = "'grid:n' with a whole number of cells a side, such as 'grid:7'"
        is_known = detail.isascii() and detail.isdigit() and int(detail) > 0
    elif kind in _OVER_TOKENS:
        wanted, is_known = f"'{kind}', '{kind}:all' or '{kind}:rest'", detail in ("all", "rest")
    else:
        wanted, is_known = f"{kind!r} alone", False
    if colon and not is_known:
        raise InputError(f"pooling must be {wanted}, got {how!r}.")
    return kind, detail


def check_mask(mask: Tensor) -> None:
    """Raise unless the mask has shape (B, K), says yes or no, and shows a token of every stimulus."""
    if mask.ndim != 2:
        raise InputError(f"mask must have shape (B, K), one row per stimulus, got {tuple(mask.shape)}.")
    is_number = mask.is_floating_point() or mask.is_complex()
    if is_number and not bool(((mask == 0) | (mask == 1)).all()):
        raise InputError(
            f"mask must hold booleans, True where the token counts, got {mask.dtype} with other values than "
            f"0 and 1. Of an additive mask, 0 where the token counts, give mask == 0."
        )
    shown = mask.bool().any(dim=1)
    if not bool(shown.all()):
        rows = (~shown).nonzero()[:, 0].tolist()
        hint = " Of an additive mask, 0 where the token counts, give mask == 0." if is_number else ""
        raise InputError(f"The mask hides every token of the stimuli in rows {rows[:10]} of the batch.{hint}")


def pool_checked(output: Tensor, how: str, mask: Tensor | None, layout: str) -> Tensor:
    """`pool` for checked arguments: a recorder checks a mask once a pass, since that waits for the device."""
    how, detail = split_pooling(how)
    output = output.detach()
    if output.dtype in (torch.float16, torch.bfloat16):
        output = output.float()
    if output.ndim < 2:
        raise InputError(f"Pooling needs a batch axis and a unit axis, got shape {tuple(output.shape)}.")
    if output.ndim == 2:
        return output.clone()
    if layout == "sequence_first":
        output = output.transpose(0, 1)
    if how == "none":
        if mask is not None and not bool(mask.all()):
            raise InputError(
                "pooling='none' would keep padding or special tokens, which the mask hides. Use 'mean', "
                "'max', 'cls' or 'last', or stimuli of equal length without a mask."
            )
        return output.flatten(1).clone()
    if layout in ("auto", "sequence_first"):
        layout = "channels_last" if output.ndim == 3 else "channels_first"
    if how == "grid":
        return grid_average(output, int(detail or DEFAULT_CELLS), mask, layout)
    if how in ("cls", "last") and output.ndim > 3:
        raise InputError(_no_tokens(how, output))  # with a mask or without: one band's frame is no token
    if detail == "rest" and output.ndim == 3 and layout == "channels_last":
        return _pool_tokens(output, how, without_first(shown_tokens(output, mask)))
    if mask is None and how != "last":
        return _pool_all(output, how, layout)
    tokens, token_mask = _as_tokens(output, mask, layout)
    return _pool_tokens(tokens, how, token_mask)


def shown_tokens(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """Return (B, K) booleans over the tokens (B, K, D) of a block: the mask, fitted to them."""
    batch, n_tokens = tokens.shape[:2]
    if mask is None:
        return torch.ones(batch, n_tokens, dtype=torch.bool, device=tokens.device)
    return _fit_mask(mask.to(tokens.device), batch, n_tokens)


def without_first(shown: Tensor) -> Tensor:
    """Hide the first token of every stimulus that shows another.

    Example:
        >>> without_first(torch.tensor([[True, True, False], [True, False, False]])).tolist()
        [[False, True, False], [True, False, False]]
    """
    rest = shown.clone()
    rest[:, 0] &= ~shown[:, 1:].any(dim=1)
    return rest


def _pool_all(output: Tensor, how: str, layout: str) -> Tensor:
    """Pool without a mask, in one reduction: this runs once per block and batch."""
    if how == "cls":
        return (output[:, 0] if layout == "channels_last" else output[..., 0]).clone()
    axes = list(range(1, output.ndim - 1)) if layout == "channels_last" else list(range(2, output.ndim))
    return output.amax(axes) if how == "max" else output.mean(axes)


def _as_tokens(output: Tensor, mask: Tensor | None, layout: str) -> tuple[Tensor, Tensor | None]:
    """Return tokens (B, K, D), where D holds frequency too for (B, C, F, T) maps, and their mask (B, K)."""
    tokens = output if layout == "channels_last" else output.movedim(1, -1)
    if tokens.ndim > 4:
        raise InputError(f"A mask over tokens does not fit a map of shape {tuple(output.shape)}.")
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
        raise InputError(
            f"mask must have shape (B={batch}, K), one row per stimulus, got {tuple(mask.shape)}. Give the "
            f"mask of the batch that is run."
        )
    mask = mask.bool()
    length = mask.shape[1]
    if length != n_tokens:
        stride = next((s for s in _STRIDES if -(-length // s) == n_tokens), None)
        if stride is None:
            raise InputError(
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
        state: (sum of F, D) one row per frame, clip after clip.
        n_frames: (B,) frames F of each clip.

    Returns:
        (B, D).

    Example:
        >>> average_frames(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([2, 1]))
        tensor([[2.],
                [5.]])
    """
    return torch.stack([clip.mean(dim=0) for clip in torch.split(state, n_frames.tolist())])


def join_frames(state: Tensor, n_frames: Tensor) -> Tensor:
    """Put the pooled vectors of a clip's frames side by side.

    Args:
        state: (B * F, D) one row per frame, clip after clip.
        n_frames: (B,) frames of each clip, F of all.

    Returns:
        (B, F * D).

    Example:
        >>> join_frames(torch.tensor([[1.0], [3.0], [5.0], [7.0]]), torch.tensor([2, 2]))
        tensor([[1., 3.],
                [5., 7.]])
    """
    return state.reshape(len(n_frames), -1)


def pad_nested(output: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return a nested tensor's rows padded to one length, and the mask of its tokens.

    Args:
        output: B nested rows (K_b, D), such as the fast path of `nn.TransformerEncoder` makes of a padding
            mask.
        mask: (B, K), True where a token may be seen; None: all that there are.

    Returns:
        (B, K, D) padded with zeros, to the mask's K if there is one, and (B, K) booleans.

    Raises:
        ValueError: the rows are no tokens, or longer than the mask.
    """
    rows = output.detach().unbind()
    lengths = torch.tensor([len(row) for row in rows])
    length = int(lengths.max()) if mask is None else mask.shape[1]
    if any(row.ndim != 2 for row in rows) or int(lengths.max()) > length:
        raise InputError(
            f"Expected a nested tensor with rows (K, D) of at most {length} tokens, got rows of shapes "
            f"{[tuple(row.shape) for row in rows[:3]]}. Run it without nested tensors "
            f"(nn.TransformerEncoder: enable_nested_tensor=False)."
        )
    padded = torch.stack([nn.functional.pad(row, (0, 0, 0, length - len(row))) for row in rows])
    exists = (torch.arange(length) < lengths[:, None]).to(padded.device)
    return padded, exists if mask is None else exists & mask.to(padded.device).bool()
