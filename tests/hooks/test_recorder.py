"""The recorder against plain hooks, its life cycle and its refusals."""

import pytest
import torch
from torch import nn

from nfas_lightning.hooks.pooling import pool
from nfas_lightning.hooks.recorder import DepthRecorder
from tests.helpers.encoder import Shared


def test_states_equal_those_of_plain_hooks(encoder):
    x = torch.randn(5, 7, 6)
    seen = []
    handles = [block.register_forward_hook(lambda m, a, out: seen.append(out)) for block in encoder.blocks]
    encoder(x)
    for handle in handles:
        handle.remove()
    with DepthRecorder(encoder) as rec:
        encoder(x)
    assert len(rec.states) == 4
    for state, raw in zip(rec.states, seen, strict=True):
        torch.testing.assert_close(state, raw.mean(1))
    info = rec.layers[1]
    assert (info.name, info.index, info.kind, info.shape) == ("blocks.1", 1, "Block", (7, 6))
    assert (info.width, info.dtype) == (6, "torch.float32")


def test_recording_changes_no_output(encoder):
    x = torch.randn(2, 3, 6)
    plain = encoder(x)
    with DepthRecorder(encoder):
        assert torch.equal(encoder(x), plain)


@pytest.mark.parametrize("how", ["auto", "last", "max"])
def test_one_batch_of_eight_equals_eight_batches_of_one(encoder, how):
    lengths = torch.tensor([3, 9, 1, 5, 9, 2, 7, 4])
    x = torch.randn(8, 9, 6)
    mask = torch.arange(9) < lengths[:, None]
    with DepthRecorder(encoder, pooling=how) as rec:
        rec.mask = mask
        encoder(x, mask)
        rec.collect(torch.arange(8))
        together = rec.take()
        for i in torch.randperm(8).tolist():
            n = int(lengths[i])
            rec.mask = mask[i : i + 1, :n]
            encoder(x[i : i + 1, :n], mask[i : i + 1, :n])
            rec.collect([i])
        alone = rec.take()
    assert torch.equal(together.stimulus_ids, alone.stimulus_ids)
    torch.testing.assert_close(together.stack(), alone.stack(), rtol=1e-5, atol=1e-6)


def test_the_order_is_the_order_of_execution():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(4))

        def forward(self, x):
            for layer in reversed(self.layers):
                x = layer(x)
            return x

    with DepthRecorder(Backwards(), "layers.*") as rec, torch.no_grad():
        rec.model(torch.zeros(1, 3))
        assert [layer.name for layer in rec.layers] == [f"layers.{i}" for i in (3, 2, 1, 0)]
        assert [layer.index for layer in rec.layers] == [0, 1, 2, 3]


def test_in_place_operations_downstream_leave_states_alone():
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True), nn.Linear(3, 3))
    x = torch.randn(4, 3)
    wanted = net[0](x).detach()
    with DepthRecorder(net) as rec, torch.no_grad():
        net(x)
        torch.testing.assert_close(rec.states[0], wanted)
        assert bool((rec.states[0] < 0).any())


def test_building_attaches_nothing_and_detaching_is_idempotent(encoder):
    def n_hooks():
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in encoder.modules())

    rec = DepthRecorder(encoder)
    assert n_hooks() == 0
    rec.attach()
    attached = n_hooks()
    rec.attach()
    assert n_hooks() == attached
    assert n_hooks() > 4
    assert rec.is_attached
    rec.detach()
    rec.detach()
    assert n_hooks() == 0
    assert not rec.is_attached
    with pytest.raises(ZeroDivisionError), rec:
        1 / (n_hooks() - attached)  # attached, and an exception
    assert n_hooks() == 0


def test_a_failed_pass_leaves_nothing_behind(encoder):
    with DepthRecorder(encoder) as rec:
        encoder.blocks[1].linear.weight.data = torch.zeros(2, 2)
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            encoder(torch.zeros(2, 3, 6))
        encoder.blocks[1].linear.weight.data = torch.zeros(6, 6)
        encoder(torch.zeros(1, 3, 6))
        assert [len(state) for state in rec.states] == [1] * 4


