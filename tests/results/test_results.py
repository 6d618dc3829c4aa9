import errno
import os
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nfas_lightning.results import (
    COLUMNS,
    ModelResult,
    RunFolder,
    RunResults,
    content_key,
    subject_scores,
)
from nfas_lightning.writing import staging_place
from tests.helpers.results import make_results, model_result


def test_what_is_written_is_read_back(tmp_path):
    folder = RunFolder(tmp_path)
    result = model_result()
    folder.write("hf:org/net", "k" * 64, result)
    assert folder.has("hf:org/net", "k" * 64)
    assert not folder.has("hf:org/net", "j" * 64)
    read = folder.read("hf:org/net", "k" * 64)
    pd.testing.assert_frame_equal(read.scores, result.scores)
    assert read.card["key"] == "k" * 64


def test_a_result_prints_as_one_line():
    result = model_result()
    r = result.scores.query("subject == 'group' and feature == 'stable_mode'")["r"].mean()
    text = repr(result)
    assert text.startswith(f"ModelResult(net on 0: mean r {r:.3f} of stable_mode over 4 ROIs; features ")
    assert "\n" not in text


def test_a_query_of_an_unknown_column_names_those_there_are():
    with pytest.raises(ValueError, match=r"Did you mean 'modality'\? Columns of a model: \['model'"):
        make_results().select("modalty == 'audio'")


