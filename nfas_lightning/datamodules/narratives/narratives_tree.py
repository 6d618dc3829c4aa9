"""The folders of Narratives: who heard what, which scans are left out, where files and words are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nfas_lightning.data.bids import entities, is_here, read_json, read_participants, run_number, scan_tr
from nfas_lightning.data.regions.extraction import Scan
from nfas_lightning.data.stimuli.word_times import Words, read_gentle
from nfas_lightning.datamodules.narratives.narratives_clock import WORDS
from nfas_lightning.datamodules.stories.story import StoryScan
from nfas_lightning.errors import InputError, MissingFileError
from nfas_lightning.functional.checks import check_option

SPACES = ("MNI", "fsaverage6")
DERIVATIVES = ("afni-nosmooth", "afni-smooth", "fmriprep")


def sound_file(root: Path, audio: str) -> Path:
    """Return where a sound file of the data set lies."""
    return root / "stimuli" / f"{audio}_audio.wav"


def word_table(root: Path, audio: str) -> Path:
    """Return where the alignment of a sound file lies."""
    return root / "stimuli" / "gentle" / audio / "align.csv"


class Listener(NamedTuple):
    """One subject and one task of participants.tsv."""

    subject: str
    task: str
    condition: str


def read_listeners(root: Path) -> list[Listener]:
    """Read who heard what: task and condition are lists, separated by commas, entry by entry of one another.

    Raises:
        FileNotFoundError: participants.tsv is missing.
        ValueError: a subject's lists have different lengths.
    """
    table = read_participants(root, ["task", "condition"])
    listeners = []
    for subject, tasks, conditions in zip(
        table["participant_id"], table["task"], table["condition"], strict=True
    ):
        names, groups = ([part.strip() for part in cell.split(",")] for cell in (tasks, conditions))
        if len(names) != len(groups):
            raise InputError(
                f"participants.tsv: task and condition of {subject} must be lists of one length, got "
                f"{len(names)} ({tasks!r}) and {len(groups)} ({conditions!r})."
            )
        listeners += [Listener(subject, *pair) for pair in zip(names, groups, strict=True)]
    return listeners


def excluded_scans(root: Path) -> list[dict[str, str]]:
    """Read the entities of the scans that code/scan_exclude.json leaves out.

    An entry is a scan's name or the beginning of one. It is compared entity by entity: as a piece of a file
    name, the entry of one task would also leave out a task whose name begins alike.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it has another form.
    """
    path = root / "code" / "scan_exclude.json"
    found = []
    for task, subjects in read_json(path).items():
        for subject, names in subjects.items() if isinstance(subjects, dict) else [("", None)]:
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise InputError(
                    f"{path.name} must map each task to subjects and lists of scans, got {names!r} for "
                    f"{task} {subject}."
                )
            found += [entities(name) for name in names]
    wrong = [entry for entry in found if not {"sub", "task"} <= set(entry)]
    if wrong:
        raise InputError(f"{path.name}: each entry must name subject and task, got {wrong[0]}.")
    return found


def find_scans(
    root: Path,
    subject: str,
    task: str,
    *,
    space: str,
    derivative: str,
    here_only: bool = True,
) -> list[StoryScan]:
    """Find a subject's scans of a task, in the order of their runs.

    A scan has two files where there are two hemispheres, even if one of them is missing: reading says so.
    With `here_only`, scans of which no file's content is here are passed over.
    """
    check_option("space", space, SPACES)
    check_option("derivative", derivative, DERIVATIVES)
    folder = root / "derivatives" / derivative / subject / "func"
    clean = derivative != "fmriprep"
    if space == "MNI":
        kind = "clean" if clean else "preproc"
        tails: tuple[str, ...] = (f"_space-MNI152NLin2009cAsym_res-native_desc-{kind}_bold.nii.gz",)
    else:
        end = "_desc-clean.func.gii" if clean else ".func.gii"
        tails = tuple(f"_space-fsaverage6_hemi-{side}{end}" for side in "LR")
    names = {
        path.name.removesuffix(tail)
        for tail in tails
        for path in folder.glob(f"{subject}_task-{task}*{tail}")
        if entities(path.name)["task"] == task
    }
    scans = []
    for name in sorted(names, key=lambda name: run_number(entities(name).get("run", ""))):
        files = tuple(folder / f"{name}{tail}" for tail in tails)
        if not here_only or any(is_here(file) for file in files):
            confounds = None if clean else folder / f"{name}_desc-confounds_regressors.tsv"
            scans.append(StoryScan(subject, Scan(name, files), confounds))
    return scans


def is_excluded(scan: StoryScan, excluded: Sequence[dict[str, str]]) -> bool:
    """Tell whether all entities of some entry of `excluded_scans` are the scan's."""
    about = entities(scan.scan.key)
    return any(entry.items() <= about.items() for entry in excluded)


def story_tr(root: Path, scan: StoryScan) -> float:
    """Read a scan's repetition time from its sidecar: it is not the same for all scans."""
    about = entities(scan.scan.key)
    tr = scan_tr(root, scan.subject, about["task"], about.get("run"))
    if tr is None:
        raise MissingFileError(
            f"{scan.scan.key}_bold.json must state RepetitionTime, got no sidecar in {scan.subject}/func: "
            "fetch the sidecars. One group was scanned at another rate, so it is never assumed."
        )
    return tr


# a first word may be aligned a little early; one that is earlier was aligned to the music before the story
_EARLY_SECONDS = 2.0


def read_alignment(path: Path, audio: str, strict: bool = True) -> Words:
    """Read a sound file's alignment, all of it, and (strict) count its words."""
    words = read_gentle(path)
    if strict and audio in WORDS and len(words) != WORDS[audio]:
        raise InputError(
            f"{path.parent.name}/{path.name} must have {WORDS[audio]} words, got {len(words)}: fetch it "
            "again, or read it with strict=False."
        )
    return words


def story_words(
    path: Path,
    audio: str,
    start: float,
    span: tuple[float, float] = (0.0, float("inf")),
    unaligned: str = "interpolate",
    strict: bool = True,
) -> Words:
    """Read a story's alignment and settle the words without times.

    Args:
        path: align.csv.
        audio: the sound file's name, for the count.
        start: seconds on the sound file's clock at which the story begins; words aligned more than 2 s before
            were aligned to the music, and count as unaligned.
        span: seconds of the sound file whose words are wanted.
        unaligned: ``"interpolate"`` or ``"drop"``.
        strict: check the count.
    """
    words = read_alignment(path, audio, strict)
    first, last = (
        int(np.argmax(words.onset >= edge)) if (words.onset >= edge).any() else None for edge in span
    )
    part = slice(first if span[0] > 0 else 0, last)
    words = Words(words.words[part], words.onset[part], words.offset[part]).forget_before(
        start - _EARLY_SECONDS
    )
    return words.fill() if unaligned == "interpolate" else words
