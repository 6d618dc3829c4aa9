"""Correlate predicted with observed responses."""

from __future__ import annotations

import warnings
from typing import Literal, get_args

import torch
from torch import Tensor

from nfas_lightning.functional.checks import check_option, check_shape, is_constant, working_dtype

__all__ = ["MIN_ROWS", "Negative", "average_folds", "correlate", "pearson", "squared_correlation"]

Negative = Literal["clip", "square"]

MIN_ROWS = 3
"""Rows that a fold needs to be scored: two points always lie on a line, and r would be 1 or -1."""


def pearson(preds: Tensor, target: Tensor) -> Tensor:
    r"""Correlate predicted with observed responses, one ROI at a time.

    .. math:: r = \frac{\sum_t (\hat y_t - \bar{\hat y})(y_t - \bar y)}
              {\sqrt{\sum_t (\hat y_t - \bar{\hat y})^2 \sum_t (y_t - \bar y)^2}}

    Every column is centered and brought to a largest deviation of 1 before it is squared, so neither tiny nor
    huge units under- or overflow.

    Args:
        preds: (T, R) predictions.
        target: (T, R) responses. Rows where either is NaN are left out, per ROI.

    Returns:
        (R,) r in [-1, 1]; large is good. NaN, with a warning, where either side is constant or fewer than two
        rows are observed. float32 for half and single precision, else float64.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> t = torch.linspace(0, 1, 5)[:, None]
        >>> pearson(torch.cat([t, -t], 1), torch.cat([t, t], 1))
        tensor([ 1., -1.])
    """
    check_shape("preds", preds, "T R")
    check_shape("target", target, "T R", T=preds.shape[0], R=preds.shape[1])
    r = correlate(preds, target)
    undefined = int(r.isnan().sum())
    if undefined:
        warnings.warn(
            f"{undefined} of {len(r)} ROIs have a constant prediction or response, or fewer than two "
            "observed rows: their correlation is NaN.",
            stacklevel=2,
        )
    return r


def correlate(preds: Tensor, target: Tensor) -> Tensor:
    """Return `pearson` over the first axis of (T, ...) tensors, without its checks and its warning."""
    dtype = working_dtype(preds, target)
    observed = ~(preds.isnan() | target.isnan())
    x, y = _unit_deviations(preds.to(dtype), observed), _unit_deviations(target.to(dtype), observed)
    r = (x * y).sum(0) / ((x * x).sum(0).sqrt() * (y * y).sum(0).sqrt())
    return r.clamp(-1, 1)


def average_folds(scored: Tensor, observed: Tensor) -> Tensor:
    """Average (..., folds, R) scores over the folds in which an ROI was observed; a NaN among those stays."""
    return torch.where(observed, scored, torch.zeros_like(scored)).sum(-2) / observed.sum(-2)


def _unit_deviations(values: Tensor, observed: Tensor) -> Tensor:
    """Center each column over its observed rows, divide by its largest deviation; a constant becomes NaN."""
    values = torch.where(observed, values, torch.zeros_like(values))
    scale = values.abs().amax(0)
    values = values / torch.where(scale > 0, scale, torch.ones_like(scale))
    deviations = torch.where(observed, values - values.sum(0) / observed.sum(0), torch.zeros_like(values))
    largest = deviations.abs().amax(0)
    still = is_constant(largest, 1.0, values.dtype)  # the largest value is one by now
    return deviations / largest.masked_fill(still, float("nan"))


def squared_correlation(r: Tensor, negative: Negative = "clip") -> Tensor:
    """Square correlations into scores.

    Args:
        r: correlations of any shape.
        negative: ``"clip"`` scores an anti-prediction 0, max(r, 0)^2; ``"square"`` scores it r^2.

    Returns:
        Scores in [0, 1] of the same shape; large is good. NaN stays NaN.

    Raises:
        ValueError: an unknown option.

    Example:
        >>> squared_correlation(torch.tensor([0.5, -0.5]))
        tensor([0.2500, 0.0000])
    """
    check_option("negative", negative, get_args(Negative))
    return (r.clamp(min=0) if negative == "clip" else r) ** 2
