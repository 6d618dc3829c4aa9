"""Your own data: stimuli and responses that are already in memory, in ten lines."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from nfas_lightning.data.arrays import to_tensor
from nfas_lightning.data.clock import check_onsets, check_tr, volume_clock
from nfas_lightning.data.events import TEMPORAL, response_gap, volume_design
from nfas_lightning.data.pairing import events_table, pair_events
from nfas_lightning.data.pictures import ImageFiles
from nfas_lightning.data.readers import pick
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.rois import roi_table
from nfas_lightning.data.stimuli import carried
from nfas_lightning.data.stimulus_set import Modality, StimulusSet, guess_modality
from nfas_lightning.data.video import ClipFiles
from nfas_lightning.datamodules.base import BrainDataModule
from nfas_lightning.functional.checks import check_option, check_shape

__all__ = ["ArrayDataModule"]


class ArrayDataModule(BrainDataModule):
    """Stimuli and responses that you already have.

    Without `events`, row t of the responses answers stimulus t. With `events` and `tr`, the responses are
    time series: volume t of each run was taken t * `tr` seconds after the run began (or at `volume_times`),
    and onsets are on the same clock. Row i of `events` is stimulus i, not the i-th that was presented, unless
    a column names the stimulus of each event. All subjects share one table of events.

    Args:
        stimuli: N of them: a tensor (N, 3, H, W) in [0, 1], a list of strings or `TextStimulus`, a list of
            (K,) waveforms, or a map-style dataset of such.
        responses: (T, R), or (S, T, R) for S subjects; a table's columns name the ROIs. NaN marks missing
            values.
        modality: ``"vision"``, ``"audio"`` or ``"language"``; None: told from the first stimulus.
        sampling_rate: Hz, for audio.
        carrier: phrase around each text, for single words, such as ``"The word is {}"``: the word's own
            tokens are pooled, see `carried`. None: texts as they are.
        runs: (T,) run of each row, a number or any label; None: one run.
        rois: R names, or a table with a column ``roi`` (and network, hemisphere, x, y, z in MNI mm, if
            known).
        events: table, mapping, or path of a csv or tsv file, with ``onset`` (s) and, if known, ``duration``
            (s) and ``run`` (labels as in `runs`). N rows, stimulus by stimulus; or any number of them and
            a column that names the stimulus of each: ``stim_file``, as BIDS has it, by the file name of
            `ImageFiles` or `ClipFiles` or by `stimulus_ids`; else ``stimulus``, ids as in `stimulus_ids` or,
            without those, places from 0. The events of one stimulus are summed.
        tr: repetition time in seconds; required with `events`.
        volume_times: (T,) seconds since the start of the run; None: multiples of `tr`.
        temporal: ``"hrf"``, ``"fir"`` or ``"none"``; None: ``"hrf"`` with `events`, else ``"none"``.
        hrf: ``"spm"`` or ``"glover"``.
        delays: delays of ``"fir"`` in volumes.
        nuisances: (T, Q) regressors, a tensor or a table whose columns name them.
        noise_ceiling: (R,) correlation that an ideal model of the subjects' mean could reach, if you know it.
        stimulus_ids: N unique labels, of any kind, which become strings; None: numbers.
        subject_names: S unique labels, likewise; None: numbers.
        dataset: name of the benchmark in the results.
        batch_size: stimuli a batch.
        num_workers: worker processes of the loaders.
        subjects: subjects to keep; None: all.

    Raises:
        ValueError: at `setup`, with what was expected and what came, if counts, shapes or options disagree.

    Example:
        >>> images = torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        >>> datamodule = ArrayDataModule(images, torch.zeros(20, 2), rois=["V1", "V2"], dataset="mine")
        >>> datamodule.setup()
        >>> datamodule.responses.values.shape, datamodule.describe()["modality"]
        (torch.Size([1, 20, 2]), 'vision')
    """

    def __init__(
        self,
        stimuli: Any,
        responses: ArrayLike | Tensor,
        *,
        modality: Modality | None = None,
        sampling_rate: int | None = None,
        carrier: str | None = None,
        runs: Sequence[Any] | ArrayLike | Tensor | None = None,
        rois: Sequence[str] | pd.DataFrame | None = None,
        events: pd.DataFrame | Mapping[str, ArrayLike] | str | os.PathLike[str] | None = None,
        tr: float | None = None,
        volume_times: ArrayLike | Tensor | None = None,
        temporal: Literal["hrf", "fir", "none"] | None = None,
        hrf: Literal["spm", "glover"] = "spm",
        delays: Sequence[int] = (1, 2, 3, 4),
        nuisances: pd.DataFrame | ArrayLike | Tensor | None = None,
        noise_ceiling: ArrayLike | Tensor | None = None,
        stimulus_ids: Sequence[Any] | ArrayLike | Tensor | None = None,
        subject_names: Sequence[Any] | ArrayLike | Tensor | None = None,
        dataset: str = "array",
        batch_size: int = 16,
        num_workers: int = 0,
        subjects: list[str] | None = None,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, subjects=subjects)
        self.source = stimuli
        self.values = responses
        self.modality = modality
        self.sampling_rate = sampling_rate
        self.carrier = carrier
        self.runs = runs
        self.rois = rois
        self.events = events
        self.tr = tr
        self.volume_times = volume_times
        self.temporal = temporal if temporal is not None else ("none" if events is None else "hrf")
        self.hrf = hrf
        self.delays = tuple(delays)
        self.nuisances = nuisances
        self.noise_ceiling = noise_ceiling
        self.stimulus_ids = stimulus_ids
        self.subject_names = subject_names
        self.dataset = dataset

    def load(self) -> tuple[StimulusSet, Responses]:
        """Check and pair what the constructor was given."""
        modality = self.modality or guess_modality(self.source, self.sampling_rate)
        source = self.source
        if self.carrier is not None:
            if modality != "language":
                raise ValueError(
                    f"carrier is a phrase around texts, and the stimuli are {modality}: leave it out."
                )
            texts = StimulusSet(source, modality)  # which takes strings out of whatever a dataset returns
            source = carried([texts[i][1] for i in range(len(texts))], self.carrier)
        stimuli = StimulusSet(source, modality, self.sampling_rate)
        if len(stimuli) < 2:
            raise ValueError("At least two stimuli are needed to relate features to responses, got one.")
        rois = self.rois
        if rois is None and isinstance(self.values, pd.DataFrame):
            rois = list(map(str, self.values.columns))
        values = _as_values(self.values)
        n_subjects, n_volumes, n_rois = values.shape
        runs, numbers = _as_runs([0] * n_volumes if self.runs is None else self.runs, n_volumes)
        names = [f"sub-{s + 1:02d}" for s in range(n_subjects)]
        if self.subject_names is not None:
            names = _as_names("subject_names", self.subject_names, n_subjects)
        ids = [f"{i:05d}" for i in range(len(stimuli))]
        if self.stimulus_ids is not None:
            ids = _as_names("stimulus_ids", self.stimulus_ids, len(stimuli))
        kept = pick("subjects", self.subjects, names)
        nuisances, nuisance_names = _as_nuisances(self.nuisances, n_volumes)
        given_ids = None if self.stimulus_ids is None else ids
        design, times = self._design(len(stimuli), given_ids, runs, numbers, n_rois)
        if not design and n_volumes != len(stimuli):
            raise ValueError(_uneven(len(stimuli), n_volumes, n_rois))
        responses = Responses(
            values=values[kept],
            rois=_as_rois(rois, n_rois),
            stimulus_ids=tuple(ids),
            dataset=self.dataset,
            modality=modality,
            subjects=tuple(names[s] for s in kept),
            runs=runs,
            design=design,
            tr=self.tr if design else None,
            volume_times=times,
            nuisances=nuisances,
            nuisance_names=nuisance_names,
            noise_ceiling=_as_ceiling(self.noise_ceiling),
            gap=response_gap(self.temporal, self.tr, self.delays),
            hashes={"stimuli": stimuli.sha256()},
        )
        return stimuli, responses

    def _design(
        self,
        n_stimuli: int,
        ids: Sequence[str] | None,
        runs: Tensor,
        numbers: Mapping[Any, int],
        n_rois: int,
    ) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Operators and volume times of a time series; nothing where each row answers a stimulus."""
        check_option("temporal", self.temporal, TEMPORAL)
        if self.temporal == "none":
            if self.events is not None:
                raise ValueError("events were given but temporal='none': leave one of the two out.")
            clock = [name for name in ("tr", "volume_times") if getattr(self, name) is not None]
            if clock:
                given = " and ".join(clock)
                raise ValueError(
                    f"{given} belong to a time series, and nothing says when its stimuli began: give events, "
                    "for a stimulus a volume {'onset': tr * np.arange(N)}; or, where each row answers a "
                    f"stimulus, leave {given} out."
                )
            return (), None
        if self.events is None or self.tr is None:
            raise ValueError(
                f"temporal={self.temporal!r} needs events (a table with 'onset' in seconds) and tr in "
                f"seconds, got events={'given' if self.events is not None else None}, tr={self.tr}."
            )
        check_tr(self.tr)
        paths = self.source.paths if isinstance(self.source, ImageFiles | ClipFiles) else None
        events, places = pair_events(events_table(self.events), n_stimuli, ids=ids, paths=paths)
        several = len(set(runs.tolist())) > 1
        if several and "run" not in events:
            raise ValueError("events must have a column 'run' where there are several runs.")
        event_runs = None
        if "run" in events and self.runs is None:
            _check_one_run(events["run"])
        elif "run" in events:
            event_runs = _event_runs(events["run"], numbers)
        given_times = None if self.volume_times is None else to_tensor("volume_times", self.volume_times)
        times = volume_clock(runs, self.tr, given_times)
        onsets = to_tensor("onset", events["onset"]).double()
        check_onsets(onsets, event_runs, times, runs, tr=self.tr, n_rois=n_rois)
        design = volume_design(
            onsets,
            times,
            tr=self.tr,
            durations=to_tensor("duration", events["duration"]).double() if "duration" in events else None,
            event_runs=event_runs,
            volume_runs=None if event_runs is None else runs,
            event_stimuli=places,
            n_stimuli=n_stimuli,
            temporal=self.temporal,
            hrf=self.hrf,
            delays=self.delays,
        )
        return design, times


