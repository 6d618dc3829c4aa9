"""Wrong commands, and what help and mistakes import."""

import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning  # noqa: F401 - so that it is there

from nfas_lightning.cli import main
from nfas_lightning.cli.main import COMMANDS, _packaged


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["tset"], "there is no command 'tset'. Did you mean 'test'?"),
        (["models", "lst"], "models has no subcommand 'lst'. Did you mean 'list'?"),
        (["space"], "runs missing."),
        (["help", "Scorewriter"], "there is no class 'Scorewriter'. Did you mean 'ScoreWriter'?"),
        (["test"], "model and data missing: give a config"),
        (["test", "--config"], "expected one argument"),
        (["space", "--config", "sweep.yaml"], "unknown key 'benchmarks'."),
        (["space", "runs/nowhere"], "nfas space: error: runs/nowhere holds no scores.parquet"),
    ],
)
def test_wrong_commands(capsys, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.yaml").write_text("benchmarks: {one: {data: {class_path: ArrayDataModule}}}\n")
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_config_of_the_package_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Path(_packaged("configs/sweeps/small.yaml")).is_file()
    assert _packaged("configs/sweeps/smal.yaml") == "configs/sweeps/smal.yaml"
    (tmp_path / "configs" / "sweeps").mkdir(parents=True)
    (tmp_path / "configs" / "sweeps" / "small.yaml").touch()
    assert _packaged("configs/sweeps/small.yaml") == "configs/sweeps/small.yaml"


def imported(*statements):
    """Which of the slow packages a new process has imported after these statements."""
    slow = {"torch", "pytorch_lightning", "lightning_fabric", "torchmetrics", "transformers", "matplotlib"}
    code = "; ".join(["import sys", *statements, f"print(sorted({slow} & set(sys.modules)))"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def test_help_and_mistakes_wait_for_no_import():
    given = [[*name.split(), "--help"] for name in COMMANDS]
    given += [["test", "--help"], ["help", "fit"], ["models"], ["space", "--oops"], ["data", "lst"]]
    run = "from nfas_lightning.cli.process import run"
    assert imported(run, f"codes = [run(words) for words in {given}]", "assert codes[-2:] == [2, 2]") == "[]"


def test_tables_of_models_and_the_space_of_finished_runs_do_without_lightning():
    assert imported("import nfas_lightning.packaged_models, nfas_lightning.models.zoo") == "['torch']"
    space = "import nfas_lightning.space.runs; from nfas_lightning.runner import report_run"
    assert imported(space) == "['matplotlib', 'torch']"
