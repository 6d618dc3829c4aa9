"""The plan of a run: blocks, memory and time, measured on a few stimuli."""

import gc
from io import StringIO

import pytest
import torch
from rich.console import Console

from nfas_lightning.errors import InputError, NotEnoughMemoryError
from nfas_lightning.models import FrozenModel, ModelSuite, reach
from nfas_lightning.models.random_twin import NoTwinError
from nfas_lightning.results import RunResults
from nfas_lightning.runner import memory, plan, plan_table, planning, suite_trainer
from tests.helpers.suites import Net, Other, brain, spec, trainer


def test_plan_counts_blocks_and_memory(tmp_path):
    data = brain()
    data.setup()
    (row,) = plan(ModelSuite([spec(Net(width=8))]), data)
    assert (row.name, row.n_blocks) == ("net", 3)
    assert row.memory.trajectory == 3 * 8 * 40 * 4
    assert row.memory.weights == 4 * row.parameters
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


def test_a_run_that_does_not_fit_is_refused_before_its_first_pass(tmp_path, monkeypatch):
    seen, net = [], Net()
    net.register_forward_hook(lambda *_: seen.append(1))
    run, data = trainer(tmp_path), brain()
    monkeypatch.setattr(memory, "available_mb", lambda: 1e-3)
    with pytest.raises(NotEnoughMemoryError, match=r"net can't run here: it needs about .* 0\.0 MB are free"):
        run.test(ModelSuite([spec(net)], random_twins=False), datamodule=data)
    assert seen == [1]  # of a copy, on one stimulus
    data.setup()
    missing = []
    rows = plan(
        ModelSuite([spec(net), spec(Other())]), data, on_missing=lambda name, error: missing.append(name)
    )
    assert (rows, missing) == ([], ["net", "other"])


def test_weights_that_do_not_fit_are_refused_before_anything_is_built(monkeypatch):
    data = brain()
    data.setup()
    monkeypatch.setattr(FrozenModel, "load", lambda _: pytest.fail("it was loaded"))
    monkeypatch.setattr(memory, "available_mb", lambda: 1.0)
    for model, wanted in (("zoo:bert_base", "0.44 GB"), ("timm:test_vit", "1.5 MB")):
        with pytest.raises(NotEnoughMemoryError, match=rf"about {wanted} .*Choose a dtype of half precision"):
            plan(ModelSuite([model]), data)
    with pytest.raises(NotEnoughMemoryError, match=r"about 0\.22 GB"):
        plan(ModelSuite([{"model": "zoo:bert_base", "dtype": "bfloat16"}]), data)


def test_what_has_no_twin_is_planned_as_it_is_and_the_table_has_its_memory():
    data = brain()
    data.setup()
    net = Net()
    net.is_quantized = True
    (row,) = plan(ModelSuite([spec(net)], random_twins=False), data)
    assert row.memory.of_host > row.memory.trajectory > 0
    console = Console(width=200, file=StringIO())
    console.print(plan_table([row], data))
    assert f"trajectory {row.memory.trajectory / 1e6:.1f} MB, scoring" in console.file.getvalue()
    with pytest.raises(NoTwinError, match="Net has no random twin: its weights are quantized"):
        plan(ModelSuite([spec(net)]), data)


def test_a_model_that_the_stimuli_do_not_suit_is_named():
    def refuse(batch):
        raise InputError("This model reads 'text'.")

    data = brain()
    data.setup()
    several = [spec(Net()), {**spec(Other()), "name": "reader", "preprocess": refuse}]
    with pytest.raises(ValueError, match=r"^reader: This model reads 'text'"):
        plan(ModelSuite(several, random_twins=False), data)


def test_weights_out_of_reach_are_told_before_their_network_is_built(monkeypatch, tmp_path):
    monkeypatch.setattr(reach, "is_reachable", lambda url: False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(planning, "_planned", lambda spec, *_: built.append(spec["model"]))
    built, told = [], {}
    models = ["zoo:dinov2_base", {"model": "zoo:vgg16", "weights": "random"}, "mobilenet_v2"]
    data = brain()
    plan(ModelSuite(models), data, on_missing=lambda name, error: told.update({name: error}))
    assert built == ["zoo:vgg16", "mobilenet_v2"]
    assert list(told) == ["dinov2_base"]
    assert "can't be reached from here" in str(told["dinov2_base"])
    built.clear()
    plan(ModelSuite(models), data)  # an estimate needs no weights
    assert len(built) == 3
