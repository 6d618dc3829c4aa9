"""Find the blocks of a network's trunk by its structure, without a table of architectures."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence

from torch import nn

from nfas_lightning.hooks.rows import CONTAINERS, PARALLEL, Row, rows_below, words_of

__all__ = ["find_blocks"]

_RECURRENT = (nn.RNNBase,)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Tanh)

_MIN_BLOCKS = 3
_MOST_PARTS = 6  # of a network that is written as stem, backbone, neck and head
_WHOLE = 0.75  # of a row's parameters: what holds them is the row
_RIVAL_SHARE = 0.25  # a second trunk with this share of the first one's parameters makes "auto" ambiguous


def find_blocks(model: nn.Module) -> list[str]:
    """Return the names of the trunk's blocks, in definition order.

    The first rule that finds something decides:

    1. Successive modules of a container, whatever their class (see `Row`): residual blocks of a ResNet,
       inverted residuals, ConvNeXt and Swin blocks, dense blocks, transformer layers. Stages give way to
       their blocks; stems and transitions between stages, which hold a single weight matrix, are no blocks.
       Of an encoder and a decoder, the encoder. Between several trunks the one with the most parameters
       wins, if it is clearly larger; a warning names what is left out.
    2. A plain `nn.Sequential`: its children.
    3. Convolutions in a row (VGG, AlexNet): the activation after each one.
    4. Recurrent modules; a stack inside one module fires once and counts once.
    5. The longest row of equal leaves in one container.

    Args:
        model: the network; it is only looked at, so that parameters may live on the meta device.

    Returns:
        Names relative to `model`; possibly fewer than three.

    What runs side by side can't be seen in a structure, but for containers called ``experts`` or ``heads``,
    which are passed over: `DepthRecorder` warns where two blocks in a row were given the very same tensor.

    Raises:
        ValueError: two trunks of similar size, e.g. the two towers of CLIP.
    """
    trunk = _composite_blocks(model)
    if trunk:
        return trunk
    if type(model) is nn.Sequential:
        return [name for name, _ in model.named_children()]
    activations = _activations_after_convolutions(model)
    if len(activations) >= _MIN_BLOCKS:
        return activations
    recurrent = [name for name, module in model.named_modules() if name and isinstance(module, _RECURRENT)]
    return recurrent or _longest_row(model)


def _composite_blocks(model: nn.Module) -> list[str]:
    rows = _without_decoders(_long_enough(rows_below("", model)))
    if not rows:
        return []
    first, *others = sorted(rows, key=Row.parameters, reverse=True)
    if others and others[0].parameters() > _RIVAL_SHARE * first.parameters():
        listed = "; ".join(map(str, (first, *others)))
        raise ValueError(
            f"layers='auto' found several trunks in {type(model).__name__} and can't choose: {listed}. "
            f"Name one with a glob, or record the submodule that holds it; name all of them in a list if one "
            f"runs after the other."
        )
    if others:
        warnings.warn(
            f"layers='auto' records {first} of {type(model).__name__} and leaves out "
            f"{'; '.join(map(str, others))}. Name the blocks if these belong to the same trunk.",
            stacklevel=2,
        )
    return first.names


def _long_enough(rows: Sequence[Row]) -> list[Row]:
    """Rows of three blocks or more; shorter ones whose classes are those of others are seen too.

    The blocks of a row that is too short hold rows of their own, and a row that begins at one large module,
    such as a stem, a backbone and a head, gives way to what that module holds.
    """
    counts: dict[type, int] = defaultdict(int)
    for row in rows:
        for module in row.modules:
            counts[type(module)] += 1
    kept: list[Row] = []
    for row in rows:
        is_seen = any(counts[type(module)] >= _MIN_BLOCKS for module in row.modules)
        inside = [] if len(row.names) > _MOST_PARTS else _inside(row)
        largest = max(inside, key=Row.parameters, default=row)
        is_whole = largest is not row and len(largest.names) >= _MIN_BLOCKS
        if is_whole and largest.parameters() > _WHOLE * row.parameters():
            kept.append(largest)
        elif len(row.names) >= _MIN_BLOCKS or is_seen:
            kept.append(row)
        else:
            kept += inside
    whole = [row for row in kept if not row.has_single_weights]
    return whole or kept


def _inside(row: Row) -> list[Row]:
    pairs = zip(row.names, row.modules, strict=True)
    return _long_enough([found for name, module in pairs for found in rows_below(name, module)])


def _without_decoders(rows: Sequence[Row]) -> list[Row]:
    encoders = {type(module) for row in rows if not row.is_decoder() for module in row.modules}
    return [row for row in rows if not row.is_decoder() or encoders.isdisjoint(map(type, row.modules))]


def _activations_after_convolutions(model: nn.Module) -> list[str]:
    """The first activation after each convolution, inside the container with the most convolutions."""
    best: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.Sequential):
            continue
        found, waiting = [], False
        for child_name, child in module.named_children():
            if isinstance(child, _CONVOLUTIONS):
                waiting = True
            elif waiting and isinstance(child, _ACTIVATIONS):
                found.append(f"{name}.{child_name}" if name else child_name)
                waiting = False
        best = max(best, found, key=len)
    return best


def _longest_row(model: nn.Module) -> list[str]:
    best: list[str] = []
    for name, module in model.named_modules():
        if type(module) not in CONTAINERS or any(word in PARALLEL for word in words_of(name)):
            continue
        rows = defaultdict(list)
        for child_name, child in module.named_children():
            rows[type(child)].append(f"{name}.{child_name}" if name else child_name)
        best = max([best, *rows.values()], key=len)
    return best
