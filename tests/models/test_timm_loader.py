"""Networks of timm, and that the same pixels are taken as by timm's own transform."""

from itertools import pairwise

import pytest
import torch
from packaging.version import Version
from PIL import Image

from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.models import (
    FrozenModel,
    ImagePreprocess,
    load_model,
)
from nfas_lightning.models.timm_loader import timm_config_preprocess
from nfas_lightning.packaged_models import PACKAGED
from tests.helpers.networks import same_parameters
from tests.helpers.pictures import (
    IMAGE_ENTRIES,
    PROCESSORS,
    SHAPES,
    WITHIN,
    entry_preprocess,
    picture,
    steps_apart,
)

timm = pytest.importorskip("timm")

pytestmark = pytest.mark.usefixtures("hub_that_answers")


def test_timm_with_its_own_preprocessing():
    state = torch.get_rng_state()
    loaded = load_model("timm:vit_tiny_patch16_224", weights="random", seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert isinstance(loaded.preprocess, ImagePreprocess)
    assert (loaded.preprocess.height, loaded.preprocess.crop_pct) == (224, 0.9)
    assert (loaded.info.name, loaded.info.modality) == ("vit_tiny_patch16_224_random", "vision")
    assert loaded.info.source == "random (seed 1)"
    assert loaded.info.parameters == sum(p.numel() for p in loaded.module.parameters())
    assert not loaded.module.training
    again = load_model("timm:vit_tiny_patch16_224", weights="random", seed=1)
    other = load_model("timm:vit_tiny_patch16_224", weights="random", seed=2)
    assert same_parameters(loaded.module, again.module)
    assert not same_parameters(loaded.module, other.module)
    assert loaded.info.weights_sha256 == again.info.weights_sha256 != other.info.weights_sha256


def test_weights_out_of_reach_name_their_hub_entry(monkeypatch):
    import timm

    def offline(*_, pretrained, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        OSError, match=r"could not be read from timm/resnet18\..*no route to host.*weights='random'"
    ):
        load_model("timm:resnet18")


@pytest.mark.parametrize("name", ["timm:resnet18", "timm:regnetx_002", "timm:regnetz_005", "zoo:resnet50"])
def test_no_block_of_a_random_residual_network_is_the_identity(name):
    model = FrozenModel(name, weights="random")
    with DepthRecorder(model.load().module, model.layers) as recorder, torch.inference_mode():
        model.module(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
        recorder.collect(torch.arange(2))
    states = recorder.take().states
    assert len(states) > 4
    same = [one.shape == other.shape and torch.equal(one, other) for one, other in pairwise(states)]
    assert not any(same)


def test_every_entry_that_reads_images_is_compared():
    of_timm = {name for name, entry in IMAGE_ENTRIES.items() if entry.library == "timm"}
    assert of_timm | set(PROCESSORS) | {"smolvlm_256m_vision"} == set(IMAGE_ENTRIES)


@pytest.mark.parametrize("name", sorted(n for n, e in IMAGE_ENTRIES.items() if e.library == "timm"))
def test_timm_entries_equal_timms_transform(name):
    card = timm.get_pretrained_cfg(IMAGE_ENTRIES[name].architecture["model"]).to_dict()
    config = timm.data.resolve_data_config(pretrained_cfg=card)
    transform = timm.data.create_transform(**config)
    preprocess = entry_preprocess(name)
    assert repr(vars(timm_config_preprocess(config))) == repr(vars(preprocess))
    for shape in SHAPES:
        assert steps_apart(preprocess, transform(Image.fromarray(picture(shape))), shape) <= WITHIN, shape


@pytest.mark.parametrize(
    "config",
    [
        {"input_size": (3, 64, 64), "crop_pct": 0.9, "crop_mode": "squash", "interpolation": "bicubic"},
        {"input_size": (3, 64, 40), "crop_pct": 0.9, "interpolation": "bilinear"},
        pytest.param(
            {"input_size": (3, 40, 64), "crop_pct": 1.0, "interpolation": "bicubic"},
            marks=pytest.mark.skipif(
                Version(timm.__version__) < Version("1.0.31"),
                reason="timm before 1.0.31 resizes to an oblong with bilinear, whatever is asked for",
            ),
        ),
    ],
)
def test_other_ways_of_timm(config):
    config = {"mean": (0.5,) * 3, "std": (0.5,) * 3, **config}
    transform = timm.data.create_transform(**config)
    preprocess = timm_config_preprocess(config)
    for shape in [(70, 70), (81, 113), (113, 80), (30, 41)]:
        assert steps_apart(preprocess, transform(Image.fromarray(picture(shape))), shape) <= WITHIN, shape


def test_a_way_of_timm_that_is_not_known_is_refused():
    config = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (3, 64, 64), "crop_pct": 1.0}
    with pytest.raises(ValueError, match="crop_mode='border', expected 'center' or 'squash'"):
        timm_config_preprocess({**config, "crop_mode": "border", "interpolation": "bicubic"})


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_packaged_efficientnets_equal_timms_transform(variant):
    card = timm.get_pretrained_cfg(f"tf_efficientnet_lite{variant}").to_dict()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=card))
    preprocess = PACKAGED[f"efficientnet_lite{variant}"].build(False).preprocess
    assert steps_apart(preprocess, transform(Image.fromarray(picture((249, 333)))), (249, 333)) <= WITHIN
