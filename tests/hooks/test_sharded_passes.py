"""Passes of a sharded network leave FSDP as it was; for two processes see test_sharded_training.py."""

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from nfas_lightning.hooks.sharded_passes import sharded_passes
from nfas_lightning.hooks.undisturbed import undisturbed
from tests.helpers.process_group import process_group


@pytest.fixture(autouse=True, scope="module")
def alone():
    with process_group():
        yield


class Block(nn.Linear):
    fails = None

    def forward(self, x):
        if self.fails and not self.training:
            raise self.fails("unplugged")
        return super().forward(x).tanh()


def network():
    torch.manual_seed(0)
    net = nn.Sequential(Block(4, 4), nn.Sequential(Block(4, 4), Block(4, 4)), Block(4, 4))
    mesh = init_device_mesh("cpu", (1,))
    for block in net[1]:
        fully_shard(block, mesh=mesh)
    return fully_shard(net, mesh=mesh)


def groups(net):
    found = (module._get_fsdp_state() for module in net.modules() if hasattr(module, "_get_fsdp_state"))
    return [state._fsdp_param_group for state in found]


def noted(net):
    """What FSDP notes in passes."""
    context = net._get_fsdp_state()._comm_ctx
    states = [
        (group._sharded_state, group._training_state, group._post_forward_indices) for group in groups(net)
    ]
    return [group._module_fqn for group in context.post_forward_order], [*map(str, states)]


@pytest.mark.parametrize("between", ["forward and backward", "steps", "unsharded"])
@pytest.mark.parametrize("fails", [None, OSError, KeyboardInterrupt])
def test_fsdp_is_left_as_it_was(between, fails):
    losses = []
    for watched in (False, True):
        net = network()
        net._get_fsdp_state()._lazy_init()  # as its first pass does
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        for _ in range(3):
            loss = net(torch.ones(2, 4)).square().sum() if between == "forward and backward" else None
            if between == "unsharded":
                net.unshard()
            if watched:
                before = noted(net)
                look(net, fails)
                assert noted(net) == before
            loss = net(torch.ones(2, 4)).square().sum() if loss is None else loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
    assert losses[:3] == losses[3:]
    assert len(set(losses)) == 3


def look(net, fails):
    net[1][0].fails = fails
    try:
        with undisturbed(net) as plain:
            plain(torch.zeros(1, 4))
    except (OSError, KeyboardInterrupt):
        assert fails
    net[1][0].fails = None


@pytest.mark.parametrize("part", ["0", "1", "1.1"])
def test_a_part_is_run_within_the_root(part):
    net = network()
    expected = nn.Sequential(Block(4, 4), nn.Sequential(Block(4, 4), Block(4, 4)), Block(4, 4))
    expected.load_state_dict({name: value.full_tensor() for name, value in net.state_dict().items()})
    x = torch.ones(2, 4)
    with undisturbed(net.get_submodule(part), net) as plain:
        torch.testing.assert_close(plain(x), expected.get_submodule(part)(x).detach())


def test_without_fsdp_nothing_changes():
    net = nn.Linear(2, 2)
    with sharded_passes(net, net) as passes, passes.together():
        assert "_compiled_call_impl" not in vars(net)
        assert passes.states == []
