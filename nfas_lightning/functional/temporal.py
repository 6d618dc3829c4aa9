"""From stimuli to volumes: hemodynamic convolution and finite impulse responses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import (
    check_count,
    check_finite,
    check_option,
    check_shape,
    working_dtype,
)
from nfas_lightning.functional.hrf import HRF_LENGTH, HRFModel, hrf_integral
from nfas_lightning.functional.hrf import hrf as impulse_response

__all__ = ["Resampling", "fir_operators", "hrf_operator"]

Resampling = Literal["average", "sum", "lanczos"]

# A volume's clock is often a rounded product n * tr: an onset this share of a TR before a bin is inside it.
_CLOCK_SLACK = 1e-6
# An overlap of a smaller share of a TR is that rounding, not a part of the event.
_LEAST_OVERLAP = 1e-5
_LANCZOS_LOBES = 3


def hrf_operator(
    onsets: Tensor,
    volume_times: Tensor,
    *,
    tr: float,
    durations: Tensor | None = None,
    hrf: HRFModel = "spm",
    slice_time_reference: float = 0.0,
    event_runs: Tensor | None = None,
    volume_runs: Tensor | None = None,
) -> Tensor:
    r"""Build the operator that convolves event features with a hemodynamic response.

    With h of unit area and :math:`G(t) = \int_0^t h`, the volume acquired at t answers event n by

    .. math::
        A_{tn} = h(t - o_n) \ \text{if}\ d_n = 0, \quad
        A_{tn} = G(t - o_n) - G(t - o_n - d_n)\ \text{else}.

    An event with a duration is a boxcar of height 1, so a long one levels off at 1; an event without is an
    impulse of area 1 s, about what a boxcar of one second gives. The integrals are closed forms: no time grid
    and no rounding of onsets to one.

    Args:
        onsets: (N,) seconds since the start of the run. Events before the first volume still answer in later
            ones.
        volume_times: (T,) seconds at which each volume's acquisition starts, since the start of the run.
        tr: repetition time in seconds.
        durations: (N,) seconds, 0 for an impulse; None: all impulses.
        hrf: ``"spm"`` or ``"glover"``.
        slice_time_reference: the moment of a volume's acquisition that its values stand for, as a share
            of the TR: 0 its start, 0.5 its middle.
        event_runs: (N,) run of each event; None: one run. Goes together with `volume_runs`.
        volume_runs: (T,) run of each volume. No event reaches another run.

    Returns:
        Sparse COO (T, N), float32, or float64 where the times are.

    Raises:
        ValueError: shapes that disagree, times that are not finite, a negative duration, or one of the two
            run vectors alone.

    Reference:
        Friston et al. (1998), NeuroImage 7, 30-40, doi:10.1006/nimg.1997.0306.

    Example:
        >>> A = hrf_operator(torch.tensor([4.0]), 2.0 * torch.arange(12), tr=2.0)
        >>> A.to_dense()[:, 0].argmax().item() * 2.0  # 5 s to the peak
        10.0
    """
    _check_times(onsets, volume_times, tr, event_runs, volume_runs)
    lengths = _checked_durations(durations, onsets)
    if not 0 <= slice_time_reference <= 1:
        raise InputError(f"slice_time_reference must lie in [0, 1], got {slice_time_reference}.")
    starts = onsets.double()
    times = volume_times.double() + slice_time_reference * tr
    row, column = _pairs(times, starts, starts + lengths + HRF_LENGTH, event_runs, volume_runs)
    since, length = times[row] - starts[column], lengths[column]
    boxcar = hrf_integral(since, hrf) - hrf_integral(since - length, hrf)
    values = torch.where(length > 0, boxcar, impulse_response(since, hrf))
    return _sparse(row, column, values, onsets, volume_times)


def fir_operators(
    onsets: Tensor,
    volume_times: Tensor,
    *,
    tr: float,
    delays: Sequence[int] = (1, 2, 3, 4),
    durations: Tensor | None = None,
    resample: Resampling = "average",
    event_runs: Tensor | None = None,
    volume_runs: Tensor | None = None,
) -> tuple[Tensor, ...]:
    r"""Build one operator per delay that resamples event features to the TR and lags them.

    Row t of delay d looks at the TR that began d TRs before volume t, [t - d tr, t - d tr + tr). An event
    counts with the seconds of it that lie in that TR; one without a duration counts as 1 s where its onset
    is, as in `hrf_operator`.

    - ``"average"``: the mean of the events in it, weighted so; 0 where there is none;
    - ``"sum"``: their weighted sum;
    - ``"lanczos"``: a low-pass of the train of events at the volumes' Nyquist frequency, with weights
      :math:`\mathrm{sinc}(u)\,\mathrm{sinc}(u / 3)`, u the distance in TRs from the middle of the event to
      the middle of that TR, ``|u| < 3``, times the event's seconds. Like ``"sum"`` it grows with the rate of
      events.

    Side by side the delayed features let the regression find each ROI's own response.

    Args:
        onsets: (N,) seconds since the start of the run.
        volume_times: (T,) seconds at which each volume's acquisition starts, since the start of the run.
        tr: repetition time in seconds.
        delays: in TRs, non-negative, each once.
        durations: (N,) seconds, 0 for an instant; None: all instants.
        resample: ``"average"``, ``"sum"`` or ``"lanczos"``.
        event_runs: (N,) run of each event; None: one run. Goes together with `volume_runs`.
        volume_runs: (T,) run of each volume. No event reaches another run.

    Returns:
        One sparse COO (T, N) per delay, float32, or float64 where the times are.

    Raises:
        ValueError: shapes that disagree, times that are not finite, a negative duration, delays that are
            negative, repeated or no whole numbers, or one of the two run vectors alone.

    Reference:
        Huth et al. (2016), Nature 532, 453-458, doi:10.1038/nature17637.

    Example:
        >>> one, two = fir_operators(
        ...     torch.tensor([0.1, 0.9, 1.5]), torch.arange(4.0), tr=1.0, delays=(1, 2)
        ... )
        >>> one.to_dense()
        tensor([[0.0000, 0.0000, 0.0000],
                [0.5000, 0.5000, 0.0000],
                [0.0000, 0.0000, 1.0000],
                [0.0000, 0.0000, 0.0000]])
    """
    _check_times(onsets, volume_times, tr, event_runs, volume_runs)
    check_option("resample", resample, get_args(Resampling))
    for delay in delays:  # half a TR would be an operator like any other
        check_count("delays", delay, 0, unit="volumes")
    if not delays or len(set(delays)) < len(delays):
        raise InputError(f"delays must be non-negative numbers of TRs, each once, got {tuple(delays)}.")
    length = _checked_durations(durations, onsets) / tr
    starts, times = onsets.double() / tr + _CLOCK_SLACK, volume_times.double() / tr
    operators = []
    for delay in delays:
        if resample == "lanczos":
            middles, centers = starts + length / 2, times - delay + 0.5
            row, column = _pairs(
                centers, middles - _LANCZOS_LOBES, middles + _LANCZOS_LOBES, event_runs, volume_runs
            )
            distance = centers[row] - middles[column] + _CLOCK_SLACK
            values = torch.sinc(distance) * torch.sinc(distance / _LANCZOS_LOBES)
            values = values * torch.where(length[column] > 0, length[column] * tr, 1.0)
        else:
            # volume t holds [t - d, t - d + 1) of an event from o to o + n, where o + d - 1 < t <= o + n + d
            row, column = _pairs(times, starts + delay - 1, starts + length + delay, event_runs, volume_runs)
            row, column, values = _overlaps(times - delay, starts, length, row, column, tr)
            if resample == "average":
                total = torch.zeros_like(times).index_add_(0, row, values)
                values = values / total[row]
        operators.append(_sparse(row, column, values, onsets, volume_times))
    return tuple(operators)


def _overlaps(
    begins: Tensor, starts: Tensor, length: Tensor, row: Tensor, column: Tensor, tr: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pairs that share time, and the seconds that they share; an instant counts as one."""
    start, stop = starts[column], (starts + length)[column]
    shared = torch.minimum(stop, begins[row] + 1) - torch.maximum(start, begins[row])
    instant = length[column] == 0
    kept = instant | (shared > _LEAST_OVERLAP)
    return row[kept], column[kept], torch.where(instant, 1.0, shared * tr)[kept]


