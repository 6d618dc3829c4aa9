import gc
import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

import nfas_lightning
from nfas_lightning import versions
from nfas_lightning.callbacks import DepthTrajectory, ScoreWriter
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.models import FrozenModel, ModelSuite
from nfas_lightning.results import RunResults
from nfas_lightning.runner import (
    FailedModelsError,
    SuiteTrainer,
    plan,
    planning,
    report_run,
    score_models,
    suite_trainer,
)
from nfas_lightning.scoring import ScoringSettings
from nfas_lightning.space import NFAS

QUICK = ScoringSettings(n_permutations=19)
ROIS = ["V1", "V2", "IT"]


class Net(nn.Module):
    """Three blocks over flattened pixels; counts its forward passes."""

    def __init__(self, width: int = 8, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.blocks = nn.Sequential(nn.Linear(48, width), nn.Linear(width, width), nn.Linear(width, width))
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.blocks(x.flatten(1))


class Other(Net):
    """The same, under another name."""


def images(n: int = 40) -> torch.Tensor:
    return torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def brain(n: int = 40) -> ArrayDataModule:
    responses = images(n).flatten(1)[:, :3] + 0.1
    return ArrayDataModule(images(n), responses, rois=ROIS, dataset="toy", batch_size=16)


def trainer(folder, **changes) -> SuiteTrainer:
    callbacks = [DepthTrajectory(), ScoreWriter(str(folder), settings=QUICK)]
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, **changes}
    return SuiteTrainer(callbacks=callbacks, enable_model_summary=False, **options)


def spec(module: nn.Module, **changes):
    return {"model": module, "layers": ["blocks.0", "blocks.1", "blocks.2"], **changes}


def test_a_suite_scores_every_model_and_its_twin(tmp_path):
    trainer(tmp_path).test(ModelSuite([spec(Net()), spec(Other(seed=1))]), datamodule=brain())
    run = RunResults.load(tmp_path)
    assert list(run.models["model"]) == ["net", "other"]
    features = set(run.scores.query("model == 'net'")["feature"])
    assert features >= {"stable_mode", "random_weights", "best_block"}
    assert list(run.rois["roi"]) == ROIS
    assert run.meta["settings"]["n_permutations"] == 19
    assert report_run(run, tmp_path).is_file()


def test_a_checkout_that_is_not_installed_runs(tmp_path, monkeypatch):
    installed = versions.version

    def version(name):
        if name == "nfas-lightning":
            raise PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(versions, "version", version)
    trainer(tmp_path).test(ModelSuite([spec(Net())], random_twins=False), datamodule=brain())
    assert RunResults.load(tmp_path).meta["versions"]["nfas-lightning"] == "none"
    assert nfas_lightning.__version__ == "none"


def test_one_call_is_the_trainer_its_callbacks_and_the_report(tmp_path, capsys):
    net = Net()
    results = score_models(spec(net), brain(), tmp_path / "one", settings=QUICK, name="toy")
    trainer(tmp_path / "parts").test(ModelSuite([spec(Net())]), datamodule=brain())
    columns = ["model", "feature", "roi", "r", "p"]
    assert results.scores[columns].equals(RunResults.load(tmp_path / "parts").scores[columns])
    assert (tmp_path / "one" / "report.html").is_file()
    assert results.meta["name"] == "toy"
    assert "Report:" in capsys.readouterr().out
    before = net.calls
    score_models([spec(net)], brain(), tmp_path / "one", settings=QUICK, report=False)
    assert net.calls == before  # found finished; the plan's probe has a copy of its own
    assert "Report:" not in capsys.readouterr().out


