"""Pooling that keeps coarse position: the mean of each cell of a grid."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from nfas_lightning.errors import InputError

__all__ = ["DEFAULT_CELLS", "grid_average"]

DEFAULT_CELLS = 4
_BEFORE_PATCHES = (0, 1, 2, 4, 5)
"""How many tokens may stand before the patches: CLS, a distillation token, four registers."""


def grid_average(output: Tensor, cells: int, mask: Tensor | None, layout: str) -> Tensor:
    """Return the mean of each cell of a grid over the last two axes; time, if there is any, is averaged.

    Cells are those of `torch.nn.functional.adaptive_avg_pool2d`: where sides do not divide they overlap by
    one row, and a map smaller than the grid repeats its values, so that every block has `cells` a side.

    Args:
        output: (B, K, D) patch tokens, of which the last are a square, row by row; (B, C, H, W) or
            (B, C, T, H, W) maps, or the same maps with channels last.
        cells: cells of a side, n.
        mask: (B, K) booleans over tokens, or over the last axis of a map (B, C, F, T); None: all.
        layout: ``"channels_first"`` or ``"channels_last"``.

    Returns:
        (B, D * n * n): unit by unit, each with its n rows of n cells.

    Raises:
        ValueError: there is no map and no square of tokens, or the mask hides a whole cell.

    Example:
        >>> import torch
        >>> maps = torch.arange(16.0).view(1, 1, 4, 4)
        >>> grid_average(maps, 2, None, "channels_first")
        tensor([[ 2.5000,  4.5000, 10.5000, 12.5000]])
    """
    if output.ndim == 3:
        maps, mask = _square(output, mask, layout)
    else:
        maps = output if layout == "channels_first" else output.movedim(-1, 1)
        if maps.ndim == 5:
            maps = maps.mean(dim=2)
        if mask is not None:
            mask = _over_map(mask, maps)
    if mask is None:
        return F.adaptive_avg_pool2d(maps, cells).flatten(1)
    shown = mask.to(maps.device).unsqueeze(1)
    share = F.adaptive_avg_pool2d(shown.to(maps.dtype), cells)
    if not bool((share > 0).all()):
        raise InputError(
            f"pooling='grid:{cells}' needs something to see in every cell, and the mask hides whole cells: "
            f"take fewer cells, pooling='mean', or stimuli of equal length."
        )
    # filled rather than multiplied by zero: what is hidden may hold NaN
    return (F.adaptive_avg_pool2d(maps.masked_fill(~shown, 0), cells) / share).flatten(1)


def _square(tokens: Tensor, mask: Tensor | None, layout: str) -> tuple[Tensor, Tensor | None]:
    """Return patch tokens as a map (B, D, S, S), and their mask (B, S, S)."""
    batch, n_tokens, width = tokens.shape
    found = [n for n in _BEFORE_PATCHES if n_tokens - n > 1 and math.isqrt(n_tokens - n) ** 2 == n_tokens - n]
    if layout != "channels_last" or not found:
        raise InputError(
            f"pooling='grid' needs maps (B, C, H, W), or tokens (B, K, D) that are a square of patches after "
            f"at most {max(_BEFORE_PATCHES)} others, got shape {tuple(tokens.shape)}: use 'mean'."
        )
    side = math.isqrt(n_tokens - found[0])
    maps = tokens[:, found[0] :].transpose(1, 2).reshape(batch, width, side, side)
    if mask is None:
        return maps, None
    if tuple(mask.shape) != (batch, n_tokens):
        raise InputError(
            f"pooling='grid' needs a mask of shape {(batch, n_tokens)} over the block's own tokens, got "
            f"{tuple(mask.shape)}."
        )
    return maps, mask[:, found[0] :].bool().reshape(batch, side, side)


def _over_map(mask: Tensor, maps: Tensor) -> Tensor:
    """Return a mask over the last axis of a map (B, C, F, T) as one over its last two, (B, F, T)."""
    batch, _, height, width = maps.shape
    if tuple(mask.shape) != (batch, width):
        raise InputError(
            f"pooling='grid' needs a mask of shape {(batch, width)} over the last axis of the map, got "
            f"{tuple(mask.shape)}."
        )
    return mask.bool().unsqueeze(1).expand(batch, height, width)
