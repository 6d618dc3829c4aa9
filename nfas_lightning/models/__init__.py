"""Frozen pretrained networks: the module that runs them and the loaders that bring them."""

from nfas_lightning.models.actor_critic import ActorCritic
from nfas_lightning.models.base import LoadedModel, ModelInfo, ModelInputs
from nfas_lightning.models.frozen import FrozenModel
from nfas_lightning.models.loaders import load_model, load_module, load_timm, load_torchvision
from nfas_lightning.models.preprocess import AudioPreprocess, ClipPreprocess, ImagePreprocess, TextPreprocess
from nfas_lightning.models.suite import ModelSuite, RandomTwin
from nfas_lightning.models.transformers_loader import load_transformers
from nfas_lightning.models.zoo import ZooEntry, load_zoo

__all__ = [
    "ActorCritic",
    "AudioPreprocess",
    "ClipPreprocess",
    "FrozenModel",
    "ImagePreprocess",
    "LoadedModel",
    "ModelInfo",
    "ModelInputs",
    "ModelSuite",
    "RandomTwin",
    "TextPreprocess",
    "ZooEntry",
    "load_model",
    "load_module",
    "load_timm",
    "load_torchvision",
    "load_transformers",
    "load_zoo",
]
