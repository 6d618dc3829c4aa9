"""Alignment of any features with brain responses."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nfas_lightning.data.responses import Responses
from nfas_lightning.errors import InputError
from nfas_lightning.functional.ceiling import normalize as divide_by_ceiling
from nfas_lightning.functional.checks import double_device
from nfas_lightning.functional.correlation import squared_correlation
from nfas_lightning.functional.ridge import Selection
from nfas_lightning.metrics.alignment_metrics import AlignmentMetric
from nfas_lightning.metrics.stimulus_metric import StimulusIds
from nfas_lightning.results import Score
from nfas_lightning.scoring.encoder import Encoder
from nfas_lightning.scoring.settings import ScoringSettings

__all__ = ["RoiAlignment"]


class RoiAlignment(AlignmentMetric):
    """Cross-validated correlation of brain responses with what features of your own predict: no dynamics.

    For a readout that exists already, such as a network's last layer. `compute` returns ``mean_r`` (), the
    mean over the ROIs that could be scored. After it, the dictionary `details` holds ``r``, ``r2``,
    ``mean_r``, ``mean_r2`` and with nuisances the others as in `DMDAlignment`, and ``n_rois`` (), how many
    ROIs could be scored. All but the count are NaN, with a warning, until every stimulus was seen.

    Args:
        responses: what the brain did; the mean over subjects is predicted.
        normalize: divide r by the noise ceiling of the subjects' mean: the responses' own, else split halves
            over subjects, averaged over the folds as r is. ROIs whose ceiling is below `ceiling_threshold`
            are NaN, and a warning counts them.
        ceiling_threshold: above 0; see `normalize`.
        n_folds, selection, gap, score: as in `DMDAlignment`.
        kwargs: torchmetrics' own.

    Raises:
        TypeError: `responses` is no `Responses`.
        ValueError: a choice is none of its options, a number is out of range, or the responses do not allow
            it: too few rows for the folds, or `normalize` without a ceiling and with a single subject.

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
        >>> round(float(metric.compute()), 2)
        1.0
    """

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
        self.encoder = Encoder(responses, settings)
        if not ceiling_threshold > 0:
            raise InputError(f"ceiling_threshold must be positive, got {ceiling_threshold}.")
        self.ceiling_threshold = ceiling_threshold
        self.ceiling: Tensor | None = None
        if normalize:
            if responses.noise_ceiling is None and len(responses.subjects) < 2:
                raise InputError(
                    f"normalize=True needs a noise ceiling, and {responses.dataset!r} has neither one of its "
                    "own nor a second subject to estimate it from."
                )
            self.ceiling = self.encoder.group_ceiling()

    def update(self, features: Tensor, stimulus_id: StimulusIds) -> None:
        """Add a batch.

        Args:
            features: (B, P) one vector per stimulus.
            stimulus_id: (B,) indices into `Responses.stimulus_ids`. A repeated one counts once.

        Raises:
            TypeError: the ids are no integers.
            ValueError: another shape than before, an index out of range, NaN or infinity.
        """
        self._add(features, self._checked(stimulus_id))

    def compute(self) -> Tensor:
        """Encode and score all stimuli; see the class."""
        features, ids = self.collected()
        fits = None
        if self._is_complete(ids):
            device = double_device(self.device)
            fits = self.encoder.to(device).encode_group(features.to(device))
        numbers = self._numbers(fits)
        if self.ceiling is not None:
            ceiling = self.ceiling.to(numbers["r"])
            for name in [name for name in numbers if not name.startswith("r2")]:
                numbers[name] = divide_by_ceiling(numbers[name], ceiling, self.ceiling_threshold)
                numbers[name.replace("r", "r2", 1)] = squared_correlation(numbers[name])
        return self._report(numbers, {"n_rois": numbers["r"].isfinite().sum()})
