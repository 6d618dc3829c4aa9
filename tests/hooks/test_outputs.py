"""What blocks return beside their state, and what stays of a recorder: the value, or a refusal by name."""

import copy
import warnings

import pytest
import torch
from torch import nn

from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.hooks.outputs import main_tensor
from tests.helpers.residual import Blocks, X, states


@pytest.mark.parametrize(
    ("emit", "take"),
    [
        (lambda x, new: (new - x, x), sum),  # a state and what is still to be added to it
        (lambda x, new: (new[:, :5], new), lambda out: out[1] + 0),  # the logits of a gate first
        (lambda x, new: (new[:, :5], new), lambda out: out[1]),
        (lambda x, new: ((new > 0).long(), new), lambda out: out[1]),
        (lambda x, new: [new, new[:, :4]], lambda out: out[0]),  # branches
        (lambda x, new: new > 0, lambda out: out.float()),
    ],
)
def test_what_may_not_be_the_state_is_refused_by_the_name_of_the_block(emit, take):
    with pytest.raises(TypeError, match=r"Block 'blocks\.0'"):
        states(Blocks(emit, take), X)


def test_the_next_block_tells_which_tensor_is_the_state():
    """A stage that merges tokens, and returns what it had before, hands its first tensor on."""

    class Merges(nn.Module):
        def __init__(self, merges):
            super().__init__()
            self.linear, self.norm, self.merges = nn.Linear(8, 8), nn.LayerNorm(8), merges

        def forward(self, x):
            x = self.norm(self.linear(x))
            return x.view(len(x), -1, 2, 8).mean(2) if self.merges else x, x

    class Stages(Blocks):
        def __init__(self):
            super().__init__(take=lambda out: out[0])
            self.blocks = nn.ModuleList(Merges(merges) for merges in (True, True, False))

    x = torch.randn(2, 12, 8)
    net = Stages()
    got = states(net, x)
    wanted = net.blocks[0](x)[0]
    torch.testing.assert_close(got[:, 0], wanted.mean(1))
    net.take = lambda out: out[0] * 1
    with pytest.raises(TypeError, match=r"Block 'blocks\.0' returned tensors of shapes .* was given neither"):
        states(net, x)


def test_streams_are_refused_and_layers_of_torch_are_not():
    text, image = torch.randn(2, 5, 8), torch.randn(2, 7, 8)
    with pytest.raises(TypeError, match="streams, branches"):
        main_tensor((text, image), "Block 'joint'", [text, image])
    for shape in ((1, 4, 5, 5), (8, 5, 5), (2, 5, 64)):  # biases over positions, the state of a router
        assert main_tensor((text, torch.randn(shape)), "a", [text, torch.randn(shape)]) is text
    square = torch.randn(2, 8, 8)
    attention, cell = nn.MultiheadAttention(8, 2, batch_first=True), nn.LSTMCell(8, 8)
    for module, args in ((attention, (square, square, square)), (cell, (X,))):
        output = module(*args)
        assert main_tensor(output, "a", list(args), module) is output[0]


def test_a_mask_is_used_up_by_a_pass_that_fails():
    net = Blocks()
    with DepthRecorder(net) as rec, torch.inference_mode():
        rec.mask = torch.ones(4, 3, dtype=torch.bool)
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            net(torch.randn(4, 3, 9))
        with pytest.raises(RuntimeError, match="A mask was set for an earlier forward pass"):
            net(torch.randn(4, 3, 8))
        rec.mask = None
        net(torch.randn(4, 3, 8))
        rec.collect(range(4))


def test_where_forward_is_passed_over_the_mask_is_taken_at_the_first_block():
    net, x = Blocks(), torch.randn(2, 3, 8)
    mask = torch.tensor([[True, False, False]] * 2)
    wanted = net.blocks[0](x)[:, 0]
    with DepthRecorder(net) as rec, torch.inference_mode():
        rec.mask = mask
        net.forward(x)
        torch.testing.assert_close(rec.states[0], wanted)


