"""Where jobs run: processes, memory, and a cluster's executor."""

import sys
import time

import pytest

from nfas_lightning.runner.memory import available_mb
from nfas_lightning.sweep.engines import Job, LocalEngine
from tests.helpers.sweeps import assert_equal, estimate, run, write


def test_jobs_run_a_slot_each_and_a_death_is_told(tmp_path):
    script = "import time, sys; print('hello'); time.sleep(0.3); sys.exit(int(sys.argv[1]))"
    jobs = [Job(str(i), [sys.executable, "-c", script, str(i)], tmp_path / f"{i}.log") for i in range(3)]
    killed = Job("k", [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], tmp_path / "k.log")
    ended = []

    def tell(job, how):
        ended.append((job.name, how))
        return [killed] if job.name == "0" else []

    started = time.perf_counter()
    LocalEngine(3, "cpu").run(jobs, tell)
    assert time.perf_counter() - started < 3 * 0.3 + 1.5
    said = dict(ended)
    assert said["1"] == "its process ended with code 1"
    assert "killed (signal 9)" in said["k"]
    assert (tmp_path / "2.log").read_text() == "hello\n"


def test_a_job_waits_for_memory(tmp_path):
    engine = LocalEngine(2, "cpu")
    big = Job("big", [], tmp_path / "big.log", memory_mb=available_mb() * 10)
    small = Job("small", [], tmp_path / "small.log", memory_mb=1.0)
    assert engine._choose([big, small], others=True) is small
    assert engine._choose([big], others=True) is None
    assert engine._choose([big], others=False) is big  # alone it is tried


@pytest.mark.slow
def test_submitit_runs_the_same_jobs(folder):
    pytest.importorskip("submitit", reason="the extra 'cluster' is not installed")
    nets = [("a", {"seed": 1}), ("bad", {"does": "raise"})]
    source = write(folder, *nets, cluster="local")
    estimate(source)
    report = run(source)
    assert [cell.spec.label for cell in report.done] == ["a"]
    assert report.failed[0]["error"] == "RuntimeError: this network is broken"
    run(write(folder, *nets, out="inline"))
    assert_equal(folder / "runs" / "toy", folder / "inline" / "toy")
