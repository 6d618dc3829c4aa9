"""One look for every figure: colors, markers, titles, names, the mark of simulated results.

Figures are `matplotlib.figure.Figure` objects, never pyplot's: no window, no global state.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from io import BytesIO
from textwrap import fill
from typing import Any, NamedTuple, ParamSpec, TypedDict, TypeVar

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, is_color_like, to_hex
from matplotlib.figure import Figure

from nfas_lightning.data.stimuli.stimulus_set import MODALITIES
from nfas_lightning.errors import InputError, nearest

__all__ = [
    "INK", "MARK", "MUTED", "PALETTE", "SEQUENTIAL", "SIMULATED", "SYMBOLS", "GroupStyle", "Look", "finish",
    "format_p", "group_styles", "has_mark", "human", "is_simulated", "name_rows", "new_axes", "new_figure",
    "short_names", "styled", "text_size", "with_count", "wrapped",
]  # fmt: skip

INK = "#222222"
MUTED = "#767676"  # the lightest gray that still reads on white (contrast 4.5 to 1)
SIMULATED = "SIMULATED responses"
MARK: Any = {"fontsize": 12, "fontweight": "bold", "color": "#B00020"}

# Okabe & Ito (2008), told apart under the common color blindnesses; yellow is left out, unreadable on white
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#6A3D9A", "#8C510A")
SYMBOLS = {
    "o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross",
    "X": "x", "<": "triangle-left", ">": "triangle-right",
}  # fmt: skip
"""matplotlib's markers of groups, in order, and what Plotly calls them."""
_MARKERS = tuple(SYMBOLS)

# light means little, dark means much: the reading that a white page suggests
SEQUENTIAL = LinearSegmentedColormap.from_list(
    "nfas", ["#f4f1e6", "#c9dfc8", "#74b8b6", "#2c7fa6", "#254b87", "#1b1f4b"]
).with_extremes(bad="#ffffff")

_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 12,
    "text.parse_math": False,  # a model may be called a$b: names are shown as they are
    "axes.titlesize": 13,
    "axes.labelsize": 12,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "grid.color": "#e3e3e3",
    "legend.frameon": False,
    "legend.fontsize": 11,
}

P = ParamSpec("P")
T = TypeVar("T")


class Look(TypedDict, total=False):
    """Options of every figure.

    A color for an unknown group is an error, and so is a figure without `simulated` whose tables do not say
    whether responses were planted.

    Attributes:
        title: in place of the usual one; ``""``: none.
        colors: matplotlib colors by group; groups that it does not name keep theirs.
        simulated: mark the figure as drawn from planted responses.
    """

    title: str | None
    colors: Mapping[str, Any] | None
    simulated: bool | None


class GroupStyle(NamedTuple):
    """Color and marker of a group of models, the same on every figure."""

    color: str
    marker: str


def styled(function: Callable[P, T]) -> Callable[P, T]:
    """Draw under the look of all figures and leave the caller's matplotlib settings as they were."""

    @wraps(function)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> T:
        with mpl.rc_context(_RC):
            return function(*args, **kwargs)

    return drawn


