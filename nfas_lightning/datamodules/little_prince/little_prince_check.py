"""The Little Prince on disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from nfas_lightning.data.bids import add_sub, strip_sub
from nfas_lightning.datamodules.catalogue.check_rows import (
    Row,
    file_row,
    known_files_row,
    participants_row,
    table_row,
)
from nfas_lightning.datamodules.catalogue.inspector import FileState, Inspector
from nfas_lightning.datamodules.little_prince import little_prince_reader as reader

_LISTENERS = {"EN": 49, "CN": 35, "FR": 28}


def little_prince_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check tables, sounds and the nine runs of each listener; a language stands for all its listeners."""
    rows = [participants_row(folder, inspector, subjects, sum(_LISTENERS.values()), _LISTENERS)]
    for language in reader.LANGUAGES:
        own = None if subjects is None else [n for n in subjects if strip_sub(n)[:2] == language]
        if own == []:
            continue
        rows += [
            *_annotation(folder, inspector, language),
            *_runs(folder, inspector, language, None if own is not None and language in own else own),
        ]
    return rows


def _annotation(folder: Path, inspector: Inspector, language: str) -> list[Row]:
    sections = range(1, reader.N_SECTIONS + 1)
    sounds = [reader.sound_file(folder, language, section) for section in sections]
    grids = [reader.text_grid(folder, language, section) for section in sections]
    rows = [
        known_files_row(f"{language} sounds", folder, sounds, inspector)[0],
        known_files_row(f"{language} TextGrids", folder, grids, inspector, needed=False)[0],
    ]
    path = reader.word_table(folder, language)
    row = table_row(f"{language} word table", path, inspector)
    if not row.complete:
        return [*rows, row]
    try:
        found = reader.read_sections(path, language, strict=False)
    except ValueError as error:
        return [*rows, Row(row.what, 0, 1, unreadable=((path.name, str(error)),))]
    counts = tuple(len(found.get(section, ())) for section in sections)
    official = reader.WORDS.get(language)
    if official is None:
        absent = tuple(f"section {section}" for section in sections if section not in found)
        note = "no official count is known"
        return [*rows, Row(f"{language} words", sum(counts), None, absent, note=note)]
    wrong = [
        f"section {i + 1}: {n} words, not {official[i]}" for i, n in enumerate(counts) if n != official[i]
    ]
    return [*rows, Row(f"{language} words", sum(counts), sum(official), tuple(wrong), note="in 9 sections")]


def _runs(folder: Path, inspector: Inspector, language: str, subjects: Sequence[str] | None) -> list[Row]:
    """Check that every listener has nine runs, of the official numbers of volumes in their order."""
    # not every run: a listener whose folder is empty is there too, with none
    found = {path.name for path in folder.glob(f"derivatives/sub-{language}*")}
    names = sorted(found) if subjects is None else [add_sub(name) for name in subjects]
    n_listeners = _LISTENERS[language] if subjects is None else len(names)
    runs = reader.find_runs(folder, language)
    by_subject = {name: runs.get(name, []) for name in names}
    files = [path for own in by_subject.values() for path in own]
    uneven = [
        f"{name}: {len(own)} runs, not 9" for name, own in by_subject.items() if len(own) != reader.N_SECTIONS
    ]
    row, states = file_row(
        f"{language} scans",
        folder,
        files,
        inspector,
        expected=reader.N_SECTIONS * n_listeners,
        missing=uneven,
    )
    whole = [own for own in by_subject.values() if len(own) == reader.N_SECTIONS]
    listeners = Row(f"{language} listeners", len(whole), n_listeners, note="with nine preprocessed runs")
    n_right, wrong = _volumes(whole, states, reader.VOLUMES[language])
    n_whole = sum(states[path].problem is None for own in whole for path in own)
    volumes = Row(
        f"{language} lengths",
        n_right,
        n_whole,
        tuple(wrong),
        needed=n_whole > 0,
        note="scans of their section's volumes",
    )
    return [listeners, row, volumes, _repetition_times(folder, language, by_subject)]


def _repetition_times(folder: Path, language: str, runs: dict[str, list[Path]]) -> Row:
    """Look for sidecars that state another repetition time than the data set's; there need be none."""
    wrong = []
    for subject, files in runs.items():
        for path in files:
            try:
                tr = reader.scan_seconds(folder, subject, path)
            except (FileNotFoundError, ValueError) as error:
                wrong.append((path.name, str(error)))
            else:
                if not math.isclose(tr, reader.TR, rel_tol=1e-5):
                    wrong.append(
                        (path.name, f"its sidecar states a repetition time of {tr:g} s, not {reader.TR:g}")
                    )
    n = sum(map(len, runs.values()))
    note = f"{reader.TR:g} s, by the sidecars that are here"
    return Row(f"{language} repetition times", n - len(wrong), n, (), tuple(wrong), note, needed=n > 0)


def _volumes(
    whole: Sequence[Sequence[Path]], states: dict[Path, FileState], official: Sequence[int]
) -> tuple[int, list[str]]:
    right, wrong = 0, []
    for own in whole:
        for section, path in enumerate(own):
            shape = states[path].shape
            if states[path].problem is not None:
                continue
            if len(shape) == 4 and shape[3] == official[section]:
                right += 1
            else:
                n = shape[3] if len(shape) == 4 else f"shape {shape}"
                wrong.append(f"{path.name}: {n} volumes, section {section + 1} has {official[section]}")
    return right, wrong
