"""One look for every figure: colors, markers, titles, legends, the mark of simulated results.

Figures are built from `matplotlib.figure.Figure` objects, never through pyplot: no window, no global state,
and nothing left open when a run draws hundreds of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial, wraps
from pathlib import Path
from textwrap import fill
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar, get_args

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, is_color_like, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nfas_lightning.data.stimuli.stimulus_set import MODALITIES
from nfas_lightning.plotting.labels import text_size
from nfas_lightning.writing import write_whole

__all__ = [
    "FORMATS", "INK", "MUTED", "PALETTE", "RC", "SEQUENTIAL", "SIMULATED", "ModalityStyle", "check_formats",
    "finish", "foot_legend", "has_mark", "head_legend", "is_simulated", "keep_clear", "legend_columns",
    "modality_handles", "modality_styles", "new_axes", "new_figure", "save_figure",
    "short_names", "styled", "with_count", "wrapped",
]  # fmt: skip

INK = "#222222"
MUTED = "#767676"  # the lightest gray that still reads on white (contrast 4.5 to 1)
ALARM = "#B00020"
SIMULATED = "SIMULATED responses"
_MARK: Any = {"fontsize": 12, "fontweight": "bold", "color": ALARM}

# Okabe & Ito (2008), told apart under the common color blindnesses; yellow is left out, unreadable on white
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#6A3D9A", "#8C510A")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_AXES_TITLE: Any = {"fontsize": 12, "fontweight": "bold", "color": INK}
_FULL = 0.88  # share of the axes' width that words may take: later panels may make them narrower
_MOST_CLEAR = 0.6  # share of small axes that a legend may take
_LONGEST = 34  # characters of a name: more would leave a panel no room beside it

# light means little, dark means much: the reading that a white page suggests
SEQUENTIAL = LinearSegmentedColormap.from_list(
    "nfas", ["#f4f1e6", "#c9dfc8", "#74b8b6", "#2c7fa6", "#254b87", "#1b1f4b"]
).with_extremes(bad="#ffffff")

RC: Any = {
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

Format = Literal["png", "pdf", "svg"]
FORMATS: tuple[Format, ...] = get_args(Format)
"""What figures can be saved as."""

_EDITABLE: Any = {
    "pdf.fonttype": 42,  # TrueType: the default's outlines can't be edited, and some journals refuse them
    "svg.fonttype": "none",
    "svg.hashsalt": "nfas",  # ids that are not random: the same results write the same file
}
_UNDATED: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}

P = ParamSpec("P")
T = TypeVar("T")


class ModalityStyle(NamedTuple):
    """Color and marker of a modality, the same on every figure."""

    color: str
    marker: str


def styled(function: Callable[P, T]) -> Callable[P, T]:
    """Draw under `RC` and leave the caller's matplotlib settings as they were."""

    @wraps(function)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> T:
        with mpl.rc_context(RC):
            return function(*args, **kwargs)

    return drawn


