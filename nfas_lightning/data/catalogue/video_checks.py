"""Algonauts 2021 on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nfas_lightning.data.catalogue.files import Inspector
from nfas_lightning.data.catalogue.rows import Row, file_row, strip_sub

__all__ = ["algonauts_rows"]

_N_CLIPS = 1102
_SUBJECTS = tuple(f"sub{i:02d}" for i in range(1, 11))
_ROIS = ("V1", "V2", "V3", "V4", "LOC", "EBA", "FFA", "STS", "PPA")


def algonauts_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check clips and pickles; whatever a pickle asks for is not run.

    Args:
        folder: holds ``AlgonautsVideos268_All_30fpsmax`` and ``participants_data_v2021``.
        inspector: looks at the files.
        subjects: e.g. ``"sub01"``; None: all ten.
    """
    wanted = _SUBJECTS if subjects is None else tuple(f"sub{strip_sub(name)[-2:]}" for name in subjects)
    clips = sorted(folder.glob("AlgonautsVideos268_All_30fpsmax/*.mp4"))
    rows = [file_row("clips", folder, clips, inspector, expected=_N_CLIPS)[0]]
    tracks = {"mini_track": _ROIS, "full_track": ("WB",)}
    for track, rois in tracks.items():
        paths = [
            folder / "participants_data_v2021" / track / subject / f"{roi}.pkl"
            for subject in wanted
            for roi in rois
        ]
        here = [path for path in paths if path.is_symlink() or path.exists()]
        absent = [f"{path.parent.name}/{path.name}" for path in paths if path not in here]
        note = f"{len(rois)} ROIs a subject" if len(rois) > 1 else "whole brain"
        # either track is enough for a run
        row, _ = file_row(
            track.replace("_", " "),
            folder,
            here,
            inspector,
            expected=len(paths),
            missing=absent,
            needed=False,
            note=note,
        )
        rows.append(row)
    if not any(row.found for row in rows[1:]):
        rows.append(Row("responses", 0, 1, ("mini_track or full_track",)))
    return rows
