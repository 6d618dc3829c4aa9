"""The scripts of docs/examples, run on fewer images, and the snippets of the pages on training."""

import doctest
import importlib.util
import itertools
import os
import re
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pandas as pd
import pytest
import torch
from pytorch_lightning import Trainer

from nfas_lightning import datamodules
from nfas_lightning.callbacks import BrainAlignment
from nfas_lightning.datamodules.catalogue.benchmark import benchmarks
from tests.helpers.results import make_draws, make_results

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run an example's main in an empty folder."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(tmp_path)

    def start(name, *args):
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.main([*args])

    yield start
    sys.modules.pop("digits", None)


def overall(curves):
    return curves.query("feature == 'stable_mode' and network == 'all ROIs'")


def test_the_worked_examples_of_claims_print_what_stands_there():
    page = EXAMPLES.parent / "method" / "claims.md"
    text = page.read_text().replace("```", "")  # a fence is no output
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    assert len(examples.examples) > 10
    assert doctest.DocTestRunner().run(examples).failed == 0


def test_every_example_is_run_here():
    text = Path(__file__).read_text()
    names = {path.stem for path in EXAMPLES.glob("*.py")} - {"digits"}
    assert names
    assert [name for name in sorted(names) if f'run("{name}"' not in text] == []


@pytest.mark.slow
def test_resnet_with_weights_and_biases_offline(run, tmp_path):
    wandb = pytest.importorskip("wandb")
    curves = run("resnet_wandb", "--epochs", "2", "--images", "128", "--run-dir", str(tmp_path))
    wandb.finish()
    assert list(overall(curves)["moment"]) == ["start", "epoch", "epoch"]
    assert curves["r2"].between(0, 1).all()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "curves.parquet"), curves)
    (offline,) = (tmp_path / "wandb").glob("offline-run-*")
    assert (offline / f"run-{offline.name.rpartition('-')[2]}.wandb").stat().st_size > 1000
    media = [
        str(path.relative_to(offline / "files" / "media")) for path in offline.glob("files/media/**/*.*")
    ]
    assert any(name.startswith("table/brain/scores") for name in media), media
    assert any(name.startswith("images/brain/curves") for name in media), media


def test_a_workspace_of_weights_and_biases(run, monkeypatch):
    workspaces = pytest.importorskip(
        "wandb_workspaces.workspaces", reason="needs wandb-workspaces, of the extra test"
    )
    saved = []
    monkeypatch.setattr(workspaces.Workspace, "save", lambda made: saved.append(made))  # without a server
    run("wandb_workspace", "--entity", "me")
    assert [(made.entity, made.project, len(made.sections)) for made in saved] == [("me", "nfas", 4)]


def test_timm_inside_a_lightning_module(run, tmp_path):
    curves = run("lightning_timm", "--epochs", "1", "--images", "1344", "--run-dir", str(tmp_path))
    assert list(overall(curves)["step"]) == [20, 21]
    (metrics,) = tmp_path.glob("lightning_logs/version_0/metrics.csv")
    assert pd.read_csv(metrics)["brain/mean_r"].notna().sum() == 2


def test_fsdp(run):
    with patch.dict(os.environ):  # Lightning leaves the address of its processes there
        try:
            curves = run("fsdp", "--epochs", "1", "--images", "128", "--devices", "1", "--cpu")
        finally:
            torch.distributed.destroy_process_group()
    assert list(overall(curves)["step"]) == [0, 2]


def test_hugging_face(run, tmp_path):
    curves = run("hf_trainer", "--epochs", "1", "--images", "128", "--run-dir", str(tmp_path))
    assert list(overall(curves)["step"]) == [0, 2]


def test_a_loop_of_ones_own(run):
    found = run("plain_loop", "--epochs", "2", "--images", "128")
    assert len(found) == 2
    for called, by_hand in found:
        assert called == pytest.approx(by_hand, abs=1e-6)
        assert called > 0.2  # the regions answer colors


def test_the_example_of_adding_a_benchmark(tmp_path, monkeypatch):
    page = (EXAMPLES.parent / "adding_a_benchmark.md").read_text()
    files = re.findall(r"```python\n# (\S+)\n(.*?)```", page, re.DOTALL)
    package = tmp_path / "toy_tones"
    package.mkdir()
    for name in [name for name in sys.modules if "toy_tones" in name]:  # another test's
        del sys.modules[name]
    for name, text in files:
        (package / Path(name).name.replace("NAME", "toy_tones")).write_text(text)
    monkeypatch.setattr(datamodules, "__path__", [*datamodules.__path__, str(tmp_path)])
    try:
        (benchmark,) = [b for b in benchmarks().values() if b.name == "toy_tones"]
        assert benchmark.load("check")
        assert (
            import_module(f"{datamodules.__name__}.toy_tones.toy_tones_source").SOURCE.dataset == "ds000000"
        )
        assert (
            pytest.main(["-q", "-p", "no:cacheprovider", str(package / "test_toy_tones_datamodule.py")]) == 0
        )
    finally:
        for name in [name for name in sys.modules if "toy_tones" in name]:
            del sys.modules[name]


def test_the_example_of_adding_a_metric():
    text = (EXAMPLES.parent / "adding_a_metric.md").read_text()
    made = {}
    for snippet in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(snippet, made)
    (doctest,) = re.findall(r">>> (.*?)  #.*\n +(\S.*)\n", text)
    assert repr(eval(doctest[0], made)) == doctest[1]
    tests = {name: test for name, test in made.items() if name.startswith("test_")}
    assert len(tests) == 4
    for test in tests.values():
        marks = {mark.args[0]: mark.args[1] for mark in getattr(test, "pytestmark", [])}
        for values in itertools.product(*marks.values()):
            test(**dict(zip(marks, values, strict=True)))


@pytest.mark.parametrize("page", ["attach", "monitoring"])
def test_snippets_of_the_pages(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "logs" / "lightning_logs" / "version_0"
    folder.mkdir(parents=True)
    folder.joinpath("metrics.csv").write_text("epoch,step,loss,brain/mean_r2\n0,5,0.25,\n0,6,,0.125\n")
    made = make_results(("language",), n_models=1, n_rois=3)
    made = replace(made, models=made.models.assign(twin_of="", weights="pretrained"))
    for name, mean in (("rank1_scale", 0.25), ("rank2_scale", 0.125)):
        replace(made, draws=make_draws({"minilm_l6": mean})).save(tmp_path / "runs" / "settings" / name)
    given = {
        "Trainer": Trainer, "pd": pd, "images": torch.rand(20, 3, 8, 8), "responses": torch.randn(20, 3),
        "tokenizer": SimpleNamespace(is_fast=True, pad_token_id=0),
    }  # fmt: skip
    snippets = re.findall(r"```python\n(.*?)```", (EXAMPLES.parent / f"{page}.md").read_text(), re.DOTALL)
    assert snippets
    for snippet in snippets:
        exec(snippet, given)
    if page == "attach":
        assert any(isinstance(callback, BrainAlignment) for callback in given["trainer"].callbacks)
    else:
        assert capsys.readouterr().out.split()[-2:] == ["0.25", "0.125"]
        board = given["board"].set_index("settings")["mean"]
        assert board.to_dict() == {"rank1_scale": 0.25, "rank2_scale": 0.125}
