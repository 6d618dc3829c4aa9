"""Ridge regression onto the responses of one benchmark: what every score of it shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from nfas_lightning.data.responses import Responses
from nfas_lightning.errors import InputError, InputTypeError
from nfas_lightning.functional.banded_ridge import BandedResult, banded_ridge_cv
from nfas_lightning.functional.ceiling import CeilingMethod
from nfas_lightning.functional.checks import working_dtype
from nfas_lightning.functional.correlation import MIN_ROWS
from nfas_lightning.functional.folds import connected_groups, contiguous_folds
from nfas_lightning.functional.missing import column_patterns
from nfas_lightning.functional.ridge import EncodingResult, Scaling, ridge_cv
from nfas_lightning.functional.ridge_model import RidgeModel, ridge_fit
from nfas_lightning.functional.ridge_null import Moves, ridge_null
from nfas_lightning.functional.standardization import standardize
from nfas_lightning.results import Score

if TYPE_CHECKING:
    from nfas_lightning.scoring.settings import ScoringSettings

__all__ = ["Encoder", "Fits", "Scores"]


class Scores(NamedTuple):
    """Numbers of one feature and kind, as in `EncodingResult`: (R,) each, `fold_r` (folds, R)."""

    r: Tensor
    r2: Tensor
    fold_r: Tensor


class Fits(NamedTuple):
    """The two fits that three numbers of a feature come from.

    Attributes:
        alone: of the features.
        beside: of the features and, without a penalty, the nuisances; `alone` where there are none.
    """

    alone: EncodingResult
    beside: EncodingResult

    def fit(self, score: Score) -> EncodingResult:
        """Return the fit that a number comes from."""
        return self.alone if score == "alone" else self.beside

    def scores(self, score: Score) -> Scores:
        """Return one of the three numbers."""
        fit = self.fit(score)
        if score == "joint":
            return Scores(fit.r_joint, fit.r2_joint, fit.fold_r_joint)
        return Scores(fit.r, fit.r2, fit.fold_r)


class Encoder:
    """One encoding model for every feature of a benchmark: its folds, gap, nuisances and null.

    It computes on the device and in the dtype of the features, half precisions raised to float32, whatever
    those of the responses.

    Args:
        responses: what the brain did.
        settings: `n_folds`, `selection`, `gap`, `n_permutations` and `seed` of `ScoringSettings`.

    Attributes:
        groups: (T,) what is held out whole: runs, identical stimuli where `responses` says which, or what
            both leave together; None where there is a single run.
        fold: (T,) index of the fold that tests each row.
        nuisances: (T, Q) of the responses, Q >= 1; None: there are none.

    Raises:
        TypeError: `responses` is no `Responses`.
        ValueError: all runs share identical stimuli, too few rows for the folds, or a gap that leaves a fold
            nothing to train on.
    """

    def __init__(self, responses: Responses, settings: ScoringSettings) -> None:
        if not isinstance(responses, Responses):
            raise InputTypeError(
                "responses must be Responses, such as datamodule.responses after datamodule.setup(), got "
                f"{type(responses).__name__}."
            )
        self.responses = responses
        self.settings = settings
        single = responses.tr is None and responses.identical is None
        self.selection = settings.selection or ("loo" if single else "folds")
        self.gap = responses.gap if settings.gap is None else settings.gap
        self.groups = _groups(responses)
        known = responses.nuisances
        self.nuisances = known if known is not None and known.shape[1] else None
        self._residuals: Tensor | None = None
        self.fold = torch.empty(len(responses.runs), dtype=torch.int64)
        folds = contiguous_folds(len(self.fold), groups=self.groups, n_folds=settings.n_folds, gap=self.gap)
        for index, (_, test) in enumerate(folds):
            self.fold[test.cpu()] = index
        longest = max(len(test) for _, test in folds)
        if longest < MIN_ROWS:
            raise InputError(
                f"A score is a correlation within a test fold, which takes {MIN_ROWS} rows, got {longest} at "
                f"most ({len(self.fold)} rows in {len(folds)} folds): give more stimuli or volumes, or lower "
                "n_folds."
            )

    def to(self, device: torch.device) -> Encoder:
        """Return the same encoder on another device, see `Responses.to`."""
        moved = self.responses.to(device)
        return self if moved is self.responses else Encoder(moved, self.settings)

    def check(self) -> None:
        """Fit noise, which costs nothing and fails as any features would.

        Raises:
            ValueError: a gap that leaves an inner fold nothing to train on, or runs too short for the null.
        """
        generator = torch.Generator().manual_seed(0)
        X, Y = torch.randn(2, len(self.fold), 1, generator=generator)
        result = self.fit(X, Y, warn=False)
        if self.settings.n_permutations:
            self.null(X, Y, result, "alone", n_permutations=1)

    def to_volumes(self, features: Tensor) -> Tensor:
        """Carry stimulus features to the clock of the responses, (T, P * delays), see `Responses`."""
        return self.responses.to_volumes(features.to(working_dtype(features)))

    def encode_group(self, features: Tensor, scaling: Scaling = "unit") -> Fits:
        """Encode stimulus features (N, P) into the subjects' mean; the reported fit warns of NaN scores."""
        reported = self.settings.score
        X, Y = self.to_volumes(features), self.responses.group_mean.to(features.device)
        return self.fits(X, Y, scaling=scaling, warn=reported)

    def fits(
        self,
        X: Tensor,
        targets: Tensor,
        *,
        scaling: Scaling = "unit",
        warn: Score | None = None,
        keep: Score | None = None,
    ) -> Fits:
        """Encode features on the responses' clock (T, P) into targets (T, R), alone and beside the nuisances.

        Args:
            X: (T, P) features.
            targets: (T, R) responses.
            scaling: see `ridge_cv`.
            warn: the number whose fit says which ROIs score NaN; None: the caller does.
            keep: the number whose fit keeps its predictions; None: neither.
        """
        without = self.nuisances is None
        told, kept = (name == "alone" or bool(name and without) for name in (warn, keep))
        alone = self.fit(X, targets, scaling=scaling, warn=told, keep_preds=kept)
        if without:
            return Fits(alone, alone)
        told, kept = (name in ("joint", "partial") for name in (warn, keep))
        beside = self.fit(X, targets, nuisances=self.nuisances, scaling=scaling, warn=told, keep_preds=kept)
        return Fits(alone, beside)

    def fit(
        self,
        X: Tensor,
        targets: Tensor,
        *,
        nuisances: Tensor | None = None,
        scaling: Scaling = "unit",
        keep_preds: bool = False,
        warn: bool = True,
    ) -> EncodingResult:
        """Encode features on the responses' clock (T, P) into targets (T, R), see `ridge_cv`."""
        dtype = working_dtype(X)
        return ridge_cv(
            X.to(dtype),
            targets.to(X.device, dtype),
            groups=self.groups,
            n_folds=self.settings.n_folds,
            gap=self.gap,
            selection=self.selection,
            nuisances=nuisances,
            scaling=scaling,
            keep_preds=keep_preds,
            warn=warn,
        )

    def banded(
        self,
        bands: Sequence[Tensor],
        targets: Tensor,
        *,
        nuisances: Tensor | None = None,
        scaling: Scaling = "unit",
        keep_preds: bool = False,
    ) -> BandedResult:
        """Encode several features (T, P_b) with a penalty each into targets (T, R), see `banded_ridge_cv`."""
        dtype = working_dtype(*bands)
        return banded_ridge_cv(
            torch.cat([band.to(dtype) for band in bands], dim=1),
            targets.to(bands[0].device, dtype),
            [band.shape[1] for band in bands],
            groups=self.groups,
            n_folds=self.settings.n_folds,
            gap=self.gap,
            selection=self.selection,
            nuisances=nuisances,
            scaling=scaling,
            seed=self.settings.seed,
            keep_preds=keep_preds,
        )

    def null(
        self, X: Tensor, targets: Tensor, result: EncodingResult, score: Score, *, n_permutations: int
    ) -> Tensor:
        """(M, R) the same number on moved responses: series rotate, single responses change places."""
        moves: Moves = "blocks" if self.responses.tr is None else "shift"
        return ridge_null(
            X,
            targets.to(result.r),
            result,
            groups=self.groups,
            gap=self.gap,
            nuisances=None if score == "alone" else self.nuisances,
            joint=score == "joint",
            moves=moves,
            together=self.responses.identical,
            n_permutations=n_permutations,
            seed=self.settings.seed,
        )

    def subject_targets(self, score: Score) -> Tensor:
        """Return what a number's predictions are correlated with, subject by subject: (S, T, R).

        Without nuisances in each fold where the number is partial; their mean over subjects is then the
        target of the group's fit, where no value is missing.
        """
        values = self.responses.values
        if score != "partial" or self.nuisances is None:
            return values
        if self._residuals is None:
            wide = values.movedim(1, 0).flatten(1)  # (T, S * R)
            left = torch.full_like(wide, float("nan"), dtype=torch.float64)
            folds = contiguous_folds(
                len(wide), groups=self.groups, n_folds=self.settings.n_folds, gap=self.gap, device=wide.device
            )
            for train, test in folds:
                for columns, seen in column_patterns(wide[train]):
                    if len(train[seen]) < 2:  # such as a bad channel
                        continue
                    y = standardize(wide[:, columns], train[seen], test, self.nuisances.to(wide.device))
                    left[test[:, None], columns] = y.test / y.factor  # 0 / 0 where nothing is left
            self._residuals = left.view(len(left), len(values), -1).movedim(1, 0)
        return self._residuals

    def model(self, X: Tensor, targets: Tensor, *, scaling: Scaling = "unit") -> RidgeModel:
        """Fit features (T, P) beside the nuisances to all rows of targets (T, R), see `ridge_fit`."""
        dtype = working_dtype(X)
        return ridge_fit(
            X.to(dtype),
            targets.to(X.device, dtype),
            groups=self.groups,
            gap=self.gap,
            selection=self.selection,
            nuisances=self.nuisances,
            scaling=scaling,
        )

    def group_ceiling(self) -> Tensor:
        """Return the (R,) noise ceiling of the subjects' mean: the responses' own, else of split halves.

        An estimate is averaged over the folds, as the scores are; with a single subject it is NaN.
        """
        if self.responses.noise_ceiling is not None:
            return self.responses.noise_ceiling
        return self._estimate("split_half", self.settings.seed)

    def subject_ceilings(self) -> list[Tensor]:
        """Return S (R,) noise ceilings: the responses' own, else each subject against the others' mean."""
        if self.responses.subject_ceilings is not None:
            return list(self.responses.subject_ceilings)
        return [self._estimate("loo_subject")] * len(self.responses.subjects)

    def _estimate(self, method: CeilingMethod, seed: int = 0) -> Tensor:
        if len(self.responses.subjects) < 2:
            return torch.full((len(self.responses.rois),), torch.nan)
        return self.responses.estimate_ceiling(method, seed=seed, fold=self.fold)


def _groups(responses: Responses) -> Tensor | None:
    """Return what folds hold out whole, (T,); None where they are blocks of a single run."""
    runs = responses.runs if len(torch.unique(responses.runs)) > 1 else None
    if responses.identical is None or runs is None:
        return runs if responses.identical is None else responses.identical
    groups = connected_groups(responses.identical, runs)
    if len(torch.unique(groups)) < 2:
        raise InputError(
            f"groups='identical' keeps all of {responses.dataset!r} in one fold: its runs, which are held "
            "out whole, share stimuli with one another. Leave runs out, so that folds go by stimuli alone; "
            "or leave groups out, so that a stimulus may stand on both sides."
        )
    return groups
