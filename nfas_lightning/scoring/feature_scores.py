"""Scores of all features of one model: fits, warnings, p values and tables."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data.responses import Responses
from nfas_lightning.functional.clusters import cluster_test, grid_edges
from nfas_lightning.functional.correlation import average_folds, squared_correlation
from nfas_lightning.functional.fdr import fdr
from nfas_lightning.functional.nulls import permutation_p
from nfas_lightning.functional.ridge import MANY_AT_EDGE, EncodingResult, Scaling
from nfas_lightning.results import LIMITS, SCORES, Score, empty_table
from nfas_lightning.results.numbers import column_of
from nfas_lightning.scoring.encoder import Encoder, Fits, Scores
from nfas_lightning.scoring.regions import Regions
from nfas_lightning.scoring.settings import ScoringSettings

__all__ = ["Encoded", "FeatureScores", "best_block"]

GROUP = "group"
_TIE = 1e-5  # shares of variance this close are float32's rounding
_KEPT = 2**22  # draws of a null, over all ROIs, that are kept beside the scores
_ENOUGH = 30  # folds and ROIs of which a share is told
_UNDEFINED = "responses, features or predictions are constant in some fold"


class Encoded(NamedTuple):
    """What became of one feature.

    Attributes:
        scores: the three numbers, (K * R,) each.
        n_volumes: (K * R,) as in `EncodingResult`.
        alpha_at_edge: (K * R,) the same of the fit that is reported.
        X: (T, P) features on the volumes' clock; None where there is nothing to test.
        fits: what the numbers come from; None for a choice among several.
        preds: (T, K * R) out-of-fold predictions behind the reported number, where there are intervals.
    """

    scores: Mapping[Score, Scores]
    n_volumes: Tensor
    alpha_at_edge: Tensor
    X: Tensor | None = None
    fits: Fits | None = None
    preds: Tensor | None = None


class FeatureScores:
    """Every feature of a model through one encoding model: same responses, same folds, same null."""

    def __init__(self, responses: Responses, settings: ScoringSettings) -> None:
        self.responses = responses
        self.settings = settings
        self.encoder = Encoder(responses, settings)
        self._group = settings.subjects in ("group", "both")
        self._each = settings.subjects in ("each", "both")
        self.labels = (GROUP,) * self._group + responses.subjects * self._each
        parts = [responses.group_mean] * self._group + list(responses.values) * self._each
        self.targets = (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).to(responses.runs.device)
        self.regions = None if settings.regions is None else Regions.of(responses.rois, settings.regions)
        self.rois = responses.rois if self.regions is None else self.regions.rois
        self.edges = self._edges()
        self.nulls = empty_table("nulls")  # of the stable mode, once its table is made
        self.keep: Score | None = settings.score if settings.draws(responses) else None
        self.limits: dict[str, dict[str, Tensor]] = {}  # of intervals, by feature and column, once drawn

    def _edges(self) -> Tensor | None:
        """Return which rows of responses in time are neighbors; regions are so from lag to lag alone."""
        if (lags := self.responses.lags) is None:
            return None
        neighbors = lags.neighbors if self.regions is None else lags.neighbors[:0]
        return grid_edges(neighbors, len(self.rois) // len(lags.times), len(lags.times))

    @cached_property
    def ceilings(self) -> list[Tensor]:
        """Noise ceiling of every target set, (R,) each."""
        group = [self.encoder.group_ceiling()] if self._group else []
        return group + (self.encoder.subject_ceilings() if self._each else [])

    def features(self, features: Tensor, scaling: Scaling = "unit") -> Encoded:
        """Encode stimulus features (N, P), or those of presented stimuli, scaled as `ridge_cv` says."""
        X = self.encoder.to_volumes(features)
        if bool(X.isnan().any()):  # of a trajectory without dynamics
            # constant features go through the same folds and score NaN everywhere
            undefined = self.encoder.fit(torch.zeros_like(X[:, :1]), self.targets, warn=False)
            return self._encoded(Fits(undefined, undefined), None)
        # one fit per block, each with the same ROIs missing: warn_undefined says it once
        return self._encoded(self.encoder.fits(X, self.targets, scaling=scaling, keep=self.keep), X)

    def nuisances(self) -> Encoded | None:
        """Encode the nuisances as a feature, which has no other to be joined with or to add to."""
        X = self.encoder.nuisances
        if X is None:
            return None
        alone = self.encoder.fit(X, self.targets, warn=False, keep_preds=self.keep is not None)
        own = Fits(alone, alone)
        nothing = Scores(*(torch.full_like(part, math.nan) for part in own.scores("alone")))
        return self._encoded(own, X)._replace(
            scores={"alone": own.scores("alone"), "joint": own.scores("alone"), "partial": nothing}
        )

    def _encoded(self, fits: Fits, X: Tensor | None) -> Encoded:
        shown = fits.fit(self.settings.score)
        numbers = {score: fits.scores(score) for score in SCORES}
        preds = None
        if shown.predictions is not None:  # targets are the same for all features: they are not kept
            preds = shown.joint_preds if self.settings.score == "joint" else shown.preds
            fits = Fits(*(replace(fit, predictions=None) for fit in fits))
        return Encoded(numbers, shown.n_volumes, shown.alpha_at_edge, X, fits, preds)

    def shown(self, feature: str) -> Score:
        """Return which of a feature's numbers is reported and tested: the nuisances have but one."""
        return "alone" if feature == "nuisance" else self.settings.score

    def warn_undefined(self, name: str, encoded: Mapping[str, Encoded], *, twin: bool) -> None:
        """Warn once per model of the ROIs that score NaN, and why; once more where features add some.

        Args:
            name: of the model.
            encoded: its features and blocks, by what they are called.
            twin: ROIs without responses were named for the model itself.
        """
        undefined = {
            feature: result.scores[self.shown(feature)].r.isnan() for feature, result in encoded.items()
        }
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

    def warn_grid(self, name: str, encoded: Mapping[str, Encoded]) -> None:
        """Warn once per model of features whose alphas end before the best one."""
        fits = {
            feature: result.fits.fit(self.shown(feature))
            for feature, result in encoded.items()
            if result.fits is not None
        }
        # a tenth of fewer is a handful of folds
        shares = {
            feature: fit.grid_too_short
            for feature, fit in fits.items()
            if int((~fit.alphas.isnan()).sum()) >= _ENOUGH
        }
        short = {feature: share for feature, share in shares.items() if share > MANY_AT_EDGE}
        if short:
            listed = ", ".join(f"{feature!r} {share:.0%}" for feature, share in list(short.items())[:4])
            warnings.warn(
                f"The grid of ridge penalties ends too early for {name!r}. Folds and ROIs that take its "
                f"smallest or largest where one beyond could score otherwise: {listed}. Their scores may be "
                "too low; the column alpha_at_edge tells of each ROI.",
                stacklevel=3,
            )

    def _count(self, columns: Tensor) -> int:
        """Number of ROIs with any of these (K * R,) columns."""
        return int(columns.view(len(self.labels), -1).any(dim=0).sum())

    def null(self, encoded: Encoded, score: Score) -> Tensor:
        """(P, K * G) r of the same fits on shifted (time series) or permuted responses, by table rows."""
        assert encoded.fits is not None
        assert encoded.X is not None
        result, count = encoded.fits.fit(score), self.settings.n_permutations
        return self.by_row(self.encoder.null(encoded.X, self.targets, result, score, n_permutations=count))

    def by_row(self, values: Tensor) -> Tensor:
        """Return one value per row of the tables, (..., K * G), of those of all targets (..., K * R)."""
        if self.regions is None:
            return values
        parts = torch.tensor_split(values, len(self.labels), dim=-1)
        return torch.cat([self.rows_of(label, part) for label, part in enumerate(parts)], dim=-1)

    def rows_of(self, label: int, values: Tensor) -> Tensor:
        """Return one value per row of the tables for one set of subjects, (..., G), from (..., R)."""
        if self.regions is None:
            return values
        least = self.settings.least_ceiling
        return self.regions.mean(values, None if least is None else self.ceilings[label] >= least)

    def table(self, encoded: Encoded, base: Mapping[str, Any]) -> pd.DataFrame:
        """Long-form rows of one feature: one per subject and ROI."""
        n_rois = len(self.rois)
        shown = self.shown(base["feature"])
        r = self.by_row(encoded.scores[shown].r)
        p = torch.full_like(r, math.nan)
        p_cluster = p.clone()
        tested = self.settings.n_permutations and base["feature"] in self.settings.null_features
        if tested and encoded.X is not None:
            null = self.null(encoded, shown)
            p = permutation_p(r, null)
            if self.edges is not None:
                pairs = zip(torch.split(r, n_rois), torch.split(null, n_rois, dim=1), strict=True)
                p_cluster = torch.cat([cluster_test(*pair, self.edges).p_value for pair in pairs])
            if base["feature"] == "stable_mode" and self._group and null.shape[0] * n_rois <= _KEPT:
                draws = list(null[:, :n_rois].T.float().cpu().numpy())
                kept = {"roi": self.rois["roi"].to_numpy(), "draws": draws}
                labels = {"model": base["model"], "dataset": base["dataset"], "seed": self.settings.seed}
                self.nulls = pd.DataFrame(kept).assign(**labels)
            if lost := self._count(p.isnan() & ~r.isnan()):
                warnings.warn(
                    f"{lost} of {n_rois} ROIs have r but no p for {base['model']!r} under "
                    f"{base['feature']!r}: some permutations leave their responses constant in a fold.",
                    stacklevel=3,
                )
        columns = {
            column_of(value, score): self.by_row(getattr(numbers, value))
            for score, numbers in encoded.scores.items()
            for value in ("r", "r2")
        }
        columns["ceiling"] = self.by_row(torch.cat(self.ceilings).to(r))
        columns |= self.limits.get(base["feature"], dict.fromkeys(LIMITS, torch.full_like(r, math.nan)))
        columns["above_ceiling"] = r > columns["ceiling"]
        columns["n_volumes"], columns["p"] = encoded.n_volumes, p
        columns["alpha_at_edge"] = self.by_row(encoded.alpha_at_edge)
        if self.edges is not None:
            columns["p_cluster"] = p_cluster
        if self.regions is not None:
            columns["n_volumes"] = self.by_row(encoded.n_volumes.to(r)).round()
        in_time = [] if self.edges is None else ["channel", "lag"]
        frames = []
        for k, label in enumerate(self.labels):
            part = slice(k * n_rois, (k + 1) * n_rois)
            frame = pd.DataFrame(
                {
                    "roi": self.rois["roi"].to_numpy(),
                    "network": self.networks,
                    **{name: values[part].cpu().numpy() for name, values in columns.items()},
                    "q": fdr(p[part]).cpu().numpy(),
                    **{name: self.rois[name].to_numpy() for name in in_time},
                }
            )
            frames.append(frame.assign(subject=label))
        labels = {**base, "score": shown, "simulated": self.responses.simulated}
        return pd.concat(frames, ignore_index=True).assign(**labels)

    def group_rows(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """Return the reported r and r2 (R,) of the group mean, or where there is none the subjects' mean."""
        numbers = encoded.scores[self.settings.score][:2]
        r, r2 = (self.by_row(part).view(len(self.labels), -1) for part in numbers)
        return (r[0], r2[0]) if self._group else (r.nanmean(dim=0), r2.nanmean(dim=0))

    @property
    def networks(self) -> Any:
        """Network of each row's ROI, or where there are none the data set's name."""
        rois = self.rois
        named = rois["network"] if "network" in rois.columns else [self.responses.dataset] * len(rois)
        return np.asarray(named)


def best_block(blocks: Sequence[Fits], shown: Score, preds: Sequence[Tensor] = ()) -> Encoded:
    """Score blocks together: per fold and ROI the earliest block that won inside that fold's training data.

    Each number has a choice of its own, by the inner scores of the fit that it comes from.

    Args:
        blocks: fits in the same folds.
        shown: the number that volumes and edges are reported of.
        preds: (T, K * R) predictions behind that number, of each block; none: they were not kept.
    """
    scores: dict[Score, Scores] = {}
    for score in SCORES:
        fits = [block.fit(score) for block in blocks]
        winner = _winner(fits)
        fold_r = torch.stack([block.scores(score).fold_r for block in blocks]).gather(0, winner)[0]
        r = average_folds(fold_r, fits[0].fold_observed)
        scores[score] = Scores(r, squared_correlation(r), fold_r)
    fits = [block.fit(shown) for block in blocks]
    winner = _winner(fits)
    n_volumes = torch.stack([fit.fold_volumes for fit in fits]).gather(0, winner)[0].sum(dim=0)
    at_edge = torch.stack([fit.fold_at_edge for fit in fits]).gather(0, winner)[0].nanmean(dim=0)
    chosen = preds[0].clone() if preds else None
    for index, block in enumerate(preds):
        assert chosen is not None
        own = winner[0][fits[0].fold] == index
        chosen[own] = block[own]
    return Encoded(scores, n_volumes, at_edge, preds=chosen)


def _winner(fits: Sequence[EncodingResult]) -> Tensor:
    """Return (1, folds, K * R): the earliest fit of the best score inside each fold's training rows."""
    inner = torch.stack([fit.inner_score for fit in fits]).nan_to_num(nan=-math.inf)
    # where no block predicts, all stand at the same score but for rounding, which differs between machines
    tied = inner >= inner.amax(dim=0) - _TIE
    return tied.int().argmax(dim=0)[None]
