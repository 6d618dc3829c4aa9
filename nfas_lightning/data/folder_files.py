"""A folder of somebody's data: files of known names, read and compared with one another."""

from __future__ import annotations

import difflib
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nfas_lightning.data.event_tables import STIMULUS_COLUMNS, check_not_negative, events_table
from nfas_lightning.data.files import reading, require_file
from nfas_lightning.data.regions.rois import given_rois
from nfas_lightning.data.stimuli.captioned import CaptionedImages
from nfas_lightning.data.stimuli.clips import ClipFiles
from nfas_lightning.data.stimuli.images import ImageFiles
from nfas_lightning.data.stimuli.sounds import SoundFiles
from nfas_lightning.data.stimuli.stimulus_files import StimulusFiles, list_files, unread_files
from nfas_lightning.data.stimuli.texts import word_stimuli
from nfas_lightning.data.tables import as_numbers, as_text, check_columns, parse_csv, read_csv, read_numbers
from nfas_lightning.errors import InputError, MissingFileError

_TABLES = ("events", "volumes", "rois", "nuisances", "captions")
_LAYOUT = """\
  images/, sounds/, clips/, words.csv or texts.csv      one kind of stimuli, files in the order of their names
  captions.csv                                          of images, optional
  responses.npy  or  responses.csv  or  responses/NAME.npy|csv, one a subject
  events.csv, volumes.csv, rois.csv, nuisances.csv       optional
Each csv may be a tsv."""
_RESPONSE = "Empty cells mark missing values; commas stand between cells, a point in numbers."
_REGRESSOR = "Fill what is missing, write a condition as a column of 0 and 1, and leave other columns out."
_CLOSE = 0.75  # a word of a file's name this close to one that is known was meant to be it


def read_folder(
    folder: Path,
    *,
    size: int | None = 224,
    sampling_rate: int = 16_000,
    frames_per_second: float = 4.0,
    window: int = 20,
    carrier: str | None = None,
    temporal: str | None = None,
) -> dict[str, Any]:
    """Read the files that are there, as fields of `InMemory`; see `FolderDataModule`."""
    if not folder.is_dir():
        raise MissingFileError(f"root must be a folder, got {str(folder)!r}. It holds\n{_LAYOUT}")
    kinds = ["responses.npy", "responses.csv", "responses.tsv", "responses"]
    (place,) = _find(folder, "responses once", kinds)
    responses, names, header = _responses(place)
    kinds = ["images", "sounds", "clips", "words.csv", "words.tsv", "texts.csv", "texts.tsv"]
    (stimuli,) = _find(folder, "one kind of stimuli", kinds)
    found: dict[str, Path] = {}
    for name in _TABLES:
        for path in _find(folder, f"{name} once", [f"{name}.csv", f"{name}.tsv"], optional=True):
            found[name] = path
    _check_unread(folder, [path.name for path in (stimuli, place, *found.values())])
    tables = {name: _READERS[name](path) for name, path in found.items()}
    volumes, events = tables.get("volumes", {}), tables.get("events")
    given: dict[str, Any] = {
        "events": events,
        "runs": volumes.get("run"),
        "volume_times": volumes.get("time"),
        "rois": tables.get("rois", header),
        "nuisances": tables.get("nuisances"),
    }
    is_array = responses.ndim in (2, 3)
    for name, what, axis in (("volumes", "row", -2), ("nuisances", "row", -2), ("rois", "column", -1)):
        if is_array and name in tables and len(tables[name]) != (wanted := responses.shape[axis]):
            raise InputError(
                f"{found[name]} must have one row for each {what} of {place.name}, {wanted}, got "
                f"{len(tables[name])}."
            )
    if is_array and "rois" in tables:
        given["rois"] = given_rois(tables["rois"], responses.shape[-1], header, str(found["rois"]))
    # words know their onsets, unless a table of events has others
    told = _read_stimuli(stimuli, size, sampling_rate, frames_per_second, window, carrier)
    if "captions" in tables:
        told["stimuli"] = _with_captions(told["stimuli"], tables["captions"], found["captions"])
    if events is not None:
        if not set(STIMULUS_COLUMNS) & set(events):
            _check_counts(stimuli, len(told["stimuli"]), found["events"], len(events))
    elif "events" not in told and temporal in (None, "none") and is_array:
        _check_counts(stimuli, len(told["stimuli"]), place, responses.shape[-2])
    given |= {key: value for key, value in told.items() if given.get(key) is None}
    return given | {"responses": responses, "subject_names": names}


def _find(folder: Path, what: str, names: Sequence[str], *, optional: bool = False) -> list[Path]:
    """Return which of these names is in the folder: one, or none if it is optional."""
    # a link without content is read, and refused with its name
    found = [folder / name for name in names if os.path.lexists(folder / name)]
    if len(found) > 1 or not (found or optional):
        kind = InputError if found else MissingFileError
        got = [path.name for path in found] or "none"
        held = sorted(path.name for path in folder.iterdir() if path.name[0] != ".")
        beside = f" among {held[:8]}{' and so on' if len(held) > 8 else ''}" if held else ""
        raise kind(f"{folder} must hold {what}, got {got}{beside}. It holds\n{_LAYOUT}")
    return found


