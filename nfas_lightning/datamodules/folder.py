"""Your own data from a folder: files of known names, so that a config needs no Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nfas_lightning.data.content import require_file
from nfas_lightning.data.pairing import STIMULUS_COLUMNS, events_table
from nfas_lightning.data.readers import read_csv
from nfas_lightning.data.regions.rois import given_rois
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.side_files import check_unread, find_table
from nfas_lightning.data.stimuli.images import ImageFiles
from nfas_lightning.data.stimuli.sounds import SoundFiles
from nfas_lightning.data.stimuli.stimulus_files import StimulusFiles, list_files, unread_files
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.data.stimuli.transcript import word_stimuli
from nfas_lightning.data.tables import as_numbers, as_text, check_columns, parse_csv, read_numbers
from nfas_lightning.datamodules.array import ArrayDataModule
from nfas_lightning.datamodules.base import BrainDataModule

__all__ = ["FolderDataModule"]

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


class FolderDataModule(BrainDataModule):
    """Stimuli and responses that lie in a folder under these names.

    ==================  =====================================================================================
    ``images/``         image files, in the order of their names (digits as numbers)
    ``sounds/``         wav files, likewise
    ``texts.csv``       a column ``text``, a row a stimulus
    ``words.csv``       columns ``word``, ``onset`` and, if known, ``offset`` (s): a story, word by word
    ``responses``       ``.npy`` (N, R) or (S, N, R), or ``.csv`` whose header names the ROIs; or a folder of
                        such files, (N, R) each, one a subject
    ``events.csv``      of a time series: ``onset`` and, if known, ``duration`` (s), ``run`` and the stimulus
                        by its file's name (``stim_file``, else ``stimulus``); else row i is stimulus i
    ``volumes.csv``     ``run`` of each volume and, if not multiples of `tr`, its ``time`` in the run (s)
    ``rois.csv``        ``roi`` and, if known, ``network``, ``hemisphere``, ``x``, ``y``, ``z`` (MNI mm);
                        names as in the header of the responses, if they have one, in any order
    ``nuisances.csv``   a named column a regressor, a row a volume
    ==================  =====================================================================================

    Each csv file may be tab-separated, ``.tsv``. Where events name no stimulus, row i is stimulus i, that is
    the i-th file by name or the i-th row of the table, not the i-th that was presented. Everything else is as
    in `ArrayDataModule`, which this reads for.

    Args:
        root: the folder.
        size: pixels of the square that images are resized and cropped to; None: as they are.
        sampling_rate: Hz that sounds are resampled to.
        window: words of context before each word of ``words.csv``.
        carrier: phrase around each text of ``texts.csv``, for single words, such as ``"The word is {}"``: the
            word's own tokens are pooled. None: texts as they are.
        tr: repetition time in seconds, of a time series.
        temporal: ``"hrf"``, ``"fir"`` or ``"none"``; None: ``"hrf"`` where there are onsets, else ``"none"``.
        hrf: ``"spm"`` or ``"glover"``.
        delays: delays of ``"fir"`` in volumes.
        groups: ``"identical"`` keeps stimuli of one content in one fold, see `ArrayDataModule`.
        dataset: name of the benchmark in the results; None: the folder's.
        batch_size: stimuli a batch.
        num_workers: worker processes of the loaders.
        subjects: subjects to keep, by file name or as ``sub-01``; None: all.
        event_rate: make the rate of events a nuisance, see `Responses.with_event_rate`.

    Raises:
        FileNotFoundError: at `setup`: no such folder, no stimuli, or no responses.
        ValueError: at `setup`: two kinds of stimuli or responses, more of one than of the other, a cell
            or header that is not what the table above says, a file whose name is close to one above that is
            not there, or what `ArrayDataModule` refuses.
    """

    def __init__(
        self,
        root: str,
        *,
        size: int | None = 224,
        sampling_rate: int = 16_000,
        window: int = 20,
        carrier: str | None = None,
        tr: float | None = None,
        temporal: Literal["hrf", "fir", "none"] | None = None,
        hrf: Literal["spm", "glover"] = "spm",
        delays: Sequence[int] = (1, 2, 3, 4),
        groups: Literal["identical"] | None = None,
        dataset: str | None = None,
        batch_size: int = 16,
        num_workers: int = 0,
        subjects: list[str] | None = None,
        event_rate: bool = True,
    ) -> None:
        super().__init__(
            batch_size=batch_size, num_workers=num_workers, subjects=subjects, event_rate=event_rate
        )
        self.save_hyperparameters()
        self.root = root
        self.size = size
        self.sampling_rate = sampling_rate
        self.window = window
        self.carrier = carrier
        self.time: dict[str, Any] = {"tr": tr, "temporal": temporal, "hrf": hrf, "delays": delays}
        self.groups = groups
        self.dataset = dataset

    def load(self) -> tuple[StimulusSet, Responses]:
        """Read the files that are there and pair them."""
        folder = Path(self.root).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(f"root must be a folder, got {str(folder)!r}. It holds\n{_LAYOUT}")
        responses, names, header = _responses(folder)
        tables = {name: find_table(folder, name) for name in _TABLES}
        stimuli, place = _stimuli(folder), _response_place(folder)
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
        told = self._read_stimuli(stimuli)
        if tables["events"] is not None:
            if not set(STIMULUS_COLUMNS) & set(given["events"]):
                _check_counts(stimuli, len(told["stimuli"]), tables["events"], len(given["events"]))
        elif "events" not in told and self.time["temporal"] in (None, "none") and responses.ndim in (2, 3):
            _check_counts(stimuli, len(told["stimuli"]), place, responses.shape[-2])
        given |= {key: value for key, value in told.items() if given.get(key) is None}
        return ArrayDataModule(
            responses=responses,
            subject_names=names,
            dataset=self.dataset or folder.resolve().name,
            carrier=self.carrier,
            subjects=self.subjects,
            groups=self.groups,
            **self.time,
            **given,
        ).load()

    def _read_stimuli(self, place: Path) -> dict[str, Any]:
        """Return what the stimuli's files tell, as arguments of `ArrayDataModule`."""
        if place.is_dir():
            files: StimulusFiles
            if place.name == "images":
                files = ImageFiles.from_folder(place, size=self.size)
            else:
                files = SoundFiles.from_folder(place, self.sampling_rate)
            return {"stimuli": files, "stimulus_ids": [path.stem for path in files.paths]}
        if place.stem == "texts":
            return {"stimuli": as_text(read_csv(place, ["text"]), "text", place)}
        if self.carrier is not None:
            raise ValueError(
                f"carrier is for single texts, and the words of {place} have others before them: leave it "
                "out, or write the words as texts.csv."
            )
        words = read_csv(place, ["word"])
        told: dict[str, Any] = {"stimuli": word_stimuli(as_text(words, "word", place), window=self.window)}
        if "onset" in words:
            times = [name for name in ("onset", "offset") if name in words]
            words = as_numbers(
                words, times, place, missing=False, advice="Give seconds, or leave the word out."
            )
            told["events"] = words[["onset", *(["run"] if "run" in words else [])]].copy()
            if "offset" in words:
                told["events"]["duration"] = words["offset"] - words["onset"]
                _check_durations(told["events"], place)
        return told


