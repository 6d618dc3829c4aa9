"""Tables of events: when stimuli began, and which event showed which stimulus."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data.files import require_file
from nfas_lightning.data.stimuli.stimulus_set import MEDIA
from nfas_lightning.data.tables import as_numbers, check_columns, parse_csv
from nfas_lightning.errors import InputError

__all__ = ["STIMULUS_COLUMNS", "events_index", "events_table", "pair_events"]

STIMULUS_COLUMNS = ("stim_file", "stimulus")
"""Columns of events that name stimuli, the first that is there counts; BIDS has the first."""

_SUFFIX = re.compile(rf"\.({MEDIA})$", re.IGNORECASE)


def events_table(given: Any) -> pd.DataFrame:
    """Return one table of events, with onsets and durations in finite seconds.

    Args:
        given: a data frame, a mapping of columns, or the path of a csv or tsv file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: several tables, no column ``onset``, a time that is no number, or a negative duration.
    """
    source: Path | str = "events"
    if isinstance(given, str | os.PathLike):
        source = require_file(Path(given).expanduser())
        events = parse_csv(source, text=STIMULUS_COLUMNS)
    elif isinstance(given, pd.DataFrame):
        events = given.reset_index(drop=True)
    else:
        events = _of_columns(given)
    check_columns(events, ["onset"], source)
    times = [name for name in ("onset", "duration") if name in events]
    events = as_numbers(events, times, source, missing=False, advice="Give seconds for each event.")
    if "duration" in events and len(short := np.flatnonzero(events["duration"] < 0)):
        raise InputError(
            f"{source}: column 'duration' must be 0 or more seconds, got a duration of "
            f"{events['duration'].iloc[short[0]]:g} s in row {short[0] + 1} below the header."
        )
    return events


def events_index(given: Any) -> pd.Index | None:
    """Return the index of what `events_table` takes, None of a file: columns are put together by theirs."""
    if isinstance(given, pd.DataFrame):
        return given.index
    return pd.DataFrame(given).index if isinstance(given, Mapping) else None


def _of_columns(given: Any) -> pd.DataFrame:
    several = given.values() if isinstance(given, Mapping) else given
    if not isinstance(given, Mapping) or any(isinstance(part, pd.DataFrame | Mapping) for part in several):
        count = f" of {len(given)}" if hasattr(given, "__len__") else ""
        raise InputError(
            "events must be one table, shared by all subjects, with a column 'onset', got a "
            f"{type(given).__name__}{count}. Subjects who saw the stimuli in another order or at other times "
            "have no time series in common: estimate betas, one row per stimulus, and leave out events and "
            "tr; or score each subject with a datamodule of its own. Runs go below one another in one table, "
            "with a column 'run'."
        )
    try:
        return pd.DataFrame(given).reset_index(drop=True)
    except ValueError as error:
        raise InputError(f"events must have columns of one length ({error}).") from error


def pair_events(
    events: pd.DataFrame,
    n_stimuli: int,
    *,
    ids: Sequence[str] | None = None,
    paths: Sequence[str | os.PathLike[str]] | None = None,
) -> tuple[pd.DataFrame, Tensor]:
    """Find the stimulus that each event showed.

    A column of `STIMULUS_COLUMNS` names it: by file name, with or without its folders and its suffix, by id,
    or, in ``stimulus`` where there are no ids, by a whole number, its place counted from 0. Without such a
    column row i is stimulus i. A stimulus may be shown several times.

    Args:
        events: E rows of `events_table`.
        n_stimuli: N.
        ids: N names that somebody gave the stimuli.
        paths: N files that they are read from.

    Returns:
        The events that name a stimulus, and the place (E,) of each one's.

    Raises:
        ValueError: without such a column, another number of rows than of stimuli; a name that is no
            stimulus's; nothing that names the stimuli.
    """
    columns = [name for name in STIMULUS_COLUMNS if name in events]
    if not columns:
        if len(events) != n_stimuli:
            raise InputError(
                f"events must have one row per stimulus ({n_stimuli}), or a column 'stimulus' that names the "
                f"stimulus of each event, got the columns {list(events.columns)} and {len(events)} rows."
            )
        return events, torch.arange(n_stimuli)
    # files that nothing could be compared with leave it to the other column
    nameless = ids is None and paths is None
    column = "stimulus" if nameless and "stimulus" in columns else columns[0]
    labels = [_label(value) for value in events[column]]
    empty = [row for row, label in enumerate(labels) if not label]
    if len(empty) == len(labels):
        raise InputError(f"events: column {column!r} must name stimuli, got none in {len(labels)} rows.")
    if empty:
        warnings.warn(
            f"{len(empty)} of {len(labels)} events name no stimulus in column {column!r}, the first in row "
            f"{empty[0] + 1}: they are left out.",
            stacklevel=2,
        )
        events = events[[bool(label) for label in labels]].reset_index(drop=True)
        labels = [label for label in labels if label]
    numbered = nameless or (ids is None and pd.api.types.is_numeric_dtype(events[column]))
    if column == "stimulus" and numbered:
        places = _numbers(labels, n_stimuli)
    else:
        places = _match(column, labels, ids, paths)
    _warn_of_counts(places, n_stimuli, ids or [Path(path).name for path in paths or ()])
    return events, torch.tensor(places)


def _label(value: Any) -> str:
    """Return a name as text, empty where there is none; a table with a gap makes whole numbers floats."""
    if pd.isna(value):
        return ""
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    return "" if text == "n/a" else text


def _numbers(labels: Sequence[str], n_stimuli: int) -> list[int]:
    wrong = [label for label in labels if not label.isdecimal() or int(label) >= n_stimuli]
    if wrong:
        raise InputError(
            "events: column 'stimulus' must hold the place of each event's stimulus, a whole number from 0 "
            f"to {n_stimuli - 1}, where no stimulus_ids are given, got {_some(wrong)}. Give stimulus_ids to "
            "pair by name, or leave the column out where row i is stimulus i."
        )
    return list(map(int, labels))


def _match(
    column: str,
    labels: Sequence[str],
    ids: Sequence[str] | None,
    paths: Sequence[str | os.PathLike[str]] | None,
) -> list[int]:
    """Return the place of each name, by whichever of files and ids knows more of them."""
    known = [[os.fspath(name) for name in names] for names in (paths, ids) if names is not None]
    if not known:
        raise InputError(
            f"events: column {column!r} names the stimuli, got no names of theirs to compare with. Give "
            "stimulus_ids, the names as they stand in that column, or leave the column out where row i is "
            "stimulus i."
        )
    found: list[list[int | None]] = []
    for names in known:
        for stems in (False, True):
            keys = _keys(names, stems, shortest=names is known[0] and paths is not None)
            if keys is not None:
                depth, rows = keys
                found.append([rows.get(_key(label, depth, stems)) for label in labels])
    if not found and len(labels) == len(known[0]) and all(map(_same, labels, known[0])):
        return list(range(len(labels)))  # a file that was listed once an event
    if not found:
        raise InputError(
            f"events: column {column!r} names the stimuli, which then need names of their own, got more than "
            f"once: {_some(name for name, times in Counter(known[0]).items() if times > 1)}. Give each "
            "stimulus once; it may have several events."
        )
    best = min(found, key=lambda places: places.count(None))
    places = [place for place in best if place is not None]
    if len(places) < len(labels):
        lost = dict.fromkeys(label for label, place in zip(labels, best, strict=True) if place is None)
        raise InputError(
            f"events: column {column!r} must name stimuli, got {len(lost)} names that are no stimulus's: "
            f"{_some(lost)}. Stimuli are {_some(Path(name).name for name in known[0])}. Rename them, add the "
            "stimuli, or take these rows out."
        )
    spelled: dict[int, str] = {}
    for label, place in zip(labels, places, strict=True):
        if spelled.setdefault(place, label) != label:
            raise InputError(
                f"events: column {column!r} must write each stimulus one way, got {spelled[place]!r} and "
                f"{label!r} for {Path(known[0][place]).name!r}. Are they two stimuli?"
            )
    return places


def _keys(names: Sequence[str], stems: bool, *, shortest: bool) -> tuple[int, dict[str, int]] | None:
    """Return how many parts of a name to compare, and the place of each; None where names are not unique.

    Files lie in folders of no meaning, so the fewest parts that tell them apart do; of ids all parts count.
    """
    deepest = max(len(_parts(name)) for name in names)
    for depth in range(1 if shortest else deepest, deepest + 1):
        place = {_key(name, depth, stems): i for i, name in enumerate(names)}
        if len(place) == len(names):
            return depth, place
    return None


def _parts(name: str) -> list[str]:
    return re.split(r"[\\/]", name)


def _key(name: str, depth: int, stems: bool) -> str:
    """Return the last parts of a name, with or without what kind of file it is."""
    key = "/".join(_parts(name)[-depth:])
    return _SUFFIX.sub("", key) if stems else key


def _same(label: str, name: str) -> bool:
    """Tell whether two names agree in all the parts that both have."""
    depth = min(len(_parts(label)), len(_parts(name)))
    return any(_key(label, depth, stems) == _key(name, depth, stems) for stems in (False, True))


def _warn_of_counts(places: Sequence[int], n_stimuli: int, names: Sequence[str]) -> None:
    """Say which stimuli were never shown, and that repeats make scores too high."""
    times = Counter(places)
    named = names or list(map(str, range(n_stimuli)))
    unseen = [name for i, name in enumerate(named) if i not in times]
    if unseen:
        warnings.warn(
            f"{len(unseen)} of {n_stimuli} stimuli are in no event, so there is no response to them: "
            f"{_some(unseen)}.",
            stacklevel=3,
        )
    repeated = [named[i] for i, count in sorted(times.items()) if count > 1]
    if repeated:
        warnings.warn(
            f"{len(repeated)} of {n_stimuli} stimuli are shown more than once: {_some(repeated)}. Where a "
            "stimulus lies on both sides of a fold any model predicts its response, so scores are too high: "
            "better estimate betas, one row per stimulus.",
            stacklevel=3,
        )


def _some(names: Any) -> str:
    listed = list(names)
    return f"{listed[:5]}{' and so on' if len(listed) > 5 else ''}"
