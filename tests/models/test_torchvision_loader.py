"""Networks of torchvision, and that the same pixels are taken as by its own transform."""

import pytest
import torch
from PIL import Image

from nfas_lightning.models import (
    load_model,
)
from nfas_lightning.models.torchvision_loader import torchvision_preprocess
from tests.helpers.pictures import SHAPES, WITHIN, picture, steps_apart

pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")

pytestmark = pytest.mark.usefixtures("hub_that_answers")


def test_torchvision_with_its_own_preprocessing():
    loaded = load_model("torchvision:mobilenet_v3_small", weights="random")
    assert loaded.preprocess.height == 224
    assert loaded.preprocess.resize == 256
    assert loaded.preprocess.interpolation == "bilinear"
    pixels = loaded.preprocess({"image": torch.zeros(1, 3, 60, 80)}).args[0]
    torch.testing.assert_close(
        pixels[0, :, 0, 0], torch.tensor([-2.1179, -2.0357, -1.8044]), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "efficientnet_b1", "swin_t"])
def test_torchvision_models_equal_their_transform(name):
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    preprocess = torchvision_preprocess(transform)
    for shape in SHAPES:
        theirs = transform(Image.fromarray(picture(shape)))
        assert steps_apart(preprocess, theirs, shape) <= WITHIN, shape
