"""Hooks stay with the module that they were put on."""

import copy
import pickle

import torch
from torch import nn

from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.hooks.attached import Attached
from tests.helpers.residual import Blocks, X, states


def test_copies_do_not_report_to_the_original():
    net = Blocks()
    net.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
    net.take = nn.Identity()
    with DepthRecorder(net, "blocks.*") as rec, torch.inference_mode():
        net(X)
        for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            twin(2 * X)
            assert not any(m._forward_hooks or m._forward_pre_hooks for m in twin.modules())
        rec.collect(range(5))
    assert torch.equal(rec.trajectory().stack(), states(net, X, layers="blocks.*"))


def test_a_hook_works_for_its_own_module_and_leaves_a_copy_at_its_first_pass():
    module, seen = nn.Linear(2, 2), []
    hook = Attached(module, lambda *given: seen.append(given[0]))
    module.register_forward_hook(hook)
    module.register_forward_pre_hook(hook)
    module(torch.zeros(1, 2))
    assert seen == [module, module]
    twin = copy.deepcopy(module)
    assert len(twin._forward_hooks) == len(twin._forward_pre_hooks) == 1
    twin(torch.zeros(1, 2))
    assert not twin._forward_hooks
    assert not twin._forward_pre_hooks
    assert len(seen) == 2
    assert hook(twin, (), None) is None  # a replica that shares the hooks
    assert len(seen) == 2