def _stimuli(folder: Path) -> Path:
    """Return where the stimuli lie."""
    places = [
        folder / name for name in ("images", "sounds", "words.csv", "words.tsv", "texts.csv", "texts.tsv")
    ]
    found = [path for path in places if os.path.lexists(path)]  # a link without content is read, and says so
    if len(found) != 1:
        kind = ValueError if found else FileNotFoundError
        got = [path.name for path in found] or "none"
        raise kind(f"{folder} must hold one kind of stimuli, got {got}{_beside(folder)}. It holds\n{_LAYOUT}")
    return found[0]


def _beside(folder: Path) -> str:
    """Say what lies in a folder that lacks something."""
    names = sorted(path.name for path in folder.iterdir() if path.name[0] != ".")
    return f" among {names[:8]}{' and so on' if len(names) > 8 else ''}" if names else ""


def _check_counts(place: Path, n_stimuli: int, path: Path, n_rows: int) -> None:
    """Refuse rows that are not one a stimulus, and name files that were not read as stimuli."""
    if n_rows == n_stimuli:
        return
    kind = ImageFiles if place.name == "images" else SoundFiles
    unread = unread_files(place, kind.suffixes) if place.is_dir() else ""
    raise ValueError(
        f"{path} must have one row a stimulus, got {n_stimuli} {place.stem} in {place} and {n_rows} rows in "
        f"{path.name}.{unread} Add what is missing or take out what has no partner; where the rows are the "
        "volumes of a time series, events.csv, or words.csv itself, gives each stimulus's onset; where they "
        "are events, a column 'stimulus' names the stimulus of each."
    )


def _check_rows(path: Path | None, table: pd.DataFrame | None, what: str, place: Path, wanted: int) -> None:
    """Refuse a table that has not one row for each row or column of the responses."""
    if table is not None and len(table) != wanted:
        raise ValueError(
            f"{path} must have one row for each {what} of {place.name}, {wanted}, got {len(table)}. Add what "
            "is missing or take out what has no partner; both are in the same order."
        )


def _check_durations(events: pd.DataFrame, path: Path) -> None:
    """Refuse a word that ends before it begins."""
    rows = np.flatnonzero(events["duration"] < 0)
    if len(rows):
        raise ValueError(
            f"{path}: offset must not come before onset, got a duration of "
            f"{events['duration'].iloc[rows[0]]:g} s in row {rows[0] + 1} below the header."
        )


def _response_place(folder: Path) -> Path:
    """Return the file or folder of the responses."""
    places = [folder / name for name in ("responses.npy", "responses.csv", "responses.tsv", "responses")]
    found = [path for path in places if os.path.lexists(path)]
    if len(found) != 1:
        kind = ValueError if found else FileNotFoundError
        got = [path.name for path in found] or "none"
        raise kind(f"{folder} must hold responses once, got {got}{_beside(folder)}. It holds\n{_LAYOUT}")
    return found[0]


def _responses(folder: Path) -> tuple[NDArray[Any], list[str] | None, list[str] | None]:
    """Return the array, and what the subjects and ROIs are called where file names and headers say."""
    place = _response_place(folder)
    if not place.is_dir():
        values, header = _values(place)
        return values, None, header
    files = list_files(place, (".csv", ".npy", ".tsv"))
    read = [_values(path) for path in files]
    shapes = {path.name: values.shape for path, (values, _) in zip(files, read, strict=True)}
    if len(set(shapes.values())) > 1 or any(len(shape) != 2 for shape in shapes.values()):
        raise ValueError(f"Every subject's responses must have one shape (N, R), got {shapes}.")
    headers = {tuple(header) for _, header in read if header is not None}
    if len(headers) > 1:
        raise ValueError(f"Every subject's columns must name the same ROIs, got {sorted(headers)}.")
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
        raise ValueError(f"{path} must be an array that numpy.save wrote ({error}).") from error
    if array.dtype.kind not in "biufc":
        raise ValueError(
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
