"""A suite in Weights & Biases, read back from what its offline runs wrote."""

import json
import os
import re
from pathlib import Path
from runpy import run_path
from unittest.mock import MagicMock

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from nfas_lightning.callbacks import BrainAlignment, DepthTrajectory, ScoreWriter
from nfas_lightning.callbacks.wandb_runs import (
    forget_anonymous,
    model_links,
    open_runs,
    wandb_offline_without_key,
)
from nfas_lightning.models import FrozenModel, ModelSuite, RawStimuli
from nfas_lightning.runner import SuiteTrainer, report_run
from nfas_lightning.scoring import ScoringSettings
from tests.callbacks.test_score_writer import brain
from tests.helpers.wandb_offline import read_runs

wandb = pytest.importorskip("wandb")
loggers = pytest.importorskip("pytorch_lightning.loggers")


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    """A machine on which nobody is logged in."""
    for name in [name for name in os.environ if name.startswith("WANDB_")] + ["NETRC"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")  # so that it is restored after the test
    monkeypatch.delenv("WANDB_MODE")
    return tmp_path


def mode():
    wandb_offline_without_key()
    return os.environ.get("WANDB_MODE")


def test_without_a_key_wandb_is_offline(nobody):
    assert mode() == "offline"


@pytest.mark.parametrize("chosen", ["online", "disabled"])
def test_a_mode_that_was_chosen_stays(nobody, monkeypatch, chosen):
    monkeypatch.setenv("WANDB_MODE", chosen)
    assert mode() == chosen


def test_a_key_keeps_wandb_online(nobody, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert mode() is None


def test_a_login_counts_for_its_own_server_alone(nobody, monkeypatch):
    (nobody / ".netrc").write_text("machine api.wandb.ai\n  login user\n  password secret\n")
    assert mode() is None
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert mode() == "offline"


def test_an_unreadable_login_is_none(nobody):
    (nobody / ".netrc").write_text("machina api.wandb.ai\n")
    assert mode() == "offline"


class Small(nn.Module):
    width = 8

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(self.width)
        self.net = nn.Sequential(nn.Linear(48, self.width), nn.Tanh(), nn.Linear(self.width, self.width))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.net(image.flatten(1))


class Wide(Small):
    width = 12


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No server, no login, nothing of this machine's."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))
    wandb.teardown()  # what an earlier test made it read from the environment
    yield
    wandb.finish()
    wandb.teardown()


def run(folder, *modules, logger=None, report=False, **options):
    logger = logger or loggers.WandbLogger(project="test", save_dir=str(folder), **options)
    writer = ScoreWriter(str(folder / "run"), settings=ScoringSettings(n_permutations=19), name="pilot")
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = SuiteTrainer(callbacks=[DepthTrajectory(), writer], logger=logger, **quiet)
    trainer.test(ModelSuite([{"model": module, "layers": "net.*"} for module in modules]), datamodule=brain())
    if report:
        report_run(writer.results, folder / "run", trainer.loggers)
    wandb.finish()
    wandb.teardown()  # waits until everything is on the disk
    return writer.results


def workspace_spec():
    pytest.importorskip("wandb_workspaces", reason="needs wandb-workspaces, of the extra test")
    made = run_path(str(Path(__file__).parents[2] / "docs" / "examples" / "wandb_workspace.py"))
    return made["workspace"]("me", "nfas")._to_model().spec.model_dump_json(by_alias=True)


def test_the_address_of_a_models_run_is_known_where_the_server_is(tmp_path):
    logger = loggers.WandbLogger(project="nfas", experiment=MagicMock(spec=wandb.Run))
    logger.experiment.disabled, logger.experiment.offline = False, False
    logger.experiment.url = "https://wandb.example.org/me/nfas/runs/suite1"
    (tmp_path / "wandb.json").write_text('{"nfas": {"suite": "suite1", "small/k": "abc"}}')
    models = [("small", "small/k"), ("wide", "wide/k")]
    assert model_links(logger, tmp_path, models) == {"small": "https://wandb.example.org/me/nfas/runs/abc"}
    assert model_links(loggers.CSVLogger(str(tmp_path)), tmp_path, models) == {}


def test_wandb_has_nothing_to_complain_about_in_what_nobody_chose():
    logger, chosen = (loggers.WandbLogger(project="test", anonymous=value) for value in (None, True))
    forget_anonymous([logger, chosen, loggers.CSVLogger("unused")])
    assert "anonymous" not in logger._wandb_init
    assert chosen._wandb_init["anonymous"] == "allow"


def test_a_run_opens_without_a_warning_of_wandb(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(wandb, "termwarn", lambda text, **_: said.append(text))
    logger = loggers.WandbLogger(project="test", save_dir=str(tmp_path))
    open_runs([logger], group="g", job_type="suite", folder=tmp_path)
    assert said == []


def test_a_suite_is_a_run_a_model_and_one_for_all_in_one_group(tmp_path):
    results = run(tmp_path, Small(), Wide(), report=True)
    small, wide, suite = sorted(read_runs(tmp_path), key=lambda found: found.run["display_name"] == "pilot")
    assert {found.run["run_group"] for found in (small, wide, suite)} == {"pilot"}
    assert {found.run["project"] for found in (small, wide, suite)} == {"test"}
    assert [found.run["job_type"] for found in (small, wide, suite)] == ["model", "model", "suite"]
    assert [found.run["display_name"] for found in (small, wide)] == ["small", "wide"]
    assert [found.exit_code for found in (small, wide, suite)] == [0, 0, 0]

    # what the model was made of
    card = results.models.set_index("model").loc["small"]
    assert small.config["weights_sha256"] == card["weights_sha256"]
    assert small.config["parameters"] == card["parameters"]
    assert small.config["settings"]["n_permutations"] == 19
    assert small.config["data"]["responses_sha256"] == results.meta["responses_sha256"]
    assert small.config["data"]["hashes"] == results.meta["hashes"]
    assert small.config["versions"]["torch"] == results.meta["versions"]["torch"]

    # what was found: few keys, each with its step and summary, and one table for the ROIs
    scores = results.scores.query("model == 'small' and feature == 'stable_mode'")
    assert small.series("nfas/mean_r2") == [(0, pytest.approx(scores["r2"].mean()))]
    assert small.metrics["nfas/mean_r2"] == {"step": "trainer/global_step", "summary": {"max", "last"}}
    assert len(small.keys) < 12
    columns, rows = small.table("nfas/rois")
    assert [row[0] for row in rows] == ["V1", "V2"]
    assert [row[columns.index("r2")] for row in rows] == pytest.approx(scores["r2"].tolist())
    assert "r_random_weights" in columns  # the twin is a column of its model, and no run of its own
    assert all(path.is_file() for key in ("figures/spectrum", "figures/depth") for path in small.media(key))

    # the suite
    columns, rows = suite.table("nfas/scores")
    assert columns == ["model", "V1", "V2"]
    assert [row[0] for row in rows] == ["small", "wide"]
    assert suite.config["models"] == ["small", "wide"]
    columns, rows = suite.table("nfas/models")
    assert [dict(zip(columns, row, strict=True))["run"] for row in rows if row[0] in ("small", "wide")] == [
        small.run["run_id"], wide.run["run_id"],
    ]  # fmt: skip

    # the saved workspace shows what is logged
    spec = workspace_spec()
    shown = set(re.findall(r'"(?:summary:)?((?:nfas|figures)/[^".]+)', spec))
    assert len(shown) > 6
    assert shown <= small.keys | suite.keys
    scored = set(re.findall(r'"summary:(nfas/[^".]+)\.last"', spec))
    assert scored <= {name for name, said in small.metrics.items() if "last" in said["summary"]}
    for outer, inner in re.findall(r'"config:(\w+)\.value\.?(\w*)"', spec):
        assert inner in small.config[outer] if inner else outer in small.config
    assert "layers" not in suite.config  # of one of its members
    assert len(suite.keys) < 20
    (report,) = [artifact for artifact in suite.artifacts if artifact["type"] == "report"]
    assert report["name"] == "pilot-report"
    assert {"report.html", "scores.parquet", "figures/depth.png", "meta.json"} <= set(report["files"])


def test_a_suite_that_goes_on_goes_on_in_wandb_and_logs_no_model_twice(tmp_path):
    first = Small()
    run(tmp_path, first)
    ids = json.loads((tmp_path / "run" / "wandb.json").read_text())["test"]
    run(tmp_path, first, Wide())
    found = read_runs(tmp_path)
    assert sorted(f.run["display_name"] for f in found) == ["pilot", "pilot", "small", "wide"]
    assert {f.run["run_id"] for f in found if f.run["job_type"] == "suite"} == {ids["suite"]}
    suites = [f for f in found if f.run["job_type"] == "suite"]
    assert [len(f.table("nfas/scores")[1]) for f in suites] == [1, 2]
    later = json.loads((tmp_path / "run" / "wandb.json").read_text())["test"]
    assert ids.items() <= later.items()
    assert len(later) == 3


def test_models_that_were_scored_without_wandb_are_logged_later(tmp_path):
    net = Small()
    run(tmp_path, net, logger=loggers.CSVLogger(str(tmp_path)))
    assert not (tmp_path / "wandb").exists()
    run(tmp_path, net)
    assert sorted(found.run["display_name"] for found in read_runs(tmp_path)) == ["pilot", "small"]


def test_what_the_user_says_of_the_run_is_kept(tmp_path):
    run(tmp_path, Small(), group="mine", job_type="sweep", name="today", id="abc123")
    found = {f.run["display_name"]: f.run for f in read_runs(tmp_path)}
    assert found["today"] == {
        "run_id": "abc123", "project": "test", "run_group": "mine", "job_type": "sweep",
        "display_name": "today",
    }  # fmt: skip
    assert found["small"]["run_group"] == "mine"


def test_an_id_that_an_agent_of_a_sweep_sets_is_that_of_one_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "agent123")
    run(tmp_path, Small())
    ids = {f.run["display_name"]: f.run["run_id"] for f in read_runs(tmp_path)}
    assert ids["pilot"] == "agent123" != ids["small"]


def test_disabled_wandb_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert len(run(tmp_path, Small()).models) == 1
    assert not (tmp_path / "wandb").exists()
    assert not (tmp_path / "run" / "wandb.json").exists()


def test_a_single_model_is_one_run(tmp_path):
    logger = loggers.WandbLogger(project="test", save_dir=str(tmp_path))
    writer = ScoreWriter(str(tmp_path / "run"), settings=ScoringSettings(n_permutations=19), name="pilot")
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = SuiteTrainer(callbacks=[DepthTrajectory(), writer], logger=logger, **quiet)
    data = brain()
    data.save_hyperparameters({"modality": "vision", "seed": 7})  # other values than the model's
    trainer.test(FrozenModel(Small(), layers="net.*"), datamodule=data, verbose=False)
    wandb.finish()
    wandb.teardown()
    (found,) = read_runs(tmp_path)
    assert (found.run["run_group"], found.run["job_type"]) == ("pilot", "model")
    assert found.config["weights_sha256"] == writer.results.models["weights_sha256"].iloc[0]
    assert [row[0] for row in found.table("nfas/rois")[1]] == ["V1", "V2"]


class Classifier(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = Small()

    def training_step(self, batch, batch_idx):
        loss = self.model(batch).square().mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_training_shows_its_alignment_beside_its_loss(tmp_path):
    logger = loggers.WandbLogger(project="test", save_dir=str(tmp_path))
    benchmark = brain()
    watch = BrainAlignment(
        benchmark, layers="net.*", details_every=1, preprocess=RawStimuli(), on_error="raise"
    )
    options = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(callbacks=[watch], logger=logger, max_epochs=2, log_every_n_steps=1, **options)
    trainer.fit(Classifier(), DataLoader(torch.rand(8, 3, 4, 4), batch_size=4))
    wandb.finish()
    wandb.teardown()
    (found,) = read_runs(tmp_path)
    curve = watch.curves.query("feature == 'stable_mode' and network == 'all ROIs'")
    assert found.series("brain/mean_r2") == [
        (int(step), pytest.approx(r2)) for step, r2 in zip(curve["step"], curve["r2"], strict=True)
    ]
    assert len(found.series("loss")) == 4
    step = {"step": "trainer/global_step"}
    assert found.metrics["brain/mean_r2"] == {**step, "summary": {"max", "last"}}
    assert found.metrics["brain/seconds"] == {**step, "summary": {"last"}}
    assert found.config["brain"]["data"]["responses_sha256"] == benchmark.responses.fingerprint()
    assert found.config["brain"]["data"]["hashes"] == benchmark.responses.hashes
    assert found.config["brain"]["layers"] == ["net.0", "net.1", "net.2"]
    assert {"svd_rank", "centering", "operator"} <= set(found.config["brain"]["settings"])
    assert len(found.table("brain/scores")[1]) > 2
    assert len(found.media("brain/curves")) == 2
    assert len([key for key in found.keys if key.startswith("brain/")]) < 10
    shown = set(re.findall(r'"(brain/[^"]+)"', workspace_spec()))
    assert len(shown) > 3
    assert shown <= found.keys


def test_csv_and_tensorboard_get_scalars_tables_and_figures(tmp_path):
    import pandas as pd

    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    csv, board = loggers.CSVLogger(str(tmp_path / "csv")), loggers.TensorBoardLogger(str(tmp_path / "tb"))
    results = run(tmp_path, Small(), logger=[csv, board], report=True)
    metrics = pd.read_csv(f"{csv.log_dir}/metrics.csv")
    named = metrics.dropna(subset="nfas/mean_r2").set_index("nfas/model")["nfas/mean_r2"]
    assert list(named.index) == ["small", "small_random"]
    expected = results.scores.query("feature == 'stable_mode'")["r2"].mean()
    assert named["small"] == pytest.approx(expected)
    assert list(pd.read_csv(f"{csv.log_dir}/tables/nfas_scores.csv")) == ["model", "V1", "V2"]
    figures = {path.stem for path in (tmp_path / "run" / "figures").glob("*.png")}
    assert {path.stem for path in (tmp_path / "csv").rglob("figures/*.png")} == figures
    events = event_accumulator.EventAccumulator(board.log_dir, {"images": 0, "scalars": 0}).Reload()
    assert events.Scalars("nfas/mean_r2")[0].value == pytest.approx(expected)
    scalars = metrics.drop(columns="nfas/model").set_index("step")
    assert set(scalars) == {*events.Tags()["scalars"]} - {"hp_metric"}
    for key in scalars:  # one logger holds what the other does
        shown = [(event.step, pytest.approx(event.value)) for event in events.Scalars(key)]
        assert list(scalars[key].dropna().items()) == shown
    assert {f"figures/{name}" for name in figures} == set(events.Tags()["images"])
