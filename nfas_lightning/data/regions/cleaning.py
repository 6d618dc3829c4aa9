"""Cleaning of region time series before they are paired with stimuli."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from nfas_lightning.data.pairing import index_of, row_orders, take_rows
from nfas_lightning.data.values import to_tensor
from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_finite, check_shape
from nfas_lightning.functional.confounds import high_pass_basis, regress_out

SINGLE = 1e-6
"""Share of a series's size that is noise where it, or a regressor, was kept in float32: eight last places."""


def motion_regressors(motion: Tensor) -> Tensor:
    """Put the backward differences of (T, K) realignment parameters beside them: (T, 2K)."""
    check_shape("motion", motion, "T K")
    change = torch.diff(motion, dim=0, prepend=motion[:1])
    return torch.cat([motion, change], dim=1)


def clean_series(
    series: Tensor | NDArray[np.floating] | pd.DataFrame,
    *,
    tr: float,
    high_pass: float | None = 1 / 128,
    confounds: Tensor | NDArray[np.floating] | pd.DataFrame | None = None,
    drop_volumes: int = 0,
) -> Tensor:
    """Remove slow drifts and confounds in one regression, drop the first volumes and z-score.

    Drifts and confounds leave together: filtering first and regressing after would let unfiltered confounds
    carry the drifts back in. They are fitted to the whole scan, and volumes are dropped afterwards.

    Args:
        series: (T, R) time series of one run. A column of NaN, a parcel without voxels, stays so.
        tr: repetition time in seconds.
        high_pass: cut-off in Hz of the discrete cosine filter; None: only the mean is removed.
        confounds: (T, C) regressors, e.g. `motion_regressors`; a table goes by the index where `series` has
            the same.
        drop_volumes: volumes dropped at the start, after the regression.

    Returns:
        (T - drop_volumes, R), float64, each column with mean zero and unit standard deviation; NaN in the
        columns that are constant.
    """
    if confounds is not None:
        orders = row_orders({"series": index_of(series), "confounds": index_of(confounds)})
        confounds = take_rows(confounds, orders["confounds"])
    series = to_tensor("series", series)
    check_shape("series", series, "T R")
    check_finite("series", series[:, ~series.isnan().all(dim=0)])
    n_volumes = len(series)
    if not 0 <= drop_volumes <= n_volumes - 2:
        raise InputError(f"drop_volumes must leave two of the {n_volumes} volumes, got {drop_volumes}.")
    parts = [torch.zeros(n_volumes, 0, dtype=torch.float64)]
    if high_pass is not None:
        parts.append(high_pass_basis(n_volumes, tr, high_pass).double())
    if confounds is not None:
        parts.append(_confounds(confounds, n_volumes))
    residual = regress_out(series.double(), torch.cat(parts, dim=1))[drop_volumes:]
    # scans and the filter's cosines come in float32
    return zscore(residual, size=series.abs().amax(dim=0), rounding=SINGLE)


def _confounds(given: Tensor | NDArray[np.floating] | pd.DataFrame, n_volumes: int) -> Tensor:
    values = to_tensor("confounds", given).double()
    check_shape("confounds", values, "T C", T=n_volumes)
    wrong = (~values.isfinite()).sum(dim=0)
    if bool(wrong.any()):
        names = list(given.columns) if isinstance(given, pd.DataFrame) else list(range(values.shape[1]))
        lost = {names[place]: int(wrong[place]) for place in wrong.nonzero()[:5, 0].tolist()}
        raise InputError(
            f"confounds must be finite, got NaN or infinite values in these columns: {lost}. Fill the first "
            "row of a derivative with 0."
        )
    return values


def zscore(
    series: Tensor, dim: int = 0, *, size: Tensor | None = None, rounding: float | None = None
) -> Tensor:
    """Standardize along a dimension, NaN left out; what is constant becomes NaN. See `center_and_scale`."""
    center, scale = center_and_scale(series, dim, size=size, rounding=rounding)
    return (series - center) / scale


def center_and_scale(
    series: Tensor, dim: int = 0, *, size: Tensor | None = None, rounding: float | None = None
) -> tuple[Tensor, Tensor]:
    """Return the mean and the population standard deviation along a dimension, NaN left out.

    A deviation no larger than rounding noise is that of a constant, NaN. The noise is the share `rounding`
    (None: eight last places; `SINGLE` for what was computed in double precision from single) of `size`, the
    largest absolute value of what `series` was computed from (None: of `series`, unless a regression emptied
    it).
    """
    center = series.nanmean(dim=dim, keepdim=True)
    scale = (series - center).square().nanmean(dim=dim, keepdim=True).sqrt()
    if size is None:
        size = series.nan_to_num().abs().amax(dim=dim)
    if rounding is None:
        rounding = 8 * torch.finfo(series.dtype).eps
    return center, torch.where(scale <= rounding * size.unsqueeze(dim), torch.nan, scale)
