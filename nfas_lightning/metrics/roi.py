"""Alignment of any features with brain responses, as a metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from nfas_lightning.data.responses import Responses
from nfas_lightning.functional.ceiling import normalize
from nfas_lightning.functional.correlation import squared_correlation
from nfas_lightning.functional.ridge import Selection
from nfas_lightning.metrics.base import StimulusIds, StimulusMetric, as_ids
from nfas_lightning.metrics.encoder import RoiEncoder
from nfas_lightning.metrics.figures import plot_bars, plot_steps
from nfas_lightning.results import Score
from nfas_lightning.scoring.settings import ScoringSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["RoiAlignment"]


class RoiAlignment(StimulusMetric):
    """Cross-validated correlation of brain responses with what features of your own predict: no dynamics.

    For a readout that is there already, such as a network's last layer. `compute` returns, on the metric's
    device:

    - ``r`` (R,) signed correlation and ``r2`` (R,) its square where positive, a value a ROI;
    - where the responses have nuisances, ``r_alone``, ``r_joint``, ``r_partial`` and ``r2_alone`` and so on
      (R,), of which ``r`` is the one that `score` names;
    - ``mean_r``, ``mean_r2`` () and so on, over the ROIs that could be scored;
    - ``n_rois`` (), how many those are.

    All but the count are NaN, with a warning, until every stimulus that the responses are about was seen.

    Args:
        responses: what the brain did; the mean over subjects is predicted.
        normalize: divide r by the noise ceiling of the subjects' mean: the responses' own, else split halves
            over subjects, averaged over the folds as r is. ROIs whose ceiling is below `ceiling_threshold`
            are NaN, and a warning counts them.
        ceiling_threshold: above 0; see `normalize`.
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
            it: too few rows for the folds, or `normalize` without a ceiling and with one subject alone.

    Example:
        >>> import pandas as pd
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> features = torch.randn(60, 4, generator=generator)
        >>> responses = Responses(
        ...     values=features[None, :, :2], rois=pd.DataFrame({"roi": ["V1", "V2"]}),
        ...     stimulus_ids=tuple(map(str, range(60))), dataset="toy", modality="vision", subjects=("s1",),
        ...     runs=torch.zeros(60, dtype=torch.int64),
        ... )
        >>> metric = RoiAlignment(responses)
        >>> metric.update(features[:40], torch.arange(40))
        >>> metric.update(features[40:], torch.arange(40, 60))
        >>> round(float(metric.compute()["mean_r"]), 2)
        1.0
    """

    higher_is_better = True

    def __init__(
        self,
        responses: Responses,
        *,
        normalize: bool = False,
        ceiling_threshold: float = 0.1,
        n_folds: int = 5,
        selection: Selection | None = None,
        gap: int | None = None,
        score: Score = "partial",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        settings = ScoringSettings(n_folds=n_folds, selection=selection, gap=gap, score=score)
        self.encoder = RoiEncoder(responses, settings)
        if not ceiling_threshold > 0:
            raise ValueError(f"ceiling_threshold must be positive, got {ceiling_threshold}.")
        self.responses = responses
        self.ceiling_threshold = ceiling_threshold
        self.ceiling = self._ceiling() if normalize else None

    def update(self, features: Tensor, stimulus_id: StimulusIds) -> None:
        """Add a batch.

        Args:
            features: (B, P) one vector a stimulus.
            stimulus_id: (B,) indices into `Responses.stimulus_ids`. A repeated one counts once.

        Raises:
            TypeError: the ids are no integers.
            ValueError: another shape than before, an index out of range, NaN or infinity.
        """
        ids = as_ids(stimulus_id)
        self.encoder.check_ids(ids)
        self._add(features, ids)

    def compute(self) -> dict[str, Tensor]:
        """Encode and score all stimuli; see the class."""
        features, ids = self.collected()
        scores = self.encoder.score(features) if self.encoder.is_complete(ids) else self.encoder.unknown()
        if self.ceiling is not None:
            ceiling = self.ceiling.to(scores["r"].dtype)
            for name in [name for name in scores if not name.startswith("r2")]:
                scores[name] = normalize(scores[name], ceiling, self.ceiling_threshold)
                scores[name.replace("r", "r2", 1)] = squared_correlation(scores[name])
        means = {f"mean_{name}": value.nanmean() for name, value in scores.items()}
        values = {**scores, **means, "n_rois": scores["r"].isfinite().sum()}
        return {name: value.to(self.device) for name, value in values.items()}

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
            label = "r" if self.ceiling is None else "r / noise ceiling"
            return plot_bars(val["r"], self.responses.rois["roi"].astype(str).tolist(), label, ax)
        return plot_steps([float(step["mean_r"]) for step in val], "mean r", ax)

    def _ceiling(self) -> Tensor:
        """Ceiling of the subjects' mean."""
        responses = self.responses
        if responses.noise_ceiling is None and len(responses.subjects) < 2:
            raise ValueError(
                f"normalize=True needs a noise ceiling, and {responses.dataset!r} has neither one of its own "
                "nor a second subject to estimate it from."
            )
        return self.encoder.ridge.group_ceiling()
