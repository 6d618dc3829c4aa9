"""Sweeps as their files have them: what does not add up is refused before anything is written."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from jsonargparse import ArgumentError

from nfas_lightning.cli.check_config import check_arguments
from nfas_lightning.packaged_models import PACKAGED
from nfas_lightning.scoring import ScoringSettings
from nfas_lightning.sweep import Sweep, conduct, read_sweep
from nfas_lightning.writing import load_yaml
from tests.helpers.sweeps import write


def test_a_sweep_that_does_not_add_up_writes_nothing(folder):
    source = write(folder, ("one", {}))
    with pytest.raises(ArgumentError, match="models_per_job"):
        read_sweep(source, changes={"models_per_job": "many"})
    sweep = read_sweep(source)
    with pytest.raises(ValueError, match=r"No benchmark is of the modality of \['minilm_l6'\]"):
        conduct(replace(sweep, models=["minilm_l6"]), source)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        replace(sweep, models_per_job=0)
    with pytest.raises(ValueError, match="dtype"):
        replace(sweep, dtype="int3")
    with pytest.raises(ValueError, match="No model of toy is called"):
        sweep.choose("toy:two")
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("name", ["packaged", "paper", "small"])
def test_the_sweeps_that_come_with_it_add_up(name, monkeypatch):
    root = Path(__file__).parents[2]
    monkeypatch.chdir(root)
    sweep = read_sweep(root / "configs" / "sweeps" / f"{name}.yaml")
    by_modality = pd.Series([spec.modality for spec in sweep.specs]).value_counts().to_dict()
    if name == "paper":
        assert by_modality == {"vision": 15, "audio": 15, "language": 15}
        assert len(sweep.cells) == 45
    else:
        assert len(sweep.specs) == (len(PACKAGED) if name == "packaged" else 6)
        assert {cell.benchmark for cell in sweep.cells} >= {"alice", "natural_sounds", "simulated_vision"}


def test_a_sweep_over_settings_has_a_benchmark_for_each():
    config = load_yaml((Path(__file__).parents[2] / "configs" / "sweeps" / "settings.yaml").read_text())
    check_arguments(config, Sweep)
    settings = {name: ScoringSettings(**part["settings"]) for name, part in config["benchmarks"].items()}
    found = {name: (own.svd_rank, own.centering) for name, own in settings.items()}
    assert found == {f"rank{r}_{c}": (r, c) for r in (1, 2, 4) for c in ("scale", "center")}
    about = [{**part, "settings": None} for part in config["benchmarks"].values()]
    assert about == about[:1] * 6  # the data are one


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/b"], "got 'a/b'"),
        ([".."], "without a dot at its ends.*got '..'"),
        (["n" * 300], "at most 60 letters"),
        (["Logs"], "none of cells, logs, submitit; got 'Logs'"),
        (["story", "Story"], r"more than capitals, got \['story', 'Story'\]"),
    ],
)
def test_names_of_benchmarks_are_folders_of_their_own(folder, names, message):
    sweep = read_sweep(write(folder, ("one", {})))
    with pytest.raises(ValueError, match=message):
        replace(sweep, benchmarks=dict.fromkeys(names, sweep.benchmarks["toy"]))
