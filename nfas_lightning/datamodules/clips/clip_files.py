"""Files of responses to clips: whose are there, in what arrays, and their means over voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from nfas_lightning.data.pairing import name_list, pick
from nfas_lightning.data.regions.atlas import Atlas
from nfas_lightning.data.regions.parcels import Parcels, array_parcels, membership
from nfas_lightning.data.regions.rois import roi_table
from nfas_lightning.errors import InputError, MissingFileError


def choose_subjects(
    place: Path, subjects: Sequence[str] | None, official: Sequence[str], *, strict: bool = True
) -> list[str]:
    """Choose subjects whose folders lie in `place`; None: all, who must be there if `strict`.

    `official` are the folders' names, numbers of two digits last.
    """
    here = [name for name in official if (place / name).is_dir()]
    if subjects is None:
        wanted = list(official) if strict else here
    else:
        names = name_list("subjects", subjects, lambda name: spell_subject(name, official))
        wanted = [official[i] for i in pick("subjects", names, official)]
    absent = [name for name in wanted if name not in here]
    if absent or not wanted:
        raise MissingFileError(
            f"{place} must hold {', '.join(absent) or 'subjects'}, got {', '.join(here) or 'nobody'}: put "
            "them there, or name those that you have (subjects=[...], or strict=False for all of them)."
        )
    return wanted


def spell_subject(name: str, official: Sequence[str]) -> str:
    """Write a subject as a data set's folders do.

    Example:
        >>> spell_subject("sub01", ["sub-01", "sub-02"]), spell_subject("2", ["sub01", "sub02"])
        ('sub-01', 'sub02')
    """
    return f"{official[0][:-2]}{name.removeprefix('sub').lstrip('-_').zfill(2)}"


def functional_table(names: Sequence[str] | None, networks: Mapping[str, str]) -> pd.DataFrame:
    """Return the table of ROIs localized in each subject, None: all of them; they have no coordinates."""
    kept = [list(networks)[i] for i in pick("rois", names, list(networks))]
    return roi_table(kept, network=[networks[name] for name in kept])


def clip_array(
    held: Any, key: str, path: Path, official: tuple[int, int] | None, *, empty: bool = False
) -> NDArray[np.floating[Any]]:
    """Take the responses to clips out of what a file holds.

    Args:
        held: what the file holds; it keeps the array that is returned alone.
        key: of the array.
        path: the file, for errors.
        official: videos and repetitions that there must be; None: any number.
        empty: there may be no voxel.

    Returns:
        (T, K, V) float32 responses to T videos, K repetitions, V voxels.
    """
    array = held.get(key) if isinstance(held, dict) else None
    if not isinstance(array, np.ndarray):
        got = f"the keys {sorted(map(str, held))}" if isinstance(held, dict) else type(held).__name__
        raise InputError(f"{path} must hold a dict with the array {key!r}, got {got}.")
    sizes = array.shape[:2] if empty else array.shape
    if array.ndim != 3 or array.dtype.kind != "f" or 0 in sizes:
        raise InputError(
            f"{path}: {key!r} must be floating point of shape (videos, repetitions, voxels), got "
            f"{array.shape} of {array.dtype}."
        )
    if official is not None and array.shape[:2] != official:
        raise InputError(
            f"{path}: {key!r} must have {official[0]} videos and {official[1]} repetitions, got "
            f"{array.shape[0]} and {array.shape[1]}: strict=False reads it all the same."
        )
    # half the memory of the files' float64, whose means are kept in single precision; the array that was read
    # is let go of here, before a copy of all voxels is needed
    held[key] = array.astype(np.float32)
    single: NDArray[np.floating[Any]] = held[key]
    return single


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
    """A set of clips with responses: reader and set by name, official numbers of clips and repetitions."""

    reader: str
    n_videos: int
    n_repetitions: int


class _Reader(Protocol):
    def __call__(self, path: Path, *, strict: bool) -> tuple[ClipVoxels, ...]: ...


class ClipForm(NamedTuple):
    """How a data set keeps its responses: the sets of a file, and what reads their voxels from it."""

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
        raise InputError("An ROI must have a voxel that is finite throughout and not always zero, got none.")
    there = np.isfinite(rows).any(axis=1)
    means = np.where(there, rows[:, valid].mean(axis=1, dtype=np.float64), np.nan)
    return Parcels(torch.from_numpy(means.astype(np.float32))[:, None], torch.tensor([int(valid.sum())]))


def target_values(voxels: ClipVoxels, targets: Atlas | None = None) -> tuple[Tensor, Tensor]:
    """Take the usable voxels of a file as they are.

    Args:
        voxels: of a file.
        targets: for a whole brain, the voxels that are wanted (see `voxel_targets`); None: all of an ROI's.

    Returns:
        Which of the targets these are (U,), and values (K, T, U).
    """
    n_videos, n_repetitions, n_voxels = voxels.values.shape
    rows, column = np.arange(n_voxels), np.arange(n_voxels)
    if voxels.mask is not None and voxels.affine is not None and targets is not None:
        shape = (voxels.mask.shape[0], voxels.mask.shape[1], voxels.mask.shape[2])
        rows, place = membership(targets, shape, np.asarray(voxels.affine, dtype=np.float64).tobytes())
        position = np.full(shape, -1)
        position[voxels.mask] = np.arange(n_voxels)
        column = position.ravel(order="F")[place]
        rows, column = rows[column >= 0], column[column >= 0]
    usable = usable_voxels(voxels.values.reshape(n_videos * n_repetitions, n_voxels))[column]
    values = np.ascontiguousarray(voxels.values[..., column[usable]].transpose(1, 0, 2))
    return torch.from_numpy(rows[usable]), torch.from_numpy(values)


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
