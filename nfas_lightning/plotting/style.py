"""One look for every figure: colors, markers, titles, names, the mark of simulated results.

Figures are built from `matplotlib.figure.Figure` objects, never through pyplot: no window, no global state,
and nothing left open when a run draws hundreds of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import wraps
from textwrap import fill
from typing import Any, NamedTuple, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, is_color_like, to_hex
from matplotlib.figure import Figure

from nfas_lightning.data.stimuli.stimulus_set import MODALITIES
from nfas_lightning.errors import InputError

__all__ = [
    "INK", "MARK", "MUTED", "PALETTE", "SEQUENTIAL", "SIMULATED", "GroupStyle", "finish", "format_p",
    "group_styles", "has_mark", "human", "is_simulated", "name_rows", "new_axes", "new_figure", "short_names",
    "styled", "text_size", "with_count", "wrapped",
]  # fmt: skip

INK = "#222222"
MUTED = "#767676"  # the lightest gray that still reads on white (contrast 4.5 to 1)
ALARM = "#B00020"
SIMULATED = "SIMULATED responses"
MARK: Any = {"fontsize": 12, "fontweight": "bold", "color": ALARM}

# Okabe & Ito (2008), told apart under the common color blindnesses; yellow is left out, unreadable on white
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#6A3D9A", "#8C510A")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_AXES_TITLE: Any = {"fontsize": 12, "fontweight": "bold", "color": INK}
_FULL = 0.88  # share of the axes' width that words may take: later panels may make them narrower
_LONGEST = 34  # characters of a name: more would leave a panel no room beside it

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
    groups: Iterable[str],
    colors: Mapping[str, Any] | None = None,
    *,
    among: Iterable[str] = (),
) -> dict[str, GroupStyle]:
    """Return one color and one marker per group; vision, audio and language always look the same.

    Args:
        groups: those that are drawn: modalities, families, ...
        colors: matplotlib colors of some of them, in place of their own.
        among: further groups that `colors` may name, though they are not drawn.

    Raises:
        ValueError: `colors` names an unknown group and leaves others without a color, which is what a slip
            looks like; or matplotlib does not know a color.

    >>> group_styles(["video", "audio"])["audio"].marker
    's'
    >>> group_styles(["audio", "vision"], {"audio": "black"})["audio"].color
    '#000000'
    """
    present = set(groups)
    given = {name: _hex(name, color) for name, color in (colors or {}).items()}
    known = present | set(among)
    unknown = [name for name in given if name not in known | set(MODALITIES)]
    if unknown and present - set(given):
        close = get_close_matches(str(unknown[0]), map(str, known), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(
            f"colors must be of the groups that there are, {sorted(map(str, known))}, got one for "
            f"{unknown[0]!r}.{hint}"
        )
    order = [*(MODALITIES if present & set(MODALITIES) else ()), *sorted(present - set(MODALITIES))]
    return {
        # many groups come round to the same color, under another marker
        name: GroupStyle(
            given.get(name, PALETTE[i % len(PALETTE)]), _MARKERS[(i + i // len(PALETTE)) % len(_MARKERS)]
        )
        for i, name in enumerate(order)
        if name in present
    }


def _hex(name: str, color: Any) -> str:
    if not is_color_like(color):
        raise InputError(
            f"colors must be colors of matplotlib, such as 'tab:red' or '#cc3311', got {color!r} for "
            f"{name!r}."
        )
    return to_hex(color)


def short_names(names: Iterable[object], longest: int = _LONGEST) -> list[str]:
    """Return names as a figure has room for them: long ones lose their middle.

    Names that would become the same stay whole. The report's tables have them whole.

    >>> short_names(["vit_base", "an_organization/its_very_long_model_name_large"], 24)
    ['vit_base', 'an_organizat…_name_large']
    """
    whole = [str(name) for name in names]
    head = longest // 2
    cut = {n: n if len(n) <= longest else f"{n[:head]}…{n[len(n) - (longest - head - 1) :]}" for n in whole}
    taken = Counter(cut.values())
    return [cut[name] if taken[cut[name]] == 1 else name for name in whole]


def is_simulated(table: pd.DataFrame) -> bool:
    """Whether any row of a scores table was computed on planted responses."""
    return "simulated" in table and bool(table["simulated"].any())


def has_mark(simulated: bool | None, *tables: pd.DataFrame) -> bool:
    """Whether a figure of these tables is to be marked as simulated.

    Args:
        simulated: what the caller says; None: what the first table with a column ``simulated`` says.
        tables: what is drawn.

    Raises:
        ValueError: neither says.
    """
    if simulated is not None:
        return simulated
    for table in tables:
        if "simulated" in table:
            return is_simulated(table)
    raise InputError(
        "simulated must be given, for this table does not say whether its responses were planted: pass "
        "simulated=results.simulated of the run that it is from."
    )


def new_figure(width: float, height: float) -> Figure:
    """Return an empty white figure of `width` x `height` inches that arranges its own panels."""
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def new_axes(ax: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """Return the figure and the axes to draw on: the caller's, or new ones of `width` x `height` inches."""
    if ax is None:
        figure = new_figure(width, height)
        return figure, figure.add_subplot()
    figure = ax.get_figure(root=True) if mpl.__version_info__ >= (3, 10) else ax.figure  # type: ignore[assignment]
    return figure, ax


def finish(
    figure: Figure,
    usual: str = "",
    *,
    title: str | None = None,
    simulated: bool = False,
    ax: Axes | None = None,
) -> Figure:
    """Set the title of a figure and, in its own line at the foot, the mark of simulated results.

    Args:
        figure: what has been drawn.
        usual: its title, unless `title` is given.
        title: what the caller wants instead; empty: no title.
        simulated: whether the mark is set.
        ax: the caller's axes, where these were drawn on: the title is then theirs, the figure is left alone,
            and `set_head` sets the mark.
    """
    title = usual if title is None else title
    if ax is not None:
        figure.draw_without_rendering()  # the layout decides how wide the axes are
        ax.set_title(wrapped(ax, title, 1.25 * _AXES_TITLE["fontsize"]), **_AXES_TITLE)  # bold is wider
        return figure
    if title:
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
    letters = max(int(len(text) * _FULL * ax.get_window_extent().width / width), 12)
    return "\n".join(fill(line, letters, break_long_words=False) for line in text.split("\n"))


def text_size(ax: Axes, text: str, fontsize: float) -> np.ndarray:
    """Return the width and the height in pixels of a text on these axes."""
    probe = ax.text(0, 0, text, fontsize=fontsize)
    box = probe.get_window_extent()
    probe.remove()
    return np.array([box.width, box.height])


def with_count(label: str, shown: int, total: int, what: str) -> str:
    """Return an axis label; where not all is shown, a line under it says so.

    Example:
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
    """Return a p value as papers write it: ``p = .034``, ``p < .001``; never ``p = 0``.

    >>> format_p(0.0342), format_p(0.0004)
    ('p = .034', 'p < .001')
    """
    if not math.isfinite(p):
        return "p not computed"
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".", 1)


def human(count: float | None) -> str:
    """Return a large number as one says it: ``"22.7 M"``.

    >>> human(22713216), human(1e9), human(None)
    ('22.7 M', '1 B', '–')
    """
    if count is None or pd.isna(count):
        return "–"
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{int(count)}"
