"""Result tables: what they hold, how they join, and what they say of what is missing."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from nfas_lightning.results import (
    COLUMNS,
    ModelResult,
    RunFolder,
    RunResults,
)
from tests.helpers.results import make_results, model_result


def test_a_result_prints_as_one_line():
    result = model_result()
    r = result.scores.query("subject == 'group' and feature == 'stable_mode'")["r"].mean()
    text = repr(result)
    assert text.startswith(f"ModelResult(net on 0: mean r {r:.3f} of stable_mode over 4 ROIs; features ")
    assert "\n" not in text


def test_a_query_of_an_unknown_column_names_those_there_are():
    with pytest.raises(ValueError, match=r"Did you mean 'modality'.*\? Columns of a model: \['model'"):
        make_results().select("modalty == 'audio'")


def test_tables_of_an_older_version_name_what_they_lack(tmp_path):
    make_results(("vision",), n_models=2, n_rois=4).save(tmp_path)
    path = tmp_path / "scores.parquet"
    pd.read_parquet(path).drop(columns=["n_volumes", "simulated"]).to_parquet(path)
    with pytest.raises(ValueError, match=r"'scores' lacks the columns \['n_volumes', 'simulated'\].*again"):
        RunResults.load(tmp_path)
    RunFolder(tmp_path).write("net", "k" * 64, model_result())
    path = next(tmp_path.glob("models/net/*/scores.parquet"))
    pd.read_parquet(path).drop(columns="n_volumes").to_parquet(path)
    with pytest.raises(
        ValueError, match=r"models/net/.*lacks the columns \['n_volumes'\].*delete that folder"
    ):
        RunFolder(tmp_path).read("net", "k" * 64)


def test_concatenate_joins_the_roi_axis_by_id():
    first, second = make_results(("vision",), n_rois=4), make_results(("audio",), n_rois=4)
    second.rois.loc[0, "roi"] = "another"
    joined = RunResults.concatenate([first, second])
    assert set(joined.rois["roi"]) == set(first.rois["roi"]) | set(second.rois["roi"])
    assert joined.rois["roi"].is_unique
    assert len(joined.models) == len(first.models) + len(second.models)


def test_missing_columns_and_folders_are_named(tmp_path):
    good = model_result()
    with pytest.raises(ValueError, match=r"'scores' lacks the columns \['r2'\]"):
        ModelResult(good.scores.drop(columns="r2"), good.spectra, good.depth, good.card)
    with pytest.raises(FileNotFoundError, match="expected the folder of a finished run"):
        RunResults.load(tmp_path)
    with pytest.raises(ValueError, match="nothing to gather"):
        RunFolder(tmp_path).gather([], good.scores, {})


def test_the_results_of_a_run_print_as_one_line():
    results = make_results(("vision",), n_models=2, n_rois=4)
    text = repr(results)
    assert text.startswith("RunResults(2 models on ")
    assert "4 ROIs, features " in text
    assert "\n" not in text


def test_numbered_rois_of_other_responses_never_join(tmp_path):
    results = make_results(("vision",), n_models=2, n_rois=4)
    first = replace(results, rois=results.rois.assign(unnamed=True), meta={"responses_sha256": "a"})
    same = replace(first, scores=first.scores.assign(model="x"), models=first.models.assign(model="x"))
    other = replace(first, meta={"responses_sha256": "b"})
    joined = RunResults.concatenate([first, same])  # the same responses: one axis, whatever it is called
    joined = replace(joined, models=joined.models.assign(twin_of="", weights="pretrained"))
    joined.save(tmp_path)
    named = replace(other, rois=results.rois)
    for runs in ([first, other], [RunResults.load(tmp_path), other], [named, first]):
        with pytest.raises(ValueError, match=r"those of 'simulated-vision' have none: seitzman_.*Name them"):
            RunResults.concatenate(runs)


PAGE = (Path(__file__).parents[2] / "docs/tables.md").read_text(encoding="utf-8")
MORE = {"models": {"objective"}}  # of models that say so


@pytest.mark.parametrize("table", COLUMNS)
def test_the_page_of_tables_explains_every_column_once(table):
    section = PAGE.split(f"\n## {table}: ")[1].split("\n## ")[0]
    named = [
        name for row in re.findall(r"^\| (`.+?) \|", section, re.M) for name in re.findall(r"`(\w+)`", row)
    ]
    assert len(named) == len(set(named))
    assert set(named) == set(COLUMNS[table]) | MORE.get(table, set())


def test_a_printed_table_of_scores_shows_r():
    results = make_results(n_rois=4)
    scores = results.scores[[*COLUMNS["scores"]]]
    with pd.option_context("display.width", 80, "display.max_columns", 0):
        header = str(scores).splitlines()[0].split()
    # versions of pandas fit more or less in between
    assert (header[:2], "..." in header, header[-2:]) == (["model", "feature"], True, ["roi", "r"])
