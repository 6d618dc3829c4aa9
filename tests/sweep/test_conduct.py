"""Sweeps: resumable, isolated, and the same whether killed or not."""

import json
import shlex
import sys
import time
from multiprocessing import get_context

import pandas as pd
import pytest

from nfas_lightning.cli.main import main
from nfas_lightning.results import RunResults
from nfas_lightning.sweep import read_sweep
from nfas_lightning.sweep.conduct import _next_commands
from tests.helpers.sweeps import assert_equal, calls, run, tables, write


def test_a_failure_is_listed_and_the_others_run(folder):
    source = write(
        folder, ("good", {"seed": 1}), ("bad", {"does": "raise"}), ("last", {"seed": 2}), twins=True
    )
    report = run(source)
    assert [cell.spec.label for cell in report.done] == ["good", "last"]
    (failure,) = json.loads((folder / "runs" / "failures.json").read_text())
    assert (failure["benchmark"], failure["model"]) == ("toy", "bad")
    assert failure["error"] == "RuntimeError: this network is broken"
    assert "in forward" in failure["traceback"]
    assert "--job toy:bad" in failure["command"]
    results = RunResults.load(folder / "runs" / "toy")
    assert results.models["model"].tolist() == ["good", "last"]
    assert "random_weights" in set(results.scores["feature"])
    assert results.meta["failed"] == ["bad"]


def test_the_command_ends_with_code_one_where_something_failed(folder, capsys):
    source = write(folder, ("good", {}), ("bad", {"does": "raise"}))
    with pytest.raises(SystemExit) as stop:
        main(["sweep", str(source)])
    assert stop.value.code == 1
    said = capsys.readouterr().out
    assert "1 of 2 done, 1 failed" in said
    run = next(folder.glob("*/*/scores.parquet")).parent.relative_to(folder)
    assert f"Their space: nfas space {run} --out {run.parent}/space\n" in said
    with pytest.raises(FileNotFoundError, match=rf"Runs lie in it, name those: {run}"):
        RunResults.load(run.parent)
    assert "this network is broken" in said
    (folder / "nets/vision/bad.yaml").write_text((folder / "nets/vision/good.yaml").read_text())
    main(["sweep", str(source)])  # repaired
    assert "2 of 2 done, 0 failed" in capsys.readouterr().out


def test_the_parting_advice_joins_what_can_be_joined(tmp_path):
    runs = [tmp_path / name for name in ("one", "with a space", "other regions", "first model again")]
    for folder, rois, model in zip(runs, ("ab", "ba", "abc", "ab"), "xyzx", strict=True):
        folder.mkdir()
        pd.DataFrame({"roi": list(rois)}).to_parquet(folder / "rois.parquet")
        pd.DataFrame({"model": [model]}).to_parquet(folder / "models.parquet")
    lines = [shlex.split(line) for line in _next_commands(runs, str(tmp_path))]
    assert [words[:-2] for words in lines] == [
        ["nfas", "space", str(runs[0]), str(runs[1])],
        ["nfas", "space", str(runs[2])],
        ["nfas", "space", str(runs[3])],  # a space has each model once
    ]
    assert [words[-2:] for words in lines] == [["--out", f"{tmp_path}/space-{n}"] for n in (1, 2, 3)]


def test_a_worker_whose_clock_is_behind_has_finished_all_the_same(folder, monkeypatch):
    now = time.time
    monkeypatch.setattr("nfas_lightning.sweep.cell.time.time", lambda: now() - 3600)
    report = run(write(folder, ("one", {"seed": 1})))
    assert [cell.spec.label for cell in report.done] == ["one"]
    assert report.failed == ()


def test_a_sweep_goes_on_after_its_notes_were_damaged(folder):
    source = write(folder, ("one", {"seed": 1}))
    run(source)
    for path in folder.glob("runs/cells/toy/one/*.json"):
        path.write_text("{")
    before = calls(folder)
    assert [cell.spec.label for cell in run(source).done] == ["one"]
    assert calls(folder) == before  # its result is known by its key


def test_a_benchmark_that_can_not_be_read_fails_its_models(folder):
    report = run(write(folder, ("one", {}), ("two", {"seed": 1}), missing=True))
    assert [failure["model"] for failure in report.failed] == ["one", "two"]
    assert all(f["error"] == "FileNotFoundError: toy data are not here" for f in report.failed)
    assert report.runs == ()


