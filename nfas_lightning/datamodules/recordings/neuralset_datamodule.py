"""Studies of NeuralSet as benchmarks: its events and recordings become stimuli, responses and ceilings."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data.in_memory import InMemory
from nfas_lightning.data.regions.atlas import load_atlas
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.datamodules.base import BrainDataModule
from nfas_lightning.datamodules.recordings.epochs_datamodule import EpochsDataModule
from nfas_lightning.datamodules.recordings.neuralset_runs import (
    Reading,
    Run,
    ScanReader,
    file_stimuli,
    in_runs,
    shared_runs,
    short_names,
    shown_in,
    subject_of,
)
from nfas_lightning.datamodules.recordings.recording_datamodule import RecordingDataModule
from nfas_lightning.datamodules.recordings.sensors import repetition_ceilings, require_mne
from nfas_lightning.errors import InputError, MissingPackageError
from nfas_lightning.functional.checks import check_option
from nfas_lightning.functional.confounds import high_pass_basis
from nfas_lightning.models.optional import require

__all__ = ["NeuralSetDataModule", "studies"]

_SHOWN = {"Image": "Image", "Sound": "Audio", "Word": "Word", "Video": "Video"}  # what NeuralSet calls them
_TEMPORAL = {"Fmri": ("hrf", "fir")} | dict.fromkeys(("Meg", "Eeg", "Ieeg"), ("epochs", "fir"))
_LONGER = 10  # times tmax: no response to a sound or film, of which an epoch sees a tenth
_MARGIN = 1.0  # seconds that a recording begins before the first event and ends after the last: filters ring


class NeuralSetDataModule(BrainDataModule):
    """fMRI, MEG, EEG or intracranial EEG of a study that NeuralSet knows.

    NeuralSet (MIT license, Python 3.12 and later) tells where each stimulus is on each recording; neuralfetch
    adds more than a hundred studies. Studies have licenses of their own.

    There are two forms of responses:

    - **Epochs** (`temporal` ``"epochs"``: MEG, EEG, intracranial EEG). Every file, or every word form, is a
      stimulus; its presentations over runs and sessions are averaged, and noise ceilings come from halves of
      them, see `EpochsDataModule`.
    - **Runs on a clock** (``"hrf"`` or ``"fir"``: fMRI; ``"fir"``: the others, see `RecordingDataModule`).
      Words are read with the words before them; sounds and films are whole stimuli, or windows where they are
      long or parts of their files. Timelines in which the same was shown at the same times (but for a tenth
      that one may lack) are one run, in which subjects lie above one another; where each subject had an order
      of its own, each of its runs has missing values (NaN) for the others. fMRI is averaged over regions,
      filtered and standardized run by run; a subject's repeats of a run are averaged, and noise ceilings come
      from halves of them. (Of other recordings a repeat is a run of its own.) No confound is regressed out,
      and means over regions are computed each time.

    Args:
        study: name of a study, such as ``"Gifford2022Large"``.
        path: folder of the studies' data; it is not downloaded here: `Study.download` of NeuralSet does that.
        stimuli: ``"Image"``, ``"Sound"``, ``"Word"`` or ``"Video"``.
        responses: ``"Fmri"``, ``"Meg"``, ``"Eeg"`` or ``"Ieeg"``.
        query: timelines to read, as NeuralSet takes it, such as ``"timeline_index < 5"``; None: all.
        temporal: ``"epochs"``, ``"hrf"`` or ``"fir"``, see above; None: ``"hrf"`` of fMRI, else ``"epochs"``.
        image_size: pixels of the square that images are brought to, and of the shorter side of films; None:
            as they are.
        frames_per_second: frames taken of films.
        window: words of context before each word, on a clock.
        seconds: longest sound or film that is one stimulus on a clock, and length of the windows else.
        hop: seconds between windows.
        atlas: regions of fMRI, as in `load_atlas`, a pair of annotations for a surface; None: voxels or
            vertices as they are.
        atlas_table: csv or tsv that names a label image's regions.
        space: of fMRI, where a study has scans in several, such as ``"MNI152NLin2009cAsym"``.
        hrf: ``"spm"`` or ``"glover"``.
        delays: of fMRI with ``"fir"``, in volumes; of other recordings they are the lags.
        high_pass: cut-off in Hz of fMRI's drift filter; None: none.
        sfreq: samples per second (Hz) of MEG, EEG and intracranial EEG on a clock.
        l_freq: their high-pass in Hz; None: none.
        tmin: first lag in seconds after onset (epochs, or delays on a clock).
        tmax: last lag.
        baseline: (start, end) in seconds whose mean is taken off every channel of an epoch; None: none is.
        decimate: keep every so many-th sample of epochs, see `EpochsDataModule`.
        reject: peak-to-peak amplitudes beyond which an epoch is dropped, see `EpochsDataModule`.
        picks: channels, as MNE takes them.
        **options: of `BrainDataModule`: batch_size, num_workers, subjects and event_rate.

    Raises:
        ImportError: NeuralSet is not installed, or a package that it reads the study with, it knows no such
            study, or Python is older than 3.12.
        ValueError: the study has no such stimuli or responses, or they do not go together; the message says
            what does.
    """

    def __init__(
        self,
        study: str,
        path: str | os.PathLike[str],
        *,
        stimuli: Literal["Image", "Sound", "Word", "Video"] = "Image",
        responses: Literal["Fmri", "Meg", "Eeg", "Ieeg"] = "Meg",
        query: str | None = None,
        temporal: Literal["epochs", "hrf", "fir"] | None = None,
        image_size: int | None = 224,
        frames_per_second: float = 4.0,
        window: int = 20,
        seconds: float = 10.0,
        hop: float = 1.0,
        # the list first: a parser would take a pair of files for one string
        atlas: Sequence[str] | str | os.PathLike[str] | None = "seitzman",
        atlas_table: str | os.PathLike[str] | None = None,
        space: str | None = None,
        hrf: Literal["spm", "glover"] = "spm",
        delays: tuple[int, ...] = (1, 2, 3, 4),
        high_pass: float | None = 1 / 128,
        sfreq: float = 20.0,
        l_freq: float | None = 0.5,
        tmin: float = -0.1,
        tmax: float = 0.6,
        baseline: tuple[float | None, float | None] | None = None,
        decimate: int = 1,
        reject: dict[str, float] | None = None,
        picks: str = "data",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_option("stimuli", stimuli, tuple(_SHOWN))
        check_option("responses", responses, tuple(_TEMPORAL))
        if temporal is not None and temporal not in _TEMPORAL[responses]:
            raise InputError(
                f"temporal must be one of {', '.join(_TEMPORAL[responses])} for responses={responses!r}, got "
                f"{temporal!r}."
            )
        self.save_hyperparameters()
        self.study, self.path, self.query = study, path, query
        self.shown, self.recorded = _SHOWN[stimuli], responses
        self.temporal = temporal or _TEMPORAL[responses][0]
        self.reading = Reading(window, seconds, hop, frames_per_second, image_size)
        self.atlas, self.atlas_table, self.space = atlas, atlas_table, space
        self.hrf, self.delays, self.high_pass = hrf, tuple(delays), high_pass
        self.continuous: dict[str, Any] = {
            "sfreq": sfreq, "l_freq": l_freq, "tmin": tmin, "tmax": tmax, "picks": picks
        }  # fmt: skip
        self.prepared: dict[str, Any] = {
            "tmin": tmin, "tmax": tmax, "baseline": baseline, "decimate": decimate, "reject": reject,
            "picks": picks,
        }  # fmt: skip

    def load(self) -> tuple[StimulusSet, Responses]:
        """Read the study's events and recordings, and pair both."""
        events = self._own(_events(self.study, self.path, self.query))
        marks = events[events["type"] == self.shown]
        recordings = events[events["type"] == self.recorded]
        both = set(marks["timeline"]) & set(recordings["timeline"])
        if not both:
            there = {name: len(rows) for name, rows in events.groupby("type")}
            raise InputError(
                f"{self.study} must have events of the types {self.shown} and {self.recorded} in one "
                f"timeline, got {there}: choose stimuli and responses among these, or another query."
            )
        marks, recordings = (rows[rows["timeline"].isin(both)] for rows in (marks, recordings))
        if self.temporal == "epochs":
            return self._epochs(marks, recordings)
        return self._scans(marks, recordings) if self.recorded == "Fmri" else self._raws(marks, recordings)

    def _own(self, events: pd.DataFrame) -> pd.DataFrame:
        """Keep the subjects that were asked for, and scans in one space."""
        names = [subject_of(row) for row in events[["subject"]].to_dict("records")]
        if self.subjects is not None:
            if unknown := [name for name in self.subjects if name not in names]:
                raise InputError(f"subjects must be some of {sorted(set(names))}, got {unknown[0]!r}.")
            events = events[[name in self.subjects for name in names]]
        if self.recorded != "Fmri" or "space" not in events:
            return events
        scans = events["type"] == "Fmri"
        spaces = sorted(set(events.loc[scans, "space"]))
        if (self.space is None and len(spaces) > 1) or self.space not in (None, *spaces):
            raise InputError(f"space must be one of {spaces}, in which {self.study} is, got {self.space!r}.")
        return events if self.space is None else events[~scans | (events["space"] == self.space)]

    def _epochs(self, marks: pd.DataFrame, recordings: pd.DataFrame) -> tuple[StimulusSet, Responses]:
        """Cut recordings at the stimuli."""
        if self.shown in ("Audio", "Video") and marks["duration"].median() > _LONGER * self.prepared["tmax"]:
            raise InputError(
                f"{self.shown} of {self.study} lasts {marks['duration'].median():g} s, and epochs end after "
                f"tmax={self.prepared['tmax']:g} s: read it on a clock, temporal='fir', or give a later tmax."
            )
        own = marks["text" if self.shown == "Word" else "filepath"].astype(str)
        names = ids = list(dict.fromkeys(own))
        stimuli: Any = names
        if self.shown != "Word":
            ids = short_names(names)
            stimuli = file_stimuli(self.shown, names, self.reading)
        marks = marks.assign(stimulus=own.map(dict(zip(names, ids, strict=True))))
        epochs: dict[str, list[Any]] = {}
        for recording in recordings.to_dict("records"):
            here = marks[marks["timeline"] == recording["timeline"]]
            epochs.setdefault(subject_of(recording), []).append(self._cut(recording, here))
        mne = require_mne()
        with mne.utils.use_log_level("ERROR"):
            joined = {
                subject: parts[0] if len(parts) == 1 else mne.concatenate_epochs(parts, on_mismatch="ignore")
                for subject, parts in epochs.items()
            }
        return EpochsDataModule(
            stimuli, joined, stimulus_ids=ids, stimulus="stimulus", dataset=self.study, **self.prepared
        ).load()

    def _cut(self, recording: Any, marks: pd.DataFrame) -> Any:
        """Cut one recording at the starts of stimuli, which are on the clock of its timeline."""
        mne = require_mne()
        raw = _read(recording)
        with mne.utils.use_log_level("ERROR"):
            since = marks["start"].to_numpy(float) - float(recording["start"])
            samples = raw.first_samp + raw.time_as_index(since, use_rounding=True)
            places = np.column_stack([samples, np.zeros_like(samples), np.ones_like(samples)])
            start = (self.prepared["baseline"] or (None,))[0]
            tmin = self.prepared["tmin"] if start is None else min(self.prepared["tmin"], start)
            return mne.Epochs(
                raw,
                places,
                tmin=tmin,
                tmax=self.prepared["tmax"],
                baseline=None,
                metadata=marks[["stimulus"]].reset_index(drop=True),
                preload=True,
            )

    def _raws(self, marks: pd.DataFrame, recordings: pd.DataFrame) -> tuple[StimulusSet, Responses]:
        """Put stimuli on the clock of continuous recordings."""
        shown = shown_in(marks, self.shown, self.reading)
        half = 0.5 / self.continuous["sfreq"]
        runs = shared_runs(recordings, shown.events, tolerance=half, align=True, repeats=False)
        shown = in_runs(shown, runs)
        subjects = list(dict.fromkeys(subject for run in runs for subject in run.recordings))
        table, parts = [], []
        for number, run in enumerate(runs):
            cut, before = self._stretch(run)
            parts.append(cut)
            table.append(run.events.assign(onset=run.events["onset"] + before, run=number))
        return RecordingDataModule(
            shown.stimuli,
            {subject: [part.get(subject) for part in parts] for subject in subjects},
            events=pd.concat(table, ignore_index=True),
            stimulus_ids=shown.ids,
            dataset=self.study,
            **self.continuous,
        ).load()

    def _stretch(self, run: Run) -> tuple[dict[str, Any], float]:
        """Return the stretch of each recording that has a run's events, and the seconds before the first."""
        of_subject = {subject: parts[0] for subject, parts in run.recordings.items()}
        lasts = run.events["onset"] + run.events.get("duration", 0.0)
        wanted = _MARGIN + max(0.0, -self.continuous["tmin"])
        before = min(wanted, *(lead for _, lead in of_subject.values()))
        after = float(lasts.max()) + self.continuous["tmax"] + _MARGIN
        cut = {}
        for subject, (recording, lead) in of_subject.items():
            raw = _read(recording)
            cut[subject] = raw.copy().crop(lead - before, min(lead + after, raw.times[-1]))
        return cut, before

    def _scans(self, marks: pd.DataFrame, recordings: pd.DataFrame) -> tuple[StimulusSet, Responses]:
        """Put stimuli on the clock of scans, whose series are averaged over regions."""
        trs = sorted({round(1 / float(rate), 6) for rate in recordings["frequency"]})
        if len(trs) > 1:
            raise InputError(
                f"Scans must have one repetition time, got {trs} s in {self.study}: choose some by query."
            )
        shown = shown_in(marks, self.shown, self.reading)
        runs = shared_runs(recordings, shown.events, tolerance=trs[0] / 20)
        shown = in_runs(shown, runs)
        subjects = list(dict.fromkeys(subject for run in runs for subject in run.recordings))
        atlas = None
        if self.atlas is not None:
            atlas = load_atlas(self.atlas, table=self.atlas_table)
        reader = ScanReader(atlas)
        parts, halves = [], []
        for run in runs:
            mean, halves_of_run = _run_series(run, subjects, reader, self.high_pass)
            parts.append(mean)
            halves += [] if halves_of_run is None else [halves_of_run]
        lengths = [part.shape[1] for part in parts]
        stimuli, responses = InMemory(
            shown.stimuli,
            torch.cat(parts, dim=1),
            runs=np.repeat(np.arange(len(runs)), lengths).tolist(),
            rois=reader.rois,
            events=pd.concat([run.events.assign(run=i) for i, run in enumerate(runs)], ignore_index=True),
            tr=trs[0],
            temporal=self.temporal,
            hrf=self.hrf,
            delays=self.delays,
            stimulus_ids=shown.ids,
            subject_names=subjects,
            dataset=self.study,
        ).pair()
        if self.high_pass is not None:
            bases = [high_pass_basis(n, trs[0], self.high_pass) for n in lengths]
            responses = replace(responses, drifts=torch.block_diag(*bases))  # type: ignore[no-untyped-call]
        if halves:
            group, each = repetition_ceilings(torch.cat(halves, dim=2))
            responses = replace(responses, noise_ceiling=group, subject_ceilings=each)
        return stimuli, responses


