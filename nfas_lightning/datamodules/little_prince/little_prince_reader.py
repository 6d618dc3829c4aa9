"""The Little Prince: nine sections of an audiobook in three languages (OpenNeuro ds003643 v2.0.7, CC0)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nfas_lightning.data.bids import entities, is_here, pick_subjects, read_participants, run_number, scan_tr
from nfas_lightning.data.files import require_file
from nfas_lightning.data.regions.extraction import Scan
from nfas_lightning.data.stimuli.word_times import Words, read_textgrid, words_of_table
from nfas_lightning.data.tables import read_csv
from nfas_lightning.datamodules.stories.story import StoryScan
from nfas_lightning.errors import InputError, MissingFileError

LANGUAGES = ("EN", "CN", "FR")
N_SECTIONS = 9
TR = 2.0
# volumes of each section's derivative scans, read off the data set's headers
VOLUMES = {
    "EN": (282, 298, 340, 303, 265, 343, 325, 292, 368),
    "CN": (283, 322, 322, 307, 293, 392, 364, 293, 401),
    "FR": (309, 326, 354, 315, 293, 378, 332, 294, 336),
}
# rows of lppEN_word_information.csv; those of the other languages are not known to us
WORDS = {"EN": (1517, 1690, 1852, 1624, 1534, 1815, 1786, 1583, 1975)}
_COLUMNS = ("word", "onset", "offset", "section")


def read_sections(path: Path, language: str = "EN", *, strict: bool = True) -> dict[int, Words]:
    """Read a word table: word, onset, offset and section, one row per word; times restart in each section.

    A row whose word is blank is the second half of a contraction ("hasnt", then a row for "not" alone): it
    keeps its time, and its feature is that of the whole contraction. A byte-order mark, CRLF and a leading
    index column do no harm. With `strict`, the counts must be the language's official ones.
    """
    table = read_csv(require_file(path), _COLUMNS)
    numbers = table["section"].astype(str).str.strip()
    unknown = sorted(set(numbers) - {str(i) for i in range(1, N_SECTIONS + 1)})
    if unknown:
        raise InputError(f"{path.name}: section must be 1 to {N_SECTIONS}, got {unknown[:3]}.")
    found = {
        section: words_of_table(f"{path.name}, section {section}", rows.reset_index(drop=True))
        for section in range(1, N_SECTIONS + 1)
        if len(rows := table[numbers == str(section)])
    }
    counts = tuple(len(found.get(section, ())) for section in range(1, N_SECTIONS + 1))
    if strict and language in WORDS and counts != WORDS[language]:
        raise InputError(
            f"{path.name} must have {WORDS[language]} words in sections 1 to {N_SECTIONS}, got {counts}: "
            "fetch it again, or read it with strict=False."
        )
    return found


def section_words(
    folder: Path, language: str, sections: Sequence[int], words_from: str, strict: bool
) -> dict[int, tuple[Words, Path]]:
    """Read the words of sections, ``"csv"`` or ``"textgrid"``, and the file of each."""
    if words_from == "textgrid":
        grids = {section: text_grid(folder, language, section) for section in sections}
        return {section: (read_textgrid(path), path) for section, path in grids.items()}
    path = word_table(folder, language)
    found = read_sections(path, language, strict=strict)
    absent = [section for section in sections if section not in found]
    if absent:
        raise InputError(f"{path.name} must have words of sections {list(sections)}, missing {absent}.")
    return {section: (found[section], path) for section in sections}


def word_table(folder: Path, language: str) -> Path:
    """Return where the word table of a language lies."""
    return folder / "annotation" / language / f"lpp{language}_word_information.csv"


def text_grid(folder: Path, language: str, section: int) -> Path:
    """Return where the TextGrid of a section lies."""
    return folder / "annotation" / language / f"lpp{language}_section{section}.TextGrid"


def sound_file(folder: Path, language: str, section: int) -> Path:
    """Return where the sound of a section lies."""
    # the release writes a hyphen in English and an underscore in the other two
    name = f"section-{section}" if language == "EN" else f"section_{section}"
    return folder / "stimuli" / f"task-lpp{language}_{name}.wav"


def find_runs(folder: Path, language: str) -> dict[str, list[Path]]:
    """Return each listener's derivative runs, in the order of their numbers."""
    pattern = f"sub-{language}*/func/*_task-lpp{language}_run-*_space-MNIColin27_desc-preproc_bold.nii.gz"
    runs: dict[str, list[Path]] = {}
    # names alone are enough here: a clone lists files whose content was not fetched
    for path in (folder / "derivatives").glob(pattern):
        runs.setdefault(path.parents[1].name, []).append(path)
    return {
        subject: sorted(files, key=lambda path: run_number(entities(path.name)["run"]))
        for subject, files in runs.items()
    }


def section_scans(
    folder: Path, language: str, sections: Sequence[int], subjects: Sequence[str] | None
) -> dict[int, tuple[StoryScan, ...]]:
    """Find who heard each section; `subjects` None: those with the content of a wanted section here.

    A subject's nine derivative runs, sorted by run number, are the sections 1 to 9: run numbers themselves
    start anywhere and may have gaps, and the raw folder has runs besides.

    Raises:
        FileNotFoundError: a subject, or every scan of a section, is missing.
        ValueError: a subject has not nine runs, or another repetition time than the data set's.
    """
    runs = find_runs(folder, language)
    listed = [
        name for name in read_participants(folder)["participant_id"] if name.startswith(f"sub-{language}")
    ]
    by_section = {}
    for subject in runs if subjects is None else pick_subjects(subjects, list(runs), listed):
        files = runs[subject]
        if len(files) != N_SECTIONS:
            numbers = [entities(path.name)["run"] for path in files]
            raise InputError(
                f"{subject} must have {N_SECTIONS} derivative runs, which are the sections in the order of "
                f"their numbers, got {len(files)}: runs {', '.join(numbers)}. Have all nine names (a DataLad "
                "clone lists them without content), or leave the subject out."
            )
        by_section[subject] = {
            s: files[s - 1] for s in sections if subjects is not None or is_here(files[s - 1])
        }
    present = [subject for subject, files in by_section.items() if files]
    kept = pick_subjects(subjects, present, listed)
    scans = {}
    for section in sections:
        heard = {name: by_section[name][section] for name in kept if section in by_section[name]}
        if not heard:
            raise MissingFileError(
                f"Section {section} must have been fetched for one subject at least, got none: fetch it with "
                "`datalad get` or `nfas data get`, or choose other sections."
            )
        trs = {name: scan_seconds(folder, name, path) for name, path in heard.items()}
        if other := {name: tr for name, tr in trs.items() if not np.isclose(tr, TR)}:
            raise InputError(
                f"All scans must have a repetition time of {TR} s, got {other}: leave these subjects out."
            )
        scans[section] = tuple(
            StoryScan(name, Scan(f"{name}/section{section}", (path,))) for name, path in heard.items()
        )
    return scans


def scan_seconds(folder: Path, subject: str, path: Path) -> float:
    """Return a scan's repetition time: its sidecar's, where one is here, else the data set's."""
    about = entities(path.name)
    return scan_tr(folder, subject, about["task"], about["run"]) or TR
