"""The recorder against plain hooks, its life cycle and its refusals."""

import warnings

import pytest
import torch
from torch import nn

from nfas_lightning.hooks.pooling import pool
from nfas_lightning.hooks.recorder import DepthRecorder


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.linear = nn.Linear(width, width)

    def forward(self, x, mask=None):
        hidden = None if mask is None else ~mask
        x = x + self.attention(x, x, x, key_padding_mask=hidden, need_weights=False)[0]
        return x + self.linear(x).tanh()


class Encoder(nn.Module):
    def __init__(self, depth=4, width=6):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))

    def forward(self, x, mask=None):
        for block in self.blocks:
            x = block(x, mask)
        return x


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder().eval().requires_grad_(False)


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


class Shared(nn.Module):
    """One block for every depth, as in ALBERT."""

    def __init__(self):
        super().__init__()
        self.first, self.block, self.last = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        x = self.block(self.first(x))
        return self.last(self.block(x))


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


def test_ids_sort_and_deduplicate(encoder):
    x = torch.randn(6, 3, 6)
    with DepthRecorder(encoder, dtype=torch.float64, device="cpu") as rec:
        for rows in ([4, 1], [3, 0], [5, 2], [4, 0]):  # the last batch is a sampler's padding
            encoder(x[rows])
            rec.collect(torch.tensor(rows) * 10)
        assert rec.n_collected == 8
        recorded = rec.trajectory()
        encoder(x)
        wanted = torch.stack(rec.states, dim=1)
    assert recorded.stimulus_ids.tolist() == [0, 10, 20, 30, 40, 50]
    assert recorded.stack().dtype == torch.float64
    torch.testing.assert_close(recorded.stack(), wanted, rtol=1e-4, atol=1e-5)
    assert recorded.layer_names == tuple(f"blocks.{i}" for i in range(4))


def test_one_id_with_two_states_is_refused(encoder):
    with DepthRecorder(encoder) as rec:
        for _ in range(2):
            encoder(torch.randn(2, 3, 6))
            rec.collect([7, 8])
        with pytest.raises(ValueError, match="stimulus_id 7 came twice with different states"):
            rec.trajectory()


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


def test_weights_on_the_meta_device_are_refused_unless_shapes_are_enough():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)).to("meta")
    with pytest.raises(ValueError, match=r"6 parameters on the meta device, the first '0\.weight': load"):
        DepthRecorder(network).attach()
    with DepthRecorder(network, check_finite=False) as recorder, torch.no_grad():
        network(torch.zeros(2, 4, device="meta"))
        assert [layer.width for layer in recorder.layers] == [4, 4, 2]


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


def test_a_trajectory_shows_itself_in_a_line(encoder):
    with DepthRecorder(encoder) as rec:
        encoder(torch.randn(2, 3, 6))
        rec.collect([0, 1])
    assert repr(rec.trajectory()) == "Trajectory(2 stimuli x 4 depths of width 6, blocks.0 ... blocks.3)"
    ragged = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 2)).requires_grad_(False)
    with DepthRecorder(ragged) as rec:
        ragged(torch.randn(2, 3))
        rec.collect([0, 1])
    assert repr(rec.trajectory()) == "Trajectory(2 stimuli x 3 depths of widths 2 to 5, 0 ... 2)"