def test_a_block_that_runs_twice_is_refused_or_chosen():
    torch.manual_seed(0)
    net, x, layers = Shared(), torch.randn(2, 3), ["first", "block", "last"]
    with torch.no_grad():
        once = net.block(net.first(x))
        twice = net.block(once)
        with DepthRecorder(net, layers) as rec, pytest.raises(RuntimeError, match="'block' ran twice"):
            net(x)
        for repeats, state in (("first", once), ("last", twice)):
            with DepthRecorder(net, layers, repeats=repeats) as rec:
                net(x)
                torch.testing.assert_close(rec.states[1], state)
                assert [layer.name for layer in rec.layers] == layers
        with DepthRecorder(net, layers, repeats="all") as rec:
            net(x)
            assert [layer.name for layer in rec.layers] == ["first[0]", "block[0]", "block[1]", "last[0]"]
            torch.testing.assert_close(rec.states[2], twice)


def test_one_shared_module_is_enough_where_each_run_counts():
    net = Shared()
    with DepthRecorder(net, ["block"], repeats="all") as rec, torch.no_grad():
        net(torch.zeros(1, 3))
        with pytest.raises(RuntimeError, match="at least 3 depths"):
            rec.collect([0])


def test_a_stale_mask_is_refused(encoder):
    x, mask = torch.randn(2, 3, 6), torch.ones(2, 3, dtype=torch.bool)
    with DepthRecorder(encoder) as rec:
        rec.mask = mask
        encoder(x)
        with pytest.raises(RuntimeError, match="A mask was set for an earlier forward pass"):
            encoder(x)
        rec.mask = None
        encoder(x)
        rec.mask = mask[:1]
        with pytest.raises(ValueError, match=r"Block 'blocks\.0': mask must have shape \(B=2, K\)"):
            encoder(x)


def test_a_mask_source_is_asked_at_every_pass(encoder):
    x = torch.randn(2, 3, 6)
    first = encoder.blocks[0](x)
    masks = [torch.tensor([[True, False, False]] * 2), None]
    waiting = iter(masks)
    with DepthRecorder(encoder, mask_source=lambda: next(waiting)) as rec:
        for mask in masks:
            encoder(x)
            torch.testing.assert_close(rec.states[0], pool(first, "mean", mask))


def test_frames_are_averaged_over_their_clip_whatever_the_batch(encoder):
    counts = torch.tensor([2, 1, 4])
    frames = torch.randn(7, 3, 6)
    clips = frames.split(counts.tolist())
    with DepthRecorder(encoder) as rec:
        encoder(frames)
        by_frame = [state.clone() for state in rec.states]
        rec.collect([0, 1, 2], counts)
        together = rec.take()
        for i in (2, 0, 1):
            encoder(clips[i])
            rec.collect([i], [len(clips[i])])
        alone = rec.take()
    for depth, state in enumerate(by_frame):
        wanted = torch.stack([state[:2].mean(0), state[2], state[3:].mean(0)])
        torch.testing.assert_close(together.states[depth], wanted)
        torch.testing.assert_close(alone.states[depth], wanted)
    assert together.states[0].shape == (3, 6)


def test_a_network_that_reads_whole_clips_has_its_rows_already(encoder):
    with DepthRecorder(encoder) as rec:
        encoder(torch.randn(2, 3, 6))
        states = [state.clone() for state in rec.states]
        rec.collect([0, 1], [5, 5])
        for state, wanted in zip(rec.take().states, states, strict=True):
            torch.testing.assert_close(state, wanted)
        encoder(torch.randn(3, 3, 6))
        with pytest.raises(
            ValueError, match=r"one row per stimulus \(2\) or per frame \(10 in 2 clips\), got 3"
        ):
            rec.collect([2, 3], [5, 5])


