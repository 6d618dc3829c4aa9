"""The preprocessing that a network brings with it: what timm and transformers write onto their networks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from nfas_lightning.hooks.outputs import first_tensor
from nfas_lightning.hooks.processes import rank_and_world
from nfas_lightning.hooks.undisturbed import plain_network, undisturbed
from nfas_lightning.models.audio import AudioPreprocess, RepeatedAudioPreprocess
from nfas_lightning.models.loaded import ModelInputs, Preprocess, move_inputs
from nfas_lightning.models.preprocess import ClipPreprocess, ImagePreprocess, RawStimuli
from nfas_lightning.models.timm_loader import timm_preprocess
from nfas_lightning.models.torchvision_loader import closest_weights
from nfas_lightning.models.transformers_loader import own_preprocess

__all__ = ["choose_preprocess", "known_preprocess"]


def known_preprocess(network: nn.Module) -> Preprocess | None:
    """Return the preprocessing that a network's own configuration asks for; None: it has none.

    timm's networks carry their mean, standard deviation, size and interpolation; those of transformers name
    where they came from, and the processor that lies there is read if it is a folder or was fetched before.

    Example:
        >>> known_preprocess(nn.Linear(2, 2)) is None
        True
    """
    network = plain_network(network)
    config = getattr(network, "pretrained_cfg", None)
    if isinstance(config, Mapping) and "mean" in config:
        return timm_preprocess(network)
    return own_preprocess(network)


def choose_preprocess(
    network: nn.Module,
    batch: Mapping[str, Any],
    *,
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    owner: nn.Module | None = None,
) -> Preprocess:
    """Return how a network wants to be shown stimuli, where nobody has said.

    The network's own configuration decides (`known_preprocess`); of a module around such a network, that of
    the network inside, if images arrive there as they came. Else the stimuli are shown as they are, with a
    warning unless the module is seen to prepare them.

    Args:
        network: what will be run.
        batch: a few stimuli.
        context: made around a forward pass, e.g. an autocast.
        owner: see `undisturbed`.

    Warns:
        UserWarning: no configuration was found.
    """
    raw = RawStimuli()
    known = known_preprocess(network)
    if known is not None and _reads(known, batch):
        return known
    if "text" in batch:
        return raw  # which says that texts need a preprocessing
    inner = dict(_configured(plain_network(network)))
    if inner and "image" in batch:
        arrived = _arrival(network, list(inner), raw(batch), context, owner)
        if arrived is not None:
            found, unchanged = arrived
            return inner[found] if unchanged else raw
    if rank_and_world()[0] == 0:
        warnings.warn(_as_they_are(network, batch), stacklevel=3)
    return raw


def _reads(preprocess: Preprocess, batch: Mapping[str, Any]) -> bool:
    """Whether a preprocessing is for this kind of stimuli: a network may have parts for several."""
    if isinstance(preprocess, ImagePreprocess | ClipPreprocess):
        return "image" in batch or ("clip" in batch and isinstance(preprocess, ClipPreprocess))
    return ("audio" if isinstance(preprocess, AudioPreprocess | RepeatedAudioPreprocess) else "text") in batch


def _configured(network: nn.Module) -> Iterator[tuple[nn.Module, Preprocess]]:
    """The outermost networks inside one that bring a configuration."""
    for child in network.children():
        known = known_preprocess(child)
        if not isinstance(known, ImagePreprocess):
            yield from _configured(child)
        else:
            yield child, known


class _Arrived(BaseException):  # which no `except Exception` of a network's own catches
    def __init__(self, network: nn.Module, given: Tensor | None) -> None:
        self.network, self.given = network, given


def _arrival(
    network: nn.Module,
    inner: list[nn.Module],
    inputs: ModelInputs,
    context: Callable[[], AbstractContextManager[Any]],
    owner: nn.Module | None,
) -> tuple[nn.Module, bool] | None:
    """The first of these networks that a pass reaches, and whether it gets the images as they came."""

    def stop(module: nn.Module, args: Any, kwargs: Any) -> None:
        raise _Arrived(module, first_tensor((args, kwargs)))

    image = inputs.args[0]
    with undisturbed(network, owner) as plain:
        for module in inner:
            module.register_forward_pre_hook(stop, with_kwargs=True)  # gone with all else on leaving
        try:
            with context():
                moved = move_inputs(inputs, plain)
                plain(*moved.args)
        except _Arrived as arrived:
            given = arrived.given
            same = given is not None and given.shape == image.shape
            same = same and torch.equal(given.cpu().float(), moved.args[0].cpu().float())  # type: ignore[union-attr]
            return arrived.network, same
        except Exception:  # noqa: BLE001 - the network will say so itself when it is shown the stimuli
            return None
    return None


def _as_they_are(network: nn.Module, batch: Mapping[str, Any]) -> str:
    """Say what a network without a configuration is shown, and how to say otherwise."""
    kind = type(plain_network(network)).__name__
    if "audio" in batch:
        shown = f"the sounds as they are, at {batch['sampling_rate']} Hz"
        otherwise = "preprocess=AudioPreprocess(sampling_rate) resamples them"
    else:
        height, width = next(batch[key] for key in ("image", "clip") if key in batch).shape[-2:]
        shown = f"the images as they are, in [0, 1] and of {height} x {width} pixels"
        otherwise = (
            "if it was trained on normalized ones, preprocess=ImagePreprocess(size, mean, std) does the same"
        )
        if weights := closest_weights(plain_network(network)):
            otherwise += (
                f", and where it began from torchvision's weights preprocess=lambda batch: "
                f"torchvision.models.{weights}.DEFAULT.transforms()(batch['image'])"
            )
    return (
        f"{kind} brings no configuration of what it reads, as networks of timm and transformers do, and is "
        f"shown {shown}: {otherwise}. If this is right, preprocess=RawStimuli() says so (all in "
        "nfas_lightning.models)."
    )
