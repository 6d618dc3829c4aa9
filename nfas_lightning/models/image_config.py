"""What timm, torchvision and transformers write down about the images that a network reads, as ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from nfas_lightning.models.preprocess import ImagePreprocess

__all__ = ["processor_preprocess", "timm_config_preprocess", "torchvision_preprocess"]

_RESAMPLE = {1: "lanczos", 2: "bilinear", 3: "bicubic"}  # PIL's numbers
# a processor rounds to bytes after resizing; what is more than a few of their steps is another transform
_BYTES = 4.0


def timm_config_preprocess(config: Mapping[str, Any], size: tuple[int, int] | None = None) -> ImagePreprocess:
    """Return the preprocessing of timm's configuration of a network.

    Args:
        config: of ``timm.data.resolve_model_data_config``.
        size: height and width of a network that was built for another size than its configuration says.

    Raises:
        ValueError: it fits images into a border, which is not known here.
    """
    mode = config.get("crop_mode") or "center"
    if mode not in ("center", "squash"):
        raise ValueError(
            f"timm's configuration prepares images with crop_mode={mode!r}, expected 'center' or 'squash': "
            f"give a preprocess of your own."
        )
    return ImagePreprocess(
        size or tuple(config["input_size"][1:]),
        tuple(config["mean"]),
        tuple(config["std"]),
        crop_pct=config["crop_pct"],
        interpolation=config["interpolation"],
        resize="squash" if mode == "squash" else "cover",
    )


def torchvision_preprocess(transform: Any) -> ImagePreprocess:
    """Return the preprocessing of the ``transforms()`` of weights of torchvision for classification."""
    return ImagePreprocess(
        transform.crop_size[0],
        tuple(transform.mean),
        tuple(transform.std),
        interpolation=transform.interpolation.value,
        resize=transform.resize_size[0],
    )


def processor_preprocess(processor: Any) -> ImagePreprocess:
    """Return the preprocessing of an image processor of transformers, compared with it on an oblong image.

    Raises:
        ValueError: the processor does something that is not known here.
    """
    kind = type(processor).__name__
    size, crop = (_sides(getattr(processor, name, None)) for name in ("size", "crop_size"))
    resize: int | tuple[int, int]
    if "shortest_edge" in size and "longest_edge" not in size:
        resize = size["shortest_edge"]
    elif {"height", "width"} <= set(size):
        resize = (size["height"], size["width"])
    else:
        raise _unknown(kind, f"size={size}")
    if not getattr(processor, "do_resize", True):
        raise _unknown(kind, "do_resize=False")
    final = (resize, resize) if isinstance(resize, int) else resize
    if (share := getattr(processor, "crop_pct", None)) and isinstance(resize, int):
        # networks that were trained with timm's way: a crop at small sizes, none at large ones
        resize = int(resize / share) if resize < 384 else final
    elif getattr(processor, "do_center_crop", False) and crop:
        final = (crop["height"], crop["width"])
    elif isinstance(resize, int):
        raise _unknown(kind, f"size={size} without a crop, so that images keep their proportions")
    normalizes = getattr(processor, "do_normalize", False)
    rescale = processor.rescale_factor if getattr(processor, "do_rescale", True) else 1.0
    preprocess = ImagePreprocess(
        final,
        tuple(processor.image_mean) if normalizes else (0.0,) * 3,
        tuple(processor.image_std) if normalizes else (1.0,) * 3,
        interpolation=_RESAMPLE.get(int(processor.resample), "bicubic"),
        channel_order="bgr" if getattr(processor, "do_flip_channel_order", False) else "rgb",
        scale=255 * rescale,
        resize=resize,
        crop_rounding="down",
    )
    _compare(processor, preprocess)
    return preprocess


def _sides(size: Any) -> dict[str, int]:
    return {key: value for key, value in dict(size or {}).items() if value is not None}


def _unknown(kind: str, what: str) -> ValueError:
    return ValueError(
        f"{kind} prepares images in a way that is not known here ({what}). Load the network yourself and "
        f"give FrozenModel the module and a preprocess."
    )


def _compare(processor: Any, preprocess: ImagePreprocess) -> None:
    """Prepare one oblong image both ways: processors have steps of their own, which no field tells."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 60), torch.linspace(0, 1, 90), indexing="ij")
    image = torch.stack([rows, columns, (rows - columns).abs()]).mul(255).byte()
    theirs = processor(images=image, return_tensors="pt")["pixel_values"]
    ours = preprocess({"image": image[None] / 255}).args[0][0]
    if theirs.numel() == ours.numel():
        step = preprocess.scale / 255 / float(preprocess.std.min())
        if bool((theirs.reshape(ours.shape) - ours).abs().max() <= _BYTES * step):
            return
    raise _unknown(type(processor).__name__, "its pixels differ from those of its own settings")
