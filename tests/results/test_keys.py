"""Keys of results: what changes a number changes the key, and nothing else does."""

import copy
import dataclasses
import functools
import json
import os
import re
import subprocess
import sys
import types
import warnings

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import transformers
from torch import nn
from torch.nn.utils import prune
from torchvision import transforms

from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.models import load_model
from nfas_lightning.results import capture_key, content_key, scoring_key
from tests.helpers.networks import Net, Own, seeded, written

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


plus_one = lambda x: x + 1  # noqa: E731
plus_two = lambda x: x + 2  # noqa: E731
mean_of = lambda x: x.mean()  # noqa: E731
sum_of = lambda x: x.sum()  # noqa: E731


def by_one(x, by=1):
    return x * by


by_two = types.FunctionType(by_one.__code__, globals(), "by_one", (2,))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (scaled(1.0), scaled(3.0)),
        (plus_one, plus_two),
        (mean_of, sum_of),
        (by_one, by_two),
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

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return nn.Sequential(Block(2, 2), Block(2, 2))

    relu, again, tanh = network(torch.relu), network(torch.relu), network(torch.tanh)
    assert content_key(relu) == content_key(again)
    assert content_key(relu) != content_key(tanh)


def sequence(act=nn.ReLU):
    return nn.Sequential(nn.Linear(4, 4), act(), nn.Linear(4, 4))


def encoder(heads):
    return nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, heads, 16, batch_first=True), 2, enable_nested_tensor=False
    )


def hooked(kind="register_forward_hook", by=None):
    network = sequence()
    if by is not None:
        getattr(network[0], kind)(
            lambda module, *values: values[-1] * by if torch.is_tensor(values[-1]) else None
        )
    return network


def patched(by):
    network = sequence()
    network.forward = lambda x: x * by
    return network


def quantized(seed):
    network = sequence()
    nn.init.constant_(network[0].weight, 0.1 * (seed + 1))
    return torch.ao.quantization.quantize_dynamic(network, {nn.Linear})


NETWORKS = {
    "activation": (lambda: sequence(nn.ReLU), lambda: sequence(nn.GELU)),
    "stride": (lambda: nn.Conv2d(3, 4, 3, stride=1), lambda: nn.Conv2d(3, 4, 3, stride=2)),
    "heads": (lambda: encoder(1), lambda: encoder(4)),
    "attribute": (lambda: Own(1.0), lambda: Own(5.0)),
    "function": (lambda: Own(), lambda: Own(act=torch.sin)),
    "own function": (lambda: Own(act=scaled(1.0)), lambda: Own(act=scaled(2.0))),
    "buffer that is not saved": (lambda: Own(), lambda: Own(shift=1.0)),
    "hook": (lambda: hooked(), lambda: hooked(by=2)),
    "what a hook does": (lambda: hooked(by=3), lambda: hooked(by=2)),
    "pre-hook": (lambda: hooked(), lambda: hooked("register_forward_pre_hook", by=2)),
    "forward of the instance": (lambda: patched(2), lambda: patched(3)),
    "traced code": (
        lambda: torch.fx.symbolic_trace(Own(2.0)),
        lambda: torch.fx.symbolic_trace(Own(3.0)),
    ),
    "quantized": (lambda: quantized(0), lambda: quantized(1)),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("one", "other"), NETWORKS.values(), ids=NETWORKS)
def test_networks_that_compute_other_things_have_other_keys(one, other):
    assert content_key(seeded(one)) == content_key(seeded(one))
    assert content_key(seeded(one)) != content_key(seeded(other))


def image(value):
    mean = np.zeros((3, 32, 32))
    mean[:, 16, 16] = value  # in the middle, which a repr cuts out
    return mean


@dataclasses.dataclass
class Standardize:
    mean: object

    def __call__(self, x):
        return x - self.mean


class Holding:
    def __init__(self, held):
        self.held = held

    def __repr__(self):
        return "Holding()"


class Looking:
    def __init__(self, cache):
        self.cache = cache  # features that were computed before: what one's own code calls a cache may count


class Slotted:
    __slots__ = ("by",)

    def __init__(self, by):
        self.by = by


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Holding(seeded(lambda: nn.Linear(4, 4))), Holding(nn.Linear(4, 4))),
        (Holding(image(0)), Holding(image(1))),
        (Standardize(torch.from_numpy(image(0))), Standardize(torch.from_numpy(image(1)))),
        (
            Holding(transforms.Compose([transforms.Lambda(plus_one)])),
            Holding(transforms.Compose([transforms.Lambda(plus_two)])),
        ),
        (Slotted(1), Slotted(2)),
        (Looking(image(0)), Looking(image(1))),
        (Holding({"a": abs, "b": len}), Holding({"b": len, "a": abs})),
        (Holding({(1, 2): 3}), Holding({(1, 3): 3})),
        (Holding(pd.DataFrame({"a": range(100)})), Holding(pd.DataFrame({"a": [*range(99), 0]}))),
        (Holding(re.compile("a" * 300)), Holding(re.compile("a" * 301))),
        (
            written("class P:\n def __call__(s, x): return x\nmade = P()"),
            written("class P:\n def __call__(s, x): return 1 - x\nmade = P()"),
        ),
        (
            written("class P:\n by = 1\n def __call__(s, x): return x * s.by\nmade = P()"),
            written("class P:\n by = 2\n def __call__(s, x): return x * s.by\nmade = P()"),
        ),
        (
            written("def h(x): return x\ndef made(x): return [h(y) for y in x]"),
            written("def h(x): return 1 - x\ndef made(x): return [h(y) for y in x]"),
        ),
        (
            written("import numpy\nmean = numpy.zeros(3)\ndef made(x): return x - mean"),
            written("import numpy\nmean = numpy.ones(3)\ndef made(x): return x - mean"),
        ),
        (torch.no_grad()(plus_one), torch.no_grad()(plus_two)),
        (functools.lru_cache(scaled(1)), functools.lru_cache(scaled(2))),
        (Holding(0.0), Holding(0)),
    ],
)
def test_preprocessing_that_does_other_things_has_another_key(one, other):
    assert content_key(one) == content_key(copy.deepcopy(one))
    assert content_key(one) != content_key(other)


