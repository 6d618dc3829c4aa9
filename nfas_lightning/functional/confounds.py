"""Slow drifts and other confounds, and their removal from time series."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import (
    check_finite,
    check_shape,
    is_constant,
    with_float64,
    working_dtype,
)
from nfas_lightning.functional.missing import column_patterns

__all__ = ["high_pass_basis", "regress_out", "regress_out_ar1"]

_AR1_STEP, _AR1_LARGEST = 0.01, 0.99  # coefficients are rounded, so that many columns share a fit


def high_pass_basis(n_volumes: int, tr: float, cutoff_hz: float = 1 / 128) -> Tensor:
    r"""Return the discrete cosines slower than a cut-off, the drifts of a scanner.

    .. math:: c_k(t) = \sqrt{2 / T} \cos(\pi k (t + 1/2) / T), \quad k = 1 .. \lfloor 2\, T\, tr\, f \rfloor

    Args:
        n_volumes: T.
        tr: repetition time in seconds.
        cutoff_hz: f; slower fluctuations are spanned.

    Returns:
        (T, K) float32, orthonormal and orthogonal to the constant, which is not among them; at most T - 1.

    Raises:
        ValueError: a size, time or frequency that is not positive.

    Example:
        >>> high_pass_basis(100, 2.0).shape
        torch.Size([100, 3])
    """
    if n_volumes < 1 or not tr > 0 or not cutoff_hz > 0:
        raise InputError(
            f"n_volumes, tr and cutoff_hz must be positive, got {n_volumes}, {tr} and {cutoff_hz}."
        )
    # the slack keeps 2 T tr f = 3 at 3 where the product rounds to 2.999...
    order = min(n_volumes - 1, math.floor(2 * n_volumes * tr * cutoff_hz + 1e-9))
    t = torch.arange(n_volumes, dtype=torch.float64)[:, None] + 0.5
    k = torch.arange(1, order + 1, dtype=torch.float64)
    return (math.sqrt(2 / n_volumes) * torch.cos(math.pi / n_volumes * t * k)).float()


@with_float64
def regress_out(Y: Tensor, confounds: Tensor, runs: Tensor | None = None) -> Tensor:
    r"""Remove confounds from time series by least squares, run by run.

    .. math:: Y - Q Q^\top Y, \quad Q\ \text{an orthonormal basis of}\ [\mathbf 1, C]

    The intercept goes too: every column of every run has mean 0 afterwards. Redundant confounds do no harm.

    Args:
        Y: (..., T, R) time series. NaN rows are left out of a column's fit and stay NaN.
        confounds: (T, Q) regressors.
        runs: (T,) run of each volume, each with coefficients of its own; None: one run.

    Returns:
        (..., T, R) residuals in the dtype of `Y`, float32 at least; computed in float64.

    Raises:
        ValueError: shapes that disagree, or confounds that are not finite.

    Example:
        >>> t = torch.arange(6.0)[:, None]
        >>> regress_out(3 * t + 2, t).abs().max().item() < 1e-5
        True
    """
    check_shape("confounds", confounds, "T Q")
    check_finite("confounds", confounds)
    n_volumes = len(confounds)
    if Y.ndim < 2 or Y.shape[-2] != n_volumes:
        raise InputError(f"Y must have shape (..., T={n_volumes}, R), got {tuple(Y.shape)}.")
    if runs is None:
        runs = torch.zeros(n_volumes, dtype=torch.long, device=Y.device)
    check_shape("runs", runs, "T", T=n_volumes)
    columns = Y.double().movedim(-2, 0).reshape(n_volumes, -1)
    cleaned = torch.full_like(columns, float("nan"))
    for run in torch.unique(runs):
        rows = (runs == run).nonzero()[:, 0]
        for members, observed in column_patterns(columns[rows]):
            kept = rows[observed]
            if len(kept):
                Q = _orthonormal(confounds[kept].double())
                part = columns[kept[:, None], members]
                residual = part - Q @ (Q.T @ part)
                still = is_constant(part.amax(0) - part.amin(0), part.abs().amax(0), working_dtype(Y))
                cleaned[kept[:, None], members] = residual * ~still
    shape = (n_volumes, *Y.shape[:-2], Y.shape[-1])
    return cleaned.reshape(shape).movedim(0, -2).to(working_dtype(Y))


@with_float64
def regress_out_ar1(Y: Tensor, confounds: Tensor, runs: Tensor | None = None) -> Tensor:
    r"""Remove confounds from time series whose noise is autocorrelated, by generalized least squares.

    Least squares takes out of a slow series what slow confounds happen to share with it, so residuals are
    quicker than the noise was. Here confounds and series are whitened first by an AR(1) model of a column's
    residuals, :math:`e_t = \rho\, e_{t-1} + w_t`, which takes out less by accident. One set of coefficients
    serves all runs.

    Args:
        Y: (T, R) time series. NaN rows are left out of a column's fit and stay NaN.
        confounds: (T, Q) regressors.
        runs: (T,) run of each volume: noise does not go on from run to run; None: one run.

    Returns:
        (T, R) residuals in the dtype of `Y`, float32 at least; computed in float64.

    Raises:
        ValueError: as `regress_out`.

    Reference:
        Prais and Winsten (1954), Cowles Commission Discussion Paper 383.

    Example:
        >>> t = torch.arange(6.0)[:, None]
        >>> regress_out_ar1(3 * t + 2, t).abs().max().item() < 1e-5
        True
    """
    residual = regress_out(Y, confounds).double()
    runs = torch.zeros(len(Y), dtype=torch.long, device=Y.device) if runs is None else runs
    columns, regressors = Y.double(), confounds.double()
    for _ in range(2):  # the first residuals are those of least squares: their coefficient is too small
        cleaned = torch.full_like(columns, float("nan"))
        for members, observed in column_patterns(columns):
            kept = observed.nonzero()[:, 0]
            if not len(kept):
                continue
            follows = (kept.diff() == 1) & (runs[kept].diff() == 0)
            rho = _ar1_coefficient(residual[kept[:, None], members], follows)
            Q = _orthonormal(regressors[kept])
            for value in torch.unique(rho):
                of_value = members[rho == value]
                part = columns[kept[:, None], of_value]
                weights = torch.linalg.pinv(_whiten(Q, value, follows)) @ _whiten(part, value, follows)
                cleaned[kept[:, None], of_value] = part - Q @ weights
        residual = cleaned
    return residual.to(working_dtype(Y))


def _ar1_coefficient(residual: Tensor, follows: Tensor) -> Tensor:
    """Return rho (R,) of residuals (T, R), rounded to hundredths; `follows` (T - 1,): t + 1 comes after t.

    The lag-one autocorrelation of n values is too small by about (1 + 4 rho) / n (Kendall 1954).
    """
    centered = residual - residual.mean(0)
    product = (centered[1:] * centered[:-1])[follows].sum(0)
    rho = product / centered.square().sum(0)
    rho = rho.nan_to_num(nan=0.0) + (1 + 4 * rho.nan_to_num(nan=0.0)) / len(residual)
    steps = (rho / _AR1_STEP).round()
    return steps.clamp(0, round(_AR1_LARGEST / _AR1_STEP)) * _AR1_STEP


def _whiten(Z: Tensor, rho: Tensor, follows: Tensor) -> Tensor:
    """Return rows (T, K) less rho times the row before; the first of a run is given the same variance."""
    white = Z * (1 - rho**2).sqrt()
    later = follows.nonzero()[:, 0] + 1
    white[later] = Z[later] - rho * Z[later - 1]
    return white


def _orthonormal(confounds: Tensor) -> Tensor:
    """Orthonormal basis of the constant and the confounds (T, Q); redundant directions are dropped."""
    ones = confounds.new_full((len(confounds), 1), len(confounds) ** -0.5)
    # brought to one scale first, or confounds in small units would pass for rounding
    centered = confounds - confounds.mean(0)
    largest = centered.abs().amax(0)
    varies = ~is_constant(largest, confounds.abs().amax(0), torch.float64)
    U, S, _ = torch.linalg.svd(centered[:, varies] / largest[varies], full_matrices=False)
    floor = max(centered.shape) * torch.finfo(torch.float64).eps
    kept = floor * S.max() < S if len(S) else torch.ones_like(S, dtype=torch.bool)
    return torch.cat([ones, U[:, kept]], 1)
