"""Alignment of a model's depth dynamics with brain responses, as a metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nfas_lightning.data.responses import Responses
from nfas_lightning.functional.dmd import (
    Centering,
    Criterion,
    Operator,
    Phase,
    center_depths,
    combine_depths,
    dmd,
)
from nfas_lightning.functional.ridge import Selection
from nfas_lightning.functional.state_space import StateSpaceKind
from nfas_lightning.metrics.base import StimulusIds, TrajectoryMetric, as_ids
from nfas_lightning.metrics.encoder import RoiEncoder
from nfas_lightning.metrics.figures import plot_bars, plot_steps
from nfas_lightning.results import Score
from nfas_lightning.scoring.settings import ScoringSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["DMDAlignment"]


class DMDAlignment(TrajectoryMetric):
    """Cross-validated correlation of brain responses with what the stable mode over depth predicts.

    `compute` returns, on the metric's device:

    - ``r`` (R,) signed correlation and ``r2`` (R,) its square where positive, a value a ROI;
    - where the responses have nuisances, ``r_alone``, ``r_joint``, ``r_partial`` and ``r2_alone`` and so on
      (R,), of which ``r`` is the one that `score` names;
    - ``mean_r``, ``mean_r2`` () and so on, over the ROIs that could be scored;
    - ``eigenvalue`` () complex, ``distance_to_unit_circle`` () and ``reconstruction_error`` () of the stable
      mode; (N,) each for ``operator="per_stimulus"``.

    All are NaN, with a warning, until every stimulus that the responses are about was seen: the value that
    calling the metric on a batch returns is therefore NaN. Use `update`, and `compute` when the epoch ends.
    The arithmetic of `compute` runs on the host, where the trajectories are.

    Args:
        responses: what the brain did; the mean over subjects is predicted.
        operator, svd_rank, centering, criterion, phase: see `nfas_lightning.functional.dmd.stable_mode`.
        state_space, n_components, seed: what depths of different widths go into, see `StateSpace`; fitted on
            all stimuli, as everywhere here, and never on a response.
        n_folds: outer folds where there is a single run; whole runs are held out where there are more.
        selection: how the penalty is chosen, ``"folds"`` or ``"loo"``; None: folds for time series, loo for
            one response a stimulus.
        gap: volumes dropped on either side of a test block; None takes the responses' own.
        score: which number ``r`` and ``r2`` are where there are nuisances: ``"alone"``, ``"joint"`` (features
            and nuisances together) or ``"partial"`` (what the features add, inside the training folds).
        kwargs: torchmetrics' own.

    Raises:
        TypeError: `responses` is no `Responses`.
        ValueError: a choice is none of its options, a number is out of range, or the responses do not allow
            it: too few rows for the folds.

    Example:
        >>> import pandas as pd
        >>> generator = torch.Generator().manual_seed(0)
        >>> H = torch.randn(60, 5, 4, generator=generator)
        >>> responses = Responses(
        ...     values=H[None, :, 0, :2] + H[None, :, 4, :2], rois=pd.DataFrame({"roi": ["V1", "V2"]}),
        ...     stimulus_ids=tuple(map(str, range(60))), dataset="toy", modality="vision", subjects=("s1",),
        ...     runs=torch.zeros(60, dtype=torch.int64),
        ... )
        >>> metric = DMDAlignment(responses)
        >>> metric.update(H, torch.arange(60))
        >>> sorted(metric.compute())[:3]
        ['distance_to_unit_circle', 'eigenvalue', 'mean_r']
    """

    higher_is_better = True

    def __init__(
        self,
        responses: Responses,
        *,
        operator: Operator = "joint",
        svd_rank: int | float | None = None,
        centering: Centering = "scale",
        criterion: Criterion = "unit_circle",
        phase: Phase = "quadrature",
        state_space: StateSpaceKind = "auto",
        n_components: int | None = None,
        seed: int = 0,
        n_folds: int = 5,
        selection: Selection | None = None,
        gap: int | None = None,
        score: Score = "partial",
        **kwargs: Any,
    ) -> None:
        super().__init__(state_space, n_components, seed, **kwargs)
        settings = ScoringSettings(
            operator=operator,
            svd_rank=svd_rank,
            centering=centering,
            criterion=criterion,
            phase=phase,
            n_folds=n_folds,
            selection=selection,
            gap=gap,
            score=score,
        )
        self.encoder = RoiEncoder(responses, settings)
        self.responses = responses
        self.operator, self.svd_rank, self.centering = operator, svd_rank, centering
        self.criterion, self.phase = criterion, phase

    def update(self, trajectory: Tensor | Sequence[Tensor], stimulus_id: StimulusIds) -> None:
        """Add a batch.

        Args:
            trajectory: pooled states of B stimuli at L >= 3 depths: (B, L, D), or a list of L matrices
                (B, D_l).
            stimulus_id: (B,) indices into `Responses.stimulus_ids`. A repeated one counts once.

        Raises:
            TypeError: the ids are no integers.
            ValueError: other depths or widths than before, an index out of range, NaN or infinity.
        """
        ids = as_ids(stimulus_id)
        self.encoder.check_ids(ids)
        super().update(trajectory, ids)

    def compute(self) -> dict[str, Tensor]:
        """Decompose, encode and score all stimuli; see the class."""
        H, ids = self.trajectories(self.responses.presented)
        if not self.encoder.is_complete(ids):
            unknown = torch.tensor(float("nan"), dtype=torch.float64)
            return self._result(None, torch.complex(unknown, unknown), unknown, unknown)
        dynamics = dmd(
            H,
            operator=self.operator,
            svd_rank=self.svd_rank,
            centering=self.centering,
            criterion=self.criterion,
        )
        eigenvalue = dynamics.stable_eigenvalue
        spectrum = (eigenvalue, dynamics.distance_to_unit_circle, dynamics.reconstruction_error)
        if bool(eigenvalue.isnan().any()):  # and dmd has warned
            return self._result(None, *spectrum)
        features = combine_depths(center_depths(H, dynamics), dynamics, phase=self.phase, centered=True)
        # a pooled mode's coordinate is a number of its own, not one of a turned space
        scaling = "unit" if self.operator == "pooled" else self.space.scaling_
        return self._result(self.encoder.score(features, scaling), *spectrum)

    def plot(
        self, val: dict[str, Tensor] | Sequence[dict[str, Tensor]] | None = None, ax: Axes | None = None
    ) -> tuple[Figure, Axes]:
        """Draw r per ROI, or its mean over steps.

        Args:
            val: a result of `compute`, or several in the order of their steps; None computes one.
            ax: axes to draw on; None: new ones.
        """
        val = self.compute() if val is None else val
        if isinstance(val, dict):
            return plot_bars(val["r"], self.responses.rois["roi"].astype(str).tolist(), "r", ax)
        return plot_steps([float(step["mean_r"]) for step in val], "mean r", ax)

    def _result(
        self, scores: dict[str, Tensor] | None, eigenvalue: Tensor, distance: Tensor, error: Tensor
    ) -> dict[str, Tensor]:
        scores = scores or self.encoder.unknown()
        values = {
            **scores,
            **{f"mean_{name}": value.nanmean() for name, value in scores.items()},
            "eigenvalue": eigenvalue,
            "distance_to_unit_circle": distance,
            "reconstruction_error": error,
        }
        return {name: value.to(self.device) for name, value in values.items()}
