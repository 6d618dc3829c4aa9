"""Figures as the report's page carries them: as small as the eye allows, while the files stay as drawn."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

from PIL import Image, features

__all__ = ["embed"]

_COLORS = 256  # of a chart: hardly a pixel is off by more than a few of 255 levels
_MAP_DPI = 150  # of shaded surfaces, shown at 100: they have no fine lines
_MAP_QUALITY = 90
_LARGEST = 16383  # pixels a side that WebP can hold


def embed(file: Path, *, dpi: int, shaded: bool = False) -> str:
    """Return a PNG file as the text of a ``src``, several times smaller than the file.

    Charts keep their resolution and lose colors that nobody tells apart, without loss after that; shaded
    pictures (brain maps) come at fewer dots an inch and as a photograph does. A picture that WebP can't hold,
    or a Pillow that can't write it, makes a PNG of few colors.

    Args:
        file: the picture.
        dpi: dots per inch of the file.
        shaded: whether it has smooth shades rather than lines and areas.
    """
    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    if shaded and dpi > _MAP_DPI:
        size = (round(side * _MAP_DPI / dpi) for side in picture.size)
        picture = picture.resize((next(size), next(size)), Image.Resampling.LANCZOS)
    if not features.check("webp") or max(picture.size) > _LARGEST:
        return _source(_few_colors(picture), "png", optimize=True)
    if shaded:
        return _source(picture, "webp", quality=_MAP_QUALITY)
    return _source(_few_colors(picture).convert("RGB"), "webp", lossless=True, method=1, quality=50)


def _few_colors(picture: Image.Image) -> Image.Image:
    method, dither = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
    return picture.quantize(_COLORS, method=method, dither=dither)


def _source(picture: Image.Image, kind: str, **options: object) -> str:
    written = BytesIO()
    picture.save(written, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(written.getvalue()).decode('ascii')}"
