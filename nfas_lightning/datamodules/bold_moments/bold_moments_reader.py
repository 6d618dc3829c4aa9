"""The BOLD Moments Dataset on disk: responses to 1,102 clips in 22 functional ROIs of ten subjects.

The whole brain's files (``WB_...``) are not read. Nothing public says which voxel of MNI space a column of
them is: the release's description and the authors' code speak of their arrays of responses alone. Algonauts
2021 has the same brains' responses to the training clips with a mask, which
`nfas_lightning.datamodules.algonauts2021` reads.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nfas_lightning.data.files import find_folder, require_file
from nfas_lightning.data.safe_pickle import read_pickle
from nfas_lightning.datamodules.bold_moments import BENCHMARK
from nfas_lightning.datamodules.catalogue.check_rows import Row, file_row, known_files_row
from nfas_lightning.datamodules.catalogue.inspector import Inspector
from nfas_lightning.datamodules.clips.clip_files import (
    ClipForm,
    ClipSet,
    ClipVoxels,
    choose_subjects,
    clip_array,
    spell_subject,
    usable_voxels,
)
from nfas_lightning.errors import InputError, MissingFileError

RESPONSES = "derivatives/versionA/MNI152/prepared_data/prepared_allvoxel_pkl/TRavg56789"
SUBJECTS = tuple(f"sub-{i:02d}" for i in range(1, 11))
N_TRAIN, N_TEST = 1000, 102
CLIP_S = 3.0
SPLITS = {"train": (0,), "test": (1,), "all": (0, 1), "train_test": (0, 1)}
"""Which sets of clips, training (0) and test (1), a split takes."""
ROIS = {
    **dict.fromkeys(("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"), "early_visual"),
    **dict.fromkeys(("EBA", "FFA", "OFA", "STS", "LOC", "PPA", "RSC", "TOS"), "high_level_visual"),
    **dict.fromkeys(("V3ab", "IPS0", "IPS1-2-3"), "dorsal_visual"),
    **dict.fromkeys(("7AL", "BA2", "PFt", "PFop"), "parietal"),
}
# by the authors' own count of voxels, these and no others could not be localized
_UNDEFINED = {("sub-06", "TOS"), ("sub-07", "RSC"), ("sub-07", "TOS")}
_KEYS = ("train_data_allvoxel", "test_data_allvoxel")
# where the clips may lie, below the data set's folder or below the one that holds them
_PLACES = (
    "",
    "stimuli",
    "derivatives/stimuli_metadata/stimuli",
    "mp4_h264",
    "derivatives/stimuli_metadata/mp4_h264",
)
_TERMS = "https://boldmomentsdataset.csail.mit.edu/stimuli_metadata, to whoever agrees to their terms"
_LAYOUT = f"""
  {BENCHMARK.folder}/
    {RESPONSES}/sub-01 ... sub-10/{{{",".join(list(ROIS)[:3])},...}}_TRavg-56789_allvoxel.pkl
    stimuli/train/0001.mp4 ... {N_TRAIN}.mp4, stimuli/test/{N_TRAIN + 1}.mp4 ... {N_TRAIN + N_TEST}.mp4
"""


def find_bold_moments(root: str | os.PathLike[str] | None) -> Path:
    """Find the data set's folder."""
    how = (
        f"Its layout:{_LAYOUT}Get the responses with `nfas data get bold_moments`. The authors give out "
        f"the clips at {_TERMS}."
    )
    return find_folder(root, BENCHMARK.folder, (RESPONSES,), how)


def number_ranges(n_train: int, n_test: int) -> tuple[range, range]:
    """Return the numbers of the training and of the test clips that responses belong to, in their order.

    Responses have no names. The authors' own code lines the training responses up with clips 1 to 1000, and
    the test responses with clips 1001 to 1102.

    Raises:
        ValueError: there are more responses than clips.

    Example:
        >>> number_ranges(1000, 102)
        (range(1, 1001), range(1001, 1103))
    """
    if n_train > N_TRAIN or n_test > N_TEST:
        raise InputError(
            f"There are {N_TRAIN} training and {N_TEST} test clips, got responses to {n_train} and {n_test}: "
            "these are no files of BOLD Moments."
        )
    return range(1, n_train + 1), range(N_TRAIN + 1, N_TRAIN + n_test + 1)


def clip_paths(base: Path) -> list[Path]:
    """Return the clips below a folder, from the first place that has any; names alone are looked at."""
    for place in _PLACES:
        # a Mac's archiver adds a "._" twin to every file
        globs = [(base / place / part).glob("[!.]*.mp4") for part in (".", "train", "test")]
        if files := sorted(path for found in globs for path in found):
            return files
    return []


