import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from nfas_lightning.cli import main
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.models import ModelSuite
from nfas_lightning.results import RunResults
from nfas_lightning.runner import (
    SuiteTrainer,
    score_models,
)
from tests.cli.test_lightning import small_config
from tests.helpers import networks
from tests.helpers.networks import seeded
from tests.helpers.suites import QUICK, ROIS, Net, brain, images, spec, trainer


def test_one_call_is_the_trainer_its_callbacks_and_the_report(tmp_path, capsys):
    net = Net()
    results = score_models(spec(net), brain(), tmp_path / "one", settings=QUICK, name="toy")
    trainer(tmp_path / "parts").test(ModelSuite([spec(Net())]), datamodule=brain())
    columns = ["model", "feature", "roi", "r", "p"]
    assert results.scores[columns].equals(RunResults.load(tmp_path / "parts").scores[columns])
    assert (tmp_path / "one" / "report.html").is_file()
    assert results.meta["name"] == "toy"
    assert "Report:" in capsys.readouterr().out
    before = net.calls
    score_models([spec(net)], brain(), tmp_path / "one", settings=QUICK, report=False)
    assert net.calls == before  # found finished; the plan's probe has a copy of its own
    assert "Report:" not in capsys.readouterr().out


def other_brain(n_subjects=1, rois=ROIS, **options):
    """Other responses to the same images."""
    values = images().flatten(1)[:, : len(rois)] + torch.rand(
        n_subjects, 40, len(rois), generator=torch.Generator().manual_seed(5)
    )
    names = [str(i) for i in range(n_subjects)]
    options = {"rois": rois, "subject_names": names, "dataset": "other", "batch_size": 16, **options}
    return ArrayDataModule(images(), values, **options)


UNTESTED = replace(QUICK, n_permutations=0)


def test_what_was_captured_is_scored_again_without_a_forward_pass(tmp_path, captures, passes, capsys):
    def score(folder, datamodule, settings=UNTESTED, **options):
        models = {"model": seeded(networks.Net), "layers": "blocks.*"}
        options = {"report": False, "enable_progress_bar": False, "settings": settings, **options}
        return score_models(models, datamodule, tmp_path / folder, **options)

    first = score("first", brain())
    assert len(captures.files()) == 2  # the model and its random twin
    passes.clear()
    pairs = [
        (brain(), replace(UNTESTED, operator="pooled")),
        (other_brain(n_subjects=3, subjects=["2"]), UNTESTED),
        (other_brain(rois=["V1"]), UNTESTED),
    ]
    found = [score(f"run {i}", *pair) for i, pair in enumerate(pairs)]
    assert not passes
    assert "states of an earlier run" in capsys.readouterr().out
    for i, (pair, result) in enumerate(zip(pairs, found, strict=True)):
        expected = score(f"anew {i}", *pair, cache=False)
        assert passes
        pd.testing.assert_frame_equal(result.scores, expected.scores)
        assert not result.scores["r"].equals(first.scores["r"])
        passes.clear()
    score("again", brain(), resume=False)  # which takes nothing that an earlier run has kept
    assert passes


def test_one_device_is_used_unless_more_are_asked_for(tmp_path, monkeypatch):
    asked = []

    def refuse(self, **options):
        asked.append(options["devices"])
        raise InterruptedError

    monkeypatch.setattr(SuiteTrainer, "__init__", refuse)
    for options in ({}, {"devices": 2}):
        with pytest.raises(InterruptedError):
            score_models(spec(Net()), brain(), tmp_path, **options)
    assert asked == [1, 2]


TWO_PROCESSES = """
import sys
from pathlib import Path

import torch
from torch.nn.modules.module import register_module_forward_pre_hook

sys.path.insert(0, {root!r})
from nfas_lightning.cli import main
from nfas_lightning.runner import run_report
from tests.runner.test_score_run import *

run_report.write_report = lambda path, *_, **__: path  # as the fixture `unreported`

if __name__ == "__main__":
    folder, passes = Path({folder!r}), []
    register_module_forward_pre_hook(lambda module, _: passes.append(module))
    options = dict(accelerator="cpu", devices=2, strategy="ddp", enable_progress_bar=False)
    network = {{"model": seeded(networks.Net), "layers": "blocks.*"}}
    for settings in (QUICK, UNTESTED):
        run = folder / str(settings.n_permutations)
        results = score_models(network, brain(41), run, settings=settings, report=False, **options)
        rank = torch.distributed.get_rank()
        assert bool(passes) is (settings is QUICK), (rank, settings)
        passes.clear()
    results.scores.to_parquet(folder / f"{{rank}}.parquet")
    # two at a time: Lightning starts processes once, and these go on with the command
    both = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu"]
    main(["test", "--config", str(folder / "config.yaml"), *both])
    assert passes
    (folder / f"{{rank}} is done").touch()
"""


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.usefixtures("unreported")
def test_two_processes_with_uneven_shares_find_what_one_finds(tmp_path, captures, monkeypatch):
    folder, root = tmp_path / "two", str(Path(__file__).parents[2])
    folder.mkdir()
    config = small_config(folder, ["timm:test_vit"], run="cli", n_stimuli=25, batch_size=4)
    script = tmp_path / "run.py"
    script.write_text(TWO_PROCESSES.format(root=root, folder=str(folder)))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list(folder.glob("? is done"))) == 2
    assert done.stdout.count("Report:") == 1  # of the command, by the first process
    assert "states of an earlier run" in done.stdout
    pd.testing.assert_frame_equal(*(pd.read_parquet(folder / f"{rank}.parquet") for rank in (0, 1)))
    monkeypatch.setenv("NFAS_CAPTURES_GB", "0")
    network = {"model": seeded(networks.Net), "layers": "blocks.*"}
    options = {"enable_progress_bar": False, "report": False}
    for settings in (QUICK, UNTESTED):
        run = tmp_path / "one" / str(settings.n_permutations)
        score_models(network, brain(41), run, settings=settings, **options)
    config.write_text(config.read_text().replace(str(folder / "cli"), str(tmp_path / "one/cli")))
    main(["test", "--config", str(config)])
    for name in ("19", "0", "cli"):
        two, one = (RunResults.load(place / name).scores for place in (folder, tmp_path / "one"))
        pd.testing.assert_frame_equal(two, one, atol=1e-5)
