"""What somebody holds in memory, checked and paired: stimuli, responses and the tables beside them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data import pairing
from nfas_lightning.data.event_tables import STIMULUS_COLUMNS, events_table, pair_events
from nfas_lightning.data.events import (
    TEMPORAL,
    check_durations,
    check_onsets,
    check_tr,
    response_gap,
    volume_clock,
    volume_design,
)
from nfas_lightning.data.pairing import index_of, row_orders, take_rows
from nfas_lightning.data.regions.rois import given_rois
from nfas_lightning.data.responses import Responses
from nfas_lightning.data.stimuli.stimulus_files import stimulus_paths
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet, guess_modality, own_rate
from nfas_lightning.data.stimuli.texts import carried
from nfas_lightning.data.stimuli.timing import with_durations
from nfas_lightning.data.values import as_values, check_no_labels, one_table, to_tensor
from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_option, check_shape
from nfas_lightning.functional.hrf import HRFModel


@dataclass
class InMemory:
    """Stimuli and responses as somebody holds them; every field is an argument of `ArrayDataModule`."""

    stimuli: Any
    responses: Any
    modality: str | None = None
    sampling_rate: int | None = None
    carrier: str | None = None
    runs: Any = None
    groups: str | None = None
    rois: Any = None
    events: Any = None
    tr: float | None = None
    volume_times: Any = None
    temporal: str | None = None
    hrf: HRFModel = "spm"
    delays: Sequence[int] = (1, 2, 3, 4)
    nuisances: Any = None
    noise_ceiling: Any = None
    stimulus_ids: Any = None
    subject_names: Any = None
    dataset: str = "array"

    @property
    def _temporal(self) -> str:
        return self.temporal or ("none" if self.events is None else "hrf")

    def pair(self, subjects: Sequence[str] | None = None) -> tuple[StimulusSet, Responses]:
        """Check everything and put row i of all of it together, for these subjects; None: all."""
        check_option("temporal", self._temporal, TEMPORAL)
        if self.groups is not None:
            check_option("groups", self.groups, ("identical",))
        stimuli = self._stimulus_set()
        ids, given, columns = self._paired(len(stimuli))
        values = as_values(given["responses"], columns or ())
        n_subjects, n_volumes, n_rois = values.shape
        rois = given_rois(self.rois, n_rois, columns)
        given_runs = [0] * n_volumes if given["runs"] is None else given["runs"]
        runs, numbers = pairing.as_runs(given_runs, n_volumes)
        names = [f"sub-{s + 1:02d}" for s in range(n_subjects)]
        if self.subject_names is not None:
            row_orders({"responses": None, "subject_names": index_of(self.subject_names)})
            names = pairing.as_names("subject_names", self.subject_names, n_subjects)
        kept = pairing.pick("subjects", subjects, names)
        nuisances, nuisance_names = _as_nuisances(given["nuisances"], n_volumes)
        made, times = self._design(stimuli, ids, given, runs, numbers, n_rois)
        design = () if made is None else made()
        if not design and n_volumes != len(stimuli):
            exchanged = ", as many columns as stimuli: are the axes exchanged?" * (n_rois == len(stimuli))
            raise InputError(
                f"responses must have one row per stimulus, got {len(stimuli)} stimuli and {n_volumes} "
                f"rows{exchanged or '.'} Add what is missing or take out what has no partner; for a time "
                "series give events and tr."
            )
        responses = Responses(
            values=values[kept],
            rois=rois,
            stimulus_ids=tuple(ids or map("{:05d}".format, range(len(stimuli)))),
            dataset=self.dataset,
            modality=stimuli.modality,
            subjects=tuple(names[s] for s in kept),
            runs=runs,
            identical=stimuli.identical() if self.groups else None,
            design=design,
            tr=self.tr if design else None,
            volume_times=times,
            nuisances=nuisances,
            nuisance_names=nuisance_names,
            noise_ceiling=_as_ceiling(self.noise_ceiling, list(rois["roi"]), self.rois),
            gap=response_gap(self._temporal, self.tr, self.delays),
            frame_design=_by_frame(made),
            hashes={"stimuli": stimuli.sha256(), **_event_times(made)},
        )
        return stimuli, responses

    def _stimulus_set(self) -> StimulusSet:
        sampling_rate = own_rate(self.stimuli, self.sampling_rate)
        modality = self.modality or guess_modality(self.stimuli, sampling_rate)
        source = self.stimuli
        if self.carrier is not None:
            if modality != "language":
                raise InputError(
                    f"carrier is a phrase around texts, and the stimuli are {modality}: leave it out."
                )
            texts = StimulusSet(source, modality)  # which takes strings out of whatever a dataset returns
            source = carried([texts[i][1] for i in range(len(texts))], self.carrier)
        stimuli = StimulusSet(source, modality, sampling_rate)
        if len(stimuli) < 2:
            raise InputError("At least two stimuli are needed to relate features to responses, got one.")
        return stimuli

    def _paired(self, n_stimuli: int) -> tuple[list[str] | None, dict[str, Any], list[str] | None]:
        """Return stimulus ids, all that goes by rows, in one order, and the names of columns of responses."""
        responses, labels, columns = one_table(self.responses)
        events = None if self.events is None else events_table(self.events)
        given = {"responses": responses, "events": events}
        own = {"stimuli": index_of(self.stimuli)}
        of_stimuli, of_rows = dict(own), {"responses": labels}
        for what in ("runs", "volume_times", "nuisances"):
            given[what] = getattr(self, what)
            if given[what] is not None:
                of_rows[what] = index_of(given[what])
        if events is not None and not set(STIMULUS_COLUMNS) & set(events):
            is_file = isinstance(self.events, str | os.PathLike)  # nobody gave its rows an index
            of_stimuli["events"] = None if is_file else events.index
        ids = None
        if self.stimulus_ids is not None:
            index = index_of(self.stimulus_ids)
            order = None if index is None else row_orders(own | {"stimulus_ids": index})["stimulus_ids"]
            ids = pairing.as_names("stimulus_ids", take_rows(self.stimulus_ids, order), n_stimuli)
        names: list[Sequence[str]] = [] if ids is None else [ids]
        if paths := stimulus_paths(self.stimuli):
            names += [list(map(str, paths)), [path.name for path in paths], [path.stem for path in paths]]
        if self._temporal == "none":
            orders = row_orders(of_stimuli | of_rows, names)
        else:
            orders = row_orders(of_stimuli, names) | row_orders(of_rows)
        del orders["stimuli"]
        for what, order in orders.items():
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
    ) -> tuple[partial[tuple[Tensor, ...]] | None, Tensor | None]:
        """What makes the operators of a time series, and its volume times; None where rows are stimuli."""
        if self._temporal == "none":
            if self.events is not None:
                raise InputError("events were given but temporal='none': leave one of the two out.")
            clock = [name for name in ("tr", "volume_times") if getattr(self, name) is not None]
            if clock:
                raise InputError(
                    f"{' and '.join(clock)} belong to a time series, whose stimuli have onsets: give "
                    "events, or leave them out."
                )
            return None, None
        if self.events is None or self.tr is None:
            raise InputError(
                f"temporal={self._temporal!r} needs events (a table with 'onset' in seconds) and tr in "
                f"seconds, got events={'given' if self.events is not None else None}, tr={self.tr}."
            )
        check_tr(self.tr)
        paths = stimulus_paths(self.stimuli)
        events, places = pair_events(given["events"], len(stimuli), ids=ids, paths=paths)
        events = with_durations(events, places, stimuli)
        event_runs = None
        if "run" in events:
            event_runs = pairing.event_runs(events["run"], None if self.runs is None else numbers)
        elif len(set(runs.tolist())) > 1:
            raise InputError("events must have a column 'run' where there are several runs.")
        taken = None if given["volume_times"] is None else to_tensor("volume_times", given["volume_times"])
        times = volume_clock(runs, self.tr, taken)
        onsets = to_tensor("onset", events["onset"]).double()
        check_onsets(onsets, event_runs, times, runs, tr=self.tr, n_rois=n_rois)
        durations = None
        if "duration" in events:
            durations = to_tensor("duration", events["duration"]).double()
            check_durations(onsets, durations, event_runs, times, tr=self.tr)
        design = partial(
            volume_design,
            onsets,
            times,
            tr=self.tr,
            durations=durations,
            event_runs=event_runs,
            volume_runs=None if event_runs is None else runs,
            event_stimuli=places,
            n_stimuli=len(stimuli),
            temporal=self._temporal,
            hrf=self.hrf,
            delays=self.delays,
        )
        return design, times


def _by_frame(design: partial[tuple[Tensor, ...]] | None) -> Callable[[int], tuple[Tensor, ...]] | None:
    """Return `Responses.frame_design`: frames take up an event's time, so there is none for instants."""
    durations = None if design is None else design.keywords["durations"]
    if design is None or durations is None or not bool((durations > 0).all()):
        return None
    return partial(_frame_design, design)