def test_states_recorded_under_inference_mode_can_be_trained_on(encoder):
    with DepthRecorder(encoder) as rec, torch.inference_mode():
        encoder(torch.randn(2, 3, 6))
        rec.collect([0, 1])
        trajectory = rec.trajectory()
    weight = torch.ones(6, requires_grad=True)
    (trajectory.states[0] * weight).sum().backward()
    assert weight.grad is not None


def test_sequence_first_recurrence_gives_one_row_a_stimulus():
    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.LSTM(4, 4) for _ in range(3))

        def forward(self, x):
            for layer in self.layers:
                x, _ = layer(x)
            return x

    net = Stack()
    x = torch.randn(7, 2, 4)
    with DepthRecorder(net) as rec, torch.no_grad():
        output = net(x)
        torch.testing.assert_close(rec.states[-1], output.mean(0))
        assert rec.layers[0].shape == (7, 4)


@pytest.mark.parametrize(
    ("name", "axes", "options"),
    [("swin_tiny_patch4_window7_224", (1, 2), {"img_size": 56}), ("resnet18", (2, 3), {})],
)
def test_swin_keeps_channels_last_and_resnet_first(name, axes, options):
    timm = pytest.importorskip("timm")
    model = timm.create_model(name, **options).eval()
    seen = []
    with DepthRecorder(model) as rec, torch.no_grad():
        for block in rec.names:
            model.get_submodule(block).register_forward_hook(lambda m, a, out: seen.append(out))
        model(torch.randn(2, 3, 56, 56))
        for state, raw in zip(rec.states, seen, strict=True):
            torch.testing.assert_close(state, raw.mean(axes))


def test_wrong_options_are_refused(encoder):
    with pytest.raises(ValueError, match="repeats must be one of"):
        DepthRecorder(encoder, repeats="some")
    with pytest.raises(ValueError, match="layout must be one of"):
        DepthRecorder(encoder, layout="NHWC")


def test_take_forgets_what_it_returned(encoder):
    x = torch.randn(4, 7, 6)
    with DepthRecorder(encoder) as rec:
        for start in (0, 2):
            encoder(x[start : start + 2])
            rec.collect(torch.arange(start, start + 2))
            assert rec.n_collected == 2
            taken = rec.take()
            assert taken.stimulus_ids.tolist() == [start, start + 1]
            assert rec.n_collected == 0
        with pytest.raises(RuntimeError, match="Nothing was collected"):
            rec.take()


def test_a_pass_is_collected_once(encoder):
    with DepthRecorder(encoder) as rec:
        encoder(torch.randn(2, 7, 6))
        rec.collect(torch.tensor([0, 1]))
        with pytest.raises(RuntimeError, match="hooks did not fire"):
            rec.collect(torch.tensor([2, 3]))  # the same states under other names
        assert rec.n_collected == 2


def test_runs_of_a_module_are_counted_apart_from_those_of_a_longer_name():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.block, self.block2 = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.block(self.block2(self.block2(self.block(x))))

    net = Twice().requires_grad_(False)
    with DepthRecorder(net, ["block", "block2"], repeats="all") as rec:
        net(torch.randn(2, 3))
        assert [layer.name for layer in rec.layers] == ["block[0]", "block2[0]", "block2[1]", "block[1]"]


def test_the_nested_tensors_of_a_padded_transformer_give_the_states_of_one_without():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    mask, x = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]).bool(), torch.randn(2, 5, 8)
    states = {}
    for nested in (True, False):
        torch.manual_seed(0)
        net = nn.TransformerEncoder(layer, 3, enable_nested_tensor=nested).eval().requires_grad_(False)
        kinds = []
        net.layers[0].register_forward_hook(lambda m, a, out, kinds=kinds: kinds.append(out.is_nested))
        with DepthRecorder(net) as rec:
            rec.mask = mask
            net(x, src_key_padding_mask=~mask)
            states[nested] = rec.states
        assert kinds == [nested]
    for one, other in zip(states[True], states[False], strict=True):
        torch.testing.assert_close(one, other)
