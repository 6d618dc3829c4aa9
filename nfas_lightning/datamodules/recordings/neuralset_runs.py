"""What NeuralSet's table of events says: the stimuli, which recordings share a clock, and scans as series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data.regions.atlas import Atlas
from nfas_lightning.data.regions.label_files import FSAVERAGE
from nfas_lightning.data.regions.parcels import Parcels, vertex_parcels, volume_parcels
from nfas_lightning.data.regions.rois import roi_table
from nfas_lightning.data.regions.targets import vertex_targets, voxel_targets
from nfas_lightning.data.stimuli.clips import ClipFiles, ClipWindows
from nfas_lightning.data.stimuli.images import ImageFiles
from nfas_lightning.data.stimuli.sounds import AudioWindows, SoundFiles, sound_seconds
from nfas_lightning.data.stimuli.texts import TextStimulus, context_windows, join_story, join_words
from nfas_lightning.data.stimuli.timing import Stretch, window_pieces
from nfas_lightning.data.stimuli.video import clip_seconds
from nfas_lightning.datamodules.stories.story_responses import clean_scan, fewest_counts
from nfas_lightning.errors import InputError

__all__ = [
    "Reading", "Run", "ScanReader", "Shown", "file_stimuli", "in_runs", "shared_runs", "short_names",
    "shown_in", "subject_of",
]  # fmt: skip

_SLACK = 0.1  # seconds by which an event may end before its file does and still show all of it
_RATE = 16_000  # Hz of windows of sound
_OWN_SPACES = ("T1w", "fsnative")  # of each subject
_SHARE = 0.9  # of the events of two recordings of a run
_TELLS = 5  # words that come in this order in one text only
_LANGUAGES = {"en": "EN", "fr": "FR", "zh": "CN", "cn": "CN", "ch": "CN"}  # by the first two letters


class Reading(NamedTuple):
    """How events become stimuli, see `NeuralSetDataModule`."""

    window: int = 20
    seconds: float = 10.0
    hop: float = 1.0
    frames_per_second: float = 4.0
    image_size: int | None = 224


class Shown(NamedTuple):
    """What was shown.

    Attributes:
        stimuli: N of them.
        ids: their names.
        events: by timeline, rows with ``onset`` (s on its clock), ``duration`` where stimuli last, the name
            of the ``stimulus``, and what was ``shown``: it, or the word without its context.
    """

    stimuli: Any
    ids: list[str]
    events: dict[str, pd.DataFrame]


class Run(NamedTuple):
    """Recordings that share a clock, since the same was shown at the same times.

    Attributes:
        events: as in `Shown`, onsets in seconds since the clock began.
        recordings: by subject, rows of the table and the second of each at which the clock begins; several
            are repeats.
    """

    events: pd.DataFrame
    recordings: dict[str, list[tuple[Any, float]]]


def subject_of(row: Any) -> str:
    """Return the subject of a row without the name of the study that NeuralSet puts before it."""
    return str(row["subject"]).rpartition("/")[2]


def short_names(paths: Sequence[str]) -> list[str]:
    """Return paths without the folders that all of them lie in, which differ between machines.

    Example:
        >>> short_names(["/data/study/a/1.png", "/data/study/b/1.png"])
        ['a/1.png', 'b/1.png']
    """
    parts = [Path(path).parts for path in paths]
    folders = zip(*(part[:-1] for part in parts), strict=False)
    common = len(list(takewhile(lambda names: len(set(names)) == 1, folders)))
    return ["/".join(part[common:]) for part in parts]


def file_stimuli(kind: str, paths: Sequence[str], reading: Reading) -> Any:
    """Return whole files as stimuli of a kind: ``"Image"``, ``"Audio"`` or ``"Video"``."""
    unread = [path for path in paths if path.startswith(("{", "method:"))]
    if unread:
        raise InputError(
            f"Stimuli must be files, got {kind} events that the study makes in memory, such as "
            f"{unread[0][:60]!r}: save them, and give them to ArrayDataModule or EpochsDataModule."
        )
    if kind == "Image":
        return ImageFiles(paths, size=reading.image_size, in_order=True)
    if kind == "Audio":
        return SoundFiles(paths, in_order=True)
    return ClipFiles(paths, reading.frames_per_second, size=reading.image_size, in_order=True)


def shown_in(marks: pd.DataFrame, kind: str, reading: Reading) -> Shown:
    """Return the stimuli of events on a clock.

    A word is read with the words before it, in its own timeline; timelines of the same text share stimuli. A
    sound or film that is heard or seen whole, in at most `Reading.seconds`, is one stimulus; if any is longer
    or a part of its file, windows of that length are cut, one per `Reading.hop` of what is longer.

    Args:
        marks: rows of the table, all of one kind.
        kind: ``"Image"``, ``"Audio"``, ``"Video"`` or ``"Word"``.
        reading: how.
    """
    if kind == "Word":
        return _words(marks, reading.window)
    paths = marks["filepath"].astype(str)
    files = list(dict.fromkeys(paths))
    whole = file_stimuli(kind, files, reading)
    names = dict(zip(files, short_names(files), strict=True))
    if kind != "Image":
        measure = sound_seconds if kind == "Audio" else clip_seconds
        lasts = paths.map({path: measure(path) for path in files})
        begins = marks["offset"].fillna(0.0) if "offset" in marks else 0.0 * lasts
        parts = (begins > 0) | (marks["duration"] < lasts - _SLACK)
        if bool(parts.any()) or float(marks["duration"].max()) > reading.seconds:
            return _windows(marks.assign(filepath=paths, begins=begins, lasts=lasts), names, kind, reading)
    events = pd.DataFrame(
        {"onset": marks["start"], "duration": marks["duration"], "stimulus": paths.map(names)}
    )
    return Shown(whole, list(names.values()), _by_timeline(marks, events))


def _by_timeline(marks: pd.DataFrame, events: pd.DataFrame) -> dict[str, pd.DataFrame]:
    groups = events.groupby(marks["timeline"].to_numpy(), sort=False)
    return {
        str(name): part.sort_values("onset", ignore_index=True).assign(shown=lambda rows: rows["stimulus"])
        for name, part in groups
    }


def _words(marks: pd.DataFrame, window: int) -> Shown:
    texts: list[TextStimulus] = []
    names: dict[tuple[Any, ...], str] = {}
    known: dict[tuple[str, ...], list[str]] = {}  # of all who heard the same
    events = {}
    for timeline, rows in marks.groupby("timeline", sort=False):
        rows = rows.assign(text=rows["text"].str.strip())
        rows = rows[rows["text"] != ""].sort_values("start", kind="stable")
        words = tuple(rows["text"])
        if words not in known:
            language = _LANGUAGES.get(str(rows.iloc[0].get("language", "")).lower()[:2])
            written = join_words(words) if language is None else join_story(words, language)
            times: Counter[TextStimulus] = Counter()
            own = known[words] = []
            for i, text in enumerate(context_windows(*written, window)):
                times[text] += 1
                # a few words may begin several stories
                story = () if min(i, window) >= _TELLS else words[:_TELLS]
                name = names.setdefault((text, times[text], story), f"{len(texts):06d}_{words[i]}")
                if len(names) > len(texts):
                    texts.append(text)
                own.append(name)
        table = {"onset": rows["start"].to_numpy(), "stimulus": known[words], "shown": words}
        events[str(timeline)] = pd.DataFrame(table)
    return Shown(texts, list(names.values()), events)


def _windows(marks: pd.DataFrame, names: Mapping[str, str], kind: str, reading: Reading) -> Shown:
    seconds = min(reading.seconds, float(marks["duration"].max()))
    pieces: dict[tuple[str, float, float], Any] = {}
    stretches, ids, rows = [], [], []
    for mark in marks.to_dict("records"):
        start = float(mark["begins"])
        stop = min(start + float(mark["duration"]), float(mark["lasts"]))
        piece = (mark["filepath"], start, stop)
        if piece not in pieces:
            # what is short enough for a window is one stimulus
            hop = min(reading.hop, stop - start) if stop - start > seconds else stop - start
            onsets, durations = window_pieces(stop, hop, start)
            times = tuple((onsets + durations / 2).tolist())
            stretches.append(Stretch(Path(mark["filepath"]), times, (start, stop)))
            own = [f"{names[mark['filepath']]}_{start:g}-{stop:g}s_{time:08.2f}s" for time in times]
            ids += own
            pieces[piece] = onsets, durations, own
        onsets, durations, own = pieces[piece]
        at = {"onset": mark["start"] + onsets - start, "duration": durations, "stimulus": own}
        rows.append(pd.DataFrame(at).assign(timeline=mark["timeline"]))
    table = pd.concat(rows, ignore_index=True)
    stimuli: Any = AudioWindows(stretches, seconds, _RATE)
    if kind == "Video":
        stimuli = ClipWindows(stretches, seconds, reading.frames_per_second, size=reading.image_size)
    return Shown(stimuli, ids, _by_timeline(table, table.drop(columns="timeline")))


def shared_runs(
    recordings: pd.DataFrame,
    events: Mapping[str, pd.DataFrame],
    *,
    tolerance: float,
    align: bool = False,
    repeats: bool = True,
) -> list[Run]:
    """Put recordings together during which the same was shown at the same times.

    One may lack a tenth of the other's events, as where a trigger was missed or a recording ends early: the
    run has those of the fullest.

    Args:
        recordings: rows of the table, whose ``start`` (s) is on the clock of the timeline's events.
        events: see `Shown`; those outside of a recording are left out.
        tolerance: seconds by which onsets may differ.
        align: the clock begins with the first event, wherever that is; else with the recording.
        repeats: a subject may have several recordings in a run.
    """
    runs: dict[str, list[Run]] = {}
    for row in recordings.to_dict("records"):
        if (shown := events.get(str(row["timeline"]))) is None:
            continue
        since = shown["onset"] - row["start"]
        own = shown.assign(onset=since)[(since >= 0) & (since < row["duration"])]
        if own.empty:
            continue
        lead = float(own["onset"].iloc[0]) if align else 0.0
        own = own.assign(onset=own["onset"] - lead)
        subject, alike = subject_of(row), runs.setdefault(str(own["shown"].iloc[0]), [])
        for place, run in enumerate(alike):
            fuller, other = (own, run.events) if len(own) > len(run.events) else (run.events, own)
            if (repeats or subject not in run.recordings) and _has(fuller, other, tolerance):
                alike[place] = run._replace(events=fuller)
                break
        else:
            place = len(alike)
            alike.append(Run(own, {}))
        alike[place].recordings.setdefault(subject, []).append((row, lead))
    return [run for alike in runs.values() for run in alike]


def in_runs(shown: Shown, runs: Sequence[Run]) -> Shown:
    """Leave out words that no run has: where a word was missed, those after it stand in another context."""
    if not isinstance(shown.stimuli, list):
        return shown
    had = {name for run in runs for name in run.events["stimulus"]}
    kept = [(text, name) for text, name in zip(shown.stimuli, shown.ids, strict=True) if name in had]
    return shown._replace(stimuli=[text for text, _ in kept], ids=[name for _, name in kept])


def _has(fuller: pd.DataFrame, other: pd.DataFrame, tolerance: float) -> bool:
    """Whether all events of the other are the fuller one's, in their order and at their times."""
    if len(other) < _SHARE * len(fuller):
        return False
    times = [name for name in ("onset", "duration") if name in fuller]
    theirs = zip(fuller["shown"], fuller[times].to_numpy(), strict=True)
    # each search goes on where the last one ended
    return all(
        any(name == what and bool((np.abs(at - own) <= tolerance).all()) for name, at in theirs)
        for what, own in zip(other["shown"], other[times].to_numpy(), strict=True)
    )


