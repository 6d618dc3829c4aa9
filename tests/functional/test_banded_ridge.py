"""Banded ridge against himalaya, against ridge without bands, and on planted bands."""

import numpy as np
import pytest
import torch
from himalaya.ridge import solve_group_ridge_random_search
from himalaya.scoring import correlation_score_split
from sklearn.model_selection import KFold

from nfas_lightning.functional.banded_ridge import banded_ridge_cv
from nfas_lightning.functional.bands import draw_band_weights
from nfas_lightning.functional.folds import contiguous_folds
from nfas_lightning.functional.ridge import ridge_cv

GRID = torch.logspace(-1, 4, 6, dtype=torch.float64)


def simulate(widths, n_rows=100, n_rois=4, seed=0, bands=(0,)):
    """Responses that follow some of the bands; region 0 follows nothing."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n_rows, sum(widths), generator=generator, dtype=torch.float64)
    parts = X.split(list(widths), 1)
    signal = sum(
        parts[b] @ torch.randn(widths[b], n_rois, generator=generator, dtype=torch.float64) for b in bands
    )
    Y = signal / signal.std(0) + torch.randn(n_rows, n_rois, generator=generator, dtype=torch.float64)
    Y[:, 0] = torch.randn(n_rows, generator=generator, dtype=torch.float64)
    return X, Y


def standardized(values, train, test):
    values = values.numpy()
    mean, std = values[train].mean(0), values[train].std(0)
    return (values[train] - mean) / std, (values[test] - mean) / std


@pytest.mark.parametrize("widths", [(3, 5, 4), (40, 70, 30)])  # Grams of features, and of rows
def test_matches_himalaya(widths):
    X, Y = simulate(widths, bands=(0, 2))  # 80 training rows: inner folds of one size, so one weighting
    candidates = draw_band_weights(3, 9, seed=3).clamp(min=1e-6)  # himalaya divides by them
    result = banded_ridge_cv(X, Y, widths, alphas=GRID, weights=candidates)
    parts = []
    for index, (train, test) in enumerate(contiguous_folds(100)):
        x, x_test = standardized(X, train, test)
        y, y_test = standardized(Y, train, test)
        cuts = np.cumsum(widths)[:-1]
        deltas, coefficients, cv_scores, intercept = solve_group_ridge_random_search(
            np.split(x, cuts, axis=1), y, n_iter=candidates.numpy(), alphas=GRID.numpy(), cv=KFold(5),
            fit_intercept=True, return_weights=True, progress_bar=False, warn=False,
        )  # fmt: skip
        preds = x_test @ coefficients + intercept
        np.testing.assert_allclose(result.preds[test].numpy(), preds, atol=1e-8)
        chosen = result.weights[index] / result.alphas[index][:, None]
        np.testing.assert_allclose(chosen.numpy(), np.exp(deltas).T, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(result.inner_score[index].numpy(), 1 + cv_scores.max(0), atol=1e-8)
        split = zip(np.split(x_test, cuts, axis=1), np.split(coefficients, cuts), strict=True)
        split = np.stack([x_part @ w for x_part, w in split])
        centered = split - split.mean(1, keepdims=True)
        parts.append(correlation_score_split(y_test - y_test.mean(0), centered))
    np.testing.assert_allclose(result.r_parts.numpy(), np.mean(parts, axis=0), atol=1e-8)
    torch.testing.assert_close(result.r_parts.sum(0), result.r)
    torch.testing.assert_close(result.r2_parts.sum(0), result.r2)


def test_own_candidates_reach_the_inner_score_of_himalaya_s_search():
    widths = (30, 30, 30, 30, 30)
    X, Y = simulate(widths, n_rois=12, bands=(1, 3))
    result = banded_ridge_cv(X, Y, widths, alphas=GRID, n_folds=2)
    train, test = contiguous_folds(100, n_folds=2)[0]
    x, y = standardized(X, train, test)[0], standardized(Y, train, test)[0]
    _, _, scores, _ = solve_group_ridge_random_search(
        np.split(x, 5, axis=1), y, n_iter=100, alphas=GRID.numpy(), cv=KFold(5), fit_intercept=True,
        random_state=0, progress_bar=False, warn=False,
    )  # fmt: skip
    gain = result.inner_score[0].numpy() - (1 + scores.max(0))
    assert gain.mean() > -0.005
    assert gain.min() > -0.05


@pytest.mark.parametrize("selection", ["folds", "loo"])
def test_a_single_band_is_ridge(selection):
    X, Y = simulate((20,), n_rows=90)
    Y[10:20, 1] = torch.nan
    Y[:, 2] = 1.0
    N = torch.randn(90, 2, generator=torch.Generator().manual_seed(5)).double()
    shared = {"nuisances": N, "gap": 2, "scaling": "common", "selection": selection}
    with pytest.warns(UserWarning, match="NaN"):
        plain = ridge_cv(X, Y, **shared)
    banded = banded_ridge_cv(X, Y, (20,), **shared)
    for name in ("r", "r2", "fold_r", "alphas", "inner_score", "preds", "target", "fold"):
        torch.testing.assert_close(getattr(banded, name), getattr(plain, name), equal_nan=True)
    # a band that is there twice shares what it explains, and changes nothing
    twice = banded_ridge_cv(torch.cat([X, X], 1), Y, (20, 20), weights=torch.ones(1, 2) / 2, **shared)
    single = banded_ridge_cv(X, Y, (20,), alphas=20 * torch.logspace(-4, 5, 19), **shared)
    torch.testing.assert_close(twice.r, single.r, equal_nan=True)
    torch.testing.assert_close(twice.r2_parts[0], single.r2 / 2, equal_nan=True)


def test_planted_bands_carry_the_variance_and_noise_none():
    widths = (5, 5, 5)
    X, Y = simulate(widths, n_rows=150, n_rois=4, bands=(1,))
    result = banded_ridge_cv(X, Y.float(), widths, weights=12)
    shares = result.r2_parts[:, 1:] / result.r2[1:]
    assert result.r.dtype is torch.float64
    assert shares[1].min() > 0.95
    assert shares[[0, 2]].abs().max() < 0.05
    assert result.r2_parts[:, 0].abs().max() < 0.02
    batched = banded_ridge_cv(X, Y.float(), widths, weights=12, target_batch=2, keep_preds=False)
    torch.testing.assert_close(batched.r_parts, result.r_parts)
    assert batched.preds is None
    other = banded_ridge_cv(X, Y.float(), widths, weights=12, seed=1)
    torch.testing.assert_close(other.r[1:], result.r[1:], atol=0.01, rtol=0)


def test_bad_bands_are_refused():
    X, Y = simulate((3, 3))
    for widths in ((3, 4), (6, 0), ()):
        with pytest.raises(ValueError, match=r"widths must be positive and add up to the 6 columns of X"):
            banded_ridge_cv(X, Y, widths)
    for weights in (torch.tensor([[-1.0, 2.0]]), torch.zeros(1, 2), torch.ones(0, 2)):
        with pytest.raises(ValueError, match="weights must be non-negative"):
            banded_ridge_cv(X, Y, (3, 3), weights=weights)
    with pytest.raises(ValueError, match="scaling must be one, or one per band, 2, got 1"):
        banded_ridge_cv(X, Y, (3, 3), scaling=["unit"])
