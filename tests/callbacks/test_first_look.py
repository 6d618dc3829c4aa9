"""What would fail every evaluation fails before the first step."""

import pytest
import torch
from torch import nn

from tests.helpers.ordinary import Ordinary, fit
from tests.helpers.training import Network, monitor


class Flat(nn.Module):
    """A network that reads 48 numbers."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(*(nn.Linear(48, 48) for _ in range(3)))

    def forward(self, x):
        return self.blocks(x.flatten(1)[:, :48] if self.training else x)


def test_a_network_that_does_not_read_the_stimuli_says_so_before_the_first_step():
    module = Ordinary(net=Flat(), other=Network())
    steps = []
    module.training_step = lambda *_: steps.append(1)
    with pytest.raises(RuntimeError) as caught:
        fit(module, monitor(submodule="net"))
    text = str(caught.value)
    assert "Flat can't be shown the stimuli of 'array'" in text
    assert "It got (1, 3, 16, 16) of RawStimuli()" in text
    assert "another network: submodule='other'" in text
    assert not steps


class Lazy(Network):
    def __init__(self):
        super().__init__()
        self.head = nn.LazyLinear(4)


def test_what_has_no_shape_before_the_first_batch_is_evaluated_after_it():
    modules, callback = [], monitor()
    for callbacks in ([], [callback]):
        torch.manual_seed(0)
        modules.append(Ordinary(net=Lazy()))
        fit(modules[-1], *callbacks)
    assert not callback.curves.empty
    for a, b in zip(*(module.state_dict().values() for module in modules), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(RuntimeError, match=r"'head\.weight' of Lazy has no shape yet"):
        fit(Ordinary(net=Lazy()), monitor(at_start=True))
