"""Keys of results: what changes a number changes the key, and nothing else does."""

import functools

import pytest
import torch
from torch import nn

from nfas_lightning.callbacks import DepthTrajectory, ScoreWriter
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.models import ModelSuite
from nfas_lightning.results import content_key, network_code
from nfas_lightning.runner import SuiteTrainer
from nfas_lightning.scoring import ScoringSettings

GAIN = 2.0


def scaled(by):
    return lambda x: x * by


def endless():
    def again(x):
        return again(x)

    return again


class Scale:
    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        return x * self.by

    def apply(self, x):
        return x * self.by


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (scaled(1.0), scaled(3.0)),
        (lambda x: x + 1, lambda x: x + 2),
        (lambda x: x.mean(), lambda x: x.sum()),
        (lambda x, by=1: x * by, lambda x, by=2: x * by),
        (Scale(1), Scale(2)),
        (Scale(1).apply, Scale(2).apply),
        (functools.partial(torch.mul, other=1), functools.partial(torch.mul, other=2)),
        (scaled(scaled(1)), scaled(scaled(2))),
        (scaled({"by": [1, 2]}), scaled({"by": [1, 3]})),
    ],
)
def test_functions_that_do_other_things_have_other_keys(one, other):
    assert content_key(one) != content_key(other)


@pytest.mark.parametrize("make", [lambda: scaled(2.0), lambda: Scale(2), lambda: Scale(2).apply, endless])
def test_the_same_function_made_again_has_the_same_key(make):
    assert content_key(make()) == content_key(make())


def test_a_global_number_counts(monkeypatch):
    def gained(x):
        return x * GAIN

    before = content_key(gained)
    monkeypatch.setitem(globals(), "GAIN", 3.0)
    assert content_key(gained) != before


def test_a_network_counts_by_what_its_forward_does():
    def network(activation):
        class Block(nn.Linear):
            def forward(self, x):
                return activation(super().forward(x))

        return nn.Sequential(Block(2, 2), Block(2, 2))

    relu, again, tanh = network(torch.relu), network(torch.relu), network(torch.tanh)
    assert content_key(network_code(relu)) == content_key(network_code(again))
    assert content_key(network_code(relu)) != content_key(network_code(tanh))
    assert network_code(nn.Linear(2, 2)) == []


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(48, 48), nn.Tanh()) for _ in range(4))

    def forward(self, x):
        x = x.flatten(1)
        for block in self.blocks:
            x = block(x)
        return x


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
