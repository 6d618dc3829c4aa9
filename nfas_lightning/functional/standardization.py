"""Rows of one fold, standardized by the training rows, nuisances removed."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from nfas_lightning.functional.checks import is_constant, working_dtype

__all__ = ["Scaling", "Standardized", "nuisance_map", "standardize"]

Scaling = Literal["unit", "common"]


class Standardized(NamedTuple):
    """Training and test rows of one fold, (n, R) and (m, R) float64.

    Attributes:
        train, test: nuisances removed, in units of the training rows' deviation; 0 where `constant`.
        whole: (m, R) the test rows with their nuisances, in the same units, or where the nuisances explain
            a column in units of its own deviation; 0 where it does not vary.
        explained: (m, R) what the nuisances predict of `whole`.
        constant: (R,) columns that do not vary, or that the nuisances explain.
        mean: (R,) of the training rows.
        factor: (R,) 1 over the deviation that `train` was divided by; 0 where `constant`.
        slopes: (Q, R) what the nuisances, as they were given, predict of the values; Q = 0 without any.
        fixed: (n, q) orthonormal basis of the nuisances on the training rows; None without any.
    """

    train: Tensor
    test: Tensor
    whole: Tensor
    explained: Tensor
    constant: Tensor
    mean: Tensor
    factor: Tensor
    slopes: Tensor
    fixed: Tensor | None = None


def standardize(
    values: Tensor, train: Tensor, test: Tensor, nuisances: Tensor | None, scaling: Scaling = "unit"
) -> Standardized:
    """Standardize by training statistics, nuisances removed first."""
    # copies, worked in place: fresh memory costs more than these operations
    inside, outside = values[train].double(), values[test].double()
    magnitude, mean = _largest(inside), inside.mean(0)
    inside -= mean
    outside -= mean
    spread = _largest(inside)
    dtype = working_dtype(values)
    constant = still = is_constant(spread, magnitude, dtype)
    whole, deviation = None, _deviation(inside)
    explained = outside.new_zeros(()).expand_as(outside)
    slopes, fixed = inside.new_zeros(0, inside.shape[1]), None
    if nuisances is not None:
        known, new, inverse, scale = nuisance_map(nuisances, train, test)
        weights = inverse @ inside
        slopes, fixed = weights / scale[:, None], _orthonormal(known)
        whole, explained, own = outside.clone(), new @ weights, deviation
        inside -= known @ weights
        outside -= explained
        deviation = _deviation(inside)
        # a column that the nuisances explain leaves rounding, which must not be blown up to unit variance
        constant = still | (_largest(inside) <= torch.finfo(dtype).eps ** 0.7 * spread)
    if scaling == "common":
        varying = deviation[~constant]
        deviation = torch.full_like(deviation, float(varying.square().mean().sqrt()))
    factor = torch.where(constant, 0, 1 / deviation)
    inside *= factor
    outside *= factor
    if whole is None:
        return Standardized(inside, outside, outside, explained, constant, mean, factor, slopes)
    whole_factor = torch.where(still, 0, torch.where(constant, 1 / own, factor))
    whole, explained = whole * whole_factor, explained * whole_factor
    return Standardized(inside, outside, whole, explained, constant, mean, factor, slopes, fixed)


def nuisance_map(nuisances: Tensor, train: Tensor, test: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what least squares on nuisances (T, Q) takes, in float64.

    A direction in which they differ by the rounding of their own dtype, as a column that is there twice in
    other units leaves, is none: it would be a regressor of noise, with huge weights.

    Returns:
        Training rows (n, Q) and test rows (m, Q), standardized by the training rows; the pseudoinverse (Q, n)
        of the training rows; and (Q,) what the columns were divided by.
    """
    known, new = nuisances[train].double(), nuisances[test].double()
    middle, scale = known.mean(0), known.std(0, correction=0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    known, new = (known - middle) / scale, (new - middle) / scale
    rounding = torch.finfo(working_dtype(nuisances)).eps ** 0.7
    return known, new, torch.linalg.pinv(known, rtol=rounding), scale


def _orthonormal(known: Tensor) -> Tensor:
    """Return an orthonormal basis (n, q) of columns (n, Q), directions that are rounding left out."""
    left, s, _ = torch.linalg.svd(known, full_matrices=False)
    basis: Tensor = left[:, s > s[:1].sum() * torch.finfo(torch.float32).eps ** 0.7]
    return basis


def _deviation(centered: Tensor) -> Tensor:
    """Standard deviation of each column of mean 0."""
    deviation: Tensor = torch.linalg.vector_norm(centered, dim=0) / len(centered) ** 0.5
    return deviation


def _largest(values: Tensor) -> Tensor:
    """Largest modulus of each column."""
    return torch.maximum(values.amax(0), -values.amin(0))
