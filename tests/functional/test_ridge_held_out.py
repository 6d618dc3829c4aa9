"""Held-out errors of ridge regression: two routes to one number, and which of them is taken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from nfas_lightning.functional import ridge_held_out
from nfas_lightning.functional.ridge_held_out import held_out_errors
from nfas_lightning.functional.ridge_solver import MAY_LOSE, decompose_features, leave_one_out_errors
from nfas_lightning.functional.standardization import standardize
from tests.helpers.pretended_device import PretendedDevice, pretend, reveal

ALPHAS = torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64)
ROUTES = [ridge_held_out._by_operators, ridge_held_out._by_rows]
MANY = 10_000  # responses, for which operators are multiplied out


def problem(n, P, R=4, seed=0):
    """Centered features with a falling spectrum, centered responses."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, P, generator=generator, dtype=torch.float64)
    X = X @ torch.randn(P, P, generator=generator, dtype=torch.float64) * torch.arange(1, P + 1) ** -0.5
    Y = X @ torch.randn(P, R, generator=generator, dtype=torch.float64)
    Y = Y / Y.std(0) + torch.randn(n, R, generator=generator, dtype=torch.float64)
    return X - X.mean(0), Y - Y.mean(0)


def explicit(X, Y, blocks):
    """Fit without each block, one model per alpha."""
    errors = np.zeros((len(ALPHAS), Y.shape[1]))
    for held, guard in blocks:
        kept = np.setdiff1d(np.arange(len(X)), torch.cat([held, guard]).numpy())
        for error, alpha in zip(errors, ALPHAS.tolist(), strict=True):
            model = Ridge(alpha=alpha, solver="cholesky").fit(X[kept].numpy(), Y[kept].numpy())
            error += ((model.predict(X[held].numpy()) - Y[held].numpy()) ** 2).sum(0)
    return errors


def cut(n, n_blocks, gap):
    blocks = []
    for held in torch.arange(n).tensor_split(n_blocks):
        near = torch.arange(max(0, int(held[0]) - gap), min(n, int(held[-1]) + 1 + gap))
        blocks.append((held, near[~torch.isin(near, held)]))
    return blocks


@settings(deadline=None)
@given(
    n=st.integers(20, 60),
    P=st.sampled_from([1, 4, 15, 80]),
    n_blocks=st.integers(2, 6),
    gap=st.integers(0, 2),
    seed=st.integers(0, 99),
)
def test_both_routes_equal_fits_without_the_block(n, P, n_blocks, gap, seed):
    X, Y = problem(n, P, seed=seed)
    blocks = cut(n, n_blocks, gap)
    expected = explicit(X, Y, blocks)
    basis = decompose_features(X, X[:2])
    for route in ROUTES:
        for n_targets in (1, MANY):
            found = route(basis, ALPHAS, blocks, torch.float64, n_targets)(Y)
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-7)


@pytest.mark.parametrize("route", ROUTES)
def test_repeated_features_are_harmless_in_both(route):
    X, Y = problem(60, 5)
    twice = torch.cat([X, X, torch.zeros(60, 1)], 1)
    blocks = cut(60, 3, 1)
    expected = explicit(twice, Y, blocks)
    found = route(decompose_features(twice, twice[:2]), ALPHAS, blocks, torch.float64, 1)(Y)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-7)


@pytest.mark.parametrize("route", ROUTES)
def test_float32_keeps_its_digits(route):
    X, Y = problem(400, 60)
    blocks, basis = cut(400, 5, 0), decompose_features(X, X[:2])
    exact = route(basis, ALPHAS[1:], blocks, torch.float64, 1)(Y)
    single = route(basis, ALPHAS[1:], blocks, torch.float32, 1)(Y)
    assert not torch.equal(single, exact)
    torch.testing.assert_close(single, exact, rtol=1e-5, atol=0)


