"""Selection of blocks by names and patterns, and refusals."""

import pytest
import torch
from torch import nn

from nfas_lightning.hooks.selection import resolve_layers
from tests.helpers.encoder import NamedLayers


def test_exact_names_come_back_in_definition_order_and_once():
    wanted = ["encoder.layer.2", "embeddings", "encoder.layer.0", "embeddings"]
    assert resolve_layers(NamedLayers(), wanted) == ["embeddings", "encoder.layer.0", "encoder.layer.2"]


def test_a_single_star_stays_inside_one_part_and_two_cross():
    blocks = [f"encoder.layer.{i}" for i in range(4)]
    assert resolve_layers(NamedLayers(), "encoder.layer.*") == blocks
    deep = resolve_layers(NamedLayers(), "encoder.layer.**")
    assert set(blocks) < set(deep)
    assert "encoder.layer.0.self_attn.out_proj" in deep
    assert resolve_layers(NamedLayers(), "**.norm1") == [f"{block}.norm1" for block in blocks]
    assert resolve_layers(NamedLayers(), "encoder.layer.[1-3]") == blocks[1:]


def test_a_dot_in_a_glob_is_a_dot():
    with pytest.raises(ValueError, match="matches none"):
        resolve_layers(NamedLayers(), "encoder?layer?*")


def test_regular_expressions_match_whole_names():
    assert resolve_layers(NamedLayers(), r"re:encoder\.layer\.[0-2]") == [
        f"encoder.layer.{i}" for i in range(3)
    ]


def test_a_callable_chooses_and_is_checked():
    assert (
        resolve_layers(NamedLayers(), lambda m: [f"encoder.layer.{i}" for i in (2, 1, 0)])[0]
        == "encoder.layer.0"
    )
    with pytest.raises(ValueError, match=r"'encoder.layer.9' matches none.*encoder\.layer\."):
        resolve_layers(NamedLayers(), lambda m: ["encoder.layer.9"])


def test_auto_adds_to_other_names():
    assert resolve_layers(NamedLayers(), ["embeddings", "auto"])[0] == "embeddings"


def test_unknown_names_come_with_the_closest_ones():
    with pytest.raises(ValueError, match=r"'encoder\.layers\.1' matches none .* 'encoder\.layer\.1'"):
        resolve_layers(NamedLayers(), ["encoder.layers.1"])


def test_fewer_than_three_depths_are_refused():
    with pytest.raises(ValueError, match="at least 3 depths, got 2 modules"):
        resolve_layers(NamedLayers(), ["encoder.layer.0", "encoder.layer.1"])
    with pytest.raises(ValueError, match="at least 3 depths, got 1 modules"):
        resolve_layers(nn.Sequential(nn.LSTM(4, 4, 3)))
    plain = nn.Sequential(nn.Linear(4, 4))
    plain[0].blocks = [nn.Linear(4, 4) for _ in range(5)]
    with pytest.raises(ValueError, match=r"Modules in 0\.blocks are unknown to torch: use nn\.ModuleList"):
        resolve_layers(plain)


def test_a_row_of_numbered_attributes_is_suggested():
    stages = {
        f"conv{i}": nn.Sequential(nn.Conv2d(1 + 2 * (i > 1), 3, 3), nn.ReLU(), nn.MaxPool2d(2))
        for i in range(1, 5)
    }
    net = nn.Module()
    for name, child in {**stages, "pool1": nn.MaxPool2d(2), "head": nn.Linear(3, 2)}.items():
        net.add_module(name, child)
    with pytest.raises(ValueError, match=r"layers=\['conv1', 'conv2', 'conv3', 'conv4'\]"):
        resolve_layers(net)
    assert len(resolve_layers(net, ["conv1", "conv2", "conv3", "conv4"])) == 4


def test_torchscript_calls_no_hooks_and_is_refused():
    inner = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
    for network in (torch.jit.script(inner), torch.jit.trace(inner, torch.zeros(2, 4))):
        with pytest.raises(ValueError, match=r"TorchScript .* before torch\.jit\.script"):
            resolve_layers(network)
        holder = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), network)
        assert resolve_layers(holder, "*") == ["0", "1", "2"]  # the whole of it is called from Python
        with pytest.raises(ValueError, match=r"'2\.0', which lies in a scripted module"):
            resolve_layers(holder, ["0", "1", "2.0"])
