"""Networks of torchvision, and that the same pixels are taken as by its own transform."""

import pytest
import torch
from PIL import Image

from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.models import load_model
from nfas_lightning.models.sources import sources
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


@pytest.mark.parametrize("name", ["r3d_18", "mvit_v2_s"])
def test_networks_of_clips_see_the_pixels_of_their_transform(name):
    weights, longer = (torchvision.models.get_model_weights(n).DEFAULT for n in (name, "s3d"))
    preprocess = torchvision_preprocess(weights.transforms(), weights.meta)
    frames = preprocess.frames
    assert frames == 16
    assert torchvision_preprocess(longer.transforms(), longer.meta).frames == 128
    clip = torch.from_numpy(picture(SHAPES[1])).permute(2, 0, 1).repeat(frames, 1, 1, 1)
    clip = torch.stack([frame.roll(3 * i, 1) for i, frame in enumerate(clip)])
    ours = preprocess({"clip": clip[None] / 255}).args[0]
    theirs = weights.transforms()(clip)[None]
    assert ours.shape == theirs.shape == (1, 3, frames, preprocess.image.height, preprocess.image.width)
    std = preprocess.image.std.view(1, 3, 1, 1, 1)
    assert float(((ours - theirs) * std).abs().max() * 255) <= WITHIN


def test_r3d_is_recorded_block_by_block_on_a_short_clip():
    loaded = load_model("torchvision:r3d_18", weights="random")
    assert loaded.info.name == "r3d_18_random"
    network = loaded.module.float()
    pixels = torch.rand(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    with DepthRecorder(network, loaded.layers) as rec, torch.no_grad():
        network(pixels)
        names, states = [layer.name for layer in rec.layers], rec.states
    with torch.no_grad():
        maps = network.layer1[0](network.stem(pixels))
    assert names == [f"layer{i}.{j}" for i in range(1, 5) for j in range(2)]
    torch.testing.assert_close(states[0], maps.mean((2, 3, 4)))
    assert [state.shape[1] for state in states] == [64, 64, 128, 128, 256, 256, 512, 512]


def test_the_tokens_of_mvit_are_recorded_and_not_their_grid():
    network = torchvision.models.video.MViT(
        spatial_size=(32, 32), temporal_size=4, residual_pool=True, residual_with_cls_embed=False,
        rel_pos_embed=True, proj_after_attn=True, num_classes=3,
        block_setting=[
            torchvision.models.video.mvit.MSBlockConfig(
                num_heads=1, input_channels=16, output_channels=16, kernel_q=[3, 3, 3], kernel_kv=[3, 3, 3],
                stride_q=[1, 1, 1], stride_kv=[1, 2, 2],
            )
            for _ in range(3)
        ],
    ).eval()  # fmt: skip
    pixels = torch.rand(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = []
    for block in network.blocks:
        block.register_forward_hook(lambda _, __, output: tokens.append(output[0]))
    with DepthRecorder(network) as rec, torch.no_grad():
        network(pixels)
        for state, kept in zip(rec.states, tokens, strict=True):
            torch.testing.assert_close(state, kept.mean(1))
    assert "r3d_18" in sources()["torchvision"].names()
