"""SIGTERM ends a run with a word and code 143, and what is finished is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from nfas_lightning.termination import Terminated, ending_on_sigterm

RUN = """
import sys, time, torch
from pathlib import Path
from torch import nn
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.runner import score_models

class Net(nn.Module):
    def __init__(self, seconds):
        super().__init__()
        self.blocks = nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.Linear(6, 6), nn.Linear(6, 6))
        self.seconds = seconds
    def forward(self, x):
        if self.seconds and len(x) > 4:  # more than a probe
            Path("started").touch()
            time.sleep(self.seconds)
        return self.blocks(x)

brain = ArrayDataModule(torch.rand(20, 3, 4, 4), torch.randn(20, 2), rois=["V1", "V2"], batch_size=20)
layers = ["blocks.1", "blocks.2", "blocks.3"]
models = [{"model": Net(s), "name": n, "layers": layers} for n, s in (("a", 0), ("b", 600))]
score_models(models, brain, "runs", random_twins=False, accelerator="cpu")
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGTERM")
def test_score_models_ends_with_143_and_keeps_what_is_finished(tmp_path):
    (tmp_path / "run.py").write_text(RUN)
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "run.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "started").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()  # in the last batch, at which Lightning does not look at its note of the signal
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert "Terminated with 1 model finished" in said
    assert "Start it again" in said
    assert len(list(tmp_path.glob("runs/models/a/*/card.json"))) == 1


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
