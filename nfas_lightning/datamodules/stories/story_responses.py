"""Responses to stories: parcel means of every listener, cleaned, trimmed, z-scored and put side by side."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data.files import require_file
from nfas_lightning.data.regions.atlas import Atlas
from nfas_lightning.data.regions.cleaning import SINGLE, zscore
from nfas_lightning.data.regions.extraction import Scan, extract_scans
from nfas_lightning.data.regions.parcels import Parcels
from nfas_lightning.data.regions.targets import by_columns
from nfas_lightning.data.tables import read_csv
from nfas_lightning.datamodules.stories.story import Story, StoryScan
from nfas_lightning.errors import InputError
from nfas_lightning.functional.ceiling import CeilingMethod, noise_ceiling
from nfas_lightning.functional.confounds import high_pass_basis, regress_out

_Item = TypeVar("_Item")

# series held at once beside the responses: of as many scans as have so many regions together
_HELD_SERIES = 400_000
_N_SPLITS = 25  # of the split-half ceiling, a story: the mean over stories steadies it further


class StoryResponses(NamedTuple):
    """What listeners did during one story.

    Attributes:
        values: (S, T, R) z-scored series of the story's listeners, float32, NaN where there is no value.
        subjects: S names.
        counts: (R,) voxels or vertices of each parcel, the fewest in a scan that has it; 0 where none has.
        hashes: sha256 of the files.
    """

    values: Tensor
    subjects: tuple[str, ...]
    counts: Tensor
    hashes: dict[str, str]

    def ceiling(self, method: CeilingMethod, *, n_folds: int = 1) -> Tensor:
        """Return the (R,) ceiling of `noise_ceiling`; NaN with one listener, or no value.

        Args:
            method: see `noise_ceiling`.
            n_folds: contiguous parts over which correlations are averaged; 1: the whole.
        """
        sizes = [len(part) for part in torch.arange(self.values.shape[1]).tensor_split(n_folds)]
        fold = torch.arange(n_folds).repeat_interleave(torch.tensor(sizes))

        def estimate(values: Tensor) -> Tensor:
            known = (~values.isnan()).any(dim=1).sum(dim=0) > 1
            out = torch.full((values.shape[2],), torch.nan)
            if bool(known.any()):
                out[known] = noise_ceiling(
                    values[:, :, known], method=method, n_splits=_N_SPLITS, fold=fold
                ).float()
            return out

        return torch.cat([estimate(part) for part in by_columns(self.values)])

    @property
    def mean(self) -> Tensor:
        """(1, T, R) mean over the listeners that have a value."""
        return torch.cat([part.nanmean(dim=0, keepdim=True) for part in by_columns(self.values)], dim=2)


@dataclass
class StoryScans:
    """Reads the listeners of one story after the other, so that no more than one story's series are held.

    Attributes:
        atlas: what the scans are averaged over.
        cache: folder of the parcel cache, None for none.
        workers: processes.
        progress: show a bar.
        high_pass: cut-off in Hz of the drift filter, None for none.
        confounds: columns to regress out of scans that come with a table of confounds.
        strict: a scan of another length than expected is an error, not a warning.
    """

    atlas: Atlas
    cache: str | os.PathLike[str] | None = None
    workers: int = 0
    progress: bool = True
    high_pass: float | None = None
    confounds: Sequence[str] = ()
    strict: bool = True
    _last: tuple[list[Path], tuple[list[Parcels], dict[str, str]]] | None = None

    def prefetch(self, stories: Sequence[Story]) -> None:
        """Fill the cache with many stories at once: processes take seconds to start, so not for each anew.

        Without processes, or without a cache to put it into, nothing is read.
        """
        if not self.workers or self.cache is None:
            return
        scans = list(dict.fromkeys(heard.scan for story in stories for heard in story.scans))
        for part in self._parts(scans):
            self._extract(part)

    def read(self, story: Story) -> StoryResponses:
        """Read one story.

        A subject's repeats are averaged after z-scoring. The story is as long as in most scans; a longer scan
        is cut and a shorter one filled with NaN at its end, with a warning. In strict mode both are errors.
        """
        if not story.scans:
            raise InputError(f"Story {story.name} must have at least one listener, got none.")
        series: dict[str, list[Tensor]] = {}
        counts: list[Tensor] = []
        hashes: dict[str, str] = {}
        scans_of = Counter(heard.subject for heard in story.scans)
        for part in self._parts(story.scans):
            parcels, own = self._parcels(part)
            hashes |= own
            for heard, means in zip(part, parcels, strict=True):
                # repeats are averaged in float64
                dtype = torch.float32 if scans_of[heard.subject] == 1 else torch.float64
                series.setdefault(heard.subject, []).append(self._clean(story, heard, means, dtype))
                counts.append(means.counts)
            del parcels, means
            if len(part) < len(story.scans):
                self._last = None
        wanted = _usual_length([len(part) for parts in series.values() for part in parts])
        other = sorted({name for name, parts in series.items() for part in parts if len(part) != wanted})
        if other:
            message = (
                f"Story {story.name}: all scans must keep {wanted} volumes as most do, but those of "
                f"{len(other)} of {len(series)} subjects do not, {', '.join(other[:5])} among them"
            )
            if self.strict:
                raise InputError(f"{message}. Leave them out with subjects, or read them with strict=False.")
            warnings.warn(f"{message}: cut, or missing at their end.", stacklevel=2)
        subjects = tuple(series)
        values = torch.empty(len(subjects), wanted, len(counts[0]))
        for row, subject in zip(values, subjects, strict=True):
            row[:] = _mean_of_repeats(series.pop(subject), wanted)
        return StoryResponses(values, subjects, fewest_counts(counts), hashes)

    def _parts(self, scans: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
        """Split what is read into parts that fit into memory together, one for each process at least."""
        step = max(1, self.workers, _HELD_SERIES // len(self.atlas.rois))
        return (scans[start : start + step] for start in range(0, len(scans), step))

    def _parcels(self, scans: Sequence[StoryScan]) -> tuple[list[Parcels], dict[str, str]]:
        files = [file for heard in scans for file in heard.scan.files]
        # two parts of one scan are two stories, read once
        if self._last is None or self._last[0] != files:
            self._last = None
            self._last = (files, self._extract([heard.scan for heard in scans]))
        return self._last[1]

    def _extract(self, scans: Sequence[Scan]) -> tuple[list[Parcels], dict[str, str]]:
        return extract_scans(
            scans, self.atlas, cache=self.cache, workers=self.workers, progress=self.progress
        )

    def _clean(self, story: Story, heard: StoryScan, means: Parcels, dtype: torch.dtype) -> Tensor:
        n = len(means.values)
        if self.strict and story.n_scanned not in (None, n):
            raise InputError(
                f"{heard.scan.key} must have {story.n_scanned} volumes ({story.name}), got {n}: fetch it "
                "again, or read it with strict=False."
            )
        stop = n - story.drop_last if story.stop is None else story.stop
        if self.strict and stop > n:
            raise InputError(
                f"{heard.scan.key} must reach volume {stop} ({story.name}), got {n} volumes: leave the "
                "subject out, or read it with strict=False."
            )
        stop = min(stop, n)
        if stop - story.first < 2:
            raise InputError(
                f"{heard.scan.key} must keep two volumes of {story.name} at least, got {stop - story.first}: "
                f"it has {n}, and volumes {story.first} to {stop} are kept."
            )
        regressors = None
        if heard.confounds is not None and self.confounds:
            regressors = read_confounds(heard.confounds, self.confounds, n)
        clean = partial(
            clean_scan,
            tr=story.tr,
            first=story.first,
            stop=stop,
            high_pass=self.high_pass,
            confounds=regressors,
        )
        return torch.cat([clean(part).to(dtype) for part in by_columns(means.values)], dim=1)

    def rois(self, counts: Tensor) -> pd.DataFrame:
        """Return the atlas's table with the parcels' voxel counts, 0 for missing ones."""
        return self.atlas.rois.assign(n_voxels=counts.numpy())


def fewest_counts(counts: Sequence[Tensor]) -> Tensor:
    """Return the (R,) smallest counts that are not 0; 0 where all are.

    Example:
        >>> fewest_counts([torch.tensor([0, 5, 0]), torch.tensor([3, 4, 0])]).tolist()
        [3, 4, 0]
    """
    stacked = torch.stack(list(counts))
    most = torch.iinfo(stacked.dtype).max
    fewest = torch.where(stacked > 0, stacked, most).amin(dim=0)
    return fewest.masked_fill(fewest == most, 0)


def _usual_length(lengths: Sequence[int]) -> int:
    """Return the most common length, the longest of those that are as common."""
    return max(set(lengths), key=lambda n: (lengths.count(n), n))


def _mean_of_repeats(parts: Sequence[Tensor], length: int) -> Tensor:
    filled = []
    for part in parts:
        end = part.new_full((max(0, length - len(part)), part.shape[1]), torch.nan)
        filled.append(torch.cat([part[:length], end]))
    return filled[0] if len(filled) == 1 else torch.stack(filled).nanmean(dim=0)


def clean_scan(
    series: Tensor,
    *,
    tr: float,
    first: int = 0,
    stop: int | None = None,
    high_pass: float | None = None,
    confounds: Tensor | None = None,
) -> Tensor:
    """Keep some volumes of a scan, remove drifts and confounds over these, and z-score them.

    The scan is cut first and filtered afterwards. Drifts are fitted to the kept volumes alone, as they are in
    features, which have no others; and what was heard in another part of the scan changes nothing here.
    `nfas_lightning.data.clean_series` does it the other way round: it filters a whole scan, then drops its
    first volumes. Missing parcels and volumes stay missing here, where it refuses them.

    Args:
        series: (T, R) parcel means; a column of NaN is a missing parcel, a row of NaN a missing volume.
        tr: repetition time in seconds.
        first: first volume kept.
        stop: volume that the kept ones end before; None: the end.
        high_pass: cut-off of the drift filter in Hz, None for none.
        confounds: (T, C) regressors of the whole scan, removed together with the drifts.

    Returns:
        (stop - first, R) float64: mean 0 and standard deviation 1 over the volumes that are there; NaN in
        columns that are constant.
    """
    kept = cleaned = series[first:stop].double()
    if high_pass is not None or confounds is not None:
        parts = [torch.zeros(len(kept), 0).double()]
        if high_pass is not None:
            parts.append(high_pass_basis(len(kept), tr, high_pass).double())
        if confounds is not None:
            parts.append(confounds[first:stop].double())
        cleaned = regress_out(kept, torch.cat(parts, dim=1))
    # parcel means are kept in float32
    return zscore(cleaned, size=kept.nan_to_num().abs().amax(dim=0), rounding=SINGLE)


def read_confounds(path: Path, columns: Sequence[str], n_volumes: int) -> Tensor:
    """Read columns of a table of confounds that fMRIPrep wrote, (T, C) float64 for T volumes.

    The first row's n/a (a change since a volume that is not there) become 0.
    """
    table = read_csv(require_file(path), list(columns), sep="\t")
    if len(table) != n_volumes:
        raise InputError(f"{path.name} must have one row per volume, {n_volumes}, got {len(table)}.")
    values = table[list(columns)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64, copy=True)
    values[0] = np.nan_to_num(values[0])
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise InputError(
            f"{path.name}: {columns[column]} must be a number in every volume but the first, got "
            f"{table[columns[column]].iloc[row]!r} in volume {row}."
        )
    return torch.from_numpy(values)