def group_styles(
    groups: Iterable[str], look: Look | None = None, *, among: Iterable[str] = ()
) -> dict[str, GroupStyle]:
    """Return one color and one marker per group; vision, audio and language always look the same.

    Args:
        groups: those that are drawn.
        look: may hold ``colors``.
        among: groups that `colors` may name besides.

    >>> group_styles(["video", "audio"])["audio"].marker
    's'
    """
    present = set(groups)
    given = (look or {}).get("colors") or {}
    known = present | set(among)
    unknown = [name for name in given if name not in known | set(MODALITIES)]
    # where every group has a color, one mapping serves several figures
    if unknown and present - set(given):
        raise InputError(
            f"colors must be of the groups that there are, {sorted(map(str, known))}, got one for "
            f"{unknown[0]!r}.{nearest(str(unknown[0]), map(str, known))}"
        )
    for name, color in given.items():
        if not is_color_like(color):
            raise InputError(
                f"colors must be colors of matplotlib, such as 'tab:red', got {color!r} for {name!r}."
            )
    order = [*(MODALITIES if present & set(MODALITIES) else ()), *sorted(present - set(MODALITIES))]
    return {
        # many groups come round to the same color, under another marker
        name: GroupStyle(
            to_hex(given.get(name, PALETTE[i % len(PALETTE)])),
            _MARKERS[(i + i // len(PALETTE)) % len(_MARKERS)],
        )
        for i, name in enumerate(order)
        if name in present
    }


def short_names(names: Iterable[object], longest: int = 34) -> list[str]:
    """Return names as a figure has room for them: long ones lose their middle, if they stay different.

    >>> short_names(["vit_base", "an_organization/its_very_long_model_name_large"], 24)
    ['vit_base', 'an_organizat…_name_large']
    """
    whole = [str(name) for name in names]
    head = longest // 2
    cut = {n: n if len(n) <= longest else f"{n[:head]}…{n[len(n) - (longest - head - 1) :]}" for n in whole}
    taken = Counter(cut.values())
    return [cut[name] if taken[cut[name]] == 1 else name for name in whole]


def is_simulated(table: pd.DataFrame) -> bool:
    """Whether any row of a table was computed on planted responses."""
    return "simulated" in table and bool(table["simulated"].any())


def has_mark(look: Look, *tables: pd.DataFrame) -> bool:
    """Whether a figure is to be marked as simulated: as `look` or the first table that knows has it."""
    if (told := look.get("simulated")) is not None:
        return told
    for table in tables:
        if "simulated" in table:
            return is_simulated(table)
    raise InputError(
        "simulated must be given, for this table does not say whether its responses were planted: pass "
        "simulated=results.simulated of the run that it is from."
    )


class _Shown(Figure):
    """A figure that a notebook shows by itself: matplotlib's own needs ``%matplotlib inline`` first."""

    __module__ = Figure.__module__  # Weights & Biases tells a figure by it

    def _repr_png_(self) -> bytes:
        picture = BytesIO()
        self.savefig(picture, format="png", dpi=self.dpi)
        return picture.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """Return an empty white figure of `width` x `height` inches that arranges its own panels."""
    figure = _Shown(figsize=(width, height), dpi=100, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def new_axes(ax: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """Return the figure and the axes to draw on: the caller's, or new ones of `width` x `height` inches."""
    if ax is None:
        figure = new_figure(width, height)
        return figure, figure.add_subplot()
    figure = ax.get_figure(root=True) if mpl.__version_info__ >= (3, 10) else ax.figure  # type: ignore[assignment]
    return figure, ax


def finish(figure: Figure, usual: str, look: Look, *, simulated: bool) -> Figure:
    """Set a figure's title, `usual` unless `look` has one, and at its foot the mark of simulated results."""
    title = look.get("title")
    if title := usual if title is None else title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=15, fontweight="bold", color=INK)
    if simulated:
        # an axis label rather than loose text: the layout keeps room for it, so it never covers data
        figure.supxlabel(SIMULATED, x=0.99, ha="right", **MARK)
    return figure


def wrapped(ax: Axes, text: str, fontsize: float) -> str:
    """Break a text into lines that are no wider than the axes."""
    if not text:
        return text
    text = text.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")  # a number stays with its letter
    width = text_size(ax, text.replace("\n", " "), fontsize)[0]
    # not all of the width: panels that come later may make the axes narrower
    letters = max(int(len(text) * 0.88 * ax.get_window_extent().width / width), 12)
    return "\n".join(fill(line, letters, break_long_words=False) for line in text.split("\n"))


def text_size(ax: Axes, text: str, fontsize: float) -> np.ndarray:
    """Return the width and the height in pixels of a text on these axes."""
    probe = ax.text(0, 0, text, fontsize=fontsize)
    box = probe.get_window_extent()
    probe.remove()
    return np.array([box.width, box.height])


def with_count(label: str, shown: int, total: int, what: str) -> str:
    """Return an axis label; where not all is shown, a line under it says so.

    >>> with_count("r", 30, 33, "ROIs").splitlines()
    ['r', 'the 30 highest of 33 ROIs']
    """
    return label if shown >= total else f"{label}\nthe {shown} highest of {total} {what}".lstrip("\n")


def name_rows(ax: Axes, names: Iterable[object], colors: Sequence[str], *, lift: float = 0.0) -> None:
    """Name the rows of axes, 0, 1, ... and `lift` higher, each in the color of its group."""
    ax.set_yticks([row + lift for row in range(len(colors))], short_names(names))
    for tick, color in zip(ax.get_yticklabels(), colors, strict=True):
        tick.set_color(color)


def format_p(p: float) -> str:
    """Return a p value as papers write it.

    >>> format_p(0.0342), format_p(0.0004)
    ('p = .034', 'p < .001')
    """
    if not math.isfinite(p):
        return "p not computed"
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".", 1)


def human(count: float | None) -> str:
    """Return a large number as one says it.

    >>> human(22713216), human(1e9), human(None)
    ('22.7 M', '1 B', '–')
    """
    if count is None or pd.isna(count):
        return "–"
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{int(count)}"
