"""Ridge encoding: alphas, scores, missing and degenerate values."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch
from himalaya.ridge import RidgeCV as HimalayaRidgeCV
from scipy.stats import pearsonr
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.linear_model import RidgeCV as SklearnRidgeCV
from sklearn.model_selection import KFold

from nfas_lightning.functional.correlation import pearson
from nfas_lightning.functional.folds import contiguous_folds
from nfas_lightning.functional.ridge import default_alphas, ridge_cv
from nfas_lightning.functional.ridge_null import ridge_null

GRID = torch.logspace(-1, 4, 6, dtype=torch.float64)


def simulate(T=90, P=6, R=3, noise=1.0, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(T, P, generator=generator) * torch.logspace(0, 2, P) + 5
    signal = X @ torch.randn(P, R, generator=generator)
    Y = 3 * (signal / signal.std(0)) + noise * torch.randn(T, R, generator=generator) - 7
    return X.to(dtype), Y.to(dtype)


def standardized(values, train, test):
    values = values.numpy()
    mean, std = values[train].mean(0), values[train].std(0)
    return (values[train] - mean) / std, (values[test] - mean) / std


def explicit(X, Y, folds, inner_blocks, grid):
    """Fit everything one model at a time: (fold_r, alphas, inner score)."""
    rows = []
    for train, test in folds:
        x, x_test = standardized(X, train, test)
        y, y_test = standardized(Y, train, test)
        errors = np.zeros((len(grid), Y.shape[1]))
        for held, kept in inner_blocks(train):
            for a, alpha in enumerate(grid):
                model = Ridge(alpha=alpha, solver="cholesky").fit(x[kept], y[kept])
                errors[a] += ((model.predict(x[held]).reshape(len(held), -1) - y[held]) ** 2).sum(0)
        best = grid[errors.argmin(0)]
        r = [
            pearsonr(Ridge(alpha=best[k], solver="cholesky").fit(x, y[:, k]).predict(x_test), y_test[:, k])[0]
            for k in range(Y.shape[1])
        ]
        rows.append((r, best, 1 - errors.min(0) / (y**2).sum(0)))
    return (np.array(part) for part in zip(*rows, strict=True))


# --- folds


# --- against one model at a time


@pytest.mark.parametrize("P", [4, 30, 150])  # inner blocks through axes, through rows, and P > T
@pytest.mark.parametrize("gap", [0, 3])
def test_matches_explicit_nested_cross_validation(P, gap):
    X, Y = simulate(P=P)

    def inner(train):
        for held in np.array_split(np.arange(len(train)), 4):
            first, last = train[held[0]], train[held[-1]]
            yield held, [i for i, t in enumerate(train) if t < first - gap or t > last + gap]

    result = ridge_cv(X, Y, n_folds=3, gap=gap, alphas=GRID, n_inner_folds=4)
    fold_r, best, inner_score = explicit(X, Y, contiguous_folds(90, n_folds=3, gap=gap), inner, GRID.numpy())
    np.testing.assert_allclose(result.fold_r.numpy(), fold_r, atol=1e-8)
    np.testing.assert_array_equal(result.alphas.numpy(), best)
    np.testing.assert_allclose(result.inner_score.numpy(), inner_score, atol=1e-8)
    np.testing.assert_allclose(result.r.numpy(), fold_r.mean(0), atol=1e-8)


def test_runs_hold_out_runs_inside_too():
    X, Y = simulate(P=5)
    groups = torch.tensor([0] * 20 + [1] * 30 + [2] * 10 + [3] * 30)

    def inner(train):
        for run in groups[train].unique():
            inside = (groups[train] == run).numpy()
            yield np.flatnonzero(inside), np.flatnonzero(~inside)

    result = ridge_cv(X, Y, groups=groups, alphas=GRID)
    fold_r, best, _ = explicit(X, Y, contiguous_folds(90, groups=groups), inner, GRID.numpy())
    np.testing.assert_allclose(result.fold_r.numpy(), fold_r, atol=1e-8)
    np.testing.assert_array_equal(result.alphas.numpy(), best)
    assert torch.equal(result.fold, groups)


@pytest.mark.parametrize("P", [5, 60])
def test_matches_himalaya(P):
    X, Y = simulate(T=100, P=P, R=4)  # 80 training rows: inner folds of one size, so one weighting of errors
    result = ridge_cv(X, Y, alphas=GRID)
    for index, (train, test) in enumerate(contiguous_folds(100)):
        x, x_test = standardized(X, train, test)
        y, y_test = standardized(Y, train, test)
        model = HimalayaRidgeCV(alphas=GRID.numpy(), fit_intercept=True, cv=KFold(5)).fit(x, y)
        expected = [pearsonr(p, t)[0] for p, t in zip(model.predict(x_test).T, y_test.T, strict=True)]
        np.testing.assert_allclose(result.fold_r[index].numpy(), expected, atol=1e-8)
        np.testing.assert_allclose(result.alphas[index].numpy(), model.best_alphas_)


@pytest.mark.parametrize("P", [5, 60, 150])
def test_loo_matches_sklearn(P):
    X, Y = simulate(T=100, P=P, R=4)
    result = ridge_cv(X, Y, alphas=GRID, selection="loo")
    for index, (train, test) in enumerate(contiguous_folds(100)):
        x, x_test = standardized(X, train, test)
        y, y_test = standardized(Y, train, test)
        model = SklearnRidgeCV(alphas=GRID.numpy(), alpha_per_target=True).fit(x, y)
        expected = [pearsonr(p, t)[0] for p, t in zip(model.predict(x_test).T, y_test.T, strict=True)]
        np.testing.assert_allclose(result.fold_r[index].numpy(), expected, atol=1e-8)
        np.testing.assert_array_equal(result.alphas[index].numpy(), model.alpha_)
        np.testing.assert_allclose(result.inner_score[index].numpy(), 1 + model.best_score_, atol=1e-8)


def test_loo_is_folds_of_one_row():
    X, Y = simulate(T=40, P=3)
    loo = ridge_cv(X, Y, n_folds=2, alphas=GRID, selection="loo")
    folds = ridge_cv(X, Y, n_folds=2, alphas=GRID, n_inner_folds=20)
    torch.testing.assert_close(loo.inner_score, folds.inner_score)


def test_nuisances_are_partialled_out_of_both_sides_by_training_rows():
    X, Y = simulate(P=4)
    N = torch.randn(90, 2, generator=torch.Generator().manual_seed(5)).double()
    X, Y = X + N @ torch.ones(2, 4).double(), Y + 10 * N[:, :1]
    result = ridge_cv(X, Y, alphas=GRID[2:3], nuisances=N)
    for train, test in contiguous_folds(90):
        cleaned = []
        for values in (X, Y):
            fit = LinearRegression().fit(N[train], values[train])
            cleaned.append(torch.from_numpy(values.numpy() - fit.predict(N)))
        (x, x_test), (y, y_test) = (standardized(values, train, test) for values in cleaned)
        preds = Ridge(alpha=GRID[2].item(), solver="cholesky").fit(x, y).predict(x_test)
        np.testing.assert_allclose(result.preds[test].numpy(), preds, atol=1e-8)
        np.testing.assert_allclose(result.target[test].numpy(), y_test, atol=1e-8)


def test_the_joint_score_is_least_squares_on_nuisances_and_ridge_on_features():
    """The oracle solves both at once: a block-diagonal penalty, zero for the nuisances and the intercept."""
    X, Y = simulate(P=4)
    N = torch.randn(90, 2, generator=torch.Generator().manual_seed(5)).double()
    X, Y = X + N @ torch.ones(2, 4).double(), Y + 3 * N[:, :1]
    alpha = 7.0
    result = ridge_cv(X, Y, alphas=torch.tensor([alpha]), nuisances=N, scaling="common")
    expected = torch.zeros(3)
    for train, test in contiguous_folds(90):
        residual = X[train] - torch.from_numpy(LinearRegression().fit(N[train], X[train]).predict(N[train]))
        scale = residual.square().mean().sqrt()  # of what is left, one for all features
        design = torch.cat([torch.ones(90, 1), N, X / scale], 1).double()
        A = design[train]
        penalty = torch.diag(torch.tensor([0.0] * 3 + [alpha] * 4).double())
        preds = design[test] @ torch.linalg.solve(A.T @ A + penalty, A.T @ Y[train])
        expected += pearson(preds, Y[test]).float() / 5
    torch.testing.assert_close(result.r_joint.float(), expected)
    torch.testing.assert_close(result.r2_joint, result.r_joint.clamp(min=0).square())
    alone = ridge_cv(X, Y)
    torch.testing.assert_close(alone.r_joint, alone.r)
    torch.testing.assert_close(alone.joint_preds, alone.preds)


def test_nuisances_that_explain_everything_leave_nothing_to_add_and_all_of_the_joint_score():
    X, _ = simulate()
    N = torch.randn(90, 3, generator=torch.Generator().manual_seed(5)).double()
    with pytest.warns(UserWarning, match="3 of 3 ROIs score NaN"):
        result = ridge_cv(X, N * 2 - 1, nuisances=N)
    assert result.r.isnan().all()
    torch.testing.assert_close(result.r_joint, torch.ones(3).double())


def test_a_missing_response_is_missing_in_the_joint_score_too():
    X, Y = simulate(P=4)
    Y[10:20, 0] = float("nan")
    result = ridge_cv(X, Y, nuisances=X[:, :1] + X[:, 1:2] ** 2)
    assert result.joint_target[10:20, 0].isnan().all()
    assert result.r_joint.isfinite().all()
    rows = torch.arange(90)[~Y[:, 0].isnan()]
    assert result.joint_target[rows].isfinite().all()


# --- whether the grid was long enough


def test_a_grid_that_is_too_short_is_said_and_one_that_reaches_is_not():
    generator = torch.Generator().manual_seed(0)
    X, Y = torch.randn(120, 60, generator=generator), torch.randn(120, 40, generator=generator)
    with pytest.warns(UserWarning, match="the smallest or the largest alpha of the grid"):
        short = ridge_cv(X, Y, alphas=torch.tensor([1e-3, 1e-2]))
    assert short.alpha_at_edge.tolist() == [1.0] * 40
    assert short.grid_too_short > 0.9  # noise wants more shrinkage
    with pytest.warns(UserWarning, match="largest alpha of the grid"):
        signal = ridge_cv(X, X[:, :3] + 0.1 * Y[:, :3], alphas=torch.tensor([1e3, 1e4]))
    assert signal.alpha_at_edge.tolist() == [1.0] * 3  # and this wants less
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        noise = ridge_cv(X, Y)  # most of it at the largest alpha, where all is shrunk already
        exact = ridge_cv(X[:, :5], X[:, :3])  # at the least, where nothing is
        ridge_cv(X, Y, alphas=torch.tensor([1.0]))  # a single alpha is no grid
    assert noise.alpha_at_edge.mean() > 0.3
    assert exact.alpha_at_edge.tolist() == [1.0] * 3
    assert noise.grid_too_short < 0.1 > exact.grid_too_short


def test_beyond_an_end_that_is_no_fault_nothing_changes():
    generator = torch.Generator().manual_seed(0)
    X, Y = torch.randn(120, 60, generator=generator), torch.randn(120, 40, generator=generator)
    result = ridge_cv(X, Y)
    ends = result.alphas == result.alphas.max()
    further = ridge_cv(X, Y, alphas=100 * result.alphas.max()[None])
    torch.testing.assert_close(result.fold_r[ends], further.fold_r[ends], atol=2e-3, rtol=0)


# --- what the numbers mean


def test_planted_signal_is_found_and_invariant_to_units():
    X, Y = simulate(T=200, noise=0.5)
    result = ridge_cv(X, Y)
    assert (result.r > 0.97).all()
    torch.testing.assert_close(result.r2, result.r**2)
    moved = ridge_cv(X * 1e-3 + 4, Y * 1e6 - 3)
    torch.testing.assert_close(moved.r, result.r)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(ridge_cv(X, Y[:, order]).r, result.r[order])


def test_anti_prediction_scores_zero_unless_squared():
    x = torch.cat([torch.linspace(0, 1, 50), torch.linspace(0, 1, 50)]).double()[:, None]
    flip = torch.cat([x[:50], -x[50:]])  # what one half teaches is wrong in the other
    runs = torch.arange(100) // 50
    clipped = ridge_cv(x, flip, groups=runs)
    squared = ridge_cv(x, flip, groups=runs, negative="square")
    assert clipped.r.item() == pytest.approx(-1)
    assert clipped.r2.item() == 0
    assert squared.r2.item() == pytest.approx(1)


def ar1(T, R, seed, rho=0.95):
    noise = torch.randn(T, R, generator=torch.Generator().manual_seed(seed)).double()
    rows = [noise[0]]
    for t in range(1, T):
        rows.append(rho * rows[-1] + (1 - rho**2) ** 0.5 * noise[t])
    return torch.stack(rows)


def test_shuffled_folds_lie_about_slow_noise_and_contiguous_ones_do_not():
    X, Y = ar1(300, 40, seed=0), ar1(300, 30, seed=1)
    shuffle = torch.randperm(300, generator=torch.Generator().manual_seed(2))
    honest = ridge_cv(X, Y, gap=10).r.mean()
    # rows in random order make contiguous folds shuffled ones
    lie = ridge_cv(X[shuffle], Y[shuffle]).r.mean()
    assert abs(honest) < 0.1
    assert lie > 0.6


def test_test_rows_never_reach_the_fit():
    X, Y = simulate()
    result = ridge_cv(X, Y, n_folds=3)
    changed = Y.clone()
    changed[:30] = 100 * torch.randn(30, 3).double()
    other = ridge_cv(X, changed, n_folds=3)
    assert torch.equal(other.preds[:30], result.preds[:30])
    assert torch.equal(other.inner_score[0], result.inner_score[0])


@pytest.mark.parametrize("selection", ["folds", "loo"])
def test_float32_agrees_with_float64(selection):
    X, Y = simulate(T=150, P=40, R=8)
    X[:, 1] = X[:, 0] + 1e-4 * X[:, 1]  # nearly collinear
    double = ridge_cv(X, Y, selection=selection)
    single = ridge_cv(X.float(), Y.float(), selection=selection)
    assert single.r.dtype == torch.float32
    torch.testing.assert_close(single.r.double(), double.r, atol=2e-4, rtol=0)
    torch.testing.assert_close(single.inner_score.double(), double.inner_score, atol=1e-4, rtol=0)


# --- missing, redundant and constant values


def test_missing_responses_equal_dropping_their_rows():
    X, Y = simulate()
    Y[[3, 40, 41, 80], 1] = torch.nan
    Y[[3, 40, 41, 80], 2] = torch.nan
    Y[:30, 0] = torch.nan  # a whole fold
    result = ridge_cv(X, Y, n_folds=3, alphas=GRID[2:3])
    assert result.n_volumes.tolist() == [60, 86, 86]
    assert not result.preds[3].isnan().any()
    expected = []
    for index, (train, test) in enumerate(contiguous_folds(90, n_folds=3)):
        for k in range(3):
            seen = [rows[~Y[rows, k].isnan()] for rows in (train, test)]
            if len(seen[1]) == 0:
                assert result.fold_r[index, k].isnan()
                continue
            x, x_test = standardized(X, *seen)
            y, y_test = standardized(Y[:, k : k + 1], *seen)
            model = Ridge(alpha=GRID[2].item(), solver="cholesky").fit(x, y[:, 0])
            expected.append((index, k, pearsonr(model.predict(x_test), y_test[:, 0])[0]))
    for index, k, r in expected:
        assert result.fold_r[index, k].item() == pytest.approx(r, abs=1e-8)
    assert result.r[0].item() == pytest.approx(result.fold_r[1:, 0].mean().item())


def test_missing_responses_with_inner_folds_equal_a_column_alone():
    X, Y = simulate()
    Y[20:35, 1] = torch.nan
    together, alone = ridge_cv(X, Y, gap=2), ridge_cv(X, Y[:, 1:2], gap=2)
    torch.testing.assert_close(together.r[1:2], alone.r)
    torch.testing.assert_close(together.alphas[:, 1:2], alone.alphas)
    torch.testing.assert_close(together.r[::2], ridge_cv(X, Y[:, ::2], gap=2).r)


def test_an_roi_observed_in_one_training_run_holds_out_blocks_of_it():
    X, Y = simulate()
    runs = torch.arange(90) // 30
    Y[:30, 1] = torch.nan  # so that two of the three folds train it on one run
    result = ridge_cv(X, Y, groups=runs, gap=2)
    torch.testing.assert_close(result.r[::2], ridge_cv(X, Y[:, ::2], groups=runs, gap=2).r)
    # as if the run that lacks it did not exist
    alone = ridge_cv(X[30:], Y[30:, 1:2], groups=runs[30:], gap=2)
    torch.testing.assert_close(result.fold_r[1:, 1], alone.fold_r[:, 0])
    torch.testing.assert_close(result.alphas[1:, 1], alone.alphas[:, 0])
    torch.testing.assert_close(result.inner_score[1:, 1], alone.inner_score[:, 0])
    assert result.r[1].item() == pytest.approx(result.fold_r[1:, 1].mean().item())


def test_redundant_features_and_rows_are_harmless():
    X, Y = simulate(P=4)
    twice = torch.cat([X, X], 1)
    # a feature given twice shares its weight: the same fit at twice the alpha
    torch.testing.assert_close(ridge_cv(twice, Y, alphas=2 * GRID).preds, ridge_cv(X, Y, alphas=GRID).preds)
    repeated = X[torch.arange(90) // 3]
    assert ridge_cv(repeated, Y).r.isfinite().all()
    dead = torch.cat([X, torch.full((90, 2), 3.3).double()], 1)
    torch.testing.assert_close(ridge_cv(dead, Y, alphas=GRID).preds, ridge_cv(X, Y, alphas=GRID).preds)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_roi_is_nan_with_a_warning(constant, dtype):
    X, Y = simulate(dtype=dtype)
    Y[:, 1] = constant
    with pytest.warns(UserWarning, match="1 of 3 ROIs score NaN"):
        result = ridge_cv(X, Y)
    assert result.r.isnan().tolist() == [False, True, False]
    assert result.r2.isnan().tolist() == [False, True, False]
    assert result.alphas[:, 1].isnan().all()


@pytest.mark.parametrize("selection", ["folds", "loo"])
def test_constant_features_are_nan_with_a_warning(selection):
    _, Y = simulate()
    with pytest.warns(UserWarning, match="3 of 3 ROIs score NaN"):
        result = ridge_cv(torch.ones(90, 4), Y, selection=selection)
    assert result.r.isnan().all()


def test_roi_constant_in_one_fold_is_nan_not_an_average_of_the_rest():
    X, Y = simulate()
    Y[30:60, 0] = 2.0
    with pytest.warns(UserWarning, match="1 of 3 ROIs score NaN"):
        result = ridge_cv(X, Y, n_folds=3)
    assert result.fold_r[:, 0].isnan().tolist() == [False, True, False]
    assert result.r[0].isnan()


def test_one_roi_one_feature_few_rows():
    x = torch.arange(10.0)[:, None]
    result = ridge_cv(x, 2 * x, n_folds=3)
    assert result.r.item() == pytest.approx(1, abs=1e-6)
    assert result.preds.shape == (10, 1)


def test_inputs_stay_as_they_were_and_result_is_frozen():
    X, Y = simulate()
    copies = X.clone(), Y.clone()
    result = ridge_cv(X, Y, nuisances=X[:, :1])
    assert torch.equal(X, copies[0])
    assert torch.equal(Y, copies[1])
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.r = None


def test_default_alphas_run_from_free_to_crushed():
    X, Y = simulate(T=200, P=8)
    ends = default_alphas(8)[[0, -1]]
    free, crushed = (ridge_cv(X, Y, alphas=end[None]).preds for end in ends)
    assert crushed.std() < 0.01 * free.std()
    ols = LinearRegression().fit(X[40:], Y[40:]).predict(X[:40])
    expected = (ols - Y[40:].mean(0).numpy()) / Y[40:].numpy().std(0)
    np.testing.assert_allclose(free[:40].numpy(), expected, atol=1e-2)


def test_default_alphas_grow_with_the_number_of_features():
    X, Y = simulate()
    # a feature given three times has three times the squared row norm, and alpha follows
    torch.testing.assert_close(ridge_cv(torch.cat([X, X, X], 1), Y).preds, ridge_cv(X, Y).preds)


def test_a_weak_direction_is_no_rounding():
    x, difference = (torch.randn(90, 1, generator=torch.Generator().manual_seed(s)).double() for s in (0, 1))
    X = torch.cat([x, x + 1e-5 * difference], 1)  # its share of the variance is 2e-11
    result = ridge_cv(X, difference, alphas=torch.tensor([1e-14]))
    assert result.r.item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("selection", ["folds", "loo"])
@pytest.mark.parametrize("P", [3, 60, 200])  # blocks through axes, through rows, and P > T
def test_alphas_too_small_for_float32(P, selection):
    X, Y = simulate(P=P)
    X[:, 1:] = X[:, :1] + 1e-2 * (X[:, 1:] / X[:, 1:].std(0))  # what little varies on its own decides
    X, Y = X.float(), Y.float()
    settings = {"selection": selection, "alphas": torch.tensor([1e-5])}
    single, double = ridge_cv(X, Y, **settings), ridge_cv(X.double(), Y.double(), **settings)
    torch.testing.assert_close(single.inner_score.double(), double.inner_score, atol=0, rtol=1e-3)


@pytest.mark.parametrize("selection", ["folds", "loo"])
@pytest.mark.parametrize("smallest", [-6, -3])
def test_float32_agrees_where_alphas_are_small_beside_slow_features(selection, smallest):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(200, 400, generator=generator)
    for t in range(1, len(X)):
        X[t] += 0.95 * X[t - 1]
    Y = X @ torch.randn(400, 8, generator=generator) / 20 + 0.1 * torch.randn(200, 8, generator=generator)
    settings = {
        "groups": torch.arange(4).repeat_interleave(50),
        "alphas": torch.logspace(smallest, 6, 7 - smallest),
        "selection": selection,
    }
    single, double = ridge_cv(X, Y, **settings), ridge_cv(X.double(), Y.double(), **settings)
    torch.testing.assert_close(single.inner_score.double(), double.inner_score, atol=1e-3, rtol=0)
    torch.testing.assert_close(single.r.double(), double.r, atol=1e-3, rtol=0)


@pytest.mark.filterwarnings("ignore:.*score NaN")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("P", [3, 40, 200])
def test_a_run_that_shows_one_thing_is_nan(P, dtype):
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        X = torch.randn(120, P, generator=generator, dtype=torch.float64)
        Y = torch.randn(120, 20, generator=generator, dtype=torch.float64) + X[:, :1]
        runs = torch.arange(4).repeat_interleave(30)
        X[runs == 2] = X[0].clone()
        result = ridge_cv(X.to(dtype), Y.to(dtype), groups=runs)
        assert bool(result.fold_r[2].isnan().all())
        assert bool(result.r.isnan().all())


@pytest.mark.filterwarnings("ignore:.*score NaN")
def test_folds_of_two_rows_are_not_scored():
    X, Y = simulate(T=14, P=2)
    assert bool(ridge_cv(X, Y, n_folds=13).r.isnan().all())  # r would be 1 or -1 in each
    groups = torch.tensor([0] * 20 + [1] * 2 + [2] * 20)
    X, Y = simulate(T=42, P=3)
    result = ridge_cv(X, Y, groups=groups)
    assert bool(result.fold_r[1].isnan().all())
    torch.testing.assert_close(result.r, result.fold_r[[0, 2]].mean(0))
    assert result.n_volumes.tolist() == [40] * 3


@pytest.mark.parametrize("selection", ["folds", "loo"])
def test_a_common_scale_forgets_the_axes(selection):
    X, Y = simulate(P=8)
    Q, _ = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    settings = {"selection": selection, "scaling": "common", "gap": 0}
    plain, turned = ridge_cv(X, Y, **settings), ridge_cv(X @ Q, Y, **settings)
    torch.testing.assert_close(turned.r, plain.r, atol=1e-9, rtol=0)
    torch.testing.assert_close(turned.alphas, plain.alphas)
    torch.testing.assert_close(ridge_null(X @ Q, Y, turned), ridge_null(X, Y, plain), atol=1e-9, rtol=0)
    assert (
        ridge_cv(X @ Q, Y, selection=selection).r - ridge_cv(X, Y, selection=selection).r
    ).abs().max() > 1e-4


def test_a_common_scale_equals_ridge_on_features_divided_by_one_number():
    X, Y = simulate(P=5)
    result = ridge_cv(X, Y, scaling="common", alphas=torch.tensor([3.0]))
    for index, (train, test) in enumerate(contiguous_folds(90)):
        x, y = X.numpy(), Y.numpy()
        scale = np.sqrt(x[train].var(0).mean())
        model = Ridge(alpha=3.0, solver="cholesky").fit(x[train] / scale, y[train] / y[train].std(0))
        preds = model.predict(x[test] / scale)
        r = [pearsonr(preds[:, k], y[test, k])[0] for k in range(3)]
        np.testing.assert_allclose(result.fold_r[index].numpy(), r, atol=1e-10)


def test_noise_components_do_not_drown_the_leading_ones():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(40, 39, generator=generator) * torch.logspace(0, -2, 39)
    Y = scores[:, :2] @ torch.randn(2, 5, generator=generator)
    Y = Y / Y.std(0) + 0.5 * torch.randn(40, 5, generator=generator)
    whitened = ridge_cv(scores, Y, selection="loo").r.mean()
    common = ridge_cv(scores, Y, selection="loo", scaling="common").r.mean()
    assert common > whitened + 0.2


def test_features_that_are_rounding_carry_nothing():
    X, Y = simulate(dtype=torch.float32)
    N = torch.randn(90, 1, generator=torch.Generator().manual_seed(5))
    signs = (Y[:, :1] > Y[:, :1].median()).float()
    # one unit in the last place of 1e8 is 8: about the mean that would pass for a feature of variance 16
    jitter = 1e8 + 8 * signs
    torch.testing.assert_close(
        ridge_cv(torch.cat([X, jitter], 1), Y).r, ridge_cv(X, Y, alphas=default_alphas(7)).r
    )
    # and so does what float32 leaves of a feature that the nuisances explain
    explained = 1e8 * N + 8 * signs
    assert (explained - 1e8 * N).abs().max() > 0
    torch.testing.assert_close(
        ridge_cv(torch.cat([X, explained], 1), Y, nuisances=N).r,
        ridge_cv(X, Y, nuisances=N, alphas=default_alphas(7)).r,
    )


def test_what_was_not_trained_says_nothing():
    _, Y = simulate()
    with pytest.warns(UserWarning, match="3 of 3 ROIs score NaN"):
        result = ridge_cv(torch.ones(90, 4), Y)
    assert result.alphas.isnan().all()
    assert result.inner_score.isnan().all()
    assert result.preds.isnan().all()
    assert result.n_volumes.tolist() == [0, 0, 0]


def test_fewer_training_rows_than_inner_folds():
    x = torch.tensor([0.0, 1, 3, 4, 6, 8])[:, None]
    result = ridge_cv(x, 2 * x, n_folds=2, alphas=torch.tensor([1e-9]))
    assert result.r.item() == pytest.approx(1)


def test_errors_say_what_to_do():
    X, Y = simulate()
    with pytest.raises(ValueError, match=r"Y must have shape \(T=90, R\), got \(80, 3\)"):
        ridge_cv(X, Y[:80])
    with pytest.raises(ValueError, match="X must have at least one feature"):
        ridge_cv(X[:, :0], Y)
    with pytest.raises(ValueError, match="X must be finite, got 1 NaN or infinite"):
        ridge_cv(X.index_put((torch.tensor([4]), torch.tensor([2])), torch.tensor(torch.nan).double()), Y)
    with pytest.raises(ValueError, match="mark missing values with NaN"):
        ridge_cv(X, Y / 0)
    with pytest.raises(ValueError, match="selection must be one of 'folds', 'loo', got 'cv'"):
        ridge_cv(X, Y, selection="cv")
    with pytest.raises(ValueError, match="alphas must be positive"):
        ridge_cv(X, Y, alphas=torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="negative must be one of 'clip', 'square'"):
        ridge_cv(X, Y, negative="abs")
    with pytest.raises(ValueError, match="leaves nothing to train on inside a fold"):
        ridge_cv(X[:20], Y[:20], n_folds=2, gap=4, n_inner_folds=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ridge_cv(X, Y)  # nothing to warn about
