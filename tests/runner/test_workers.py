"""Work in several processes: everything is done once, and what fails or dies costs its own item alone."""

import os
import signal
from functools import partial
from multiprocessing import active_children

import pytest
import torch

from nfas_lightning.errors import FailureError, InputError
from nfas_lightning.runner.workers import processes_here, share


class Picky(ValueError):
    """An error that can't be read back: it is made of two things and keeps one."""

    def __init__(self, what, why):
        super().__init__(f"{what}: {why}")


def square(offset, item):
    if item == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "picky":
        raise Picky(item, "no")
    if item == "lambda":
        return lambda: None
    return item**2 + offset, torch.get_num_threads()


def make(offset):
    return partial(square, offset)


def refuse():
    raise InputError("there is no benchmark")


def test_every_item_is_done_once_and_failures_cost_their_own_item():
    items = [1, "picky", 2, "die", 3, "lambda", 4]
    done = dict(share(partial(make, 0.5), items, processes=2))
    assert set(done) == set(items)
    assert [done[item][0] for item in (1, 2, 3, 4)] == [1.5, 4.5, 9.5, 16.5]
    assert {done[item][1] for item in (1, 2, 3, 4)} == {max(1, len(os.sched_getaffinity(0)) // 2)}
    assert isinstance(done["picky"], FailureError)
    assert str(done["picky"]) == "Picky: picky: no"
    assert "killed (signal 9)" in str(done["die"])
    assert "lambda" in str(done["lambda"])


def where(item):
    return os.getcwd(), os.environ["NFAS_CACHE"]


def test_they_stand_where_this_process_stands_now(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NFAS_CACHE", "elsewhere")
    assert list(share(partial(partial, where), [1], processes=1)) == [(1, (str(tmp_path), "elsewhere"))]


def test_what_can_not_be_made_is_the_error_of_every_item_and_tells_where():
    done = dict(share(refuse, [1, 2], processes=1))
    assert {str(error) for error in done.values()} == {"there is no benchmark"}
    assert all(isinstance(error, InputError) for error in done.values())
    assert "in refuse" in done[1].__notes__[0]


def test_what_can_not_be_sent_is_refused_and_no_process_is_left():
    with pytest.raises(InputError, match=r"can be sent to them.*processes=1"):
        list(share(lambda: square, [1, 2], processes=2))
    assert not active_children()


def test_an_item_without_room_waits_until_it_is_alone_and_leaving_ends_the_processes():
    asked = []
    results = share(partial(make, 0), [1, 2, 3], processes=2, fits=lambda item: bool(asked.append(item)))
    assert next(results)[0] == 1
    assert asked == [2]
    assert next(results)[0] == 2
    assert active_children()
    results.close()
    assert not active_children()


def test_an_accelerator_is_not_shared(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert [processes_here(n) for n in (1, 3, 45)] == [1, 3, 4]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert processes_here(45) == 1
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert processes_here(45) == 1
