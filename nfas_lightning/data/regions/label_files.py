"""Files that hold labels: images and FreeSurfer annotations, and where their parcels lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from nfas_lightning.data.content import require_file
from nfas_lightning.data.regions.brain_images import open_image
from nfas_lightning.data.regions.parcel_names import is_cortex

__all__ = [
    "FSAVERAGE",
    "MAP_VERTICES",
    "read_annotation",
    "read_labels",
    "surface_centroids",
    "surface_labels",
    "volume_centroids",
]

MAP_VERTICES = 10242
"""Vertices of a hemisphere of fsaverage5, on which maps are drawn."""

FSAVERAGE = {
    642: "fsaverage3",
    2562: "fsaverage4",
    10242: "fsaverage5",
    40962: "fsaverage6",
    163842: "fsaverage",
}


def read_annotation(path: Path) -> tuple[NDArray[np.int32], list[str]]:
    """Read a FreeSurfer annotation.

    Args:
        path: the .annot file of one hemisphere.

    Returns:
        (V,) index of a vertex's name plus one, 0 where there is none; and the names of the entries that are
        cortex, in the order of the file.

    Raises:
        FileNotFoundError: the file or its content is missing.
        ValueError: it is no annotation.
    """
    require_file(path)
    try:
        entry, _, entries = nib.freesurfer.read_annot(path)
    except (EOFError, IndexError, OSError, UnicodeError, ValueError) as error:
        raise ValueError(
            f"{path.name} must be a FreeSurfer annotation, but can't be read ({error})."
        ) from error
    names: list[str] = []
    # vertices of no entry read as -1, the last place
    index = np.zeros(len(entries) + 1, dtype=np.int32)
    for i, raw in enumerate(entries):
        name = raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)
        if is_cortex(name):
            names.append(name)
            index[i] = len(names)
    return index[entry], names


def read_labels(
    name: str, image: str | os.PathLike[str] | Any
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Read a label image.

    Args:
        name: what errors call it.
        image: path of a NIfTI file, or a nibabel image, (X, Y, Z).

    Returns:
        (X, Y, Z) labels, 0 where there is none or NaN; and the (4, 4) voxel to mm matrix.

    Raises:
        FileNotFoundError: the file or its content is missing.
        ValueError: it is broken, has other axes, holds anything but whole numbers from 0, or zeros alone.
    """
    with open_image(image, n_axes=3) as opened:
        values = opened.whole()
    values = np.where(np.isnan(values), 0, values) if values.dtype.kind == "f" else values
    rounded = np.rint(values)
    if not np.allclose(values, rounded, rtol=0, atol=1e-3) or rounded.min() < 0:
        raise ValueError(
            f"Atlas {name} must hold whole numbers from 0, got values from {values.min()} to {values.max()}: "
            "is it a probability map?"
        )
    if not rounded.any():
        raise ValueError(f"Atlas {name} must hold labels, got an image of zeros.")
    return rounded.astype(np.int64), opened.affine


def volume_centroids(
    labels: NDArray[np.int32], affine: NDArray[np.float64], n_rois: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (R, 3) centroids in mm, NaN without voxels, and the (R,) share of voxels left of the midline."""
    where = np.nonzero(labels)
    row = labels[where] - 1
    mm = np.stack(where, axis=1) @ affine[:3, :3].T + affine[:3, 3]
    return _means(mm, row, n_rois), _means((mm[:, :1] < 0) + 0.5 * (mm[:, :1] == 0), row, n_rois)[:, 0]


def _means(values: NDArray[np.float64], row: NDArray[np.int32], n_rois: int) -> NDArray[np.float64]:
    count = np.bincount(row, minlength=n_rois)
    sums = np.stack([np.bincount(row, weights=column, minlength=n_rois) for column in values.T], axis=1)
    means = np.full(sums.shape, np.nan)
    means[count > 0] = sums[count > 0] / count[count > 0, None]
    return means


def surface_centroids(left: NDArray[np.int32], right: NDArray[np.int32], n_rois: int) -> NDArray[np.float64]:
    """Return (R, 3) mean positions in mm on nilearn's fsaverage5, NaN for parcels and meshes it has not.

    Positions are midway between white and pial surface. fsaverage lies in MNI305, within a few mm of MNI152.

    Args:
        left: (V,) row of the left hemisphere's parcel plus one, 0 outside every parcel.
        right: (V,) the same of the right one.
        n_rois: R.
    """
    if len(left) not in FSAVERAGE:
        return np.full((n_rois, 3), np.nan)
    # nilearn takes seconds to import and is needed here alone
    from nilearn import datasets

    mesh = datasets.fetch_surf_fsaverage("fsaverage5")
    mm, rows = [], []
    for side, row in (("left", left), ("right", right)):
        surfaces = [nib.load(mesh[f"{kind}_{side}"]).agg_data("pointset") for kind in ("white", "pial")]
        n = min(len(row), len(surfaces[0]))
        inside = row[:n] > 0
        middle = (surfaces[0].astype(np.float64) + surfaces[1]) / 2
        mm.append(middle[:n][inside])
        rows.append(row[:n][inside] - 1)
    return _means(np.concatenate(mm), np.concatenate(rows), n_rois)


def surface_labels(
    labels: NDArray[np.int32], affine: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Carry a label image onto fsaverage5: a vertex takes the label that is most frequent through the cortex.

    The image is read at the nearest voxel at five depths from the white to the pial surface, places without a
    label left out; of labels that are as frequent, the one of the smallest number.

    Args:
        labels: (X, Y, Z) row of a parcel plus one, 0 outside every parcel.
        affine: (4, 4) voxel to mm.

    Returns:
        Left and right, (10242,) each, 0 where there is no label.
    """
    # nilearn takes seconds to import and is needed here alone
    from nilearn import datasets

    mesh = datasets.fetch_surf_fsaverage("fsaverage5")
    to_voxels = np.linalg.inv(affine)
    sides = []
    for side in ("left", "right"):
        white, pial = (
            nib.load(mesh[f"{kind}_{side}"]).agg_data("pointset").astype(np.float64)
            for kind in ("white", "pial")
        )
        depths = np.stack([white + share * (pial - white) for share in np.linspace(0, 1, 5)])
        place = np.rint(depths @ to_voxels[:3, :3].T + to_voxels[:3, 3]).astype(np.int64)
        inside = ((place >= 0) & (place < labels.shape)).all(axis=-1)
        found = labels[tuple(np.moveaxis(np.where(inside[..., None], place, 0), -1, 0))] * inside
        # five votes a vertex: how often each is repeated, and none for places without a label
        votes = (found[:, None] == found[None]).sum(axis=1) * (found > 0)
        winner = np.where(votes == votes.max(axis=0), found, np.iinfo(found.dtype).max).min(axis=0)
        sides.append(np.where(votes.max(axis=0) > 0, winner, 0).astype(np.int32))
    return sides[0], sides[1]
