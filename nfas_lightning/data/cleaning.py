"""Cleaning of region time series before they are paired with stimuli."""

from __future__ import annotations

import torch
from torch import Tensor

from nfas_lightning.functional.checks import check_finite, check_shape
from nfas_lightning.functional.temporal import high_pass_basis, regress_out

__all__ = ["clean_series", "motion_regressors", "zscore"]


def motion_regressors(motion: Tensor) -> Tensor:
    """Put the backward differences of the realignment parameters beside them.

    Args:
        motion: (T, K) parameters of one subject, in any unit.

    Returns:
        (T, 2K): the parameters, then what they changed by since the volume before (zero for the first).
    """
    check_shape("motion", motion, "T K")
    change = torch.diff(motion, dim=0, prepend=motion[:1])
    return torch.cat([motion, change], dim=1)


def clean_series(
    series: Tensor,
    *,
    tr: float,
    high_pass: float | None = 1 / 128,
    confounds: Tensor | None = None,
    drop_volumes: int = 0,
) -> Tensor:
    """Remove slow drifts and confounds in one regression, drop the first volumes and z-score.

    Drifts and confounds leave together: filtering first and regressing after would let unfiltered
    confounds carry the drifts back in.

    Args:
        series: (T, R) time series of one run.
        tr: repetition time in seconds.
        high_pass: cut-off in Hz of the discrete cosine filter; None: only the mean is removed.
        confounds: (T, C) regressors, e.g. `motion_regressors`.
        drop_volumes: volumes dropped at the start, after the regression.

    Returns:
        (T - drop_volumes, R), float64, each column with mean zero and unit standard deviation; NaN in the
        columns that are constant.

    Raises:
        ValueError: a shape differs, a value is not finite, or fewer than two volumes are left.
    """
    check_shape("series", series, "T R")
    check_finite("series", series)
    n_volumes = len(series)
    if not 0 <= drop_volumes <= n_volumes - 2:
        raise ValueError(f"drop_volumes must leave two of the {n_volumes} volumes, got {drop_volumes}.")
    parts = [torch.zeros(n_volumes, 0, dtype=torch.float64)]
    if high_pass is not None:
        parts.append(high_pass_basis(n_volumes, tr, high_pass).double())
    if confounds is not None:
        check_shape("confounds", confounds, "T C", T=n_volumes)
        check_finite("confounds", confounds)
        parts.append(confounds.double())
    residual = regress_out(series.double(), torch.cat(parts, dim=1))[drop_volumes:]
    # what a regression empties keeps rounding noise of the size of the raw signal's
    empty = residual.std(dim=0) <= 1e-10 * series.abs().amax(dim=0)
    return zscore(residual.masked_fill(empty, 0.0))


def zscore(series: Tensor) -> Tensor:
    """Standardise the columns of a (T, K) tensor; a constant column becomes NaN, never zero."""
    centred = series - series.mean(dim=0)
    scale = centred.std(dim=0, correction=0)
    rounding = 8 * torch.finfo(series.dtype).eps * series.abs().amax(dim=0)
    return centred / torch.where(scale <= rounding, torch.nan, scale)
