from dataclasses import replace

import pandas as pd
import pytest
import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn

from nfas_lightning.alignment import card_of
from nfas_lightning.callbacks import DepthTrajectory, ScoreWriter
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.models import FrozenModel, load_module
from nfas_lightning.results import RunResults
from nfas_lightning.scoring import ScoringSettings


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh())


def brain(runs=None):
    images = torch.rand(30, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    noise = 0.1 * torch.randn(3, 30, 2, generator=torch.Generator().manual_seed(1))
    return ArrayDataModule(
        images, images.flatten(1)[:, :2] + noise, rois=["V1", "V2"], runs=runs, dataset="toy"
    )


def run(tmp_path, *callbacks, runs=None, datamodule=None):
    writer = ScoreWriter(str(tmp_path), settings=ScoringSettings(n_permutations=19, subjects="both"))
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(callbacks=[*callbacks, writer], enable_model_summary=False, **options)
    trainer.test(FrozenModel(net()), datamodule=datamodule or brain(runs), verbose=False)
    return trainer, writer


def test_tables_are_whole_after_one_model_and_say_what_was_run(tmp_path, capsys):
    _, writer = run(tmp_path, DepthTrajectory())
    results = RunResults.load(tmp_path)
    pd.testing.assert_frame_equal(results.scores, writer.results.scores)
    assert set(results.meta) >= {"settings", "versions", "hashes", "responses_sha256", "created"}
    card = results.models.iloc[0]
    assert (card["n_blocks"], card["n_stimuli"]) == (5, 30)
    assert len(card["weights_sha256"]) == 64
    assert card["seconds_capture"] > 0
    printed = capsys.readouterr().out
    group = results.scores.query("feature == 'stable_mode' and subject == 'group'")["r"].mean()
    assert f"mean r {group:.3f}" in printed  # of the group, not of the group and its subjects mixed
    assert printed.count(f"results in {tmp_path}\n") == 1


def test_cards_tell_what_was_loaded():
    responses = brain()
    responses.setup()
    named = load_module(net(), name="mine")
    timm_like = replace(named, info=replace(named.info, source="timm==1 (in1k)"))
    for model, told in (
        (FrozenModel(net()), "as given"),  # trained or not: nobody but its owner knows
        (FrozenModel(net(), weights="random"), "random"),
        (FrozenModel(load_module(net(), weights="random")), "random"),
        (FrozenModel(named), "as given"),
        (FrozenModel(timm_like), "pretrained"),
        (net(), "as given"),
    ):
        assert card_of(model, responses.responses, None, None, seconds=0)["weights"] == told


@pytest.mark.filterwarnings("ignore:The grid of ridge penalties")  # noise of thirty stimuli
@pytest.mark.parametrize(("runs", "made"), [(None, 5), ([1] * 15 + [2] * 15, 2), ([*range(6)] * 5, 5)])
def test_the_folds_that_were_made_are_told_beside_those_asked_for(tmp_path, runs, made):
    meta = run(tmp_path, DepthTrajectory(), runs=runs)[1].results.meta
    assert (meta["settings"]["n_folds"], meta["folds_made"]) == (5, made)


def test_folds_that_keep_stimuli_together_are_counted_as_they_are(tmp_path):
    datamodule = brain(runs=[*range(6)] * 5)
    datamodule.given.stimuli[1:6:2] = datamodule.given.stimuli[
        :6:2
    ]  # a stimulus that two runs share: three pairs of runs
    datamodule.given.groups = "identical"
    meta = run(tmp_path, DepthTrajectory(), datamodule=datamodule)[1].results.meta
    assert meta["folds_made"] == 3


def test_a_recorder_must_stand_before_it(tmp_path, shown):
    for callbacks in ((), (nn.Identity, DepthTrajectory)):
        writer = ScoreWriter(str(tmp_path))
        order = [writer, *(kind() for kind in callbacks[1:])]
        trainer = Trainer(callbacks=order, logger=False, enable_checkpointing=False)
        with pytest.raises(ValueError, match="needs a DepthTrajectory before it"):
            trainer.test(FrozenModel(net()), datamodule=brain(), verbose=False)
    assert not shown


class Own(LightningModule):
    """Somebody's module: it feeds its network itself."""

    def __init__(self):
        super().__init__()
        self.net = net()

    def test_step(self, batch, batch_idx):
        self.net(batch["image"])


@pytest.mark.parametrize("name", [None, "mine"])
def test_a_module_of_ones_own_scores_as_its_network_does(tmp_path, name):
    run(tmp_path / "frozen", DepthTrajectory())
    writer = ScoreWriter(
        str(tmp_path / "own"),
        settings=ScoringSettings(n_permutations=19, subjects="both"),
        model_name=name,
    )
    quiet_trainer(writer).test(Own(), datamodule=brain(), verbose=False)
    frozen, own = (RunResults.load(tmp_path / folder) for folder in ("frozen", "own"))
    assert list(own.models["model"]) == [name or "sequential"]
    same = ["subject", "feature", "roi", "r", "r2"]
    pd.testing.assert_frame_equal(own.scores[same], frozen.scores[same])
    assert len(own.models["weights_sha256"].iloc[0]) == 64
    assert own.models["modality"].tolist() == ["vision"]


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        (lambda: FrozenModel(net()), "loader", "datamodule with brain responses, .* got none: trainer.test"),
        (lambda: FrozenModel(net()), "other", "datamodule with brain responses, .* got a Other"),
    ],
)
def test_what_could_not_be_scored_is_refused_before_a_batch_is_shown(tmp_path, shown, model, given, message):
    class Other(LightningDataModule):
        def test_dataloader(self):
            return brain().test_dataloader()

    ready = brain()
    ready.setup()
    options = {
        "loader": {"dataloaders": ready.test_dataloader()},
        "other": {"datamodule": Other()},
    }[given]
    writer = ScoreWriter(str(tmp_path))
    trainer = Trainer(callbacks=[DepthTrajectory(), writer], logger=False, enable_checkpointing=False)
    with pytest.raises(TypeError, match=message):
        trainer.test(model(), verbose=False, **options)
    assert not shown


