"""Brain maps of one value per ROI, offline: cortical surfaces and glass brains.

The fsaverage5 meshes and the glass-brain outlines are files of the nilearn package; nothing is downloaded.
nilearn's `plot_surf` takes a second per view; here a view is painted once, and each map is a look-up.
"""

from __future__ import annotations

from functools import cache
from textwrap import fill
from typing import NamedTuple, Unpack

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
    Look,
    finish,
    group_styles,
    new_figure,
    styled,
)

__all__ = ["has_coordinates", "plot_glass", "plot_surface"]

_VIEWS = (("left", "lateral"), ("left", "medial"), ("right", "medial"), ("right", "lateral"))
_PIXELS = (620, 460)  # of one view: about 200 dots an inch as drawn
_UNSCORED = (
    0.80,
    0.67,
    0.55,
)  # of a ROI without a score: neither gray, which is no ROI, nor light, which is zero
_SPAN = (230.0, 170.0)  # millimeters of the inflated mesh that a view shows


def has_coordinates(rois: pd.DataFrame) -> bool:
    """Whether a ROI table has ``x``, ``y``, ``z`` and at least one row where all three are known."""
    axes = ["x", "y", "z"]
    return set(axes) <= set(rois) and bool(rois[axes].notna().all(axis=1).any())


@styled
def plot_surface(
    values: pd.DataFrame,
    rois: pd.DataFrame,
    *,
    label: str = "",
    radius: float | None = None,
    **look: Unpack[Look],
) -> Figure:
    """Draw per-ROI values on the inflated fsaverage5 cortex, one row of four views per map.

    A parcel colors its own vertices, which the column ``vertices`` of the ROI table names, and so does a
    ROI that is a vertex itself. Where no ROI has any, each colors a disc: the vertices that are nearest to
    its center, within `radius` on the pial surface. Gray is cortex without a ROI, brown a ROI without a
    score. ROIs under the cortex or in the cerebellum reach no vertex: `plot_glass` shows them.

    Args:
        values: ROIs x maps; index ``roi``, one row of pictures per column. All maps share one color scale.
        rois: ROI table with ``x``, ``y``, ``z`` in MNI millimeters, and ``vertices`` where ROIs are parcels
            (see `Atlas.rois`).
        label: label of the color bar.
        radius: millimeters around the centers of ROIs that are no parcels; None: 12, or what voxels reach.
        **look: see `Look`; without ``simulated``, `rois` says by its planted truth.
    """
    known = rois.dropna(subset=["x", "y", "z"]).drop_duplicates("roi")
    table = values.reindex(known["roi"])
    norm = _norm(table)
    styles = group_styles((str(name) for name in table if name in MODALITIES), look)
    figure = new_figure(11.5, 1.1 + 2.05 * table.shape[1])
    panels = figure.subplots(table.shape[1], 4, squeeze=False, gridspec_kw={"wspace": 0, "hspace": 0})
    radius = disc_radius(known) if radius is None else radius
    nearest, n_discs = vertex_rois(known, radius)
    for (name, column), line in zip(table.items(), panels, strict=True):
        for (side, view), ax in zip(_VIEWS, line, strict=True):
            index = nearest[side]
            per_vertex = np.where(index >= 0, column.to_numpy(float)[index], np.nan)
            ax.imshow(_paint(side, view, per_vertex, index >= 0, norm), interpolation="antialiased")
            _bare(ax)
        if len(panels) > 1:
            color = styles[str(name)].color if str(name) in styles else INK
            line[0].set_ylabel(str(name), fontsize=13, color=color, fontweight="bold")
    for (side, view), ax in zip(_VIEWS, panels[0], strict=True):
        ax.set_title(f"{side}, {view}", fontsize=10.5, color=MUTED)
    _colorbar(figure, panels, norm, label, table)
    reached = len(np.unique(np.concatenate([*nearest.values(), [-1]]))) - 1
    discs = f"; discs of {radius:g} mm for {n_discs} known by their center only" if n_discs else ""
    what = "targets" if "index" in rois else "ROIs"
    reach = f"{reached} of {len(known)} {what} reach the cortical surface{discs}"
    reach = fill(reach, 34)  # a longer line would widen the first column
    panels[-1, 0].set_xlabel(reach, fontsize=10, color=MUTED, loc="left")
    return finish(figure, "", look, simulated=_is_planted(rois, look))


