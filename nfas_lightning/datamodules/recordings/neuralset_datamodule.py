"""Studies of NeuralSet as benchmarks: its events and recordings become stimuli, epochs and ceilings."""

from __future__ import annotations

import os
import sys
from typing import Any, Literal

import numpy as np
import pandas as pd

from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.images import ImageFiles
from nfas_lightning.data.stimuli.sounds import SoundFiles
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.datamodules.base import BrainDataModule
from nfas_lightning.datamodules.recordings.epochs_datamodule import EpochsDataModule
from nfas_lightning.datamodules.recordings.sensors import require_mne
from nfas_lightning.errors import InputError, MissingPackageError
from nfas_lightning.functional.checks import check_option
from nfas_lightning.models.optional import require

__all__ = ["NeuralSetDataModule", "studies"]

_SHOWN = {"Image": "Image", "Sound": "Audio", "Word": "Word"}  # what NeuralSet calls them
_RECORDED = ("Meg", "Eeg", "Ieeg")


class NeuralSetDataModule(BrainDataModule):
    """MEG, EEG or intracranial EEG of a study that NeuralSet knows, epoch by epoch.

    NeuralSet (MIT license, Python 3.12 and later) tells where each stimulus is on each recording; neuralfetch
    adds more than a hundred studies. Every file, or every word form, is a stimulus; its presentations over
    runs and sessions are averaged, and noise ceilings come from halves of them, see `EpochsDataModule`.
    Studies have licenses of their own.

    Args:
        study: name of a study, such as ``"Gifford2022Large"``.
        path: folder of the studies' data; it is not downloaded here: `Study.download` of NeuralSet does that.
        stimuli: ``"Image"``, ``"Sound"`` or ``"Word"``.
        responses: ``"Meg"``, ``"Eeg"`` or ``"Ieeg"``.
        query: timelines to read, as NeuralSet takes it, such as ``"timeline_index < 5"``; None: all.
        image_size: pixels of the square that images are brought to; None: as they are.
        tmin: first lag in seconds after onset.
        tmax: last lag.
        baseline: (start, end) in seconds whose mean is taken off every channel; None: no correction.
        decimate: keep every so many-th sample, see `EpochsDataModule`.
        reject: peak-to-peak amplitudes beyond which an epoch is dropped, see `EpochsDataModule`.
        picks: channels, as MNE takes them.
        **options: of `BrainDataModule`: batch_size, num_workers and subjects.

    Raises:
        ImportError: NeuralSet is not installed, or Python is older than 3.12.
        ValueError: the study has no such stimuli or responses.
    """

    def __init__(
        self,
        study: str,
        path: str | os.PathLike[str],
        *,
        stimuli: Literal["Image", "Sound", "Word"] = "Image",
        responses: Literal["Meg", "Eeg", "Ieeg"] = "Meg",
        query: str | None = None,
        image_size: int | None = 224,
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
        check_option("responses", responses, _RECORDED)
        self.save_hyperparameters()
        self.study, self.path, self.query, self.image_size = study, path, query, image_size
        self.shown, self.recorded = _SHOWN[stimuli], responses
        self.prepared: dict[str, Any] = {
            "tmin": tmin, "tmax": tmax, "baseline": baseline, "decimate": decimate, "reject": reject,
            "picks": picks,
        }  # fmt: skip

    def load(self) -> tuple[StimulusSet, Responses]:
        """Read the study's events, cut its recordings at them, and pair both."""
        events = _events(self.study, self.path, self.query)
        there = set(events["type"])
        if not {self.shown, self.recorded} <= there:
            raise InputError(
                f"{self.study} must have events of the types {self.shown} and {self.recorded}, got "
                f"{sorted(there)}."
            )
        column = "text" if self.shown == "Word" else "filepath"
        shown = events[events["type"] == self.shown]
        names = list(dict.fromkeys(shown[column].astype(str)))
        epochs: dict[str, list[Any]] = {}
        for _, rows in events.groupby("timeline", sort=False):
            marks = rows[rows["type"] == self.shown]
            for _, recording in rows[rows["type"] == self.recorded].iterrows():
                if len(marks):
                    subject = str(recording["subject"]).rpartition("/")[2]
                    cut = self._cut(recording, marks["start"], marks[column].astype(str))
                    epochs.setdefault(subject, []).append(cut)
        if not epochs:
            raise InputError(f"No timeline of {self.study} has both {self.shown} and {self.recorded}.")
        mne = require_mne()
        with mne.utils.use_log_level("ERROR"):
            joined = {
                subject: parts[0] if len(parts) == 1 else mne.concatenate_epochs(parts, on_mismatch="ignore")
                for subject, parts in epochs.items()
            }
        inner = EpochsDataModule(
            self._as_stimuli(names),
            joined,
            stimulus_ids=names,
            stimulus="stimulus",
            dataset=self.study,
            subjects=self.subjects,
            **self.prepared,
        )
        return inner.load()

    def _as_stimuli(self, names: list[str]) -> Any:
        if self.shown == "Word":
            return names
        return ImageFiles(names, size=self.image_size) if self.shown == "Image" else SoundFiles(names)

    def _cut(self, recording: Any, starts: pd.Series[float], names: pd.Series[str]) -> Any:
        """Cut one recording at the starts of stimuli, which are on the clock of its timeline."""
        mne = require_mne()
        raw = _neuralset().Event.from_dict(recording).read()
        with mne.utils.use_log_level("ERROR"):
            since = starts.to_numpy(float) - float(recording["start"])
            samples = raw.first_samp + raw.time_as_index(since, use_rounding=True)
            marks = np.column_stack([samples, np.zeros_like(samples), np.ones_like(samples)])
            start = (self.prepared["baseline"] or (None,))[0]
            tmin = self.prepared["tmin"] if start is None else min(self.prepared["tmin"], start)
            return mne.Epochs(
                raw,
                marks,
                tmin=tmin,
                tmax=self.prepared["tmax"],
                baseline=None,
                metadata=pd.DataFrame({"stimulus": names.to_numpy()}),
                preload=True,
            )


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
        recorded = [kind for kind in _RECORDED if kind in types]
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
    # in this process and without NeuralSet's cache: states and scores have their own
    events: pd.DataFrame = neuralset.Study(**given, timelines={"infra": None}).run()
    return events
