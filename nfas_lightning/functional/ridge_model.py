"""A ridge encoding model that is kept: fitted to all rows, to predict new ones and to be looked at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nfas_lightning.errors import InputError
from nfas_lightning.functional.batches import split_targets
from nfas_lightning.functional.checks import (
    check_device,
    check_finite,
    check_shape,
    with_float64,
    working_dtype,
)
from nfas_lightning.functional.folds import inner_blocks
from nfas_lightning.functional.missing import column_patterns
from nfas_lightning.functional.ridge import Selection, bytes_per_target, check_encoding
from nfas_lightning.functional.ridge_held_out import inner_errors
from nfas_lightning.functional.ridge_solver import decompose_features
from nfas_lightning.functional.standardization import Scaling, standardize

__all__ = ["RidgeModel", "ridge_fit"]


@dataclass(frozen=True)
class RidgeModel:
    r"""A linear map of features, and of nuisances, to responses in their own units.

    .. math:: \hat y = b + (x - \bar x) W + (n - \bar n) V

    Attributes:
        weights: (P, R) W, change of a response per unit of a feature; NaN for an ROI that could not be
            trained.
        intercept: (R,) b, the response where features and nuisances are at their means.
        center: (P,) mean of the features over the training rows.
        alphas: (R,) chosen alpha, on the scale of standardized features.
        nuisance_weights: (Q, R) V, None without nuisances.
        nuisance_center: (Q,) mean of the nuisances, None without.
    """

    weights: Tensor
    intercept: Tensor
    center: Tensor
    alphas: Tensor
    nuisance_weights: Tensor | None = None
    nuisance_center: Tensor | None = None

    def predict(self, X: Tensor, nuisances: Tensor | None = None) -> Tensor:
        """Predict the responses to new features.

        Args:
            X: (T, P) features, made as those of the training were.
            nuisances: (T, Q) as in the training; None: they stay at their means.

        Returns:
            (T, R) in the units of the responses and the working dtype of `X`.

        Raises:
            ValueError: shapes that disagree, values that are not finite, or nuisances for a model that was
                fitted without.
        """
        check_shape("X", X, "T P", P=len(self.center))
        check_device("X", X, "weights", self.weights)
        check_finite("X", X)
        dtype = working_dtype(X, self.weights)
        preds = self.intercept.to(dtype) + (X.to(dtype) - self.center.to(dtype)) @ self.weights.to(dtype)
        if nuisances is None:
            return preds
        if self.nuisance_weights is None or self.nuisance_center is None:
            raise InputError("nuisances must be None: this model was fitted without any.")
        check_shape("nuisances", nuisances, "T Q", T=len(X), Q=len(self.nuisance_center))
        check_finite("nuisances", nuisances)
        known = nuisances.to(preds) - self.nuisance_center.to(preds)
        return preds + known @ self.nuisance_weights.to(preds)


@with_float64
def ridge_fit(
    X: Tensor,
    Y: Tensor,
    *,
    groups: Tensor | None = None,
    gap: int = 0,
    alphas: Tensor | None = None,
    selection: Selection = "folds",
    nuisances: Tensor | None = None,
    scaling: Scaling = "unit",
    n_inner_folds: int = 5,
    target_batch: int | None = None,
) -> RidgeModel:
    """Fit to all rows what `ridge_cv` fits to the training rows of each fold, and keep it.

    Alpha is chosen per ROI by the same inner cross-validation. How well such a model predicts is what
    `ridge_cv` tells: this one has no rows left to be tested on.

    Args:
        X: (T, P) features.
        Y: (T, R) responses. NaN marks a missing value: the ROI is fitted without that row.
        groups: (T,) run or story of each row, see `ridge_cv`, as for the other choices.
        gap: rows dropped around inner folds.
        alphas: (A,) penalties to choose from.
        selection: ``"folds"`` or ``"loo"``.
        nuisances: (T, Q) regressors that are fitted beside the features, without a penalty.
        scaling: ``"unit"`` or ``"common"``.
        n_inner_folds: inner folds of ``selection="folds"``.
        target_batch: responses to work on at a time; None: see `bytes_per_target`.

    Returns:
        A `RidgeModel` in the working dtype of `X` and `Y`, on their device.

    Raises:
        ValueError: see `ridge_cv`.

    Example:
        >>> X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
        >>> model = ridge_fit(X[:40], 2 * X[:40, :1] + 7)
        >>> bool((model.predict(X[40:]) - 2 * X[40:, :1] - 7).abs().max() < 0.1)
        True
    """
    X, Y, alphas, groups, nuisances = check_encoding(X, Y, groups, alphas, selection, nuisances)
    dtype, n_rois = working_dtype(X, Y), Y.shape[1]
    everything = torch.arange(len(X), device=X.device)
    center = X.double().mean(0)
    known_center = None if nuisances is None else nuisances.double().mean(0)
    n_nuisances = 0 if nuisances is None else nuisances.shape[1]
    weights = torch.full((X.shape[1], n_rois), float("nan"), dtype=torch.float64, device=X.device)
    slopes = torch.full((n_nuisances, n_rois), float("nan"), dtype=torch.float64, device=X.device)
    intercept, chosen = weights.new_full((n_rois,), float("nan")), weights.new_full((n_rois,), float("nan"))
    for columns, observed in column_patterns(Y):
        rows = everything[observed]
        if len(rows) < 2:
            continue
        blocks = [] if selection == "loo" else inner_blocks(everything, observed, groups, gap, n_inner_folds)
        none = rows[:0]
        x = standardize(X, rows, none, nuisances, scaling)
        basis = decompose_features(x.train, x.train[:1], x.fixed)
        if not basis.eigenvalues.numel():
            continue
        errors = inner_errors(basis, alphas, blocks, dtype, len(columns))
        per_target = bytes_per_target(len(X), X.shape[1], len(alphas), len(blocks))
        for part in split_targets(len(columns), per_target, X.device, target_batch):
            some = columns[part]
            y = standardize(Y[:, some], rows, none, nuisances)
            best = errors(y.train).argmin(0)
            own = x.factor[:, None] * basis.weights(y.train, alphas[best]) / y.factor
            # the ridge saw features without what nuisances explain of them: subtract it from their own part
            through = y.slopes - x.slopes @ own
            keep = ~y.constant
            trained = some[keep]
            weights[:, trained] = own[:, keep]
            slopes[:, trained] = through[:, keep]
            # the means are those of the rows that this ROI has: carry them to the common centers
            offset = y.mean + (center - x.mean) @ own
            if nuisances is not None and known_center is not None:
                offset = offset + (known_center - nuisances[rows].double().mean(0)) @ through
            intercept[trained] = offset[keep]
            chosen[trained] = alphas[best][keep]
    return RidgeModel(
        weights.to(dtype),
        intercept.to(dtype),
        center.to(dtype),
        chosen.to(dtype),
        None if nuisances is None else slopes.to(dtype),
        None if known_center is None else known_center.to(dtype),
    )
