"""Image files as stimuli, read when asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from nfas_lightning.data.files import reading, require_file
from nfas_lightning.data.stimuli.stimulus_files import StimulusFiles
from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_count

_LARGEST = 8192  # pixels per side: 200 MB for each stimulus
_EIGHT_BITS = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}


def check_size(size: Any, name: str = "size") -> None:
    """Refuse a size in pixels that is neither None nor a whole number from 1 to `_LARGEST`."""
    if size is not None:
        check_count(name, size, 1, _LARGEST, unit="pixels")


class ImageFiles(StimulusFiles):
    """Image files as stimuli of `StimulusSet`: entry i is file i.

    Args:
        paths: the files, in the order of the responses.
        size: pixels of the square that each image is resized and cropped to, about its center; None: as it
            is, which needs files of one size or batches of one.
        in_order: see `StimulusFiles`.
    """

    suffixes = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
    kind = "image"

    def __init__(
        self, paths: Sequence[str | os.PathLike[str]], *, size: int | None = None, in_order: bool = False
    ) -> None:
        check_size(size)
        super().__init__(paths, in_order=in_order)
        self.size = size
        self.choices = f"images {size}"

    def __getitem__(self, index: int) -> Tensor:
        return read_image(self.paths[index], size=self.size)


def read_image(path: str | os.PathLike[str], *, size: int | None = None) -> Tensor:
    """Read an image file as (3, H, W) uint8, RGB, turned by its EXIF tag; gray is repeated.

    Args:
        path: PNG, JPEG or another format that Pillow reads, 8 bits per channel, opaque, one picture.
        size: pixels of the square that it is resized and cropped to, about its center; None: as it is.
    """
    path = require_file(path)
    errors = (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError)
    with reading(path, "a whole image file", *errors), Image.open(path) as image:
        if image.format == "EPS":  # a program, which another program would have to run
            raise InputError(f"{path} must hold pixels, got a drawing in PostScript: convert it first.")
        if image.mode not in _EIGHT_BITS:
            raise InputError(f"{path} must have 8 bits per channel, got mode {image.mode}: convert it first.")
        n_frames = getattr(image, "n_frames", 1)
        if n_frames > 1 and image.format != "MPO":  # phones add smaller copies to the picture
            raise InputError(f"{path} must hold one picture, got {n_frames} ({image.format}).")
        turned = ImageOps.exif_transpose(image)
    if turned.has_transparency_data and np.asarray(turned.convert("RGBA").getchannel("A")).min() < 255:
        raise InputError(
            f"{path} must be opaque, got transparent pixels: paste it on the background that was shown."
        )
    color = turned.convert("RGB")
    if size is not None:
        color = ImageOps.fit(color, (size, size), method=Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(color)).permute(2, 0, 1).contiguous()
