"""What the benchmarks of short clips share: frames, nuisances, and the pairing with responses."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from rich.progress import track
from torch import Tensor

from nfas_lightning.data.files import content_hash, require_file
from nfas_lightning.data.regions.atlas import Atlas
from nfas_lightning.data.regions.parcel_cache import parcels_key, read_parcels, write_parcels
from nfas_lightning.data.regions.parcels import Parcels
from nfas_lightning.data.regions.targets import REGIONS
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.clips import ClipFiles
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.data.stimuli.video import VIDEO_NUISANCES, every_frame, frame_statistics
from nfas_lightning.datamodules.base import BrainDataModule, parcel_cache
from nfas_lightning.datamodules.clips.clip_files import ClipForm
from nfas_lightning.datamodules.clips.clip_responses import (
    ClipResponses,
    read_clip_responses,
    read_clip_voxels,
)
from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_option


class ClipDataModule(BrainDataModule):
    """Base of `Algonauts2021DataModule` and `BoldMomentsDataModule`, which read the responses.

    Image models see the frames of a clip one by one, and their features are averaged over it; video models
    see the clip.

    Args:
        frames_per_second: frames taken per second. Video models choose theirs among them: take as many
            as they read (16 / 3 for 16).
        size: pixels to which the frames' shorter side is brought; None: 268, as the files have it.
        as_clips: batches hold clips alone, for bare video modules without a preprocess.
        regions: ``"parcels"`` averages voxels over ROIs, ``"voxels"`` keeps them apart; those of functional
            ROIs of one subject alone, since no other has the same.
        nuisances: any of ``"luminance"``, ``"contrast"`` and ``"motion"``, of all frames of a clip; every
            clip is then decoded once more, before the run.
        cache: folder of the cache of ROI means, nuisances and hashes, None for none; ``"auto"``: ``parcels``
            in ``NFAS_CACHE`` or the user's cache folder.
        progress: show bars while files are read.
        strict: check the official counts; False reads partial copies.
        batch_size: clips per batch.
        **options: of `BrainDataModule`: num_workers and subjects, e.g. ``["01"]``; None: all ten. They stay
            apart, and scoring averages them or not.
    """

    def __init__(
        self,
        *,
        frames_per_second: float = 4.0,
        size: int | None = None,
        as_clips: bool = False,
        regions: Literal["parcels", "voxels"] = "parcels",
        nuisances: Sequence[str] = VIDEO_NUISANCES,
        cache: str | os.PathLike[str] | None = "auto",
        progress: bool = True,
        strict: bool = True,
        batch_size: int = 4,
        **options: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **options)
        self.frames_per_second, self.size, self.as_clips = frames_per_second, size, as_clips
        check_option("regions", regions, REGIONS[:2])
        self.regions = regions
        self.nuisances = tuple(nuisances)
        self.cache = cache
        self.progress = progress
        self.strict = strict

    @property
    def cache_folder(self) -> Path | None:
        """Folder of the cache, None for none."""
        return parcel_cache(self.cache)

    def read(
        self,
        form: ClipForm,
        files: Mapping[str, Sequence[Path]],
        rois: pd.DataFrame,
        atlas: Atlas | None = None,
    ) -> tuple[ClipResponses, ...]:
        """Read the responses to each set of clips: voxels, or means over ROIs or parcels."""
        options = {"progress": self.progress, "strict": self.strict}
        if self.regions == "voxels":
            return read_clip_voxels(form, files, rois, atlas, **options)
        return read_clip_responses(form, files, rois, atlas, cache=self.cache_folder, **options)

    def pair(
        self,
        dataset: str,
        paths: Sequence[Path],
        values: Tensor,
        rois: pd.DataFrame,
        *,
        seconds: float,
        subjects: Sequence[str],
        runs: Tensor,
        noise_ceiling: Tensor | None,
        subject_ceilings: Tensor | None,
        hashes: Mapping[str, str],
    ) -> tuple[StimulusSet, Responses]:
        """Make stimuli of clips, and responses that pair with them.

        T `paths` of clips of so many `seconds`; `values` (S, T, R) and R rows of `rois`; (T,) `runs`;
        ceilings of the subjects' mean (R,) and of each subject (S, R); sha256 of the files of responses.
        """
        cache = self.cache_folder
        clips = ClipFiles(paths, self.frames_per_second, seconds=seconds, size=self.size, cache=cache)
        stimuli = StimulusSet(clips, "vision", as_clips=self.as_clips)
        nuisances = None
        if self.nuisances:
            nuisances = video_nuisances(clips, self.nuisances, cache=cache, progress=self.progress)
        return stimuli, Responses(
            values=values,
            rois=rois,
            stimulus_ids=tuple(path.stem for path in clips.paths),
            dataset=dataset if self.regions == "parcels" else f"{dataset}_{self.regions}",
            modality="vision",
            subjects=tuple(subjects),
            runs=runs,
            nuisances=nuisances,
            nuisance_names=self.nuisances,
            noise_ceiling=noise_ceiling,
            subject_ceilings=subject_ceilings,
            hashes={**hashes, "stimuli": stimuli.sha256()},
        )

    @property
    def n_missing_rois(self) -> int:
        """ROIs without a value in any subject."""
        return int(self.responses.values.isnan().all(dim=1).all(dim=0).sum())


def video_nuisances(
    clips: ClipFiles, names: Sequence[str], *, cache: Path | None = None, progress: bool = True
) -> Tensor:
    """Compute `frame_statistics` of all frames of every clip, or take them from the cache.

    Args:
        clips: N files, decoded at their own frame rate whatever rate the models see.
        names: Q columns wanted, of `VIDEO_NUISANCES`.
        cache: folder of the parcel cache, None for none.
        progress: show a bar.

    Returns:
        (N, Q).
    """
    unknown = [name for name in names if name not in VIDEO_NUISANCES]
    if unknown or len(set(names)) != len(names):
        raise InputError(
            f"nuisances must be some of {', '.join(VIDEO_NUISANCES)}, each once, got {list(names)}."
        )
    columns = [VIDEO_NUISANCES.index(name) for name in names]
    hashes = [str(content_hash(require_file(path), cache)) for path in clips.paths]
    key = parcels_key(
        hashes, "", {"statistics of every frame": ",".join(VIDEO_NUISANCES), "size": str(clips.size)}
    )
    if cache is not None:
        # damaged or absent, it is computed anew: that costs no more than time
        known, _ = read_parcels(cache, key, len(VIDEO_NUISANCES))
        if known is not None:
            return known.values[:, columns]
    paths = track(clips.paths, "clips", transient=True, disable=not progress)
    values = torch.stack([frame_statistics(every_frame(path, size=clips.size)) for path in paths])
    if cache is not None:
        write_parcels(cache, key, Parcels(values, torch.full((len(VIDEO_NUISANCES),), len(values))))
    return values[:, columns]