def _uneven(n_stimuli: int, n_rows: int, n_rois: int) -> str:
    """Say what to do where rows and stimuli do not pair."""
    exchanged = " Their columns are as many as the stimuli: are the axes exchanged?" * (n_rois == n_stimuli)
    return (
        f"responses must have one row a stimulus, got {n_stimuli} stimuli and {n_rows} rows.{exchanged} Add "
        "what is missing or take out what has no partner; where the rows are the volumes of a time series, "
        "give events, each stimulus's onset in seconds, and tr."
    )


def _as_list(labels: Any) -> list[Any]:
    """Return labels as Python's own values: NumPy's and torch's neither equal nor print like them."""
    values: list[Any] = labels.tolist() if hasattr(labels, "tolist") else list(labels)
    return values


def _as_runs(runs: Any, n_volumes: int) -> tuple[Tensor, dict[Any, int]]:
    """Return the number of each row's run, (T,), and of each label: its own, where all are whole."""
    labels = _as_list(runs)
    if np.shape(labels) != (n_volumes,):
        raise ValueError(f"runs must have shape (T={n_volumes},), got {np.shape(labels)}.")
    missing = pd.isna(pd.Series(labels, dtype=object)).to_numpy().nonzero()[0]
    if len(missing):
        raise ValueError(f"runs must name the run of every row, got none for {list(map(int, missing[:5]))}.")
    distinct = dict.fromkeys(labels)
    whole = all(isinstance(run, int) or (isinstance(run, float) and run.is_integer()) for run in distinct)
    numbers = {run: int(run) if whole else place for place, run in enumerate(distinct)}
    return torch.tensor([numbers[run] for run in labels]), numbers


