"""Which results of an earlier run are found again: those of the same network, capture and responses."""

import pytest
import torch

from nfas_lightning.callbacks import DepthTrajectory, ScoreWriter
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.models import ModelSuite, load_model
from nfas_lightning.runner import SuiteTrainer, score_models
from nfas_lightning.scoring import ScoringSettings
from tests.helpers.networks import Net, seeded


def score(folder, *, layers="blocks.*", precision="32-true", **brain):
    generator = torch.Generator().manual_seed(0)
    images, betas = torch.rand(30, 3, 4, 4, generator=generator), torch.randn(30, 2, generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Net()
    writer = ScoreWriter(str(folder), settings=ScoringSettings(n_permutations=0))
    trainer = SuiteTrainer(
        callbacks=[DepthTrajectory(layers=layers), writer],
        precision=precision,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    suite = ModelSuite([{"model": network, "name": "net"}], random_twins=False)
    trainer.test(suite, datamodule=ArrayDataModule(images, betas, **brain))
    return writer.results


def test_a_run_is_not_resumed_with_other_layers_precision_or_ceilings(tmp_path, capsys):
    first = score(tmp_path)
    again = score(tmp_path)
    assert "found finished" in capsys.readouterr().out
    assert again.scores.equals(first.scores)
    fewer = score(tmp_path, layers=["blocks.0", "blocks.1", "blocks.2"])
    assert list(fewer.depth["layer"].unique()) == ["blocks.0", "blocks.1", "blocks.2"]
    halved = score(tmp_path, precision="bf16-mixed")
    assert not halved.scores["r"].equals(first.scores["r"])
    ceiled = score(tmp_path, noise_ceiling=[0.5, 0.6])
    assert sorted(ceiled.scores["ceiling"].dropna().unique()) == pytest.approx([0.5, 0.6])
    assert "found finished" not in capsys.readouterr().out


class Counting(Net):
    """Keeps what it saw, as networks do whose attention is to be looked at."""

    def __init__(self, gain):
        super().__init__()
        self.seen, self.last, self.gain = 0, None, gain

    def forward(self, x):
        self.seen, self.last = self.seen + 1, super().forward(x) * self.gain
        return self.last


def score_network(network, folder, **options):
    images = torch.rand(30, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    betas = torch.randn(30, 2, generator=torch.Generator().manual_seed(1))
    return score_models(
        {"model": network, "name": "net", "layers": "blocks.*"},
        ArrayDataModule(images, betas),
        folder,
        settings=ScoringSettings(n_permutations=0),
        random_twins=False,
        report=False,
        enable_progress_bar=False,
        accelerator="cpu",
        **options,
    )


def test_a_network_that_remembers_is_found_again_and_a_changed_one_is_not(tmp_path, capsys):
    network = seeded(lambda: Counting(1.0))
    score_network(network, tmp_path)
    assert network.seen
    capsys.readouterr()
    score_network(network, tmp_path)
    assert "found finished" in capsys.readouterr().out
    score_network(seeded(lambda: Counting(1.0)), tmp_path)
    assert "found finished" in capsys.readouterr().out
    network.gain = 2.0
    score_network(network, tmp_path)
    network.blocks[1].register_forward_hook(lambda module, inputs, output: output.flip(-1))
    score_network(network, tmp_path)
    assert "found finished" not in capsys.readouterr().out


def test_weights_changed_after_loading_are_another_network(tmp_path, capsys):
    loaded = load_model(seeded(Net))
    score_network(loaded, tmp_path)
    with torch.no_grad():
        loaded.module.blocks[0][0].weight[:8].zero_()  # a lesion, which the card's hash was taken before
    score_network(loaded, tmp_path)
    assert "found finished" not in capsys.readouterr().out


def test_a_network_without_a_source_is_computed_anew_and_says_so(tmp_path, capsys):
    network = seeded(Net)
    network.register_forward_hook(executed_hook())
    for _ in range(2):
        results = score_network(network, tmp_path)
        said = capsys.readouterr().out
        assert "net: every run computes it anew" in said
        assert "of_nobody.made has no source: define it in a file" in said
        assert "found finished" not in said
    assert list(results.models["model"]) == ["net"]


def executed_hook():
    space = {"__name__": "of_nobody"}
    exec("def made(module, inputs, output):\n    return None", space)
    return space["made"]


def test_without_resume_a_finished_result_is_replaced(tmp_path, capsys):
    network = seeded(Net)
    score_network(network, tmp_path)
    first = next(tmp_path.glob("models/net/*/card.json"))
    before = first.stat().st_ino
    score_network(network, tmp_path, resume=False)
    assert "found finished" not in capsys.readouterr().out
    assert list(tmp_path.glob("models/net/*/card.json")) == [first]
    assert first.stat().st_ino != before
