"""Sweeps: resumable, isolated, and the same whether killed or not."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from jsonargparse import ArgumentError

from nfas_lightning.cli.main import main
from nfas_lightning.packaged_models import PACKAGED
from nfas_lightning.results import RunResults
from nfas_lightning.sweep import conduct, read_sweep, work
from nfas_lightning.sweep.cost import available_mb, share_stimuli
from nfas_lightning.sweep.engines import Job, LocalEngine
from nfas_lightning.sweep.model_specs import resolve_models

TOY = """
import os, signal, time
from pathlib import Path
import torch
from torch import nn
from nfas_lightning.datamodules import BrainDataModule
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.data.responses import Responses
import pandas as pd

class Net(nn.Module):
    def __init__(self, seed: int = 0, does: str = "run", seconds: float = 0.0):
        super().__init__()
        torch.manual_seed(seed)
        self.blocks = nn.Sequential(*(nn.Linear(48 if i == 0 else 6, 6) for i in range(3)))
        self.does, self.seconds = does, seconds
    def forward(self, x):
        time.sleep(self.seconds)
        if len(x) > 4:  # more than a probe
            with open("calls.txt", "a") as log:
                log.write(f"{self.does}\\n")
            if self.does == "raise":
                raise RuntimeError("this network is broken")
            if self.does == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
        return self.blocks(x.flatten(1))

class Brain(BrainDataModule):
    def __init__(self, n: int = 30, name: str = "toy", missing: bool = False, slow: float = 0.0):
        super().__init__(batch_size=10)
        self.save_hyperparameters()
        self.n, self.name, self.missing = n, name, missing
    def prepare_data(self):
        if self.missing:
            raise FileNotFoundError("toy data are not here")
    def load(self):
        images = torch.rand(self.n, 3, 4, 4, generator=torch.Generator().manual_seed(0))
        noise = torch.randn(self.n, 4, generator=torch.Generator().manual_seed(1))
        values = images.flatten(1)[:, :4] + 0.1 * noise
        responses = Responses(
            values=values[None], rois=pd.DataFrame({"roi": ["V1", "V2", "V3", "IT"]}),
            stimulus_ids=tuple(map(str, range(self.n))), dataset=self.name, modality="vision",
            subjects=("s1",), runs=torch.zeros(self.n, dtype=torch.long),
        )
        return StimulusSet(images, "vision"), responses
"""

HEAD = """
run_dir: {out}
benchmarks:
  toy:
    modality: vision
    data: {{class_path: toy_sweep.Brain, init_args: {{missing: {missing}}}}}
