"""The null of a cross-validated score: moved responses, fitted again."""

import functools
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from nfas_lightning.functional import (
    circular_shift_null,
    pearson,
    permutation_p,
    ridge_null,
)
from nfas_lightning.functional.confounds import regress_out_ar1
from nfas_lightning.functional.correlation import average_folds
from nfas_lightning.functional.nulls import block_moves, phase_moves, shift_moves, turn_phases
from nfas_lightning.functional.ridge import ridge_cv

nan = float("nan")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


@pytest.fixture
def fold_scores(monkeypatch):
    """The (M, folds, R) correlations that nulls averaged."""
    kept = []

    def note(scored, observed):
        kept.append(scored)
        return average_folds(scored, observed)

    monkeypatch.setattr(sys.modules[ridge_null.__module__], "average_folds", note)
    return kept


def test_nulls_average_over_the_folds_that_observed_an_roi(fold_scores):
    X, Y = normal(40, 3), normal(40, 2, seed=1)
    runs = torch.arange(40) // 20
    Y[:20, 1] = nan  # rotates within its run, and stays there
    null = circular_shift_null(X[:, :2], Y, runs, n_permutations=30)
    alone = circular_shift_null(X[:, :2], Y, torch.where(runs == 0, -1, runs), n_permutations=400)
    assert not null.isnan().any()
    # what is left is a rotation of the other run, each of which is known
    distance = (null[:, 1:] - torch.cat([alone[:, 1], pearson(X[20:, 1:2], Y[20:, 1:])])).abs().amin(1)
    assert distance.max() < 1e-12
    Y = torch.cat([Y, normal(20, 2, seed=2)])
    X, runs = normal(60, 3), torch.arange(60) // 20
    result = ridge_cv(X, Y, groups=runs)
    assert result.fold_r[:, 1].isnan().tolist() == [True, False, False]
    mean = ridge_null(X, Y, result, groups=runs, n_permutations=5)
    folds = fold_scores[-1]
    assert folds[:, 0, 1].isnan().all()
    torch.testing.assert_close(mean[:, 1], folds[:, 1:, 1].mean(1))
    torch.testing.assert_close(mean[:, 0], folds[:, :, 0].mean(1))