def test_of_several_passes_none_is_taken_for_the_stimulus():
    """A loop that generates runs the network token by token."""
    net = Blocks()
    with DepthRecorder(net) as rec, torch.inference_mode():
        for _ in range(4):
            net(X)
        with pytest.raises(RuntimeError, match=r"ran 4 times .* token by token"):
            rec.collect(range(5))
        rec.clear()
        for _ in range(2):
            net(X)
            _ = rec.states  # each was looked at
        rec.collect(range(5))
        with pytest.raises(RuntimeError, match="shapes cannot"):
            net(torch.randn(5, 9))
        net(X)  # a pass that failed is none
        rec.collect(range(5))


def test_generation_is_refused():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=50, n_embd=16, n_layer=3, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=1
    )
    net = transformers.GPT2LMHeadModel(config).eval()
    ids = torch.randint(2, 50, (4, 6))
    with DepthRecorder(net.transformer) as rec, torch.inference_mode():
        net.generate(ids, max_new_tokens=3, min_new_tokens=3, do_sample=False, pad_token_id=1)
        with pytest.raises(RuntimeError, match="ran 3 times"):
            rec.collect(range(4))


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (nn.Dropout(0.5), "0.1"),
        (nn.BatchNorm1d(8), "0.1"),
        (nn.Dropout(0.0), None),
        (nn.LayerNorm(8), None),
        (nn.MultiheadAttention(8, 2, dropout=0.1), "0.1"),
    ],
)
def test_training_mode_is_said_once_where_it_matters(layer, named):
    net = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), copy.deepcopy(layer)) for _ in range(3))).train()
    for block in net:
        block.forward = block[0].forward  # the layer's presence is enough
    rec = DepthRecorder(net)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with rec:
            for start in (0, 5):
                net(X)
                rec.collect(range(start, start + 5))
    messages = [str(w.message) for w in caught]
    assert len(messages) == (named is not None)
    assert all("is in training mode" in m and repr(named) in m for m in messages)


def test_an_offloaded_network_gives_the_states_of_the_one_at_hand():
    accelerate = pytest.importorskip("accelerate")
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Linear(8, 8) for _ in range(4)))
    wanted = states(net, X)
    accelerate.cpu_offload(net, execution_device=torch.device("cpu"))
    assert {p.device.type for p in net.parameters()} == {"meta"}
    assert torch.equal(states(net, X), wanted)


class Returns(nn.Module):
    """A block whose output another function changes."""

    def __init__(self, change):
        super().__init__()
        self.linear, self.change = nn.Linear(5, 5), change

    def forward(self, x):
        return self.change(self.linear(x.dequantize() if x.is_quantized else x.to_dense()))


@pytest.mark.parametrize(
    ("change", "dtype"),
    [
        (lambda x: torch.quantize_per_tensor(x, 0.05, 100, torch.quint8), "torch.quint8"),
        (lambda x: torch.quantize_per_tensor(x, 0.05, 0, torch.qint8), "torch.qint8"),
        (lambda x: x.to_sparse(), "torch.float32"),
        (lambda x: x.to_sparse_csr(), "torch.float32"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support", "ignore:torch.quantize_per_tensor")
def test_quantized_and_sparse_states_are_the_numbers_that_they_stand_for(change, dtype):
    torch.manual_seed(0)
    network = nn.Sequential(*(Returns(change) for _ in range(3)))
    x, wanted = torch.randn(4, 5), []
    with torch.no_grad():
        for block in network:
            state = block(wanted[-1] if wanted else x)
            wanted.append(state.dequantize() if state.is_quantized else state.to_dense())
        with DepthRecorder(network, layers="*") as rec:
            network(x)
    for got, expected in zip(rec.states, wanted, strict=True):
        torch.testing.assert_close(got, expected, atol=0, rtol=0)
    assert {layer.dtype for layer in rec.layers} == {dtype}


@pytest.mark.parametrize("kind", [torch.bool, torch.int8])
def test_booleans_and_integers_are_refused_by_the_blocks_name(kind):
    network = nn.Sequential(*(nn.Identity() for _ in range(3)))
    with (
        DepthRecorder(network, layers=["0", "1", "2"]),
        pytest.raises(TypeError, match=f"Block '0' returned {kind}, which is no state.*record a module"),
    ):
        network(torch.zeros(4, 5, dtype=kind))
