"""Ridge regression onto the responses of one benchmark: what every score of it shares."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from nfas_lightning.data.responses import Responses
from nfas_lightning.functional.ceiling import CeilingMethod
from nfas_lightning.functional.checks import working_dtype
from nfas_lightning.functional.correlation import MIN_ROWS
from nfas_lightning.functional.encoding import EncodingResult, Scaling, ridge_cv
from nfas_lightning.functional.folds import connected_groups, contiguous_folds
from nfas_lightning.functional.ridge_null import Moves, ridge_null

__all__ = ["BenchmarkRidge"]


class BenchmarkRidge:
    """Cross-validated ridge regression with the folds, gap, penalties and nuisances of one benchmark.

    It computes on the device and in the dtype of the features, half precisions raised to float32, whatever
    those of the responses.

    Args:
        responses: what the brain did.
        n_folds: outer folds where there is a single run; whole runs are held out where there are more.
        selection: ``"folds"`` or ``"loo"``; None: folds for time series and where stimuli are kept together,
            loo for one response a stimulus.
        gap: volumes dropped on either side of a test block; None takes the responses' own.
        partial_nuisances: regress the nuisances out of features and responses, inside the training folds.

    Attributes:
        groups: (T,) what is held out whole: runs, identical stimuli where `responses` says which, or what
            both leave together; None where there is one run alone.
        fold: (T,) index of the fold that tests each row.
        nuisances: (T, Q) what is regressed out; None: nothing.

    Raises:
        ValueError: nuisances are to be partialled out and there are none, all runs share identical stimuli,
            too few rows for the folds, or a gap that leaves a fold nothing to train on.
    """

    def __init__(
        self,
        responses: Responses,
        *,
        n_folds: int = 5,
        selection: Literal["folds", "loo"] | None = None,
        gap: int | None = None,
        partial_nuisances: bool = False,
    ) -> None:
        if partial_nuisances and responses.nuisances is None:
            raise ValueError(
                f"partial_nuisances=True needs nuisances, but the responses of {responses.dataset!r} hold "
                "none: set it to False, or give the datamodule nuisances."
            )
        self.responses = responses
        self.n_folds = n_folds
        alone = responses.tr is None and responses.identical is None
        self.selection = selection or ("loo" if alone else "folds")
        self.gap = responses.gap if gap is None else gap
        self.groups = _groups(responses)
        self.nuisances = responses.nuisances if partial_nuisances else None
        self.fold = torch.empty(len(responses.runs), dtype=torch.int64)
        folds = contiguous_folds(len(self.fold), groups=self.groups, n_folds=n_folds, gap=self.gap)
        for index, (_, test) in enumerate(folds):
            self.fold[test.cpu()] = index
        longest = max(len(test) for _, test in folds)
        if longest < MIN_ROWS:
            raise ValueError(
                f"A score is a correlation within a test fold, which takes {MIN_ROWS} rows, got {longest} at "
                f"most ({len(self.fold)} rows in {len(folds)} folds): give more stimuli or volumes, or lower "
                "n_folds."
            )

    @property
    def moves(self) -> Moves:
        """How the null moves responses: series rotate, single responses change places."""
        return "blocks" if self.responses.tr is None else "shift"

    def check(self, *, null: bool) -> None:
        """Fit noise, which costs nothing and fails as any features would.

        Args:
            null: whether p is asked for.

        Raises:
            ValueError: a gap that leaves an inner fold nothing to train on, or runs too short for the null.
        """
        generator = torch.Generator().manual_seed(0)
        X, Y = torch.randn(2, len(self.fold), 1, generator=generator)
        result = self.fit(X, Y, warn=False)
        if null:
            ridge_null(
                X,
                Y,
                result,
                groups=self.groups,
                gap=self.gap,
                moves=self.moves,
                together=self.responses.identical,
                n_permutations=1,
            )

    def to_volumes(self, features: Tensor) -> Tensor:
        """Carry stimulus features (N, P) to the clock of the responses, (T, P * delays)."""
        return self.responses.to_volumes(features.to(working_dtype(features)))

    def fit(
        self, X: Tensor, targets: Tensor, *, scaling: Scaling = "unit", warn: bool = True
    ) -> EncodingResult:
        """Encode features on the responses' clock (T, P) into targets (T, R), see `ridge_cv`."""
        dtype = working_dtype(X)
        return ridge_cv(
            X.to(dtype),
            targets.to(X.device, dtype),
            groups=self.groups,
            n_folds=self.n_folds,
            gap=self.gap,
            selection=self.selection,
            nuisances=self.nuisances,
            scaling=scaling,
            warn=warn,
        )

    def group_ceiling(self, seed: int = 0) -> Tensor:
        """Return the (R,) noise ceiling of the subjects' mean: the responses' own, else of split halves.

        An estimate is averaged over the folds, as the scores are; with a single subject it is NaN.
        """
        if self.responses.noise_ceiling is not None:
            return self.responses.noise_ceiling
        return self._estimate("split_half", seed)

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
        raise ValueError(
            f"groups='identical' keeps all of {responses.dataset!r} in one fold: its runs, which are held "
            "out whole, share stimuli with one another. Leave runs out, so that folds go by stimuli alone; "
            "or leave groups out, so that a stimulus may stand on both sides."
        )
    return groups
