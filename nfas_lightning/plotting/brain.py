"""Brain maps of one value per ROI, offline: cortical surfaces, glass brains, or rows without coordinates.

The fsaverage5 meshes and the glass-brain outlines are files of the nilearn package; nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy.spatial import cKDTree

from nfas_lightning.data.stimuli.stimulus_set import MODALITIES
from nfas_lightning.plotting.baselines import has_truth
from nfas_lightning.plotting.style import (
    INK,
    MUTED,
    SEQUENTIAL,
    finish,
    group_styles,
    new_figure,
    styled,
    with_count,
)

__all__ = ["has_coordinates", "plot_brain", "plot_glass", "plot_rows", "plot_surface"]

_VIEWS = (("left", "lateral"), ("left", "medial"), ("right", "medial"), ("right", "lateral"))
_PIXELS = (620, 460)  # of one view: about 200 dots an inch as drawn
_SPAN = (230.0, 170.0)  # millimeters of the inflated mesh that a view shows


def has_coordinates(rois: pd.DataFrame) -> bool:
    """Whether a ROI table has ``x``, ``y``, ``z`` and at least one row where all three are known."""
    axes = ["x", "y", "z"]
    return set(axes) <= set(rois) and bool(rois[axes].notna().all(axis=1).any())


def plot_brain(values: pd.DataFrame, rois: pd.DataFrame, **options: Any) -> Figure:
    """Draw per-ROI values on cortical surfaces, or as labeled rows where ROIs have no coordinates.

    Args:
        values: ROIs x maps; index ``roi``, one row of pictures per column.
        rois: ROI table; ``x``, ``y``, ``z`` in MNI millimeters where known.
        options: ``title``, ``label`` of the color bar, ``simulated``; see `plot_surface`.
    """
    draw = plot_surface if has_coordinates(rois) else plot_rows
    return draw(values, rois, **options)


@styled
def plot_surface(
    values: pd.DataFrame,
    rois: pd.DataFrame,
    *,
    title: str = "",
    label: str = "",
    simulated: bool | None = None,
    radius: float | None = None,
) -> Figure:
    """Draw per-ROI values on the inflated fsaverage5 cortex, one row of four views per map.

    A parcel colors its own vertices, which the column ``vertices`` of the ROI table names, and so does a ROI
    that is a vertex itself. Where no ROI has any, each colors a disc: the vertices that are nearest to its
    center, within `radius` on the pial surface. Gray is cortex without a ROI. ROIs under the cortex or in the
    cerebellum reach no vertex: `plot_glass` shows them.

    Args:
        values: ROIs x maps; index ``roi``, one row of pictures per column. All maps share one color scale.
        rois: ROI table with ``x``, ``y``, ``z`` in MNI millimeters, and ``vertices`` where ROIs are parcels
            (see `Atlas.rois`).
        title: title of the figure.
        label: label of the color bar.
        simulated: mark the figure as drawn from planted responses; None: where `rois` says what was planted.
        radius: millimeters around the centers of ROIs that are no parcels; None: 12, or what voxels reach.
    """
    known = rois.dropna(subset=["x", "y", "z"]).drop_duplicates("roi")
    table = values.reindex(known["roi"])
    rows = list(table)
    norm = _norm(table)
    styles = group_styles(name for name in map(str, rows) if name in MODALITIES)
    figure = new_figure(11.5, 1.1 + 2.05 * max(len(rows), 1))
    panels = figure.subplots(max(len(rows), 1), 4, squeeze=False, gridspec_kw={"wspace": 0, "hspace": 0})
    radius = _disc_radius(known) if radius is None else radius
    nearest, n_discs = _vertex_rois(known, radius)
    reached = np.unique(np.concatenate([index[index >= 0] for index in nearest.values()])).size
    discs = f"; discs of {radius:g} mm for {n_discs} known by their center only" if n_discs else ""
    for name, line in zip(rows, panels, strict=False):
        column = table[name].to_numpy(float)
        for (side, view), ax in zip(_VIEWS, line, strict=True):
            index = nearest[side]
            per_vertex = np.where(index >= 0, column[np.clip(index, 0, None)], np.nan)
            ax.imshow(_paint(side, view, per_vertex, norm), interpolation="antialiased")
            _bare(ax)
        if len(rows) > 1:
            color = styles[str(name)].color if str(name) in styles else INK
            line[0].set_ylabel(str(name), fontsize=13, color=color, fontweight="bold")
    for (side, view), ax in zip(_VIEWS, panels[0], strict=True):
        ax.set_title(f"{side}, {view}", fontsize=10.5, color=MUTED)
    _colorbar(figure, panels, norm, label, table)
    what = "targets" if "index" in rois else "ROIs"
    reach = f"{reached} of {len(known)} {what} reach the cortical surface{discs}"
    panels[-1, 0].set_xlabel(reach, fontsize=10, color=MUTED, loc="left")
    return finish(figure, title, simulated=has_truth(rois) if simulated is None else simulated)


@styled
def plot_glass(
    values: pd.DataFrame,
    rois: pd.DataFrame,
    *,
    title: str = "",
    label: str = "",
    simulated: bool | None = None,
) -> Figure:
    """Draw per-ROI values as dots in a glass brain, one row of three views per map; the highest lie on top.

    Args:
        values: ROIs x maps; index ``roi``. All maps share one color scale.
        rois: ROI table with ``x``, ``y``, ``z`` in MNI millimeters.
        title: title of the figure.
        label: label of the color bar.
        simulated: mark the figure as drawn from planted responses; None: where `rois` says what was planted.
    """
    from nilearn.plotting import plot_glass_brain  # slow to import: only where a glass brain is drawn

    known = rois.dropna(subset=["x", "y", "z"]).drop_duplicates("roi")
    table = values.reindex(known["roi"])
    points = known[["x", "y", "z"]].to_numpy(float)
    norm = _norm(table)
    columns = list(table)
    figure = new_figure(6.2 * min(len(columns), 2) + 0.9, 1.1 + 2.3 * -(-len(columns) // 2))
    panels = figure.subplots(-(-len(columns) // 2), min(len(columns), 2), squeeze=False)
    size = float(np.clip(9000 / max(len(points), 1), 22, 90))
    for ax in panels.ravel()[len(columns) :]:
        ax.set_axis_off()
    _colorbar(figure, panels, norm, label, table)
    finish(figure, title, simulated=has_truth(rois) if simulated is None else simulated)
    for name, ax in zip(columns, panels.ravel(), strict=False):
        ax.set_title(str(name) if len(columns) > 1 else "", fontweight="bold", loc="left")
        _bare(ax)
    figure.draw_without_rendering()  # nilearn splits the place that the layout gave to each panel
    for name, ax in zip(columns, panels.ravel(), strict=False):
        column = table[name].to_numpy(float)
        order = np.argsort(np.where(np.isfinite(column), column, -np.inf))
        order = order[np.isfinite(column[order])]
        place = ax.get_position().bounds
        display = plot_glass_brain(None, display_mode="lzr", figure=figure, axes=place, annotate=False)
        if order.size:
            display.add_markers(
                points[order], marker_color=SEQUENTIAL(norm(column[order])), marker_size=size, alpha=0.95,
                edgecolors="#55555588", linewidths=0.4,
            )  # fmt: skip
        display.annotate(size=10)
    return figure


@styled
def plot_rows(
    values: pd.DataFrame,
    rois: pd.DataFrame,
    *,
    title: str = "",
    label: str = "",
    simulated: bool | None = None,
    max_rows: int = 40,
) -> Figure:
    """Draw per-ROI values as labeled rows of dots: the picture for ROIs without coordinates.

    At most `max_rows` ROIs are shown, those of the highest value; `rois` gives their order.
    """
    order = values.max(axis=1).sort_values(ascending=False).index[:max_rows]
    table = values.loc[[roi for roi in rois["roi"].drop_duplicates() if roi in set(order)]][::-1]
    styles = group_styles(map(str, table))
    figure = new_figure(9.5, 1.8 + 0.36 * max(len(table), 2))
    ax = figure.add_subplot()
    shifts = np.linspace(0.22, -0.22, len(styles)) if len(styles) > 1 else [0.0]
    for (name, style), shift in zip(styles.items(), shifts, strict=True):
        column, y = table[name].to_numpy(float), np.arange(len(table)) + shift
        ax.hlines(y, 0, column, color=style.color, lw=2, alpha=0.4)
        ax.scatter(
            column, y, c=style.color, marker=style.marker, s=55, label=name, zorder=3, gid=f"rows-{name}"
        )
    ax.set_yticks(range(len(table)), table.index.astype(str))
    ax.set_ylim(-0.6, len(table) - 0.4)
    ax.set_xlabel(with_count(label, len(table), len(values), "ROIs"))
    ax.grid(True, axis="x")
    if len(styles) > 1:
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(styles))
    return finish(figure, title, simulated=has_truth(rois) if simulated is None else simulated)


def _norm(table: pd.DataFrame) -> Normalize:
    """One color scale from zero to the 99th percentile: a single extreme ROI does not bleach the rest."""
    finite = table.to_numpy(float)[np.isfinite(table.to_numpy(float))]
    top = float(np.percentile(finite, 99)) if finite.size else 1.0
    return Normalize(
        min(0.0, float(finite.min())) if finite.size else 0.0, top if top > 0 else 1.0, clip=True
    )


def _colorbar(figure: Figure, panels: np.ndarray, norm: Normalize, label: str, table: pd.DataFrame) -> None:
    """Draw the color bar; a pointed end where values lie beyond it."""
    beyond = bool((table.to_numpy(float) > float(norm.vmax or 0.0) * (1 + 1e-9)).any())
    mappable = ScalarMappable(norm, SEQUENTIAL)
    rows = panels.shape[0]
    figure.colorbar(
        mappable, ax=panels, label=label, shrink=min(0.9, 1.6 / rows), aspect=14, pad=0.02,
        extend="max" if beyond else "neither",
    )  # fmt: skip


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


@dataclass(frozen=True)
class _Hemisphere:
    pial: np.ndarray  # (V, 3) where a vertex is
    inflated: np.ndarray  # (V, 3) where it is drawn
    faces: np.ndarray  # (F, 3)
    sulcus: np.ndarray  # (V,) whether it lies in a fold


@cache
def _hemisphere(side: str) -> _Hemisphere:
    from nilearn.datasets import fetch_surf_fsaverage
    from nilearn.surface import load_surf_data, load_surf_mesh

    files = fetch_surf_fsaverage("fsaverage5")  # packaged with nilearn: no download
    pial, inflated = load_surf_mesh(files[f"pial_{side}"]), load_surf_mesh(files[f"infl_{side}"])
    sulcus = np.asarray(load_surf_data(files[f"sulc_{side}"])) > 0
    return _Hemisphere(
        np.asarray(pial.coordinates), np.asarray(inflated.coordinates), np.asarray(pial.faces), sulcus
    )


@cache
def _face_pixels(side: str, view: str) -> tuple[np.ndarray, np.ndarray]:
    """Return which face each pixel of a view shows, (H, W) with -1 outside, and the faces' brightness (F,).

    Faces are drawn once, back to front, in colors that spell their number: every later map is a look-up.
    """
    mesh = _hemisphere(side)
    toward = 1.0 if (side == "right") == (view == "lateral") else -1.0  # the viewer stands at this end of x
    flat = np.stack([toward * mesh.inflated[:, 1], mesh.inflated[:, 2]], 1)
    corners = mesh.inflated[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    facing = toward * normals[:, 0]
    shown = np.flatnonzero(facing > 0)
    shown = shown[np.argsort(toward * corners[shown, :, 0].mean(1))]
    number = shown + 1
    code = np.stack([number >> 16, (number >> 8) & 255, number & 255], 1) / 255.0
    figure = Figure(figsize=(_PIXELS[0] / 100, _PIXELS[1] / 100), dpi=100, facecolor="black")
    canvas = FigureCanvasAgg(figure)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.set_xlim(-_SPAN[0] / 2, _SPAN[0] / 2)
    ax.set_ylim(-_SPAN[1] / 2, _SPAN[1] / 2)
    ax.add_collection(
        PolyCollection(flat[mesh.faces[shown]], facecolors=code, edgecolors="none", antialiaseds=False)
    )
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(np.int64)  # type: ignore[no-untyped-call]
    return (pixels << np.array([16, 8, 0])).sum(-1) - 1, 0.72 + 0.28 * np.clip(facing, 0, 1)


def _vertex_rois(rois: pd.DataFrame, radius: float) -> tuple[dict[str, np.ndarray], int]:
    """Return the row of the ROI of each vertex (V,), -1 where there is none, by side; how many are discs."""
    none = pd.Series("", index=rois.index)
    listed = rois.get("vertices", none).fillna("").astype(str)
    owner = np.full(sum(len(_hemisphere(side).pial) for side in ("left", "right")), -1)
    for row, text in enumerate(listed):
        own = np.array(text.split(), dtype=np.int64)
        owner[own[own < len(owner)]] = row
    # in an atlas of parcels, one without vertices lies elsewhere: it is no disc
    is_disc = np.full(len(rois), not listed.str.strip().any())
    points = np.where(is_disc[:, None], rois[["x", "y", "z"]].to_numpy(float), np.nan)
    start, found = 0, {}
    for side in ("left", "right"):
        stop = start + len(_hemisphere(side).pial)
        near = _nearest_roi(side, points, radius)
        found[side] = np.where(owner[start:stop] >= 0, owner[start:stop], near)
        start = stop
    return found, int(is_disc.sum())


def _disc_radius(rois: pd.DataFrame) -> float:
    """Return how far a ROI colors the cortex around its center, in mm: voxels as far as the next ones."""
    if "index" not in rois or len(rois) < 2:
        return 12.0
    points = rois[["x", "y", "z"]].to_numpy(float)
    return float(np.median(cKDTree(points).query(points, k=2)[0][:, 1]))


def _nearest_roi(side: str, points: np.ndarray, radius: float) -> np.ndarray:
    """Return the row of the nearest ROI of this hemisphere for each vertex (V,), -1 where none is near."""
    mesh = _hemisphere(side)
    own = np.flatnonzero(points[:, 0] <= 2.0 if side == "left" else points[:, 0] >= -2.0)
    if not own.size:
        return np.full(len(mesh.pial), -1)
    distance, index = cKDTree(points[own]).query(mesh.pial)
    return np.where(distance <= radius, own[index], -1)


def _paint(side: str, view: str, values: np.ndarray, norm: Normalize) -> np.ndarray:
    """Return a (H, W, 3) picture of per-vertex values; shading and folds show where there are none."""
    mesh = _hemisphere(side)
    face, light = _face_pixels(side, view)
    corner = mesh.faces[:, 0]
    color = np.where(mesh.sulcus[corner, None], 0.74, 0.86) * np.ones((1, 3))
    finite = np.isfinite(values[corner])
    color[finite] = SEQUENTIAL(norm(values[corner][finite]))[:, :3]
    color = color * light[:, None]
    picture = np.ones((*face.shape, 3))
    picture[face >= 0] = color[face[face >= 0]]
    return picture
