"""Algonauts 2021 as a datamodule: clips of three seconds, and what ten brains make of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nfas_lightning.data.algonauts import (
    CLIP_S,
    SPLITS,
    TRACKS,
    find_algonauts,
    functional_rois,
    list_videos,
    split_videos,
    subject_files,
)
from nfas_lightning.data.algonauts_responses import read_clip_responses
from nfas_lightning.data.atlas import Atlas, load_atlas
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimulus_set import StimulusSet
from nfas_lightning.data.video import ClipFiles
from nfas_lightning.data.video_nuisances import VIDEO_NUISANCES, video_nuisances
from nfas_lightning.datamodules.base import BrainDataModule
from nfas_lightning.functional.checks import check_option
from nfas_lightning.models.packaged.fetch import cache_dir

__all__ = ["Algonauts2021DataModule"]


class Algonauts2021DataModule(BrainDataModule):
    """Viewers of 1,000 clips of three seconds, one response a clip, averaged over three repetitions.

    Image models see the frames of a clip one by one, and their features are averaged over it; video models
    see the clip. Videos without responses (the challenge's test set) are left out; `describe` counts them.
    Responses are z-scored per subject and ROI; repetitions give the noise ceiling.

    Args:
        root: the folder that holds the clips and ``participants_data_v2021/``, or the one that holds
            ``algonauts2021/``; None: the environment variable ``NFAS_DATA``.
        track: ``"full"``, the whole brain averaged over `atlas`, the axis that benchmarks share; or
            ``"mini"``, nine functional ROIs, which have no coordinates and are an axis of their own.
        rois: of the mini track; None: all nine.
        atlas: a name or a label image for `load_atlas`: ``"seitzman"`` (spheres, needs no download),
            ``"schaefer400"``.
        atlas_table: csv or tsv that names a label image's parcels.
        radius: radius of spheres in mm.
        split: ``"all"``; ``"train"`` or ``"validation"``, without or with nothing but the last tenth of the
            videos, the development kit's; ``"devkit"``, these two as runs, each predicted from the other.
        frames_per_second: frames taken a second. Video models choose theirs among them: take as many as they
            read (16 / 3 for 16).
        size: pixels to which the frames' shorter side is brought; None: 268, as the files have it.
        as_clips: batches hold clips alone, for bare video modules without a preprocess.
        nuisances: any of ``"luminance"``, ``"contrast"`` and ``"motion"``; every clip is then decoded once
            more, before the run.
        cache: folder of the cache of ROI means, nuisances and hashes, None for none; ``"auto"``: ``parcels``
            in ``NFAS_CACHE`` or the user's cache folder.
        progress: show bars while files are read.
        strict: check the official counts; False reads partial copies.
        batch_size: clips a batch.
        num_workers: worker processes of the loaders.
        subjects: e.g. ``["sub01"]``; None: all ten. They stay apart, and scoring averages them or not.

    Reference:
        Cichy et al. (2021), The Algonauts Project 2021 Challenge, arXiv:2104.13714.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        track: str = "full",
        rois: list[str] | None = None,
        atlas: str | os.PathLike[str] = "seitzman",
        atlas_table: str | os.PathLike[str] | None = None,
        radius: float = 6.0,
        split: str = "all",
        frames_per_second: float = 4.0,
        size: int | None = None,
        as_clips: bool = False,
        nuisances: Sequence[str] = VIDEO_NUISANCES,
        cache: str | os.PathLike[str] | None = "auto",
        progress: bool = True,
        strict: bool = True,
        batch_size: int = 4,
        num_workers: int = 0,
        subjects: list[str] | None = None,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, subjects=subjects)
        self.save_hyperparameters()
        check_option("track", track, TRACKS)
        check_option("split", split, SPLITS)
        if rois is not None and track == "full":
            raise ValueError("rois belongs to the mini track: the full track's ROIs are those of its atlas.")
        self.root, self.track, self.split, self.strict = root, track, split, strict
        self.rois = rois
        self.atlas, self.atlas_table, self.radius = atlas, atlas_table, radius
        self.frames_per_second, self.size, self.as_clips = frames_per_second, size, as_clips
        self.nuisances = tuple(nuisances)
        self.cache = cache
        self.progress = progress
        self._n_videos = self._n_answered = 0

    def prepare_data(self) -> None:
        """Check that clips and pickles are there; opens none."""
        self._files()

    def load(self) -> tuple[StimulusSet, Responses]:
        """Read the responses, choose their clips, and pair the two."""
        folder = cache_dir() / "parcels" if self.cache == "auto" else self.cache
        cache = None if folder is None else Path(folder).expanduser()
        videos, files = self._files()
        table, atlas = self._axis()
        read = read_clip_responses(
            files, table, atlas, cache=cache, progress=self.progress, strict=self.strict
        )
        self._n_videos, self._n_answered = len(videos), read.repetitions.shape[2]
        if self._n_answered > len(videos):
            raise ValueError(
                f"Every response needs its clip: got responses to {self._n_answered} videos and "
                f"{len(videos)} clips. Unpack the missing clips."
            )
        rows, runs = split_videos(self._n_answered, self.split)
        values, ceiling, each = read.standardised(rows)
        clips = ClipFiles(
            [videos[i] for i in rows], self.frames_per_second, seconds=CLIP_S, size=self.size, cache=cache
        )
        stimuli = StimulusSet(clips, "vision", as_clips=self.as_clips)
        nuisances = None
        if self.nuisances:
            nuisances = video_nuisances(stimuli, self.nuisances, cache=cache, progress=self.progress)
        return stimuli, Responses(
            values=values,
            rois=read.rois,
            stimulus_ids=tuple(path.stem for path in clips.paths),
            dataset="algonauts2021" if self.track == "full" else "algonauts2021_mini",
            modality="vision",
            subjects=tuple(files),
            runs=runs,
            nuisances=nuisances,
            nuisance_names=self.nuisances,
            noise_ceiling=ceiling,
            subject_ceilings=each,
            hashes=read.hashes | {"stimuli": stimuli.sha256()},
        )

    def describe(self) -> dict[str, Any]:
        """Return what a plan shows, with the videos that are left out and the ROIs without a voxel."""
        return {
            **super().describe(),
            "track": self.track,
            "split": self.split,
            "videos": self._n_videos,
            "videos_without_responses": self._n_videos - self._n_answered,
            "missing_rois": int(self.responses.values.isnan().all(dim=1).all(dim=0).sum()),
        }

    def _files(self) -> tuple[list[Path], dict[str, list[Path]]]:
        folder = find_algonauts(self.root, self.track)
        names = [] if self.track == "full" else list(functional_rois(self.rois)["roi"])
        files = subject_files(folder, self.track, self.subjects, names, strict=self.strict)
        return list_videos(folder, strict=self.strict), files

    def _axis(self) -> tuple[pd.DataFrame, Atlas | None]:
        if self.track == "mini":
            return functional_rois(self.rois), None
        atlas = load_atlas(self.atlas, table=self.atlas_table, radius=self.radius)
        return atlas.table, atlas
