"""Classifiers of images and of clips of torchvision, with the preprocessing of their weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import nn

from nfas_lightning.errors import InputError, UnreadableError, nearest
from nfas_lightning.functional.checks import check_option
from nfas_lightning.models.loaded import LoadedModel, model_info
from nfas_lightning.models.optional import require
from nfas_lightning.models.preprocess import ClipPreprocess, ImagePreprocess
from nfas_lightning.models.random_twin import seeded
from nfas_lightning.models.reach import check_reachable
from nfas_lightning.models.sources import ModelSource

__all__ = ["SOURCE", "closest_weights", "load_torchvision", "torchvision_preprocess"]

_FRAMES = 16  # that most networks of clips were trained with


def load_torchvision(name: str, *, weights: str = "pretrained", seed: int = 0) -> LoadedModel:
    """Load a classifier of images or of clips with the preprocessing of its default weights.

    Args:
        name: a name of ``torchvision.models.list_models()``, such as ``"resnet18"``, ``"r3d_18"`` or
            ``"mvit_v2_s"``. Networks of clips read as many frames as their weights were evaluated with.
        weights: ``"pretrained"`` or ``"random"``.
        seed: of the random weights.

    Raises:
        ImportError: torchvision is missing.
        ValueError: torchvision knows no such model.
        OSError: the pretrained weights can't be reached.
    """
    check_option("weights", weights, ("pretrained", "random"))
    torchvision = require("torchvision", "vision")
    try:
        default = torchvision.models.get_model_weights(name).DEFAULT
    except ValueError as error:
        raise InputError(f"torchvision has no model {name!r}: {error}") from error
    pretrained = default if weights == "pretrained" else None
    try:
        if pretrained is not None:
            file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(default.url).path).name
            check_reachable(default.url, file)
        module = seeded(seed, lambda: torchvision.models.get_model(name, weights=pretrained))
    except OSError as error:
        raise UnreadableError(
            f"The weights of 'torchvision:{name}' could not be fetched from {default.url}: "
            f"{str(error).rstrip('.')}. Put the file into torch's hub cache, or choose weights='random'."
        ) from error
    info = model_info(
        module,
        name=name,
        modality="vision",
        family=type(module).__name__.lower(),
        source=f"torchvision=={torchvision.__version__} ({default})",
        seed=None if pretrained is not None else seed,
    )
    preprocess = torchvision_preprocess(default.transforms(), default.meta)
    # what the blocks of a multiscale transformer return besides their tokens tells where those are
    layers = "blocks.*" if type(module).__name__ == "MViT" else "auto"
    return LoadedModel(module.eval(), preprocess, info, layers)


def _names() -> list[str]:
    models = require("torchvision", "vision").models
    # classification, which `load_torchvision` takes
    return [*models.list_models(module=models), *models.list_models(module=models.video)]


def _check(name: str) -> None:
    if find_spec("torchvision") is not None and name not in _names():
        raise InputError(f"torchvision has no model {name!r}.{nearest(name, _names())}")


SOURCE = ModelSource(load_torchvision, names=_names, check=_check, about=lambda name: {"modality": "vision"})


def torchvision_preprocess(
    transform: Any, meta: Mapping[str, Any] | None = None
) -> ImagePreprocess | ClipPreprocess:
    """Return the preprocessing of the ``transforms()`` of weights of torchvision for classification.

    Args:
        transform: the weights' own.
        meta: of the weights, which tells how many frames of a clip they were evaluated with.
    """
    is_clip, size = type(transform).__name__ == "VideoClassification", transform.resize_size
    image = ImagePreprocess(
        transform.crop_size[0],
        tuple(transform.mean),
        tuple(transform.std),
        interpolation=transform.interpolation.value,
        resize=size[0] if len(size) == 1 else tuple(size),
        antialias=not is_clip,
    )
    if not is_clip:
        return image
    told = re.search(r"clip_len=(\d+)", str((meta or {}).get("_docs", "")))  # in words alone
    frames = int(told[1]) if told else int((meta or {}).get("min_temporal_size", _FRAMES))
    return ClipPreprocess(frames, image, channels_first=True)


def closest_weights(network: nn.Module) -> str | None:
    """Return the name of torchvision's weights of a network's architecture, None for other networks.

    torchvision leaves no trace of weights on a network: whether it began from any is not known here. Of
    several sizes of one architecture, the one whose number of parameters is closest.
    """
    where = type(network).__module__
    if not where.startswith("torchvision.models."):
        return None
    models = require("torchvision", "vision").models
    own = sum(parameter.numel() for parameter in network.parameters())
    distance: dict[str, int] = {}  # another head leaves most of the parameters
    for name in models.list_models(module=models):
        if models.get_model_builder(name).__module__ == where:
            weights = models.get_model_weights(name)
            distance[weights.__name__] = abs(weights.DEFAULT.meta["num_params"] - own)
    return min(distance, key=distance.__getitem__, default=None)