def test_a_stopped_run_continues_at_the_next_model(tmp_path, monkeypatch):
    first = Net()
    suite = ModelSuite([spec(first), spec(Other())], random_twins=False)
    test_step = FrozenModel.test_step

    def power_cut(self, batch, batch_idx, dataloader_idx=0):
        if self.info.name == "other":
            raise RuntimeError("power cut")
        return test_step(self, batch, batch_idx, dataloader_idx)

    with monkeypatch.context() as patch:
        patch.setattr(FrozenModel, "test_step", power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            trainer(tmp_path).test(suite, datamodule=brain())
    before = first.calls
    assert before == 3 + 2  # 40 stimuli in batches of 16, and two of the first batch alone
    trainer(tmp_path).test(suite, datamodule=brain())
    assert first.calls == before  # found finished, not run again
    resumed = RunResults.load(tmp_path)
    whole = tmp_path / "whole"
    trainer(whole).test(ModelSuite([spec(Net()), spec(Other())], random_twins=False), datamodule=brain())
    columns = ["model", "feature", "roi", "r"]
    assert resumed.scores[columns].equals(RunResults.load(whole).scores[columns])


def test_changed_settings_or_responses_are_computed_anew(tmp_path):
    net = Net()
    suite = ModelSuite([spec(net)], random_twins=False)
    trainer(tmp_path).test(suite, datamodule=brain())
    before = net.calls
    values = images().flatten(1)[:, :3] + torch.rand(40, 3)
    other = ArrayDataModule(images(), values, rois=ROIS, dataset="toy", batch_size=16)
    trainer(tmp_path).test(suite, datamodule=other)
    assert net.calls > before


def test_plan_counts_blocks_and_memory(tmp_path):
    data = brain()
    data.setup()
    (row,) = plan(ModelSuite([spec(Net(width=8))]), data)
    assert (row.name, row.n_blocks) == ("net", 3)
    assert row.megabytes == pytest.approx(3 * 8 * 40 * 4 / 1e6)
    assert row.parameters == sum(p.numel() for p in Net(width=8).parameters())


def test_plan_measures_where_the_run_will_be_and_leaves_nothing_behind(tmp_path, monkeypatch):
    waited, planned = [], []
    monkeypatch.setattr(planning, "_synchronize", waited.append)
    monkeypatch.setattr(suite_trainer, "plan", lambda *_, **options: planned.append(options["device"]) or [])
    run = trainer(tmp_path)
    run.test(ModelSuite([spec(Net())], random_twins=False), datamodule=brain())
    assert planned == [run.strategy.root_device]
    data = brain()
    data.setup()
    gc.collect()
    before = sum(type(found) is Net for found in gc.get_objects())
    net = Net()
    plan(ModelSuite([spec(net)]), data, device=torch.device("cpu"))
    assert waited == [torch.device("cpu")] * 4  # before the first of three runs, and in each
    assert sum(type(found) is Net for found in gc.get_objects()) == before + 1


def test_what_other_processes_take_is_no_part_of_an_estimate(monkeypatch):
    clock = iter([0.0, 1.5, 10.0, 10.1, 20.0, 20.4])
    monkeypatch.setattr(planning.time, "perf_counter", lambda: next(clock))
    runs = []
    assert planning.least_seconds(lambda: runs.append(1)) == pytest.approx(0.1)
    assert len(runs) == 3
    clock = iter([0.0, 7.0])  # a slow one is not repeated
    assert planning.least_seconds(lambda: runs.append(1)) == 7.0
    assert [planning.span(s) for s in (3, 39, 300, 9000)] == [
        "3 to 9 s",
        "39 to 117 s",
        "5 to 15 min",
        "2.5 to 7.5 h",
    ]


def test_plan_is_of_the_members_that_are_to_be_run(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(suite_trainer, "plan_table", lambda rows, _: shown.append(rows) or "")
    net, other = Net(), Other()
    trainer(tmp_path).test(ModelSuite([spec(net)], random_twins=False), datamodule=brain())
    trainer(tmp_path).test(ModelSuite([spec(net), spec(other)]), datamodule=brain())
    trainer(tmp_path).test(
        ModelSuite([spec(net), spec(other)]), datamodule=brain()
    )  # nothing is left to plan
    assert [[(row.name, row.members) for row in rows] for rows in shown] == [
        [("net", 1)],
        [("net", 1), ("other", 2)],
    ]
    assert list(RunResults.load(tmp_path).models["model"]) == ["net", "other"]


def subjects() -> ArrayDataModule:
    noise = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(1))
    return ArrayDataModule(images(), images().flatten(1)[:, :3] + 0.2 * noise, rois=ROIS, dataset="toy")


def test_each_subject_is_scored_and_their_mean_is_reported(tmp_path, capsys):
    settings = ScoringSettings(n_permutations=19, subjects="each")
    results = score_models([spec(Net(seed=1)), spec(Other(12))], subjects(), tmp_path, settings=settings)
    assert set(results.scores["subject"]) == {"sub-01", "sub-02"}
    stable = results.scores.query("feature == 'stable_mode'")
    assert stable["p"].notna().all()
    mean = stable.groupby(["model", "roi"])[["r", "r2"]].mean()
    space = NFAS.from_scores(results)
    expected = mean["r2"].unstack().loc[space.models["model"], space.rois["roi"]]  # noqa: PD010  # the oracle
    torch.testing.assert_close(space.scores, torch.tensor(expected.to_numpy(), dtype=torch.float64))
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    net = next(line for line in printed if line[:1] == ["net"] and len(line) > 6)
    assert net[1] == f"{mean.loc['net', 'r'].mean():.3f}"
    assert net[-2:] == [f"{mean.loc['net', 'r2'].mean():.3f}", mean.loc["net", "r"].idxmax()]
    v1 = [line for line in printed if line[:1] == ["V1"]]
    assert [line[1] for line in v1] == [f"{mean.loc[(name, 'V1'), 'r']:.3f}" for name in ("net", "other")]
    assert all(line[-3:-1] == ["-", "-"] for line in v1)  # p and q of a mean are not known
    assert "means over 2 subjects (sub-01, sub-02)" in (tmp_path / "report.html").read_text()
    report_run(results, tmp_path / "one", subject="sub-02")
    v1 = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["V1"]]
    own = stable.query("subject == 'sub-02' and roi == 'V1'")
    assert [line[1] for line in v1] == [f"{r:.3f}" for r in own["r"]]
    assert [line[-3] for line in v1] == [f"{p:.4f}" for p in own["p"]]