@pytest.mark.parametrize("case", ["plain", "nuisances", "missing", "groups"])
@pytest.mark.parametrize("moves", ["shift", "blocks", "phase"])
@pytest.mark.parametrize("n_features", [4, 60])  # through coordinates, and through one matrix per alpha
def test_ridge_null_is_ridge_cv_on_moved_responses(case, moves, n_features):
    X, Y = normal(80, n_features), normal(80, 3, seed=1)
    options = {"gap": 2}
    if case == "nuisances":
        options["nuisances"] = normal(80, 2, seed=2)
    if case == "missing" and moves == "phase":
        pytest.skip("a series with missing rows has no spectrum")
    if case == "missing":
        Y[5:9, 1] = nan
    if case == "groups":
        options = {"groups": torch.arange(80) // 20}
    alpha = torch.tensor([3.0]).double()
    result = ridge_cv(X, Y, alphas=alpha, **options)
    settings = {"n_permutations": 6, "seed": 4}
    null = ridge_null(X, Y, result, moves=moves, block_length=5, **settings, **options)
    groups = options.get("groups")
    if moves == "shift":
        rows = shift_moves(80, groups=groups, n_moves=6, seed=4)
    elif moves == "blocks":
        rows = block_moves(80, groups=groups, n_moves=6, block_length=5, seed=4)

    if case == "nuisances" and moves == "blocks":  # Freedman and Lane: what moves is free of them
        design = np.column_stack([np.ones(80), options["nuisances"]])
        Y = Y - torch.from_numpy(design @ np.linalg.lstsq(design, Y.numpy(), rcond=None)[0])
    elif case == "nuisances":  # of series, with as much noise put back as went with them
        own = Y = regress_out_ar1(Y, options["nuisances"])
        for angles in phase_moves(80, n_moves=3, seed=4):
            (copy,) = turn_phases(Y, angles[None])
            Y = own + copy - regress_out_ar1(copy, options["nuisances"])
    if moves == "phase":
        moved = turn_phases(Y, phase_moves(80, groups=groups, n_moves=6, seed=4), groups)
    else:
        moved = Y[rows]
    for m in range(6):
        expected = ridge_cv(X, moved[m], alphas=alpha, **options)
        torch.testing.assert_close(null[m], expected.r)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("n_features", [4, 60])
def test_the_null_of_a_joint_score_is_the_joint_score_of_moved_responses(missing, n_features):
    X, Y, N = normal(80, n_features), normal(80, 3, seed=1), normal(80, 2, seed=2)
    Y = Y + N[:, :1]
    if missing:
        Y[5:9, 1] = nan
    options = {"gap": 2, "nuisances": N}
    result = ridge_cv(X, Y, alphas=torch.tensor([3.0]), **options)
    null = ridge_null(X, Y, result, joint=True, n_permutations=6, seed=4, **options)
    rows = shift_moves(80, n_moves=6, seed=4)
    for m in range(6):
        expected = ridge_cv(X, Y[rows[m]], alphas=torch.tensor([3.0]), **options)
        torch.testing.assert_close(null[m], expected.r_joint)


def test_ridge_null_finds_a_planted_effect_and_keeps_each_rois_alpha():
    X = normal(120, 3)
    Y = X[:, :2] + normal(120, 2, seed=1)
    result = ridge_cv(X, Y)
    null = ridge_null(X, Y, result)
    assert permutation_p(result.r, null).tolist() == [1 / 120, 1 / 120]  # of 120 rotations
    turned = ridge_null(X, Y, result, moves="phase")
    assert permutation_p(result.r, turned).tolist() == [1 / 1001, 1 / 1001]
    alone = ridge_cv(X, Y[:, 1:])
    torch.testing.assert_close(ridge_null(X, Y[:, 1:], alone), null[:, 1:])
    torch.testing.assert_close(ridge_null(X, Y[:, 1:], alone, moves="phase"), turned[:, 1:])
    half = ridge_null(X.float(), Y.float(), ridge_cv(X.float(), Y.float()))
    torch.testing.assert_close(half.double(), null, atol=1e-4, rtol=0)


def test_ridge_null_keeps_each_rois_alpha_where_responses_are_missing():
    X, Y = normal(60, 4), normal(60, 2, seed=1)
    Y[:, 0] += 3 * X[:, 0]
    Y[5:8] = nan
    result = ridge_cv(X, Y)
    assert (result.alphas[:, 0] < result.alphas[:, 1]).all()
    null = ridge_null(X, Y, result, n_permutations=6)
    for k in (0, 1):
        alone = ridge_null(X, Y[:, k : k + 1], ridge_cv(X, Y[:, k : k + 1]), n_permutations=6)
        torch.testing.assert_close(null[:, k], alone[:, 0])


def test_moves_of_ridge_null_do_not_depend_on_how_they_are_cut_into_blocks(monkeypatch):
    X, Y = normal(60, 3), normal(60, 2, seed=1)
    result = ridge_cv(X, Y)
    settings = {"n_permutations": 20, "seed": 2, "block_length": 4}
    whole = [ridge_null(X, Y, result, moves=moves, **settings) for moves in ("shift", "phase", "blocks")]
    monkeypatch.setitem(ridge_null.__globals__, "table_size", lambda device: 360)
    cut = [ridge_null(X, Y, result, moves=moves, **settings) for moves in ("shift", "phase", "blocks")]
    torch.testing.assert_close(cut, whole)


@pytest.mark.parametrize("n_features", [3, 40])
def test_ridge_null_is_nan_where_a_copy_does_not_vary_in_training_or_test(n_features, fold_scores):
    X, Y = normal(60, n_features), torch.zeros(60, 2).double()
    Y[:, 0] = normal(60, 1)[:, 0]
    Y[20:22, 1] = torch.tensor([1.0, 3.0]).double()  # all that ROI 1 ever does
    groups = torch.arange(60) // 30
    result = replace(ridge_cv(X, Y[:, [0, 0]], groups=groups), alphas=torch.ones(2, 2).double())
    ridge_null(X, Y, result, groups=groups, n_permutations=50)
    assert not fold_scores[0][:, :, 0].isnan().any()
    assert fold_scores[0][:, :, 1].isnan().all()


def test_ridge_null_of_a_constant_roi_is_nan_and_wrong_folds_are_refused(fold_scores):
    X, Y = normal(60, 3), normal(60, 2, seed=1)
    Y[:, 0] = 3.0
    with pytest.warns(UserWarning, match="1 of 2 ROIs score NaN"):
        result = ridge_cv(X, Y)
    null = ridge_null(X, Y, result, n_permutations=5)
    assert null.isnan().all(0).tolist() == [True, False]
    Y[:20, 0], Y[20:, 0] = normal(20, 1)[:, 0], 3.0  # what trains the first of three folds does not vary
    with pytest.warns(UserWarning, match="1 of 2 ROIs score NaN"):
        result = ridge_cv(X, Y, n_folds=3)
    ridge_null(X, Y, result, n_permutations=5)
    assert fold_scores[-1][:, 0].isnan().all(0).tolist() == [True, False]
    with pytest.raises(ValueError, match="result has other folds"):
        ridge_null(X, Y, result, groups=torch.arange(60) // 29)


def test_ridge_null_warns_of_too_few_rotations():
    X, Y = normal(12, 2), normal(12, 2, seed=1)
    result = ridge_cv(X, Y, n_folds=2)
    with pytest.warns(UserWarning, match="have 11 rotations, too few"):
        ridge_null(X, Y, result)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ridge_null(X, Y, result, n_permutations=10)  # no more were wanted
        X, Y = normal(20, 2), normal(20, 2, seed=1)
        ridge_null(X, Y, ridge_cv(X, Y, n_folds=2))  # 19 rotations allow .05


N_SETS, N_ROIS, N_VOLUMES, GAP, AUTOCORRELATION = 12, 25, 300, 6, 0.8


def ar1(n_columns, generator):
    noise = torch.randn(N_VOLUMES + 50, n_columns, generator=generator).double()
    rows = [noise[0]]
    for innovation in noise[1:]:
        rows.append(AUTOCORRELATION * rows[-1] + (1 - AUTOCORRELATION**2) ** 0.5 * innovation)
    return torch.stack(rows[50:])


@functools.cache
def p_values():
    generator = torch.Generator().manual_seed(0)
    refitted, fixed = [], []
    for seed in range(N_SETS):
        X, Y = ar1(3, generator), ar1(N_ROIS, generator)
        result = ridge_cv(X, Y, n_folds=4, gap=GAP)
        shared = {"n_permutations": 199, "seed": seed}
        refitted.append(permutation_p(result.r, ridge_null(X, Y, result, gap=GAP, **shared)))
        null = circular_shift_null(result.preds, result.target, result.fold, **shared)
        fixed.append(permutation_p(result.r, null))
    return torch.cat(refitted), torch.cat(fixed)


@pytest.mark.parametrize("level", [0.05, 0.2, 0.5])
def test_ridge_null_rejects_as_often_as_it_says(level):
    p, _ = p_values()
    bound = 3.3 * (level * (1 - level) / len(p)) ** 0.5  # one in a thousand, if data sets were binomial draws
    assert abs((p <= level).double().mean() - level) < bound


def test_moving_the_test_responses_alone_rejects_too_often():
    # why cross-validated scores get a null that fits again: see docs/method/encoding.md
    _, p = p_values()
    assert (p <= 0.05).double().mean() > 0.1


def test_slow_nuisances_do_not_make_the_null_quieter_than_noise():
    # hundreds of regions see what one does not: with residuals alone observed r2 are a fifth above the null
    X, N = (normal(96, width, seed=width).unfold(0, 7, 1).sum(-1) for width in (3, 8))  # slow, as on volumes
    options = {"groups": torch.arange(90) // 30, "nuisances": N}
    observed, null = [], []
    for seed in range(8):
        Y = normal(90, 300, seed=10 + seed)
        result = ridge_cv(X, Y, alphas=torch.tensor([3.0]), **options)
        observed.append(result.r**2)
        null.append(ridge_null(X, Y, result, n_permutations=20, seed=seed, **options) ** 2)
    assert float(torch.stack(observed).mean() / torch.stack(null).mean()) == pytest.approx(1, abs=0.1)
