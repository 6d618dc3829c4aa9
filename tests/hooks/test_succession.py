"""Whether blocks follow each other or work side by side."""

import warnings

import pytest
import torch
from torch import nn

from nfas_lightning.hooks.recorder import DepthRecorder
from tests.helpers.encoder import Shared


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(3, 3) for _ in range(3))

    def forward(self, x):
        return [block(x) for block in self.blocks]


def test_blocks_side_by_side_are_pointed_out_once():
    net = Heads().requires_grad_(False)
    side_by_side = r"'blocks\.0' and 'blocks\.1' were given the very same"
    with DepthRecorder(net, "blocks.*") as rec:
        with pytest.warns(UserWarning, match=side_by_side):
            net(torch.randn(2, 3))
        rec.collect([0, 1])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            net(torch.randn(2, 3))
        rec.collect([2, 3])


def test_blocks_in_a_row_are_not_pointed_out(encoder):
    inplace = nn.Sequential(nn.Linear(6, 6), nn.ReLU(inplace=True), nn.Linear(6, 6)).requires_grad_(False)
    shared = Shared().requires_grad_(False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for net, layers, width in ((encoder, "blocks.**", 6), (inplace, "auto", 6), (shared, "*", 3)):
            # a block and its first layer have one input, and so has what comes after a layer in place
            with DepthRecorder(net, layers, repeats="last"):
                net(torch.randn(2, 4, width))