def test_a_write_that_fails_leaves_no_result(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)

    def full_disk(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        folder.write("net", "k" * 64, model_result())
    assert not folder.has("net", "k" * 64)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_killed_write_is_not_taken_for_a_result(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write("net", "k" * 64, model_result())
    whole = next(tmp_path.rglob("card.json")).parent
    whole.rename(staging_place(whole))  # what a kill between write and rename leaves
    assert not folder.has("net", "k" * 64)


def test_two_processes_may_finish_one_model_at_a_time(tmp_path, monkeypatch):
    folder, rename = RunFolder(tmp_path), os.replace

    def overtaken(source, target):
        monkeypatch.setattr(os, "replace", rename)
        folder.write("net", "k" * 64, model_result())
        rename(source, target)

    monkeypatch.setattr(os, "replace", overtaken)
    folder.write("net", "k" * 64, model_result())
    assert folder.has("net", "k" * 64)
    assert not list(tmp_path.rglob(".*.tmp"))


def test_colleagues_can_read_a_result(tmp_path):
    RunFolder(tmp_path).write("net", "k" * 64, model_result())
    assert next(tmp_path.rglob("card.json")).parent.stat().st_mode & 0o777 == 0o755


def test_a_damaged_file_says_what_to_do(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write("net", "k" * 64, model_result())
    folder.gather([("net", "k" * 64)], pd.DataFrame({"roi": ["V1"]}), {})
    kept = next(tmp_path.rglob("models/*/*/scores.parquet"))
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"damaged result .*: delete that folder"):
        RunFolder(tmp_path).read("net", "k" * 64)
    (tmp_path / "scores.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"damaged or older tables .*: start its run again"):
        RunResults.load(tmp_path)


def test_gather_keeps_twins_as_a_baseline_and_not_as_models(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write("net", "a" * 64, model_result())
    twin = model_result(twin_of="net")
    folder.write("net_random", "b" * 64, twin)
    rois = pd.DataFrame({"roi": ["V1"]})
    run = folder.gather([("net", "a" * 64), ("net_random", "b" * 64)], rois, {"name": "x"})
    assert len(run.models) == 1
    assert len(run.scores) == 2 * len(twin.scores)
    again = RunResults.load(tmp_path)
    pd.testing.assert_frame_equal(again.scores, run.scores)
    assert again.meta["name"] == "x"


def test_a_finished_model_is_read_once_and_again_where_it_was_written_anew(tmp_path, monkeypatch):
    folder, rois, read = RunFolder(tmp_path), pd.DataFrame({"roi": ["V1"]}), []
    read_parquet = pd.read_parquet
    monkeypatch.setattr(pd, "read_parquet", lambda path: read.append(path) or read_parquet(path))
    keys = [(f"net{i}", "k" * 64) for i in range(4)]
    for i, (name, key) in enumerate(keys):
        folder.write(name, key, model_result(name))
        folder.gather(keys[: i + 1], rois, {})
    assert len(read) == len(set(read)) == 3 * len(keys)
    shutil.rmtree(next(tmp_path.glob("models/net0/*")))
    changed = model_result("net0")
    changed.scores["r"] += 1
    folder.write(*keys[0], changed)
    pd.testing.assert_frame_equal(folder.read(*keys[0]).scores, changed.scores)


def test_a_finished_result_stays_while_another_process_finishes_it_too(tmp_path):
    first = model_result()
    RunFolder(tmp_path).write("net", "k" * 64, first)
    kept = next(tmp_path.rglob("scores.parquet")).stat().st_ino
    again = model_result()
    again.scores["r"] += 1
    folder = RunFolder(tmp_path)
    folder.write("net", "k" * 64, again)
    assert next(tmp_path.rglob("scores.parquet")).stat().st_ino == kept  # as a reader has it open
    pd.testing.assert_frame_equal(folder.read("net", "k" * 64).scores, first.scores)
    assert [path.name for path in tmp_path.glob("models/net/*")] == ["k" * 16]


@pytest.mark.parametrize("lost", ["card.json", "depth.parquet"])
def test_a_damaged_result_is_replaced(tmp_path, lost):
    RunFolder(tmp_path).write("net", "k" * 64, model_result())
    next(tmp_path.rglob(lost)).unlink()
    RunFolder(tmp_path).write("net", "k" * 64, model_result())
    assert RunFolder(tmp_path).read("net", "k" * 64).card["model"] == "net"
    assert [path.name for path in tmp_path.glob("models/net/*")] == ["k" * 16]


def test_models_of_earlier_runs_are_named(tmp_path):
    folder = RunFolder(tmp_path)
    for name, twin_of in (("org/a", ""), ("b", ""), ("b_random", "b"), ("c", "")):
        folder.write(name, "k" * 64, model_result(name, twin_of=twin_of))
    next(tmp_path.glob("models/c/*/card.json")).write_text("{")
    assert folder.others(["b"]) == ["org/a"]
    assert folder.others(["org/a", "b"]) == []


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "Error writing bytes to file")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(
        OSError, match=r"models/net/k{16}/scores.parquet could not be written: .*Error writing"
    ):
        RunFolder(tmp_path).write("net", "k" * 64, model_result())
    assert not list(tmp_path.rglob(".*.tmp"))
    with pytest.raises(OSError, match=r"run/scores.parquet could not be written: .*Error writing") as caught:
        make_results(("vision",), n_models=2, n_rois=4).save(tmp_path / "run")
    assert caught.value.errno == errno.ENOSPC


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


def subjects_table():
    """Scores of `many` (three subjects), `grouped` (group and two), `alone` (one subject)."""
    generator = np.random.default_rng(0)
    whose = {"many": ["c", "a", "b"], "grouped": ["group", "a", "b"], "alone": ["a"]}
    rows = [
        {
            **dict.fromkeys(COLUMNS["scores"], ""),
            "score": "alone",
            **{"model": model, "subject": subject, "feature": feature, "roi": roi},
            **dict(zip(("r", "r2", "p", "q", "ceiling"), generator.random(5), strict=True)),
            **{"n_volumes": 30, "simulated": False},
        }
        for model, subjects in whose.items()
        for subject in subjects
        for feature in ("stable_mode", "last_block")
        for roi in ("V2", "V1", "IT")
    ]
    return pd.DataFrame(rows)


def test_subjects_are_averaged_only_where_there_is_no_group_and_more_than_one():
    scores = subjects_table()
    scores.loc[0, ["r", "r2"]] = np.nan  # of one subject at one ROI
    shown = subject_scores(scores)
    assert list(shown) == list(scores)
    assert list(shown["model"].unique()) == ["many", "grouped", "alone"]
    assert not shown.duplicated(["model", "feature", "roi"]).any()
    for model, subject in (("grouped", "group"), ("alone", "a")):
        rows = scores[(scores["model"] == model) & (scores["subject"] == subject)]
        own = shown[shown["model"] == model]
        pd.testing.assert_frame_equal(own.reset_index(drop=True), rows.reset_index(drop=True))
    many = shown[shown["model"] == "many"].set_index(["feature", "roi"])
    assert set(many["subject"]) == {"mean"}
    assert many[["p", "q"]].isna().all(axis=None)
    assert (many["n_volumes"] == 30).all()
    values = ["r", "r2", "ceiling"]
    expected = scores[scores["model"] == "many"].groupby(["feature", "roi"])[values].mean()
    pd.testing.assert_frame_equal(many.loc[expected.index, values], expected)
    pd.testing.assert_frame_equal(subject_scores(shown), shown)
    shuffled = subject_scores(scores.sample(frac=1, random_state=0))
    columns = ["model", "subject", "feature", "roi", *values]
    pd.testing.assert_frame_equal(
        shuffled[columns].sort_values(columns[:4], ignore_index=True),
        shown[columns].sort_values(columns[:4], ignore_index=True),
    )


def test_a_subject_is_chosen_by_name_and_must_be_there():
    scores = subjects_table()
    pd.testing.assert_frame_equal(subject_scores(scores, "a"), scores[scores["subject"] == "a"])
    with pytest.raises(ValueError, match=r"one of the table's \['a', 'b', 'c', 'group'\], got 'z'.*the mean"):
        subject_scores(scores, "z")
    with pytest.raises(
        ValueError, match=r"got 'group', which 2 of 3 models lack, such as \['alone', 'many'\]"
    ):
        subject_scores(scores, "group")
    with pytest.raises(ValueError, match="without a column 'subject'"):
        subject_scores(scores.drop(columns="subject"), "a")


def test_a_result_of_single_subjects_prints_their_mean():
    scores = subjects_table().query("model == 'many'")
    good = model_result()
    text = repr(ModelResult(scores, good.spectra, good.depth, good.card))
    r = scores.query("feature == 'stable_mode'")["r"].mean()
    assert f"mean r {r:.3f} of stable_mode over 3 ROIs" in text


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


def test_content_key_sees_every_part():
    assert content_key("a", {"x": 1, "y": 2}) == content_key("a", {"y": 2, "x": 1})
    assert content_key("a", {"x": 1}) != content_key("a", {"x": 2})
    assert content_key("ab") != content_key("a", "b")


def test_content_key_ignores_where_objects_lie():
    class Preprocess:
        def __init__(self, size):
            self.size = size
            self.inner = None

    assert content_key(Preprocess(3)) == content_key(Preprocess(3))
    assert content_key(Preprocess(3)) != content_key(Preprocess(4))
    assert content_key(test_content_key_sees_every_part) != content_key(model_result)


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
