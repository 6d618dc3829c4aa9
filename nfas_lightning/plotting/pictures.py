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
_LARGEST = 16383  # pixels per side that WebP can hold


def check_formats(formats: Iterable[str]) -> tuple[str, ...]:
    """Return formats of figures, each once; one that is none of `FORMATS` is a ValueError.

    >>> check_formats(["pdf", "png", "pdf"])
    ('pdf', 'png')
    """
    given = (formats,) if isinstance(formats, str) else tuple(dict.fromkeys(formats))
    if unknown := [name for name in given if name not in FORMATS]:
        raise InputError(
            f"formats must be among {', '.join(map(repr, FORMATS))}, got {', '.join(map(repr, unknown))}."
        )
    return given


def save_figure(figure: Figure, path: Path, *, dpi: int = 200, formats: Iterable[str] = ()) -> Path:
    """Write a figure in the format of its suffix, and beside it in others; return where the first lies.

    Each file appears whole. Text stays text in PDF and SVG, to be edited and searched.

    Args:
        figure: what to write.
        path: where to.
        dpi: dots per inch; of the pictures inside, where the format is one of lines.
        formats: further ones, of `FORMATS`.
    """
    with mpl.rc_context(_EDITABLE):
        for file in dict.fromkeys([path, *(path.with_suffix(f".{name}") for name in check_formats(formats))]):
            kind = file.suffix.removeprefix(".")
            options: Any = {"dpi": dpi, "facecolor": "white", "metadata": _UNDATED.get(kind), "format": kind}
            write_whole(file, partial(figure.savefig, **options))
    return path


def embed(file: Path, *, shaded: bool = False) -> str:
    """Return a PNG file as the text of a ``src``, several times smaller than the file.

    Brain maps are `shaded`: they come as a photograph does. Charts keep every pixel, in 256 colors. What WebP
    can't hold stays PNG.
    """
    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    if not shaded:
        picture = picture.quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    options: dict[str, Any] = {"quality": 90} if shaded else {"lossless": True, "method": 1, "quality": 50}
    kind = "webp" if features.check("webp") and max(picture.size) <= _LARGEST else "png"
    written = BytesIO()
    if kind == "webp":
        picture.convert("RGB").save(written, kind, **options)
    else:
        picture.save(written, kind, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(written.getvalue()).decode('ascii')}"
