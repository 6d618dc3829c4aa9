"""A folder of somebody's data: files of known names, read and compared with one another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nfas_lightning.data.event_tables import STIMULUS_COLUMNS, events_table
from nfas_lightning.data.files import check_unread, find_table, require_file
from nfas_lightning.data.regions.rois import given_rois
from nfas_lightning.data.stimuli.images import ImageFiles
from nfas_lightning.data.stimuli.sounds import SoundFiles
from nfas_lightning.data.stimuli.stimulus_files import StimulusFiles, list_files, unread_files
from nfas_lightning.data.stimuli.texts import word_stimuli
from nfas_lightning.data.tables import as_numbers, as_text, check_columns, parse_csv, read_csv, read_numbers
from nfas_lightning.errors import InputError, MissingFileError

__all__ = ["read_folder"]

_TABLES = ("events", "volumes", "rois", "nuisances")
_LAYOUT = """\
  images/  or  sounds/  or  words.csv  or  texts.csv    one kind of stimuli, files in the order of their names
  responses.npy  or  responses.csv  or  responses/NAME.npy|csv, one a subject
  events.csv, volumes.csv, rois.csv, nuisances.csv       where there is something to say
Each csv may be a tsv."""
_RESPONSE = "Empty cells mark missing values; commas stand between cells, a point in numbers."
_REGRESSOR = (
    "Fill what is missing, say with the column's mean, write a condition as a column of 0 and 1, and leave "
    "out columns that are no regressors."
)


def read_folder(
    folder: Path,
    *,
    size: int | None = 224,
    sampling_rate: int = 16_000,
    window: int = 20,
    carrier: str | None = None,
    temporal: str | None = None,
) -> dict[str, Any]:
    """Read the files that are there; arguments and files are those of `FolderDataModule`.

    Returns:
        Fields of `InMemory`: stimuli, responses, and what else the folder tells.

    Raises:
        FileNotFoundError: no such folder, no stimuli, or no responses.
        ValueError: two kinds of stimuli or responses, counts that differ, a cell or header that is wrong, or
            a file whose name is close to a known one that is not there.
    """
    if not folder.is_dir():
        raise MissingFileError(f"root must be a folder, got {str(folder)!r}. It holds\n{_LAYOUT}")
    place = _only(folder, "responses once", ["responses.npy", "responses.csv", "responses.tsv", "responses"])
    responses, names, header = _responses(place)
    stimuli = _only(
        folder,
        "one kind of stimuli",
        ["images", "sounds", "words.csv", "words.tsv", "texts.csv", "texts.tsv"],
    )
    tables = {name: find_table(folder, name) for name in _TABLES}
    check_unread(
        folder, [path.name for path in (stimuli, place, *tables.values()) if path is not None], _TABLES
    )
    volumes, rois = _volumes(tables["volumes"]), _rois(tables["rois"])
    nuisances = _nuisances(tables["nuisances"])
    given: dict[str, Any] = {
        "events": None if tables["events"] is None else events_table(tables["events"]),
        "runs": None if volumes is None else volumes.get("run"),
        "volume_times": None if volumes is None else volumes.get("time"),
        "rois": header if rois is None else rois,
        "nuisances": nuisances,
    }
    if responses.ndim in (2, 3):
        _check_rows(tables["volumes"], volumes, "row", place, responses.shape[-2])
        _check_rows(tables["nuisances"], nuisances, "row", place, responses.shape[-2])
        _check_rows(tables["rois"], rois, "column", place, responses.shape[-1])
        if rois is not None:
            rois = given_rois(rois, responses.shape[-1], header, str(tables["rois"]))
            given["rois"] = rois
    # words know their onsets, unless a table of events says better
    told = _read_stimuli(stimuli, size, sampling_rate, window, carrier)
    if tables["events"] is not None:
        if not set(STIMULUS_COLUMNS) & set(given["events"]):
            _check_counts(stimuli, len(told["stimuli"]), tables["events"], len(given["events"]))
    elif "events" not in told and temporal in (None, "none") and responses.ndim in (2, 3):
        _check_counts(stimuli, len(told["stimuli"]), place, responses.shape[-2])
    given |= {key: value for key, value in told.items() if given.get(key) is None}
    return given | {"responses": responses, "subject_names": names}


def _read_stimuli(
    place: Path, size: int | None, sampling_rate: int, window: int, carrier: str | None
) -> dict[str, Any]:
    """Return what the stimuli's files tell, as fields of `InMemory`."""
    if place.is_dir():
        files: StimulusFiles
        if place.name == "images":
            files = ImageFiles.from_folder(place, size=size)
        else:
            files = SoundFiles.from_folder(place, sampling_rate)
        return {"stimuli": files, "stimulus_ids": [path.stem for path in files.paths]}
    if place.stem == "texts":
        return {"stimuli": as_text(read_csv(place, ["text"]), "text", place)}
    if carrier is not None:
        raise InputError(
            f"carrier is for single texts, and the words of {place} have others before them: leave it "
            "out, or write the words as texts.csv."
        )
    words = read_csv(place, ["word"])
    told: dict[str, Any] = {"stimuli": word_stimuli(as_text(words, "word", place), window=window)}
    if "onset" in words:
        times = [name for name in ("onset", "offset") if name in words]
        words = as_numbers(words, times, place, missing=False, advice="Give seconds, or leave the word out.")
        told["events"] = words[["onset", *(["run"] if "run" in words else [])]].copy()
        if "offset" in words:
            told["events"]["duration"] = words["offset"] - words["onset"]
            _check_durations(told["events"], place)
    return told


