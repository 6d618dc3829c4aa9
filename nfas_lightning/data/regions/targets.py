"""Voxels and vertices as targets: an atlas in which each of them is a region of its own.

A region's table has two more columns here: ``parcel``, the region of a real atlas that the target lies in, so
that regions can be formed after a fit, and ``index``, its place in the image or mesh.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from nfas_lightning.data.regions.atlas import Atlas
from nfas_lightning.data.regions.brain_images import open_image, read_gifti
from nfas_lightning.data.regions.label_files import FSAVERAGE, surface_centroids
from nfas_lightning.data.regions.parcels import membership, sample_nearest
from nfas_lightning.data.regions.rois import roi_table
from nfas_lightning.errors import InputError

_HELD_VALUES = 2**25  # raised to float64 at once: 256 MB
REGIONS = ("parcels", "voxels", "vertices")
Affine = NDArray[np.float64]


def scan_targets(
    regions: str, files: Sequence[Path], atlas: Atlas, mask: str | os.PathLike[str] | None = None
) -> Atlas:
    """Return what scans are reduced to: the atlas itself, voxels, or vertices.

    Args:
        regions: of `REGIONS`.
        files: of one scan: a 4D NIfTI file, or the left and right GIfTI file.
        atlas: the parcels, or names the parcel that a target lies in. Of a pair of annotations on a coarser
            mesh than the scan, the vertices that both have are targets.
        mask: see `brain_voxels`.

    Raises:
        ValueError: voxels of a surface, vertices of a volume, or a mask for anything but voxels.
    """
    form = {1: "voxels", 2: "vertices"}[len(files)]
    if regions not in ("parcels", form):
        raise InputError(
            f"regions={regions!r} does not fit {files[0].name}, which has {form}: choose {form!r} or "
            "'parcels', or another form of the scans."
        )
    if mask is not None and regions != "voxels":
        raise InputError(f"mask belongs to regions='voxels', got regions={regions!r}: leave it out.")
    if regions == "parcels":
        return atlas
    if regions == "vertices":
        n_vertices = read_gifti(files[0], "L").shape[1]
        if atlas.hemispheres is not None:
            n_vertices = min(n_vertices, len(atlas.hemispheres[0]))
        return vertex_targets(n_vertices, atlas)
    with open_image(files[0], n_axes=4) as opened:
        grid = (opened.shape[0], opened.shape[1], opened.shape[2])
        return voxel_targets(*brain_voxels(mask, grid, opened.affine), atlas)


def brain_voxels(
    mask: str | os.PathLike[str] | Any | None, grid: tuple[int, int, int], affine: Affine
) -> tuple[NDArray[np.bool_], Affine]:
    """Return a mask of voxels, (X, Y, Z), and its affine.

    Args:
        mask: path of a 3D NIfTI file, or a nibabel image, taken on its own grid; None: nilearn's mask of the
            MNI152 brain, which it carries, on the given grid.
        grid: (X, Y, Z) of the scans.
        affine: (4, 4) voxel to mm of the scans.
    """
    if mask is not None:
        with open_image(mask, n_axes=3) as opened:
            return np.nan_to_num(opened.whole()) != 0, opened.affine
    # nilearn takes seconds to import and is needed here alone
    from nilearn.datasets import load_mni152_brain_mask

    brain = load_mni152_brain_mask(resolution=2)
    inside = np.asarray(brain.dataobj) != 0
    return sample_nearest(inside, np.asarray(brain.affine, dtype=np.float64), grid, affine), affine


def voxel_targets(mask: NDArray[np.bool_], affine: Affine, atlas: Atlas | None = None) -> Atlas:
    """Make a target of each voxel of a mask.

    A scan on another grid gives each target the voxel that is nearest to its center.

    Args:
        mask: (X, Y, Z).
        affine: (4, 4) voxel to mm.
        atlas: label image or spheres that name the parcels; of several spheres, a voxel takes the first.

    Returns:
        R rows in the order of ``mask.ravel()``; ``index`` counts in that order too. Coordinates are the
        voxels' centers in mm, which also name them.

    Example:
        >>> affine = np.diag([2.0, 2, 2, 1])
        >>> table = voxel_targets(np.eye(3, dtype=bool)[:, :, None], affine).table
        >>> table[["roi", "hemisphere", "index"]].values.tolist()
        [['voxel_0_0_0', 'M', 0], ['voxel_2_2_0', 'R', 4], ['voxel_4_4_0', 'R', 8]]
    """
    index = np.flatnonzero(mask)
    if not len(index):
        raise InputError("The mask must hold voxels, got none: is it another image's?")
    mm = np.stack(np.nonzero(mask), axis=1) @ affine[:3, :3].T + affine[:3, 3]
    row = np.full(mask.size, -1)
    if atlas is not None and atlas.hemispheres is None:
        rows, voxels = membership(atlas, (mask.shape[0], mask.shape[1], mask.shape[2]), affine.tobytes())
        i, j, k = np.unravel_index(voxels[::-1], mask.shape, order="F")
        row[np.ravel_multi_index((i, j, k), mask.shape)] = rows[::-1]
    # + 0.0 makes of -0 a 0
    names = [f"voxel_{x:g}_{y:g}_{z:g}" for x, y, z in mm.round(1) + 0.0]
    side = np.where(mm[:, 0] < 0, "L", np.where(mm[:, 0] > 0, "R", "M"))
    table = _table(names, side, mm, row[index], atlas, index)
    return Atlas("voxels", table, "MNI152" if atlas is None else atlas.space, radius=0.0)


def vertex_targets(n_vertices: int, atlas: Atlas | None = None) -> Atlas:
    """Make a target of each vertex of both hemispheres.

    Args:
        n_vertices: V, of one hemisphere.
        atlas: annotations of V vertices or more that name the parcels; other atlases name none.

    Returns:
        2 V rows, left and then right; ``index`` counts within the hemisphere. Coordinates are known for the
        vertices of fsaverage5, which a finer mesh begins with.
    """
    space = FSAVERAGE.get(n_vertices, f"surface{n_vertices}")
    left = np.arange(1, n_vertices + 1, dtype=np.int32)
    row = np.full(2 * n_vertices, -1)
    if atlas is not None and atlas.hemispheres is not None:
        row = np.concatenate([side[:n_vertices] for side in atlas.hemispheres]).astype(int) - 1
    side = np.repeat(["L", "R"], n_vertices)
    index = np.tile(np.arange(n_vertices), 2)
    table = _table(
        [f"{space}_{s}_{i:06d}" for s, i in zip(side, index, strict=True)],
        side,
        surface_centroids(left, left + n_vertices, 2 * n_vertices),
        row,
        atlas,
        index,
    )
    return Atlas("vertices", table, space, hemispheres=(left, left + n_vertices))


def roi_voxels(rois: pd.DataFrame, counts: Sequence[int]) -> pd.DataFrame:
    """Return the table of the voxels of one subject's functional ROIs, which have no coordinates.

    Args:
        rois: table of the ROIs, each the parcel of its voxels.
        counts: voxels of each.
    """
    names = [f"{roi}_voxel_{i:04d}" for roi, n in zip(rois["roi"], counts, strict=True) for i in range(n)]
    repeated = rois.loc[rois.index.repeat(counts)].reset_index(drop=True)
    index = np.concatenate([np.arange(n) for n in counts])
    return repeated.assign(parcel=repeated["roi"], roi=names, index=index)


def by_columns(values: Tensor) -> Sequence[Tensor]:
    """Split (..., R) into some columns at a time: what is computed of each part in float64 stays small.

    Few regions are one part.
    """
    return torch.split(values, max(512, _HELD_VALUES // max(1, values[..., 0].numel())), dim=-1)


def _table(
    names: Sequence[str],
    hemisphere: NDArray[np.str_],
    coordinates: NDArray[np.float64],
    row: NDArray[np.integer[Any]],
    atlas: Atlas | None,
    index: NDArray[np.integer[Any]],
) -> pd.DataFrame:
    """Return a table of targets, each in the `row` of the atlas's table, -1 for none."""
    parcel, network = np.full((2, len(names)), "", dtype=object)
    if atlas is not None:
        inside = row >= 0
        parcel[inside] = atlas.table["roi"].to_numpy()[row[inside]]
        network[inside] = atlas.table["network"].to_numpy()[row[inside]]
    table = roi_table(names, network=list(network), hemisphere=list(hemisphere), coordinates=coordinates)
    return table.assign(parcel=parcel, index=index.astype(np.int64))
