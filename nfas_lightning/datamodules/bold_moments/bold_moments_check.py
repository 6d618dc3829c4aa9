"""BOLD Moments on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nfas_lightning.datamodules.bold_moments.bold_moments_reader import (
    N_TEST,
    N_TRAIN,
    RESPONSES,
    ROIS,
    SUBJECTS,
    clip_paths,
)
from nfas_lightning.datamodules.catalogue.check_rows import Row, file_row, known_files_row
from nfas_lightning.datamodules.catalogue.inspector import Inspector
from nfas_lightning.datamodules.clips.clip_files import spell_subject

__all__ = ["bold_moments_rows"]


def bold_moments_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check clips and pickles of the functional ROIs; whatever a pickle asks for is not run.

    Args:
        folder: holds ``derivatives/versionA/MNI152/prepared_data``.
        inspector: looks at the files.
        subjects: e.g. ``"sub-01"``; None: all ten.
    """
    wanted = SUBJECTS if subjects is None else [spell_subject(name, SUBJECTS) for name in subjects]
    paths = [
        folder / RESPONSES / subject / f"{roi}_TRavg-56789_allvoxel.pkl" for subject in wanted for roi in ROIS
    ]
    note = f"{len(ROIS)} ROIs per subject"
    return [
        file_row("clips", folder, clip_paths(folder), inspector, expected=N_TRAIN + N_TEST)[0],
        known_files_row("responses", folder, paths, inspector, note=note)[0],
    ]
