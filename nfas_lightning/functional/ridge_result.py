"""What a cross-validated encoding model yields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from nfas_lightning.errors import FailureError
from nfas_lightning.functional.standardization import Scaling

if TYPE_CHECKING:
    from nfas_lightning.functional.ridge_model import RidgeModel

__all__ = ["EncodingResult", "Predictions"]


class Predictions(NamedTuple):
    """Out-of-fold predictions and what they were correlated with, (T, R) each.

    In responses standardized by their fold's training statistics; NaN where a row was never tested or its
    fold could not be trained.

    Attributes:
        preds: what the features predict of the responses without their nuisances.
        target: what `preds` was correlated with: the responses without nuisances.
        joint_preds: what nuisances and features predict together.
        joint_target: what `joint_preds` was correlated with: the responses with their nuisances.
    """

    preds: Tensor
    target: Tensor
    joint_preds: Tensor
    joint_target: Tensor


@dataclass(frozen=True)
class EncodingResult:
    """Scores of one encoding model, and where they were kept its out-of-fold predictions.

    Attributes:
        r: (R,) signed correlation, averaged over the folds in which three or more rows of the ROI were
            observed; large is good. With nuisances it is partial: they are removed from both sides.
        r2: (R,) its square, negative r clipped to 0 unless asked otherwise.
        r_joint: (R,) correlation of the whole responses with what nuisances and features predict together;
            `r` without nuisances.
        r2_joint: (R,) its square, as `r2`.
        alphas: (folds, R) chosen alpha; NaN where an ROI could not be trained.
        fold_at_edge: (folds, R) 1 where that is the smallest or the largest of the grid, else 0.
        grid_too_short: share of folds and ROIs at an end of the grid beyond which the score would change.
        fold_r: (folds, R) signed correlation of each fold.
        fold_r_joint: (folds, R) the same for `r_joint`.
        fold_observed: (folds, R) whether an ROI has three or more test rows.
        fold_volumes: (folds, R) rows that were observed and tested; 0 where they are too few for a score.
        inner_score: (folds, R) best inner cross-validated 1 - SSE / SST on that fold's training rows. Feature
            sets that are chosen by it are chosen without the test rows.
        fold: (T,) index of the fold that tested each row, -1 for none.
        n_volumes: (R,) rows that were observed and tested in folds that are scored; fewer than T where
            responses are missing.
        scaling: of the features, as given.
        predictions: whose fields are attributes of the result too, such as `preds`; None without
            `keep_preds`.
        model: the same regression fitted to all rows, if `keep_model` asked for it; else None.
    """

    r: Tensor
    r2: Tensor
    r_joint: Tensor
    r2_joint: Tensor
    alphas: Tensor
    fold_at_edge: Tensor
    grid_too_short: float
    fold_r: Tensor
    fold_r_joint: Tensor
    fold_observed: Tensor
    fold_volumes: Tensor
    inner_score: Tensor
    fold: Tensor
    n_volumes: Tensor
    scaling: Scaling = "unit"
    predictions: Predictions | None = None
    model: RidgeModel | None = None

    @property
    def preds(self) -> Tensor:
        """(T, R), see `Predictions`."""
        return self._kept.preds

    @property
    def target(self) -> Tensor:
        """(T, R), see `Predictions`."""
        return self._kept.target

    @property
    def joint_preds(self) -> Tensor:
        """(T, R), see `Predictions`."""
        return self._kept.joint_preds

    @property
    def joint_target(self) -> Tensor:
        """(T, R), see `Predictions`."""
        return self._kept.joint_target

    @property
    def _kept(self) -> Predictions:
        if self.predictions is None:
            raise FailureError("No predictions were kept: call ridge_cv(..., keep_preds=True).")
        return self.predictions

    def predict(self, X: Tensor, nuisances: Tensor | None = None) -> Tensor:
        """Predict the responses (T, R) to new features (T, P), in their own units; see `RidgeModel.predict`.

        Raises:
            RuntimeError: the model was not kept.
        """
        if self.model is None:
            raise FailureError("No model was kept to predict with: call ridge_cv(..., keep_model=True).")
        return self.model.predict(X, nuisances)

    @property
    def alpha_at_edge(self) -> Tensor:
        """(R,) share of folds whose alpha is the smallest or the largest of the grid."""
        return self.fold_at_edge.nanmean(0)
