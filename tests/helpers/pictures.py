"""Pictures, and how far our preprocessing of them is from that of another library."""

from __future__ import annotations

import numpy as np
import torch

from nfas_lightning.models import ClipPreprocess
from nfas_lightning.models.zoo.architecture import build_preprocess
from nfas_lightning.models.zoo.registry import zoo

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
    """What a preprocessing does with each image."""
    return preprocess.image if isinstance(preprocess, ClipPreprocess) else preprocess


def steps_apart(preprocess, theirs, shape):
    """The greatest difference, in steps of 1/255 before normalization; sizes must be equal."""
    tensor = torch.from_numpy(picture(shape)).permute(2, 0, 1)
    ours = preprocess({"image": tensor[None] / 255}).args[0]
    theirs = theirs.reshape(ours.shape)
    return float((((ours - theirs) * preprocess.std.view(3, 1, 1)).abs() * 255 / preprocess.scale).max())


def entry_preprocess(name):
    """The image part that the zoo states for an entry."""
    return image_part(build_preprocess(IMAGE_ENTRIES[name].preprocessing, lambda: None))