def _event_times(design: partial[tuple[Tensor, ...]] | None) -> dict[str, str]:
    """Return the hash of onsets and durations: operators of whole stimuli may hide where frames are."""
    if design is None or design.keywords["durations"] is None:
        return {}
    onsets, known = design.args[0], design.keywords
    columns = [known["event_runs"], known["event_stimuli"], onsets, known["durations"]]
    told = [torch.zeros_like(onsets) if column is None else column.double() for column in columns]
    rows = sorted(torch.stack(told, dim=1).tolist())  # in whatever order events were listed
    return {"event_times": hashlib.sha256(repr(rows).encode()).hexdigest()}


def _frame_design(design: partial[tuple[Tensor, ...]], n_frames: int) -> tuple[Tensor, ...]:
    return design(n_frames=n_frames)


def _as_ceiling(given: Any, rois: Sequence[str], named: Any) -> Tensor | None:
    """Return (R,) ceilings in the order of `rois`, those of the responses; `named` is what the user gave."""
    if given is None:
        return None
    if named is not None and index_of(given) is None:
        own = [str(name) for name in (named["roi"] if isinstance(named, pd.DataFrame) else named)]
        if own != list(rois):
            raise InputError(
                f"noise_ceiling has no index, and rois ({', '.join(own[:3])}, ...) and the columns of "
                f"responses ({', '.join(rois[:3])}, ...) are in two orders: give a Series with the ROIs as "
                "its index."
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
        raise InputError(
            f"nuisances must be finite, got {int(wrong.sum())} NaN or infinite values in {where[:5]}: fill "
            "them in, or leave these regressors out."
        )
    return values, names