@pytest.mark.parametrize("P", [60, 600], ids=["tall", "wide"])
def test_few_products_serve_a_fine_grid_to_the_dtypes_rounding(P):
    X, Y = problem(300, P)
    blocks, basis = cut(300, 5, 2), decompose_features(X, X[:2])
    alphas = torch.logspace(2, 6, 40, dtype=torch.float64)
    exact = ridge_held_out._by_rows(basis, alphas, blocks, torch.float64, 1)(Y)
    single = ridge_held_out._by_operators(basis, alphas, blocks, torch.float32, MANY)(Y)
    torch.testing.assert_close(single, exact, rtol=2e-5, atol=0)


@pytest.mark.parametrize(
    ("n", "P", "n_blocks", "n_targets", "expected"),
    [
        (400, 60, 5, 4, "_by_operators"),  # large blocks of few features
        (400, 60, 400, 4, "_by_rows"),  # single rows
        (40, 60, 5, 4, "_by_rows"),  # more features than rows
        (40, 60, 5, MANY, "_by_operators"),  # and many responses
    ],
)
def test_the_cheaper_route_is_taken(monkeypatch, n, P, n_blocks, n_targets, expected):
    X, Y = problem(n, P)
    taken = []
    for route in ROUTES:

        def note(*arguments, route=route):
            taken.append(route.__name__)
            return route(*arguments)

        monkeypatch.setattr(ridge_held_out, route.__name__, note)
    alphas = torch.logspace(-1, 3, 15, dtype=torch.float64)
    basis = decompose_features(X, X[:2])
    held_out_errors(basis, alphas, cut(n, n_blocks, 0), n_targets=n_targets)(Y)
    assert taken == [expected]


def test_blocks_that_take_different_routes_add_up():
    X, Y = problem(300, 40)
    first, *rest = torch.arange(300).split([200, *[1] * 100])
    nothing = torch.arange(0)
    blocks = [(first, nothing), *((row, nothing) for row in rest)]
    basis = decompose_features(X, X[:2])
    alphas = ALPHAS.repeat(5)
    assert {ridge_held_out._operators_are_cheaper(basis, *block, 4, len(alphas)) for block in blocks} == {
        True,
        False,
    }
    found = held_out_errors(basis, alphas, blocks, n_targets=4)(Y)[:3]
    np.testing.assert_allclose(found.numpy(), explicit(X, Y, blocks), rtol=1e-7)


@pytest.mark.parametrize("systems", [2**26, 2 * 50 * 54, 1], ids=["all", "two", "one"])
def test_an_accelerator_solves_several_alphas_at_once(monkeypatch, systems):
    monkeypatch.setattr(ridge_held_out, "_SYSTEMS", systems)
    X, Y = problem(200, 40)
    blocks = cut(200, 4, 0)
    expected = held_out_errors(decompose_features(X, X[:2]), ALPHAS, blocks)(Y)
    with PretendedDevice():
        basis = decompose_features(pretend(X), pretend(X[:2]))
        assert not ridge_held_out._operators_are_cheaper(basis, *blocks[0], 4, len(ALPHAS))
        found = reveal(held_out_errors(basis, pretend(ALPHAS), blocks, n_targets=4)(pretend(Y)))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-9)


def test_one_row_that_outweighs_all_others_costs_float32_nothing():
    X, Y = problem(400, 30)
    X[7] *= 1e4
    X = X - X.mean(0)
    Y[7] = X[7] @ torch.ones(30, 4, dtype=torch.float64)
    Y = Y - Y.mean(0)
    blocks, basis = cut(400, 5, 0), decompose_features(X, X[:2])
    alphas = 30 * torch.logspace(1, 4, 4, dtype=torch.float64)
    assert bool((alphas * MAY_LOSE**2 > basis.eigenvalues[-1]).all())
    exact = ridge_held_out._by_operators(basis, alphas, blocks, torch.float64, 4)(Y)
    single = ridge_held_out._by_operators(basis, alphas, blocks, torch.float32, 4)(Y)
    torch.testing.assert_close(single, exact, rtol=1e-3, atol=0)