def test_one_device_is_used_unless_more_are_asked_for(tmp_path, monkeypatch):
    asked = []

    def refuse(self, **options):
        asked.append(options["devices"])
        raise InterruptedError

    monkeypatch.setattr(SuiteTrainer, "__init__", refuse)
    for options in ({}, {"devices": 2}):
        with pytest.raises(InterruptedError):
            score_models(spec(Net()), brain(), tmp_path, **options)
    assert asked == [1, 2]


TWO_PROCESSES = """
import json, sys
sys.path.insert(0, {root!r})
from tests.runner.test_score_run import *

if __name__ == "__main__":
    options = dict(accelerator="cpu", devices=2, strategy="ddp", enable_progress_bar=False)
    results = score_models([spec(Net()), spec(Other())], brain(), {folder!r}, settings=QUICK, **options)
    rank = torch.distributed.get_rank()
    results.scores.to_json(Path({said!r}, f"{{rank}}.json"))
    print(f"rank {{rank}} has", len(results.models))
"""


@pytest.mark.ddp
@pytest.mark.slow
def test_every_one_of_two_processes_returns_what_the_first_wrote(tmp_path):
    script, said, folder = tmp_path / "run.py", tmp_path / "said", tmp_path / "run"
    said.mkdir()
    root = str(Path(__file__).parents[2])
    script.write_text(TWO_PROCESSES.format(root=root, folder=str(folder), said=str(said)))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Report:") == 1
    found = [json.loads((said / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert found[0] == found[1]
    alone = score_models(
        [spec(Net()), spec(Other())], brain(), tmp_path / "alone", settings=QUICK, report=False
    )
    columns = ["model", "feature", "roi", "r", "r2", "p"]
    pd.testing.assert_frame_equal(RunResults.load(folder).scores[columns], alone.scores[columns])


def test_a_single_model_runs_through_lightning_alone(tmp_path):
    run = trainer(tmp_path)
    run.test(
        FrozenModel(Net(), layers=["blocks.0", "blocks.1", "blocks.2"]), datamodule=brain(), verbose=False
    )
    assert list(RunResults.load(tmp_path).models["model"]) == ["net"]


def test_missing_parts_are_named(tmp_path):
    suite = ModelSuite([spec(Net())])
    with pytest.raises(ValueError, match="one DepthTrajectory and one ScoreWriter"):
        SuiteTrainer(logger=False, enable_checkpointing=False).test(suite, datamodule=brain())
    with pytest.raises(TypeError, match="tested on a BrainDataModule"):
        trainer(tmp_path).test(suite)
    with pytest.raises(TypeError, match="no forward pass of its own"):
        suite(torch.zeros(1))
    with pytest.raises(ValueError, match="at least one model"):
        ModelSuite([])
    with pytest.raises(ValueError, match="more than once"):
        ModelSuite(["minilm_l6", "minilm_l6"])
    with pytest.raises(ValueError, match="key 'model'"):
        ModelSuite([{"name": "minilm_l6"}])


class Broken(Net):
    """A network whose forward pass fails once it is shown more than a probe."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > 4:
            raise RuntimeError("shapes do not fit")
        return super().forward(x)


def unreachable(monkeypatch, name: str) -> None:
    load = FrozenModel.load

    def refuse(self):
        if self._arguments["name"] == name:
            raise OSError("the hub can't be reached")
        return load(self)

    monkeypatch.setattr(FrozenModel, "load", refuse)


@pytest.mark.parametrize("kind", ["reach", "forward"])
def test_a_model_that_fails_does_not_cost_the_others_their_report(tmp_path, monkeypatch, capsys, kind):
    bad = {"model": "timm:resnet18", "name": "bad"} if kind == "reach" else spec(Broken(), name="bad")
    if kind == "reach":
        unreachable(monkeypatch, "bad")
    with pytest.raises(FailedModelsError, match=r"1 of 3 models failed; the tables in .*\n  bad: ") as raised:
        score_models([bad, spec(Net(seed=1)), spec(Other(12))], brain(), tmp_path, settings=QUICK)
    assert list(raised.value.errors) == ["bad"]
    assert type(raised.value.__cause__) is {"reach": OSError, "forward": RuntimeError}[kind]
    assert list(raised.value.results.models["model"]) == ["net", "other"]
    assert list(RunResults.load(tmp_path).models["model"]) == ["net", "other"]
    assert (tmp_path / "report.html").is_file()
    said = capsys.readouterr()
    assert said.out.count("✗ bad") == 1  # at once, and not again for its random twin
    assert ("shapes do not fit" in said.err) is (kind == "forward")  # with the place where it failed
    monkeypatch.undo()
    again = score_models(
        [spec(Net(seed=1)), spec(Other(12))], brain(), tmp_path, settings=QUICK, report=False
    )
    assert "net: found finished" in capsys.readouterr().out
    pd.testing.assert_frame_equal(again.scores, raised.value.results.scores)


def test_one_model_that_fails_raises_its_own_error(tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match=r"^shapes do not fit$"):
        score_models(spec(Broken()), brain(), tmp_path, settings=QUICK)
    unreachable(monkeypatch, "bad")
    with pytest.raises(OSError, match=r"^the hub can't be reached$"):
        score_models({"model": "timm:resnet18", "name": "bad"}, brain(), tmp_path, settings=QUICK)
    with pytest.raises(FailedModelsError, match=r"2 of 2 models failed\. Run it again") as raised:
        score_models(
            [{"model": "timm:resnet18", "name": "bad"}, spec(Broken())], brain(), tmp_path, settings=QUICK
        )
    assert raised.value.results is None


def test_what_is_wrong_with_the_benchmark_is_said_once(tmp_path, capsys):
    data = brain()
    data.values[:, 2] = 1.0  # an ROI that never changes
    models = [spec(Net(seed=1)), spec(Other(12)), spec(Net(seed=3), name="third")]
    with pytest.warns(UserWarning, match="1 of 3 ROIs score NaN") as warned:
        score_models(models, data, tmp_path, settings=QUICK, report=False)
    texts = [str(warning.message) for warning in warned if "1 of 3 ROIs score NaN" in str(warning.message)]
    assert len(texts) == 1
    assert "for 'net'" in texts[0]
    assert (
        "The same warning holds for other, third: 1 of 3 ROIs score NaN for this model"
        in capsys.readouterr().out
    )
