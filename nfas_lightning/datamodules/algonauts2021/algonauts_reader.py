"""Algonauts 2021 on disk: 1,102 clips of three seconds, ten subjects, whole brain or nine functional ROIs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nfas_lightning.data.files import find_folder, require_file
from nfas_lightning.data.safe_pickle import read_pickle
from nfas_lightning.datamodules.algonauts2021 import BENCHMARK
from nfas_lightning.datamodules.catalogue.check_rows import Row, file_row, known_files_row
from nfas_lightning.datamodules.catalogue.inspector import Inspector
from nfas_lightning.datamodules.clips.clip_files import (
    ClipForm,
    ClipSet,
    ClipVoxels,
    choose_subjects,
    clip_array,
    spell_subject,
)
from nfas_lightning.errors import InputError, MissingFileError
from nfas_lightning.functional.checks import check_option

VIDEOS = "AlgonautsVideos268_All_30fpsmax"
DATA = "participants_data_v2021"
TRACKS = ("full", "mini")
SPLITS = ("all", "train", "validation", "devkit")
SUBJECTS = tuple(f"sub{i:02d}" for i in range(1, 11))
N_VIDEOS, N_ANSWERED, N_REPETITIONS = 1102, 1000, 3
CLIP_S = 3.0
# the grid of WB.pkl in MNI152NLin2009cAsym: the pickles themselves carry no affine
GRID = (78, 93, 71)
AFFINE = np.array([[2.5, 0, 0, -96.5], [0, 2.5, 0, -132.5], [0, 0, 2.75, -78.5], [0, 0, 0, 1]])
ROIS = {
    **dict.fromkeys(("V1", "V2", "V3", "V4"), "early_visual"),
    **dict.fromkeys(("LOC", "EBA", "FFA", "STS", "PPA"), "high_level_visual"),
}
_LAYOUT = f"""
  {BENCHMARK.folder}/
    {VIDEOS}/NNNN_*.mp4
    {DATA}/full_track/sub01 ... sub10/WB.pkl
    {DATA}/mini_track/sub01 ... sub10/{{{",".join(ROIS)}}}.pkl
"""


def find_algonauts(root: str | os.PathLike[str] | None, track: str) -> Path:
    """Find the folder that holds the clips and one track, ``"full"`` or ``"mini"``."""
    check_option("track", track, TRACKS)
    how = (
        f"Its layout:{_LAYOUT}The authors give the data out through a form, for non-commercial use: `nfas "
        "data get algonauts2021` shows the form and the terms. Unpack participants_data.zip there."
    )
    return find_folder(root, BENCHMARK.folder, (VIDEOS, f"{DATA}/{track}_track"), how)


def list_videos(folder: Path, *, strict: bool = True) -> list[Path]:
    """List the clips in the order of the responses, which is that of their names.

    Raises:
        FileNotFoundError: there are no clips.
        ValueError: (strict) their count is not the official one, or a number of the names is left out or
            occurs twice: responses would then be paired with other clips.
    """
    videos = sorted((folder / VIDEOS).glob("*.mp4"))
    if not videos:
        raise MissingFileError(f"{folder / VIDEOS} must hold clips, NNNN_*.mp4, got none.")
    if strict and len(videos) != N_VIDEOS:
        raise InputError(
            f"{folder / VIDEOS} must hold {N_VIDEOS} clips, got {len(videos)}: unpack the zip again. "
            "strict=False reads part of them, from the first on."
        )
    numbers = [path.name.partition("_")[0] for path in videos]
    for place, number in enumerate(numbers, 1):
        # the official set is in order by its count alone
        if len(videos) != N_VIDEOS and (not number.isdecimal() or int(number) != place):
            raise InputError(
                f"Clips must be numbered 0001, 0002 and so on, got {videos[place - 1].name} in place "
                f"{place}: responses have no names and go by this order. Restore the missing clip."
            )
    return videos


def subject_files(
    folder: Path, track: str, subjects: Sequence[str] | None, rois: Sequence[str], *, strict: bool = True
) -> dict[str, list[Path]]:
    """List the pickles of each subject; None: of all ten, who must be there if `strict`."""
    place = folder / DATA / f"{track}_track"
    names = choose_subjects(place, subjects, SUBJECTS, strict=strict)
    stems = ("WB",) if track == "full" else tuple(rois)
    return {name: [require_file(place / name / f"{stem}.pkl") for stem in stems] for name in names}


def read_track_file(path: Path, *, strict: bool = True) -> tuple[ClipVoxels]:
    """Read one pickle, with `read_pickle`, and check its shapes and, if `strict`, its official counts."""
    held = read_pickle(path)
    train = clip_array(held, "train", path, (N_ANSWERED, N_REPETITIONS) if strict else None)
    if path.stem != "WB":
        return (ClipVoxels(train),)
    mask = held.get("voxel_mask")
    if not isinstance(mask, np.ndarray) or mask.shape != GRID:
        got = str(mask.shape) if isinstance(mask, np.ndarray) else f"the keys {sorted(map(str, held))}"
        raise InputError(
            f"{path}: 'voxel_mask' must be an array of shape {GRID}, the grid whose place in space is known, "
            f"got {got}."
        )
    inside = mask == 1
    if int(inside.sum()) != train.shape[2]:
        raise InputError(
            f"{path}: 'voxel_mask' must mark one voxel per column of 'train', {train.shape[2]}, got "
            f"{int(inside.sum())}."
        )
    return (ClipVoxels(train, inside, AFFINE),)


ALGONAUTS = ClipForm((ClipSet("algonauts", N_ANSWERED, N_REPETITIONS),), read_track_file)
"""One set of clips with responses."""


def split_videos(n_answered: int, split: str) -> tuple[range, Tensor]:
    """Say which videos are used, and in which runs.

    The development kit validates on the last tenth of the videos with responses, 900 to 999 of 1,000.

    Args:
        n_answered: videos with responses.
        split: ``"all"``, in one run; ``"train"``, without the last tenth; ``"validation"``, the last tenth
            alone; ``"devkit"``, all, in two runs, so that whole runs are held out in turn.

    Returns:
        Indices of the videos, and (T,) the run of each.

    Raises:
        ValueError: an unknown split, or fewer than two videos in it.

    Example:
        >>> [split_videos(1000, split)[0] for split in ("train", "validation")]
        [range(0, 900), range(900, 1000)]
    """
    check_option("split", split, SPLITS)
    first = n_answered - max(1, round(n_answered / 10))
    rows = {"train": range(first), "validation": range(first, n_answered)}.get(split, range(n_answered))
    if len(rows) < 2:
        raise InputError(f"split={split!r} must hold two videos at least, got {len(rows)} of {n_answered}.")
    runs = torch.zeros(len(rows), dtype=torch.long)
    if split == "devkit":
        runs[first:] = 1
    return rows, runs


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