def _only(folder: Path, what: str, names: Sequence[str]) -> Path:
    """Return the one of these names that is in the folder."""
    # a link without content is read, and says so
    found = [folder / name for name in names if os.path.lexists(folder / name)]
    if len(found) != 1:
        kind = InputError if found else MissingFileError
        got = [path.name for path in found] or "none"
        raise kind(f"{folder} must hold {what}, got {got}{_beside(folder)}. It holds\n{_LAYOUT}")
    return found[0]


def _beside(folder: Path) -> str:
    """Say what lies in a folder that lacks something."""
    names = sorted(path.name for path in folder.iterdir() if path.name[0] != ".")
    return f" among {names[:8]}{' and so on' if len(names) > 8 else ''}" if names else ""


def _check_counts(place: Path, n_stimuli: int, path: Path, n_rows: int) -> None:
    """Refuse rows that are not one per stimulus, and name files that were not read as stimuli."""
    if n_rows == n_stimuli:
        return
    kind = ImageFiles if place.name == "images" else SoundFiles
    unread = unread_files(place, kind.suffixes) if place.is_dir() else ""
    raise InputError(
        f"{path} must have one row per stimulus, got {n_stimuli} {place.stem} in {place} and {n_rows} rows "
        f"in {path.name}.{unread} Add what is missing or take out what has no partner; where the rows are "
        "the volumes of a time series, events.csv, or words.csv itself, gives each stimulus's onset; where "
        "they are events, a column 'stimulus' names the stimulus of each."
    )


def _check_rows(path: Path | None, table: pd.DataFrame | None, what: str, place: Path, wanted: int) -> None:
    """Refuse a table that has not one row for each row or column of the responses."""
    if table is not None and len(table) != wanted:
        raise InputError(
            f"{path} must have one row for each {what} of {place.name}, {wanted}, got {len(table)}. Add what "
            "is missing or take out what has no partner; both are in the same order."
        )


def _check_durations(events: pd.DataFrame, path: Path) -> None:
    """Refuse a word that ends before it begins."""
    rows = np.flatnonzero(events["duration"] < 0)
    if len(rows):
        raise InputError(
            f"{path}: offset must not come before onset, got a duration of "
            f"{events['duration'].iloc[rows[0]]:g} s in row {rows[0] + 1} below the header."
        )


def _responses(place: Path) -> tuple[NDArray[Any], list[str] | None, list[str] | None]:
    """Return the array, and what the subjects and ROIs are called where file names and headers say."""
    if not place.is_dir():
        values, header = _values(place)
        return values, None, header
    files = list_files(place, (".csv", ".npy", ".tsv"))
    read = [_values(path) for path in files]
    shapes = {path.name: values.shape for path, (values, _) in zip(files, read, strict=True)}
    if len(set(shapes.values())) > 1 or any(len(shape) != 2 for shape in shapes.values()):
        raise InputError(f"Every subject's responses must have one shape (N, R), got {shapes}.")
    headers = {tuple(header) for _, header in read if header is not None}
    if len(headers) > 1:
        raise InputError(f"Every subject's columns must name the same ROIs, got {sorted(headers)}.")
    names = [path.stem for path in files]
    return np.stack([values for values, _ in read]), names, list(headers.pop()) if headers else None


def _values(path: Path) -> tuple[NDArray[Any], list[str] | None]:
    """Return an array, and its columns' names where the file has a header."""
    if path.suffix.lower() in (".csv", ".tsv"):
        table = read_numbers(path, "ROIs", missing=True, advice=_RESPONSE)
        return table.to_numpy(dtype=np.float32), list(map(str, table.columns))
    try:
        with require_file(path).open("rb") as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, TokenError) as error:
        raise InputError(f"{path} must be an array that numpy.save wrote ({error}).") from error
    if array.dtype.kind not in "biufc":
        raise InputError(
            f"{path} must hold numbers, got an array of {array.dtype}: convert it with .astype(float)."
        )
    return array, None


def _volumes(path: Path | None) -> pd.DataFrame | None:
    """Read the run and the time of each volume, or one of the two."""
    if path is None:
        return None
    table = _table(path, ("time",), "Give seconds since the run began.")
    if "run" not in table:
        check_columns(table, ["time"], path)
    return table


def _rois(path: Path | None) -> pd.DataFrame | None:
    """Read the table of ROIs, whose names are text: 17 and NA are names too."""
    if path is None:
        return None
    table = _table(path, ("x", "y", "z"), "Places are in MNI mm.", missing=True)
    table["roi"] = as_text(read_csv(path, ["roi"], text=["roi"]), "roi", path)
    return table


def _nuisances(path: Path | None) -> pd.DataFrame | None:
    """Read the regressors, a column each."""
    return None if path is None else read_numbers(path, "regressors", missing=False, advice=_REGRESSOR)


def _table(path: Path, numbers: Sequence[str], advice: str, *, missing: bool = False) -> pd.DataFrame:
    """Read a table and those of the columns `numbers` that it has."""
    table = parse_csv(path)
    there = [name for name in numbers if name in table]
    return as_numbers(table, there, path, missing=missing, advice=advice)
