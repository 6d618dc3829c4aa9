import pytest
import torch
from torch import nn

from nfas_lightning.callbacks import DepthTrajectory, ScoreWriter
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.models import FrozenModel, ModelSuite
from nfas_lightning.results import RunResults
from nfas_lightning.runner import SuiteTrainer, plan, report_run, score_models
from nfas_lightning.scoring import ScoringSettings

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
    trainer(tmp_path).test(ModelSuite([spec(Net()), spec(Other())]), datamodule=brain())
    run = RunResults.load(tmp_path)
    assert list(run.models["model"]) == ["net", "other"]
    features = set(run.scores.query("model == 'net'")["feature"])
    assert features >= {"stable_mode", "random_weights", "best_block"}
    assert list(run.rois["roi"]) == ROIS
    assert run.meta["settings"]["n_permutations"] == 19
    assert report_run(run, tmp_path).is_file()


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
    assert before == 3  # 40 stimuli in batches of 16
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
    other = brain()
    other.values = other.values + torch.rand(40, 3)
    trainer(tmp_path).test(suite, datamodule=other)
    assert net.calls > before


def test_plan_counts_blocks_and_memory(tmp_path):
    data = brain()
    data.setup()
    (row,) = plan(ModelSuite([spec(Net(width=8))]), data)
    assert (row.name, row.n_blocks) == ("net", 3)
    assert row.megabytes == pytest.approx(3 * 8 * 40 * 4 / 1e6)
    assert row.parameters == sum(p.numel() for p in Net(width=8).parameters())


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
