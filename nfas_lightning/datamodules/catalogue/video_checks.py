"""Algonauts 2021 and BOLD Moments on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nfas_lightning.datamodules.algonauts2021 import algonauts_reader as algonauts
from nfas_lightning.datamodules.bold_moments.bold_moments_reader import (
    N_TEST,
    N_TRAIN,
    RESPONSES,
    ROIS,
    SUBJECTS,
    clip_paths,
)
from nfas_lightning.datamodules.catalogue.check_rows import Row, file_row
from nfas_lightning.datamodules.catalogue.inspector import Inspector
from nfas_lightning.datamodules.clips.clip_files import spell_subject

__all__ = ["algonauts_rows", "bold_moments_rows"]


def algonauts_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check clips and pickles; whatever a pickle asks for is not run.

    Args:
        folder: holds ``AlgonautsVideos268_All_30fpsmax`` and ``participants_data_v2021``.
        inspector: looks at the files.
        subjects: e.g. ``"sub01"``; None: all ten.
    """
    wanted = _spelled(subjects, algonauts.SUBJECTS)
    clips = sorted((folder / algonauts.VIDEOS).glob("*.mp4"))
    rows = [file_row("clips", folder, clips, inspector, expected=algonauts.N_VIDEOS)[0]]
    tracks = {"mini_track": tuple(algonauts.ROIS), "full_track": ("WB",)}
    for track, rois in tracks.items():
        place = folder / algonauts.DATA / track
        paths = [place / subject / f"{roi}.pkl" for subject in wanted for roi in rois]
        note = f"{len(rois)} ROIs a subject" if len(rois) > 1 else "whole brain"
        # either track is enough for a run
        row = _pickles(track.replace("_", " "), folder, paths, inspector, note, needed=False)
        rows.append(row)
    if not any(row.found for row in rows[1:]):
        rows.append(Row("responses", 0, 1, ("mini_track or full_track",)))
    return rows


def bold_moments_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check clips and pickles of the functional ROIs; whatever a pickle asks for is not run.

    Args:
        folder: holds ``derivatives/versionA/MNI152/prepared_data``.
        inspector: looks at the files.
        subjects: e.g. ``"sub-01"``; None: all ten.
    """
    wanted = _spelled(subjects, SUBJECTS)
    paths = [
        folder / RESPONSES / subject / f"{roi}_TRavg-56789_allvoxel.pkl" for subject in wanted for roi in ROIS
    ]
    return [
        file_row("clips", folder, clip_paths(folder), inspector, expected=N_TRAIN + N_TEST)[0],
        _pickles("responses", folder, paths, inspector, f"{len(ROIS)} ROIs a subject"),
    ]


def _spelled(subjects: Sequence[str] | None, official: Sequence[str]) -> list[str]:
    return list(official) if subjects is None else [spell_subject(name, official) for name in subjects]


def _pickles(
    what: str, folder: Path, paths: Sequence[Path], inspector: Inspector, note: str, *, needed: bool = True
) -> Row:
    here = [path for path in paths if os.path.lexists(path)]
    absent = [f"{path.parent.name}/{path.name}" for path in paths if path not in here]
    row, _ = file_row(
        what, folder, here, inspector, expected=len(paths), missing=absent, needed=needed, note=note
    )
    return row
