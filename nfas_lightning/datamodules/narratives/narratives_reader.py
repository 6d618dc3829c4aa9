"""The stories of Narratives (OpenNeuro ds002345 v1.1.4, CC0): who heard which, by which clock."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from nfas_lightning.data.bids import add_sub, read_json, strip_sub
from nfas_lightning.data.pairing import name_list
from nfas_lightning.data.tables import read_csv
from nfas_lightning.datamodules.narratives.narratives_clock import ALIASES, CLOCKS, SKIPPED, Clock
from nfas_lightning.datamodules.narratives.narratives_tree import Listener, story_tr
from nfas_lightning.datamodules.stories.story import StoryScan
from nfas_lightning.errors import InputError


def chosen_clocks(stories: Sequence[str] | None, listeners: Sequence[Listener]) -> dict[str, Clock]:
    """Return the clocks of the named stories; None: of all but the scrambled ones.

    Raises:
        ValueError: there is no such story, or no such group of listeners.
    """
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


def check_left_out(
    found: Mapping[str, Sequence[StoryScan]],
    left_out: Mapping[str, Sequence[StoryScan]],
    stories: Sequence[str] | None,
    subjects: Sequence[str] | None,
) -> None:
    """Raise where all scans of a named subject or story are excluded: to fetch some would not help."""
    present = {scan.subject for scans in found.values() for scan in scans}
    gone = {
        f"Story {name}": left_out[name] for name in stories or () if left_out.get(name) and not found[name]
    }
    for name in subjects or ():
        own = [scan for scans in left_out.values() for scan in scans if scan.subject == add_sub(name)]
        if own and add_sub(name) not in present:
            gone = {add_sub(name): own} | gone
    for who, scans in gone.items():
        keys = ", ".join(scan.scan.key for scan in scans[:3])
        raise InputError(
            f"{who} has no scans here but those that code/scan_exclude.json leaves out ({keys}"
            f"{', ...' if len(scans) > 3 else ''}): leave it out, or read them with exclude=False."
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


def warn_of_shared_tales(names: Sequence[str], clocks: Mapping[str, Clock]) -> None:
    """Warn where several of the stories tell one tale."""
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


def same_rate(folder: Path, name: str, scans: Sequence[StoryScan]) -> tuple[float, tuple[StoryScan, ...]]:
    """Return the repetition time of most of a story's scans, and those that have it; warn of the others."""
    trs = [story_tr(folder, scan) for scan in scans]
    tr = Counter(trs).most_common(1)[0][0]
    others = sorted({scan.subject for scan, own in zip(scans, trs, strict=True) if own != tr})
    if others:
        warnings.warn(
            f"Story {name}: {sum(own != tr for own in trs)} of {len(scans)} scans have another repetition "
            f"time than {tr:g} s and are left out, those of {', '.join(others[:5])}: name them with "
            "subjects to read them.",
            stacklevel=3,
        )
    return tr, tuple(scan for scan, own in zip(scans, trs, strict=True) if own == tr)


def story_span(folder: Path, clock: Clock, tr: float) -> tuple[float, float]:
    """Seconds of the sound file that belong to this part: from the end of the part before to its own end."""
    parts = [
        clock_from_file(folder, other) for other in CLOCKS.values() if other.task == clock.task and other.part
    ]
    ends = [(part.onset + part.duration) * tr - clock.wav_offset for part in parts]
    own = (clock.onset + clock.duration) * tr - clock.wav_offset
    later = [end for end in ends if end > own]
    earlier = [end for end in ends if end < own]
    return max(earlier, default=0.0), own if later else float("inf")


def check_offset(folder: Path, name: str, clock: Clock, scans: Sequence[StoryScan]) -> None:
    """Warn where a clock is uncertain, or the scans' own events.tsv tells another one."""
    hint = f"Pass wav_offsets={{{name!r}: seconds}} if you know better."
    if clock.note:
        warnings.warn(f"Story {name}: {clock.note}. Taken: {clock.wav_offset:g} s. {hint}", stacklevel=3)
        return
    for scan in scans:
        path = folder / scan.subject / "func" / f"{scan.scan.key}_events.tsv"
        if path.exists():
            onsets = pd.to_numeric(read_csv(path, ["onset"], sep="\t")["onset"], errors="coerce")
            if abs(onsets.min() - clock.wav_offset) > 0.01:
                warnings.warn(
                    f"Story {name}: {path.name} lets the sound begin at {onsets.min():g} s, not at "
                    f"{clock.wav_offset:g} s, which is taken. {hint}",
                    stacklevel=3,
                )
            return
