"""Narratives and The Little Prince on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from nfas_lightning.data.bids import add_sub, entities, run_number, strip_sub
from nfas_lightning.data.catalogue.files import FileState, Inspector
from nfas_lightning.data.catalogue.rows import Row, file_row, table_row
from nfas_lightning.data.little_prince import LANGUAGES, N_SECTIONS, VOLUMES, WORDS
from nfas_lightning.data.readers import read_csv

__all__ = ["little_prince_rows", "narratives_rows"]

_NARRATIVES = {"subjects": 345, "scans": 891}
_LISTENERS = {"EN": 49, "CN": 35, "FR": 28}
_FORMS = (
    ("afni-nosmooth", "fsaverage6", "*_space-fsaverage6_hemi-[LR]_desc-clean.func.gii"),
    ("afni-nosmooth", "MNI", "*_space-MNI*_desc-clean_bold.nii.gz"),
    ("afni-smooth", "fsaverage6", "*_space-fsaverage6_hemi-[LR]_desc-clean.func.gii"),
    ("afni-smooth", "MNI", "*_space-MNI*_desc-clean_bold.nii.gz"),
    ("fmriprep", "fsaverage6", "*_space-fsaverage6_hemi-[LR]*.func.gii"),
    ("fmriprep", "MNI", "*_space-MNI*_desc-preproc_bold.nii.gz"),
)


def narratives_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check tables, sounds, word alignments and scans, raw and preprocessed.

    Args:
        folder: the data set's.
        inspector: looks at the files.
        subjects: e.g. ``"sub-001"``; None: all 345.
    """
    n_scans = _NARRATIVES["scans"] if subjects is None else None
    rows = [_participants(folder, inspector, subjects, _NARRATIVES["subjects"])]
    tables = ("scan_exclude.json", "event_meta.json", "task_meta.json")
    rows += [table_row(f"code/{name}", folder / "code" / name, inspector) for name in tables]
    for what, pattern in (("sounds", "stimuli/*_audio.wav"), ("word tables", "stimuli/gentle/*/align.csv*")):
        rows.append(file_row(what, folder, sorted(folder.glob(pattern)), inspector)[0])
    raw = _of(subjects, folder.glob("sub-*/func/*_bold.nii.gz"))
    events = [path.with_name(path.name.replace("_bold.nii.gz", "_events.tsv")) for path in raw]
    absent = [path.name for path in events if not os.path.lexists(path)]
    rows.append(
        file_row("raw scans", folder, raw, inspector, expected=n_scans, missing=absent, needed=False)[0]
    )
    readable: set[tuple[str, ...]] = set()
    for derivative, space, pattern in _FORMS:
        files = _of(subjects, folder.glob(f"derivatives/{derivative}/sub-*/func/{pattern}"))
        if not files:
            continue
        absent = [] if space == "MNI" else _without_partner(files)
        if derivative == "fmriprep":
            absent += _without_confounds(files)
        what = f"{derivative} {space}"
        row, states = file_row(what, folder, files, inspector, missing=absent, needed=False)
        rows.append(row)
        readable |= {_scan(path) for path, state in states.items() if state.problem is None}
    rows.append(Row("preprocessed scans", len(readable), n_scans, note="in any of these forms"))
    return rows


def _participants(folder: Path, inspector: Inspector, subjects: Sequence[str] | None, official: int) -> Row:
    path = folder / "participants.tsv"
    row = table_row("participants.tsv", path, inspector)
    if not row.complete:
        return row
    try:
        listed = set(read_csv(path, ["participant_id"], sep="\t")["participant_id"].astype(str))
    except ValueError as error:
        return Row("participants", 0, official, unreadable=((path.name, str(error)),))
    if subjects is None:
        return Row("participants", len(listed), official, note="in participants.tsv")
    wanted = [add_sub(name) for name in subjects if name not in LANGUAGES]
    absent = tuple(name for name in wanted if name not in listed)
    languages = {name for name in subjects if name in LANGUAGES}
    of_languages = sum(name[4:6] in languages for name in listed)
    found = len(wanted) - len(absent) + of_languages
    expected = len(wanted) + sum(_LISTENERS[language] for language in languages)
    return Row("participants", found, expected, absent, note="in participants.tsv")


def _of(subjects: Sequence[str] | None, files: Iterable[Path]) -> list[Path]:
    """Keep the files of these subjects; a language stands for all of its listeners."""
    if subjects is None:
        return sorted(files)
    names = {add_sub(name) for name in subjects}
    languages = tuple(f"sub-{name}" for name in subjects if name in LANGUAGES)
    return sorted(
        path
        for path in files
        if (subject := path.name.split("_")[0]) in names or (languages and subject.startswith(languages))
    )


def _scan(path: Path) -> tuple[str, ...]:
    found = entities(path.name)
    return found["sub"], found.get("task", ""), found.get("run", "")


