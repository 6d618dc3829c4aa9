"""Rows of one fold, standardized by the training rows alone."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from nfas_lightning.functional.standardization import nuisance_map, standardize

TRAIN, TEST = torch.arange(30), torch.arange(30, 40)


def values(columns=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    scale = 10.0 ** torch.arange(columns)
    return (scale * torch.randn(40, columns, generator=generator, dtype=torch.float64) + 3).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_nuisances_it_is_scikit_learns_scaler(dtype):
    X = values(dtype=dtype)
    before = X.clone()
    got = standardize(X, TRAIN, TEST, None)
    scaler = StandardScaler().fit(X[TRAIN].double().numpy())
    np.testing.assert_allclose(got.train, scaler.transform(X[TRAIN].double().numpy()), atol=1e-10)
    np.testing.assert_allclose(got.test, scaler.transform(X[TEST].double().numpy()), atol=1e-10)
    assert got.train.dtype == torch.float64
    assert torch.equal(X, before)
    assert got.fixed is None
    assert not got.constant.any()


def test_nuisances_leave_by_least_squares_on_the_training_rows():
    X, N = values(), values(2, seed=1)
    got = standardize(X, TRAIN, TEST, N)
    fit = LinearRegression().fit(N[TRAIN].numpy(), X[TRAIN].numpy())
    inside = X[TRAIN].numpy() - fit.predict(N[TRAIN].numpy())
    outside = X[TEST].numpy() - fit.predict(N[TEST].numpy())
    np.testing.assert_allclose(got.train, inside / inside.std(0), atol=1e-10)
    np.testing.assert_allclose(got.test, outside / inside.std(0), atol=1e-10)
    np.testing.assert_allclose(got.whole, got.test + got.explained, atol=1e-10)
    np.testing.assert_allclose(got.slopes.T, fit.coef_, atol=1e-10)
    np.testing.assert_allclose(got.fixed.T @ got.fixed, np.eye(2), atol=1e-12)


def test_what_nuisances_explain_is_constant_and_not_blown_up():
    N = values(1)
    X = torch.cat([N * 2 + 1, torch.full_like(N, 5.0), values(1, seed=2)], dim=1)
    got = standardize(X, TRAIN, TEST, N)
    assert got.constant.tolist() == [True, True, False]
    assert not got.test[:, :2].any()
    assert got.whole[:, 0].abs().max() > 0.1  # the column with its nuisance varies
    assert not got.whole[:, 1].any()


def test_a_common_scale_keeps_the_proportions_of_columns():
    X = values()
    got = standardize(X, TRAIN, TEST, None, "common")
    deviation = X[TRAIN].std(0, correction=0)
    torch.testing.assert_close(got.train.std(0, correction=0) / deviation, got.factor)
    assert len(got.factor.unique()) == 1
    assert float(got.train.square().mean()) == pytest.approx(1)


def test_a_nuisance_that_is_there_twice_is_one():
    N = values(1)
    _, _, inverse, scale = nuisance_map(torch.cat([N, N * 1000], dim=1), TRAIN, TEST)
    assert int(torch.linalg.matrix_rank(inverse)) == 1
    torch.testing.assert_close(scale[1], 1000 * scale[0])