class ScanReader:
    """Reduces fMRI to regions, or keeps its voxels or vertices; all scans must then have the same.

    Args:
        atlas: regions; None: every voxel of the first scan's mask (of those that are not 0 throughout, if it
            has none), or every row of data that are kept without a grid.

    """

    def __init__(self, atlas: Atlas | None) -> None:
        self.atlas, self._given = atlas, atlas is not None
        self._table = pd.DataFrame() if atlas is None else atlas.rois
        self._counts: list[Tensor] = []

    @property
    def rois(self) -> pd.DataFrame:
        """R rows with ``n_voxels``, the fewest in a scan that has the region; known after a `read`."""
        return self._table.assign(n_voxels=fewest_counts(self._counts).numpy())

    def read(self, event: Any, high_pass: float | None) -> Tensor:
        """Return the (T, R) series of an `Fmri` event of NeuralSet, cleaned and standardized.

        Args:
            event: the event.
            high_pass: cut-off of the drift filter in Hz, None for none.

        Raises:
            ValueError: an atlas in a subject's own space, or other voxels than in the scans before.
        """
        if self._given and event.space in _OWN_SPACES:
            raise InputError(
                f"Regions of atlas {self.atlas.name if self.atlas else ''} need scans in its space, got "
                f"{event.space!r}, each subject's own: choose another space, or atlas=None for the voxels of "
                "one subject."
            )
        image, mask = event.read(), event.read_mask()
        parcels = self._rows(image, event) if len(image.shape) == 2 else self._volumes(image, mask)
        self._counts.append(parcels.counts)
        return clean_scan(parcels.values, tr=1 / float(event.frequency), high_pass=high_pass).float()

    def _volumes(self, image: Any, mask: Any) -> Parcels:
        if mask is not None:
            inside = np.asarray(mask.dataobj) != 0
            image = nib.Nifti1Image(np.asanyarray(image.dataobj) * inside[..., None], image.affine)
        if self.atlas is None:
            data = np.asanyarray(image.dataobj)
            self.atlas = voxel_targets((np.nan_to_num(data) != 0).any(axis=-1), image.affine)
            self._table = self.atlas.rois
        return volume_parcels(image, self.atlas)

    def _rows(self, image: Any, event: Any) -> Parcels:
        series = np.asarray(image.dataobj, dtype=np.float32).T
        half = series.shape[1] // 2
        if self._given and self.atlas is not None:
            if self.atlas.hemispheres is None:
                raise InputError(
                    f"Scans in {event.space!r} are series without a place in the brain, {series.shape[1]} of "
                    f"them, where atlas {self.atlas.name} finds no region: give atlas=None, which keeps each."
                )
            return vertex_parcels(series[:, :half], series[:, half:], self.atlas, event.space)
        if self._table.empty and 2 * half == series.shape[1] and half in FSAVERAGE:
            self._table = vertex_targets(half).rois
        elif self._table.empty:
            # number 7 of another study is another place
            names = [f"voxel_{i:06d}" for i in range(series.shape[1])]
            self._table = roi_table(names).assign(unnamed=True)
        if len(self._table) != series.shape[1]:
            raise InputError(
                f"Scans must have the same voxels, got {len(self._table)} and then {series.shape[1]} of "
                f"{event.subject}, in {event.space!r}: name one subject, subjects=['...'], or give an atlas."
            )
        usable = np.isfinite(series).all(axis=0) & (series != 0).any(axis=0)
        return Parcels(torch.from_numpy(series), torch.from_numpy(usable.astype(np.int64)))
