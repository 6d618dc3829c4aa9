"""Images against the preprocessing of timm, torchvision and transformers, for every entry that reads images.

Theirs work on bytes and ours on floats: they round after resizing, tensors once and Pillow once along each
axis, so that values differ by about one step of 1/255. Sizes and crops are exact: one pixel more or less in
the resized image would differ by tens of steps. Where bicubic interpolation overshoots black or white, theirs
differ from one another (in which axis is resized, and clamped, first), so the pictures stay clear of both.
"""

import numpy as np
import pytest
import torch
from PIL import Image

from nfas_lightning.models import ClipPreprocess
from nfas_lightning.models.image_config import (
    processor_preprocess,
    timm_config_preprocess,
    torchvision_preprocess,
)
from nfas_lightning.models.preprocess import ImagePreprocess
from nfas_lightning.models.zoo.preprocess import build_preprocess
from nfas_lightning.models.zoo.registry import zoo
from nfas_lightning.packaged_models.vision_table import VISION_MODELS

timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")
transformers = pytest.importorskip("transformers")

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


@pytest.mark.parametrize("name", list(PROCESSORS))
def test_entries_of_transformers_equal_their_processor(name):
    kind, settings = PROCESSORS[name]
    processor = getattr(transformers, kind)(**settings)
    entry, read = entry_preprocess(name), processor_preprocess(processor)
    for shape in SHAPES:
        theirs = processor(images=picture(shape), return_tensors="pt")["pixel_values"]
        assert steps_apart(entry, theirs, shape) <= WITHIN, shape
        assert steps_apart(read, theirs, shape) <= WITHIN, shape


def test_smolvlm_squashes_as_its_processor_does():
    """Its processor enlarges to 2048 pixels first, for the tiles, which changes the whole image little."""
    processor = transformers.Idefics3ImageProcessor(
        size={"longest_edge": 2048}, max_image_size={"longest_edge": 512}, do_image_splitting=False, **HALF
    )
    once = transformers.SiglipImageProcessor(size={"height": 512, "width": 512}, resample=1, **HALF)
    preprocess, shape = entry_preprocess("smolvlm_256m_vision"), (249, 333)
    assert (
        steps_apart(preprocess, once(images=picture(shape), return_tensors="pt")["pixel_values"], shape)
        <= 1.3
    )
    ours = preprocess({"image": torch.from_numpy(picture(shape)).permute(2, 0, 1)[None] / 255}).args[0]
    theirs = processor(images=picture(shape), return_tensors="pt")["pixel_values"][0]
    assert float((ours - theirs).abs().mean() * 0.5 * 255) < 1  # on average, in steps


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (
            "DeiTImageProcessor",
            {"size": {"height": 80, "width": 80}, "crop_size": {"height": 64, "width": 63}},
        ),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 64}}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
        (
            "MobileViTImageProcessor",
            {"size": {"shortest_edge": 70}, "crop_size": {"height": 64, "width": 64}},
        ),
        ("ViTImageProcessor", {"size": {"height": 40, "width": 64}, "resample": 1}),
        ("ViTImageProcessor", {"size": {"height": 40, "width": 40}, "do_rescale": False}),
    ],
)
def test_other_processors(kind, settings):
    processor = getattr(transformers, kind)(**settings)
    preprocess = processor_preprocess(processor)
    for shape in [(80, 80), (81, 113), (113, 80)]:
        theirs = processor(images=picture(shape), return_tensors="pt")["pixel_values"]
        assert steps_apart(preprocess, theirs, shape) <= WITHIN, shape


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("ViTImageProcessor", {"do_resize": False}, "do_resize=False"),
        ("Idefics3ImageProcessor", {}, "size={'longest_edge': 1456}"),
        ("DetrImageProcessor", {}, "longest_edge"),
        ("ViTImageProcessor", {"size": {"shortest_edge": 64}}, "without a crop"),
        ("EfficientNetImageProcessor", {"include_top": True}, "its pixels differ"),
    ],
)
def test_processors_that_are_not_known_are_refused(kind, settings, said):
    with pytest.raises(ValueError, match=f"{kind} prepares images in a way that is not known") as caught:
        processor_preprocess(getattr(transformers, kind)(**settings))
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "efficientnet_b1", "swin_t"])
def test_torchvision_models_equal_their_transform(name):
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    preprocess = torchvision_preprocess(transform)
    for shape in SHAPES:
        theirs = transform(Image.fromarray(picture(shape)))
        assert steps_apart(preprocess, theirs, shape) <= WITHIN, shape


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_packaged_efficientnets_equal_timms_transform(variant):
    builder = next(m.builder for m in VISION_MODELS if m.name == f"efficientnet_lite{variant}")
    card = timm.get_pretrained_cfg(f"tf_efficientnet_lite{variant}").to_dict()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=card))
    preprocess = builder(lambda name: None, False).preprocess
    assert steps_apart(preprocess, transform(Image.fromarray(picture((249, 333)))), (249, 333)) <= WITHIN


def test_resize_says_what_it_can_take():
    for resize, said in (
        (20, "must cover the 24 x 30 pixels"),
        ((24, 29), "must cover"),
        ("fit", "must be one"),
    ):
        with pytest.raises(ValueError, match=said):
            ImagePreprocess((24, 30), (0.5,) * 3, (0.5,) * 3, resize=resize)
    with pytest.raises(ValueError, match="resize in pixels or crop_pct"):
        ImagePreprocess(24, (0.5,) * 3, (0.5,) * 3, resize=30, crop_pct=0.8)
