"""Intervals of a model's scores, and the draws that those of differences come from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.data.responses import Responses
from nfas_lightning.functional.correlation import squared_correlation
from nfas_lightning.functional.intervals import BootstrapDraws, bootstrap_scores, interval
from nfas_lightning.results import GROUP, LIMITS, empty_table
from nfas_lightning.scoring.feature_scores import Encoded, FeatureScores

__all__ = ["draw_intervals"]

_FEWEST = 3  # subjects that are resampled: two say nothing of others


def draw_intervals(
    encode: FeatureScores, given: Responses, encoded: Mapping[str, Encoded], base: Mapping[str, Any]
) -> pd.DataFrame:
    """Resample the out-of-fold predictions of a model's features, the same rows and subjects for all.

    Limits of every row go into `FeatureScores.limits`. Limits of r are taken on Fisher's scale; those of r2
    are their squares, but of a region formed after the fit those of its mean r2.

    Args:
        encode: that encoded the features; without predictions kept, nothing is drawn.
        given: the responses where they were before they moved to the device: a digest of them is taken.
        encoded: the features by name.
        base: ``model``, ``modality`` and ``dataset``.

    Returns:
        The draws of the means over rows, see `ModelResult.draws`.
    """
    settings, responses = encode.settings, encode.encoder.responses
    names = [name for name, result in encoded.items() if result.preds is not None]
    n_targets, tables = len(responses.rois), []
    limits: dict[str, list[Tensor]] = {name: [] for name in names}
    for k, label in enumerate(encode.labels):
        subjects = slice(None) if label == GROUP else slice(own := responses.subjects.index(label), own + 1)
        columns = slice(k * n_targets, (k + 1) * n_targets)
        for score in dict.fromkeys(encode.shown(name) for name in names):
            some = [name for name in names if encode.shown(name) == score]
            preds = torch.stack([_kept(encoded[name])[:, columns] for name in some])
            targets = encode.encoder.subject_targets(score)[subjects].to(preds.device)
            if len(targets) < _FEWEST:
                targets = targets.nanmean(0, keepdim=True)
            drawn = bootstrap_scores(
                preds,
                targets,
                encode.encoder.fold,
                block_length=settings.drawn_rows(responses),
                units=responses.identical,
                n_draws=settings.draws(responses),
                seed=settings.seed,
            )
            rows = partial(encode.rows_of, k)
            r, r2 = drawn.map(rows), drawn.map(squared_correlation).map(rows)
            numbers = [encoded[name].scores[score] for name in some]
            own_r, own_r2 = (
                torch.stack([encode.rows_of(k, getattr(number, value)[columns]) for number in numbers])
                for value in ("r", "r2")
            )
            for name, found in zip(some, _limits(own_r, own_r2, r, r2, encode.regions is None), strict=True):
                limits[name].append(found)
            paired = _paired(encode, given, subjects, own_r)
            table = _table(some, paired, {"r": (own_r, r), "r2": (own_r2, r2)})
            tables.append(table.assign(subject=label, score=score, **base))
    encode.limits = {
        name: dict(zip(LIMITS, torch.cat(found, dim=1), strict=True))
        for name, found in limits.items()
        if found
    }
    return pd.concat(tables, ignore_index=True) if tables else empty_table("draws")


def _kept(result: Encoded) -> Tensor:
    assert result.preds is not None
    return result.preds


def _limits(own_r: Tensor, own_r2: Tensor, r: BootstrapDraws, r2: BootstrapDraws, is_squared: bool) -> Tensor:
    """Return limits of r and of r2, (K, 4, G)."""
    of_r = interval(own_r, r, correlation=True)
    ends = [of_r.low, of_r.high]
    if is_squared:
        ends += [squared_correlation(end) for end in ends]
    else:
        of_r2 = interval(own_r2, r2)
        ends += [of_r2.low, of_r2.high]
    return torch.stack(ends, dim=1)


def _table(
    names: list[str], paired: list[str], values: Mapping[str, tuple[Tensor, BootstrapDraws]]
) -> pd.DataFrame:
    """Return one row per feature, number and what was resampled: the mean over rows and its draws."""
    rows = []
    for value, (own, drawn) in values.items():
        mean = drawn.map(lambda scores: scores.nanmean(-1))
        parts = {"stimuli": mean.stimuli, "subjects": mean.subjects, "both": mean.both}
        for resampled, part in parts.items():
            if part is None:
                continue
            shared = {
                "value": value, "resampled": resampled, "n_stimuli": drawn.n_stimuli,
                "n_subjects": drawn.n_subjects, "n_strata": drawn.n_strata, "n_folds": drawn.n_folds,
            }  # fmt: skip
            draws = list(part.T.float().cpu().numpy())
            estimates = own.nanmean(-1).tolist()
            counts = (~own.isnan()).sum(-1).tolist()
            rows += [
                {"feature": name, **shared, "mean": score, "n_rois": count, "paired": key, "draws": draw}
                for name, score, count, key, draw in zip(names, estimates, counts, paired, draws, strict=True)
            ]
    return pd.DataFrame(rows)


def _paired(encode: FeatureScores, given: Responses, subjects: slice, scores: Tensor) -> list[str]:
    """Return a digest per feature: draws of one digest come from the same rows, subjects and ROIs."""
    settings = encode.settings
    made = (
        settings.drawn_rows(given), settings.draws(given), settings.seed, settings.regions,
        settings.least_ceiling,
    )  # fmt: skip
    digest = hashlib.sha256(repr(made).encode())
    for part in (given.values[subjects], encode.encoder.fold, given.identical):
        if part is not None:
            digest.update(part.detach().cpu().contiguous().numpy().tobytes())
    keys = []
    for known in (~scores.isnan()).cpu():  # rows that score differ between features and models
        own = digest.copy()
        own.update(known.numpy().tobytes())
        keys.append(own.hexdigest()[:16])
    return keys
