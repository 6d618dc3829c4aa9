"""BOLD Moments on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nfas_lightning.datamodules.bold_moments import bold_moments_reader as reader
from nfas_lightning.datamodules.catalogue.check_rows import Row, file_row, known_files_row
from nfas_lightning.datamodules.catalogue.inspector import Inspector
from nfas_lightning.datamodules.clips.clip_files import spell_subject

__all__ = ["bold_moments_rows"]


def bold_moments_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check clips and pickles of the functional ROIs; whatever a pickle asks for is not run."""
    wanted = (
        reader.SUBJECTS if subjects is None else [spell_subject(name, reader.SUBJECTS) for name in subjects]
    )
    paths = [
        folder / reader.RESPONSES / subject / f"{roi}_TRavg-56789_allvoxel.pkl"
        for subject in wanted
        for roi in reader.ROIS
    ]
    note = f"{len(reader.ROIS)} ROIs per subject"
    return [
        file_row(
            "clips", folder, reader.clip_paths(folder), inspector, expected=reader.N_TRAIN + reader.N_TEST
        )[0],
        known_files_row("responses", folder, paths, inspector, note=note)[0],
    ]
