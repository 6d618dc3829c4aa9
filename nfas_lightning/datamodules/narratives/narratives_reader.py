"""Narratives: spoken stories and their listeners (OpenNeuro ds002345 v1.1.4, CC0)."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from nfas_lightning.data.bids import is_here, pick_subjects, read_json, strip_sub
from nfas_lightning.data.files import find_folder, require_file
from nfas_lightning.data.pairing import name_list
from nfas_lightning.data.tables import read_csv
from nfas_lightning.datamodules.narratives import BENCHMARK
from nfas_lightning.datamodules.narratives.narratives_clock import ALIASES, CLOCKS, SKIPPED, Clock
from nfas_lightning.datamodules.narratives.narratives_tree import (
    Listener,
    excluded_scans,
    find_scans,
    is_excluded,
    read_listeners,
    sound_file,
    story_tr,
    story_words,
    word_table,
)
from nfas_lightning.datamodules.stories.story import Story, StoryScan
from nfas_lightning.errors import InputError, MissingFileError
from nfas_lightning.functional.checks import check_option

__all__ = ["FOLDER", "audience", "clock_from_file", "narratives_stories"]

FOLDER = BENCHMARK.folder


def narratives_stories(
    root: str | os.PathLike[str] | None,
    stories: Sequence[str] | None = None,
    *,
    subjects: Sequence[str] | None = None,
    space: str = "MNI",
    derivative: str = "afni-nosmooth",
    words: bool = True,
    sound: bool = True,
    unaligned: str = "interpolate",
    trim: tuple[int, int] = (6, 0),
    wav_offsets: Mapping[str, float] | None = None,
    exclude: bool = True,
    strict: bool = True,
) -> list[Story]:
    """Find the stories and who heard them.

    Args:
        root: folder of the data set, or the one that holds ``ds002345/``; None: ``NFAS_DATA``.
        stories: names of `CLOCKS`; ``"slumlordreach"`` stands for its two parts, and
            ``"prettymouth-<group>"`` for the listeners of one condition. None: all with files here,
            scrambled ones left out, and one of those that tell the same tale.
        subjects: with or without ``sub-``; None: all with content here.
        space: ``"MNI"`` or ``"fsaverage6"``.
        derivative: ``"afni-nosmooth"``, ``"afni-smooth"`` or ``"fmriprep"``.
        words: read the word tables.
        sound: read the wav files.
        unaligned: ``"interpolate"`` places words without times between their neighbors, ``"drop"`` leaves
            them as context alone.
        trim: volumes dropped after the story begins and before it ends.
        wav_offsets: seconds from the scan's start to the sound file's, for stories whose clock you know.
        exclude: leave out the scans of code/scan_exclude.json.
        strict: check word counts.

    Returns:
        One story each. Scans whose repetition time is not that of most of a story's scans are left out, with
        a warning.

    Raises:
        FileNotFoundError: a folder, table, sound, sidecar or subject is missing, or its content is.
        ValueError: an unknown story, group or subject, or a table that does not fit.
    """
    check_option("unaligned", unaligned, ("interpolate", "drop"))
    folder = find_folder(root, FOLDER, ("participants.tsv",))
    listeners = read_listeners(folder)
    clocks = _clocks(stories, listeners)
    excluded = excluded_scans(folder) if exclude else []
    everything = stories is not None and subjects is not None
    found: dict[str, list[StoryScan]] = {name: [] for name in clocks}
    left_out: dict[str, list[StoryScan]] = {name: [] for name in clocks}
    for name, clock in clocks.items():
        for listener in audience(clock, listeners, subjects):
            scans = find_scans(
                folder,
                listener.subject,
                clock.task,
                space=space,
                derivative=derivative,
                here_only=subjects is None,
            )
            if everything and not scans:
                raise MissingFileError(
                    f"{listener.subject} heard {name} by participants.tsv, but has no scan of {derivative} "
                    f"in {space} here: fetch it with `datalad get`, or leave out the subject or the story."
                )
            found[name] += [scan for scan in scans if not is_excluded(scan, excluded)]
            left_out[name] += [scan for scan in scans if is_excluded(scan, excluded)]
    _check_left_out(found, left_out, stories, subjects)
    if stories is None or subjects is not None:
        listed = sorted({listener.subject for listener in listeners})
        present = sorted({scan.subject for scans in found.values() for scan in scans})
        pick_subjects(subjects, present, listed)
    chosen = [name for name, scans in found.items() if scans]
    if stories is None:
        chosen = _one_of_each_tale(chosen, clocks)
    elif len(chosen) < len(found):
        raise MissingFileError(
            f"Story {next(name for name in found if name not in chosen)} must have scans of {derivative} in "
            f"{space} here, got none: fetch them with `datalad get` or `nfas data get`, or leave it out."
        )
    _warn_of_shared_tales(chosen, clocks)
    unknown = sorted(set(wav_offsets or {}) - set(chosen))
    if unknown:
        raise InputError(f"wav_offsets must name stories that are read, {chosen}, got {unknown}.")
    out = []
    for name in chosen:
        clock = clock_from_file(folder, clocks[name])
        known = (wav_offsets or {}).get(name)
        clock = clock if known is None else replace(clock, wav_offset=float(known), note="")
        out.append(
            _story(
                folder,
                name,
                clock,
                found[name],
                words=words,
                sound=sound,
                unaligned=unaligned,
                trim=trim,
                check_offset=known is None,
                strict=strict,
            )
        )
    return out


def _clocks(stories: Sequence[str] | None, listeners: Sequence[Listener]) -> dict[str, Clock]:
    if stories is None:
        return {name: clock for name, clock in CLOCKS.items() if name not in SKIPPED}
    given = name_list("stories", stories)
    names = name_list("stories", [part for name in given for part in ALIASES.get(name, (name,))])
    out = {}
    for name in names:
        story, dash, group = name.partition("-")
        if story not in CLOCKS:
            several = [other for other, clock in CLOCKS.items() if clock.task == story]
            hint = f"choose of {', '.join(several)}" if several else f"the stories are {', '.join(CLOCKS)}"
            raise InputError(f"stories has no {name!r}: {hint}.")
        clock = CLOCKS[story]
        if dash:
            groups = sorted({listener.condition for listener in listeners if listener.task == clock.task})
            if clock.condition is not None or group not in groups:
                raise InputError(f"Story {story} has no group {group!r}, participants.tsv has {groups}.")
            clock = replace(clock, condition=group)
        out[name] = clock
    return out


def _check_left_out(
    found: Mapping[str, Sequence[StoryScan]],
    left_out: Mapping[str, Sequence[StoryScan]],
    stories: Sequence[str] | None,
    subjects: Sequence[str] | None,
) -> None:
    """Say of whom or what only excluded scans are here: to fetch some would not help.

    Raises:
        ValueError: a subject or a story that was asked for has no other scans.
    """
    gone = [scan for scans in left_out.values() for scan in scans]
    present = {scan.subject for scans in found.values() for scan in scans}
    wanted = {f"sub-{strip_sub(name)}" for name in subjects or ()}
    of_subject = sorted({scan.subject for scan in gone} & wanted - present)
    of_story = [name for name in stories or () if left_out.get(name) and not found[name]]
    if not of_subject and not of_story:
        return
    who = of_subject[0] if of_subject else f"Story {of_story[0]}"
    scans = [scan for scan in gone if scan.subject == who] if of_subject else left_out[of_story[0]]
    keys = [scan.scan.key for scan in scans]
    raise InputError(
        f"{who} has no scans here but those that code/scan_exclude.json leaves out ({', '.join(keys[:3])}"
        f"{', ...' if len(keys) > 3 else ''}): leave it out, or read them all the same with exclude=False."
    )


def audience(clock: Clock, listeners: Sequence[Listener], subjects: Sequence[str] | None) -> list[Listener]:
    """Return who heard a story, of the wanted subjects where they are named."""
    wanted = None if subjects is None else {strip_sub(name) for name in subjects}
    return [
        listener
        for listener in listeners
        if listener.task == clock.task
        and clock.condition in (None, listener.condition)
        and (wanted is None or strip_sub(listener.subject) in wanted)
    ]


def _one_of_each_tale(names: Sequence[str], clocks: Mapping[str, Clock]) -> list[str]:
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(clocks[name].tale, name)
    return list(first.values())


def _warn_of_shared_tales(names: Sequence[str], clocks: Mapping[str, Clock]) -> None:
    tales = Counter(clocks[name].tale for name in names)
    shared = [name for name in names if tales[clocks[name].tale] > 1]
    if shared:
        warnings.warn(
            f"Stories {', '.join(shared)} tell the same tale: when one is held out, its text is known from "
            "training. Read one of them for scores that generalize to new stories.",
            stacklevel=3,
        )


def clock_from_file(folder: Path, clock: Clock) -> Clock:
    """Take volumes from the data set's own event_meta.json, where it is here.

    Raises:
        ValueError: it says something else than whole volumes.
    """
    path = folder / "code" / "event_meta.json"
    if not path.exists():
        return clock
    entry = read_json(path).get(clock.task, {}).get(clock.part or clock.task)
    if entry is None:
        return clock
    if not isinstance(entry, dict) or any(type(entry.get(key)) is not int for key in ("onset", "duration")):
        raise InputError(
            f"{path.name}: {clock.task} must have onset and duration in whole volumes, got {entry!r}."
        )
    return replace(clock, onset=entry["onset"], duration=entry["duration"])


def _story(
    folder: Path,
    name: str,
    clock: Clock,
    scans: Sequence[StoryScan],
    *,
    words: bool,
    sound: bool,
    unaligned: str,
    trim: tuple[int, int],
    check_offset: bool,
    strict: bool,
) -> Story:
    trs = [story_tr(folder, scan) for scan in scans]
    tr = Counter(trs).most_common(1)[0][0]
    kept = tuple(scan for scan, own in zip(scans, trs, strict=True) if own == tr)
    if len(kept) < len(scans):
        others = sorted({scan.subject for scan, own in zip(scans, trs, strict=True) if own != tr})
        warnings.warn(
            f"Story {name}: {len(scans) - len(kept)} of {len(scans)} scans have another repetition time than "
            f"{tr:g} s and are left out, those of {', '.join(others[:5])}: name them with subjects to read "
            "them.",
            stacklevel=3,
        )
    if check_offset:
        _check_offset(folder, name, clock, kept)
    start = clock.onset * tr - clock.wav_offset
    span = _span(folder, clock, tr)
    align = word_table(folder, clock.audio)
    text = align.with_name("transcript.txt")
    return Story(
        name=name,
        tr=tr,
        offset=clock.wav_offset,
        scans=kept,
        first=clock.onset + trim[0],
        stop=clock.onset + clock.duration - trim[1],
        words=story_words(align, clock.audio, start, span, unaligned, strict) if words else None,
        text=text.read_text(encoding="utf-8-sig") if words and is_here(text) else None,
        wav=require_file(sound_file(folder, clock.audio)) if sound else None,
        span=span,
        files=(align,) if words else (),
    )


def _span(folder: Path, clock: Clock, tr: float) -> tuple[float, float]:
    """Seconds of the sound file that belong to this part: from the end of the part before to its own end."""
    parts = [
        clock_from_file(folder, other) for other in CLOCKS.values() if other.task == clock.task and other.part
    ]
    ends = [(part.onset + part.duration) * tr - clock.wav_offset for part in parts]
    own = (clock.onset + clock.duration) * tr - clock.wav_offset
    later = [end for end in ends if end > own]
    earlier = [end for end in ends if end < own]
    return max(earlier, default=0.0), own if later else float("inf")


def _check_offset(folder: Path, name: str, clock: Clock, scans: Sequence[StoryScan]) -> None:
    """Warn where a clock is uncertain, or the scans' own events.tsv tells another one."""
    hint = f"Pass wav_offsets={{{name!r}: seconds}} if you know better."
    if clock.note:
        warnings.warn(f"Story {name}: {clock.note}. Taken: {clock.wav_offset:g} s. {hint}", stacklevel=4)
        return
    for scan in scans:
        path = folder / scan.subject / "func" / f"{scan.scan.key}_events.tsv"
        if path.exists():
            onsets = pd.to_numeric(read_csv(path, ["onset"], sep="\t")["onset"], errors="coerce")
            if abs(onsets.min() - clock.wav_offset) > 0.01:
                warnings.warn(
                    f"Story {name}: {path.name} lets the sound begin at {onsets.min():g} s, not at "
                    f"{clock.wav_offset:g} s, which is taken. {hint}",
                    stacklevel=4,
                )
            return
