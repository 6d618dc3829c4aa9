"""A network that was run is as it was before: state, modes, random numbers, gradients."""

import pytest
import torch
from torch import nn

from nfas_lightning.hooks.undisturbed import plain_network, undisturbed, without_autocast
from tests.helpers.training import Network


def test_undisturbed_puts_everything_back_after_an_exception():
    network = Network().train()
    network.blocks[1].eval()  # frozen by its owner: must stay so
    cache = torch.is_autocast_cache_enabled()
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    with pytest.raises(RuntimeError, match="size"), undisturbed(network) as frozen:
        frozen(torch.rand(2, 3, 16, 16)) + torch.rand(2, 3)  # four classes
    assert (int(network.passes), network.training) == (0, True)
    assert (network.blocks[0].training, network.blocks[1].training) == (True, False)
    assert torch.equal(torch.rand(1), expected)
    assert torch.is_grad_enabled()
    assert torch.is_autocast_cache_enabled() == cache


def test_a_buffer_that_is_only_read_keeps_its_version():
    """Autograd refuses a graph whose saved buffers have a newer version."""
    network = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4))
    version = network[0].running_mean._version
    with undisturbed(network) as frozen:
        frozen(torch.rand(2, 4))
    assert network[0].running_mean._version == version


def test_modules_without_a_shape_are_refused():
    network = nn.Sequential(nn.Linear(4, 4), nn.LazyLinear(2))
    with pytest.raises(ValueError, match=r"'1\.weight' of Sequential has no shape yet"), undisturbed(network):
        raise AssertionError
    network(torch.rand(2, 4))
    with undisturbed(network) as frozen:
        frozen(torch.rand(2, 4))


def test_the_original_of_a_compiled_module_is_found():
    network = nn.Linear(2, 2)
    assert plain_network(network) is network
    assert plain_network(torch.compile(network, backend="eager")) is network


def test_autocast_is_left_and_taken_up_again():
    x = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        with without_autocast():
            assert (x @ x).dtype == torch.float32
        assert (x @ x).dtype == torch.bfloat16