def modality_styles(
    modalities: Iterable[str],
    colors: Mapping[str, Any] | None = None,
    *,
    among: Iterable[str] = (),
) -> dict[str, ModalityStyle]:
    """Return a color and a marker a modality; vision, audio and language always look the same.

    Args:
        modalities: those that are drawn, or other groups.
        colors: matplotlib colors of some of them, in place of their own.
        among: further groups that may have a color, though they are not drawn.

    Raises:
        ValueError: a color for a group that there is not while others are left without one, which is what a
            slip looks like, or one that matplotlib does not know.

    >>> modality_styles(["video", "audio"])["audio"].marker
    's'
    >>> modality_styles(["audio", "vision"], {"audio": "black"})["audio"].color
    '#000000'
    """
    present = set(modalities)
    given = {name: _hex(name, color) for name, color in (colors or {}).items()}
    known = present | set(among)
    unknown = [name for name in given if name not in known | set(MODALITIES)]
    if unknown and present - set(given):
        close = get_close_matches(str(unknown[0]), map(str, known), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"colors must be of the groups that there are, {sorted(map(str, known))}, got one for "
            f"{unknown[0]!r}.{hint}"
        )
    order = [*(MODALITIES if present & set(MODALITIES) else ()), *sorted(present - set(MODALITIES))]
    return {
        # many groups come round to the same color, under another marker
        name: ModalityStyle(
            given.get(name, PALETTE[i % len(PALETTE)]), _MARKERS[(i + i // len(PALETTE)) % len(_MARKERS)]
        )
        for i, name in enumerate(order)
        if name in present
    }


def _hex(name: str, color: Any) -> str:
    if not is_color_like(color):
        raise ValueError(
            f"colors must be colors of matplotlib, such as 'tab:red' or '#cc3311', got {color!r} for "
            f"{name!r}."
        )
    return to_hex(color)


def legend_columns(names: Iterable[str], width: float) -> int:
    """Return how many columns of a legend fit beside each other.

    Args:
        names: what the legend names.
        width: inches that there are.
    """
    longest = max(map(len, names), default=0)
    return max(1, min(int(width / (0.65 + 0.095 * longest)), sum(1 for _ in names)))


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


def modality_handles(styles: dict[str, ModalityStyle]) -> list[Line2D]:
    """Return legend entries, one a modality."""
    return [
        Line2D([], [], color=style.color, marker=style.marker, linestyle="", markersize=9, label=name)
        for name, style in styles.items()
    ]


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
    raise ValueError(
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
            and `head_legend` has set the mark.
    """
    title = usual if title is None else title
    if ax is not None:
        figure.draw_without_rendering()  # the layout decides how wide the axes are
        ax.set_title(wrapped(ax, title, 1.15 * _AXES_TITLE["fontsize"]), **_AXES_TITLE)  # bold is wider
        return figure
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=15, fontweight="bold", color=INK)
    if simulated:
        # an axis label rather than loose text: the layout keeps room for it, so it never covers data
        figure.supxlabel(SIMULATED, x=0.99, ha="right", **_MARK)
    return figure


def foot_legend(figure: Figure, handles: Sequence[Line2D], *, simulated: bool) -> None:
    """Put a legend at the foot of a figure, in as many columns as leave the mark of `finish` its room.

    The layout keeps one band for both: it would draw a wide legend and the mark over each other.
    """
    room = figure.bbox.width - 0.3 * figure.dpi
    if simulated:
        probe = figure.text(0, 0, SIMULATED, **_MARK)
        room -= probe.get_window_extent().width
        probe.remove()
    for columns in range(len(handles), 0, -1):
        legend = figure.legend(handles=list(handles), loc="outside lower left", ncols=columns)
        if columns == 1 or legend.get_window_extent().width <= room:
            return
        legend.remove()


def head_legend(
    ax: Axes,
    handles: Sequence[Line2D],
    *,
    inside: bool,
    simulated: bool,
    columns: int,
    note: str = "",
    notesize: float = 11,
    **options: Any,
) -> float:
    """Put a legend at the head of axes, above them or inside.

    Args:
        ax: the axes.
        handles: entries; none: no legend.
        inside: the axes are the caller's: what stands above them would cover or be covered. The legend then
            takes as many columns as fit, and the mark of simulated results stands over it.
        simulated: whether the mark is set; `finish` does so where the axes are not the caller's.
        columns: of a legend above the axes.
        note: title of the legend.
        notesize: its size in points.
        options: of ``ax.legend``.

    Returns:
        Height in pixels that is taken of the inside, for `keep_clear`.
    """
    look: Any = {"alignment": "left", "title_fontsize": notesize, "handletextpad": 0.2} | options
    if not inside:
        if handles:
            place: Any = {"loc": "lower left", "bbox_to_anchor": (0, 1)}
            ax.legend(handles=list(handles), ncols=columns, title=note, **place, **look)
        return 0.0
    # grid lines would run through its words
    look |= {"borderaxespad": 0.3, "frameon": True, "facecolor": "white", "edgecolor": "none"}
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]  # the layout decides how large they are
    frame, taken = ax.get_window_extent(), 0.0
    if simulated:
        mark = ax.annotate(
            SIMULATED, (1, 1), xycoords="axes fraction", xytext=(-4, -4), textcoords="offset points",
            ha="right", va="top", zorder=6, **_MARK | {"fontsize": 10},
        )  # fmt: skip
        taken = frame.y1 - mark.get_window_extent().y0
    for n in range(len(handles), 0, -1):
        legend = ax.legend(
            handles=list(handles), loc="upper left", bbox_to_anchor=(0, 1 - taken / frame.height), ncols=n,
            title=wrapped(ax, note, notesize), **look,
        )  # fmt: skip
        box = legend.get_window_extent()
        if n == 1 or box.width <= 0.97 * frame.width:
            return float(frame.y1 - box.y0) + 0.4 * notesize  # and a little air
    return taken


def keep_clear(ax: Axes, pixels: float) -> None:
    """Extend the linear vertical axis so that so many pixels at the top hold no data."""
    if pixels > 0:
        share = min(pixels / ax.get_window_extent().height, _MOST_CLEAR)
        bottom, top = ax.get_ylim()
        ax.set_ylim(bottom, bottom + (top - bottom) / (1 - share))


def wrapped(ax: Axes, text: str, fontsize: float) -> str:
    """Break a text into lines that are no wider than the axes."""
    if not text:
        return text
    text = text.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")  # a number stays with its letter
    width = text_size(ax, text.replace("\n", " "), fontsize)[0]
    letters = max(int(len(text) * _FULL * ax.get_window_extent().width / width), 12)
    return "\n".join(fill(line, letters, break_long_words=False) for line in text.split("\n"))


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
        raise ValueError(
            f"formats must be among {', '.join(map(repr, FORMATS))}, got {', '.join(map(repr, unknown))}."
        )
    return given


def with_count(label: str, shown: int, total: int, what: str) -> str:
    """Return an axis label; where not all is shown, a line under it says so.

    Example:
        >>> with_count("r", 30, 33, "ROIs").splitlines()
        ['r', 'the 30 highest of 33 ROIs']
    """
    return label if shown >= total else f"{label}\nthe {shown} highest of {total} {what}".lstrip("\n")


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
