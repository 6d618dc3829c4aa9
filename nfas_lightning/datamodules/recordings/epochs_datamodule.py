"""Your own MEG or EEG: epochs that MNE holds or reads, paired with stimuli by name."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data.event_tables import pair_events
from nfas_lightning.data.in_memory import InMemory
from nfas_lightning.data.pairing import as_names
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_files import stimulus_paths
from nfas_lightning.data.stimuli.stimulus_set import Modality, StimulusSet
from nfas_lightning.datamodules.base import BrainDataModule
from nfas_lightning.datamodules.recordings.epoch_files import EpochOptions, Presentations, read_presentations
from nfas_lightning.datamodules.recordings.sensors import lags_of, repetition_ceilings
from nfas_lightning.errors import InputError, InputTypeError
from nfas_lightning.functional.checks import check_count
from nfas_lightning.functional.correlation import MIN_ROWS

__all__ = ["EpochsDataModule"]


class EpochsDataModule(BrainDataModule):
    """Responses of MEG, EEG or ECoG to stimuli that were shown one by one, at every channel and lag.

    Presentations of one stimulus are averaged, and where stimuli came twice or more, noise ceilings come from
    halves of their presentations. A bad channel, and a stimulus without an epoch (rejected, or never shown),
    are missing values (NaN) of that subject, never 0. Channels are those of the first subject.

    Args:
        stimuli: N of them, as in `ArrayDataModule`.
        epochs: one entry per subject, by name in a mapping or in a list: `mne.Epochs` (or `EpochsArray`), a
            list of `mne.Evoked` (one per stimulus, whose ``comment`` names it), `mne.io.Raw`, an
            `mne_bids.BIDSPath`, or the path of a file that MNE reads: FIF, BrainVision, EDF, BDF, EEGLAB. Of
            continuous recordings, annotations (or the events.tsv of BIDS) are the events.
        stimulus_ids: N names; None: the names of the files that stimuli are read from.
        stimulus: column of the epochs' metadata (or of events.tsv) that names the stimulus; None:
            ``stim_file`` or ``stimulus`` where there is one, else what events are called.
        event_names: stimulus of each event, by what the file calls it; events that it does not name are left
            out, such as responses. None: every event shows a stimulus of its own name.
        picks: channels, as MNE takes them: ``"data"``, ``"mag"``, ``"eeg"``, names.
        tmin: first lag in seconds after onset; None: that of the epochs, -0.1 s of continuous recordings.
        tmax: last lag; None: that of the epochs, 0.6 s of continuous recordings.
        baseline: (start, end) in seconds whose mean is taken off every channel, None for the epoch's own
            start or end, as in MNE; None: no correction.
        decimate: keep every so many-th sample. Low-pass filter below a third of the new rate before.
        reject: peak-to-peak amplitudes by kind of channel (``{"eeg": 150e-6}``, V; ``"mag"`` in T) beyond
            which an epoch is dropped.
        modality: ``"vision"``, ``"audio"`` or ``"language"``; None: told from the first stimulus.
        sampling_rate: of sounds, Hz.
        groups: ``"identical"`` keeps stimuli of the same content in one fold.
        dataset: name of the benchmark in the results.
        **options: of `BrainDataModule`: batch_size, num_workers and subjects.

    Raises:
        ImportError: MNE is not installed.
        ValueError: at `setup`, with what was expected and what came.
    """

    def __init__(
        self,
        stimuli: Any,
        epochs: Any,
        *,
        stimulus_ids: Sequence[Any] | None = None,
        stimulus: str | None = None,
        event_names: Mapping[str, str] | None = None,
        picks: str | Sequence[str] = "data",
        tmin: float | None = None,
        tmax: float | None = None,
        baseline: tuple[float | None, float | None] | None = None,
        decimate: int = 1,
        reject: Mapping[str, float] | None = None,
        modality: Modality | None = None,
        sampling_rate: int | None = None,
        groups: str | None = None,
        dataset: str = "epochs",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_count("decimate", decimate, 1)
        if tmin is not None and tmax is not None and not tmin < tmax:
            raise InputError(f"tmin must lie before tmax, both in seconds, got {tmin:g} and {tmax:g}.")
        self.epochs = by_subject(epochs)
        self.options = EpochOptions(stimulus, event_names, picks, tmin, tmax, baseline, decimate, reject)
        self.given = {
            "stimuli": stimuli, "stimulus_ids": stimulus_ids, "modality": modality,
            "sampling_rate": sampling_rate, "groups": groups, "dataset": dataset,
        }  # fmt: skip

    def load(self) -> tuple[StimulusSet, Responses]:
        """Read the epochs of every subject and pair them with the stimuli."""
        names = list(self.epochs) if self.subjects is None else self.subjects
        if unknown := [name for name in names if name not in self.epochs]:
            raise InputError(f"subjects must be some of {list(self.epochs)}, got {unknown[0]!r}.")
        several = {name: read_presentations(self.epochs[name], self.options) for name in names}
        _check_times(several)
        first = next(iter(several.values()))
        parts = torch.stack([self._averages(name, part, first) for name, part in several.items()])
        lags = lags_of(first.info, first.times)
        values, halves = parts[:, 0].flatten(2), parts[:, 1:].flatten(3)
        stimuli, paired = InMemory(
            responses=values, rois=lags.targets(), subject_names=names, **self.given
        ).pair()
        ceilings: tuple[Tensor | None, Tensor | None] = (None, None)
        if (again := (~halves.isnan()).any(-1).all(1).any(0)).sum() >= MIN_ROWS:
            ceilings = repetition_ceilings(halves[:, :, again])
        return stimuli, replace(paired, lags=lags, noise_ceiling=ceilings[0], subject_ceilings=ceilings[1])

    def _averages(self, subject: str, part: Presentations, first: Presentations) -> Tensor:
        """Average all, the odd and the even presentations of each stimulus, (3, N, C, K); NaN for none."""
        n_stimuli, ids = len(self.given["stimuli"]), self.given["stimulus_ids"]
        paths = stimulus_paths(self.given["stimuli"])
        known = None if ids is None else as_names("stimulus_ids", ids, n_stimuli)
        if known is None and not paths:
            raise InputError(
                "EpochsDataModule pairs stimuli by name: give stimulus_ids, or stimuli from files."
            )
        shown = list(dict.fromkeys(part.names))
        _, found = pair_events(pd.DataFrame({"stimulus": shown}), n_stimuli, ids=known, paths=paths or None)
        place_of = dict(zip(shown, found.tolist(), strict=True))
        places = torch.tensor([place_of[name] for name in part.names])
        names = list(part.info["ch_names"])
        missing = [name for name in first.info["ch_names"] if name not in names]
        if len(missing) == len(first.info["ch_names"]):
            raise InputError(
                f"Subjects must share channels, got {names[:3]} of {subject!r} and "
                f"{first.info['ch_names'][:3]} of the first."
            )
        if more := [name for name in names if name not in first.info["ch_names"]]:
            warnings.warn(
                f"{len(more)} channels of {subject!r} are left out, which the first subject lacks, such as "
                f"{more[0]!r}.",
                stacklevel=2,
            )
        data = part.data.new_full(
            (len(part.data), len(first.info["ch_names"]), len(part.times)), float("nan")
        )
        for place, name in enumerate(first.info["ch_names"]):
            if name in names:
                data[:, place] = part.data[:, names.index(name)]
        averages = data.new_full((3, n_stimuli, *data.shape[1:]), float("nan"))
        for stimulus in torch.unique(places).tolist():
            own = data[places == stimulus]
            averages[0, stimulus] = own.mean(0)
            if len(own) > 1:
                averages[1, stimulus], averages[2, stimulus] = own[::2].mean(0), own[1::2].mean(0)
        return averages


def by_subject(given: Any) -> dict[str, Any]:
    """Return recordings by subject: those of a mapping, else ``sub-01`` and on."""
    if isinstance(given, Mapping):
        recordings = {str(name): source for name, source in given.items()}
    elif isinstance(given, list | tuple) and not any(
        type(part).__name__.startswith("Evoked") for part in given
    ):
        recordings = {f"sub-{place + 1:02d}": source for place, source in enumerate(given)}
    elif isinstance(given, pd.DataFrame | Tensor) or given is None:
        raise InputTypeError(f"epochs must be what MNE holds or reads, got a {type(given).__name__}.")
    else:
        recordings = {"sub-01": given}
    if not recordings:
        raise InputError("At least one subject is needed, got none.")
    return recordings


def _check_times(several: Mapping[str, Presentations]) -> None:
    (name, first), *others = several.items()
    for other, part in others:
        step = (first.times[-1] - first.times[0]) / max(len(first.times) - 1, 1)
        if len(part.times) != len(first.times) or abs(part.times - first.times).max() > step / 4:
            raise InputError(
                f"Subjects must have the same lags, got {len(first.times)} from {first.times[0]:g} to "
                f"{first.times[-1]:g} s of {name!r} and {len(part.times)} from {part.times[0]:g} to "
                f"{part.times[-1]:g} s of {other!r}: give tmin, tmax and decimate."
            )