def list_clips(
    folder: Path, videos: str | os.PathLike[str] | None = None, *, strict: bool = True
) -> dict[int, Path]:
    """Find the clips by their numbers: 1 to 1000 are for training, 1001 to 1102 for the test.

    Args:
        folder: of `find_bold_moments`.
        videos: another folder that holds them, as the authors' archive does; None: `folder`.
        strict: all of them must be there.
    """
    base = folder if videos is None else Path(videos).expanduser()
    files = clip_paths(base)
    if not files:
        raise MissingFileError(
            f"{base} must hold the clips, stimuli/train/0001.mp4 ... and stimuli/test/1001.mp4 ..., or "
            f"mp4_h264/0001.mp4 ..., got none: the authors give them out at {_TERMS}. Put stimuli/ there, or "
            "pass videos=, the folder that you unpacked."
        )
    found: dict[int, Path] = {}
    for path in files:
        number = int(path.stem) if path.stem.isdecimal() else 0
        wanted = {"train": range(1, N_TRAIN + 1), "test": range(N_TRAIN + 1, N_TRAIN + N_TEST + 1)}
        if number not in wanted.get(path.parent.name, range(1, N_TRAIN + N_TEST + 1)):
            raise InputError(
                f"Clips must be named by their numbers, 0001 to {N_TRAIN} for training and {N_TRAIN + 1} to "
                f"{N_TRAIN + N_TEST} for the test, got {path}: move it away, or unpack the clips again."
            )
        if number in found:
            raise InputError(f"A clip must be there once, got {found[number]} and {path}: remove one.")
        found[number] = require_file(path)
    if strict and len(found) != N_TRAIN + N_TEST:
        absent = [f"{i:04d}" for i in range(1, N_TRAIN + N_TEST + 1) if i not in found]
        raise InputError(
            f"{base} must hold {N_TRAIN + N_TEST} clips, got {len(found)}, without {', '.join(absent[:5])}"
            f"{' and more' if len(absent) > 5 else ''}: unpack them again, or use strict=False."
        )
    return dict(sorted(found.items()))


def bold_moments_files(
    folder: Path, subjects: Sequence[str] | None, rois: Sequence[str], *, strict: bool = True
) -> dict[str, list[Path]]:
    """List the pickles of each subject, one per ROI; None: of all ten, who must be there if `strict`."""
    place = folder / RESPONSES
    names = choose_subjects(place, subjects, SUBJECTS, strict=strict)
    return {
        name: [require_file(place / name / f"{roi}_TRavg-56789_allvoxel.pkl") for roi in rois]
        for name in names
    }


def read_roi_file(path: Path, *, strict: bool = True) -> tuple[ClipVoxels, ClipVoxels]:
    """Read one pickle, with `read_pickle`, and check what it holds.

    Voxels that can't be used in one of the two sets are left out of both. An ROI that could not be localized
    in a subject has no voxel; where the authors' count has one, that is an error.

    Args:
        path: ``sub-XX/ROI_TRavg-56789_allvoxel.pkl``.
        strict: check the official counts.
    """
    held = read_pickle(path)
    official = [(one.n_videos, one.n_repetitions) if strict else None for one in BOLD_MOMENTS.sets]
    arrays = [
        clip_array(held, key, path, counts, empty=True) for key, counts in zip(_KEYS, official, strict=True)
    ]
    n_voxels = [array.shape[2] for array in arrays]
    if n_voxels[0] != n_voxels[1]:
        raise InputError(
            f"{path}: {_KEYS[0]!r} and {_KEYS[1]!r} must have the same voxels, got {n_voxels[0]} and "
            f"{n_voxels[1]}: download it again."
        )
    if n_voxels[0] == 0:
        if strict and (path.parent.name, path.name.partition("_")[0]) not in _UNDEFINED:
            raise InputError(
                f"{path} must have voxels, got none: only TOS of sub-06, and RSC and TOS of sub-07, have "
                "none. Download it again, or use strict=False."
            )
        train, test = arrays
        return ClipVoxels(train), ClipVoxels(test)
    usable = usable_voxels(arrays[0].reshape(-1, n_voxels[0])) & usable_voxels(
        arrays[1].reshape(-1, n_voxels[1])
    )
    if not usable.any():
        raise InputError(
            f"{path} must have a voxel that is finite throughout and not always zero, got none of "
            f"{n_voxels[0]}: download it again."
        )
    return ClipVoxels(arrays[0][..., usable]), ClipVoxels(arrays[1][..., usable])


BOLD_MOMENTS = ClipForm(
    (ClipSet("bold_moments train", N_TRAIN, 3), ClipSet("bold_moments test", N_TEST, 10)), read_roi_file
)
"""Training clips, shown three times, and test clips, shown ten times."""


def bold_moments_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check clips and pickles of the functional ROIs; whatever a pickle asks for is not run."""
    wanted = SUBJECTS if subjects is None else [spell_subject(name, SUBJECTS) for name in subjects]
    paths = [
        folder / RESPONSES / subject / f"{roi}_TRavg-56789_allvoxel.pkl" for subject in wanted for roi in ROIS
    ]
    note = f"{len(ROIS)} ROIs per subject"
    return [
        file_row("clips", folder, clip_paths(folder), inspector, expected=N_TRAIN + N_TEST)[0],
        known_files_row("responses", folder, paths, inspector, note=note)[0],
    ]