def _check_one_run(runs: Any) -> None:
    """Refuse events of several runs where nothing tells the run of each volume: their clocks would mix."""
    distinct = list(dict.fromkeys(_as_list(runs)))
    if len(distinct) > 1:
        raise ValueError(
            f"events name {len(distinct)} runs, {distinct[:5]}, each with a clock of its own, but nothing "
            "names the run of each volume: give runs, (T,), or in a folder a volumes.csv with a column 'run'."
        )


def _event_runs(runs: Any, numbers: Mapping[Any, int]) -> Tensor:
    """Return the number of each event's run, (N,)."""
    labels = _as_list(runs)
    if lost := [run for run in dict.fromkeys(labels) if run not in numbers]:
        raise ValueError(
            f"Every run with events needs volumes, got none for the runs {lost[:5]}: runs names "
            f"{list(numbers)[:5]}."
        )
    return torch.tensor([numbers[run] for run in labels])


def _as_names(what: str, given: Any, count: int) -> list[str]:
    labels = _as_list(given)
    names = list(map(str, labels))
    if np.shape(labels) != (count,) or len(set(names)) != count:
        repeated = sorted(name for name, times in Counter(names).items() if times > 1)
        raise ValueError(
            f"{what} must be {count} unique names, got {len(names)}: {names[:5]}"
            + (f"; more than once: {repeated[:5]}." if repeated else ".")
        )
    return names


