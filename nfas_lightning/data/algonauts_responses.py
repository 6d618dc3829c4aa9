"""Responses to clips: repetitions averaged over voxels, their noise ceiling, subjects side by side."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from rich.progress import track
from torch import Tensor

from nfas_lightning.data.algonauts import AFFINE, N_ANSWERED, N_REPETITIONS, TrackFile, read_track_file
from nfas_lightning.data.atlas import Atlas
from nfas_lightning.data.parcel_cache import content_hash, parcels_key, read_parcels, write_parcels
from nfas_lightning.data.parcels import Parcels, array_parcels
from nfas_lightning.functional.checks import check_shape
from nfas_lightning.functional.correlation import correlate

__all__ = ["ClipResponses", "read_clip_responses", "repetition_ceiling", "repetition_means"]


class ClipResponses(NamedTuple):
    """Responses of all subjects to all videos that have any.

    Attributes:
        repetitions: (S, K, T, R) means over voxels, as the files have them; NaN where there is no value.
        rois: R rows, with ``n_voxels``, the fewest over subjects, 0 where one has none.
        hashes: sha256 by subject and file.
    """

    repetitions: Tensor
    rois: pd.DataFrame
    hashes: dict[str, str]

    def standardised(self, rows: range) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Average repetitions of some videos, z-scored per subject and ROI, with ceilings.

        Args:
            rows: the videos.

        Returns:
            Values (S, T, R), ceilings of the subjects' mean (R,) and of each subject (S, R); ceilings are
            None with a single repetition. A constant ROI is NaN.
        """
        repetitions = self.repetitions[:, :, list(rows)].double()
        mean = repetitions.nanmean(dim=1)
        centre = mean.nanmean(dim=1, keepdim=True)
        scale = (mean - centre).square().nanmean(dim=1, keepdim=True).sqrt()
        size = mean.nan_to_num().abs().amax(dim=1, keepdim=True)
        scale = torch.where(scale <= 1e-6 * size, torch.nan, scale)
        values = ((mean - centre) / scale).float()
        if repetitions.shape[1] < 2:
            return values, None, None
        scaled = (repetitions - centre[:, None]) / scale[:, None]
        each = torch.stack([repetition_ceiling(subject) for subject in scaled])
        return values, repetition_ceiling(scaled.nanmean(dim=0)).float(), each.float()


def read_clip_responses(
    files: Mapping[str, Sequence[Path]],
    rois: pd.DataFrame,
    atlas: Atlas | None,
    *,
    cache: Path | None = None,
    progress: bool = True,
    strict: bool = True,
) -> ClipResponses:
    """Read every subject's pickles, one after the other; means come from the cache where it has them.

    Args:
        files: by subject, a file an ROI, or the whole brain's one.
        rois: R rows: the ROIs, or the atlas's table.
        atlas: what a whole brain is averaged over; None: each file is an ROI.
        cache: folder of the parcel cache, None for none.
        progress: show a bar.
        strict: check the official counts.

    Raises:
        FileNotFoundError: a file or its content is missing.
        ValueError: a file is broken, or files disagree about videos or repetitions.
    """
    subjects, hashes = [], {}
    counts = []
    shapes: dict[tuple[int, ...], Path] = {}
    width = len(rois) if atlas is not None else 1
    for name in track(list(files), "subjects", transient=True, disable=not progress):
        parts = []
        for path in files[name]:
            sha256 = str(content_hash(path, cache))
            hashes[f"{name}/{path.name}"] = sha256
            repetitions, n_voxels = _means(path, sha256, atlas, width, cache, strict)
            shapes.setdefault(tuple(repetitions.shape[:2]), path)
            parts.append((repetitions, n_voxels))
        if len(shapes) > 1:
            told = "; ".join(
                f"{n} videos, {k} repetitions in {p.parent.name}/{p.name}" for (k, n), p in shapes.items()
            )
            raise ValueError(f"All files must answer the same videos, got {told}: unpack the odd one again.")
        subjects.append(torch.cat([part for part, _ in parts], dim=2))
        counts.append(torch.cat([n for _, n in parts]))
    table = rois.reset_index(drop=True).assign(n_voxels=torch.stack(counts).amin(dim=0).numpy())
    return ClipResponses(torch.stack(subjects), table, hashes)


