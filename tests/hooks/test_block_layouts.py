"""Where the stimuli are, and whose tokens are pooled: settled with one stimulus more, or asked."""

import pytest
import torch
from torch import nn

from nfas_lightning.hooks import DepthRecorder


class Mixes(nn.Module):
    """A block over tokens whose attention is written out: nothing in it tells where the batch is."""

    def __init__(self, batch_second):
        super().__init__()
        self.norm, self.linear, self.batch_second = nn.LayerNorm(8), nn.Linear(8, 8), batch_second

    def forward(self, x):
        y = self.norm(x)
        y = y.transpose(0, 1) if self.batch_second else y
        y = torch.softmax(y @ y.transpose(1, 2), dim=-1) @ y
        return x + self.linear(y.transpose(0, 1) if self.batch_second else y)


class Net(nn.Module):
    """(B, K, 8) or token ids (B, K) in; blocks on (B, K, 8), or on (K, B, 8)."""

    def __init__(self, batch_second, texts=False, turns=True):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(50, 8) if texts else nn.Identity()
        self.blocks = nn.ModuleList(Mixes(batch_second) for _ in range(3))
        self.turns, self.passes = batch_second and turns, 0

    def forward(self, x, cache=None):
        self.passes += 1
        x = self.embedding(x)
        x = x.transpose(0, 1) if self.turns else x
        for block in self.blocks:
            x = block(x)
        return x.transpose(0, 1) if self.turns else x


def states(net, *args, layers="auto", **options):
    with DepthRecorder(net, layers, **options) as rec, torch.inference_mode():
        net(*args)
        rec.collect(range(len(args[0])))
        shapes = {layer.shape for layer in rec.layers}
    return rec.trajectory().stack(), shapes


@pytest.mark.parametrize("texts", [True, False])
@pytest.mark.parametrize("shape", [(6, 6), (6, 5), (1, 4), (4, 1), (2, 2)])
@pytest.mark.parametrize("batch_second", [True, False])
def test_sequence_first_blocks_are_found_whatever_the_sizes(batch_second, shape, texts):
    net = Net(batch_second, texts).eval()
    x = torch.randint(0, 50, shape) if texts else torch.randn(*shape, 8)
    wanted = net.blocks[0](net.embedding(x).transpose(0, 1)).mean(0) if batch_second else None
    wanted = net.blocks[0](net.embedding(x)).mean(1) if wanted is None else wanted
    got, shapes = states(net, x)
    torch.testing.assert_close(got[:, 0], wanted)
    assert shapes == {(shape[1], 8)}


def test_the_second_pass_is_run_once_and_leaves_no_trace():
    net = Net(batch_second=True)
    net.blocks.insert(1, nn.Dropout(0.5))
    net.register_buffer("steps", torch.zeros(()))
    net.register_forward_pre_hook(lambda module, args: module.steps.add_(1) and None)
    net.steps.zero_()
    x, state = torch.randn(6, 6, 8), torch.get_rng_state()
    plain = net(x)
    after = torch.get_rng_state()
    torch.set_rng_state(state)
    rec = DepthRecorder(net, ["blocks.0", "blocks.2", "blocks.3"])
    with rec:
        with pytest.warns(UserWarning, match="training mode"):
            recorded = net(x)
        torch.testing.assert_close(recorded, plain)
        rec.collect(range(6))
        assert torch.equal(torch.get_rng_state(), after)
        assert net.steps == 2
        passes = net.passes
        net(x + 1)
        assert net.passes == passes + 1  # it is known by now
        rec.collect(range(6, 12))


def test_a_batch_that_can_not_be_told_is_asked_for():
    x = torch.randn(6, 6, 8)
    question = r"Block 'blocks\.0'.*\(6, 6, 8\).*layout='channels_last' for .*layout='sequence_first'"
    net = Net(
        batch_second=True, turns=False
    ).eval()  # the network itself reads (K, B, 8): the first axis mixes
    with pytest.raises(ValueError, match=question):
        states(net, x)
    got, _ = states(net, x, layout="sequence_first")
    torch.testing.assert_close(got[:, 0], net.blocks[0](x).mean(0))
    net = Net(batch_second=True).eval()
    with pytest.raises(ValueError, match=rf"{question}.*an argument of type object"):
        states(net, x, object())  # a cache would be written twice
    with DepthRecorder(net) as rec, torch.inference_mode():
        net.forward(x)  # not seen from outside
        with pytest.raises(ValueError, match=question):
            rec.collect(range(6))


