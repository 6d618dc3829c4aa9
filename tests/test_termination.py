"""SIGTERM ends a run with a word and code 143, and what is finished is kept."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from nfas_lightning.runner import score_models
from nfas_lightning.termination import Terminated, ending_on_sigterm
from tests.helpers.suites import QUICK, Net, brain, spec


class Slow(Net):
    """Sends the signal and sleeps in the last batch, at which Lightning does not look at its note of it."""

    def forward(self, x):
        if len(x) > 8:  # more than a probe
            get_signal_and(lambda: time.sleep(60))
        return super().forward(x)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGTERM")
def test_score_models_ends_with_143_and_keeps_what_is_finished(tmp_path, capsys):
    models = [spec(Net(), name="a"), spec(Slow(), name="b")]
    with pytest.raises(Terminated) as stop:
        score_models(models, brain(20), tmp_path, settings=QUICK, random_twins=False, accelerator="cpu")
    assert stop.value.code == 143
    said = capsys.readouterr().err
    assert "Terminated with 1 model finished" in said
    assert "Start it again" in said
    assert len(list(tmp_path.glob("models/a/*/card.json"))) == 1


def get_signal_and(then):
    os.kill(os.getpid(), signal.SIGTERM)
    then()


def test_a_signal_is_an_exception_only_inside_the_block():
    with pytest.raises(Terminated) as stop, ending_on_sigterm():
        get_signal_and(lambda: time.sleep(5))
    assert stop.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_of_the_program_stays_and_lightnings_exit_gets_a_code(capsys):
    def end():
        raise type("SIGTERMException", (SystemExit,), {})  # as Lightning calls it

    heard = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with pytest.raises(Terminated) as stop, ending_on_sigterm(lambda: "two are kept"):
            get_signal_and(end)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert heard == [signal.SIGTERM]
    assert stop.value.code == 143
    assert capsys.readouterr().err == "two are kept\n"


def test_other_threads_and_other_exits_are_left_alone():
    with pytest.raises(SystemExit) as stop, ending_on_sigterm():
        sys.exit(3)
    assert stop.value.code == 3
    entered = []

    def enter():
        with ending_on_sigterm():
            entered.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [signal.SIG_DFL]