@styled
def plot_glass(values: pd.DataFrame, rois: pd.DataFrame, *, label: str = "", **look: Unpack[Look]) -> Figure:
    """Draw per-ROI values as dots in a glass brain, three views per map; the highest lie on top.

    Args:
        values: ROIs x maps; index ``roi``. All maps share one color scale.
        rois: ROI table with ``x``, ``y``, ``z`` in MNI millimeters.
        label: label of the color bar.
        **look: see `plot_surface`.
    """
    from nilearn.plotting import plot_markers  # slow to import: only where a glass brain is drawn

    known = rois.dropna(subset=["x", "y", "z"]).drop_duplicates("roi").set_index("roi")
    table = values.reindex(known.index)
    norm, n_rows = _norm(table), -(-table.shape[1] // 2)
    columns = min(table.shape[1], 2)
    figure = new_figure(6.2 * columns + 0.9, 1.1 + 2.3 * n_rows)
    panels = figure.subplots(n_rows, columns, squeeze=False)
    for ax in panels.ravel():
        _bare(ax)
    _colorbar(figure, panels, norm, label, table)
    finish(figure, "", look, simulated=_is_planted(rois, look))
    for name, ax in zip(table, panels.ravel(), strict=False):
        ax.set_title(str(name) if table.shape[1] > 1 else "", fontweight="bold", loc="left")
    figure.draw_without_rendering()  # nilearn splits the place that the layout gave to each panel
    size = float(np.clip(9000 / max(len(known), 1), 22, 90))
    for name, ax in zip(table, panels.ravel(), strict=False):
        column = table[name].dropna().sort_values()
        display = plot_markers(
            column.to_numpy(float), known.loc[column.index, ["x", "y", "z"]].to_numpy(float), node_size=size,
            node_cmap=SEQUENTIAL, node_vmin=norm.vmin, node_vmax=norm.vmax, alpha=0.95, display_mode="lzr",
            figure=figure, axes=ax.get_position().bounds, annotate=False, colorbar=False,
            node_kwargs={"edgecolors": "#55555588", "linewidths": 0.4},
        )  # fmt: skip
        display.annotate(size=10)
    return figure


def _is_planted(rois: pd.DataFrame, look: Look) -> bool:
    return has_truth(rois) if look.get("simulated") is None else bool(look.get("simulated"))


def _norm(table: pd.DataFrame) -> Normalize:
    """One color scale from zero to the 99th percentile: a single extreme ROI does not bleach the rest."""
    finite = table.to_numpy(float)[np.isfinite(table.to_numpy(float))]
    top = float(np.percentile(finite, 99)) if finite.size else 1.0
    return Normalize(min(0.0, float(finite.min(initial=0.0))), top if top > 0 else 1.0, clip=True)


def _colorbar(figure: Figure, panels: np.ndarray, norm: Normalize, label: str, table: pd.DataFrame) -> None:
    """Draw the color bar; a pointed end where values lie beyond it."""
    beyond = bool((table.to_numpy(float) > float(norm.vmax or 0.0) * (1 + 1e-9)).any())
    figure.colorbar(
        ScalarMappable(norm, SEQUENTIAL), ax=panels, label=label, shrink=min(0.9, 1.6 / len(panels)),
        aspect=14, pad=0.02, extend="max" if beyond else "neither",
    )  # fmt: skip


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


class _Hemisphere(NamedTuple):
    pial: np.ndarray  # (V, 3) where a vertex is
    inflated: np.ndarray  # (V, 3) where it is drawn
    faces: np.ndarray  # (F, 3)
    sulcus: np.ndarray  # (V,) whether it lies in a fold


@cache
def hemisphere(side: str) -> _Hemisphere:
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
    mesh = hemisphere(side)
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


def vertex_rois(rois: pd.DataFrame, radius: float) -> tuple[dict[str, np.ndarray], int]:
    """Return the row of the ROI of each vertex (V,), -1 where there is none, by side; how many are discs."""
    listed = [str(text).split() for text in rois["vertices"].fillna("")] if "vertices" in rois else []
    if not any(listed):
        points = rois[["x", "y", "z"]].to_numpy(float)
        return {side: _nearest_roi(side, points, radius) for side in ("left", "right")}, len(rois)
    # in an atlas of parcels, one without vertices lies elsewhere: it is no disc
    n_left, n_right = (len(hemisphere(side).pial) for side in ("left", "right"))
    owner = np.full(n_left + n_right, -1)
    for row, words in enumerate(listed):
        own = np.array(words, dtype=np.int64)
        owner[own[own < len(owner)]] = row
    return {"left": owner[:n_left], "right": owner[n_left:]}, 0


def disc_radius(rois: pd.DataFrame) -> float:
    """Return how far a ROI colors the cortex around its center, in mm: voxels as far as the next ones."""
    if "index" not in rois or len(rois) < 2:
        return 12.0
    points = rois[["x", "y", "z"]].to_numpy(float)
    return float(np.median(cKDTree(points).query(points, k=2)[0][:, 1]))


def _nearest_roi(side: str, points: np.ndarray, radius: float) -> np.ndarray:
    """Return the row of the nearest ROI of this hemisphere for each vertex (V,), -1 where none is near."""
    mesh = hemisphere(side)
    own = np.flatnonzero(points[:, 0] <= 2.0 if side == "left" else points[:, 0] >= -2.0)
    if not own.size:
        return np.full(len(mesh.pial), -1)
    distance, index = cKDTree(points[own]).query(mesh.pial)
    return np.where(distance <= radius, own[index], -1)


def _paint(side: str, view: str, values: np.ndarray, owned: np.ndarray, norm: Normalize) -> np.ndarray:
    """Return a (H, W, 3) picture of per-vertex values; shading and folds show where there are none."""
    mesh = hemisphere(side)
    face, light = _face_pixels(side, view)
    corner = mesh.faces[:, 0]
    color = np.where(mesh.sulcus[corner, None], 0.64, 0.78) * np.ones((1, 3))
    color[owned[corner]] = _UNSCORED
    finite = np.isfinite(values[corner])
    color[finite] = SEQUENTIAL(norm(values[corner][finite]))[:, :3]
    color = color * light[:, None]
    picture = np.ones((*face.shape, 3))
    picture[face >= 0] = color[face[face >= 0]]
    return picture
