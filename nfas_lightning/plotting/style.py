"""One look for every figure: colours, markers, the mark of simulated results, labels that keep apart.

Figures are built from `matplotlib.figure.Figure` objects, never through pyplot: no window, no global state,
and nothing left open when a run draws hundreds of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar, get_args

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nfas_lightning.data.stimulus_set import MODALITIES

__all__ = [
    "FORMATS", "INK", "MUTED", "PALETTE", "RC", "SEQUENTIAL", "SIMULATED", "ModalityStyle", "check_formats",
    "finish", "foot_legend", "has_mark", "is_simulated", "legend_columns", "modality_handles",
    "modality_styles", "new_axes", "new_figure", "place_labels", "save_figure", "short_names", "styled",
]  # fmt: skip

INK = "#222222"
MUTED = "#767676"  # the lightest grey that still reads on white (contrast 4.5 to 1)
ALARM = "#B00020"
SIMULATED = "SIMULATED responses"
_MARK: Any = {"fontsize": 12, "fontweight": "bold", "color": ALARM}

# Okabe & Ito (2008), told apart under the common colour blindnesses; yellow is left out, unreadable on white
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#6A3D9A", "#8C510A")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
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
    """Colour and marker of a modality, the same on every figure."""

    color: str
    marker: str


def styled(function: Callable[P, T]) -> Callable[P, T]:
    """Draw under `RC` and leave the caller's matplotlib settings as they were."""

    @wraps(function)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> T:
        with mpl.rc_context(RC):
            return function(*args, **kwargs)

    return drawn


