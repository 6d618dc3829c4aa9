"""A model's card, and what may stand for the inputs of a network."""

import pytest
import torch
from torch import nn

from nfas_lightning.models.loaded import ModelInputs, as_inputs, model_info
from nfas_lightning.models.random_twin import state_sha256

FACTS = {"name": "net", "modality": "vision", "family": "linear", "source": "here", "license": "MIT"}


def test_a_card_counts_and_hashes_the_weights():
    net = nn.Linear(3, 2)
    info = model_info(net, **FACTS, seed=None, note="Small.", objective="supervised")
    assert (info.parameters, info.weights_sha256) == (8, state_sha256(net))
    assert (info.name, info.source, info.note, info.objective) == ("net", "here", "Small.", "supervised")


def test_the_card_of_random_weights_says_nothing_of_the_pretrained_ones():
    info = model_info(nn.Linear(3, 2), **FACTS, seed=4, note="Trained on cats.", objective="supervised")
    assert (info.name, info.source, info.license, info.objective) == (
        "net_random",
        "random (seed 4)",
        "",
        "none",
    )
    assert info.note == "Random weights, never trained."


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_card_says_what_precision_a_network_runs_in(dtype):
    assert model_info(nn.Linear(3, 2).to(dtype), **FACTS, seed=None).note == f"Runs in {dtype}."


def test_inputs_may_be_whatever_a_forward_pass_takes():
    x = torch.zeros(1)
    ready = ModelInputs((x,))
    assert as_inputs(ready) is ready
    assert as_inputs(x).args == as_inputs((x,)).args == (x,)
    assert as_inputs({"x": x}).kwargs == {"x": x}
    with pytest.raises(TypeError, match="got list"):
        as_inputs([x])
