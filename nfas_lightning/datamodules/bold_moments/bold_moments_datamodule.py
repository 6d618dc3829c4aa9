"""The BOLD Moments Dataset as a datamodule: clips of three seconds, the test set's responses included."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.datamodules.bold_moments import bold_moments_reader as reader
from nfas_lightning.datamodules.clips.clip_datamodule import ClipDataModule
from nfas_lightning.datamodules.clips.clip_files import functional_table
from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_option


class BoldMomentsDataModule(ClipDataModule):
    """Viewers of 1,000 training clips, three times each, and of 102 test clips, ten times each.

    The open release of the experiment behind Algonauts 2021 (OpenNeuro ds005165, version A, the responses of
    TRs 5 to 9 averaged). Responses come for 22 functional ROIs, which have no coordinates and are an axis of
    their own. The whole brain's files are left out: nothing public says where in MNI space their columns lie.
    Three ROIs could not be localized in everybody (TOS in sub-06, RSC and TOS in sub-07): there they are NaN.

    Repetitions are averaged, then z-scored per subject and ROI, training and test clips apart: the two were
    averaged over unlike numbers of repetitions. Repetitions give the noise ceiling of each of the two.

    Args:
        root: the folder that holds ``derivatives/versionA/``, or the one that holds ``ds005165/``; None: the
            environment variable ``NFAS_DATA``.
        videos: the folder that holds the clips, where it is another: ``stimuli/train/`` and
            ``stimuli/test/``, or ``mp4_h264/``; None: they are looked for below `root`.
        rois: names; None: all 22.
        split: ``"train"`` or ``"test"``, these clips alone; ``"all"``, both in one run, with the ceilings of
            the two averaged by their numbers of clips; ``"train_test"``, both as runs, each predicted from
            the other, the test clips from the training clips among them, and the plain mean of the ceilings.
        **options: of `ClipDataModule`: subjects, frames_per_second, size, nuisances, cache, strict and more.
            With ``strict=False`` clips without a response, and responses without a clip, are left out.

    Reference:
        Lahner et al. (2024), Nature Communications 15, 6241, doi:10.1038/s41467-024-50310-3.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        videos: str | os.PathLike[str] | None = None,
        rois: list[str] | None = None,
        split: Literal["all", "train", "test", "train_test"] = "all",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.save_hyperparameters()
        check_option("split", split, tuple(reader.SPLITS))
        self.root, self.videos, self.rois, self.split = root, videos, rois, split
        self._n_clips = (0, 0)

    def prepare_data(self) -> None:
        """Check that clips and pickles are there; opens none."""
        self._files()

    def load(self) -> tuple[StimulusSet, Responses]:
        """Read the responses, choose their clips, and pair the two by the clips' numbers."""
        clips, files = self._files()
        read = self.read(reader.BOLD_MOMENTS, files, functional_table(self.rois, reader.ROIS))
        numbers = reader.number_ranges(*(one.repetitions.shape[2] for one in read))
        rows = [[i for i, number in enumerate(of_set) if number in clips] for of_set in numbers]
        self._n_clips = (len(rows[0]), len(rows[1]))
        taken = reader.SPLITS[self.split]
        for i in taken:
            if len(rows[i]) < 2:
                raise InputError(
                    f"split={self.split!r} must hold two clips at least of numbers {numbers[i].start:04d} to "
                    f"{numbers[i].stop - 1:04d}, which have responses, got {len(rows[i])}: unpack the clips, "
                    "or choose another split."
                )
        parts = [read[i].standardized(rows[i]) for i in taken]
        sizes = torch.tensor([len(rows[i]) for i in taken])
        runs = torch.arange(len(taken)).repeat_interleave(sizes)
        weights = torch.ones(len(taken), dtype=torch.float64)
        if self.split == "all":
            runs, weights = torch.zeros_like(runs), sizes.double()
        return self.pair(
            "bold_moments",
            [clips[numbers[i][row]] for i in taken for row in rows[i]],
            torch.cat([values for values, _, _ in parts], dim=1),
            read[0].rois,
            seconds=reader.CLIP_S,
            subjects=list(files),
            runs=runs,
            noise_ceiling=_mean([ceiling for _, ceiling, _ in parts], weights),
            subject_ceilings=_mean([each for _, _, each in parts], weights),
            hashes=read[0].hashes,
        )

    def describe(self) -> dict[str, Any]:
        """Return what a plan shows, with the clips of either set and the ROIs without a voxel."""
        return {
            **super().describe(),
            "split": self.split,
            "training_clips": self._n_clips[0],
            "test_clips": self._n_clips[1],
            "missing_rois": self.n_missing_rois,
        }

    def _files(self) -> tuple[dict[int, Path], dict[str, list[Path]]]:
        folder = reader.find_bold_moments(self.root)
        names = list(functional_table(self.rois, reader.ROIS)["roi"])
        files = reader.bold_moments_files(folder, self.subjects, names, strict=self.strict)
        return reader.list_clips(folder, self.videos, strict=self.strict), files


def _mean(ceilings: Sequence[Tensor | None], weights: Tensor) -> Tensor | None:
    known = [ceiling.double() for ceiling in ceilings if ceiling is not None]
    if len(known) < len(ceilings):
        return None
    shares = (weights / weights.sum()).view(-1, *[1] * known[0].ndim)
    return (torch.stack(known) * shares).sum(dim=0).float()