def _check_unread(folder: Path, read: Sequence[str]) -> None:
    """Refuse a file whose name is close to that of a table that is not there; warn of others."""
    kinds = {".csv", ".tsv", ".npy", ".npz", ".txt", ".xls", ".xlsx", ".mat", ".parquet"}
    left = sorted(
        p for p in folder.iterdir() if p.suffix.lower() in kinds and not p.is_dir() and p.name[0] != "."
    )
    left = [path for path in left if path.name not in read]
    there = {Path(name).stem for name in read}
    for path in left:
        words = re.split(r"[^a-z]+", path.stem.lower())
        meant = [name for name in _TABLES if difflib.get_close_matches(name, words, n=1, cutoff=_CLOSE)]
        for name in (name for name in meant if name not in there):
            raise InputError(f"{path} is not read: did you mean {name}.csv (or .tsv)? Rename or remove it.")
    if others := [path.name for path in left if path.suffix.lower() in {".csv", ".tsv", ".npy"}]:
        warnings.warn(
            f"{folder}: not read, as their names are not those of a known table: {others[:5]}.",
            stacklevel=2,
        )


def _read_stimuli(
    place: Path,
    size: int | None,
    sampling_rate: int,
    frames_per_second: float,
    window: int,
    carrier: str | None,
) -> dict[str, Any]:
    """Return what the stimuli's files hold, as fields of `InMemory`."""
    if place.is_dir():
        files: StimulusFiles
        if place.name == "images":
            files = ImageFiles.from_folder(place, size=size)
        elif place.name == "clips":
            files = ClipFiles.from_folder(place, frames_per_second, size=size)
        else:
            files = SoundFiles.from_folder(place, sampling_rate)
        return {"stimuli": files, "stimulus_ids": [path.stem for path in files.paths]}
    if place.stem == "texts":
        return {"stimuli": as_text(read_csv(place, ["text"]), "text", place)}
    if carrier is not None:
        raise InputError(f"carrier is for texts.csv, and the words of {place} have a context: leave it out.")
    words = read_csv(place, ["word"])
    told: dict[str, Any] = {"stimuli": word_stimuli(as_text(words, "word", place), window=window)}
    if "onset" in words:
        times = [name for name in ("onset", "offset") if name in words]
        words = as_numbers(words, times, place, missing=False, advice="Give seconds, or leave the word out.")
        told["events"] = words[["onset", *(["run"] if "run" in words else [])]].copy()
        if "offset" in words:
            told["events"]["duration"] = words["offset"] - words["onset"]
            check_not_negative(told["events"], f"{place}: offset must not come before onset")
    return told


def _captions(path: Path) -> pd.DataFrame:
    return read_csv(path, ["text"])


def _with_captions(images: Any, table: pd.DataFrame, path: Path) -> CaptionedImages:
    """Put captions beside pictures: row by row, or by the file that a column ``image`` names."""
    if not isinstance(images, ImageFiles):
        raise InputError(f"{path} holds captions of images, and there are none: remove it.")
    if "image" in table:
        named = table.set_index(table["image"].astype(str).map(lambda name: Path(name).stem))
        stems = [image.stem for image in images.paths]
        if sorted(named.index) != sorted(stems):
            apart = sorted(set(named.index) ^ set(stems))[:5]
            raise InputError(f"{path} must name every image once, those that differ or repeat: {apart}.")
        table = named.loc[stems]
    if len(table) != len(images):
        raise InputError(f"{path} must have one row per image, {len(images)}, got {len(table)}.")
    return CaptionedImages(images, list(as_text(table, "text", path)))


def _check_counts(place: Path, n_stimuli: int, path: Path, n_rows: int) -> None:
    """Refuse rows that are not one per stimulus, and name files that were not read as stimuli."""
    if n_rows != n_stimuli:
        kind = ImageFiles if place.name == "images" else SoundFiles
        unread = unread_files(place, kind.suffixes) if place.is_dir() else ""
        raise InputError(
            f"{path} must have one row per stimulus, got {n_stimuli} {place.stem} in {place} and {n_rows} "
            f"rows in {path.name}.{unread} Give volumes onsets in events.csv, and events a column 'stimulus'."
        )


def _responses(place: Path) -> tuple[NDArray[Any], list[str] | None, list[str] | None]:
    """Return the array, and the names of subjects and ROIs where file names and headers have them."""
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
    with (
        require_file(path).open("rb") as file,
        reading(path, "an array that numpy.save wrote", ValueError, EOFError, TokenError),
    ):
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    if array.dtype.kind not in "biufc":
        raise InputError(f"{path} must hold numbers, got an array of {array.dtype}: use .astype(float).")
    return array, None


def _table(path: Path, numbers: Sequence[str], advice: str, *, missing: bool = False) -> pd.DataFrame:
    """Read a table and those of the columns `numbers` that it has."""
    table = parse_csv(path)
    there = [name for name in numbers if name in table]
    return as_numbers(table, there, path, missing=missing, advice=advice)


def _volumes(path: Path) -> pd.DataFrame:
    table = _table(path, ("time",), "Give seconds since the run began.")
    check_columns(table, [] if "run" in table else ["time"], path)
    return table


def _rois(path: Path) -> pd.DataFrame:
    table = _table(path, ("x", "y", "z"), "Places are in MNI mm.", missing=True)
    # names are text: 17 and NA are names too
    return table.assign(roi=as_text(read_csv(path, ["roi"], text=["roi"]), "roi", path))


_READERS: dict[str, Any] = {
    "events": events_table,
    "volumes": _volumes,
    "rois": _rois,
    "nuisances": lambda path: read_numbers(path, "regressors", missing=False, advice=_REGRESSOR),
    "captions": _captions,
}
