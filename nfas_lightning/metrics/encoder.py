"""The encoding model that alignment metrics share: features of all stimuli to r and r2 per ROI."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from nfas_lightning.data.responses import Responses
from nfas_lightning.functional.ridge import Scaling
from nfas_lightning.results import SCORES, Score
from nfas_lightning.scoring.ridge import Fits
from nfas_lightning.scoring.settings import ScoringSettings

__all__ = ["RoiEncoder"]


class RoiEncoder:
    """Score stimulus features against a benchmark's responses.

    Args:
        responses: what the brain did; the mean over subjects is predicted.
        settings: folds, penalties, gap and which number is reported; see `ScoringSettings`.

    Raises:
        TypeError: `responses` is no `Responses`.
        ValueError: see `BenchmarkRidge`.
    """

    def __init__(self, responses: Responses, settings: ScoringSettings) -> None:
        if not isinstance(responses, Responses):
            raise TypeError(
                "responses must be Responses, such as datamodule.responses after datamodule.setup(), got "
                f"{type(responses).__name__}."
            )
        self.responses = responses
        self.ridge = settings.ridge(responses)
        self.reported = settings.score

    def check_ids(self, stimulus_id: Tensor) -> None:
        """Raise for an index that no stimulus of the benchmark has."""
        count = len(self.responses.stimulus_ids)
        if bool((stimulus_id >= count).any()):
            raise ValueError(
                f"stimulus_id must be below the {count} stimuli of {self.responses.dataset!r}, got "
                f"{int(stimulus_id.max())}."
            )

    def is_complete(self, ids: Tensor) -> bool:
        """Whether every stimulus was seen; a warning says how many were not."""
        count = len(self.responses.stimulus_ids)
        if len(ids) < count:
            warnings.warn(
                f"{count - len(ids)} of the {count} stimuli of {self.responses.dataset!r} have not been "
                "seen: the alignment is NaN. Update with all of them before compute.",
                stacklevel=3,
            )
        return len(ids) == count

    def score(self, features: Tensor, scaling: Scaling = "unit") -> dict[str, Tensor]:
        """Return the numbers of the features (N, P) of all stimuli, or of the presented ones.

        Returns:
            ``r`` and ``r2`` (R,), the reported number; where the responses have nuisances also all three:
            ``r_alone``, ``r_joint``, ``r_partial`` and ``r2_alone`` and so on.
        """
        X = self.ridge.to_volumes(features)
        return self._named(self.ridge.fits(X, self.responses.group_mean, scaling=scaling, warn=self.reported))

    def unknown(self) -> dict[str, Tensor]:
        """Return the same of which nothing is known: NaN, (R,) each."""
        nan = torch.full((len(self.responses.rois),), float("nan"))
        return dict.fromkeys(self._names(), nan)

    def _named(self, fits: Fits) -> dict[str, Tensor]:
        numbers = {None: fits.scores(self.reported)} | {score: fits.scores(score) for score in SCORES}
        return {name: getattr(numbers[score], value) for name, (value, score) in self._names().items()}

    def _names(self) -> dict[str, tuple[str, Score | None]]:
        scores = SCORES if self.ridge.nuisances is not None else ()
        return {value: (value, None) for value in ("r", "r2")} | {
            f"{value}_{score}": (value, score) for value in ("r", "r2") for score in scores
        }
