"""The plan of a run: blocks, memory and time, measured on a few stimuli."""

import gc

import pytest
import torch

from nfas_lightning.models import ModelSuite
from nfas_lightning.results import RunResults
from nfas_lightning.runner import plan, planning, suite_trainer
from tests.helpers.suites import Net, Other, brain, spec, trainer


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