def _as_values(responses: Any) -> Tensor:
    values = to_tensor("responses", responses)
    if values.ndim not in (2, 3) or not values.dtype.is_floating_point:
        raise ValueError(
            "responses must be floating point of shape (T, R), or (S, T, R) for subjects, got "
            f"{tuple(values.shape)} of {values.dtype}. Integers: convert with .astype('float32'); one ROI: "
            "responses[:, None]."
        )
    values = values[None] if values.ndim == 2 else values
    if 0 in values.shape:
        raise ValueError(
            f"responses must hold a subject, a row and an ROI at least, got shape (S, T, R) = "
            f"{tuple(values.shape)}."
        )
    if bool(values.isinf().any()):
        raise ValueError("responses must not be infinite: write NaN where a value is missing.")
    missing = int(values.isnan().sum())
    if missing:
        lost = int(values.isnan().all(dim=1).all(dim=0).sum())
        empty = values.isnan().flatten(1).all(dim=1).nonzero().flatten().tolist()
        warnings.warn(
            f"responses hold {missing} NaN of {values.numel()} values, and {lost} of {values.shape[-1]} ROIs "
            "have no value at all: missing values are masked per ROI."
            + (f" The subjects at {empty[:5]} have no value: leave them out." if empty else ""),
            stacklevel=2,
        )
    return values


def _as_rois(rois: Sequence[str] | pd.DataFrame | None, n_rois: int) -> pd.DataFrame:
    if rois is None:
        return roi_table([f"roi_{r:03d}" for r in range(n_rois)])
    if isinstance(rois, str) or len(rois) != n_rois:
        given = repr(rois) if isinstance(rois, str) else len(rois)
        raise ValueError(f"rois must name the {n_rois} columns of responses, got {given}.")
    if isinstance(rois, pd.DataFrame):
        table = rois.reset_index(drop=True)
        if "roi" in table and pd.api.types.is_integer_dtype(table["roi"]):  # parcels' numbers are names
            table["roi"] = table["roi"].astype(str)
        return table
    return roi_table(list(map(str, rois)))


def _as_ceiling(given: Any) -> Tensor | None:
    return None if given is None else to_tensor("noise_ceiling", given).float()


def _as_nuisances(nuisances: Any, n_volumes: int) -> tuple[Tensor | None, tuple[str, ...]]:
    if nuisances is None:
        return None, ()
    values = to_tensor("nuisances", nuisances).float()
    check_shape("nuisances", values, "T Q", T=n_volumes)
    named = isinstance(nuisances, pd.DataFrame)
    names = tuple(map(str, nuisances.columns if named else map("nuisance_{}".format, range(values.shape[1]))))
    wrong = ~values.isfinite()
    if bool(wrong.any()):
        where = [name for name, column in zip(names, wrong.any(dim=0).tolist(), strict=True) if column]
        raise ValueError(
            f"nuisances must be finite, got {int(wrong.sum())} NaN or infinite values in {where[:5]}: fill "
            "them in (a first difference starts at 0), or leave these regressors out."
        )
    return values, names
