"""What FSDP and activation checkpointing wrap is seen as it was written; other splits are refused."""

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from nfas_lightning.hooks.selection import resolve_layers
from nfas_lightning.hooks.sharding import as_written, check_sharding, is_sharded, root_of, unwrapped
from nfas_lightning.hooks.undisturbed import undisturbed
from tests.helpers.process_group import process_group


@pytest.fixture(autouse=True, scope="module")
def alone():
    with process_group():
        yield


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x):
        return x + self.down(self.up(x).tanh())


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.Sequential(*(Block() for _ in range(4))))


def tensor_parallel(mesh):
    return parallelize_module(network()[1][0], mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})


def test_what_splits_activations_is_refused():
    zero = network()
    zero[0].weight.ds_id = 3
    with pytest.raises(ValueError, match=r"got DeepSpeed ZeRO-3 \(parameter '0.weight'\).* FSDP or DDP"):
        check_sharding(zero)
    transformers = network()
    transformers[1]._tp_size = 2
    with pytest.raises(ValueError, match="got tensor parallelism, where a block may return a part"):
        check_sharding(transformers)
    mesh = init_device_mesh("cpu", (1, 1), mesh_dim_names=("data", "tensor"))
    with pytest.raises(ValueError, match=r"tensor or expert parallelism \(parameter 'up.weight'\)"):
        check_sharding(tensor_parallel(mesh["tensor"]))
    with pytest.raises(ValueError, match=r"tensor or expert parallelism \(parameter 'up.weight'\)"):
        check_sharding(fully_shard(tensor_parallel(mesh["tensor"]), mesh=mesh["data"]))


def test_whole_and_fully_sharded_parameters_are_fine():
    mesh = init_device_mesh("cpu", (1, 1), mesh_dim_names=("replicas", "shards"))
    whole, hybrid = network(), fully_shard(network(), mesh=mesh)
    for module in (whole, hybrid, FullyShardedDataParallel(network(), device_id=torch.device("cpu"))):
        check_sharding(module)
        assert is_sharded(module) == (module is not whole)


@pytest.mark.parametrize("kind", ["fsdp1", "fsdp2", "checkpoint", "fsdp1 checkpoint", "fsdp2 checkpoint"])
def test_names_classes_and_sizes_are_those_that_were_written(kind):
    written = network()
    layers = resolve_layers(written)
    net = network()
    blocks = net[1]
    for i in range(len(blocks)):
        if "checkpoint" in kind:
            blocks[i] = checkpoint_wrapper(blocks[i])
        if "fsdp1" in kind:
            blocks[i] = FullyShardedDataParallel(blocks[i], device_id=torch.device("cpu"))
        elif "fsdp2" in kind:
            fully_shard(blocks[i], mesh=init_device_mesh("cpu", (1,)))
    top = FullyShardedDataParallel(net, device_id=torch.device("cpu")) if "fsdp1" in kind else net
    before = [(name, type(module)) for name, module in top.named_modules()]
    assert unwrapped(top) is net
    with as_written(top):
        assert resolve_layers(net) == layers
        for (name, module), (other, as_it_was) in zip(
            net.named_modules(), written.named_modules(), strict=True
        ):
            assert (name, type(module)) == (other, type(as_it_was))
        for parameter, as_it_was in zip(net.parameters(), written.parameters(), strict=True):
            assert parameter.shape == as_it_was.shape
    assert [(name, type(module)) for name, module in top.named_modules()] == before
    x = torch.randn(3, 4)
    with undisturbed(net, top) as plain:
        found = plain(x)
    torch.testing.assert_close(found, written(x).detach())
    assert [(name, type(module)) for name, module in top.named_modules()] == before
    assert not any("_compiled_call_impl" in vars(module) for module in top.modules())


def test_the_root_is_fsdp1s_wrapper_and_no_other():
    module = network()
    assert root_of(module, None) is module
    assert root_of(module, nn.Sequential(module)) is module
    wrapper = FullyShardedDataParallel(module, device_id=torch.device("cpu"))
    assert root_of(module, wrapper) is wrapper
