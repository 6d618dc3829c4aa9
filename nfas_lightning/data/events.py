"""Events and volumes to the operators of `Responses.design`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nfas_lightning.functional.checks import check_option
from nfas_lightning.functional.hrf import HRFModel
from nfas_lightning.functional.temporal import fir_operators, hrf_operator

__all__ = ["TEMPORAL", "response_gap", "volume_design"]

TEMPORAL = ("hrf", "fir", "none")
# by then the canonical response has given 99 % of its absolute area
_RESPONSE_SECONDS = 20.0


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
) -> tuple[Tensor, ...]:
    """Build the operators that carry stimulus features to volumes.

    Args:
        onsets: (E,) seconds on the clock of `volume_times`.
        volume_times: (T,) seconds.
        tr: repetition time in seconds.
        durations: (E,) seconds, for which a stimulus lasts under either choice of `temporal`; None: instants.
        event_runs: (E,) run of each event; None: one run.
        volume_runs: (T,) run of each volume; None: one run.
        event_stimuli: (E,) stimulus of each event, whose events are summed; None: event n is stimulus n.
        n_stimuli: N, required with `event_stimuli`.
        temporal: ``"hrf"`` convolves with a haemodynamic response, ``"fir"`` averages features over the
            repetition time and stacks delays.
        hrf: ``"spm"`` or ``"glover"``.
        delays: delays of ``"fir"`` in volumes.

    Returns:
        One sparse (T, N) operator, or one a delay.

    Raises:
        ValueError: shapes differ, a time is not finite, or a run has events but no volume.
    """
    check_option("temporal", temporal, TEMPORAL[:2])
    if event_runs is not None and volume_runs is not None:
        lost = sorted(set(event_runs.tolist()) - set(volume_runs.tolist()))
        if lost:
            raise ValueError(f"Every run with events needs volumes, got none for the runs {lost}.")
    if temporal == "fir":
        operators = fir_operators(
            onsets,
            volume_times,
            tr=tr,
            delays=delays,
            durations=durations,
            event_runs=event_runs,
            volume_runs=volume_runs,
        )
    else:
        operator = hrf_operator(
            onsets,
            volume_times,
            tr=tr,
            durations=durations,
            hrf=hrf,
            event_runs=event_runs,
            volume_runs=volume_runs,
        )
        operators = (operator,)
    if event_stimuli is None or n_stimuli is None:
        return operators
    return tuple(_of_stimuli(operator, event_stimuli, n_stimuli) for operator in operators)


def _of_stimuli(operator: Tensor, event_stimuli: Tensor, n_stimuli: int) -> Tensor:
    """Sum the columns (T, E) of each stimulus's events: (T, N)."""
    row, column = operator.indices()
    summed = torch.sparse_coo_tensor(
        torch.stack([row, event_stimuli[column]]),
        operator.values(),
        (operator.shape[0], n_stimuli),
        check_invariants=True,
    )
    return summed.coalesce()


def response_gap(temporal: str, tr: float | None, delays: Sequence[int] = ()) -> int:
    """Volumes on either side of a test block whose response reaches into it.

    Example:
        >>> response_gap("hrf", 2.0), response_gap("fir", 2.0, (1, 2, 3, 4)), response_gap("none", None)
        (10, 4, 0)
    """
    if temporal == "none" or tr is None:
        return 0
    return max(delays) if temporal == "fir" else math.ceil(_RESPONSE_SECONDS / tr)
