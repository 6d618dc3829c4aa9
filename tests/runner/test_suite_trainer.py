"""A suite of models under Lightning's Trainer: each is tested, and a stopped run continues."""

import re
from functools import partial
from importlib.metadata import PackageNotFoundError

import pandas as pd
import pytest
import torch
from pytorch_lightning.loggers import CSVLogger

import nfas_lightning
from nfas_lightning import versions
from nfas_lightning.callbacks import DepthTrajectory, ScoreWriter
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.metrics import DepthSpectrum
from nfas_lightning.models import FrozenModel, ModelSuite
from nfas_lightning.results import RunResults
from nfas_lightning.runner import FailedModelsError, SuiteTrainer, report_run, suite_trainer
from nfas_lightning.terminal import heartbeat
from tests.helpers.suites import QUICK, ROIS, Net, Other, brain, images, spec, trainer


def test_a_suite_scores_every_model_and_its_twin(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(suite_trainer, "heartbeat", partial(heartbeat, 0.002))
    suite = trainer(tmp_path, enable_progress_bar=True)
    suite.test(ModelSuite([spec(Net()), spec(Other(seed=1))]), datamodule=brain())
    said = capsys.readouterr()
    # one line that moves for the suite, in the place of a bar per model
    assert {"model 1 of 2, net", "model 2 of 2, other with random weights"} <= set(
        re.split("s: |\n", said.err)
    )
    assert "Testing" not in said.out + said.err
    assert suite.progress_bar_callback.is_enabled
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


class Breaking(Net):
    """Fails in its own way on all but the first stimulus, which a plan shows it."""

    def forward(self, x):
        if len(x) > 8:
            raise FileNotFoundError("weights.bin")
        return super().forward(x)


def test_processes_that_share_a_suite_find_what_one_finds(tmp_path, capsys):
    nets = {"first": Net(), "second": Breaking(), "third": Other(seed=1)}

    def run(folder, **options):
        suite = ModelSuite([spec(net, name=name) for name, net in nets.items()])
        with pytest.raises(FailedModelsError, match="1 of 3 models failed") as failed:
            trainer(folder, logger=CSVLogger(folder), **options).test(suite, datamodule=brain())
        assert list(failed.value.errors) == ["second"]
        assert isinstance(failed.value.errors["second"], FileNotFoundError)
        logged = pd.read_csv(next(folder.glob("**/metrics.csv")))
        return RunResults.load(folder), logged, capsys.readouterr().out

    alone, logged_alone, said_alone = run(tmp_path / "alone")
    before = nets["first"].calls
    shared, logged, said = run(tmp_path / "shared", processes=2)
    assert nets["first"].calls == before
    pd.testing.assert_frame_equal(shared.scores, alone.scores, rtol=1e-4)
    assert list(shared.models["model"]) == ["first", "third"]
    names = ["first", "first_random", "third", "third_random"]
    for rows in (logged, logged_alone):
        assert sorted(rows["nfas/model"].dropna()) == names
    for text in (said, said_alone):
        assert sorted(re.findall(r"✓ (\w+): mean r", text)) == names
        assert text.count("✗ second: FileNotFoundError: weights.bin") == 1


def test_processes_refuse_what_would_be_lost(tmp_path):
    suite, metric = ModelSuite([spec(Net()), spec(Other())]), DepthSpectrum()
    callbacks = [DepthTrajectory(metric=metric), ScoreWriter(str(tmp_path), settings=QUICK)]
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    with pytest.raises(ValueError, match=r"processes=2 needs one device, a DepthTrajectory without metric"):
        SuiteTrainer(callbacks=callbacks, processes=2, **options).test(suite, datamodule=brain())
    with pytest.raises(ValueError, match="processes must be at least 1, got 0"):
        SuiteTrainer(processes=0)


def test_a_second_suite_joins_the_tables_of_the_first(tmp_path):
    one = trainer(tmp_path)
    for net in (Net(), Other(seed=1)):
        one.test(ModelSuite([spec(net)]), datamodule=brain())
    assert list(RunResults.load(tmp_path).models["model"]) == ["net", "other"]
