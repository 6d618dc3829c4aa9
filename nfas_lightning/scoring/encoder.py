"""The encoding model that all features of a model go through."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data.responses import Responses
from nfas_lightning.functional.correlation import average_folds, squared_correlation
from nfas_lightning.functional.encoding import EncodingResult, Scaling, observed_folds
from nfas_lightning.functional.fdr import fdr
from nfas_lightning.functional.nulls import permutation_p
from nfas_lightning.functional.ridge_null import ridge_null
from nfas_lightning.scoring.settings import ScoringSettings

__all__ = ["Encoded", "Encoder", "Scores", "best_block"]

GROUP = "group"
_TIE = 1e-5  # shares of variance this close are float32's rounding
_UNDEFINED = "responses, features or predictions are constant in some fold"


class Scores(NamedTuple):
    """What the tables tell of a feature: `r`, `r2` and `n_volumes` as in `EncodingResult`, (K * R,) each."""

    r: Tensor
    r2: Tensor
    n_volumes: Tensor


Encoded = tuple[Tensor | None, EncodingResult]
"""Features on the volumes' clock (T, P), and what became of them."""


class Encoder:
    """One encoding model for every feature of a model: same responses, same folds, same null."""

    def __init__(self, responses: Responses, settings: ScoringSettings) -> None:
        self.responses = responses
        self.settings = settings
        self.ridge = settings.ridge(responses)
        self._group = settings.subjects in ("group", "both")
        self._each = settings.subjects in ("each", "both")
        self.labels = (GROUP,) * self._group + responses.subjects * self._each
        parts = [responses.group_mean] * self._group + list(responses.values) * self._each
        self.targets = torch.cat(parts, dim=1)

    @cached_property
    def ceilings(self) -> list[Tensor]:
        """Noise ceiling of every target set, (R,) each."""
        group = [self.ridge.group_ceiling(self.settings.seed)] if self._group else []
        return group + (self.ridge.subject_ceilings() if self._each else [])

    def features(self, features: Tensor, scaling: Scaling = "unit") -> Encoded:
        """Encode stimulus features (N, P), scaled as `ridge_cv` says."""
        return self.volumes(self.ridge.to_volumes(features), scaling)

    def volumes(self, X: Tensor, scaling: Scaling = "unit") -> Encoded:
        """Encode features that are on the volumes' clock, (T, P)."""
        if bool(X.isnan().any()):  # of a trajectory without dynamics
            return None, self._undefined(X)
        # a fit a block, each with the same ROIs missing: warn_undefined says it once
        return X, self.ridge.fit(X, self.targets, scaling=scaling, warn=False)

    def warn_undefined(
        self, name: str, results: Mapping[str, EncodingResult | Scores], *, twin: bool
    ) -> None:
        """Warn once a model of the ROIs that score NaN, and why; once more where features add some.

        Args:
            name: of the model.
            results: of its features and blocks, by what they are called.
            twin: ROIs without responses were named for the model itself.
        """
        undefined = {feature: result.r.isnan() for feature, result in results.items()}
        everywhere = torch.stack(list(undefined.values())).all(dim=0)
        silent = everywhere & self.targets.isnan().all(dim=0).to(everywhere.device)
        where = f" in one of {len(self.labels)} sets of subjects or more" if len(self.labels) > 1 else ""
        reasons = []
        if count := self._count(silent):
            reasons.append(f"{count} without any response")
        if count := self._count(everywhere & ~silent):
            reasons.append(f"{count} whose {_UNDEFINED}, or of which too few responses are observed")
        if len(reasons) > int(twin and bool(silent.any())):
            total = len(self.responses.rois)
            warnings.warn(
                f"{self._count(everywhere)} of {total} ROIs score NaN for {name!r}{where}: "
                f"{' and '.join(reasons)}.",
                stacklevel=3,
            )
        more = {feature: columns & ~everywhere for feature, columns in undefined.items()}
        some = {feature: count for feature, columns in more.items() if (count := self._count(columns))}
        if some:
            each = ", ".join(f"{count} under {feature!r}" for feature, count in list(some.items())[:4])
            rest = f" and some under {len(some) - 4} others" if len(some) > 4 else ""
            warnings.warn(
                f"ROIs score NaN for {name!r} under some features alone{where}, as their {_UNDEFINED}: "
                f"{each}{rest}.",
                stacklevel=3,
            )

    def _undefined(self, X: Tensor) -> EncodingResult:
        """Return what features (T, P) score that are not there: NaN in every fold."""
        # constant features go through the same folds and score NaN everywhere
        return self.ridge.fit(torch.zeros_like(X[:, :1]), self.targets, warn=False)

    def _count(self, columns: Tensor) -> int:
        """Number of ROIs with any of these (K * R,) columns."""
        return int(columns.view(len(self.labels), -1).any(dim=0).sum())

    def p_values(self, X: Tensor, result: EncodingResult) -> Tensor:
        """(K * R,) one-sided p: the same fits on shifted (time series) or permuted responses."""
        null = ridge_null(
            X,
            self.targets.to(result.preds),
            result,
            groups=self.ridge.groups,
            gap=self.ridge.gap,
            nuisances=self.ridge.nuisances,
            moves=self.ridge.moves,
            together=self.responses.identical,
            n_permutations=self.settings.n_permutations,
            seed=self.settings.seed,
        )
        return permutation_p(result.r, null)

    def table(
        self, X: Tensor | None, result: EncodingResult | Scores, base: Mapping[str, Any]
    ) -> pd.DataFrame:
        """Long-form rows of one feature: one a subject and ROI."""
        n_rois = len(self.responses.rois)
        tested = self.settings.n_permutations and base["feature"] in self.settings.null_features
        p = torch.full_like(result.r, math.nan)
        if tested and X is not None and isinstance(result, EncodingResult):
            p = self.p_values(X, result)
            if lost := self._count(p.isnan() & ~result.r.isnan()):
                warnings.warn(
                    f"{lost} of {n_rois} ROIs have r but no p for {base['model']!r} under "
                    f"{base['feature']!r}: some permutations leave their responses constant in a fold.",
                    stacklevel=3,
                )
        frames = []
        for k, label in enumerate(self.labels):
            part = slice(k * n_rois, (k + 1) * n_rois)
            frame = pd.DataFrame(
                {
                    "roi": self.responses.rois["roi"].to_numpy(),
                    "network": self._network(),
                    "r": result.r[part].cpu().numpy(),
                    "r2": result.r2[part].cpu().numpy(),
                    "p": p[part].cpu().numpy(),
                    "q": fdr(p[part]).cpu().numpy(),
                    "ceiling": self.ceilings[k].cpu().numpy(),
                    "n_volumes": result.n_volumes[part].cpu().numpy(),
                }
            )
            frames.append(frame.assign(subject=label))
        return pd.concat(frames, ignore_index=True).assign(**base, simulated=self.responses.simulated)

    def group_rows(self, result: EncodingResult) -> tuple[Tensor, Tensor]:
        """Return r and r2 (R,) of the group mean, or where it is not scored their mean over subjects."""
        r, r2 = (scores.view(len(self.labels), -1) for scores in (result.r, result.r2))
        return (r[0], r2[0]) if self._group else (r.nanmean(dim=0), r2.nanmean(dim=0))

    def _network(self) -> Any:
        rois = self.responses.rois
        return rois["network"].to_numpy() if "network" in rois.columns else self.responses.dataset


