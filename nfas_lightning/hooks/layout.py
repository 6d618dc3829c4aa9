"""Tell where a block keeps its units: by what it is made of, and by what its layers were seen to return."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

__all__ = ["LAYOUTS", "Sighting", "Watch", "first_tensor", "infer_layout", "known_layers", "needs_watch"]

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


def needs_watch(module: nn.Module) -> bool:
    """Whether what a block is made of leaves its layout open, so that its layers must be seen at work."""
    if isinstance(module, _KNOWN):
        return False
    layers = list(known_layers(module))
    maps = [layer for layer in layers if isinstance(layer, _MAPS)]
    is_mixed = 0 < len(maps) < len(layers)
    return is_mixed or not all(map(_is_batch_first, layers)) or any(isinstance(m, _SERIES) for m in maps)


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
        self._handles = [layer.register_forward_hook(self._see) for layer in unique]
        if block is not None:
            self._handles.append(block.register_forward_pre_hook(self._begin, with_kwargs=True))

    def close(self) -> None:
        """Remove the hooks; nothing happens if they are gone already."""
        while self._handles:
            self._handles.pop().remove()
        self.seen, self._inputs = [], []

    def _begin(self, _: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        given = first_tensor(args, kwargs)
        self.seen = []
        self._inputs = [] if given is None else [weakref.ref(given)]

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

    What a block is made of settles most: channels first if convolutions, their norms and pooling alone,
    tokens if linear layers, norms and attention alone; with more axes than three, channels last where one of
    those is as wide as the last axis (Swin keeps (B, H, W, C)). Recurrence or attention built with
    ``batch_first=False``, and blocks that mix convolutions with linear layers, are laid out as the last of
    their layers that returned the block's own axes in one order only. A block without weights keeps the
    layout of what it was given.

    Args:
        module: the block.
        output: its raw output, of three axes or more.
        batch: B where it is known; settles which axis is the batch's.
        seen: the block's layers at work in this run, in their order (see `Watch`); of a block without
            weights, the last layer before it.
        sibling: layout of an earlier block of the same class, which decides where nothing else does.

    Returns:
        ``"channels_first"``, ``"channels_last"`` or ``"sequence_first"``.

    Raises:
        ValueError: the evidence leaves more than one.
    """
    shape = tuple(output.shape)
    layers = list(known_layers(module))
    has_maps = any(isinstance(layer, _MAPS) for layer in layers)
    is_mixed = has_maps and not all(isinstance(layer, _MAPS) for layer in layers)
    if len(shape) == 3 and not all(map(_is_batch_first, layers)):
        return _with_batch_second(module, shape, batch, seen, sibling, has_maps)
    if not layers:
        is_bare = not any(True for _ in module.parameters())
        if is_bare and seen and seen[-1].shape == shape:
            return seen[-1].layout
        return "channels_last" if len(shape) == 3 else "channels_first"
    if not has_maps:
        return "channels_last" if len(shape) == 3 or shape[-1] in _widths(layers) else "channels_first"
    if len(shape) > 3 and not is_mixed:
        return "channels_first"
    candidates = ("channels_first", "channels_last")
    told = _told(shape, seen, candidates) or _told_by_input(shape, seen)
    if told is None and not is_mixed:
        return "channels_first"
    if told is None:
        widths = _widths(layers)
        fits = [name for name, axis in zip(candidates, (1, -1), strict=True) if shape[axis] in widths]
        told = fits[0] if len(fits) == 1 else sibling
    if told is None:
        raise ValueError(_undecided(shape, candidates))
    return told


def _with_batch_second(
    module: nn.Module,
    shape: tuple[int, ...],
    batch: int | None,
    seen: Sequence[Sighting],
    sibling: str | None,
    has_maps: bool,
) -> str:
    """The layout of three axes where a recurrence or attention inside has its batch on the second."""
    if not isinstance(module, _KNOWN):
        sure = [one for one in seen if not one.is_token_wise]
        candidates = ("channels_last", "sequence_first", *(("channels_first",) if has_maps else ()))
        told = _told(shape, sure, candidates) or _told_by_input(shape, sure) or sibling
        if told is not None:
            return told
        if shape[0] == shape[1] > 1 and seen:
            raise ValueError(_undecided(shape, candidates))
    return "channels_last" if batch == shape[0] != shape[1] else "sequence_first"


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


def _undecided(shape: tuple[int, ...], candidates: Sequence[str]) -> str:
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


def first_tensor(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
    """A call's first argument, None where it is no tensor: later ones are masks and positions."""
    first = next(iter((*args, *kwargs.values())), None)
    return first if isinstance(first, Tensor) else None
