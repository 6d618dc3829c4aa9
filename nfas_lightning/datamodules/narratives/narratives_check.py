"""Narratives on disk: what `narratives_reader` asks for, found as it finds it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from nfas_lightning.data.bids import add_sub, entities
from nfas_lightning.datamodules.catalogue.check_rows import (
    Row,
    file_row,
    known_files_row,
    participants_row,
    table_row,
)
from nfas_lightning.datamodules.catalogue.inspector import Inspector, shorten
from nfas_lightning.datamodules.narratives import narratives_tree as tree
from nfas_lightning.datamodules.narratives.narratives_clock import CLOCKS, SKIPPED, Clock
from nfas_lightning.datamodules.narratives.narratives_reader import audience, clock_from_file
from nfas_lightning.datamodules.stories.story import StoryScan

_T = TypeVar("_T")
_N_SUBJECTS, _N_SCANS = 345, 891


def narratives_rows(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> list[Row]:
    """Check tables, scans and their sidecars, and the sounds and alignments of what was heard in them."""
    rows = [participants_row(folder, inspector, subjects, _N_SUBJECTS)]
    listeners, wrong = _read(lambda: tree.read_listeners(folder))
    if rows[0].complete and wrong:
        rows[0] = Row("participants", 0, _N_SUBJECTS, unreadable=(("participants.tsv", wrong),))
    if subjects is not None:
        names = {add_sub(name) for name in subjects}
        listeners = [listener for listener in listeners or [] if listener.subject in names]
    excluded, wrong = _read(lambda: tree.excluded_scans(folder))
    rows.append(_table(folder, "scan_exclude.json", inspector, wrong))
    scans, of_forms = _scans(folder, inspector, listeners or [])
    kept = [scan for scan in scans if not tree.is_excluded(scan, excluded or [])]
    heard = {(scan.subject, entities(scan.scan.key)["task"]) for scan in kept}
    everything = [clock for name, clock in CLOCKS.items() if name not in SKIPPED]
    clocks = [
        clock
        for clock in everything
        if any((one.subject, one.task) in heard for one in audience(clock, listeners or [], None))
    ]
    clocks = clocks or everything  # a folder without scans lacks the sounds of all stories
    _, wrong = _read(lambda: [clock_from_file(folder, clock) for clock in clocks])
    rows += [
        _table(folder, "event_meta.json", inspector, wrong),
        table_row("code/task_meta.json", folder / "code" / "task_meta.json", inspector),
        *_stimuli(folder, inspector, clocks),
        _raw(folder, inspector, subjects),
        *of_forms,
        _sidecars(folder, kept),
    ]
    unheard = _without_scan(listeners or [], scans, excluded or [])
    n_scans = _N_SCANS if subjects is None else len(scans) + len(unheard)
    rows.append(Row("preprocessed scans", len(scans), n_scans, tuple(unheard), note="in any of these forms"))
    return rows


def _read(read: Callable[[], _T]) -> tuple[_T | None, str]:
    """Return what the loader's own reader returns, and what it says against it."""
    try:
        return read(), ""
    except (FileNotFoundError, ValueError) as error:
        return None, str(error)


def _table(folder: Path, name: str, inspector: Inspector, wrong: str) -> Row:
    row = table_row(f"code/{name}", folder / "code" / name, inspector)
    return Row(row.what, 0, 1, unreadable=((name, wrong),)) if row.complete and wrong else row


def _scans(
    folder: Path, inspector: Inspector, listeners: Sequence[tree.Listener]
) -> tuple[list[StoryScan], list[Row]]:
    """Return the scans that are readable in some form, each once, and a row for each form that is here."""
    found: dict[str, StoryScan] = {}
    rows = []
    for derivative in tree.DERIVATIVES:
        for space in tree.SPACES:
            scans = [
                scan
                for listener in dict.fromkeys((one.subject, one.task) for one in listeners)
                for scan in tree.find_scans(
                    folder, *listener, space=space, derivative=derivative, here_only=False
                )
            ]
            if not scans:
                continue
            files = [file for scan in scans for file in scan.scan.files]
            tables = [scan.confounds for scan in scans if scan.confounds is not None]
            absent = [file.name for file in [*files, *tables] if not os.path.lexists(file)]
            here = [file for file in files if os.path.lexists(file)]
            what = f"{derivative} {space}"
            row, states = file_row(what, folder, here, inspector, missing=absent, needed=False)
            rows.append(row)
            if tables := [table for table in tables if os.path.lexists(table)]:
                rows.append(file_row(f"{what} confounds", folder, tables, inspector)[0])
            for scan in scans:
                if all(file in states and states[file].problem is None for file in scan.scan.files):
                    found.setdefault(scan.scan.key, scan)
    return list(found.values()), rows


def _without_scan(
    listeners: Sequence[tree.Listener], scans: Sequence[StoryScan], excluded: Sequence[dict[str, str]]
) -> list[str]:
    """Name who heard a story by participants.tsv and has no scan of it, unless that is excluded."""
    here = {(scan.subject, entities(scan.scan.key)["task"]) for scan in scans}
    known = {clock.task for clock in CLOCKS.values()}
    names = []
    for subject, task in dict.fromkeys((one.subject, one.task) for one in listeners):
        about = {**entities(subject), "task": task}
        left_out = any(entry.items() <= about.items() for entry in excluded)
        if task in known and (subject, task) not in here and not left_out:
            names.append(f"{subject}_task-{task}")
    return names


def _stimuli(folder: Path, inspector: Inspector, clocks: Sequence[Clock]) -> list[Row]:
    """Check the sound and the alignment of every story that has scans here."""
    audios = sorted({clock.audio for clock in clocks})
    rows = []
    for what, where in (("sounds", tree.sound_file), ("word tables", tree.word_table)):
        paths = [where(folder, audio) for audio in audios]
        row, states = known_files_row(what, folder, paths, inspector)
        if where is tree.word_table:
            wrong = list(row.unreadable)
            for audio, path in zip(audios, paths, strict=True):
                if path in states and states[path].problem is None:
                    said = _read(partial(tree.read_alignment, path, audio))[1]
                    wrong += [(str(path.relative_to(folder)), said)] if said else []
            row = Row(what, len(states) - len(wrong), len(paths), row.missing, tuple(wrong))
        rows.append(row)
    return rows


def _sidecars(folder: Path, scans: Sequence[StoryScan]) -> Row:
    """Check that every scan's repetition time is stated, since it is not the same for all."""
    missing, wrong = [], []
    for scan in scans:
        name = f"{scan.scan.key}_bold.json"
        try:
            tree.story_tr(folder, scan)
        except FileNotFoundError as error:
            if os.path.lexists(folder / scan.subject / "func" / name):
                wrong.append((name, shorten(str(error))))
            else:
                missing.append(f"{scan.subject}/func/{name}")
        except ValueError as error:
            wrong.append((name, str(error)))
    found = len(scans) - len(missing) - len(wrong)
    return Row("sidecars", found, len(scans), tuple(missing), tuple(wrong), "state the repetition time")


def _raw(folder: Path, inspector: Inspector, subjects: Sequence[str] | None) -> Row:
    names = ["sub-*"] if subjects is None else [add_sub(name) for name in subjects]
    raw = sorted(path for name in names for path in folder.glob(f"{name}/func/*_bold.nii.gz"))
    events = [path.with_name(path.name.replace("_bold.nii.gz", "_events.tsv")) for path in raw]
    absent = [path.name for path in events if not os.path.lexists(path)]
    expected = _N_SCANS if subjects is None else None
    return file_row("raw scans", folder, raw, inspector, expected=expected, missing=absent, needed=False)[0]
