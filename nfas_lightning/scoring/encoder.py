"""The encoding model that all features of a model go through."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data.responses import Responses
from nfas_lightning.functional.alignment import squared_correlation
from nfas_lightning.functional.ceiling import noise_ceiling
from nfas_lightning.functional.correlation import average_folds
from nfas_lightning.functional.encoding import EncodingResult, observed_folds, ridge_cv
from nfas_lightning.functional.fdr import fdr
from nfas_lightning.functional.nulls import permutation_p
from nfas_lightning.functional.ridge_null import ridge_null
from nfas_lightning.scoring.settings import ScoringSettings

__all__ = ["Encoded", "Encoder", "best_block"]

GROUP = "group"
_UNDEFINED = "responses, features or predictions are constant in some fold"
Encoded = tuple[Tensor | None, EncodingResult]
"""Features on the volumes' clock (T, P), and what became of them."""


class Encoder:
    """One encoding model for every feature of a model: same responses, same folds, same null."""

    def __init__(self, responses: Responses, settings: ScoringSettings) -> None:
        self.responses = responses
        self.settings = settings
        group, each = settings.subjects in ("group", "both"), settings.subjects in ("each", "both")
        if not (group or each):
            raise ValueError(f"subjects must be 'group', 'each' or 'both', got {settings.subjects!r}.")
        self.labels = (GROUP,) * group + responses.subjects * each
        parts = [responses.group_mean] * group + list(responses.values) * each
        self.targets = torch.cat(parts, dim=1)
        self.ceilings = _ceilings(responses, group, each, settings.seed)
        self.runs = responses.runs if len(torch.unique(responses.runs)) > 1 else None
        self.is_time_series = responses.tr is not None
        self.nuisances = responses.nuisances if settings.partial_nuisances else None
        self.gap = responses.gap if settings.gap is None else settings.gap

    def features(self, features: Tensor) -> Encoded:
        """Encode stimulus features (N, P)."""
        return self.volumes(self.responses.to_volumes(features.float()))

    def volumes(self, X: Tensor) -> Encoded:
        """Encode features that are on the volumes' clock, (T, P)."""
        settings = self.settings
        if bool(X.isnan().any()):  # of a trajectory without dynamics
            return None, self._undefined(X)
        result = ridge_cv(
            X,
            self.targets.to(X.dtype),
            groups=self.runs,
            n_folds=settings.n_folds,
            gap=self.gap,
            selection=settings.selection or ("folds" if self.is_time_series else "loo"),
            nuisances=self.nuisances,
            warn=False,  # a fit a block, each with the same ROIs missing: warn_undefined says it once
        )
        return X, result

    def warn_undefined(self, name: str, results: Mapping[str, EncodingResult], *, twin: bool) -> None:
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
        _, constant = self.volumes(torch.zeros_like(X[:, :1]))
        return constant

    def _count(self, columns: Tensor) -> int:
        """Number of ROIs with any of these (K * R,) columns."""
        return int(columns.view(len(self.labels), -1).any(dim=0).sum())

    def p_values(self, X: Tensor, result: EncodingResult) -> Tensor:
        """(K * R,) one-sided p: the same fits on shifted (time series) or permuted responses."""
        null = ridge_null(
            X,
            self.targets.to(X.dtype),
            result,
            groups=self.runs,
            gap=self.gap,
            nuisances=self.nuisances,
            moves="shift" if self.is_time_series else "blocks",
            n_permutations=self.settings.n_permutations,
            seed=self.settings.seed,
        )
        return permutation_p(result.r, null)

    def table(self, X: Tensor | None, result: EncodingResult, base: Mapping[str, Any]) -> pd.DataFrame:
        """Long-form rows of one feature: one a subject and ROI."""
        n_rois = len(self.responses.rois)
        tested = self.settings.n_permutations and base["feature"] in self.settings.null_features
        p = self.p_values(X, result) if tested and X is not None else torch.full_like(result.r, math.nan)
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
                }
            )
            frames.append(frame.assign(subject=label))
        return pd.concat(frames, ignore_index=True).assign(
            **base, n_volumes=len(self.targets), simulated=self.responses.simulated
        )

    def group_rows(self, result: EncodingResult) -> tuple[Tensor, Tensor]:
        """Return r and r2 of the first target set (the group mean where it is scored), (R,) each."""
        n_rois = len(self.responses.rois)
        return result.r[:n_rois], result.r2[:n_rois]

    def _network(self) -> Any:
        rois = self.responses.rois
        return rois["network"].to_numpy() if "network" in rois.columns else self.responses.dataset


def best_block(blocks: list[EncodingResult], targets: Tensor) -> EncodingResult:
    """Join blocks into one result: per fold and ROI the block that won inside that fold's training data.

    Args:
        blocks: results of the same folds.
        targets: (T, K * R) the responses that all of them were fitted to.
    """
    inner = torch.stack([block.inner_score for block in blocks])
    winner = inner.nan_to_num(nan=-math.inf).argmax(dim=0)  # (folds, K * R)
    fold_r = torch.stack([block.fold_r for block in blocks]).gather(0, winner[None])[0]
    fold = blocks[0].fold
    preds = torch.stack([block.preds for block in blocks])
    chosen = preds.gather(0, winner[fold.clamp(min=0)][None])[0]
    chosen = torch.where(fold[:, None] >= 0, chosen, math.nan)
    r = average_folds(fold_r, observed_folds(targets, fold, len(fold_r)).to(fold_r.device))
    return replace(blocks[0], preds=chosen, fold_r=fold_r, r=r, r2=squared_correlation(r))


def _ceilings(responses: Responses, group: bool, each: bool, seed: int) -> list[Tensor]:
    """Ceiling of every target set: what the responses know, else split-half or leave-one-subject-out."""
    n_subjects, _, n_rois = responses.values.shape
    unknown = torch.full((n_rois,), math.nan)
    ceilings = []
    if group:
        if responses.noise_ceiling is not None:
            ceilings.append(responses.noise_ceiling)
        else:
            several = n_subjects > 1
            ceilings.append(
                noise_ceiling(responses.values, method="split_half", seed=seed) if several else unknown
            )
    if each and responses.subject_ceilings is not None:
        ceilings += list(responses.subject_ceilings)
    elif each:
        alone = noise_ceiling(responses.values, method="loo_subject") if n_subjects > 1 else unknown
        ceilings += [alone] * n_subjects
    return ceilings
