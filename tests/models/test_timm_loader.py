"""Networks of timm, and that the same pixels are taken as by timm's own transform."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.models import (
    ClipPreprocess,
    FrozenModel,
    ImagePreprocess,
    load_model,
    reach,
)
from nfas_lightning.models.timm_loader import timm_config_preprocess
from nfas_lightning.models.zoo.architecture import build_preprocess
from nfas_lightning.models.zoo.registry import zoo
from nfas_lightning.packaged_models import PACKAGED

timm = pytest.importorskip("timm")


@pytest.fixture(autouse=True)
def hub_that_answers(monkeypatch):
    """No test asks the network: each says itself what its hub does."""
    monkeypatch.setattr(reach, "is_reachable", lambda url: True)


def _same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


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
    assert _same(loaded.module, again.module)
    assert not _same(loaded.module, other.module)
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


SHAPES = [(300, 300), (249, 333), (333, 250), (90, 61)]
WITHIN = 1.2  # steps of 1/255
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
EDGE, SQUARE = {"shortest_edge": 224}, {"height": 224, "width": 224}


# the settings that lie beside the weights on the hub
PROCESSORS = {
    "clip_vit_b32": ("CLIPImageProcessor", {"size": EDGE, "crop_size": SQUARE}),
    "siglip_base": ("SiglipImageProcessor", {"size": SQUARE, "resample": 3, **HALF}),
    "dinov2_base": (
        "BitImageProcessor",
        {"size": {"shortest_edge": 256}, "crop_size": SQUARE, "resample": 3, **IMAGENET},
    ),
    "mae_base": ("ViTImageProcessor", {"size": SQUARE, "resample": 2, **IMAGENET}),
    "videomae_base": (
        "VideoMAEImageProcessor",
        {"size": EDGE, "crop_size": SQUARE, "resample": 2, **IMAGENET},
    ),
    "timesformer_base": (
        "VideoMAEImageProcessor",
        {
            "size": EDGE,
            "crop_size": SQUARE,
            "resample": 2,
            "image_mean": [0.45] * 3,
            "image_std": [0.225] * 3,
        },
    ),
}
IMAGE_ENTRIES = {
    entry.name: entry for entry in zoo().values() if entry.preprocessing.get("kind") in ("image", "clip")
}


def picture(shape):
    """Bytes (H, W, 3) with waves, edges and a ramp, between 40 and 215."""
    rows, columns = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    waves = 0.5 + 0.5 * np.sin(rows / 7) * np.cos(columns / 5)
    edges = (rows // 16 + columns // 24) % 2
    return (40 + 175 * np.stack([waves, edges, columns / shape[1]], axis=-1)).round().astype(np.uint8)


def image_part(preprocess):
    return preprocess.image if isinstance(preprocess, ClipPreprocess) else preprocess


def steps_apart(preprocess, theirs, shape):
    """The greatest difference, in steps of 1/255 before normalization; sizes must be equal."""
    tensor = torch.from_numpy(picture(shape)).permute(2, 0, 1)
    ours = preprocess({"image": tensor[None] / 255}).args[0]
    theirs = theirs.reshape(ours.shape)
    return float((((ours - theirs) * preprocess.std.view(3, 1, 1)).abs() * 255 / preprocess.scale).max())


def entry_preprocess(name):
    return image_part(build_preprocess(IMAGE_ENTRIES[name].preprocessing, lambda: None))


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
        {"input_size": (3, 40, 64), "crop_pct": 1.0, "interpolation": "bicubic"},
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
