"""Figures as files, and as the report's page carries them."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, get_args

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image, features

from nfas_lightning.errors import InputError
from nfas_lightning.writing import write_whole

__all__ = ["FORMATS", "check_formats", "embed", "save_figure"]

Format = Literal["png", "pdf", "svg"]
FORMATS: tuple[Format, ...] = get_args(Format)
"""What figures can be saved as."""

_EDITABLE: Any = {
    "pdf.fonttype": 42,  # TrueType: the default's outlines can't be edited, and some journals refuse them
    "svg.fonttype": "none",
    "svg.hashsalt": "nfas",  # ids that are not random: the same results write the same file
}
_UNDATED: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
_COLORS = 256  # of a chart: hardly a pixel is off by more than a few of 255 levels
_MAP_DPI = 150  # of shaded surfaces, shown at 100: they have no fine lines
_MAP_QUALITY = 90
_LARGEST = 16383  # pixels a side that WebP can hold


def check_formats(formats: Iterable[str]) -> tuple[str, ...]:
    """Return formats of figures, each once.

    Raises:
        ValueError: one that is none of `FORMATS`.

    >>> check_formats(["pdf", "png", "pdf"])
    ('pdf', 'png')
    """
    given = (formats,) if isinstance(formats, str) else tuple(dict.fromkeys(formats))
    unknown = [name for name in given if name not in FORMATS]
    if unknown:
        raise InputError(
            f"formats must be among {', '.join(map(repr, FORMATS))}, got {', '.join(map(repr, unknown))}."
        )
    return given


def save_figure(figure: Figure, path: Path, *, dpi: int = 200, formats: Iterable[str] = ()) -> Path:
    """Write a figure in the format of its suffix, and beside it in others; return where the first lies.

    Each file appears whole: of two processes that draw into one folder neither reads half a picture.

    Text stays text in PDF and SVG, to be edited and searched.

    Args:
        figure: what to write.
        path: where to.
        dpi: dots per inch; of the pictures inside, where the format is one of lines.
        formats: further ones, of `FORMATS`.

    Raises:
        ValueError: an unknown format.
    """
    files = dict.fromkeys([path, *(path.with_suffix(f".{name}") for name in check_formats(formats))])
    with mpl.rc_context(_EDITABLE):
        for file in files:
            kind = file.suffix.removeprefix(".")
            options: dict[str, Any] = {
                "dpi": dpi,
                "facecolor": "white",
                "metadata": _UNDATED.get(kind),
                "format": kind,
            }
            write_whole(file, partial(figure.savefig, **options))
    return path


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