settings: {{n_permutations: 9}}
random_twins: {twins}
cluster: {cluster}
slots: 1
models:
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with toy_sweep.py in it, where the test stands."""
    (tmp_path / "toy_sweep.py").write_text(TOY)
    os.utime(tmp_path / "toy_sweep.py", (0, 0))  # older than this process, or its source would not be trusted
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("toy_sweep", None)


def write(path, *nets, out="runs", missing=False, twins=False, cluster="inline"):
    """A sweep of toy networks: (file stem, init_args) each, as config files of models."""
    for name, args in nets:
        file = path / "nets" / "vision" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        model = {"class_path": "toy_sweep.Net", "init_args": args}
        layers = ["blocks.0", "blocks.1", "blocks.2"]
        frozen = {
            "class_path": "nfas_lightning.models.FrozenModel",
            "init_args": {"model": model, "layers": layers},
        }
        file.write_text(json.dumps({"model": frozen}))
    text = HEAD.format(out=out, missing=str(missing).lower(), twins=str(twins).lower(), cluster=cluster)
    source = path / f"{Path(out).name}.yaml"
    source.write_text(text + "".join(f"  - nets/vision/{name}.yaml\n" for name, _ in nets))
    return source


def run(source, **changes):
    return conduct(read_sweep(source, changes=changes), source)


def calls(path):
    log = path / "calls.txt"
    return len(log.read_text().splitlines()) if log.exists() else 0


def tables(path):
    """What a run found, without what the clock says."""
    results = RunResults.load(path)
    models = results.models.drop(columns=["seconds_capture", "seconds_scoring"])
    return [results.scores, results.spectra, results.depth, models, results.rois]


def assert_equal(first, second):
    for one, other in zip(tables(first), tables(second), strict=True):
        pd.testing.assert_frame_equal(one, other)


# what is asked for


def test_models_go_by_name_pattern_file_and_mapping(folder):
    write(folder, ("own", {"seed": 1}))
    specs = resolve_models(
        [
            "minilm_l6",
            "packaged:crepe*",
            "zoo:resnet50",
            "nets/*/*.yaml",
            {"model": "timm:resnet18", "modality": "vision"},
            {"model": "timm:resnet18", "modality": "vision", "weights": "random"},
        ]
    )
    assert [(spec.label, spec.modality) for spec in specs] == [
        ("minilm_l6", "language"),
        *((name, "audio") for name in PACKAGED if name.startswith("crepe")),
        ("resnet50", "vision"),
        ("own", "vision"),
        ("resnet18", "vision"),
        ("resnet18_random", "vision"),
    ]
    built = specs[-3].arguments()
    assert type(built["model"]).__name__ == "Net"
    assert built["layers"] == ["blocks.0", "blocks.1", "blocks.2"]
    assert specs[-4].given == {"model": "zoo:resnet50"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["minilm_l7"], r"no packaged model or entry of the zoo 'minilm_l7'. Close: .*minilm_l6"),
        (["packaged:zzz*"], "no packaged model 'zzz"),
        (["nothing/*.yaml"], "no config file matches"),
        (["timm:resnet18"], "does not tell its modality; add `modality:`"),
        ([{"model": "timm:resnet18", "weights": "random"}], "models: 'timm:resnet18' does not tell"),
        (["minilm_l6", "minilm_l6"], r"once, got \['minilm_l6'\]"),
        ([{"layers": "auto"}], "needs the key 'model'"),
        ([], "at least one model"),
    ],
)
def test_models_that_can_not_be_told_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        resolve_models(given)


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


def test_models_whose_names_a_folder_can_not_tell_apart_have_folders_of_their_own(folder):
    source = write(folder, ("a b", {"seed": 1}), ("a+b", {"seed": 2}), ("A b", {"seed": 3}))
    report = run(source)
    assert len({str(cell.folder).casefold() for cell in report.done}) == 3
    scores = RunResults.load(folder / "runs" / "toy").scores
    means = scores[scores["feature"] == "stable_mode"].groupby("model")["r"].mean()
    assert set(means.index) == {"a b", "a+b", "A b"}
    assert means.nunique() == 3


def test_a_model_goes_by_the_name_that_its_mapping_gives():
    given = {"model": "timm:resnet18", "modality": "vision"}
    specs = resolve_models([{**given, "name": "first"}, {**given, "name": "second"}])
    assert [spec.label for spec in specs] == ["first", "second"]
    with pytest.raises(ValueError, match=r"must not hold a comma.*\['a,b'\]"):
        resolve_models([{**given, "name": "a,b"}])


# what becomes of it


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
    assert f"Their space: nfas space {run}\n" in said
    with pytest.raises(FileNotFoundError, match=rf"Runs lie in it, name those: {run}"):
        RunResults.load(run.parent)
    assert "this network is broken" in said
    (folder / "nets/vision/bad.yaml").write_text((folder / "nets/vision/good.yaml").read_text())
    main(["sweep", str(source)])  # repaired
    assert "2 of 2 done, 0 failed" in capsys.readouterr().out


def test_a_worker_whose_clock_is_behind_has_finished_all_the_same(folder, monkeypatch):
    now = time.time
    monkeypatch.setattr("nfas_lightning.sweep.cell.time.time", lambda: now() - 3600)
    report = run(write(folder, ("one", {"seed": 1})))
    assert [cell.spec.label for cell in report.done] == ["one"]
    assert report.failed == ()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"done"', b"null", b'{"state": 3}', b"\xff\xfe", b'{"memory_mb": 1}']
)
def test_a_damaged_note_of_a_cell_is_none(folder, content):
    (cell,) = read_sweep(write(folder, ("one", {}))).cells
    cell.say("done")
    cell.keep_estimate({"error": "no such model"})
    assert (cell.status()["state"], cell.estimate()) == ("done", {"error": "no such model"})
    for name in ("status.json", "estimate.json"):
        (cell.folder / name).write_bytes(content)
    assert cell.status() == {"state": "waiting"}
    assert cell.estimate() == {}


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
    monkeypatch.setattr("nfas_lightning.results.keys.code_version", lambda: "another")
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
    main(["sweep", str(source), "--plan"])


def test_one_sweep_a_folder(folder):
    from filelock import FileLock

    source = write(folder, ("one", {}))
    (folder / "runs").mkdir()
    lock = FileLock(folder / "runs" / ".sweep.lock")
    with lock, pytest.raises(RuntimeError, match="Another sweep runs in runs"):
        run(source)


def test_a_worker_without_its_sweep_stops(folder, monkeypatch):
    sweep = read_sweep(write(folder, ("one", {})))
    monkeypatch.setenv(work.PARENT, "1")
    assert not work.run_job(sweep, sweep.cells)
    assert sweep.cells[0].status() == {"state": "waiting"}


# processes


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
    assert engine._next([big, small], others=True) is small
    assert engine._next([big], others=True) is None
    assert engine._next([big], others=False) is big  # alone it is tried


def _start(source):
    """Start `nfas sweep` as a process group of its own."""
    command = [sys.executable, "-m", "nfas_lightning", "sweep", str(source)]
    return subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_killed_halfway_and_resumed_equals_uninterrupted(folder):
    nets = [(f"net{i}", {"seed": i, "seconds": 0.3}) for i in range(3)]
    source = write(folder, *nets, cluster="null")
    sweep = read_sweep(source)
    process = _start(source)
    try:
        deadline = time.monotonic() + 240
        while not any(cell.status()["state"] == "done" for cell in sweep.cells):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    states = [cell.status()["state"] for cell in sweep.cells]
    assert 0 < states.count("done") < 3
    run(source, cluster="inline")
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


@pytest.mark.slow
def test_submitit_runs_the_same_jobs(folder):
    pytest.importorskip("submitit", reason="the extra 'cluster' is not installed")
    nets = [("a", {"seed": 1}), ("bad", {"does": "raise"})]
    source = write(folder, *nets, cluster="local")
    report = run(source)
    assert [cell.spec.label for cell in report.done] == ["a"]
    assert report.failed[0]["error"] == "RuntimeError: this network is broken"
    run(write(folder, *nets, out="inline"))
    assert_equal(folder / "runs" / "toy", folder / "inline" / "toy")


# cost


class Slow:
    def __init__(self, seconds):
        self.seconds, self.reads = seconds, 0

    def __len__(self):
        return 8

    def __getitem__(self, index):
        self.reads += 1
        time.sleep(self.seconds)
        return torch.full((3, 4, 4), index / 10)


@pytest.mark.parametrize(
    ("forward", "limit", "said", "reads"),
    [
        (0.1, 1.0, "kept in memory", 8),
        (100.0, 1.0, "little beside", 20),
        (0.1, 1e-9, "more than share_gb", 20),
    ],
)
def test_slow_stimuli_are_shared_where_it_pays(folder, forward, limit, said, reads):
    import toy_sweep

    from nfas_lightning.data.stimuli.stimulus_set import StimulusSet

    brain = toy_sweep.Brain(n=8)
    brain.setup()
    assert "in memory already" in share_stimuli(brain, forward, limit)
    slow = Slow(0.01)
    brain._stimuli = StimulusSet(slow, "vision")
    assert said in share_stimuli(brain, forward, limit)
    slow.reads = 0
    twice = [torch.cat([batch["image"] for batch in brain.test_dataloader()]) for _ in range(2)]
    assert torch.equal(*twice)
    assert slow.reads == (reads if reads == 8 else 16)


def test_peak_memory_is_that_since_the_reset():
    # in a process of its own: what other tests held and gave back would hide 400 MB
    script = """
import torch
from nfas_lightning.sweep.cost import reset_peak
big = torch.ones(300_000_000)
del big
peak = reset_peak()
before = peak()
held = torch.ones(100_000_000)
print(peak() - before)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert 300 < float(said) < 500