def modality_styles(modalities: Iterable[str]) -> dict[str, ModalityStyle]:
    """Return a colour and a marker a modality; vision, audio and language always look the same.

    >>> modality_styles(["video", "audio"])["audio"].marker
    's'
    """
    present = set(modalities)
    order = [*(MODALITIES if present & set(MODALITIES) else ()), *sorted(present - set(MODALITIES))]
    return {
        # many groups come round to the same colour, under another marker
        name: ModalityStyle(PALETTE[i % len(PALETTE)], _MARKERS[(i + i // len(PALETTE)) % len(_MARKERS)])
        for i, name in enumerate(order)
        if name in present
    }


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

    >>> short_names(["vit_base", "an_organisation/its_very_long_model_name_large"], 24)
    ['vit_base', 'an_organisat…_name_large']
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


def finish(figure: Figure, title: str = "", *, simulated: bool = False) -> Figure:
    """Set the title of a figure and, in its own line at the foot, the mark of simulated results."""
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


def save_figure(figure: Figure, path: Path, *, dpi: int = 200, formats: Iterable[str] = ()) -> Path:
    """Write a figure in the format of its suffix, and beside it in others; return where the first lies.

    Text stays text in PDF and SVG, to be edited and searched.

    Args:
        figure: what to write.
        path: where to.
        dpi: dots per inch; of the pictures inside, where the format is one of lines.
        formats: further ones, of `FORMATS`.

    Raises:
        ValueError: an unknown format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    files = dict.fromkeys([path, *(path.with_suffix(f".{name}") for name in check_formats(formats))])
    with mpl.rc_context(_EDITABLE):
        for file in files:
            metadata = _UNDATED.get(file.suffix.removeprefix("."))
            figure.savefig(file, dpi=dpi, facecolor="white", metadata=metadata)
    return path


def place_labels(
    ax: Axes,
    points: np.ndarray,
    texts: Sequence[str],
    colors: Sequence[str],
    *,
    fontsize: float = 10.5,
    marker_radius: float = 7.0,
) -> None:
    """Write a label beside each point so that labels cover neither each other nor a point.

    Each label may stand in 24 directions at growing distances; labels take turns choosing the cheapest place
    given all others, for a few rounds. One that had to move away is tied to its point by a thin line.

    Args:
        ax: axes whose limits are final.
        points: (n, 2) data coordinates; rows with a non-finite value get no label.
        texts: n labels.
        colors: n colours.
        fontsize: points.
        marker_radius: pixels to keep clear around each point.
    """
    figure = ax.figure
    figure.draw_without_rendering()  # type: ignore[union-attr]
    keep = np.flatnonzero(np.isfinite(points).all(1))
    if not keep.size:
        return
    pixels = ax.transData.transform(points[keep])
    sizes = np.array([_text_size(ax, texts[i], fontsize) for i in keep.tolist()]) + 3.0
    frame = np.asarray(ax.get_window_extent().extents)
    offsets = _arrange(pixels, sizes, marker_radius, frame)
    scale = 72.0 / figure.dpi
    for i, offset, size in zip(keep.tolist(), offsets, sizes, strict=True):
        gap = float(np.hypot(*np.clip(np.abs(offset) - size / 2, 0, None)))
        line = {"arrowstyle": "-", "color": colors[i], "lw": 0.7, "alpha": 0.7, "shrinkA": 0, "shrinkB": 4}
        ax.annotate(
            texts[i], points[i], xytext=tuple(offset * scale), textcoords="offset points", ha="center",
            va="center", fontsize=fontsize, color=colors[i], zorder=5,
            arrowprops=line if gap > 2.0 * marker_radius else None,
        ).set_in_layout(False)  # fmt: skip


def _text_size(ax: Axes, text: str, fontsize: float) -> np.ndarray:
    probe = ax.text(0, 0, text, fontsize=fontsize)
    box = probe.get_window_extent()
    probe.remove()
    return np.array([box.width, box.height])


def _arrange(points: np.ndarray, sizes: np.ndarray, radius: float, frame: np.ndarray) -> np.ndarray:
    """Return (n, 2) pixel offsets from points to the centres of their labels."""
    n = len(points)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    reach = np.array([radius + 2, 18, 28, 40, 55, 75, 100, 130, 165, 205])
    direction = np.stack([np.cos(angles), np.sin(angles)], 1)
    ring = np.repeat(reach, len(angles))
    candidates = np.tile(direction, (len(reach), 1))[None] * (sizes[:, None] / 2 + ring[:, None])  # (n, C, 2)
    own_cost = np.repeat(reach, len(angles)) * 0.05 + np.tile(0.3 * np.abs(np.sin(angles)), len(reach))
    chosen = candidates[:, 0].copy()
    # the most crowded points choose last, so that they see what the others left
    crowding = (np.linalg.norm(points[:, None] - points[None], axis=-1) < 60).sum(1)
    order = np.argsort(crowding, kind="stable")
    steps = np.linspace(0.1, 0.9, 12)
    for _ in range(8):
        before = chosen.copy()
        for i in order:
            others = np.arange(n) != i
            placed, half = (points + chosen)[others], sizes[others] / 2
            low, high = points[i] + candidates[i] - sizes[i] / 2, points[i] + candidates[i] + sizes[i] / 2
            width = np.minimum(high[:, None], placed + half) - np.maximum(low[:, None], placed - half)
            covered = np.prod(np.clip(width, 0, None), axis=-1).sum(1)
            near = np.clip(np.maximum(low[:, None] - points, points - high[:, None]), 0, None)
            hits = (np.hypot(near[..., 0], near[..., 1]) < radius).sum(1)
            outside = (low < frame[:2]).any(1) | (high > frame[2:]).any(1)
            cost = own_cost + 0.2 * covered + 20 * hits + 1e4 * outside
            # lines are dear to look at: only those of the places that are good without them
            best = np.argsort(cost, kind="stable")[:60]
            line = points[i] + candidates[i][best, None] * steps[:, None]  # (C, S, 2)
            crossed = (np.abs(line[:, :, None] - placed) < half + 1).all(-1).any(1).sum(1)
            through = (np.linalg.norm(line[:, :, None] - points[others], axis=-1) < radius).any(1).sum(1)
            # and the other labels' lines, which must not run through this one
            lines = points[others, None] + chosen[others, None] * steps[:, None]  # (n - 1, S, 2)
            lines = lines[np.linalg.norm(chosen[others], axis=1) > np.linalg.norm(half, axis=1) + 2 * radius]
            inside = (lines[None] > low[best, None, None]) & (lines[None] < high[best, None, None])
            total = cost[best] + 45 * crossed + 5 * through + 45 * inside.all(-1).any(2).sum(1)
            chosen[i] = candidates[i][best[int(np.argmin(total))]]
        if np.array_equal(chosen, before):
            break
    return np.asarray(chosen)