@pytest.mark.parametrize("P", [6, 60], ids=["tall", "wide"])
def test_a_fit_without_some_rows_fits_the_nuisances_anew(P):
    """Left out in turn, one by one and in blocks: nuisances by least squares beside the ridge."""
    generator = torch.Generator().manual_seed(0)
    n, q = 40, 12
    N = torch.randn(n, q, generator=generator).double()
    X = torch.randn(n, P, generator=generator).double() + N[:, :1]
    Y = X[:, :2] + N[:, 1:3] + torch.randn(n, 2, generator=generator).double()
    x, y = (standardize(part, torch.arange(n), torch.arange(0), N) for part in (X, Y))
    basis, alphas = (
        decompose_features(x.train, x.train[:1], x.fixed),
        torch.tensor([1e-3, 1.0, 30.0]).double(),
    )

    def explicit(blocks):
        errors = torch.zeros(len(alphas), 2).double()
        free = torch.cat([torch.ones(n, 1).double(), N], 1)
        for held in blocks:
            kept = torch.tensor([row for row in range(n) if row not in held])
            for a, alpha in enumerate(alphas):
                joined = torch.cat([free, x.train], 1)
                penalty = torch.diag(torch.cat([torch.zeros(1 + q), torch.ones(P)])).double() * alpha
                left = joined[kept].T @ joined[kept] + penalty
                weights = torch.linalg.solve(left, joined[kept].T @ y.train[kept])
                errors[a] += (y.train[held] - joined[held] @ weights).square().sum(0)
        return errors

    single = leave_one_out_errors(basis, alphas)(y.train)
    torch.testing.assert_close(single, explicit([[row] for row in range(n)]), rtol=1e-6, atol=1e-8)
    blocks = [list(range(start, start + 8)) for start in range(0, n, 8)]
    parts = [(torch.tensor(block), torch.arange(0)) for block in blocks]
    for route in ROUTES:
        found = route(basis, alphas, parts, torch.float64, 1)(y.train)
        torch.testing.assert_close(found, explicit(blocks), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("P", [6, 60], ids=["tall", "wide"])
def test_a_nuisance_that_lies_in_the_rows_left_out_has_no_weight(P):
    X, Y = problem(60, P)
    N = torch.zeros(60, 1, dtype=torch.float64)
    N[:12] = torch.randn(12, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    N[:12] -= N[:12].mean()
    x, y = (standardize(part, torch.arange(60), torch.arange(0), N) for part in (X, Y))
    basis, blocks = decompose_features(x.train, x.train[:1], x.fixed), cut(60, 5, 0)
    free = torch.cat([torch.ones(60, 1), N], 1)
    expected = torch.zeros(len(ALPHAS), 4, dtype=torch.float64)
    for held, _ in blocks:
        left = torch.tensor([row for row in range(60) if row not in held])
        fit = torch.linalg.pinv(free[left], rtol=1e-6)
        inside, outside = (
            part - free[rows] @ fit @ x.train[left]
            for rows, part in ((left, x.train[left]), (held, x.train[held]))
        )
        rest = y.train[held] - free[held] @ fit @ y.train[left]
        for row, alpha in zip(expected, ALPHAS, strict=True):
            kernel = inside @ inside.T + alpha * torch.eye(len(left))
            row += (rest - outside @ inside.T @ torch.linalg.solve(kernel, y.train[left])).square().sum(0)
    operators, rows = (route(basis, ALPHAS, blocks, torch.float64, 1)(y.train) for route in ROUTES)
    torch.testing.assert_close(operators, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(rows, expected, rtol=1e-3, atol=0)
    single = ridge_held_out._by_operators(basis, ALPHAS, blocks, torch.float32, 1)(y.train)
    torch.testing.assert_close(single, expected, rtol=1e-3, atol=0)
