"""What the `nfas` process says and returns."""

import os
import signal
import sys
import threading
import warnings

import pytest
import yaml

from nfas_lightning.cli.process import run
from nfas_lightning.results import RunResults

MODULE = """
import time
from pathlib import Path
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset


class Net(pl.LightningModule):
    def __init__(self, mood: str = "good"):
        super().__init__()
        self.mood, self.layer = mood, torch.nn.Linear(2, 1)
        if mood == "unborn":
            {}["no such key"]

    def training_step(self, batch, batch_idx):
        if self.mood == "sleepy":
            Path("started").touch()
            time.sleep(0.2)
        if self.mood == "buggy":
            {}["no such key"]
        return self.layer(batch[0]).square().mean()


class Data(pl.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.ones(4, 2)), batch_size=2)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A user's folder: a module and a config of their own."""
    (tmp_path / "users_module.py").write_text(MODULE)
    config = {
        "trainer": {"max_epochs": 1, "enable_progress_bar": False, "enable_model_summary": False},
        "model": {"class_path": "users_module.Net"},
        "data": {"class_path": "users_module.Data"},
        "optimizer": {"class_path": "SGD", "init_args": {"lr": 0.1}},
    }
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.delenv("NFAS_DEBUG", raising=False)
    yield tmp_path
    sys.modules.pop("users_module", None)
    os.environ.pop("NFAS_DEBUG", None)


FIT = ["fit", "--config", "train.yaml"]


def test_classes_of_the_current_folder_run_and_configs_pile_up(folder):
    assert run(FIT) == 0
    first = (folder / "config.yaml").read_text()
    assert "class_path: users_module.Net" in first
    assert run([*FIT, "--trainer.max_epochs", "2"]) == 0
    assert (
        run(["fit", "--config", "config.yaml"]) == 0
    )  # a saved config is a config; the same text stays one file
    assert (folder / "config.yaml").read_text() == first
    assert sorted(path.name for path in folder.glob("config*")) == ["config-1.yaml", "config.yaml"]


def test_nothing_of_jsonargparse_that_is_on_its_way_out_is_called(folder, monkeypatch, recwarn):
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "all")  # else each is shown once a process
    warnings.simplefilter("always")
    assert run(FIT) == 0
    assert [str(found.message) for found in recwarn if "jsonargparse" in str(found.category).lower()] == []


@pytest.mark.parametrize("mood", ["buggy", "unborn"])
def test_a_mistake_in_users_code_shows_its_traceback(folder, capsys, mood):
    assert run([*FIT, "--model.mood", mood]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert 'users_module.py", line' in said
    assert "Union subtypes" not in said


def test_an_error_of_ours_is_one_line_unless_debugging(folder, capsys, monkeypatch):
    module = sys.modules["nfas_lightning.cli.process"]
    monkeypatch.setattr(module, "main", lambda given: RunResults.load("nowhere"))
    assert run(["space", "nowhere"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("nfas: error: nowhere holds no scores.parquet")
    assert "Traceback" not in said
    assert run(["space", "nowhere", "--debug"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "MissingFileError: nowhere holds no scores.parquet" in said


def test_what_lightning_refuses_is_one_line(folder, capsys):
    assert run([*FIT, "--trainer.accelerator", "tpuu"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "invalid accelerator name" in said[-1]
    assert "Traceback" not in "".join(said)


def test_wrong_command_lines_return_2(folder, capsys):
    assert run(["fit", "--config", "trian.yaml"]) == 2
    assert "Did you mean train.yaml?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sent", "code", "said"),
    [(signal.SIGINT, 130, "nfas: interrupted"), (signal.SIGTERM, 143, "nfas: terminated")],
    ids=["ctrl-c", "terminated"],
)
def test_a_stopped_process_says_so(folder, capsys, sent, code, said):
    def send():
        while not (folder / "started").exists():
            if ended.wait(0.01):
                return
        os.kill(os.getpid(), sent)

    ended, before = threading.Event(), signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it
    sender = threading.Thread(target=send)
    sender.start()
    try:
        assert run([*FIT, "--model.mood", "sleepy", "--trainer.max_epochs", "1000"]) == code
    finally:
        ended.set()
        sender.join()
        signal.signal(signal.SIGINT, before)
    assert said in capsys.readouterr().err
