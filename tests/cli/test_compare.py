"""`nfas compare` on folders of runs: tables printed and written, and what it refuses."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from nfas_lightning.cli.main import main
from nfas_lightning.results import RunResults, compare_features, compare_models
from tests.helpers.results import make_draws, make_results


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run per modality, on ROIs of its own."""
    folder = tmp_path_factory.mktemp("runs")
    for modality in ("vision", "audio"):
        made = make_results((modality,), n_models=4, n_rois=9, seed=len(modality), score="partial")
        replace(made, models=made.models.assign(twin_of="", weights="pretrained")).save(folder / modality)
    return folder


def refused(capsys, *args):
    """What the command says, with the code of a wrong command line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["compare", *map(str, args)])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("nfas compare: error: ")
    return said


def test_prints_a_table_per_data_set_and_one_of_all(runs, capsys):
    folders = [str(runs / name) for name in ("vision", "audio")]
    main(["compare", *folders])
    printed = capsys.readouterr().out
    for dataset in ("simulated-vision", "simulated-audio", "all simulated"):
        assert f"{dataset}: r beyond the nuisances" in printed
    table = compare_features(RunResults.concatenate([RunResults.load(folder) for folder in folders]).scores)
    pooled = table.query("dataset == 'all simulated' and baseline == 'last_block'").iloc[0]
    assert f"{pooled['difference']:+.3f}" in printed
    assert f"{pooled['low']:+.3f} {pooled['high']:+.3f}" in printed
    assert f"{pooled['ahead']} of 8" in printed
    assert "no p below 2 / 2^n: 0.125 for 4" in " ".join(printed.split())


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_writes_the_table(runs, tmp_path, capsys, suffix):
    path, where = tmp_path / "deep" / f"table.{suffix}", "model != 'hed_vgg16'"
    main(["compare", str(runs / "vision"), "--out", str(path), "--value", "r2", "--where", where])
    read = {
        "csv": pd.read_csv,
        "parquet": pd.read_parquet,
        "json": lambda path: pd.DataFrame(json.loads(path.read_text())),
    }
    expected = compare_features(RunResults.load(runs / "vision").select(where).scores, value="r2")
    pd.testing.assert_frame_equal(read[suffix](path), expected)
    assert "r2 beyond the nuisances" in capsys.readouterr().out


def test_another_feature_is_compared(runs, capsys):
    main(["compare", str(runs / "audio"), "--feature", "all_blocks", "--score", "alone"])
    printed = capsys.readouterr().out
    assert "simulated-audio: r alone" in printed
    assert all(name in printed for name in ("all blocks", "stable mode", "nuisances alone"))


def test_refused(runs, tmp_path, capsys):
    run = runs / "vision"
    typed = refused(capsys, run, "--score", "r_partial")
    assert "score: expected one of 'alone', 'joint', 'partial', got 'r_partial'." in typed
    assert "feature must be one of the tables' ['stable_mode'" in refused(capsys, run, "--feature", "stable")
    assert "ends in .csv, .json or .parquet, got 'table.txt'" in refused(capsys, run, "--out", "table.txt")
    assert "once on a data set, got 'mobilenet_v2' on 'simulated-vision'" in refused(capsys, run, run)
    assert "holds no scores.parquet" in refused(capsys, tmp_path)
    assert "keeps none of 4 models" in refused(capsys, run, "--where", "family == 'x'")
    assert "got 'sub-01'" in refused(capsys, run, "--subject", "sub-01")


def test_ranks_models_of_one_data_set(runs, tmp_path, capsys):
    results = RunResults.load(runs / "vision")
    names = results.models["model"].tolist()
    draws = make_draws(dict(zip(names, (0.5, 0.3, 0.2, 0.1), strict=True)), dataset="simulated-vision")
    replace(results, draws=draws).save(tmp_path / "run")
    path = tmp_path / "pairs.csv"
    main(["compare", str(tmp_path / "run"), "--out_pairs", str(path), "--over", "stimuli"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "Which model is better, and how sure: mean r" in printed
    assert "other stimuli for the same subjects" in printed
    pairs = compare_models(RunResults.load(tmp_path / "run").draws, over="stimuli").pairs
    pd.testing.assert_frame_equal(pd.read_csv(path), pairs)
    main(["compare", str(tmp_path / "run"), "--json"])
    told = json.loads(capsys.readouterr().out)
    ranking = compare_models(RunResults.load(tmp_path / "run").draws)
    for name in ("means", "pairs", "features"):
        expected = getattr(ranking, name)
        found = pd.DataFrame(told["ranking"][name], columns=list(expected))
        pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    assert told["ranking"]["means"][0]["letters"] == "a"
    assert (told["ranking"]["value"], told["ranking"]["scope"]) == ("r", ranking.scope)
    baselines = compare_features(RunResults.load(tmp_path / "run").scores)
    assert [row["baseline"] for row in told["baselines"]] == baselines["baseline"].tolist()
    main(["compare", str(runs / "audio"), "--json"])
    assert "hold no draws" in json.loads(capsys.readouterr().out)["ranking"]["notes"][0]
    main(["compare", str(runs / "audio")])
    assert "Models are not ranked: these runs hold no draws" in capsys.readouterr().out
    assert "out_pairs must be a file whose name ends in" in refused(
        capsys, runs / "vision", "--out_pairs", "x.txt"
    )