def _run_series(
    run: Run, subjects: Sequence[str], reader: ScanReader, high_pass: float | None
) -> tuple[Tensor, Tensor | None]:
    """Return the mean over each subject's scans of a run (S, T, R), and over its odd and even ones.

    These are (S, 2, T, R), None where nobody has repeats. The longest scan counts; what others lack is NaN.
    """
    series = {
        subject: [reader.read(_event(recording), high_pass) for recording, _ in parts]
        for subject, parts in run.recordings.items()
    }
    length = max(len(part) for parts in series.values() for part in parts)
    mean = torch.full((len(subjects), length, len(reader.rois)), float("nan"))
    halves = mean.new_full((len(subjects), 2, *mean.shape[1:]), float("nan"))
    for subject, parts in series.items():
        filled = mean.new_full((len(parts), *mean.shape[1:]), float("nan"))
        for own, part in zip(filled, parts, strict=True):
            own[: len(part)] = part
        s = subjects.index(subject)
        mean[s] = filled.nanmean(dim=0)
        if len(parts) > 1:
            halves[s] = torch.stack([filled[::2].nanmean(dim=0), filled[1::2].nanmean(dim=0)])
    return mean, None if bool(halves.isnan().all()) else halves


def _event(recording: Any) -> Any:
    return _neuralset().Event.from_dict(recording)


