"""Networks of torchvision, and that the same pixels are taken as by its own transform."""

import numpy as np
import pytest
import torch
from PIL import Image

from nfas_lightning.models import (
    load_model,
    reach,
)
from nfas_lightning.models.torchvision_loader import torchvision_preprocess

pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")


@pytest.fixture(autouse=True)
def hub_that_answers(monkeypatch):
    """No test asks the network: each says itself what its hub does."""
    monkeypatch.setattr(reach, "is_reachable", lambda url: True)


def test_torchvision_with_its_own_preprocessing():
    loaded = load_model("torchvision:mobilenet_v3_small", weights="random")
    assert loaded.preprocess.height == 224
    assert loaded.preprocess.resize == 256
    assert loaded.preprocess.interpolation == "bilinear"
    pixels = loaded.preprocess({"image": torch.zeros(1, 3, 60, 80)}).args[0]
    torch.testing.assert_close(
        pixels[0, :, 0, 0], torch.tensor([-2.1179, -2.0357, -1.8044]), atol=1e-4, rtol=0
    )


SHAPES = [(300, 300), (249, 333), (333, 250), (90, 61)]
WITHIN = 1.2  # steps of 1/255


def picture(shape):
    """Bytes (H, W, 3) with waves, edges and a ramp, between 40 and 215."""
    rows, columns = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    waves = 0.5 + 0.5 * np.sin(rows / 7) * np.cos(columns / 5)
    edges = (rows // 16 + columns // 24) % 2
    return (40 + 175 * np.stack([waves, edges, columns / shape[1]], axis=-1)).round().astype(np.uint8)


def steps_apart(preprocess, theirs, shape):
    """The greatest difference, in steps of 1/255 before normalization; sizes must be equal."""
    tensor = torch.from_numpy(picture(shape)).permute(2, 0, 1)
    ours = preprocess({"image": tensor[None] / 255}).args[0]
    theirs = theirs.reshape(ours.shape)
    return float((((ours - theirs) * preprocess.std.view(3, 1, 1)).abs() * 255 / preprocess.scale).max())


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "efficientnet_b1", "swin_t"])
def test_torchvision_models_equal_their_transform(name):
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    preprocess = torchvision_preprocess(transform)
    for shape in SHAPES:
        theirs = transform(Image.fromarray(picture(shape)))
        assert steps_apart(preprocess, theirs, shape) <= WITHIN, shape
