"""Voxels and what they make of clips: what a reader hands over, and its mean over voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from nfas_lightning.data.regions.atlas import Atlas
from nfas_lightning.data.regions.parcels import Parcels, array_parcels

__all__ = ["ClipForm", "ClipSet", "ClipVoxels", "repetition_means", "usable_voxels"]


class ClipVoxels(NamedTuple):
    """Voxels of an ROI, or of a whole brain, and what they make of a set of clips.

    Attributes:
        values: (T, K, V) responses to T videos, K repetitions, V voxels.
        mask: (X, Y, Z) booleans, V of them true, for the whole brain; None for an ROI.
        affine: (4, 4) of the mask's grid, voxels to mm; None for an ROI.
    """

    values: NDArray[np.floating[Any]]
    mask: NDArray[np.bool_] | None = None
    affine: NDArray[np.float64] | None = None


class ClipSet(NamedTuple):
    """A set of clips with responses.

    Attributes:
        reader: name of reader and set in the cache.
        n_videos: official number of clips.
        n_repetitions: official number of presentations of each.
    """

    reader: str
    n_videos: int
    n_repetitions: int


class _Reader(Protocol):
    def __call__(self, path: Path, *, strict: bool) -> tuple[ClipVoxels, ...]: ...


class ClipForm(NamedTuple):
    """How a data set keeps its responses.

    Attributes:
        sets: what each of its files holds.
        read: reads a file, and returns its voxels for each of the sets.
    """

    sets: tuple[ClipSet, ...]
    read: _Reader


def repetition_means(voxels: ClipVoxels, atlas: Atlas | None = None) -> Parcels:
    """Average voxels: over the parcels of an atlas, or all of an ROI's.

    A voxel enters by the rule of `array_parcels`: finite in every presentation and not zero in all of them. A
    presentation that is NaN throughout is missing and does not count for this.

    Args:
        voxels: of a file.
        atlas: for a whole brain; None for an ROI.

    Returns:
        Values (T * K, R), repetitions fastest, and counts (R,). An ROI that has no voxel is NaN.

    Raises:
        ValueError: it has voxels, none of which is valid.
    """
    n_videos, n_repetitions, n_voxels = voxels.values.shape
    rows = voxels.values.reshape(n_videos * n_repetitions, n_voxels)
    if voxels.mask is not None and voxels.affine is not None and atlas is not None:
        return array_parcels(rows, voxels.mask, voxels.affine, atlas)
    if n_voxels == 0:
        return Parcels(torch.full((len(rows), 1), torch.nan), torch.tensor([0]))
    valid = usable_voxels(rows)
    if not valid.any():
        raise ValueError("An ROI must have a voxel that is finite throughout and not always zero, got none.")
    there = np.isfinite(rows).any(axis=1)
    means = np.where(there, rows[:, valid].mean(axis=1, dtype=np.float64), np.nan)
    return Parcels(torch.from_numpy(means.astype(np.float32))[:, None], torch.tensor([int(valid.sum())]))


def usable_voxels(rows: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Tell which voxels are finite in every presentation and not zero in all of them.

    Args:
        rows: (N, V) presentations; one that is NaN throughout does not count.

    Returns:
        (V,) booleans.
    """
    finite = np.isfinite(rows)
    there = finite.any(axis=1)
    usable: NDArray[np.bool_] = finite[there].all(axis=0) & (rows[there] != 0).any(axis=0)
    return usable