def _read(recording: Any) -> Any:
    return _event(recording).read()


def studies() -> list[dict[str, str]]:
    """Return what NeuralSet's catalogue tells of the studies that `NeuralSetDataModule` reads.

    Returns:
        One row per study, sorted by name: ``name``, ``title``, ``modality`` (stimuli; recordings),
        ``license``, ``size`` (subjects), ``access`` and ``reference``.

    Raises:
        ImportError: as the class.
    """
    rows = []
    for name, study in sorted(_neuralset().Study.catalog().items()):
        types = set() if study._info is None else study._info.event_types_in_query
        shown = [kind for kind, theirs in _SHOWN.items() if theirs in types]
        recorded = [kind for kind in _TEMPORAL if kind in types]
        if shown and recorded:
            rows.append(
                {
                    "name": name,
                    "title": study.description or name,
                    "modality": f"{', '.join(shown)}; {', '.join(recorded)}",
                    "license": study.licence or "not told",
                    "size": f"{study._info.num_subjects} subjects",
                    "access": f"NeuralSetDataModule(study={name!r})",
                    "reference": study.url or "not told",
                }
            )
    return rows


def _neuralset() -> Any:
    if tuple(sys.version_info) < (3, 12):
        raise MissingPackageError(
            f"NeuralSet needs Python 3.12 or later, and this is {sys.version.split()[0]}: there it "
            "comes with pip install 'nfas-lightning[neuralset]'."
        )
    return require("neuralset", "neuralset")


def _events(study: str, path: Any, query: str | None) -> pd.DataFrame:
    neuralset = _neuralset()
    given = {"name": study, "path": os.fspath(path)} | ({} if query is None else {"query": query})
    try:
        # in this process and without NeuralSet's cache: states and scores have their own
        events: pd.DataFrame = neuralset.Study(**given, timelines={"infra": None}).run()
    except ImportError as error:  # no study of that name, or what it reads its files with
        raise MissingPackageError(
            f"NeuralSet can't read {study!r}: {str(error).rstrip('.')}. Install the package that is missing, "
            "or take a name that `nfas data list` shows."
        ) from error
    return events
