"""Algonauts 2021 on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nfas_lightning.datamodules.algonauts2021.algonauts_reader import DATA, N_VIDEOS, ROIS, SUBJECTS, VIDEOS
from nfas_lightning.datamodules.catalogue.check_rows import Row, file_row, known_files_row
from nfas_lightning.datamodules.catalogue.inspector import Inspector
from nfas_lightning.datamodules.clips.clip_files import spell_subject

__all__ = ["algonauts_rows"]


def algonauts_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check clips and pickles; whatever a pickle asks for is not run."""
    wanted = SUBJECTS if subjects is None else [spell_subject(name, SUBJECTS) for name in subjects]
    clips = sorted((folder / VIDEOS).glob("*.mp4"))
    rows = [file_row("clips", folder, clips, inspector, expected=N_VIDEOS)[0]]
    tracks = {
        "mini_track": (tuple(ROIS), f"{len(ROIS)} ROIs per subject"),
        "full_track": (("WB",), "whole brain"),
    }
    for track, (rois, note) in tracks.items():
        paths = [folder / DATA / track / subject / f"{roi}.pkl" for subject in wanted for roi in rois]
        what = track.replace("_", " ")
        # either track is enough for a run
        rows.append(known_files_row(what, folder, paths, inspector, needed=False, note=note)[0])
    if not any(row.found for row in rows[1:]):
        rows.append(Row("responses", 0, 1, ("mini_track or full_track",)))
    return rows
