"""What every ridge encoding is made of: checked tensors, standardized rows, inner folds and their errors."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from nfas_lightning.functional.checks import (
    check_device,
    check_finite,
    check_option,
    check_shape,
    is_constant,
    working_dtype,
)
from nfas_lightning.functional.folds import split_rows
from nfas_lightning.functional.ridge import RidgeBasis, held_out_errors, leave_one_out_errors

__all__ = [
    "Scaling",
    "Selection",
    "Standardized",
    "check_encoding",
    "default_alphas",
    "inner_blocks",
    "inner_errors",
    "nuisance_map",
    "standardize",
]

Selection = Literal["folds", "loo"]
Scaling = Literal["unit", "common"]

_LARGEST = 1e150  # sums of squares are float64


def default_alphas(n_features: int) -> Tensor:
    """Return 19 penalties, 1e-4 to 1e5 times P: for standardized features P is a mean squared row norm."""
    return n_features * torch.logspace(-4, 5, 19, dtype=torch.float64)


def check_encoding(
    X: Tensor,
    Y: Tensor,
    groups: Tensor | None,
    alphas: Tensor | None,
    selection: Selection,
    nuisances: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Validate, cast to the working dtype, and bring what is small to the device of `X`."""
    check_shape("X", X, "T P")
    check_shape("Y", Y, "T R", T=len(X))
    check_device("Y", Y, "X", X)
    check_option("selection", selection, get_args(Selection))
    if not X.shape[1]:
        raise ValueError("X must have at least one feature, got none.")
    check_finite("X", X)
    if bool(Y.isinf().any()):
        raise ValueError("Y must not be infinite: mark missing values with NaN.")
    if groups is not None:
        check_shape("groups", groups, "T", T=len(X))
        groups = groups.to(X.device)
    if nuisances is not None:
        check_shape("nuisances", nuisances, "T Q", T=len(X))
        check_finite("nuisances", nuisances)
        nuisances = nuisances.to(X.device)
    for name, values in (("X", X), ("Y", Y), ("nuisances", nuisances)):
        if values is None or values.dtype is not torch.float64:
            continue
        large = values.abs() > _LARGEST
        if bool(large.any()):
            row, column = large.nonzero()[0].tolist()
            raise ValueError(
                f"{name} must lie within {_LARGEST:g}, since squares of larger values overflow, got "
                f"{float(values[row, column]):g} in row {row} of column {column}: rescale {name}."
            )
    if alphas is None:
        alphas = default_alphas(X.shape[1])
    check_shape("alphas", alphas, "A")
    if not len(alphas) or not bool((alphas > 0).all()):
        raise ValueError(f"alphas must be positive, at least one, got {alphas.tolist()}.")
    dtype = working_dtype(X, Y)
    return X.to(dtype), Y.to(dtype), alphas.to(X.device, torch.float64), groups, nuisances


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
    constant = still = is_constant(spread, magnitude, values.dtype)
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
        constant = still | (_largest(inside) <= torch.finfo(values.dtype).eps ** 0.7 * spread)
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


def inner_blocks(
    train: Tensor, observed: Tensor, groups: Tensor | None, gap: int, n_inner_folds: int
) -> list[tuple[Tensor, Tensor]]:
    """Return the inner folds of training rows (n,), of which the ROI has those that `observed` (n,) marks.

    Returns:
        (held_out, guard) positions among the observed rows.
    """
    rows = train[observed]
    own = None if groups is None else groups[train]
    if own is not None and len(torch.unique(own)) > len(torch.unique(own[observed])) == 1:
        # observed in one run of several: as in training on a single run, its blocks are held out
        blocks = split_rows(rows, n_folds=min(n_inner_folds, len(rows)), gap=gap)
        return _observed_blocks(blocks, torch.ones_like(rows, dtype=torch.bool), gap)
    blocks = split_rows(train, groups=own, n_folds=min(n_inner_folds, len(train)), gap=gap)
    return _observed_blocks(blocks, observed, gap)


def inner_errors(
    basis: RidgeBasis,
    Y: Tensor,
    penalties: Tensor,
    blocks: list[tuple[Tensor, Tensor]],
    dtype: torch.dtype,
) -> Tensor:
    """Sum squared errors of inner folds, or without any of single rows: (A, R)."""
    if blocks:
        return held_out_errors(basis, Y, penalties, blocks, dtype)
    return leave_one_out_errors(basis, Y, penalties, dtype)


def _observed_blocks(
    blocks: list[tuple[Tensor, Tensor]], observed: Tensor, gap: int
) -> list[tuple[Tensor, Tensor]]:
    """Inner blocks as positions among the observed training rows; blocks that nobody observed are dropped."""
    inside = [(_renumber(held, observed), _renumber(guard, observed)) for held, guard in blocks]
    inside = [(held, guard) for held, guard in inside if len(held)]
    if any(len(held) + len(guard) >= int(observed.sum()) for held, guard in inside):
        raise ValueError(
            f"A gap of {gap} rows around inner blocks leaves nothing to train on inside a fold of "
            f"{int(observed.sum())} observed training rows: lower gap or n_folds, raise n_inner_folds, or "
            'take selection="loo".'
        )
    return inside


def _renumber(positions: Tensor, observed: Tensor) -> Tensor:
    """Translate positions among all training rows into positions among the observed ones."""
    return (observed.cumsum(0) - 1)[positions[observed[positions]]]
