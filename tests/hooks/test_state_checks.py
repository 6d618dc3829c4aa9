"""What a recorder refuses of a forward pass, and how it says so."""

import pytest
import torch
from torch import nn

from nfas_lightning.hooks.recorder import DepthRecorder
from tests.helpers.encoder import Block


def test_a_hook_that_never_fires_is_an_error(encoder):
    rec = DepthRecorder(encoder).attach()
    with pytest.raises(RuntimeError, match=r"4 of 4 hooks did not fire: blocks\.0.*torch\.compile"):
        _ = rec.states
    unused = nn.ModuleDict({"net": encoder, "spare": Block(6)})
    with DepthRecorder(unused, ["net.blocks.*", "spare"]) as rec:
        encoder(torch.zeros(1, 2, 6))
        with pytest.raises(RuntimeError, match="1 of 5 hooks did not fire: spare"):
            rec.collect([0])


def test_states_that_are_not_finite_name_the_first_block(encoder):
    encoder.blocks[2].linear.bias.data[0] = float("nan")
    with DepthRecorder(encoder) as rec:
        encoder(torch.zeros(2, 3, 6))
        with pytest.raises(ValueError, match=r"Block 'blocks\.2' has NaN.*rows \[0, 1\]"):
            _ = rec.states
    with DepthRecorder(encoder, check_finite=False) as rec:
        encoder(torch.zeros(2, 3, 6))
        assert bool(rec.states[3].isnan().any())


def test_an_overflow_in_half_precision_names_the_block_and_the_way_out():
    network = nn.Sequential(*(nn.Linear(2, 2) for _ in range(4))).half()
    network[1].bias.data.fill_(60_000)
    network[2].weight.data = 2 * torch.eye(2).half()
    with DepthRecorder(network) as rec, torch.no_grad():
        network(torch.zeros(2, 2, dtype=torch.float16))
        with pytest.raises(
            ValueError, match=r"Block '2' has NaN.*float16, which ends at 65504: take bfloat16"
        ):
            _ = rec.states


def test_blocks_that_disagree_about_the_batch_are_refused():
    class Folds(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))

        def forward(self, x):
            x = self.layers[0](x)
            return self.layers[2](self.layers[1](x.flatten(0, 1)))

    with DepthRecorder(Folds(), "layers.*") as rec, torch.no_grad():
        rec.model(torch.zeros(2, 3, 2))
        with pytest.raises(ValueError, match=r"disagree about the number of stimuli.*'layers\.1': 6"):
            _ = rec.states


def test_collecting_checks_ids_and_widths(encoder):
    with DepthRecorder(encoder, pooling="none") as rec:
        with pytest.raises(RuntimeError, match="Nothing was collected"):
            rec.trajectory()
        encoder(torch.zeros(2, 3, 6))
        with pytest.raises(ValueError, match="got 3 ids and 2 rows"):
            rec.collect([0, 1, 2])
        rec.collect([0, 1])
        encoder(torch.zeros(2, 4, 6))
        with pytest.raises(ValueError, match=r"Widths differ between batches: \[24, 24, 24, 24\]"):
            rec.collect([2, 3])


def test_weights_on_the_meta_device_are_refused_unless_shapes_are_enough():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)).to("meta")
    with pytest.raises(ValueError, match=r"6 parameters on the meta device, the first '0\.weight': load"):
        DepthRecorder(network).attach()
    with DepthRecorder(network, check_finite=False) as recorder, torch.no_grad():
        network(torch.zeros(2, 4, device="meta"))
        assert [layer.width for layer in recorder.layers] == [4, 4, 2]


@pytest.mark.parametrize(
    "ids", [torch.tensor([0.2, 1.7]), ["a", "b"], torch.tensor([True, False]), [0.0, 1.0], [None, 1]]
)
def test_ids_must_be_integers(encoder, ids):
    with DepthRecorder(encoder) as rec:
        encoder(torch.randn(2, 3, 6))
        with pytest.raises(TypeError, match="stimulus_id must hold integers"):
            rec.collect(ids)
        with pytest.raises(ValueError, match="stimulus_id must be 0 or more, got -1"):
            rec.collect([-1, 0])
        rec.collect(torch.tensor([1, 0], dtype=torch.uint8))


def test_states_beyond_the_dtype_they_are_kept_in_are_refused():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)).requires_grad_(False)
    net[1].weight.mul_(1e7)
    x = torch.ones(2, 3)
    with DepthRecorder(net, dtype=torch.float16) as rec:
        net(x)
        with pytest.raises(ValueError, match=r"Block '1' has states up to .* beyond torch\.float16"):
            _ = rec.states
    for options in ({"dtype": torch.bfloat16}, {"dtype": torch.float16, "check_finite": False}):
        with DepthRecorder(net, **options) as rec:
            net(x)
            assert rec.states[1].dtype == options["dtype"]


def test_complex_states_are_kept_or_refused_and_never_halved():
    class Rotates(nn.Module):
        def forward(self, x):
            return x * 1j

    net = nn.Sequential(Rotates(), Rotates(), Rotates())
    x = torch.randn(2, 3, dtype=torch.complex64)
    with DepthRecorder(net) as rec:
        net(x)
        torch.testing.assert_close(rec.states[0], x * 1j)
    with DepthRecorder(net, dtype=torch.float32) as rec:
        net(x)
        with pytest.raises(ValueError, match=r"Block '0' has complex states.*dtype=None"):
            _ = rec.states