def quiet_trainer(writer):
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(callbacks=[DepthTrajectory(), writer], enable_model_summary=False, **options)


def test_a_model_that_is_tested_twice_counts_once(tmp_path, capsys):
    writer = ScoreWriter(str(tmp_path), settings=ScoringSettings(n_permutations=0))
    trainer, network = quiet_trainer(writer), net()
    for name in ("a", "b", "a"):
        trainer.test(FrozenModel(network, name=name), datamodule=brain(), verbose=False)
    results = RunResults.load(tmp_path)
    assert list(results.models["model"]) == ["a", "b"]
    assert not results.scores.duplicated(["model", "subject", "feature", "roi"]).any()
    with torch.no_grad():
        network[1].weight[:4] *= 3
    trainer.test(FrozenModel(network, name="a"), datamodule=brain(), verbose=False)
    last = RunResults.load(tmp_path)
    assert list(last.models["model"]) == ["b", "a"]
    assert not last.scores.duplicated(["model", "subject", "feature", "roi"]).any()
    assert set(last.models["weights_sha256"]) > set(results.models["weights_sha256"])
    assert "the tables hold the last model of this name" in capsys.readouterr().out


def test_models_of_earlier_runs_that_the_tables_lack_are_named(tmp_path, capsys):
    for name in ("a", "b"):
        writer = ScoreWriter(str(tmp_path), settings=ScoringSettings(n_permutations=0))
        assert "not in these tables" not in capsys.readouterr().out
        quiet_trainer(writer).test(FrozenModel(net(), name=name), datamodule=brain(), verbose=False)
    assert f"not in these tables, though finished in {tmp_path}: a. Score them" in capsys.readouterr().out
    assert list(RunResults.load(tmp_path).models["model"]) == ["b"]


class Looking(Callback):
    """Something of one's own that is to see every batch."""

    seen = 0

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.seen += 1


def test_states_of_an_earlier_run_are_taken_unless_something_looks_at_the_batches(
    tmp_path, captures, passes, capsys
):
    def tested(name, *more, **options):
        passes.clear()
        writer = ScoreWriter(str(tmp_path / name), settings=ScoringSettings(n_permutations=0), **options)
        trainer = quiet_trainer(writer)
        trainer.callbacks.extend(more)
        trainer.test(FrozenModel(net()), datamodule=brain(), verbose=False)
        return trainer

    tested("first")
    assert passes
    recorder = tested("second").callbacks[0]
    assert not passes
    assert recorder.trajectory.widths == (48, 8, 8, 8, 8)
    assert "states of an earlier run" in capsys.readouterr().out
    looking = Looking()
    tested("third", looking)
    assert looking.seen == 2
    for options in ({"cache": False}, {"resume": False}):
        tested("fourth", **options)
        assert passes
    (file,) = captures.files()
    file.path.write_bytes(file.path.read_bytes()[:-50])
    with pytest.warns(UserWarning, match="is damaged .* It is captured again"):
        tested("fifth")
    assert passes
    tested("sixth")
    assert not passes


def test_a_trainer_shows_all_batches_of_the_model_after_one_whose_states_are_kept(tmp_path, captures, passes):
    ran = []
    for name in ("first", "second"):
        writer = ScoreWriter(str(tmp_path / name), settings=ScoringSettings(n_permutations=0))
        trainer = quiet_trainer(writer)
        for model in (net(), net()[:4], net()):
            passes.clear()
            trainer.test(FrozenModel(model), datamodule=brain(), verbose=False)
            assert len(trainer.callbacks[0].trajectory.states) == len(model)
            ran.append(bool(passes))
        captures.files()[1].path.unlink()  # of the model in the middle
    assert ran == [True, True, False, False, True, False]
    assert trainer.limit_test_batches == 1.0


@pytest.fixture
def shown(monkeypatch):
    """Batches that a network has seen."""
    seen = []
    monkeypatch.setattr(FrozenModel, "test_step", lambda self, batch, batch_idx: seen.append(batch))
    return seen
