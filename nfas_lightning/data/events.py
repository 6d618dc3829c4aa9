"""The clock of a time series, and the operators that carry stimuli to its volumes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_finite, check_option, check_shape
from nfas_lightning.functional.hrf import HRFModel
from nfas_lightning.functional.temporal import fir_operators, hrf_operator

TEMPORAL = ("hrf", "fir", "none")
_LONGEST_TR = 60.0  # seconds; sparse sampling stays below, milliseconds do not
_OVERLAP = 50  # a typical event lasts this many times the distance to the next: milliseconds beside seconds
_TOLERANCE = 0.1  # share of tr by which the median spacing of volumes may differ
_RESPONSE_SECONDS = 20.0  # by then the canonical response has given 99 % of its absolute area


def check_tr(tr: float) -> None:
    """Refuse a repetition time that is no positive number, or is in milliseconds."""
    if not tr > 0:
        raise InputError(f"tr must be a positive number of seconds, got {tr}.")
    if tr > _LONGEST_TR:
        raise InputError(f"tr must be seconds, got {tr:g}: divide milliseconds by 1000.")


def volume_clock(runs: Tensor, tr: float, given: Tensor | None = None) -> Tensor:
    """Return the time of each volume since its run began, (T,) float64 seconds.

    Args:
        runs: (T,) run of each volume.
        tr: repetition time in seconds.
        given: (T,) times that somebody wrote down; None: multiples of `tr`.
    """
    times = torch.zeros(len(runs), dtype=torch.float64) if given is None else given.double()
    check_shape("volume_times", times, "T", T=len(runs))
    check_finite("volume_times", times)
    for run in torch.unique(runs):
        rows = (runs == run).nonzero()[:, 0]
        if given is None:
            times[rows] = torch.arange(len(rows), dtype=torch.float64) * tr
            continue
        steps = times[rows].diff()
        for place in (steps <= 0).nonzero()[:, 0]:
            before, row = rows[place], rows[place + 1]
            raise InputError(
                f"volume_times must ascend within a run, got {times[before]:g} s and then {times[row]:g} s "
                f"in row {row} (counted from 0): name runs in runs."
            )
        spacing = float(steps.median()) if len(steps) else tr
        if abs(spacing - tr) > _TOLERANCE * tr:
            raise InputError(
                f"tr must be the distance between volumes, got tr={tr:g} s and volume_times that lie "
                f"{spacing:g} s apart (median)."
            )
    return times


def check_onsets(
    onsets: Tensor, event_runs: Tensor | None, times: Tensor, runs: Tensor, *, tr: float, n_rois: int
) -> None:
    """Refuse onsets on another clock than the volumes', and warn of events after the last volume.

    Onsets and `event_runs` (None: one run) are (E,), `times` of `volume_clock` and `runs` (T,).
    """
    end = torch.full_like(onsets, float(times.max()) + tr)
    if event_runs is not None:
        for run in torch.unique(event_runs):
            end[event_runs == run] = float(times[runs == run].max()) + tr
    late = int((onsets >= end).sum())
    if not late:
        return
    ends = ", ".join(f"{value:g} s" for value in torch.unique(end).tolist()[:5])
    said = f"{late} of {len(onsets)} events begin after the last volume ends ({ends})"
    if late <= len(onsets) / 2:
        warnings.warn(f"{said}: there is no response to them.", stacklevel=2)
    elif len(times) < n_rois and float(onsets.max()) < n_rois * tr:
        raise InputError(
            f"responses must be volumes x ROIs, got {len(times)} volumes and {n_rois} ROIs, and {said}. Are "
            "the axes exchanged?"
        )
    else:
        raise InputError(
            f"onset must be seconds since the run began, but {said}, with tr={tr:g} s. Divide milliseconds "
            "by 1000."
        )


def check_durations(
    onsets: Tensor, durations: Tensor, event_runs: Tensor | None, times: Tensor, *, tr: float
) -> None:
    """Refuse durations (E,) in another unit than the onsets' (E,); other arguments as in `check_onsets`."""
    typical, longest = float(durations.median()), float(times.max()) + tr
    labels = torch.zeros(len(onsets)) if event_runs is None else event_runs
    steps = torch.cat([torch.unique(onsets[labels == run]).diff() for run in torch.unique(labels)])
    step = float(steps.median()) if len(steps) else longest
    if (len(onsets) > 1 and typical > max(longest, step)) or typical > _OVERLAP * step:
        raise InputError(
            f"duration must be seconds, got a median of {typical:g} for events that begin {step:g} s apart "
            f"in runs of at most {longest:g} s: divide milliseconds by 1000."
        )