def test_values_that_hold_themselves_are_read():
    def circle(n):
        made = Holding([n])
        made.held.append(made)
        return made

    assert content_key(circle(1)) == content_key(circle(1)) != content_key(circle(2))
    chain = None
    for _ in range(5000):
        chain = [chain]
    with pytest.raises(ValueError, match="nested too deeply"):
        content_key(chain)


def test_what_changes_no_number_changes_no_key():
    network = seeded(sequence)
    before = content_key(network)
    network.train()
    network.requires_grad_(False)
    assert content_key(network) == before
    with DepthRecorder(network):
        assert content_key(network) == before
    compiled = torch.compile(network, backend="eager")
    assert content_key(compiled) == before
    assert content_key(nn.Sequential(*(torch.compile(part, backend="eager") for part in network))) == before
    network._rotary_cache = torch.ones(3)
    network.register_buffer("cos_cached", torch.ones(3), persistent=False)
    assert content_key(network) == before  # a library's own
    assert content_key(Holding(torch.device("cpu"))) == content_key(Holding(torch.device("meta")))


class Various:
    """A bit of everything whose order or address another process does not share."""

    words = frozenset({"the", "a", "of", "and"})

    def __init__(self):
        self.steps = transforms.Compose(
            [transforms.Resize(8), transforms.Lambda(lambda x: x in {"a", "b", "c"})]
        )
        self.random = np.random.default_rng(0)
        self.sets = {(1, 2): {"x", "y", "z"}}
        self.itself, self.nothing = self, object()


def bert():
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    return transformers.BertModel(transformers.BertConfig(vocab_size=20, **sizes)).eval()


MODELS = {
    "timm": (lambda: timm.create_model("resnet18"), lambda net: net(torch.rand(1, 3, 32, 32))),
    "transformers": (bert, lambda net: net(torch.arange(5)[None])),
    "packaged": (lambda: load_model("silero_vad", weights="random").module, None),
    "weight_norm": (
        lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 4))),
        lambda net: net(torch.rand(2, 4)),
    ),
    "pruned": (
        lambda: prune.l1_unstructured(nn.Linear(4, 4), "weight", 0.5),
        lambda net: net(torch.rand(2, 4)),
    ),
    "lstm": (lambda: nn.LSTM(4, 4), lambda net: net(torch.rand(3, 2, 4))),
    "various": (Various, None),
}


def keys():
    warnings.simplefilter("ignore")
    return {name: content_key(seeded(build)) for name, (build, _) in MODELS.items()}


def test_another_process_finds_the_same_keys():
    code = "from tests.results.test_keys import keys; import json; print(json.dumps(keys()))"
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True
    )
    with warnings.catch_warnings():  # which `keys` turns off
        assert json.loads(told.stdout.splitlines()[-1]) == keys()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name, (_, run) in MODELS.items() if run])
def test_a_pass_makes_no_other_network(name):
    build, run = MODELS[name]
    network = seeded(build).eval()
    before = content_key(network)
    with torch.inference_mode():
        run(network)
    assert content_key(network) == before


def test_the_capture_key_knows_nothing_of_the_responses():
    given = {"preprocess": None, "stimuli": "a", "recorder": {"layers": "auto"}, "precision": "32-true"}
    key = capture_key(seeded(Net), **given)
    assert key == capture_key(seeded(Net), **given)
    for changed in (
        {"stimuli": "b"},
        {"recorder": {"layers": ["x"]}},
        {"precision": "bf16"},
        {"preprocess": 1},
    ):
        assert capture_key(seeded(Net), **{**given, **changed}) != key
    scored = {"responses": "r", "settings": {"seed": 0}, "card": {"name": "net"}}
    first = scoring_key(key, **scored)
    for changed in ({"responses": "s"}, {"settings": {"seed": 1}}, {"card": {"name": "other"}}):
        assert scoring_key(key, **{**scored, **changed}) != first
    assert scoring_key("other", **scored) != first


def test_content_key_sees_every_part():
    assert content_key("a", {"x": 1, "y": 2}) == content_key("a", {"y": 2, "x": 1})
    assert content_key("a", {"x": 1}) != content_key("a", {"x": 2})
    assert content_key("ab") != content_key("a", "b")


def test_content_key_ignores_where_objects_lie():
    class Preprocess:
        def __init__(self, size):
            self.size = size
            self.inner = None

    assert content_key(Preprocess(3)) == content_key(Preprocess(3))
    assert content_key(Preprocess(3)) != content_key(Preprocess(4))
    assert content_key(test_content_key_sees_every_part) != content_key(seeded)
