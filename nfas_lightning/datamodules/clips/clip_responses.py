"""Responses to clips: repetitions averaged over voxels, their noise ceiling, subjects side by side."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from rich.progress import track
from torch import Tensor

from nfas_lightning.data.files import content_hash
from nfas_lightning.data.regions.atlas import Atlas
from nfas_lightning.data.regions.cleaning import SINGLE, center_and_scale
from nfas_lightning.data.regions.parcel_cache import parcels_key, read_parcels, write_parcels
from nfas_lightning.data.regions.targets import by_columns, roi_voxels
from nfas_lightning.datamodules.clips.clip_files import ClipForm, ClipSet, repetition_means, target_values
from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_shape
from nfas_lightning.functional.correlation import correlate


class ClipResponses(NamedTuple):
    """Responses of all subjects to a set of videos.

    Attributes:
        repetitions: (S, K, T, R) means over voxels, as the files have them; NaN where there is no value.
        rois: R rows, with ``n_voxels``, the fewest over subjects, 0 where one has none.
        hashes: sha256 by subject and file.
    """

    repetitions: Tensor
    rois: pd.DataFrame
    hashes: dict[str, str]

    def standardized(self, rows: Sequence[int]) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Average repetitions of some videos, z-scored per subject and ROI, with ceilings.

        Args:
            rows: the videos.

        Returns:
            Values (S, T, R), ceilings of the subjects' mean (R,) and of each subject (S, R); ceilings are
            None with a single repetition. A constant ROI is NaN.
        """
        parts = [self._standardized(part[:, :, list(rows)].double()) for part in by_columns(self.repetitions)]
        values, *ceilings = zip(*parts, strict=True)
        joined = [None if part[0] is None else torch.cat(part, dim=-1) for part in ceilings]
        return torch.cat(values, dim=2), joined[0], joined[1]

    @staticmethod
    def _standardized(repetitions: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        mean = repetitions.nanmean(dim=1)
        # means over voxels are kept in float32
        center, scale = center_and_scale(mean, dim=1, rounding=SINGLE)
        values = ((mean - center) / scale).float()
        if repetitions.shape[1] < 2:
            return values, None, None
        scaled = (repetitions - center[:, None]) / scale[:, None]
        each = torch.stack([repetition_ceiling(subject) for subject in scaled])
        return values, repetition_ceiling(scaled.nanmean(dim=0)).float(), each.float()


def read_clip_responses(
    form: ClipForm,
    files: Mapping[str, Sequence[Path]],
    rois: pd.DataFrame,
    atlas: Atlas | None = None,
    *,
    cache: Path | None = None,
    progress: bool = True,
    strict: bool = True,
) -> tuple[ClipResponses, ...]:
    """Read every subject's files, one after the other; means come from the cache where it has them.

    Args:
        form: of the data set.
        files: by subject, one file per ROI, or the whole brain's one.
        rois: R rows: the ROIs, or the atlas's table.
        atlas: what a whole brain is averaged over; None: each file is an ROI.
        cache: folder of the parcel cache, None for none.
        progress: show a bar.
        strict: check the official counts.

    Returns:
        The responses to each set of clips, in the form's order.
    """
    subjects: list[list[Tensor]] = [[] for _ in form.sets]
    counts: list[list[Tensor]] = [[] for _ in form.sets]
    shapes: list[dict[tuple[int, int], Path]] = [{} for _ in form.sets]
    hashes = {}
    width = len(rois) if atlas is not None else 1
    for name in track(list(files), "subjects", transient=True, disable=not progress):
        parts: list[list[_Means]] = []
        for path in files[name]:
            sha256 = str(content_hash(path, cache))
            hashes[f"{name}/{path.name}"] = sha256
            parts.append(_file_means(path, sha256, form, atlas, width, cache, strict))
            for seen, means in zip(shapes, parts[-1], strict=True):
                seen.setdefault((means.values.shape[0], means.values.shape[1]), path)
                _check_shapes(seen)
        for i, of_set in enumerate(zip(*parts, strict=True)):
            subjects[i].append(torch.cat([means.values for means in of_set], dim=2))
            counts[i].append(torch.cat([means.counts for means in of_set]))
    return tuple(
        ClipResponses(
            torch.stack(values),
            rois.reset_index(drop=True).assign(n_voxels=torch.stack(n_voxels).amin(dim=0).numpy()),
            hashes,
        )
        for values, n_voxels in zip(subjects, counts, strict=True)
    )


def read_clip_voxels(
    form: ClipForm,
    files: Mapping[str, Sequence[Path]],
    rois: pd.DataFrame,
    targets: Atlas | None = None,
    *,
    progress: bool = True,
    strict: bool = True,
) -> tuple[ClipResponses, ...]:
    """Read the voxels themselves, one subject after the other; nothing is cached.

    Args:
        form: of the data set.
        files: by subject, the whole brain's one; or of one subject, one file per ROI.
        rois: the ROIs, where there is no whole brain.
        targets: voxels of the whole brain; those that no subject has are left out. None: each file is an ROI.
        progress: show a bar.
        strict: check the official counts.

    Raises:
        FileNotFoundError: a file or its content is missing.
        ValueError: several subjects' functional ROIs, whose voxels are not the same, or a broken file.
    """
    if targets is None and len(files) != 1:
        raise InputError(
            f"Voxels of functional ROIs are not the same in two subjects: name one (subjects=['01']), got "
            f"{len(files)}."
        )
    found: list[list[tuple[int, Tensor, Tensor]]] = [[] for _ in form.sets]
    shapes: list[dict[tuple[int, int], Path]] = [{} for _ in form.sets]
    counts: list[int] = []
    hashes = {}
    for s, name in enumerate(track(list(files), "subjects", transient=True, disable=not progress)):
        for path in files[name]:
            hashes[f"{name}/{path.name}"] = str(content_hash(path, None))
            for own, seen, voxels in zip(found, shapes, form.read(path, strict=strict), strict=True):
                rows, values = target_values(voxels, targets)
                if targets is None:
                    rows = rows + sum(counts)
                own.append((s, rows, values))
                seen.setdefault((values.shape[0], values.shape[1]), path)
                _check_shapes(seen)
            counts.append(len(rows))
    table = roi_voxels(rois, counts) if targets is None else targets.rois
    return tuple(_voxels_together(of_set, len(files), table, hashes) for of_set in found)


def _voxels_together(
    found: list[tuple[int, Tensor, Tensor]], n_subjects: int, table: pd.DataFrame, hashes: dict[str, str]
) -> ClipResponses:
    """Put subjects side by side, NaN where one lacks a voxel; `found` is emptied on the way."""
    n_subjects_with = torch.stack([torch.bincount(rows, minlength=len(table)) for _, rows, _ in found]).sum(
        dim=0
    )
    kept = n_subjects_with > 0
    column = kept.cumsum(0) - 1
    n_repetitions, n_videos, _ = found[0][2].shape
    # pages that nothing was written to take no memory: the subjects move here one by one
    together = torch.empty(n_subjects, n_repetitions, n_videos, int(kept.sum()))
    begun = set[int]()
    while found:
        s, rows, values = found.pop()
        if s not in begun:
            together[s] = torch.nan
            begun.add(s)
        together[s][..., column[rows]] = values
    rois = table[kept.numpy()].reset_index(drop=True)
    everywhere = n_subjects_with[kept] == n_subjects
    return ClipResponses(together, rois.assign(n_voxels=everywhere.long().numpy()), hashes)


class _Means(NamedTuple):
    """(K, T, R) means of one file, and the (R,) voxels they rest on."""

    values: Tensor
    counts: Tensor


def _check_shapes(seen: Mapping[tuple[int, int], Path]) -> None:
    if len(seen) > 1:
        told = "; ".join(
            f"{n} videos, {k} repetitions in {p.parent.name}/{p.name}" for (k, n), p in seen.items()
        )
        raise InputError(f"All files must answer the same videos, got {told}: unpack the odd one again.")


def _file_means(
    path: Path,
    sha256: str,
    form: ClipForm,
    atlas: Atlas | None,
    width: int,
    cache: Path | None,
    strict: bool,
) -> list[_Means]:
    """Return the means of one file, for each set."""
    of_atlas = "" if atlas is None else atlas.sha256()
    settings = [{"reader": one.reader, "repetitions": str(one.n_repetitions)} for one in form.sets]
    keys = [parcels_key([sha256], of_atlas, each) for each in settings]
    if cache is not None:
        known = [
            _cached(cache, key, one, path, width, strict) for key, one in zip(keys, form.sets, strict=True)
        ]
        here = [means for means in known if means is not None]
        if len(here) == len(known):
            return here
    out = []
    for key, one, voxels in zip(keys, form.sets, form.read(path, strict=strict), strict=True):
        n_repetitions = voxels.values.shape[1]
        try:
            parcels = repetition_means(voxels, atlas)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
        # a file of other repetitions is none of the data set's: its means would not say how many they are
        if cache is not None and n_repetitions == one.n_repetitions:
            write_parcels(cache, key, parcels)
        values = parcels.values.reshape(-1, n_repetitions, width).transpose(0, 1)
        out.append(_Means(values, parcels.counts))
    return out


def _cached(cache: Path, key: str, one: ClipSet, path: Path, width: int, strict: bool) -> _Means | None:
    known, complaint = read_parcels(cache, key, width)
    if complaint:
        warnings.warn(f"{path}: {complaint}; it was computed anew.", stacklevel=5)
    if known is None:
        return None
    # where the counts are not the official ones, or there is no voxel, the file is read again and says so
    if strict and (len(known.values) != one.n_videos * one.n_repetitions or not known.counts.any()):
        return None
    return _Means(known.values.view(-1, one.n_repetitions, width).transpose(0, 1), known.counts)


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
        raise InputError(f"A noise ceiling needs at least two repetitions, got {n}.")
    pairs = itertools.combinations(repetitions, 2)
    r = torch.stack([correlate(first, second) for first, second in pairs]).nanmean(dim=0).clamp(min=0)
    return (n * r / (1 + (n - 1) * r)).sqrt()
