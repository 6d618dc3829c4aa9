"""Whatever a network writes while it is looked at, it trains as if nobody had looked."""

import random
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from nfas_lightning.alignment import record_trajectory
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.hooks.kept import kept_state
from nfas_lightning.hooks.undisturbed import undisturbed


class Base(nn.Module):
    """Four numbers in, three blocks; a subclass changes what goes in, and something that stays."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        x = self.change(x.flatten(1))
        for block in self.blocks:
            x = torch.tanh(block(x))
        return x


class MaxNorm(Base):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20, 4, max_norm=0.5)

    def change(self, x):
        return self.table((x[:, 0] * 19).long())


class ShrinkingWeight(Base):
    def change(self, x):
        with torch.no_grad():
            self.blocks[0].weight.mul_(0.99)
        return x


class WrittenThroughData(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def change(self, x):
        self.passes.data += 1
        return x * self.passes


class WrittenThroughNumpy(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(3))
        self.weights = np.ones(4, dtype=np.float32)

    def change(self, x):
        self.passes.numpy()[1] += x.shape[0]
        self.weights *= 1.1
        return x * self.passes[1] * torch.from_numpy(self.weights.copy())


class Observed(Base):
    """Training that prepares for 8 bits: kernels write ranges, in evaluation mode too."""

    def __init__(self):
        super().__init__()
        kind = torch.ao.quantization.MovingAverageMinMaxObserver
        self.fake = torch.ao.quantization.FusedMovingAvgObsFakeQuantize(
            kind, quant_min=0, quant_max=255, averaging_constant=0.1
        )

    def change(self, x):
        return self.fake(x)


class Resized(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.ones(1))

    def change(self, x):
        self.window.resize_(self.window.numel() + len(x)).fill_(1)
        return x / self.window.sum()


class Repointed(Base):
    """Other memory under the same parameter."""

    def change(self, x):
        self.blocks[0].weight.data = self.blocks[0].weight.data.t().contiguous() * 0.9
        return x


class FromNone(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", None)

    def change(self, x):
        if self.scale is None:
            self.scale = x.std()
        return x / self.scale


class Late(Base):
    def change(self, x):
        if not hasattr(self, "scale"):
            self.register_buffer("scale", x.std())
            self.more = nn.Linear(4, 4)
        return self.more(x / self.scale)


class Counting(Base):
    """Plain attributes, and what is in them."""

    def __init__(self):
        super().__init__()
        self.passes, self.sums, self.known, self.tensor = 0, [], {}, torch.zeros(())

    def change(self, x):
        self.passes += 1
        self.sums.append(float(x.detach().sum()))
        self.known[len(x)] = self.known.get(len(x), 0) + 1
        self.tensor += 1
        return x * self.passes + self.sums[0] + len(self.known) + len(self.sums) + self.tensor


class OwnGenerators(Base):
    def __init__(self):
        super().__init__()
        self.torch, self.rest = torch.Generator().manual_seed(1), [random.Random(1)]
        self.numpy = {"new": np.random.default_rng(1), "old": np.random.RandomState(1)}

    def change(self, x):
        more = self.rest[0].random() + self.numpy["new"].random() + self.numpy["old"].rand()
        return x + torch.randn(x.shape, generator=self.torch) + more


class Merged(Base):
    """As LoRA does: evaluation adds two small matrices to the weights, training takes them out again."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(4, 1)), nn.Parameter(torch.randn(1, 4))
        self.state = type("State", (), {"merged": False})()  # which is not looked into

    def train(self, mode=True):
        if mode == self.state.merged:
            self.blocks[0].weight.data += (-1 if mode else 1) * (self.a @ self.b).data
            self.state.merged = not mode
        return super().train(mode)

    def change(self, x):
        return x if self.state.merged else x + x @ self.a @ self.b


class Hidden(Base):
    """Modules that torch does not see, so that they stay in training mode and go on learning statistics."""

    def __init__(self):
        super().__init__()
        self.norms = [nn.BatchNorm1d(4)]

    def change(self, x):
        return self.norms[0](x) + self.norms[0].running_mean


class Replaced(Base):
    """A module that becomes another."""

    def change(self, x):
        block = self.blocks[0]
        block.__class__ = Doubled if type(block) is nn.Linear else nn.Linear
        block.requires_grad_(type(block) is nn.Linear)
        return x


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


KINDS = Base.__subclasses__()
SAID = {Hidden: "could not be shown a single stimulus"} | dict.fromkeys(
    (ShrinkingWeight, WrittenThroughData, WrittenThroughNumpy, Observed, Resized, Repointed, Counting,
     OwnGenerators, Replaced), "makes different states of one stimulus in two passes",
)  # fmt: skip
"""What each look says of a network that every pass changes: the training stays, the scores do not."""


