"""The experiments' configs on real responses, end to end, with their lightest models."""

from pathlib import Path

import pytest

from nfas_lightning.cli import main
from nfas_lightning.results import RunResults

CONFIGS = Path(__file__).parents[2] / "configs" / "experiments"

pytestmark = [pytest.mark.shared_data, pytest.mark.weights, pytest.mark.slow, pytest.mark.timeout(900)]


def run(config: str, model: str, folder: Path, monkeypatch, data: Path, *options: str) -> RunResults:
    monkeypatch.setenv("NFAS_DATA", str(data))
    text = (CONFIGS / config).read_text().replace(f"run_dir: runs/{config[:-5]}", f"run_dir: {folder}")
    text = text.replace("n_permutations: 1000", "n_permutations: 199")
    path = folder / "experiment.yaml"
    path.write_text(text)
    main(["test", "--config", str(path), "--model.init_args.models", f"[{model}]", *options])
    return RunResults.load(folder)


@pytest.mark.usefixtures("unreported")
def test_alice(tmp_path, monkeypatch, shared_data, capsys):
    # three words of context instead of 20, whose forward passes take most of the time
    options = ("--data.init_args.window", "3")
    results = run("alice.yaml", "paraphrase_minilm_l3", tmp_path, monkeypatch, shared_data, *options)
    group = results.scores.query("subject == 'group'")
    assert set(group["feature"]) == {
        "stable_mode", "last_block", "best_block", "mean_depth", "all_blocks", "random_weights", "nuisance",
    }  # fmt: skip
    assert set(group["roi"]) == {"LATL", "RATL", "LPTL", "LIPL", "LPreM", "LIFG"}
    assert len(set(results.scores["subject"])) == 28
    by_feature = group.groupby("feature")["r"].mean()
    assert by_feature["stable_mode"] > 0.1
    assert by_feature["nuisance"] > 0.2  # word rate and sound power alone: the line that must not be missing
    assert group["ceiling"].notna().all()
    printed = capsys.readouterr().out
    assert "LIFG" in printed
    assert "nuisance" in printed


@pytest.mark.usefixtures("unreported")
def test_natural_sounds(tmp_path, monkeypatch, shared_data):
    results = run("natural_sounds.yaml", "ge2e_voice_encoder", tmp_path, monkeypatch, shared_data)
    stable = results.scores.query("feature == 'stable_mode'").set_index("roi")
    assert len(stable) == 6
    assert stable["r"].mean() > 0.4
    assert stable.loc["speech", "r"] > 0.5
    assert (stable["p"] < 0.05).all()
