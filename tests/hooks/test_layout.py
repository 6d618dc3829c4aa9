"""Layouts of blocks at work: the axes of units and stimuli, against means of what blocks returned."""

import pytest
import torch
from torch import nn

from nfas_lightning.hooks import DepthRecorder


class SqueezeExcite(nn.Module):
    """(B, C, T) to (B, C, T), with a linear layer inside."""

    def __init__(self, width):
        super().__init__()
        self.conv, self.gate = nn.Conv1d(width, width, 3, padding=1), nn.Linear(width, width)

    def forward(self, x):
        y = self.conv(x).relu()
        return x + y * self.gate(y.mean(-1)).sigmoid()[..., None]


class ConvNeXt1d(nn.Module):
    """(B, C, T) to (B, C, T), whose norm and linear layer work on (B, T, C)."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x):
        return x + self.linear(self.norm(self.conv(x).transpose(1, 2))).transpose(1, 2)


class ConvNeXt2d(ConvNeXt1d):
    def __init__(self, width):
        super().__init__(width)
        self.conv = nn.Conv2d(width, width, 7, padding=3, groups=width)

    def forward(self, x):
        return x + self.linear(self.norm(self.conv(x).movedim(1, -1))).movedim(-1, 1)


class LastConvNeXt2d(ConvNeXt2d):
    """(B, H, W, C) to (B, H, W, C), whose convolution works on (B, C, H, W)."""

    def forward(self, x):
        return x + self.linear(self.norm(self.conv(x.movedim(-1, 1)).movedim(1, -1)))


class TurnedConvolution(nn.Module):
    """(B, T, C) to (B, T, C) with nothing but a convolution inside."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x):
        return x + self.conv(x.transpose(1, 2)).transpose(1, 2)


class Concatenating(nn.Module):
    """(B, C, T) to (B, C + 4, T): no layer inside is as wide as the output."""

    def __init__(self, width):
        super().__init__()
        self.conv, self.gate = nn.Conv1d(width, 4, 3, padding=1), nn.Linear(4, 4)

    def forward(self, x):
        y = self.conv(x)
        return torch.cat([x, y * self.gate(y.mean(-1))[..., None]], dim=1)


class Attends(nn.Module):
    """(B, K, D) or (K, B, D), with attention built with the batch on the second axis."""

    def __init__(self, width, turns):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, 2)
        self.linear, self.turns = nn.Linear(width, width), turns

    def forward(self, x):
        y = self.norm(x)
        y = y.transpose(0, 1) if self.turns else y
        y = self.attention(y, y, y, need_weights=False)[0]
        return self.linear(x + (y.transpose(0, 1) if self.turns else y))


def row(block, depth=3):
    torch.manual_seed(0)
    return nn.Sequential(*(block(i) for i in range(depth))).eval().requires_grad_(False)


def check(net, x, positions, layers="*", **options):
    """The states are the means of what the blocks returned over the given axes."""
    seen = []
    handles = [block.register_forward_hook(lambda m, a, out: seen.append(out)) for block in net]
    with DepthRecorder(net, layers, **options) as rec:
        net(x)
        # further passes may have told where the batch is
        for state, raw in zip(rec.states, seen[: len(net)], strict=True):
            torch.testing.assert_close(state, raw.mean(positions))
        assert [layer.width for layer in rec.layers] == [state.shape[1] for state in rec.states]
    for handle in handles:
        handle.remove()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


@pytest.mark.parametrize(
    ("block", "shape", "positions"),
    [
        (SqueezeExcite, (5, 6, 50), 2),
        (ConvNeXt1d, (5, 6, 50), 2),
        (ConvNeXt2d, (4, 12, 8, 7), (2, 3)),
        (LastConvNeXt2d, (4, 8, 7, 12), (1, 2)),
        (LastConvNeXt2d, (4, 12, 8, 12), (1, 2)),  # as high as wide in units
        (ConvNeXt2d, (4, 12, 8, 12), (2, 3)),
        (TurnedConvolution, (5, 50, 6), 1),
        # equal axes: a layer takes the input as it is
        (SqueezeExcite, (5, 6, 6), 2),
        (ConvNeXt1d, (5, 6, 6), 2),
        (ConvNeXt2d, (2, 8, 8, 8), (2, 3)),
    ],
)
def test_units_are_found_in_blocks_that_mix_convolutions_and_linear_layers(block, shape, positions):
    width = shape[1] if positions in (2, (2, 3)) else shape[-1]
    check(row(lambda _: block(width)), torch.randn(shape), positions)


