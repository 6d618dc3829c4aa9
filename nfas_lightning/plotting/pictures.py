"""Figures as files."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import matplotlib as mpl
from matplotlib.figure import Figure

from nfas_lightning.errors import InputError
from nfas_lightning.writing import write_whole

__all__ = ["FORMATS", "check_formats", "save_figure"]

Format = Literal["png", "pdf", "svg"]
FORMATS: tuple[Format, ...] = get_args(Format)
"""What figures can be saved as."""

_EDITABLE: Any = {
    "pdf.fonttype": 42,  # TrueType: the default's outlines can't be edited, and some journals refuse them
    "svg.fonttype": "none",
    "svg.hashsalt": "nfas",  # ids that are not random: the same results write the same file
}
_UNDATED: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}


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