def trained(kind, look, steps=4):
    torch.manual_seed(0)
    network = kind()
    optimizer = torch.optim.Adam(network.parameters(), 0.05)
    stimuli = StimulusSet(torch.rand(9, 3, 2, 2, generator=torch.Generator().manual_seed(1)), "vision")
    losses = []
    for _ in range(steps):
        if look:
            with pytest.warns(UserWarning, match=SAID[kind]) if kind in SAID else nullcontext():
                record_trajectory(network, stimuli, layers="blocks.*", preprocess=image, batch_size=3)
        loss = network(torch.rand(8, 4)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    state = {
        f"optimizer.{i}.{k}": v for i, s in optimizer.state_dict()["state"].items() for k, v in s.items()
    }
    return losses, {**network.state_dict(), **state}


def image(batch):
    return batch["image"][:, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_the_same_with_and_without_looks(kind):
    (losses, state), (again, looked) = trained(kind, False), trained(kind, True)
    assert again == losses
    assert list(looked) == list(state)
    for name, value in state.items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(looked[name])), name


@contextmanager
def flags_alone(*modules):
    """What is restored where nothing is kept by value."""
    flags = [(part, part.training) for module in modules for part in module.modules()]
    yield []
    for part, flag in flags:
        part.training = flag


@pytest.mark.parametrize("kind", KINDS)
def test_without_what_is_kept_each_of_these_would_train_otherwise(kind, monkeypatch):
    plain = trained(kind, False)
    monkeypatch.setattr("nfas_lightning.hooks.undisturbed.kept_state", flags_alone)
    losses, state = trained(kind, True)
    same = losses == plain[0] and list(state) == list(plain[1])
    assert not same or any(
        not torch.equal(torch.as_tensor(value), torch.as_tensor(state[name]))
        for name, value in plain[1].items()
    )


def test_values_come_back_to_the_last_bit_and_what_was_only_read_is_not_written():
    network = nn.Module()
    for name, value in {
        "zero": torch.zeros(3),  # -0.0 and another NaN compare equal, or never
        "nan": torch.tensor([torch.nan]),
        "halves": torch.arange(3).half(),
        "turns": torch.arange(2).to(torch.complex128),
        "expanded": torch.zeros(1).expand(4),
        "sparse": torch.eye(3).to_sparse(),
        "read": torch.ones(2),
    }.items():
        network.register_buffer(name, value)
    network.one = nn.Linear(2, 2)
    network.tied = network.one.weight
    bits = {name: value.to_dense().clone() for name, value in network.named_buffers()}
    version = network.read._version
    with kept_state(network):
        network.zero.neg_()
        network.nan.neg_()
        network.halves.add_(1)
        network.turns.mul_(1j)
        network.expanded.data[:1].add_(1)
        network.sparse.mul_(2)
        network.tied.data.zero_()
        network.read.sum()
    for name, value in network.named_buffers():
        now, before = value.to_dense(), bits[name]
        assert now.numpy().tobytes() == before.numpy().tobytes(), name
    assert network.one.weight.any()
    assert network.tied is network.one.weight
    assert network.read._version == version


def test_one_thing_that_can_not_be_put_back_does_not_keep_the_others():
    class Stubborn(dict):
        def clear(self):
            raise RuntimeError("never")

    network = nn.Linear(1, 1)
    network.first, network.last = Stubborn(), 0

    def change():
        with kept_state(network):
            network.first["a"] = network.last = 1
            network.weight.data.fill_(7)

    with pytest.raises(RuntimeError, match="never"):
        change()
    assert network.last == 0
    assert network.weight != 7


def test_a_look_inside_inference_mode_is_undone_too():
    network = MaxNorm()
    before = network.table.weight.detach().clone()
    with torch.inference_mode(), undisturbed(network) as frozen:
        frozen(torch.rand(5, 4))
    assert torch.equal(network.table.weight, before)
    network(torch.rand(5, 4)).sum().backward()  # and no inference tensor is left


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_device_values_and_generators_come_back():
    network = MaxNorm().cuda()
    network.generator = torch.Generator("cuda").manual_seed(1)
    before, state = network.table.weight.detach().clone(), network.generator.get_state()
    with undisturbed(network) as frozen:
        frozen(torch.rand(5, 4, device="cuda"))
        torch.rand(3, device="cuda", generator=network.generator)
        assert not torch.equal(network.table.weight, before)
    assert torch.equal(network.table.weight, before)
    assert torch.equal(network.generator.get_state(), state)
