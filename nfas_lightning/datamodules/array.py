"""Your own data: stimuli and responses that are already in memory, in ten lines."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
from numpy.typing import ArrayLike
from torch import Tensor

from nfas_lightning.data.arrays import to_tensor
from nfas_lightning.data.clock import check_durations, check_onsets, check_tr, volume_clock
from nfas_lightning.data.events import TEMPORAL, response_gap, volume_design
from nfas_lightning.data.labels import as_names, as_runs, check_one_run, runs_of_events
from nfas_lightning.data.pairing import STIMULUS_COLUMNS, events_index, events_table, pair_events
from nfas_lightning.data.readers import pick
from nfas_lightning.data.regions.rois import given_rois
from nfas_lightning.data.response_values import as_values, check_no_labels, one_table
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.rows import index_of, row_orders, take_rows
from nfas_lightning.data.stimuli.durations import with_durations
from nfas_lightning.data.stimuli.stimulus_files import stimulus_paths
from nfas_lightning.data.stimuli.stimulus_set import Modality, StimulusSet, guess_modality, own_rate
from nfas_lightning.data.stimuli.texts import carried
from nfas_lightning.datamodules.base import BrainDataModule
from nfas_lightning.functional.checks import check_option, check_shape

__all__ = ["ArrayDataModule"]


class ArrayDataModule(BrainDataModule):
    """Stimuli and responses that you already have.

    Without `events`, row t of the responses answers stimulus t. With `events` and `tr`, the responses are
    time series: volume t of each run was taken t * `tr` seconds after the run began (or at `volume_times`),
    and onsets are on the same clock. Row i of `events` is stimulus i, not the i-th that was presented, unless
    a column names the stimulus of each event. All subjects share one table of events.

    Tables of pandas are paired by their index where two have the same labels (those of responses may also be
    `stimulus_ids` or the names of files), else row by row; an index in no order that nothing else has, as
    that of a shuffled table, is refused.

    Args:
        stimuli: N of them: a tensor (N, 3, H, W) in [0, 1], a list or Series of strings or `TextStimulus`, a
            list of (K,) waveforms, or a map-style dataset of such.
        responses: (T, R), or (S, T, R) for S subjects, or a list of tables, one per subject; a table's
            columns name the ROIs. NaN, or the mask of a masked array, marks missing values.
        modality: ``"vision"``, ``"audio"`` or ``"language"``; None: told from the first stimulus.
        sampling_rate: Hz, for audio; None: that of `SoundFiles` or of the windows of `audio_stimuli`.
        carrier: phrase around each text, for single words, such as ``"The word is {}"``: the word's own
            tokens are pooled, see `carried`. None: texts as they are.
        runs: (T,) run of each row, a number or any label; None: one run.
        groups: ``"identical"``: folds keep the responses to one stimulus together, where its content comes
            several times and each row answers a stimulus; else contiguous rows and whole runs are held out.
        rois: R names, or a table with a column ``roi`` (and network, hemisphere, x, y, z in MNI mm, if
            known); in any order where the columns of the responses have names. None: the columns of a
            `responses` table, else numbers, ``roi_000``, and the run can then not be joined with one of other
            responses.
        events: table, mapping, or path of a csv or tsv file, with ``onset`` (s) and, if known, ``duration``
            (s; None: sounds and `ClipFiles` last as long as they are, all else is an instant) and ``run``
            (labels as in `runs`). N rows, stimulus by stimulus; or any number of them and
            a column that names the stimulus of each: ``stim_file``, as BIDS has it, by the file name of
            `ImageFiles`, `ClipFiles` or `SoundFiles` or by `stimulus_ids`; else ``stimulus``, ids as in
            `stimulus_ids` or, without those, places from 0. The events of one stimulus are summed.
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
        event_rate: make the rate of events a nuisance, see `Responses.with_event_rate`.

    Raises:
        ValueError: at `setup`, with what was expected and what came, if counts, shapes or options disagree.

    Example:
        >>> import torch
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
        groups: Literal["identical"] | None = None,
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
        event_rate: bool = True,
    ) -> None:
        super().__init__(
            batch_size=batch_size, num_workers=num_workers, subjects=subjects, event_rate=event_rate
        )
        self.source = stimuli
        self.values = responses
        self.modality = modality
        self.sampling_rate = sampling_rate
        self.carrier = carrier
        self.runs = runs
        self.groups = groups
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
        check_option("temporal", self.temporal, TEMPORAL)
        if self.groups is not None:
            check_option("groups", self.groups, ("identical",))
        sampling_rate = own_rate(self.source, self.sampling_rate)
        modality = self.modality or guess_modality(self.source, sampling_rate)
        source = self.source
        if self.carrier is not None:
            if modality != "language":
                raise ValueError(
                    f"carrier is a phrase around texts, and the stimuli are {modality}: leave it out."
                )
            texts = StimulusSet(source, modality)  # which takes strings out of whatever a dataset returns
            source = carried([texts[i][1] for i in range(len(texts))], self.carrier)
        stimuli = StimulusSet(source, modality, sampling_rate)
        if len(stimuli) < 2:
            raise ValueError("At least two stimuli are needed to relate features to responses, got one.")
        ids, given, columns = self._paired(len(stimuli))
        values = as_values(given["responses"], columns or ())
        n_subjects, n_volumes, n_rois = values.shape
        rois = given_rois(self.rois, n_rois, columns)
        runs, numbers = as_runs([0] * n_volumes if given["runs"] is None else given["runs"], n_volumes)
        names = [f"sub-{s + 1:02d}" for s in range(n_subjects)]
        if self.subject_names is not None:
            row_orders({"responses": None, "subject_names": index_of(self.subject_names)})
            names = as_names("subject_names", self.subject_names, n_subjects)
        kept = pick("subjects", self.subjects, names)
        nuisances, nuisance_names = _as_nuisances(given["nuisances"], n_volumes)
        design, times = self._design(stimuli, ids, given, runs, numbers, n_rois)
        if not design and n_volumes != len(stimuli):
            raise ValueError(_uneven(len(stimuli), n_volumes, n_rois))
        ids = ids or [f"{i:05d}" for i in range(len(stimuli))]
        responses = Responses(
            values=values[kept],
            rois=rois,
            stimulus_ids=tuple(ids),
            dataset=self.dataset,
            modality=modality,
            subjects=tuple(names[s] for s in kept),
            runs=runs,
            identical=stimuli.identical() if self.groups else None,
            design=design,
            tr=self.tr if design else None,
            volume_times=times,
            nuisances=nuisances,
            nuisance_names=nuisance_names,
            noise_ceiling=_as_ceiling(self.noise_ceiling, list(rois["roi"]), self.rois),
            gap=response_gap(self.temporal, self.tr, self.delays),
            hashes={"stimuli": stimuli.sha256()},
        )
        return stimuli, responses

    def _paired(self, n_stimuli: int) -> tuple[list[str] | None, dict[str, Any], list[str] | None]:
        """Return stimulus ids, all that goes by rows, in one order, and the names of columns of responses."""
        responses, labels, columns = one_table(self.values)
        given = {
            "responses": responses,
            "runs": self.runs,
            "volume_times": self.volume_times,
            "nuisances": self.nuisances,
            "events": None if self.events is None else events_table(self.events),
        }
        own = {"stimuli": index_of(self.source)}
        of_stimuli, of_rows = dict(own), {"responses": labels}
        for what in ("runs", "volume_times", "nuisances"):
            if given[what] is not None:
                of_rows[what] = index_of(given[what])
        if given["events"] is not None and not set(STIMULUS_COLUMNS) & set(given["events"]):
            of_stimuli["events"] = events_index(self.events)
        ids = None
        if self.stimulus_ids is not None:
            index = index_of(self.stimulus_ids)
            order = None if index is None else row_orders(own | {"stimulus_ids": index})["stimulus_ids"]
            ids = as_names("stimulus_ids", take_rows(self.stimulus_ids, order), n_stimuli)
        names: list[Sequence[str]] = [] if ids is None else [ids]
        if paths := stimulus_paths(self.source):
            names += [
                [str(path) for path in paths],
                [path.name for path in paths],
                [path.stem for path in paths],
            ]
        if self.temporal == "none":
            orders = row_orders(of_stimuli | of_rows, names)
        else:
            orders = row_orders(of_stimuli, names) | row_orders(of_rows)
        for what, order in orders.items():
            if what != "stimuli":
                several = what == "responses" and getattr(responses, "ndim", 2) == 3
                given[what] = take_rows(given[what], order, axis=int(several))
        return ids, given, columns

    def _design(
        self,
        stimuli: StimulusSet,
        ids: Sequence[str] | None,
        given: Mapping[str, Any],
        runs: Tensor,
        numbers: Mapping[Any, int],
        n_rois: int,
    ) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Operators and volume times of a time series; nothing where each row answers a stimulus."""
        if self.temporal == "none":
            if self.events is not None:
                raise ValueError("events were given but temporal='none': leave one of the two out.")
            clock = [name for name in ("tr", "volume_times") if getattr(self, name) is not None]
            if clock:
                named = " and ".join(clock)
                raise ValueError(
                    f"{named} belong to a time series, and nothing says when its stimuli began: give events, "
                    "for a stimulus a volume {'onset': tr * np.arange(N)}; or, where each row answers a "
                    f"stimulus, leave {named} out."
                )
            return (), None
        if self.events is None or self.tr is None:
            raise ValueError(
                f"temporal={self.temporal!r} needs events (a table with 'onset' in seconds) and tr in "
                f"seconds, got events={'given' if self.events is not None else None}, tr={self.tr}."
            )
        check_tr(self.tr)
        paths = stimulus_paths(self.source)
        events, places = pair_events(given["events"], len(stimuli), ids=ids, paths=paths)
        events = with_durations(events, places, stimuli)
        several = len(set(runs.tolist())) > 1
        if several and "run" not in events:
            raise ValueError("events must have a column 'run' where there are several runs.")
        event_runs = None
        if "run" in events and self.runs is None:
            check_one_run(events["run"])
        elif "run" in events:
            event_runs = runs_of_events(events["run"], numbers)
        taken = None if given["volume_times"] is None else to_tensor("volume_times", given["volume_times"])
        times = volume_clock(runs, self.tr, taken)
        onsets = to_tensor("onset", events["onset"]).double()
        check_onsets(onsets, event_runs, times, runs, tr=self.tr, n_rois=n_rois)
        durations = None
        if "duration" in events:
            durations = to_tensor("duration", events["duration"]).double()
            check_durations(onsets, durations, event_runs, times, tr=self.tr)
        design = volume_design(
            onsets,
            times,
            tr=self.tr,
            durations=durations,
            event_runs=event_runs,
            volume_runs=None if event_runs is None else runs,
            event_stimuli=places,
            n_stimuli=len(stimuli),
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


def _as_ceiling(given: Any, rois: Sequence[str], named: Any) -> Tensor | None:
    """Return (R,) ceilings in the order of `rois`, those of the responses; `named` is what the user gave."""
    if given is None:
        return None
    if named is not None and index_of(given) is None:
        own = [str(name) for name in (named["roi"] if isinstance(named, pd.DataFrame) else named)]
        if own != list(rois):
            raise ValueError(
                f"noise_ceiling has no index that tells which ROI each value belongs to, and rois "
                f"({', '.join(own[:3])}, ...) and the columns of responses ({', '.join(rois[:3])}, ...) are "
                "in two orders: give a pandas Series with the ROIs as its index."
            )
    order = row_orders({"rois": None, "noise_ceiling": index_of(given)}, [rois])["noise_ceiling"]
    return to_tensor("noise_ceiling", take_rows(given, order)).float()


def _as_nuisances(nuisances: Any, n_volumes: int) -> tuple[Tensor | None, tuple[str, ...]]:
    if nuisances is None:
        return None, ()
    values = to_tensor("nuisances", nuisances).float()
    check_shape("nuisances", values, "T Q", T=n_volumes)
    named = isinstance(nuisances, pd.DataFrame)
    names = tuple(map(str, nuisances.columns if named else map("nuisance_{}".format, range(values.shape[1]))))
    check_no_labels("nuisances", names)
    wrong = ~values.isfinite()
    if bool(wrong.any()):
        where = [name for name, column in zip(names, wrong.any(dim=0).tolist(), strict=True) if column]
        raise ValueError(
            f"nuisances must be finite, got {int(wrong.sum())} NaN or infinite values in {where[:5]}: fill "
            "them in (a first difference starts at 0), or leave these regressors out."
        )
    return values, names
