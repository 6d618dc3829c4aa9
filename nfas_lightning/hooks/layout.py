"""Tell where a block keeps its units: by what it is made of, and by what its layers were seen to return."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from nfas_lightning.errors import InputError
from nfas_lightning.hooks.attached import Attached
from nfas_lightning.hooks.outputs import given_tensors

__all__ = ["LAYOUTS", "Sighting", "Watch", "axes_of", "infer_layout", "known_layers", "layout_evidence"]

LAYOUTS = ("auto", "channels_first", "channels_last", "sequence_first")

_SERIES = (nn.Conv1d, nn.ConvTranspose1d)
_MAPS = (*_SERIES, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d,
         nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm,
         nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
         nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
         nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)  # fmt: skip
_TOKENS = (nn.Linear, nn.LayerNorm, nn.RMSNorm)
_RECURRENT_OR_ATTENTION = (nn.RNNBase, nn.MultiheadAttention)
_SEQUENCES = (*_RECURRENT_OR_ATTENTION, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer,
              nn.TransformerEncoder, nn.TransformerDecoder, nn.Transformer)  # fmt: skip
_KNOWN = (*_MAPS, *_TOKENS, *_SEQUENCES)


@dataclass(frozen=True)
class Sighting:
    """What one layer was seen to return, and how that kind of layer lays out its axes.

    Attributes:
        layout: the layer's own layout; where `is_token_wise` its first axes may be swapped.
        shape: of what it returned.
        is_token_wise: a linear layer or norm, which works on the last axis whatever the others are.
        took_input: it was called on the block's input, or on what such layers made of it, as it was.
    """

    layout: str
    shape: tuple[int, ...]
    is_token_wise: bool = False
    took_input: bool = False


def known_layers(module: nn.Module) -> Iterator[nn.Module]:
    """The layers inside a module, or itself, whose layout torch defines; of nested ones the outermost."""
    if isinstance(module, _KNOWN):
        yield module
    else:
        for child in module.children():
            yield from known_layers(child)


class Watch:
    """Collect sightings of layers, those of a block anew at each of its runs.

    Args:
        layers: the layers to watch.
        block: the block that holds them; None: only the last sighting is kept, of whatever ran before.
    """

    def __init__(self, layers: Sequence[nn.Module], block: nn.Module | None = None) -> None:
        self.seen: list[Sighting] = []
        self._keeps_all = block is not None
        self._inputs: list[weakref.ref[Tensor]] = []
        unique = {id(layer): layer for layer in layers}.values()
        self._handles = [layer.register_forward_hook(Attached(layer, self._see)) for layer in unique]
        if block is not None:
            begin = Attached(block, self._begin)
            self._handles.append(block.register_forward_pre_hook(begin, with_kwargs=True))

    def close(self) -> None:
        """Remove the hooks; nothing happens if they are gone already."""
        while self._handles:
            self._handles.pop().remove()
        self.seen, self._inputs = [], []

    def _begin(self, _: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.seen = []
        self._inputs = [weakref.ref(given) for given in given_tensors(args, kwargs)[:1]]

    def _see(self, layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        tensor = output[0] if isinstance(output, tuple) and output else output
        if not isinstance(tensor, Tensor) or tensor.ndim < 3 or tensor.is_nested:
            return
        shape = tuple(tensor.shape)
        layout = _own_layout(layer, shape)
        if layout is None:
            return
        took_input = bool(args) and any(args[0] is known() for known in self._inputs)
        if took_input:
            self._inputs.append(weakref.ref(tensor))
        sighting = Sighting(layout, shape, isinstance(layer, _TOKENS), took_input)
        self.seen = [*self.seen, sighting] if self._keeps_all else [sighting]


def infer_layout(
    module: nn.Module,
    output: Tensor,
    batch: int | None = None,
    seen: Sequence[Sighting] = (),
    sibling: str | None = None,
) -> str:
    """Tell where a block keeps its units.

    The last layer that returned the block's own axes in one order only tells, else its positions, else the
    layer that took the block's input as it was. Where none does, the axis that is as wide as one of the
    block's layers or parameters holds the units; maps keep them first where convolutions, their norms and
    pooling are all there is. A block without weights keeps the layout of what it was given.

    Args:
        module: the block.
        output: its raw output, of three axes or more.
        batch: B where it is known; settles which axis is the batch's.
        seen: the block's layers at work in this run, in their order (see `Watch`); of a block without
            layers that torch knows, the last one before it.
        sibling: layout of an earlier block of the same class, which decides where nothing else does.

    Returns:
        ``"channels_first"``, ``"channels_last"`` or ``"sequence_first"``.

    Raises:
        ValueError: the evidence leaves more than one.
    """
    return layout_evidence(module, output, batch, seen, sibling)[0]


def layout_evidence(
    module: nn.Module,
    output: Tensor,
    batch: int | None = None,
    seen: Sequence[Sighting] = (),
    sibling: str | None = None,
) -> tuple[str, bool]:
    """Return a layout, see `infer_layout`, and whether the axis of the batch is certain.

    Linear layers and norms work on the last axis whatever the others are, so that three axes of tokens may
    have the batch on the second: only torch's own sequence layers and convolutions tell.
    """
    shape = tuple(output.shape)
    layers = list(known_layers(module))
    n_maps = sum(isinstance(layer, _MAPS) for layer in layers)
    sure = [one for one in seen if not one.is_token_wise]
    if len(shape) == 3 and not all(map(_is_batch_first, layers)):
        return _with_batch_second(module, shape, batch, seen, sibling, n_maps > 0)
    if layers == [module] and (own_layout := _own_layout(module, shape)) is not None:
        return own_layout, not isinstance(module, _TOKENS)
    candidates = ("channels_first", "channels_last")
    is_tokens, is_maps = n_maps == 0 and bool(layers), n_maps == len(layers) > 0
    own = seen if layers else [one for one in seen if one.shape == shape]  # what it was given, if no layer
    told = _told(shape, own, candidates) or _told_by_input(shape, own)
    if told is None and not layers and own:
        told = own[-1].layout
    if told is None and is_maps and (len(shape) > 3 or any(len(one.shape) == 3 for one in seen)):
        told = "channels_first"
    if told is None:
        widths = _widths(layers) if layers else {n for p in module.parameters() for n in p.shape}
        if not widths and seen:  # it was given the axes of the last layer in another order
            widths = {_units_last(seen[-1].shape, seen[-1].layout)[-1]}
        fits = [name for name, axis in zip(candidates, (1, -1), strict=True) if shape[axis] in widths]
        told = fits[0] if len(fits) == 1 else sibling
        if told is None and fits and is_tokens:
            told = "channels_last"
    if told is None:
        raise InputError(axes_of(shape, candidates))
    return told, _told_by_input(shape, sure) is not None


def _with_batch_second(
    module: nn.Module,
    shape: tuple[int, ...],
    batch: int | None,
    seen: Sequence[Sighting],
    sibling: str | None,
    has_maps: bool,
) -> tuple[str, bool]:
    """The layout of three axes where a recurrence or attention inside has its batch on the second."""
    if not isinstance(module, _KNOWN):
        sure = [one for one in seen if not one.is_token_wise]
        candidates = ("channels_last", "sequence_first", *(("channels_first",) if has_maps else ()))
        told = _told(shape, sure, candidates) or _told_by_input(shape, sure) or sibling
        if told is not None:
            return told, True
        if shape[0] == shape[1] > 1 and seen:
            return "channels_last", False
    return "channels_last" if batch == shape[0] != shape[1] else "sequence_first", True


def _told(shape: tuple[int, ...], seen: Sequence[Sighting], candidates: Sequence[str]) -> str | None:
    """The layout in which the output is what a layer returned; else has its batch and its positions."""
    for end in (None, -1):
        for one in reversed(seen):
            if len(one.shape) == len(shape):
                wanted = _units_last(one.shape, one.layout)[:end]
                fits = [name for name in candidates if _units_last(shape, name)[:end] == wanted]
                if len(fits) == 1:
                    return fits[0]
    return None


def _told_by_input(shape: tuple[int, ...], seen: Sequence[Sighting]) -> str | None:
    """The layout of the block's input, where a layer took it as it was and the output has its shape."""
    return next((one.layout for one in reversed(seen) if one.took_input and one.shape == shape), None)


