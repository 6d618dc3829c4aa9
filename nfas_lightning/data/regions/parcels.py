"""Parcel means of volumes on any grid, of masked voxels and of surfaces.

Not nilearn's maskers: this takes two fifths of their processor time for labels and an eighth for spheres, and
memory that does not grow with the run (`docs/data.md`, "How long extraction takes").
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from nfas_lightning.data.regions.atlas import Atlas
from nfas_lightning.data.regions.brain_images import check_affine, open_image, read_gifti
from nfas_lightning.data.regions.label_files import FSAVERAGE
from nfas_lightning.errors import InputError

Affine = NDArray[np.float64]
Shape = tuple[int, ...]
_CHUNK_VALUES = 2**22  # held at once as float64: 32 MB


class Parcels(NamedTuple):
    """Means over parcels, and what they rest on.

    Attributes:
        values: (T, R) float32, mean over the parcel's valid voxels or vertices; a column of NaN where there
            are none, a row of NaN where the whole volume is NaN.
        counts: (R,) int64, voxels or vertices that entered.
    """

    values: Tensor
    counts: Tensor


def volume_parcels(image: str | os.PathLike[str] | Any, atlas: Atlas) -> Parcels:
    """Average the voxels of each parcel, on the image's own grid.

    A voxel belongs to the label nearest to its center, or to every sphere that holds its center; affines may
    be oblique. It enters if it is finite in every volume and not zero in all of them, which leaves out
    background however it is coded; a volume that is NaN throughout does not count for this. A parcel without
    such a voxel is missing: NaN, never zero. A file is read from start to end, a few volumes at a time.

    Args:
        image: path of a 4D NIfTI file, or a nibabel image; T volumes.
        atlas: label image or spheres.

    Returns:
        Values (T, R) and counts (R,).
    """
    with open_image(image, n_axes=4) as opened:
        grid = opened.shape[:3]
        rows, voxels = _locate(atlas, grid, opened.affine, opened.name)
        used, column = np.unique(voxels, return_inverse=True)
        step = max(1, _CHUNK_VALUES // int(np.prod(grid)))

        def blocks() -> Iterator[NDArray[Any]]:
            for start in range(0, opened.shape[3], step):
                chunk = opened.volumes(start, min(start + step, opened.shape[3]))
                yield chunk.reshape(-1, chunk.shape[3], order="F").T[:, used]

        return _average(blocks, rows, column, atlas, len(used), opened.name)


def array_parcels(
    values: Tensor | NDArray[Any], mask: NDArray[Any], affine: NDArray[Any], atlas: Atlas
) -> Parcels:
    """Average masked voxels over parcels, as `volume_parcels` does: data kept as ``volume[mask == 1]``.

    Args:
        values: (T, V) one column per voxel of the mask, last axis of the grid fastest (numpy's order).
        mask: (X, Y, Z) with V entries that are not zero.
        affine: (4, 4) voxel to mm of the mask's grid.
        atlas: label image or spheres.

    Returns:
        Values (T, R) and counts (R,).

    Example:
        >>> from nfas_lightning.data.regions.atlas import load_atlas
        >>> mask, affine = np.ones((40, 48, 40)), np.diag([4.0, 4, 4, 1])
        >>> affine[:3, 3] = -80, -112, -72
        >>> values = np.random.default_rng(0).normal(size=(3, mask.size))
        >>> parcels = array_parcels(values, mask, affine, load_atlas("dosenbach"))
        >>> parcels.values.shape, int(parcels.counts.min()) > 0
        (torch.Size([3, 160]), True)
    """
    data = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    inside = np.nan_to_num(np.asarray(mask)) != 0
    if inside.ndim != 3 or data.ndim != 2 or data.shape[1] != inside.sum():
        raise InputError(
            f"values must have one column per voxel of the mask, (T, {int(inside.sum())}) for a mask of "
            f"shape {inside.shape}, got {data.shape}."
        )
    matrix = np.asarray(affine, dtype=np.float64)
    check_affine("values", matrix)
    rows, voxels = _locate(atlas, inside.shape, matrix, "values")
    position = np.full(inside.shape, -1)
    position[inside] = np.arange(data.shape[1])
    column = position.ravel(order="F")[voxels]
    rows, column = rows[column >= 0], column[column >= 0]
    step = max(1, _CHUNK_VALUES // max(1, data.shape[1]))

    def blocks() -> Iterator[NDArray[Any]]:
        return (data[start : start + step] for start in range(0, len(data), step))

    return _average(blocks, rows, column, atlas, data.shape[1], "values")


def surface_parcels(left: str | os.PathLike[str], right: str | os.PathLike[str], atlas: Atlas) -> Parcels:
    """Average the vertices of each parcel over both hemispheres.

    The meshes of fsaverage are nested: the first 10,242 vertices of fsaverage6 are those of fsaverage5, and
    so on. Where data and atlas are on different ones, the vertices that both have enter. A vertex enters if
    it is finite in every volume and not zero in all of them, which leaves out the medial wall.

    Args:
        left: GIfTI file of the left hemisphere, one data array per TR, T of them.
        right: GIfTI file of the right one.
        atlas: annotations.

    Returns:
        Values (T, R) and counts (R,) of vertices.
    """
    paths = (Path(left), Path(right))
    data = [read_gifti(path, side) for path, side in zip(paths, ("L", "R"), strict=True)]
    if data[0].shape != data[1].shape:
        raise InputError(
            f"{paths[0].name} and {paths[1].name} must have the same volumes and vertices, got "
            f"{data[0].shape} and {data[1].shape}."
        )
    return vertex_parcels(data[0], data[1], atlas, paths[0].name)


def vertex_parcels(left: NDArray[Any], right: NDArray[Any], atlas: Atlas, name: str) -> Parcels:
    """Average the vertices of both hemispheres over parcels, as `surface_parcels` does.

    Args:
        left: (T, V) one column per vertex.
        right: likewise.
        atlas: annotations.
        name: what errors call the data.

    Returns:
        Values (T, R) and counts (R,) of vertices.
    """
    if atlas.hemispheres is None:
        raise InputError(
            f"Atlas {atlas.name} is in {atlas.space}, a volume; {name} is a surface: give a pair of "
            "annotation files."
        )
    n_data, n_atlas = left.shape[1], len(atlas.hemispheres[0])
    if n_data != n_atlas and not (n_data in FSAVERAGE and n_atlas in FSAVERAGE):
        raise InputError(
            f"{name} has {n_data} vertices, atlas {atlas.name} ({atlas.space}) {n_atlas}: they must "
            f"be equal, or both those of an fsaverage mesh ({', '.join(map(str, FSAVERAGE))})."
        )
    n = min(n_data, n_atlas)
    label = np.concatenate([side[:n] for side in atlas.hemispheres])
    column = np.flatnonzero(label)
    both = np.concatenate([left[:, :n], right[:, :n]], axis=1)
    return _average(lambda: iter([both]), label[column] - 1, column, atlas, 2 * n, name)


def _locate(
    atlas: Atlas, grid: Shape, affine: Affine, name: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if atlas.hemispheres is not None:
        raise InputError(
            f"Atlas {atlas.name} is on the surface {atlas.space}; {name} is a volume: give a label image or "
            "coordinates, or surface files."
        )
    return membership(atlas, grid, affine.tobytes())


@lru_cache(maxsize=8)  # the runs of a study share few grids
def membership(atlas: Atlas, shape: Shape, affine: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the voxels of each parcel on a grid (X, Y, Z), whose (4, 4) affine comes as float64 bytes.

    Returns rows of the atlas's table and flat voxel indices, first axis fastest (as NIfTI stores them), one
    entry per membership: a voxel may lie in several spheres. A sphere of radius 0 is the voxel nearest to its
    center.
    """
    matrix = np.frombuffer(affine, dtype=np.float64).reshape(4, 4)
    if atlas.labels is not None and atlas.affine is not None:
        labels = sample_nearest(atlas.labels, atlas.affine, shape, matrix).ravel(order="F")
        voxels = np.flatnonzero(labels)
        return labels[voxels].astype(np.int64) - 1, voxels
    centers = atlas.table[["x", "y", "z"]].to_numpy(dtype=float)
    return (
        _spheres(centers, atlas.radius, shape, matrix) if atlas.radius else _nearest(centers, shape, matrix)
    )


def _nearest(
    centers: NDArray[np.float64], shape: Shape, affine: Affine
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the voxel that is nearest to each center: targets that are voxels themselves."""
    inverse = np.linalg.inv(affine)
    place = np.floor(centers @ inverse[:3, :3].T + inverse[:3, 3] + 0.5 + 1e-6).astype(np.int64)
    rows = np.flatnonzero(((place >= 0) & (place < shape)).all(axis=1))
    return rows, np.ravel_multi_index(tuple(place[rows].T), shape, order="F").astype(np.int64)


def sample_nearest(source: NDArray[Any], source_affine: Affine, shape: Shape, affine: Affine) -> NDArray[Any]:
    """Sample an image at the voxel centers of another grid, from the nearest voxel; 0 outside it.

    A center halfway between two voxels takes the one of the higher index.
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
        sampled[:, :, k][inside] = source[tuple(index[inside] for index in nearest)]
    return sampled


def _spheres(
    centers: NDArray[np.float64], radius: float, shape: Shape, affine: Affine
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    inverse = np.linalg.inv(affine)
    # half the box, in voxels, that holds the sphere: a ball under an affine map
    reach = radius * np.linalg.norm(inverse[:3, :3], axis=1)
    rows, voxels = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for row, center in enumerate(centers):
        middle = inverse[:3, :3] @ center + inverse[:3, 3]
        low = np.maximum(np.ceil(middle - reach - 1e-6), 0).astype(int)
        high = np.minimum(np.floor(middle + reach + 1e-6) + 1, shape).astype(int)
        if (high <= low).any():
            continue
        axes = (np.arange(*ends) for ends in zip(low, high, strict=True))
        box = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        squared = ((box @ affine[:3, :3].T + affine[:3, 3] - center) ** 2).sum(axis=1)
        # integer coordinates on millimeter grids often lie on the very surface: it belongs to the sphere
        inside = box[squared <= radius**2 * (1 + 1e-9)]
        voxels.append(np.ravel_multi_index(tuple(inside.T), shape, order="F"))
        rows.append(np.full(len(inside), row))
    return np.concatenate(rows), np.concatenate(voxels)


def _average(
    blocks: Callable[[], Iterator[NDArray[Any]]],
    rows: NDArray[np.integer[Any]],
    columns: NDArray[np.integer[Any]],
    atlas: Atlas,
    n_voxels: int,
    name: str,
) -> Parcels:
    """Average blocks of (volumes, voxels), read once; again, if voxels must leave that were added before."""
    members = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(atlas), n_voxels))
    sums, missing, valid, added = _sum(blocks(), members)
    if (added & ~valid).any():
        members = members @ sparse.diags_array(valid.astype(float))
        sums, missing, _, _ = _sum(blocks(), members)
    counts = members @ valid.astype(float)
    if not (counts > 0).any():
        raise InputError(
            f"No parcel of atlas {atlas.name} ({atlas.space}) has a valid voxel or vertex in {name}: is the "
            "file complete, and in the atlas's space?"
        )
    # in place: where targets are voxels, sums are as large as the scan
    sums /= np.where(counts > 0, counts, np.nan)
    sums[missing] = np.nan
    return Parcels(torch.from_numpy(sums.astype(np.float32)), torch.from_numpy(counts.astype(np.int64)))


def _sum(
    blocks: Iterator[NDArray[Any]], members: Any
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Sum over parcels; also which volumes are NaN throughout, which voxels are valid, which were added."""
    sums, missing = [], []
    some_nan = np.zeros(members.shape[1], dtype=bool)
    added = np.zeros(members.shape[1], dtype=bool)
    for raw in blocks:
        block = raw.astype(np.float64)
        finite = np.isfinite(block)
        empty = ~finite.any(axis=1)
        if not finite.all():
            some_nan |= ~finite[~empty].all(axis=0)
            block[~finite] = 0.0
        if not added.all():
            added |= (block != 0).any(axis=0)
        sums.append((members @ block.T).T)
        missing.append(empty)
    return np.concatenate(sums), np.concatenate(missing), added & ~some_nan, added