def best_block(blocks: list[EncodingResult], targets: Tensor) -> Scores:
    """Score blocks together: per fold and ROI the earliest block that won inside that fold's training data.

    Args:
        blocks: results of the same folds.
        targets: (T, K * R) the responses that all of them were fitted to.
    """
    inner = torch.stack([block.inner_score for block in blocks]).nan_to_num(nan=-math.inf)
    # where no block predicts, all stand at the same score but for rounding, which differs between machines
    tied = inner >= inner.amax(dim=0) - _TIE
    winner = tied.int().argmax(dim=0)[None]  # (1, folds, K * R), the earliest of those tied
    fold_r = torch.stack([block.fold_r for block in blocks]).gather(0, winner)[0]
    n_volumes = torch.stack([_volumes_by_fold(block) for block in blocks]).gather(0, winner)[0].sum(dim=0)
    observed = observed_folds(targets.to(fold_r.device), blocks[0].fold, len(fold_r))
    r = average_folds(fold_r, observed)
    return Scores(r=r, r2=squared_correlation(r), n_volumes=n_volumes)


def _volumes_by_fold(result: EncodingResult) -> Tensor:
    """Count rows that were observed and tested, (folds, K * R)."""
    counted = ~(result.preds.isnan() | result.target.isnan())
    return torch.stack([counted[result.fold == index].sum(dim=0) for index in range(len(result.fold_r))])
