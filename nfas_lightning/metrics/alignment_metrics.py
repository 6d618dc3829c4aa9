"""Alignment of a model's depth dynamics with brain responses, and what every alignment metric shares."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nfas_lightning.data.responses import Responses
from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import double_device, to_device
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
from nfas_lightning.metrics.stimulus_metric import (
    StimulusIds,
    StimulusMetric,
    TrajectoryMetric,
    as_ids,
    figure_of,
)
from nfas_lightning.results import SCORES, Score
from nfas_lightning.scoring.encoder import Encoder, Fits
from nfas_lightning.scoring.settings import ScoringSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["AlignmentMetric", "DMDAlignment"]

# More ticks than this can't be read: they are thinned out.
_MOST_TICKS = 40


class AlignmentMetric(StimulusMetric):
    """What the metrics share: the encoding model, the check of ids, numbers per ROI, the figure."""

    higher_is_better = True

    encoder: Encoder

    @property
    def responses(self) -> Responses:
        """What the brain did."""
        return self.encoder.responses

    def _checked(self, stimulus_id: StimulusIds) -> Tensor:
        """Return ids as integers, or raise for an index that no stimulus of the benchmark has."""
        ids, count = as_ids(stimulus_id), len(self.responses.stimulus_ids)
        if bool((ids >= count).any()):
            raise InputError(
                f"stimulus_id must be below the {count} stimuli of {self.responses.dataset!r}, got "
                f"{int(ids.max())}."
            )
        return ids

    def _is_complete(self, ids: Tensor) -> bool:
        """Tell whether every stimulus was seen; a warning says how many were not."""
        count = len(self.responses.stimulus_ids)
        if len(ids) < count:
            warnings.warn(
                f"{count - len(ids)} of the {count} stimuli of {self.responses.dataset!r} have not been "
                "seen: the alignment is NaN. Update with all of them before compute.",
                stacklevel=3,
            )
        return len(ids) == count

    def _numbers(self, fits: Fits | None) -> dict[str, Tensor]:
        """Return r and r2 (R,), the reported ones and where there are nuisances all; NaN without fits."""
        reported = self.encoder.settings.score
        named: dict[str, Score] = {"": reported}
        if self.encoder.nuisances is not None:
            named |= {f"_{score}": score for score in SCORES}
        unknown = torch.full((len(self.responses.rois),), float("nan"))
        return {
            f"{value}{suffix}": unknown if fits is None else getattr(fits.scores(score), value)
            for value in ("r", "r2")
            for suffix, score in named.items()
        }

    def _report(self, numbers: dict[str, Tensor], others: dict[str, Tensor]) -> Tensor:
        """Keep numbers per ROI, their means and what else there is; return the mean r."""
        means = {f"mean_{name}": value.nanmean() for name, value in numbers.items()}
        found = {**numbers, **means, **others}
        self.details = {name: to_device(value, self.device) for name, value in found.items()}
        return self.details["mean_r"]

    def plot(
        self, val: Tensor | Sequence[Tensor] | None = None, ax: Axes | None = None
    ) -> tuple[Figure, Axes]:
        """Draw r per ROI, or values of `compute`.

        Args:
            val: a value of `compute`, or several in the order of their steps, drawn as torchmetrics does;
                None computes and draws one bar per ROI.
            ax: axes to draw on; None: new ones.
        """
        if val is not None:
            return self._plot(val, ax)  # type: ignore[return-value]  # torchmetrics types it as any axes
        self.compute()
        figure, ax = figure_of(ax)
        names = self.responses.rois["roi"].astype(str).tolist()
        ax.bar(range(len(names)), self.details["r"].cpu().double().numpy())
        ax.axhline(0, color="0.4", linewidth=0.8)
        step = -(-len(names) // _MOST_TICKS)
        ax.set_xticks(range(0, len(names), step), names[::step], rotation=90)
        ax.set_ylabel("r")
        return figure, ax


class DMDAlignment(AlignmentMetric, TrajectoryMetric):
    """Cross-validated correlation of brain responses with what the stable mode over depth predicts.

    `compute` returns ``mean_r`` (), the mean over the ROIs that could be scored. After it, the dictionary
    `details` holds, on the metric's device:

    - ``r`` (R,) signed correlation and ``r2`` (R,) its square where positive, one value per ROI;
    - where the responses have nuisances, ``r_alone``, ``r_joint``, ``r_partial`` and ``r2_alone`` and so on
      (R,), of which ``r`` is the one that `score` names;
    - ``mean_r``, ``mean_r2`` () and so on;
    - ``eigenvalue`` () complex, ``distance_to_unit_circle`` () and ``reconstruction_error`` () of the stable
      mode; (N,) each for ``operator="per_stimulus"``.

    All are NaN, with a warning, until every stimulus of the responses was seen: the value that calling the
    metric on a batch returns is therefore NaN. Use `update`, and `compute` when the epoch ends. `compute`
    runs on the metric's device.

    Args:
        responses: what the brain did; the mean over subjects is predicted.
        operator, svd_rank, centering, criterion, phase: see `nfas_lightning.functional.dmd.stable_mode`.
        state_space, n_components, seed: see `StateSpace`, which brings depths of different widths together;
            fitted on all stimuli and never on a response.
        n_folds: outer folds where there is a single run; whole runs are held out where there are more.
        selection: how alpha is chosen, ``"folds"`` or ``"loo"``; None: folds for time series, loo for one
            response per stimulus.
        gap: volumes dropped on either side of a test block; None takes the responses' own.
        score: which number ``r`` and ``r2`` are where there are nuisances: ``"alone"``, ``"joint"`` (features
            and nuisances together) or ``"partial"`` (what the features add, inside the training folds).
        kwargs: torchmetrics' own.

    Raises:
        TypeError: `responses` is no `Responses`.
        ValueError: a choice is none of its options, a number is out of range, or the responses have too few
            rows for the folds.

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
        >>> metric.compute() == metric.details["r"].mean()
        tensor(True)
    """

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
        super().__init__(state_space=state_space, n_components=n_components, seed=seed, **kwargs)
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
        self.encoder = Encoder(responses, settings)

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
        super().update(trajectory, self._checked(stimulus_id))

    def compute(self) -> Tensor:
        """Decompose, encode and score all stimuli; see the class."""
        H, ids = self.trajectories(self.responses.presented)
        device = double_device(self.device)
        if not self._is_complete(ids):
            unknown = torch.tensor(float("nan"), dtype=torch.float64)
            spectrum = (torch.complex(unknown, unknown), unknown, unknown)
            fits = None
        else:
            settings = self.encoder.settings
            dynamics = dmd(
                H,
                operator=settings.operator,
                svd_rank=settings.svd_rank,
                centering=settings.centering,
                criterion=settings.criterion,
                device=device,
            )
            eigenvalue = dynamics.stable_eigenvalue
            spectrum = (eigenvalue, dynamics.distance_to_unit_circle, dynamics.reconstruction_error)
            fits = None
            if not bool(eigenvalue.isnan().any()):  # else dmd has warned
                features = combine_depths(
                    center_depths(H, dynamics, device),
                    dynamics,
                    phase=settings.phase,
                    centered=True,
                    device=device,
                )
                fits = self.encoder.to(device).encode_group(features, settings.scaling(self.space))
        names = ("eigenvalue", "distance_to_unit_circle", "reconstruction_error")
        return self._report(self._numbers(fits), dict(zip(names, spectrum, strict=True)))