def test_frames_that_are_folded_into_the_batch_stay_rows():
    class Folds(Net):
        def forward(self, x):
            return super().forward(x.flatten(0, 1))

    net = Folds(batch_second=False).eval()
    x = torch.randn(4, 3, 4, 8)  # four clips of three frames of four tokens
    with DepthRecorder(net) as rec, torch.inference_mode():
        net(x)
        rec.collect(range(4), [3] * 4)
    wanted = net.blocks[0](x.flatten(0, 1)).mean(1).view(4, 3, 8).mean(1)
    torch.testing.assert_close(rec.trajectory().states[0], wanted)


class Own(nn.Module):
    """A block with weights and no layer that torch knows."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width) / width)

    def forward(self, x):
        return x + x @ self.weight


@pytest.mark.parametrize("shape", [(3, 4, 5, 8), (3, 4, 8)])
def test_maps_of_blocks_without_layers_have_their_units_where_the_weights_say(shape):
    torch.manual_seed(0)
    net, x = nn.Sequential(*(Own(8) for _ in range(3))), torch.randn(shape)
    got, _ = states(net, x, layers="*")
    torch.testing.assert_close(got[:, 0], net[0](x).flatten(1, -2).mean(1))
    with pytest.raises(ValueError, match=r"layout='channels_first' for .*layout='channels_last' for"):
        states(net, torch.randn(3, 8, 4, 8), layers="*")
    got, _ = states(net, torch.randn(3, 8, 4, 8), layers="*", layout="channels_last")
    assert got.shape == (3, 3, 8)


def test_maps_of_bare_blocks_without_a_layer_before_them_are_asked_for():
    net = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid())
    with pytest.raises(ValueError, match=r"Block '0'.*layout='channels_first' for"):
        states(net, torch.randn(3, 4, 5, 8))


class Text(nn.Module):
    """Token ids in; `inside` changes the length of what the blocks get."""

    def __init__(self, inside):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.inside = nn.Embedding(50, 8), inside
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, ids):
        x = self.inside(self.embedding(ids))
        for block in self.blocks:
            x = block(x)
        return x


def test_padding_that_a_network_adds_is_not_averaged_in():
    """As Longformer and BigBird pad to a multiple of their window."""
    net = Text(lambda x: nn.functional.pad(x, (0, 0, 0, 3))).eval()
    ids = torch.randint(0, 50, (4, 5))
    with pytest.raises(ValueError, match=r"Block 'blocks\.0': it has 8 tokens, the network was given 5"):
        states(net, ids, layers="blocks.*")
    with DepthRecorder(net, "blocks.*") as rec, torch.inference_mode():
        rec.mask = torch.ones(4, 5, dtype=torch.bool)
        with pytest.raises(ValueError, match="The mask has 5 tokens and the block 8"):
            net(ids)
        rec.mask = torch.arange(8).expand(4, 8) < 5
        net(ids)
        state = rec.states[0]
    torch.testing.assert_close(state, net.blocks[0](net.embedding(ids)).mean(1))


def test_a_mask_is_shortened_by_strides_alone():
    """Latents (Perceiver) and functional pooling (Funnel) halve tokens in ways of their own."""
    latents = Text(lambda x: x[:, ::2] * 1).eval()
    ids, mask = torch.randint(0, 50, (4, 8)), torch.arange(8).expand(4, 8) < 5
    with DepthRecorder(latents, "blocks.*") as rec, torch.inference_mode():
        rec.mask = mask
        with pytest.raises(
            ValueError, match=r"mask has 8 tokens and the block 4, and nothing .* has a stride"
        ):
            latents(ids)

    class Strides(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(8, 8, 2, stride=2)

        def forward(self, x):
            return self.conv(x.transpose(1, 2)).transpose(1, 2)

    net = Text(Strides()).eval()
    with DepthRecorder(net, "blocks.*") as rec, torch.inference_mode():
        rec.mask = mask
        raw = net.blocks[0](net.inside(net.embedding(ids)))
        rec.clear()
        rec.mask = mask
        net(ids)
        torch.testing.assert_close(rec.states[0], raw[:, :3].mean(1))