def _units_last(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """The axes in the order batch, positions, units."""
    if layout == "channels_first":
        return (shape[0], *shape[2:], shape[1])
    return (shape[1], shape[0], shape[2]) if layout == "sequence_first" else shape


def _own_layout(layer: nn.Module, shape: tuple[int, ...]) -> str | None:
    """The layout in which a known layer returned this shape, None where it can't be known."""
    if isinstance(layer, _MAPS):
        return "channels_first"
    if isinstance(layer, _SEQUENCES):
        return "channels_last" if _is_batch_first(layer) else "sequence_first"
    (width,) = _widths([layer])
    if shape[-1] == width and (type(layer) in _TOKENS or shape[1] != width):
        return "channels_last"
    # timm and torchvision have layer norms over (B, C, H, W)
    return "channels_first" if shape[1] == width and type(layer) not in _TOKENS else None


def _is_batch_first(layer: nn.Module) -> bool:
    inner = [m for m in layer.modules() if isinstance(m, _RECURRENT_OR_ATTENTION)]
    return all(bool(m.batch_first) for m in inner)


def _widths(layers: Sequence[nn.Module]) -> set[int]:
    """Units of the linear layers, norms and convolutions among the layers and inside them."""
    modules = [module for layer in layers for module in layer.modules()]
    widths = {int(m.normalized_shape[-1]) for m in modules if isinstance(m, (nn.LayerNorm, nn.RMSNorm))}
    names = ("out_features", "out_channels", "num_features", "num_channels")
    found = [getattr(m, name, None) for m in modules for name in names]
    return widths | {width for width in found if isinstance(width, int)}


def axes_of(shape: tuple[int, ...], candidates: Sequence[str]) -> str:
    """The question that a layout leaves open, with its answers."""
    axes = {
        "channels_first": "(B, C, ...)",
        "channels_last": "(B, K, D) or (B, ..., C)",
        "sequence_first": "(K, B, D)",
    }
    listed = ", ".join(f"layout={name!r} for {axes[name]}" for name in candidates)
    return (
        f"its layers and an output of shape {shape} don't tell which axis is which. Say so, {listed}; or "
        f"run a first batch of another size."
    )