def test_units_are_found_where_no_layer_is_as_wide_as_the_output():
    # the last block's 14 channels are none of its widths, and 4 steps are one of them
    check(row(lambda i: Concatenating(2 + 4 * i)), torch.randn(3, 2, 4), 2)


@pytest.mark.parametrize("shape", [(8, 16, 6), (16, 8, 6), (1, 5, 6), (1, 1, 6), (7, 7, 6)])
def test_attention_that_is_turned_inside_a_block_leaves_the_batch_first(shape):
    check(row(lambda _: Attends(6, turns=True)), torch.randn(shape), 1)


@pytest.mark.parametrize("shape", [(8, 16, 6), (16, 8, 6), (7, 7, 6)])
def test_attention_that_is_not_turned_has_the_batch_second(shape):
    check(row(lambda _: Attends(6, turns=False)), torch.randn(shape), 0)


@pytest.mark.parametrize(
    ("block", "shape", "layout", "positions"),
    [
        (lambda _: LastConvNeXt2d(6), (2, 6, 6, 6), "channels_last", (1, 2)),
    ],
)
def test_what_can_not_be_told_is_an_error_until_it_is_said(block, shape, layout, positions):
    net = row(block)
    with DepthRecorder(net) as rec, pytest.raises(ValueError, match=f"Block '0'.*layout='{layout}' for"):
        net(torch.randn(shape))
    check(net, torch.randn(shape), positions, layout=layout)
    with DepthRecorder(net) as rec:  # another batch has told already
        net(torch.randn(3, *shape[1:-2], 5, 6))
        rec.collect([0, 1, 2])
        y = net(torch.randn(shape))
        torch.testing.assert_close(rec.states[-1], y.mean(positions))


def test_a_block_of_the_same_class_tells_what_a_block_can_not():
    net = row(lambda _: LastConvNeXt2d(6))
    net.insert(1, nn.ConstantPad3d((0, 0, 0, 0, 0, 1), 0.0))  # (2, 5, 6, 6) is told, (2, 6, 6, 6) is not
    with DepthRecorder(net, ["0", "2", "3"]) as rec:
        y = net(torch.randn(2, 5, 6, 6))
        torch.testing.assert_close(rec.states[-1], y.mean((1, 2)))


def test_one_token_of_one_stimulus_tells_nothing_that_lasts():
    net = row(lambda _: Attends(6, turns=True))
    with DepthRecorder(net) as rec:
        net(torch.randn(1, 1, 6))
        y = net(torch.randn(8, 16, 6))
        torch.testing.assert_close(rec.states[-1], y.mean(1))


@pytest.mark.parametrize(
    ("first", "shape", "positions"),
    [
        (nn.Conv1d(2, 6, 3), (4, 2, 9), 2),
        (nn.Linear(2, 6), (4, 9, 2), 1),
        (nn.Linear(2, 6), (4, 5, 3, 2), (1, 2)),
        (nn.Conv2d(2, 6, 3), (4, 2, 5, 5), (2, 3)),
    ],
)
def test_blocks_without_weights_keep_the_layout_of_what_they_get(first, shape, positions):
    net = nn.Sequential(first, nn.ReLU(), nn.Tanh(), nn.Sigmoid()).requires_grad_(False)
    check(net, torch.randn(shape), positions)


def test_activations_of_a_row_of_convolutions_over_time_have_their_units():
    class Row(nn.Module):
        def __init__(self):
            super().__init__()
            parts = [(nn.Conv1d(2 + i, 3 + i, 3, padding=1), nn.ReLU(inplace=True)) for i in range(3)]
            self.features = nn.Sequential(*(part for pair in parts for part in pair))
            self.head = nn.Linear(5, 2)

        def forward(self, x):
            return self.head(self.features(x).mean(2))

    with DepthRecorder(Row().requires_grad_(False)) as rec:
        rec.model(torch.randn(2, 2, 11))
        assert rec.names == ("features.1", "features.3", "features.5")
        assert [state.shape[1] for state in rec.states] == [3, 4, 5]


def test_a_stem_that_turns_its_maps_has_its_channels_last():
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    net = models.swin_t(weights=None).eval().requires_grad_(False)
    with DepthRecorder(net, "features.*") as rec:
        net(torch.randn(1, 3, 64, 64))
        assert [state.shape[1] for state in rec.states] == [96, 96, 192, 192, 384, 384, 768, 768]


def test_what_was_seen_is_gone_with_the_recorder():
    net = row(lambda _: ConvNeXt1d(6))
    rec = DepthRecorder(net).attach()
    net(torch.randn(5, 6, 9))
    rec.detach()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