def _check_times(
    onsets: Tensor, volume_times: Tensor, tr: float, event_runs: Tensor | None, volume_runs: Tensor | None
) -> None:
    """Validate the two clocks."""
    check_shape("onsets", onsets, "N")
    check_shape("volume_times", volume_times, "T")
    check_finite("onsets", onsets)
    check_finite("volume_times", volume_times)
    if not tr > 0:
        raise InputError(f"tr must be a positive number of seconds, got {tr}.")
    if (event_runs is None) != (volume_runs is None):
        raise InputError("event_runs and volume_runs go together: give both, or neither for one run.")
    if event_runs is not None and volume_runs is not None:
        check_shape("event_runs", event_runs, "N", N=len(onsets))
        check_shape("volume_runs", volume_runs, "T", T=len(volume_times))


def _checked_durations(durations: Tensor | None, onsets: Tensor) -> Tensor:
    """Return the events' seconds (N,), float64; None: all instants."""
    durations = torch.zeros_like(onsets) if durations is None else durations
    check_shape("durations", durations, "N", N=len(onsets))
    check_finite("durations", durations)
    if bool((durations < 0).any()):
        raise InputError(f"durations must be 0 or more seconds, got {durations.min().item():g}.")
    return durations.double()


def _pairs(
    times: Tensor, start: Tensor, stop: Tensor, event_runs: Tensor | None, volume_runs: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return (volume, event) index pairs with start < time <= stop inside one run, without a T x N table."""
    found = list(_pairs_by_run(times, start, stop, event_runs, volume_runs))
    if not found:
        nothing = torch.zeros(0, dtype=torch.long, device=times.device)
        return nothing, nothing
    row, column = zip(*found, strict=True)
    return torch.cat(row), torch.cat(column)


def _pairs_by_run(
    times: Tensor, start: Tensor, stop: Tensor, event_runs: Tensor | None, volume_runs: Tensor | None
) -> Iterator[tuple[Tensor, Tensor]]:
    if event_runs is None or volume_runs is None:
        event_runs = torch.zeros(len(start), dtype=torch.long, device=times.device)
        volume_runs = torch.zeros(len(times), dtype=torch.long, device=times.device)
    for run in torch.unique(event_runs):
        events, volumes = ((runs == run).nonzero()[:, 0] for runs in (event_runs, volume_runs))
        ordered, order = times[volumes].sort()
        first = torch.searchsorted(ordered, start[events], right=True)
        count = torch.searchsorted(ordered, stop[events], right=True) - first
        column = torch.repeat_interleave(torch.arange(len(events), device=times.device), count)
        # position of each pair inside its event's stretch of volumes
        step = torch.arange(len(column), device=times.device) - (count.cumsum(0) - count)[column]
        yield volumes[order[first[column] + step]], events[column]


def _sparse(row: Tensor, column: Tensor, values: Tensor, onsets: Tensor, volume_times: Tensor) -> Tensor:
    """Assemble the coalesced (T, N) operator in the dtype of the clocks."""
    return torch.sparse_coo_tensor(
        torch.stack([row, column]),
        values.to(working_dtype(onsets, volume_times)),
        (len(volume_times), len(onsets)),
        check_invariants=True,
    ).coalesce()
