import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from nfas_lightning.models import ModelSuite
from nfas_lightning.results import RunResults
from nfas_lightning.runner import (
    SuiteTrainer,
    score_models,
)
from tests.helpers.suites import QUICK, Net, Other, brain, spec, trainer


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
import json, sys
from pathlib import Path

import torch

sys.path.insert(0, {root!r})
from nfas_lightning.runner import score_models
from tests.helpers.suites import QUICK, Net, Other, brain, spec

if __name__ == "__main__":
    options = dict(accelerator="cpu", devices=2, strategy="ddp", enable_progress_bar=False)
    results = score_models([spec(Net()), spec(Other())], brain(), {folder!r}, settings=QUICK, **options)
    rank = torch.distributed.get_rank()
    results.scores.to_json(Path({said!r}, f"{{rank}}.json"))
    print(f"rank {{rank}} has", len(results.models))
"""


@pytest.mark.ddp
@pytest.mark.slow
def test_every_one_of_two_processes_returns_what_the_first_wrote(tmp_path):
    script, said, folder = tmp_path / "run.py", tmp_path / "said", tmp_path / "run"
    said.mkdir()
    root = str(Path(__file__).parents[2])
    script.write_text(TWO_PROCESSES.format(root=root, folder=str(folder), said=str(said)))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Report:") == 1
    found = [json.loads((said / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert found[0] == found[1]
    alone = score_models(
        [spec(Net()), spec(Other())], brain(), tmp_path / "alone", settings=QUICK, report=False
    )
    columns = ["model", "feature", "roi", "r", "r2", "p"]
    pd.testing.assert_frame_equal(RunResults.load(folder).scores[columns], alone.scores[columns])
