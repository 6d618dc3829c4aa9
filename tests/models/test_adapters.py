"""Architectures whose depth hooks can't see as they come."""

import pytest
import torch

from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.models.adapters import adapt
from nfas_lightning.models.random_twin import random_twin
from nfas_lightning.models.zoo import zoo_entry
from nfas_lightning.models.zoo.architecture import merged

transformers = pytest.importorskip("transformers")


def _depths(module, layers, inputs):
    with torch.no_grad(), DepthRecorder(module, layers, pooling="none") as recorder:
        module(**inputs)
        return [state.view(len(inputs["input_ids"]), -1, 32) for state in recorder.states]


@pytest.mark.parametrize("name", ["albert_base", "xlnet_base"])
def test_depths_of_albert_and_xlnet_are_the_hidden_states_of_transformers(name):
    entry = zoo_entry(name)
    model_class = getattr(transformers, entry.architecture["class"])
    config = model_class.config_class(**merged(entry.architecture["config"], entry.reduced["config"]))
    torch.manual_seed(0)
    original = model_class(config).eval()
    inputs = {"input_ids": torch.randint(10, 100, (3, 7)), "attention_mask": torch.ones(3, 7).long()}
    with torch.no_grad():
        reference = original(**inputs, output_hidden_states=True)
    adapted, layers = adapt(original)
    depths = _depths(adapted, layers, inputs)
    assert len(depths) == 12
    for depth, state in zip(depths[:-1], reference.hidden_states[1:], strict=False):
        torch.testing.assert_close(depth, state)
    torch.testing.assert_close(depths[-1], reference.last_hidden_state)
    with torch.no_grad():
        torch.testing.assert_close(adapted(**inputs).last_hidden_state, reference.last_hidden_state)
    twin = _depths(random_twin(adapted, 1), layers, inputs)
    assert not torch.equal(twin[0], depths[0])
