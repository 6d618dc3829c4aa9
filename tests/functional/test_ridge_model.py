"""The encoding model that is kept: the same as scikit-learn's on all rows, in the responses' own units."""

import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge

from nfas_lightning.functional import contiguous_folds, ridge_cv, ridge_fit
from tests.functional.test_ridge import simulate


def test_weights_and_intercept_are_scikit_learns():
    X, Y = simulate(T=80, P=6, R=3)
    model = ridge_fit(X, Y)
    mean, std = X.mean(0), X.std(0, correction=0)
    for r in range(3):
        oracle = Ridge(alpha=float(model.alphas[r])).fit(
            ((X - mean) / std).numpy(), ((Y[:, r] - Y[:, r].mean()) / Y[:, r].std(correction=0)).numpy()
        )
        wanted = torch.from_numpy(oracle.coef_) / std * Y[:, r].std(correction=0)
        torch.testing.assert_close(model.weights[:, r], wanted, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(model.intercept, Y.mean(0))
    torch.testing.assert_close(model.predict(X).mean(0), Y.mean(0))


@pytest.mark.parametrize("P", [5, 200], ids=["tall", "wide"])
@pytest.mark.parametrize("selection", ["folds", "loo"])
@pytest.mark.parametrize("with_nuisances", [False, True])
def test_a_fold_fitted_alone_predicts_what_the_cross_validation_did(P, selection, with_nuisances):
    """The training rows of a fold are all rows of a model of their own."""
    X, Y = simulate(T=90, P=P, R=3)
    nuisances = X[:, :2] @ torch.ones(2, 2).double() + torch.randn(90, 2).double() if with_nuisances else None
    result = ridge_cv(X, Y, gap=2, selection=selection, nuisances=nuisances)
    train, test = contiguous_folds(90, gap=2)[0]
    own = None if nuisances is None else nuisances[train]
    model = ridge_fit(X[train], Y[train], gap=2, selection=selection, nuisances=own)
    preds = model.predict(X[test], None if nuisances is None else nuisances[test])
    for r in range(3):
        joint = torch.corrcoef(torch.stack([preds[:, r], Y[test, r]]))[0, 1]
        torch.testing.assert_close(joint, result.fold_r_joint[0, r], rtol=1e-6, atol=1e-8)


def test_without_nuisances_they_stay_at_their_means():
    generator = torch.Generator().manual_seed(0)
    nuisance, feature = torch.randn(2, 400, 1, generator=generator).double()
    Y = 3 * nuisance + 2 * (feature + nuisance) + 5
    model = ridge_fit(feature + nuisance, Y, nuisances=nuisance)
    torch.testing.assert_close(model.predict(feature + nuisance, nuisance), Y, rtol=1e-3, atol=1e-2)
    at_mean = model.predict(feature + nuisance, nuisance.mean(0).expand(400, 1))
    torch.testing.assert_close(model.predict(feature + nuisance), at_mean)
    plain = LinearRegression().fit(torch.cat([feature + nuisance, nuisance], 1).numpy(), Y.numpy())
    found = torch.stack([model.weights[0, 0], model.nuisance_weights[0, 0]])
    torch.testing.assert_close(found, torch.from_numpy(plain.coef_[0]), rtol=1e-2, atol=1e-2)


def test_a_nuisance_that_is_there_twice_in_other_units_counts_once():
    """What rounding leaves between the two is no regressor of its own: its weights would be huge."""
    X, Y = simulate(T=120, P=6, R=3)
    X, Y, once = X.float(), Y.float(), X[:, :2].float() + 1
    twice = torch.cat([once, once[:, :1] * 1000 + 3], 1)
    one, two = (ridge_cv(X, Y, nuisances=known) for known in (once, twice))
    torch.testing.assert_close(two.r_joint, one.r_joint, rtol=0, atol=1e-5)
    torch.testing.assert_close(two.r, one.r, rtol=0, atol=1e-5)
    one, two = (ridge_fit(X, Y, nuisances=known) for known in (once, twice))
    torch.testing.assert_close(two.predict(X, twice), one.predict(X, once), rtol=1e-4, atol=1e-4)
    assert two.nuisance_weights.abs().max() < 10


def test_new_rows_are_predicted():
    X, Y = simulate(T=120, P=6, R=3, noise=0.1)
    preds = ridge_fit(X[:80], Y[:80]).predict(X[80:])
    for r in range(3):
        assert torch.corrcoef(torch.stack([preds[:, r], Y[80:, r]]))[0, 1] > 0.99


def test_missing_rows_and_constant_responses():
    X, Y = simulate(T=90, P=4, R=4)
    Y[:20, 0] = float("nan")
    Y[:, 1] = 2.0
    Y[:, 2] = float("nan")
    model = ridge_fit(X, Y)
    alone = ridge_fit(X[20:], Y[20:, :1])
    torch.testing.assert_close(model.predict(X[:5])[:, 0], alone.predict(X[:5])[:, 0], rtol=1e-6, atol=1e-6)
    assert model.weights[:, 1:3].isnan().all()
    assert model.predict(X)[:, 1:3].isnan().all()
    assert model.predict(X)[:, [0, 3]].isfinite().all()


def test_dtype_is_kept_and_an_offset_does_no_harm():
    X, Y = simulate(T=60, P=4, R=2, dtype=torch.float32)
    model, moved = ridge_fit(X, Y), ridge_fit(X + 1000, Y)
    assert model.predict(X).dtype == torch.float32
    torch.testing.assert_close(moved.predict(X + 1000), model.predict(X), rtol=2e-2, atol=2e-2)


def test_what_does_not_fit_is_refused():
    X, Y = simulate(T=60, P=4, R=2)
    model = ridge_fit(X, Y)
    with pytest.raises(ValueError, match=r"X must have shape \(T, P=4\), got \(60, 3\)"):
        model.predict(X[:, :3])
    with pytest.raises(ValueError, match="was fitted without any"):
        model.predict(X, X[:, :1])
    with pytest.raises(ValueError, match="X must be finite"):
        model.predict(X / 0)


def test_a_result_that_kept_its_model_predicts_new_rows():
    X, Y = simulate(T=120, P=6, R=3, noise=0.1)
    result = ridge_cv(X[:80], Y[:80], keep_model=True)
    torch.testing.assert_close(result.predict(X[80:]), ridge_fit(X[:80], Y[:80]).predict(X[80:]))
    for r in range(3):
        assert torch.corrcoef(torch.stack([result.predict(X[80:])[:, r], Y[80:, r]]))[0, 1] > 0.99
    with pytest.raises(RuntimeError, match=r"keep_model=True"):
        ridge_cv(X, Y).predict(X)
