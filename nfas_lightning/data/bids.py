"""What BIDS data sets share: entities in file names, sidecars, participants, content that is here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nfas_lightning.data.files import reading, require_file
from nfas_lightning.data.pairing import name_list
from nfas_lightning.data.tables import read_csv
from nfas_lightning.errors import InputError, MissingFileError


def entities(name: str) -> dict[str, str]:
    """Return the entities of a BIDS file name, without its suffix and extension.

    Example:
        >>> entities("sub-001_task-pieman_run-1_bold.nii.gz")
        {'sub': '001', 'task': 'pieman', 'run': '1'}
    """
    parts = name.split(".")[0].split("_")
    return {key: value for key, dash, value in (part.partition("-") for part in parts) if dash}


def add_sub(name: str) -> str:
    """Write a subject as folders do: ``"EN057"`` and ``"sub-EN057"`` give ``"sub-EN057"``."""
    return f"sub-{strip_sub(name)}"


def strip_sub(name: str) -> str:
    """Write a subject without what folders put before it."""
    return name.removeprefix("sub-")


def is_here(path: Path) -> bool:
    """Whether a file's content is on this disk, not a dangling link or a git-annex pointer."""
    try:
        require_file(path)
    except FileNotFoundError:
        return False
    return True


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object."""
    with reading(path.name, "JSON", json.JSONDecodeError):
        value = json.loads(require_file(path).read_text(encoding="utf-8-sig"))
    if not isinstance(value, dict):
        raise InputError(f"{path.name} must hold a JSON object, got {type(value).__name__}.")
    return value


def scan_tr(root: Path, subject: str, task: str, run: str | None = None) -> float | None:
    """Read a scan's repetition time in seconds from the nearest sidecar that states it, None if none does.

    Subject and task are e.g. ``"sub-001"`` and ``"pieman"``; run is None where the scan has none.
    """
    of_task, of_run = f"task-{task}", f"_run-{run}" if run else ""
    for path in (
        root / subject / "func" / f"{subject}_{of_task}{of_run}_bold.json",
        root / subject / "func" / f"{subject}_{of_task}_bold.json",
        root / subject / f"{subject}_{of_task}_bold.json",
        root / f"{of_task}_bold.json",
    ):
        value = read_json(path).get("RepetitionTime") if os.path.lexists(path) else None
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.1 < value < 20:
            raise InputError(
                f"{path.name}: RepetitionTime must be a number of seconds between 0.1 and 20, got {value!r}."
            )
        return float(value)
    return None


def read_participants(root: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read participants.tsv, which must have these columns, all of it as text."""
    return read_csv(root / "participants.tsv", ["participant_id", *columns], sep="\t").astype(str)


def pick_subjects(wanted: Sequence[str] | None, here: Sequence[str], listed: Sequence[str]) -> list[str]:
    """Return the wanted subjects, with or without ``sub-``, or all that are here; others are `listed`."""
    if wanted is None:
        if not here:
            raise MissingFileError(
                f"No subject has files here ({len(listed)} are listed in participants.tsv): fetch some, or "
                "check root, space and derivative."
            )
        return sorted(here)
    names = name_list("subjects", wanted, add_sub)
    shown = ", ".join(sorted(here)[:5]) or "none"
    shown += f" and {len(here) - 5} more" if len(here) > 5 else ""
    for name in (name for name in names if name not in here):
        if name in listed:
            raise MissingFileError(
                f"{name} is in participants.tsv but has none of the wanted files here: fetch them. Here are "
                f"{shown}."
            )
        raise InputError(f"subjects has no {name!r}. Here are {shown}.")
    return names


def run_number(text: str) -> int:
    """Return a run entity as a number; runs without one come first.

    Example:
        >>> run_number("09"), run_number("")
        (9, 0)
    """
    return int(re.sub(r"\D", "", text) or 0)
