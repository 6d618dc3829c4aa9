"""Threads for small decompositions, and what a decomposition predicts in float32."""

from __future__ import annotations

import threading

import pytest
import torch

from nfas_lightning.functional import ridge_solver
from nfas_lightning.functional.ridge import ridge_cv
from nfas_lightning.functional.ridge_null import ridge_null
from nfas_lightning.functional.ridge_solver import decompose_features, one_thread_if_small
from tests.functional.test_ridge_held_out import problem


@pytest.mark.parametrize("P", [30, 300], ids=["tall", "wide"])
def test_predictions_in_float32_keep_their_digits_whatever_the_alphas(P):
    X, Y = problem(200, P, R=6)
    basis = decompose_features(X[:150], X[150:])
    alphas = torch.logspace(-6, 4, 6, dtype=torch.float64)
    exact = basis.predict(Y[:150], alphas)
    single = basis.predict(Y[:150], alphas, torch.float32)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=1e-4)


SMALL, LARGE = torch.empty(200, 512), torch.empty(3000, 768, device="cpu")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_one_thread_where_it_is_small_and_as_many_as_before_after_it():
    with one_thread_if_small(SMALL):
        assert torch.get_num_threads() == 1
        with one_thread_if_small(SMALL):  # one in another
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    for other in (LARGE, torch.empty(4, 4, device="meta")):
        with one_thread_if_small(other):
            assert torch.get_num_threads() == 2

    def fail():
        with one_thread_if_small(SMALL):
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail()
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_threads_of_a_program_do_not_leave_each_other_with_one():
    inside, may_end = threading.Event(), threading.Event()

    def work():
        with one_thread_if_small(SMALL):
            inside.set()
            may_end.wait(5)

    other = threading.Thread(target=work)
    with one_thread_if_small(SMALL):
        other.start()
        assert inside.wait(5)
    may_end.set()
    other.join()
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_fits_and_nulls_of_a_small_benchmark_decompose_in_one_thread(monkeypatch):
    used = []
    eigh = torch.linalg.eigh
    monkeypatch.setattr(
        ridge_solver.torch.linalg, "eigh", lambda A: used.append(torch.get_num_threads()) or eigh(A)
    )
    X, Y = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0))
    result = ridge_cv(X, Y)
    ridge_null(X, Y, result, moves="blocks", n_permutations=3)
    assert set(used) == {1}
    assert len(used) >= 10
    assert torch.get_num_threads() == 2
