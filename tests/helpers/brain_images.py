"""Small images of the brain, of volumes and of surfaces, and the means of their parcels."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from scipy.spatial.transform import Rotation

LABEL_AFFINE = np.array([[-4.0, 0, 0, 22], [0, 4, 0, -30], [0, 0, 4, -20], [0, 0, 0, 1]])

STRAIGHT = np.array([[3.0, 0, 0, -26.3], [0, 3, 0, -31.7], [0, 0, 3.3, -24.4], [0, 0, 0, 1]])
# no center of these grids lies halfway between two labels, where the nearest one is a matter of rounding
TURNED = np.eye(4)
TURNED[:3, :3] = Rotation.from_euler("xyz", [11, -8, 14], degrees=True).as_matrix() @ np.diag(
    [2.97, 2.89, 3.03]
)
TURNED[:3, 3] = -24.17, -33.31, -20.73
SHAPE, N_VOLUMES = (17, 20, 15), 7


def table(**columns):
    """A table of names, as given to `load_atlas`."""
    return pd.DataFrame(columns)


def image(affine, *, seed=0, dtype=np.float32, shape=SHAPE):
    """A series of noise, (*shape, N_VOLUMES)."""
    values = np.random.default_rng(seed).normal(100, 20, (*shape, N_VOLUMES))
    return nib.Nifti1Image(values.astype(dtype), affine)


def brute_force(img, atlas):
    """Means voxel by voxel."""
    data = np.asanyarray(img.dataobj).astype(float)
    grid = np.stack(np.meshgrid(*map(np.arange, data.shape[:3]), indexing="ij"), axis=-1)
    index = np.rint(apply_affine(np.linalg.inv(atlas.affine), apply_affine(img.affine, grid))).astype(int)
    inside = ((index >= 0) & (index < atlas.labels.shape)).all(-1)
    labels = np.zeros(data.shape[:3], dtype=int)
    labels[inside] = atlas.labels[tuple(index[inside].T)]
    valid = np.isfinite(data).all(-1) & (data != 0).any(-1)
    members = [(labels == row + 1) & valid for row in range(len(atlas))]
    means = [data[m].mean(0) if m.any() else np.full(data.shape[3], np.nan) for m in members]
    return np.stack(means, axis=1), np.array([m.sum() for m in members])


def write_gifti(path, values, *, structure=None):
    """Write one data array per row of `values`; return the path."""
    arrays = [
        nib.gifti.GiftiDataArray(row.astype(np.float32), intent="NIFTI_INTENT_TIME_SERIES") for row in values
    ]
    meta = nib.gifti.GiftiMetaData({"AnatomicalStructurePrimary": structure} if structure else {})
    nib.save(nib.gifti.GiftiImage(darrays=arrays, meta=meta), path)
    return path


def both_sides(tmp_path, n_vertices, *, n_volumes=5, wall=None, seed=0):
    """Values (n_volumes, n_vertices) of both hemispheres, and their files; `wall` fills 200 vertices."""
    rng = np.random.default_rng(seed)
    data = [rng.normal(10, 2, (n_volumes, n_vertices)) for _ in range(2)]
    if wall is not None:
        for side in data:
            side[:, :200] = wall
    paths = [write_gifti(tmp_path / f"s_hemi-{s}.func.gii", side) for s, side in zip("LR", data, strict=True)]
    return [side.astype(np.float32) for side in data], paths
