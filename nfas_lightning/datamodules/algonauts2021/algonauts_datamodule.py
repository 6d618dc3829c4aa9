"""Algonauts 2021 as a datamodule: clips of three seconds, and what ten brains make of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from nfas_lightning.data.regions.atlas import Atlas, load_atlas
from nfas_lightning.data.regions.targets import brain_voxels, voxel_targets
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.datamodules.algonauts2021 import algonauts_reader as reader
from nfas_lightning.datamodules.clips.clip_datamodule import ClipDataModule
from nfas_lightning.datamodules.clips.clip_files import functional_table
from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_option


class Algonauts2021DataModule(ClipDataModule):
    """Viewers of 1,000 clips of three seconds, one response per clip, averaged over three repetitions.

    Videos without responses (the challenge's test set) are left out; `describe` counts them.
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
        mask: 3D NIfTI file of the voxels that are kept with ``regions="voxels"`` on the full track, where
            `atlas` names the parcel that each lies in; None: those of the MNI152 brain.
        split: ``"all"``; ``"train"`` or ``"validation"``, without or with nothing but the last tenth of the
            videos, the development kit's; ``"devkit"``, these two as runs, each predicted from the other.
        **options: of `ClipDataModule`: subjects, frames_per_second, size, nuisances, cache, strict and more.

    Reference:
        Cichy et al. (2021), The Algonauts Project 2021 Challenge, arXiv:2104.13714.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        track: Literal["full", "mini"] = "full",
        rois: list[str] | None = None,
        atlas: str | os.PathLike[str] = "seitzman",
        atlas_table: str | os.PathLike[str] | None = None,
        radius: float = 6.0,
        mask: str | os.PathLike[str] | None = None,
        split: Literal["all", "train", "validation", "devkit"] = "all",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.save_hyperparameters()
        check_option("track", track, reader.TRACKS)
        check_option("split", split, reader.SPLITS)
        if mask is not None and (track, self.regions) != ("full", "voxels"):
            raise InputError("mask belongs to regions='voxels' of the full track: leave it out.")
        if rois is not None and track == "full":
            raise InputError("rois belongs to the mini track: the full track's ROIs are those of its atlas.")
        self.root, self.track, self.split = root, track, split
        self.rois = rois
        self.atlas, self.atlas_table, self.radius, self.mask = atlas, atlas_table, radius, mask
        self._n_videos = self._n_answered = 0

    def prepare_data(self) -> None:
        """Check that clips and pickles are there; opens none."""
        self._files()

    def load(self) -> tuple[StimulusSet, Responses]:
        """Read the responses, choose their clips, and pair the two."""
        videos, files = self._files()
        table, atlas = self._axis()
        (read,) = self.read(reader.ALGONAUTS, files, table, atlas)
        self._n_videos, self._n_answered = len(videos), read.repetitions.shape[2]
        if self._n_answered > len(videos):
            raise InputError(
                f"Every response needs its clip: got responses to {self._n_answered} videos and "
                f"{len(videos)} clips. Unpack the missing clips."
            )
        rows, runs = reader.split_videos(self._n_answered, self.split)
        values, ceiling, each = read.standardized(rows)
        return self.pair(
            "algonauts2021" if self.track == "full" else "algonauts2021_mini",
            [videos[i] for i in rows],
            values,
            read.rois,
            seconds=reader.CLIP_S,
            subjects=list(files),
            runs=runs,
            noise_ceiling=ceiling,
            subject_ceilings=each,
            hashes=read.hashes,
        )

    def describe(self) -> dict[str, Any]:
        """Return what a plan shows, with the videos that are left out and the ROIs without a voxel."""
        return {
            **super().describe(),
            "track": self.track,
            "split": self.split,
            "videos": self._n_videos,
            "videos_without_responses": self._n_videos - self._n_answered,
            "missing_rois": self.n_missing_rois,
        }

    def _files(self) -> tuple[list[Path], dict[str, list[Path]]]:
        folder = reader.find_algonauts(self.root, self.track)
        names = [] if self.track == "full" else list(functional_table(self.rois, reader.ROIS)["roi"])
        files = reader.subject_files(folder, self.track, self.subjects, names, strict=self.strict)
        return reader.list_videos(folder, strict=self.strict), files

    def _axis(self) -> tuple[pd.DataFrame, Atlas | None]:
        if self.track == "mini":
            return functional_table(self.rois, reader.ROIS), None
        atlas = load_atlas(self.atlas, table=self.atlas_table, radius=self.radius)
        if self.regions == "voxels":
            atlas = voxel_targets(*brain_voxels(self.mask, reader.GRID, reader.AFFINE), atlas)
        return atlas.rois, atlas
