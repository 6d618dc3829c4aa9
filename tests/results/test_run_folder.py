"""The folder of a run: whole results or none, found again, and two processes at once."""

import errno
import os
import shutil

import pandas as pd
import pytest

from nfas_lightning.results import (
    RunFolder,
    RunResults,
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
