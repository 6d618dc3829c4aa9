"""Frozen pretrained networks: the module that runs them and the loaders that bring them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nfas_lightning.models.actor_critic import ActorCritic
from nfas_lightning.models.audio import AudioPreprocess
from nfas_lightning.models.captions import CaptionPreprocess
from nfas_lightning.models.loaded import LoadedModel, ModelInfo, ModelInputs
from nfas_lightning.models.loaders import load_model, load_module
from nfas_lightning.models.preprocess import ClipPreprocess, ImagePreprocess, RawStimuli
from nfas_lightning.models.sources import ModelSource
from nfas_lightning.models.text import TextPreprocess
from nfas_lightning.models.timm_loader import load_timm
from nfas_lightning.models.torchvision_loader import load_torchvision
from nfas_lightning.models.transformers_loader import load_transformers
from nfas_lightning.models.zoo import ZooEntry, load_zoo

if TYPE_CHECKING:
    from nfas_lightning.models.frozen import FrozenModel
    from nfas_lightning.models.suite import ModelSuite, RandomTwin

__all__ = [
    "ActorCritic",
    "AudioPreprocess",
    "CaptionPreprocess",
    "ClipPreprocess",
    "FrozenModel",
    "ImagePreprocess",
    "LoadedModel",
    "ModelInfo",
    "ModelInputs",
    "ModelSource",
    "ModelSuite",
    "RandomTwin",
    "RawStimuli",
    "TextPreprocess",
    "ZooEntry",
    "load_model",
    "load_module",
    "load_timm",
    "load_torchvision",
    "load_transformers",
    "load_zoo",
]

_HOMES = {
    "FrozenModel": "nfas_lightning.models.frozen",
    "ModelSuite": "nfas_lightning.models.suite",
    "RandomTwin": "nfas_lightning.models.suite",
}


def __getattr__(name: str) -> Any:
    # on first use: Lightning takes seconds to import, and the tables of models do without it
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
