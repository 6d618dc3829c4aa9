"""A suite of models: what is taken as a member, and what is refused before anything is loaded."""

import pytest
import torch
from torch import nn

from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.models import FrozenModel, ModelSuite, RawStimuli
from nfas_lightning.models.loaded import LoadedModel, ModelInfo
from nfas_lightning.runner import score_models


class Net(nn.Sequential):
    """Blocks over flattened pixels."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), *(nn.Linear(12, 12) for _ in range(4)))


def seen() -> ArrayDataModule:
    images = torch.rand(30, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    return ArrayDataModule(images, images.flatten(1)[:, :2], dataset="toy")


def test_a_frozen_model_of_ones_own_class_is_refused():
    class Mine(FrozenModel):
        pass

    with pytest.raises(TypeError, match="got Mine"):
        ModelSuite([Mine(Net())])


def test_two_models_of_one_name_are_refused_before_anything_runs(tmp_path):
    card = ModelInfo("net", "vision", "mlp", "here")
    pairs = (
        [Net(), Net()],
        [{"model": Net()}, FrozenModel(Net())],
        [Net(), LoadedModel(Net(), RawStimuli(), card)],
        ["timm:resnet18", "torchvision:resnet18"],
        [{"model": Net(), "weights": "random", "seed": 1}, {"model": Net(), "weights": "random"}],
        [{"model": Net(), "name": "a"}, {"model": Net(), "name": "a"}],
    )
    for pair in pairs:
        with pytest.raises(ValueError, match=r"got \['\w+'\] more than once.*give name="):
            score_models(pair, seen(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_misspelled_key_names_the_nearest():
    with pytest.raises(ValueError, match=r"no key 'weight': did you mean 'weights'\? Allowed: model"):
        ModelSuite([{"model": "timm:resnet18", "weight": "random"}])
    with pytest.raises(ValueError, match=r"no key 'zzz'\. Allowed: model"):
        ModelSuite([{"model": "timm:resnet18", "zzz": 1}])
    with pytest.raises(ValueError, match="must have the key 'model'"):
        ModelSuite([{"weights": "random"}])
    with pytest.raises(ValueError, match="modality must be one of"):
        FrozenModel(Net(), modality="smell")


def test_one_model_alone_is_no_list():
    with pytest.raises(TypeError, match=r"models must be a list, of one model too, got 'minilm_l6'"):
        ModelSuite("minilm_l6")
