"""Depth meets time: how well each block predicts at each lag, when best, and the slope of that over depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nfas_lightning.functional.clusters import cluster_test, grid_edges
from nfas_lightning.functional.intervals import BootstrapDraws, bootstrap_scores, interval
from nfas_lightning.functional.latency import depth_slope, gradient, peak_times
from nfas_lightning.results import OPTIONAL, empty_table
from nfas_lightning.scoring.feature_scores import Encoded, FeatureScores

__all__ = ["LagScores", "lag_scores"]

_FEWEST = 3  # subjects that are resampled: two say nothing of others
_DRAWS = 100  # of the bootstrap: standard errors to 7 %


class LagScores(NamedTuple):
    """What depth and lag say of one model.

    Attributes:
        lags: one row per lag of the stable mode and of each block, `OPTIONAL`: mean r over channels with
            its 95 % interval, and the p of the cluster of lags that it is in.
        peaks: columns for the depth table: ``peak_lag`` (s) of each block, ``peak_low`` and ``peak_high``.
        slope: for the card: ``lag_slope``, seconds from the first to the last block's peak by least squares,
            ``lag_slope_low``, ``lag_slope_high``; and ``lag_slope_p``, two-sided, of `gradient` on moved
            responses. Peaks of noise lie anywhere, so the null of the slope itself would have no power.
    """

    lags: pd.DataFrame
    peaks: dict[str, list[float]]
    slope: dict[str, float]


class _Curve(NamedTuple):
    """Mean r over channels: (K,) of the data, (B, K) of resampled and (P, K) of moved responses."""

    r: Tensor
    draws: BootstrapDraws
    null: Tensor | None


def lag_scores(
    encode: FeatureScores,
    stable: Encoded,
    blocks: Sequence[Encoded],
    layer_names: Sequence[str],
    base: Mapping[str, Any],
) -> LagScores:
    """Score features by lag, over all channels: of the subjects' mean or, without one, their average.

    Intervals come from a bootstrap over stimuli, and over subjects where there are three or more. One set of
    moves serves all blocks, so the null has the likeness that neighboring blocks have.

    Args:
        encode: of responses with `Responses.lags`.
        stable: the stable mode.
        blocks: L blocks in the order of depth; none without baselines.
        layer_names: of the blocks.
        base: ``model``, ``modality`` and ``dataset``.
    """
    assert encode.responses.lags is not None
    times = encode.responses.lags.times.double()
    named = [("stable_mode", np.nan, "", stable)]
    named += [
        ("block", place, name, b) for place, (name, b) in enumerate(zip(layer_names, blocks, strict=False))
    ]
    curves = [None if encoded.X is None else _curve(encode, encoded) for *_, encoded in named]
    frames = [
        _frame(curve, times).assign(feature=feature, depth=depth, layer=layer, **base)
        for (feature, depth, layer, _), curve in zip(named, curves, strict=True)
        if curve is not None
    ]
    lags = pd.concat(frames, ignore_index=True) if frames else empty_table("lags")
    of_blocks = [curve for curve in curves[1:] if curve is not None]
    if len(of_blocks) < 2 or len(of_blocks) < len(curves) - 1:
        return LagScores(lags[list(OPTIONAL["lags"])], {}, {})

    def peaks_of(curve: Tensor) -> Tensor:
        return peak_times(curve, times)

    data = torch.stack([curve.r for curve in of_blocks])
    peaks = peaks_of(data)
    draws = _stacked([curve.draws for curve in of_blocks]).map(peaks_of)
    around, slope = interval(peaks, draws), interval(depth_slope(peaks), draws.map(depth_slope))
    p = float("nan")
    if all(curve.null is not None for curve in of_blocks):
        null = torch.stack([curve.null for curve in of_blocks], dim=1)  # type: ignore[misc]
        found, moved = (gradient(curve, times, data.mean(0)).abs() for curve in (data, null))
        p = float((1 + (moved >= found).sum()) / (1 + len(moved)))
    return LagScores(
        lags[list(OPTIONAL["lags"])],
        {"peak_lag": peaks.tolist(), "peak_low": around.low.tolist(), "peak_high": around.high.tolist()},
        {
            "lag_slope": float(slope.estimate),
            "lag_slope_low": float(slope.low),
            "lag_slope_high": float(slope.high),
            "lag_slope_p": p,
        },
    )


def _curve(encode: FeatureScores, encoded: Encoded) -> _Curve:
    """Fit once more for the predictions that the bootstrap resamples; those of all blocks are too many."""
    assert encoded.fits is not None
    assert encoded.X is not None
    encoder, settings, responses = encode.encoder, encode.settings, encode.responses
    assert responses.lags is not None
    times = responses.lags.times
    has_group = settings.subjects != "each"
    targets = encode.targets[:, : len(responses.rois)] if has_group else encode.targets
    nuisances = None if settings.score == "alone" else encoder.nuisances
    scaling = encoded.fits.alone.scaling
    fit = encoder.fit(encoded.X, targets, nuisances=nuisances, scaling=scaling, keep_preds=True, warn=False)
    joint = settings.score == "joint"
    preds, target = (fit.joint_preds, fit.joint_target) if joint else (fit.preds, fit.target)
    drawn = encoder.subject_targets(settings.score) if has_group else target[None]
    if len(drawn) < _FEWEST:
        drawn = drawn.nanmean(0, keepdim=True)
    draws = bootstrap_scores(
        preds[None],
        drawn.to(preds),
        fit.fold,
        units=responses.identical,
        n_draws=_DRAWS,
        seed=settings.seed,
    )

    def mean(r: Tensor) -> Tensor:
        return r.reshape(*r.shape[:-1], -1, len(times)).nanmean(-2).double()

    null = None
    if count := settings.n_permutations:
        null = mean(encoder.null(encoded.X, targets, fit, settings.score, n_permutations=count))
    return _Curve(mean(fit.r_joint if joint else fit.r), draws.map(lambda r: mean(r[:, 0])), null)


def _frame(curve: _Curve, times: Tensor) -> pd.DataFrame:
    around = interval(curve.r, curve.draws)
    p = torch.full_like(curve.r, float("nan"))
    if curve.null is not None:
        edges = grid_edges(torch.empty(0, 2, dtype=torch.int64), 1, len(times))
        p = cluster_test(curve.r, curve.null, edges).p_value
    columns = {
        "lag": times.round(decimals=6),
        "r": curve.r,
        "low": around.low,
        "high": around.high,
        "p_cluster": p,
    }
    return pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()})


def _stacked(draws: Sequence[BootstrapDraws]) -> BootstrapDraws:
    """Put the draws of several curves, the same rows and subjects in each, side by side: (B, L, K)."""
    parts: dict[str, Any] = {}
    for name in ("stimuli", "subjects", "both"):
        values = [getattr(one, name) for one in draws]
        parts[name] = None if values[0] is None else torch.stack(values, dim=1)
    return draws[0]._replace(**parts)
