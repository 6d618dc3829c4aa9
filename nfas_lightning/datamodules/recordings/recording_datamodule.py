"""Continuous MEG, EEG or ECoG of speech and stories: a temporal response function by delays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data.event_tables import events_table
from nfas_lightning.data.in_memory import InMemory
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_set import Modality, StimulusSet
from nfas_lightning.datamodules.base import BrainDataModule
from nfas_lightning.datamodules.recordings.epoch_files import marked_events, naming_option, open_recording
from nfas_lightning.datamodules.recordings.epochs_datamodule import by_subject
from nfas_lightning.datamodules.recordings.sensors import lags_of, require_mne
from nfas_lightning.errors import InputError

__all__ = ["RecordingDataModule"]


class RecordingDataModule(BrainDataModule):
    """Channels of a continuous recording, predicted at every sample from the stimuli of the moments before.

    Features of words or of windows of sound go to the recording's clock, once per delay (the temporal
    response function). Every channel is standardized in each run, whole runs are held out where there are
    several, and no event reaches into another run. Bad channels, and stretches annotated as BAD, are missing
    values (NaN), never 0.

    Features times delays is what the ridge fits: 64 features and 700 ms at 20 Hz are 960 columns. Choose
    `sfreq` no higher than the responses ask for.

    Args:
        stimuli: N words (`word_stimuli`), windows of sound (`audio_stimuli`), or as in `ArrayDataModule`.
        recordings: one entry per subject, by name in a mapping or in a list: a recording, or a list of one
            per run, None for a run that a subject lacks. A recording is `mne.io.Raw`, an
            `mne_bids.BIDSPath`, or the path of a file that MNE reads.
        events: table as in `ArrayDataModule`, onsets in seconds since the run began; with several runs it
            has a column ``run``, counted from 0. None: the annotations of the first subject, whose
            descriptions name the stimuli.
        stimulus_ids: N names, where events name stimuli.
        sfreq: samples per second (Hz) that the recordings are brought to, after a low-pass.
        l_freq: high-pass in Hz; None: none.
        h_freq: low-pass in Hz; None: half of `sfreq`, by resampling.
        tmin: first delay of the response after a stimulus, in seconds; negative: before it.
        tmax: last delay.
        picks: channels, as MNE takes them.
        nuisances: (T, Q) regressors at `sfreq`, runs below one another.
        modality: ``"audio"``, ``"language"`` or ``"vision"``; None: told from the first stimulus.
        sampling_rate: of sounds, Hz.
        dataset: name of the benchmark in the results.
        **options: of `BrainDataModule`: batch_size, num_workers, subjects and event_rate.

    Raises:
        ImportError: MNE is not installed.
        ValueError: at `setup`, with what was expected and what came.
    """

    def __init__(
        self,
        stimuli: Any,
        recordings: Any,
        *,
        events: Any = None,
        stimulus_ids: Sequence[Any] | None = None,
        sfreq: float = 20.0,
        l_freq: float | None = 0.5,
        h_freq: float | None = None,
        tmin: float = -0.1,
        tmax: float = 0.6,
        picks: str | Sequence[str] = "data",
        nuisances: Any = None,
        modality: Modality | None = None,
        sampling_rate: int | None = None,
        dataset: str = "recording",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not (sfreq > 0 and tmin < tmax):
            raise InputError(
                f"sfreq must be positive and tmin before tmax, got {sfreq:g}, {tmin:g}, {tmax:g}."
            )
        if l_freq is not None and h_freq is not None and not l_freq < h_freq:  # MNE would take out the band
            raise InputError(f"l_freq must lie below h_freq, both in Hz, got {l_freq:g} and {h_freq:g}.")
        several = isinstance(recordings, Mapping | list | tuple)
        self.recordings = by_subject(recordings if several else [recordings])
        self.events, self.sfreq, self.l_freq, self.h_freq = events, sfreq, l_freq, h_freq
        self.tmin, self.tmax, self.picks = tmin, tmax, picks
        self.given = {
            "stimuli": stimuli, "stimulus_ids": stimulus_ids, "modality": modality, "nuisances": nuisances,
            "sampling_rate": sampling_rate, "dataset": dataset,
        }  # fmt: skip

    def load(self) -> tuple[StimulusSet, Responses]:
        """Read every run of every subject and put the stimuli on their clock."""
        names = list(self.recordings) if self.subjects is None else self.subjects
        if unknown := [name for name in names if name not in self.recordings]:
            raise InputError(f"subjects must be some of {list(self.recordings)}, got {unknown[0]!r}.")
        runs = {name: _as_list(self.recordings[name]) for name in names}
        if len(counts := {len(parts) for parts in runs.values()}) > 1:
            raise InputError(
                f"Subjects must have the same runs, got {sorted(counts)} of them: give None for one that is "
                "missing."
            )
        raws = {
            name: [None if part is None else open_recording(part) for part in runs[name]] for name in names
        }
        first = [
            next((parts[run] for parts in raws.values() if parts[run] is not None), None)
            for run in range(counts.pop())
        ]
        if None in first:
            raise InputError(f"Run {first.index(None)} has no recording of any subject: leave it out.")
        data = {
            name: [None if raw is None else self._read(raw) for raw in parts] for name, parts in raws.items()
        }
        info = next(part[1] for parts in data.values() for part in parts if part is not None)
        values, labels = _stacked(data, info.ch_names)
        events = self._events(first)
        n_delays = round((self.tmax - self.tmin) * self.sfreq) + 1
        # delays count from tmin: an event that long before its onset
        events = events.assign(onset=events["onset"] + self.tmin)
        return InMemory(
            responses=values,
            runs=labels if len(first) > 1 else None,
            rois=lags_of(info, [0.0]).channels.assign(roi=info.ch_names),
            events=events,
            tr=1 / self.sfreq,
            temporal="fir",
            delays=tuple(range(n_delays)),
            subject_names=names,
            **self.given,
        ).pair()

    def _read(self, raw: Any) -> tuple[Tensor, Any]:
        """Return (T, C) standardized samples of a run and the `mne.Info` of its channels."""
        mne = require_mne()
        with mne.utils.use_log_level("ERROR"):
            raw = raw.copy().load_data()
            with naming_option("picks", self.picks):
                raw.pick(self.picks, exclude=())
            with naming_option("(l_freq, h_freq)", (self.l_freq, self.h_freq)):
                if self.l_freq is not None or self.h_freq is not None:
                    raw.filter(self.l_freq, self.h_freq)
            if self.sfreq > raw.info["sfreq"]:
                raise InputError(
                    f"sfreq must be no higher than the recording's {raw.info['sfreq']:g} Hz, got "
                    f"{self.sfreq:g}."
                )
            raw.resample(self.sfreq)
            data = raw.get_data(reject_by_annotation="NaN").T
        data[:, [name in raw.info["bads"] for name in raw.ch_names]] = np.nan
        with np.errstate(invalid="ignore"):
            seen = np.isfinite(data)
            count = np.maximum(seen.sum(0), 1)
            centered = data - np.where(seen, data, 0).sum(0) / count
            scale = np.sqrt((np.where(seen, centered, 0) ** 2).sum(0) / count)
        # a channel that is flat in this run says nothing there
        standard = centered / np.where(scale > 0, scale, np.nan)
        return torch.from_numpy(standard).float(), raw.info

    def _events(self, first: Sequence[Any]) -> pd.DataFrame:
        if self.events is not None:
            return events_table(self.events)
        mne, frames = require_mne(), []
        for run, raw in enumerate(first):
            with mne.utils.use_log_level("ERROR"):
                samples, names = marked_events(mne, raw)
            onset = (np.asarray(samples) - raw.first_samp) / raw.info["sfreq"]
            frames.append(pd.DataFrame({"onset": onset, "stimulus": names}).assign(run=run))
        table = pd.concat(frames, ignore_index=True)
        if table.empty:
            raise InputError("The recordings have no annotation that names a stimulus: give events.")
        return table


def _as_list(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [given]


def _stacked(data: Mapping[str, Sequence[Any]], channels: Sequence[str]) -> tuple[Tensor, list[int]]:
    """Put runs below one another, (S, T, C), and tell the run of each row; what a subject lacks is NaN."""
    lengths = []
    for run, parts in enumerate(zip(*data.values(), strict=True)):
        found = {name: len(part[0]) for name, part in zip(data, parts, strict=True) if part is not None}
        if max(found.values()) - min(found.values()) > 1:
            raise InputError(
                f"Subjects must have recordings of one length in run {run}, up to a sample, got {found}: "
                "crop them to the stimulus."
            )
        lengths.append(min(found.values()))
    values = torch.full((len(data), sum(lengths), len(channels)), float("nan"))
    starts = np.cumsum([0, *lengths])
    for s, own_runs in enumerate(data.values()):
        for start, length, part in zip(starts, lengths, own_runs, strict=False):
            if part is None:
                continue
            own = list(part[1].ch_names)
            for c, channel in enumerate(channels):
                if channel in own:
                    values[s, start : start + length, c] = part[0][:length, own.index(channel)]
    return values, np.repeat(np.arange(len(lengths)), lengths).tolist()