def volume_design(
    onsets: Tensor,
    volume_times: Tensor,
    *,
    tr: float,
    durations: Tensor | None = None,
    event_runs: Tensor | None = None,
    volume_runs: Tensor | None = None,
    event_stimuli: Tensor | None = None,
    n_stimuli: int | None = None,
    temporal: str = "hrf",
    hrf: HRFModel = "spm",
    delays: Sequence[int] = (1, 2, 3, 4),
    n_frames: int = 1,
) -> tuple[Tensor, ...]:
    """Build the operators that carry stimulus features to volumes: one sparse (T, N), or one per delay.

    Args:
        onsets: (E,) seconds on the clock of `volume_times`.
        volume_times: (T,) seconds.
        tr: repetition time in seconds.
        durations: (E,) seconds, for which a stimulus lasts; None: instants.
        event_runs: (E,) run of each event; None: one run.
        volume_runs: (T,) run of each volume; None: one run.
        event_stimuli: (E,) stimulus of each event, whose events are summed; None: event n is stimulus n.
        n_stimuli: N, required with `event_stimuli`.
        temporal: ``"hrf"`` convolves with a haemodynamic response, ``"fir"`` averages features over the
            repetition time and stacks delays.
        hrf: ``"spm"`` or ``"glover"``.
        delays: delays of ``"fir"`` in volumes.
        n_frames: F frames that fill each event evenly and are stimuli of their own, columns n * F + f; takes
            durations.
    """
    check_option("temporal", temporal, TEMPORAL[:2])
    of_events, of_volumes = (set(() if runs is None else runs.tolist()) for runs in (event_runs, volume_runs))
    if of_volumes and (lost := sorted(of_events - of_volumes)):
        raise InputError(f"Every run with events needs volumes, got none for the runs {lost}.")
    if n_frames > 1:
        assert durations is not None  # `Responses.frame_design` is there for events that last
        frames = torch.arange(n_frames, device=onsets.device)
        stimuli = torch.arange(len(onsets)) if event_stimuli is None else event_stimuli
        n_stimuli = n_frames * (len(onsets) if n_stimuli is None else n_stimuli)
        event_stimuli = (stimuli[:, None] * n_frames + frames).flatten()
        durations = durations / n_frames
        onsets = (onsets[:, None] + durations[:, None] * frames).flatten()
        durations = durations.repeat_interleave(n_frames)
        event_runs = None if event_runs is None else event_runs.repeat_interleave(n_frames)
    given: dict[str, Any] = {
        "tr": tr, "durations": durations, "event_runs": event_runs, "volume_runs": volume_runs
    }  # fmt: skip
    if temporal == "fir":
        operators = fir_operators(onsets, volume_times, delays=delays, **given)
    else:
        operators = (hrf_operator(onsets, volume_times, hrf=hrf, **given),)
    if event_stimuli is None or n_stimuli is None:
        return operators
    return tuple(_of_stimuli(operator, event_stimuli, n_stimuli) for operator in operators)


def _of_stimuli(operator: Tensor, event_stimuli: Tensor, n_stimuli: int) -> Tensor:
    """Sum the columns (T, E) of each stimulus's events: (T, N)."""
    row, column = operator.indices()
    place, shape = torch.stack([row, event_stimuli[column]]), (operator.shape[0], n_stimuli)
    return torch.sparse_coo_tensor(place, operator.values(), shape, check_invariants=True).coalesce()


def response_gap(temporal: str, tr: float | None, delays: Sequence[int] = ()) -> int:
    """Volumes on either side of a test block whose response reaches into it.

    Example:
        >>> response_gap("hrf", 2.0), response_gap("fir", 2.0, (1, 2, 3, 4)), response_gap("none", None)
        (10, 4, 0)
    """
    if temporal == "none" or tr is None:
        return 0
    return max(delays) if temporal == "fir" else math.ceil(_RESPONSE_SECONDS / tr)
