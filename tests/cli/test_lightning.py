"""`nfas test` and its kin: a suite runs, configs parse and compose."""

from pathlib import Path

import pytest
import yaml

from nfas_lightning.cli import main
from nfas_lightning.results import RunResults

ROOT = Path(__file__).parents[2]
PARTS = ROOT / "configs" / "examples"  # each a part of a config, to be composed
SWEEPS = ROOT / "configs" / "sweeps"  # of a command of its own
CONFIGS = sorted(
    path for path in (ROOT / "configs").rglob("*.yaml") if not {PARTS, SWEEPS} & set(path.parents)
)


def small_config(folder: Path, models: list[str], run: str = "run", **data: int) -> Path:
    """A suite of tiny untrained timm models on a small simulated brain."""
    config = {
        "trainer": {
            "logger": False,
            "enable_progress_bar": False,
            "callbacks": [
                {"class_path": "DepthTrajectory"},
                {
                    "class_path": "ScoreWriter",
                    "init_args": {"run_dir": str(folder / run), "settings": {"n_permutations": 19}},
                },
            ],
        },
        "model": {
            "class_path": "ModelSuite",
            "init_args": {"models": [{"model": m, "weights": "random"} for m in models]},
        },
        "data": {
            "class_path": "SimulatedBrainDataModule",
            "init_args": {"modality": "vision", "n_stimuli": 24, "n_subjects": 2, "n_runs": 2, **data},
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.slow
def test_test_command_runs_a_suite_reports_and_resumes(tmp_path, capsys, captures, passes, request):
    main(["test", "--config", str(small_config(tmp_path, ["timm:test_vit"]))])
    run = tmp_path / "run"
    main(["space", str(run), "--out", str(tmp_path / "space")])
    assert (tmp_path / "space" / "report.html").is_file()
    passes.clear()
    other = tmp_path / "other"
    other.mkdir()
    changed = small_config(other, ["timm:test_vit"])
    changed.write_text(changed.read_text().replace("n_permutations: 19", "n_permutations: 29"))
    request.getfixturevalue("unreported")  # two reports are enough
    main(["test", "--config", str(changed)])
    assert not passes  # the states of the first run are scored
    assert len(RunResults.load(other / "run").models) == 1
    assert (other / "run" / "config.yaml").is_file()
    assert (run / "report.html").is_file()
    assert "SIMULATED" in (run / "report.html").read_text().upper()
    assert len(RunResults.load(run).models) == 1
    assert "class_path" in (run / "config.yaml").read_text()
    capsys.readouterr()
    main(["test", "--config", str(small_config(tmp_path, ["timm:test_vit", "timm:test_resnet"]))])
    printed = capsys.readouterr().out
    assert "found finished" in printed
    assert len(RunResults.load(run).models) == 2
    assert (run / "config-1.yaml").is_file()  # the first run's config was not overwritten


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_parses(config, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["test", "--config", str(config), "--print_config"])
    assert stop.value.code == 0
    assert "class_path: nfas_lightning" in capsys.readouterr().out
    assert config.read_text().startswith("# ")


def composed(*names: str) -> list[str]:
    return [word for name in names for word in ("--config", str(PARTS / f"{name}.yaml"))]


def test_parts_of_a_config_compose(capsys):
    parts = composed("score", "sentence_models", "simulated_sentences", "wandb")
    with pytest.raises(SystemExit) as stop:
        main(["test", *parts, "--data.n_stimuli", "24", "--print_config"])
    assert stop.value.code == 0
    printed = capsys.readouterr()
    assert "takes the place" not in printed.err
    config = yaml.safe_load(printed.out)
    assert config["model"]["class_path"] == "nfas_lightning.models.ModelSuite"
    assert config["data"]["init_args"]["n_stimuli"] == 24  # the command line wins over the file
    assert config["data"]["init_args"]["modality"] == "language"
    assert config["trainer"]["logger"]["class_path"].endswith("WandbLogger")
    assert len(config["trainer"]["callbacks"]) == 2
    assert len(list(PARTS.glob("*.yaml"))) == 4  # all of them were composed


def test_predictions_are_not_kept_in_memory(capsys):
    model = ["--model", "FrozenModel", "--model.model=minilm_l6"]
    with pytest.raises(SystemExit):
        main(["predict", *composed("simulated_sentences"), *model, "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["return_predictions"] is False