def _without_partner(files: Sequence[Path]) -> list[str]:
    names = {path.name for path in files}
    partners = [
        name.replace("hemi-L", "hemi-R") if "hemi-L" in name else name.replace("hemi-R", "hemi-L")
        for name in names
    ]
    return sorted(name for name in partners if name not in names)


def _without_confounds(files: Sequence[Path]) -> list[str]:
    tables = set()
    for path in files:
        stem = path.name.split("_space-")[0]
        if not any(path.parent.glob(f"{stem}_desc-confounds_*.tsv")):
            tables.add(f"{stem}_desc-confounds_regressors.tsv")
    return sorted(tables)


def little_prince_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check tables, sounds and the nine preprocessed runs of each listener.

    Args:
        folder: the data set's.
        inspector: looks at the files.
        subjects: listeners, or languages that stand for all of theirs; None: all 112.
    """
    rows = [_participants(folder, inspector, subjects, sum(_LISTENERS.values()))]
    for language in LANGUAGES:
        own = None if subjects is None else [n for n in subjects if strip_sub(n)[:2] == language]
        if own == []:
            continue
        rows += [
            *_annotation(folder, inspector, language),
            *_runs(folder, inspector, language, None if own is not None and language in own else own),
        ]
    return rows


def _annotation(folder: Path, inspector: Inspector, language: str) -> list[Row]:
    sounds = sorted(folder.glob(f"stimuli/task-lpp{language}[_-]section[_-]*.wav"))
    rows = [file_row(f"{language} sounds", folder, sounds, inspector, expected=N_SECTIONS)[0]]
    grids = sorted(folder.glob(f"annotation/{language}/lpp{language}_section*.TextGrid*"))
    rows.append(
        file_row(f"{language} TextGrids", folder, grids, inspector, expected=N_SECTIONS, needed=False)[0]
    )
    path = folder / "annotation" / language / f"lpp{language}_word_information.csv"
    row = table_row(f"{language} word table", path, inspector)
    if not row.complete:
        return [*rows, row]
    try:
        section = read_csv(path, ["word", "onset", "offset", "section"])["section"].astype(int)
    except ValueError as error:
        return [*rows, Row(row.what, 0, 1, unreadable=((path.name, str(error)),))]
    counts = tuple(int((section == i + 1).sum()) for i in range(N_SECTIONS))
    official = WORDS.get(language)
    if official is None:
        return [*rows, Row(f"{language} words", len(section), note="no official count is known")]
    wrong = [
        f"section {i + 1}: {n} words, not {official[i]}" for i, n in enumerate(counts) if n != official[i]
    ]
    return [*rows, Row(f"{language} words", len(section), sum(official), tuple(wrong), note="in 9 sections")]


def _runs(folder: Path, inspector: Inspector, language: str, subjects: Sequence[str] | None) -> list[Row]:
    """Check that every listener has nine runs, of the official numbers of volumes in their order."""
    # not every run: a listener whose folder is empty is there too, with none
    found = {path.name for path in folder.glob(f"derivatives/sub-{language}*")}
    names = sorted(found) if subjects is None else [add_sub(name) for name in subjects]
    n_listeners = _LISTENERS[language] if subjects is None else len(names)
    files = _of(names, folder.glob(f"derivatives/sub-{language}*/func/*_desc-preproc_bold.nii.gz"))
    by_subject: dict[str, list[Path]] = {name: [] for name in names}
    for path in files:
        by_subject[path.name.split("_")[0]].append(path)
    uneven = [f"{name}: {len(own)} runs, not 9" for name, own in by_subject.items() if len(own) != N_SECTIONS]
    row, states = file_row(
        f"{language} scans", folder, files, inspector, expected=N_SECTIONS * n_listeners, missing=uneven
    )
    whole = [own for own in by_subject.values() if len(own) == N_SECTIONS]
    listeners = Row(f"{language} listeners", len(whole), n_listeners, note="with nine preprocessed runs")
    n_right, wrong = _volumes(whole, states, VOLUMES[language])
    n_whole = sum(states[path].problem is None for own in whole for path in own)
    volumes = Row(
        f"{language} lengths",
        n_right,
        n_whole,
        tuple(wrong),
        needed=n_whole > 0,
        note="scans of their section's volumes",
    )
    return [listeners, row, volumes]


def _volumes(
    whole: Sequence[Sequence[Path]], states: dict[Path, FileState], official: Sequence[int]
) -> tuple[int, list[str]]:
    right, wrong = 0, []
    for own in whole:
        ranked = sorted(own, key=lambda path: run_number(entities(path.name).get("run", "")))
        for section, path in enumerate(ranked):
            shape = states[path].shape
            if states[path].problem is not None:
                continue
            if len(shape) == 4 and shape[3] == official[section]:
                right += 1
            else:
                n = shape[3] if len(shape) == 4 else f"shape {shape}"
                wrong.append(f"{path.name}: {n} volumes, section {section + 1} has {official[section]}")
    return right, wrong
