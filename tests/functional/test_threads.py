"""Small systems are solved in one thread, and the number of threads is afterwards what it was."""

from __future__ import annotations

import threading

import pytest
import torch

from nfas_lightning.functional import ridge
from nfas_lightning.functional.encoding import ridge_cv
from nfas_lightning.functional.ridge_null import ridge_null
from nfas_lightning.functional.threads import one_thread_if_small

SMALL, LARGE = torch.empty(200, 512), torch.empty(3000, 768, device="cpu")


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


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


def test_fits_and_nulls_of_a_small_benchmark_decompose_in_one_thread(monkeypatch):
    used = []
    eigh = torch.linalg.eigh
    monkeypatch.setattr(ridge.torch.linalg, "eigh", lambda A: used.append(torch.get_num_threads()) or eigh(A))
    X, Y = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0))
    result = ridge_cv(X, Y)
    ridge_null(X, Y, result, moves="blocks", n_permutations=3)
    assert set(used) == {1}
    assert len(used) >= 10
    assert torch.get_num_threads() == 2
