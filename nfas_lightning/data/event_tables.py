"""Tables of events: when stimuli began, and which event showed which stimulus."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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

STIMULUS_COLUMNS = ("stim_file", "stimulus")
"""Columns of events that name stimuli, the first that is there counts; BIDS has the first."""

_SUFFIX = re.compile(rf"\.({MEDIA})$", re.IGNORECASE)


def events_table(given: Any) -> pd.DataFrame:
    """Return one table of events, with onsets and durations in finite seconds.

    A data frame keeps its index; a mapping of columns, or the path of a csv or tsv file, will do.
    """
    source: Path | str = "events"
    if isinstance(given, str | os.PathLike):
        source = require_file(Path(given).expanduser())
        events = parse_csv(source, text=STIMULUS_COLUMNS)
    elif isinstance(given, pd.DataFrame):
        events = given
    elif not isinstance(given, Mapping) or any(isinstance(v, pd.DataFrame | Mapping) for v in given.values()):
        count = f" of {len(given)}" if hasattr(given, "__len__") else ""
        raise InputError(
            "events must be one table, shared by all subjects, with a column 'onset', got a "
            f"{type(given).__name__}{count}. If subjects saw other orders, estimate betas, one row per "
            "stimulus. Runs go below one another, with a column 'run'."
        )
    else:
        try:
            events = pd.DataFrame(given)
        except ValueError as error:
            raise InputError(f"events must have columns of one length ({error}).") from error
    check_columns(events, ["onset"], source)
    times = [name for name in ("onset", "duration") if name in events]
    events = as_numbers(events, times, source, missing=False, advice="Give seconds for each event.")
    check_not_negative(events, f"{source}: column 'duration' must be 0 or more seconds")
    return events


def check_not_negative(events: pd.DataFrame, what: str) -> None:
    """Refuse durations below 0; `what` begins the message."""
    if "duration" in events and len(short := np.flatnonzero(events["duration"] < 0)):
        raise InputError(
            f"{what}, got a duration of {events['duration'].iloc[short[0]]:g} s in row {short[0] + 1}."
        )


def pair_events(
    events: pd.DataFrame,
    n_stimuli: int,
    *,
    ids: Sequence[str] | None = None,
    paths: Sequence[str | os.PathLike[str]] | None = None,
) -> tuple[pd.DataFrame, Tensor]:
    """Find the stimulus that each event showed.

    A column of `STIMULUS_COLUMNS` names it: by file name, with or without its folders and its suffix, by id,
    or, in ``stimulus`` where there are no ids, by its place counted from 0. Without such a column row i is
    stimulus i.

    Args:
        events: E rows of `events_table`.
        n_stimuli: N.
        ids: N names that somebody gave the stimuli.
        paths: N files that they are read from.

    Returns:
        The events that name a stimulus, and the place (E,) of each one's.
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
            f"{empty[0] + 1}.",
            stacklevel=2,
        )
        events = events[[bool(label) for label in labels]].reset_index(drop=True)
        labels = [label for label in labels if label]
    numbered = nameless or (ids is None and pd.api.types.is_numeric_dtype(events[column]))
    if column == "stimulus" and numbered:
        wrong = [label for label in labels if not label.isdecimal() or int(label) >= n_stimuli]
        if wrong:
            raise InputError(
                "events: column 'stimulus' must hold the place of each event's stimulus, from 0 to "
                f"{n_stimuli - 1}, got {_some(wrong)}. Give stimulus_ids to pair by name."
            )
        places = list(map(int, labels))
    else:
        known = [[os.fspath(name) for name in names] for names in (paths, ids) if names is not None]
        places = _match(column, labels, known, by_file=paths is not None)
    _warn_of_counts(
        places, ids or [Path(path).name for path in paths or ()] or list(map(str, range(n_stimuli)))
    )
    return events, torch.tensor(places)


def _label(value: Any) -> str:
    """Return a name as text, empty where there is none; a table with a gap makes whole numbers floats."""
    if pd.isna(value):
        return ""
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    return "" if text == "n/a" else text


def _match(column: str, labels: Sequence[str], known: Sequence[Sequence[str]], *, by_file: bool) -> list[int]:
    """Return the place of each name, by whichever of the `known` names has more of them.

    Files lie in folders of no meaning, so the fewest parts that tell them apart do; of ids all parts count.
    """
    if not known:
        raise InputError(
            f"events: column {column!r} names stimuli that have no names. Give stimulus_ids, or leave it out."
        )
    found: list[list[int | None]] = []
    for names in known:
        deepest = max(name.replace("\\", "/").count("/") for name in names) + 1
        for stems in (False, True):
            for depth in range(1 if by_file and names is known[0] else deepest, deepest + 1):
                rows = {_key(name, depth, stems): i for i, name in enumerate(names)}
                if len(rows) == len(names):
                    found.append([rows.get(_key(label, depth, stems)) for label in labels])
                    break
    if not found:
        raise InputError(
            f"events: column {column!r} names the stimuli, which then need names of their own, got more than "
            f"once: {_some(name for name, times in Counter(known[0]).items() if times > 1)}. Give each "
            "stimulus once."
        )
    best = min(found, key=lambda places: places.count(None))
    if lost := dict.fromkeys(label for label, place in zip(labels, best, strict=True) if place is None):
        raise InputError(
            f"events: column {column!r} must name stimuli, got {len(lost)} names that are no stimulus's: "
            f"{_some(lost)}. Stimuli are {_some(Path(name).name for name in known[0])}."
        )
    places = [place for place in best if place is not None]
    spelled: dict[int, str] = {}
    for label, place in zip(labels, places, strict=True):
        if spelled.setdefault(place, label) != label:
            raise InputError(
                f"events: column {column!r} must write each stimulus one way, got {spelled[place]!r} and "
                f"{label!r} for {Path(known[0][place]).name!r}."
            )
    return places


def _key(name: str, depth: int, stems: bool) -> str:
    """Return the last parts of a name, with or without what kind of file it is."""
    key = "/".join(re.split(r"[\\/]", name)[-depth:])
    return _SUFFIX.sub("", key) if stems else key


def _warn_of_counts(places: Sequence[int], names: Sequence[str]) -> None:
    """Warn of stimuli that were never shown, and of repeats, which make scores too high."""
    times = Counter(places)
    if unseen := [name for i, name in enumerate(names) if i not in times]:
        warnings.warn(
            f"{len(unseen)} of {len(names)} stimuli are in no event: {_some(unseen)}.",
            stacklevel=3,
        )
    if repeated := [names[i] for i, count in sorted(times.items()) if count > 1]:
        warnings.warn(
            f"{len(repeated)} of {len(names)} stimuli are shown more than once: {_some(repeated)}. If folds "
            "part them, scores are too high: better estimate betas, one row per stimulus.",
            stacklevel=3,
        )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return f"{listed[:5]}{' and so on' if len(listed) > 5 else ''}"
