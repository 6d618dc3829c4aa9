"""Names in, a leaderboard out; a model that is out of reach costs nothing but its own row."""

import json
from pathlib import Path

import pandas as pd
import pytest

from nfas_lightning.cli import main
from nfas_lightning.leaderboard import CONFIGS, benchmark_configs, leaderboard, score
from nfas_lightning.models import reach
from nfas_lightning.plotting import page
from nfas_lightning.results import RunResults
from nfas_lightning.sweep import cost
from tests.helpers.results import make_results

CONFIG = """
trainer:
  callbacks:
    - class_path: ScoreWriter
      init_args: {run_dir: elsewhere, settings: {class_path: ScoringSettings, init_args: {n_folds: 4}}}
data: {class_path: SimulatedBrainDataModule, init_args: {modality: audio, n_stimuli: 24, n_runs: 2}}
"""


@pytest.mark.weights
def test_names_in_and_a_leaderboard_out_though_one_is_out_of_reach(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reach, "is_reachable", lambda url: False)
    (tmp_path / "sounds.yaml").write_text(CONFIG)
    monkeypatch.setattr(cost, "seconds_scoring", lambda *given: 50.0)
    drawn = []
    monkeypatch.setattr(page, "write_report", lambda *given: drawn.append(given) or given[0])
    with pytest.raises(SystemExit) as stop:
        main(
            [
                "score",
                "silero_vad",
                "whisper_tiny",
                "--on",
                "sounds.yaml",
                "--n_permutations",
                "9",
                "--json",
                "--processes",
                "1",
            ]
        )
    assert stop.value.code == 1
    out, err = capsys.readouterr()
    found, lost = json.loads(out)
    assert found["model"] == "silero_vad"
    assert lost["model"] == "whisper_tiny"
    assert "huggingface.co can't be reached from here" in lost["error"]
    results = RunResults.load("runs/sounds")
    assert results.meta["settings"]["n_folds"] == 4  # the config's, and of the command line:
    assert results.meta["settings"]["n_permutations"] == 9
    rows = results.scores.set_index("feature")
    assert found["r"] == pytest.approx(rows.loc["stable_mode", f"r_{found['score']}"].mean())
    assert found["alone"] == pytest.approx(rows.loc["stable_mode", "r"].mean())
    assert found["random_weights"] == pytest.approx(rows.loc["random_weights", "r_partial"].mean())
    told = " ".join(err.split())
    assert told.index("Scoring 2 models takes 2 to 5 min") < told.index(
        "forward passes, random-weights twins included"
    )
    assert "✗ whisper_tiny" in told.rpartition("SIMULATED responses")[2]  # at the end too
    assert drawn[0][0] == Path("runs/sounds/report.html")
    assert list(drawn[0][1].models["model"]) == ["silero_vad"]


def test_a_leaderboard_has_the_best_first_and_the_failed_last():
    results = make_results()
    table = leaderboard(results, {"gpt9": OSError("no such weights")})
    assert list(table["model"])[-1] == "gpt9"
    assert table["error"].notna().sum() == 1
    scored = table[:-1]
    assert scored["r"].is_monotonic_decreasing
    assert set(scored["model"]) == set(results.models["model"])
    assert {"ceiling", "alone", "joint", "partial", "last_block", "nuisance"} <= set(table)
    assert table.columns[-2] == "r2"
    pd.testing.assert_frame_equal(leaderboard(results), scored.drop(columns="error"))


def test_what_nobody_knows_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"on must name a benchmark .* got 'alise'. Did you mean 'alice'"):
        score(["minilm_l6"], on="alise")
    with pytest.raises(ValueError, match=r"No model is called 'gtp2'. Try one of: .*zoo:gpt2"):
        score(["gtp2"], on="alice")
    with pytest.raises(ValueError, match=r"timm has no model 'resnt18'. Similar names: resnet18"):
        score(["timm:resnt18"], on="alice")


def test_a_wrong_name_or_config_is_a_wrong_command_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text, said in {
        CONFIG: "No model is called 'gtp2'",
        CONFIG.replace("n_stimuli", "n_stimulli"): "Option 'n_stimulli' is not accepted",
        CONFIG.replace("SimulatedBrain", "SimulatdBrain"): "Did you mean 'SimulatedBrainDataModule'",
        CONFIG.replace("n_folds: 4", "n_folds: 0"): "n_folds must be at least 2, got 0",
        CONFIG.replace("{run_dir", "{runs: 3, run_dir"): "Option 'runs' is not accepted",
        CONFIG.replace("- class_path", "- clas_path"): "trainer.callbacks must be a list of class_path",
        "data: [": "odd.yaml must be YAML in UTF-8",
        "data: 5": "odd.yaml must have a BrainDataModule",
    }.items():
        (tmp_path / "odd.yaml").write_text(text)
        with pytest.raises(SystemExit) as stop:
            main(["score", "gtp2" if text == CONFIG else "silero_vad", "--on", "odd.yaml"])
        assert stop.value.code == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_an_experiment_has_precedence_over_plain_data():
    known = benchmark_configs()
    assert known["narratives"] == CONFIGS / "experiments" / "narratives.yaml"
    assert known["bold_moments"] == CONFIGS / "data" / "bold_moments.yaml"
