"""Which voxels of a grid belong to which parcel: nearest label or sphere, through both affines."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfas_lightning.data.regions.atlas import Atlas

__all__ = ["membership", "sample_nearest"]

Affine = NDArray[np.float64]
Shape = tuple[int, int, int]


@lru_cache(maxsize=8)
def membership(atlas: Atlas, shape: Shape, affine: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the voxels of each parcel; kept, since the runs of a study share few grids.

    Args:
        atlas: label image or spheres.
        shape: the grid's (X, Y, Z).
        affine: the bytes of its (4, 4) float64 voxel to mm matrix.

    Returns:
        Rows of the atlas's table and flat voxel indices, first axis fastest (as NIfTI stores them), one entry
        a membership. A voxel may lie in several spheres.
    """
    matrix = np.frombuffer(affine, dtype=np.float64).reshape(4, 4)
    if atlas.labels is not None and atlas.affine is not None:
        labels = sample_nearest(atlas.labels, atlas.affine, shape, matrix).ravel(order="F")
        voxels = np.flatnonzero(labels)
        return labels[voxels].astype(np.int64) - 1, voxels
    return _spheres(
        atlas.table[["x", "y", "z"]].to_numpy(dtype=float), float(atlas.radius or 0), shape, matrix
    )


def sample_nearest(source: NDArray[Any], source_affine: Affine, shape: Shape, affine: Affine) -> NDArray[Any]:
    """Sample an image at the voxel centers of another grid, from the nearest voxel.

    A center halfway between two voxels takes the one of the higher index.

    Args:
        source: (X', Y', Z') image.
        source_affine: (4, 4) its voxel to mm.
        shape: (X, Y, Z) of the wanted grid.
        affine: (4, 4) voxel to mm of the wanted grid.

    Returns:
        (X, Y, Z) values of `source`, 0 outside it, first axis fastest.
    """
    to_source = np.linalg.inv(source_affine) @ affine
    sampled = np.zeros(shape, dtype=source.dtype, order="F")
    i, j = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij", sparse=True)
    # slab by slab: coordinates of a whole 1 mm grid would take more memory than the image
    for k in range(shape[2]):
        inside = np.ones(shape[:2], dtype=bool)
        nearest = []
        for axis in range(3):
            a, b, c, d = to_source[axis]
            # the small term keeps rounding errors of the affines from deciding at halfway points
            index = np.floor(a * i + b * j + (c * k + d) + 0.5 + 1e-6).astype(np.int64)
            inside &= (index >= 0) & (index < source.shape[axis])
            nearest.append(index)
        sampled[:, :, k][inside] = source[nearest[0][inside], nearest[1][inside], nearest[2][inside]]
    return sampled


def _spheres(
    centers: NDArray[np.float64], radius: float, shape: Shape, affine: Affine
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    inverse = np.linalg.inv(affine)
    # half the box, in voxels, that holds the sphere: a ball under an affine map
    reach = radius * np.linalg.norm(inverse[:3, :3], axis=1)
    rows, voxels = [], []
    for row, center in enumerate(centers):
        middle = inverse[:3, :3] @ center + inverse[:3, 3]
        low = np.maximum(np.ceil(middle - reach - 1e-6), 0).astype(int)
        high = np.minimum(np.floor(middle + reach + 1e-6) + 1, shape).astype(int)
        if (high <= low).any():
            continue
        box = np.stack(
            np.meshgrid(*(np.arange(*ends) for ends in zip(low, high, strict=True)), indexing="ij"), axis=-1
        ).reshape(-1, 3)
        squared = ((box @ affine[:3, :3].T + affine[:3, 3] - center) ** 2).sum(axis=1)
        # integer coordinates on millimeter grids often lie on the very surface: it belongs to the sphere
        inside = box[squared <= radius**2 * (1 + 1e-9)]
        voxels.append(np.ravel_multi_index(tuple(inside.T), shape, order="F"))
        rows.append(np.full(len(inside), row))
    if not rows:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return np.concatenate(rows).astype(np.int64), np.concatenate(voxels).astype(np.int64)