def _means(
    path: Path, sha256: str, atlas: Atlas | None, width: int, cache: Path | None, strict: bool
) -> tuple[Tensor, Tensor]:
    """Return the (K, T, R) means of one file and the (R,) voxels they rest on."""
    settings = {"reader": "algonauts", "repetitions": str(N_REPETITIONS)}
    key = parcels_key([sha256], "" if atlas is None else atlas.sha256(), settings)
    if cache is not None:
        known, complaint = read_parcels(cache, key, width)
        if complaint:
            warnings.warn(f"{path}: {complaint}; it was computed anew.", stacklevel=4)
        # where the counts are not the official ones, the file is read again and says so
        if known is not None and not (strict and len(known.values) != N_ANSWERED * N_REPETITIONS):
            return known.values.view(-1, N_REPETITIONS, width).transpose(0, 1), known.counts
    file = read_track_file(path, strict=strict)
    n_repetitions = file.train.shape[1]
    try:
        parcels = repetition_means(file, atlas)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    # a file of other repetitions is none of the benchmark's: its means would not say how many they are
    if cache is not None and n_repetitions == N_REPETITIONS:
        write_parcels(cache, key, parcels)
    return parcels.values.reshape(-1, n_repetitions, width).transpose(0, 1), parcels.counts


def repetition_means(file: TrackFile, atlas: Atlas | None) -> Parcels:
    """Average the voxels of a file: over the parcels of an atlas, or all of an ROI's.

    A voxel enters by the rule of `array_parcels`: finite in every presentation and not zero in all of them. A
    presentation that is NaN throughout is missing and does not count for this.

    Args:
        file: what `read_track_file` returned.
        atlas: for a whole brain; None for an ROI.

    Returns:
        Values (T * K, R), repetitions fastest, and counts (R,).

    Raises:
        ValueError: no voxel is valid.
    """
    rows = file.train.reshape(-1, file.train.shape[2])
    if file.mask is not None and atlas is not None:
        return array_parcels(rows, file.mask, AFFINE, atlas)
    finite = np.isfinite(rows)
    there = finite.any(axis=1)
    valid = finite[there].all(axis=0) & (rows[there] != 0).any(axis=0)
    if not valid.any():
        raise ValueError("An ROI must have a voxel that is finite throughout and not always zero, got none.")
    means = np.where(there, rows[:, valid].mean(axis=1, dtype=np.float64), np.nan)
    return Parcels(torch.from_numpy(means.astype(np.float32))[:, None], torch.tensor([int(valid.sum())]))


def repetition_ceiling(repetitions: Tensor) -> Tensor:
    r"""Estimate from repetitions how well an ideal model could correlate with their mean.

    The correlation of two single repetitions, averaged over all pairs, is stepped up to K of them by
    Spearman-Brown and brought to the scale of a correlation with the noiseless response,

    .. math:: c = \sqrt{K \bar r / (1 + (K - 1) \bar r)} .

    With K = 2 that is the split-half ceiling; with three, halves would have one and two repetitions, for
    which the usual formula falls short.

    Args:
        repetitions: (K, T, R), K of at least two. NaN marks missing values.

    Returns:
        (R,) ceilings in [0, 1]; a negative r counts as 0. NaN where nothing can be said.

    Reference:
        Spearman (1910), Br. J. Psychol. 3, 271-295, doi:10.1111/j.2044-8295.1910.tb00206.x.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> Y = torch.randn(1, 4000, 1, generator=g) + torch.randn(3, 4000, 1, generator=g)
        >>> round(float(repetition_ceiling(Y)), 1), round((3 / 4) ** 0.5, 1)
        (0.9, 0.9)
    """
    check_shape("repetitions", repetitions, "K T R")
    n = len(repetitions)
    if n < 2:
        raise ValueError(f"A noise ceiling needs at least two repetitions, got {n}.")
    pairs = itertools.combinations(repetitions, 2)
    r = torch.stack([correlate(first, second) for first, second in pairs]).nanmean(dim=0).clamp(min=0)
    return (n * r / (1 + (n - 1) * r)).sqrt()