def test_what_is_finished_is_found_and_what_changed_is_computed(folder, monkeypatch):
    source = write(folder, ("one", {"seed": 1}), ("two", {"seed": 2}))
    run(source)
    before, first = calls(folder), tables(folder / "runs" / "toy")
    cost = json.loads((folder / "runs/cells/toy/one/status.json").read_text())
    run(source)
    assert calls(folder) == before
    again = json.loads((folder / "runs/cells/toy/one/status.json").read_text())
    assert again["found"]
    assert again["seconds"] == cost["seconds"]
    for one, other in zip(first, tables(folder / "runs" / "toy"), strict=True):
        pd.testing.assert_frame_equal(one, other)

    def recomputed(**changes):
        count = calls(folder)
        run(source, **changes)
        return calls(folder) > count

    assert recomputed(dtype="float64")
    assert recomputed(settings={"n_permutations": 10})
    assert not recomputed(settings={"n_permutations": 10})
    assert not recomputed()  # the first results are still there
    (folder / "nets/vision/one.yaml").write_text(
        (folder / "nets/vision/one.yaml").read_text().replace('"seed": 1', '"seed": 3')
    )
    count = calls(folder)
    run(source)
    status = {n: json.loads((folder / f"runs/cells/toy/{n}/status.json").read_text()) for n in ("one", "two")}
    assert calls(folder) > count
    assert (status["one"]["found"], status["two"]["found"]) == (False, True)
    assert recomputed(resume=False)
    monkeypatch.setattr("nfas_lightning.results.keys.code_version", lambda of: "another")
    assert recomputed()


def test_results_are_those_of_the_models_alone(folder):
    nets = [("one", {"seed": 1}), ("two", {"seed": 2})]
    run(write(folder, *nets))
    for name, args in nets:
        run(write(folder, (name, args), out=f"alone_{name}"))
        together = RunResults.load(folder / "runs" / "toy").scores
        alone = RunResults.load(folder / f"alone_{name}" / "toy").scores
        pd.testing.assert_frame_equal(together[together["model"] == name].reset_index(drop=True), alone)


def test_estimates_come_first_and_once(folder, capsys):
    source = write(folder, ("one", {"seconds": 0.05}), ("bad", {"does": "raise"}))
    main(["sweep", str(source), "--plan"])
    assert not (folder / "runs" / "toy").exists()
    found = json.loads((folder / "runs/cells/toy/one/estimate.json").read_text())
    assert found["n_blocks"] == 3
    assert found["trajectory_mb"] == pytest.approx(4e-6 * 30 * 18)
    assert found["seconds_forward"] >= 30 / 4 * 0.05
    assert found["memory_mb"] > 50
    assert "What the sweep is estimated to take" in capsys.readouterr().out
    assert calls(folder) == 0
    (folder / "toy_sweep.py").unlink()  # what is known is not probed again
    main(["sweep", "--plan", str(source)])


def test_one_sweep_a_folder(folder):
    from filelock import FileLock

    source = write(folder, ("one", {}))
    (folder / "runs").mkdir()
    lock = FileLock(folder / "runs" / ".sweep.lock")
    with lock, pytest.raises(RuntimeError, match="Another sweep runs in runs"):
        run(source)


def test_killed_halfway_and_resumed_equals_uninterrupted(folder):
    nets = [(f"net{i}", {"seed": i, "seconds": 0.3}) for i in range(3)]
    source = write(folder, *nets)
    sweep = read_sweep(source)
    # a fork has imported everything already; where forks are not safe it is started anew
    context = get_context("fork" if sys.platform == "linux" else "spawn")
    process = context.Process(target=run, args=(source,))
    process.start()
    try:
        deadline = time.monotonic() + 240
        while not any(cell.status()["state"] == "done" for cell in sweep.cells):
            assert process.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.kill()
        process.join()
    states = [cell.status()["state"] for cell in sweep.cells]
    assert 0 < states.count("done") < 3
    run(source)
    assert sum(bool(cell.status()["found"]) for cell in sweep.cells) == states.count("done")
    run(write(folder, *nets, out="whole"))
    assert_equal(folder / "runs" / "toy", folder / "whole" / "toy")


@pytest.mark.slow
def test_a_worker_that_is_killed_takes_one_model_with_it(folder):
    source = write(folder, ("a", {"seed": 1}), ("b", {"does": "kill"}), ("c", {"seed": 2}), cluster="null")
    report = run(source)
    assert sorted(cell.spec.label for cell in report.done) == ["a", "c"]
    assert [f["model"] for f in report.failed] == ["b"]
    assert "killed (signal 9)" in report.failed[0]["error"]
    assert RunResults.load(folder / "runs" / "toy").models["model"].tolist() == ["a", "c"]
