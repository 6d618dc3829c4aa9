"""Attention sinks: found once per network, and out of every mean over tokens from then on."""

import warnings

import pytest
import torch
from torch import nn

from nfas_lightning.hooks.recorder import DepthRecorder
from nfas_lightning.hooks.shards import read_shards, write_shard
from nfas_lightning.hooks.trajectory import concatenate, joined_pooling

WIDTH, LENGTHS = 16, [7, 2, 5, 1, 7, 3, 4, 6]
MASK = torch.arange(7) < torch.tensor(LENGTHS)[:, None]


class Causal(nn.Module):
    """Token-wise blocks; the second may get something large in the first token, the last loses it again."""

    def __init__(self, sink=100.0):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.sink = sink
        self.requires_grad_(False)

    def forward(self, x):
        for depth, block in enumerate(self.blocks):
            if depth == 1:
                x = x + self.sink * (torch.arange(x.shape[1]) == 0)[:, None]
            if depth == 3:
                x = x.clone()
                x[:, 0] = 0
            x = block(x)
        return x


def tokens(n=8):
    return torch.randn(n, 7, WIDTH, generator=torch.Generator().manual_seed(1))


def raw_states(net, x):
    seen = []
    hooks = [block.register_forward_hook(lambda m, a, out: seen.append(out)) for block in net.blocks]
    net(x)
    for hook in hooks:
        hook.remove()
    return seen


def by_hand(net, x, mask, reduce=lambda rows: rows.mean(0)):
    """Pool without the first token, but where a stimulus shows no other, in a loop."""
    kept = [row.nonzero()[:, 0] for row in mask]
    kept = [places[1:] if len(places) > 1 and places[0] == 0 else places for places in kept]
    return [
        torch.stack([reduce(row[places]) for row, places in zip(raw, kept, strict=True)])
        for raw in raw_states(net, x)
    ]


def record(net, x, mask=None, **options):
    with DepthRecorder(net, "blocks.*", **options) as rec:
        rec.mask = mask
        net(x)
        rec.collect(torch.arange(len(x)))
    return rec.trajectory()


@pytest.mark.parametrize(
    ("how", "reduce"),
    [("auto", lambda x: x.mean(0)), ("mean", lambda x: x.mean(0)), ("max", lambda x: x.amax(0))],
)
@pytest.mark.parametrize("mask", [None, MASK])
def test_a_sink_stays_out_of_every_block_and_a_line_says_so(how, reduce, mask):
    net, x = Causal(), tokens()
    with pytest.warns(
        UserWarning, match=r"Causal uses the first token as an attention sink \(in block 'blocks.1'"
    ):
        found = record(net, x, mask, pooling=how)
    wanted = by_hand(net, x, torch.ones_like(MASK) if mask is None else mask, reduce)
    for state, right in zip(found.states, wanted, strict=True):
        torch.testing.assert_close(state, right)
    assert {layer.pooling for layer in found.layers} == {f"{how}:rest"}


def test_stimuli_of_a_single_token_keep_it_and_the_line_names_the_way_out():
    with pytest.warns(UserWarning, match=r"single token keep it.*carrier='The word is \{\}'"):
        found = record(Causal(), tokens(), MASK)
    raw = raw_states(Causal(), tokens())
    torch.testing.assert_close(found.states[1][3], raw[1][3, 0])
    with pytest.warns(UserWarning, match="attention sink") as said:
        record(Causal(), tokens())
    assert "single token" not in str(said[0].message)


def test_without_a_sink_every_token_counts():
    net, x = Causal(sink=0.0), tokens()
    found = record(net, x, MASK)
    for state, raw in zip(found.states, raw_states(net, x), strict=True):
        torch.testing.assert_close(state, torch.stack([r[m].mean(0) for r, m in zip(raw, MASK, strict=True)]))
    assert {layer.pooling for layer in found.layers} == {"auto:all"}


def test_the_argument_decides_and_nothing_is_said():
    net, x = Causal(), tokens()
    kept, out = record(net, x, MASK, pooling="mean:all"), record(net, x, MASK, pooling="mean:rest")
    for all_, rest, raw, right in zip(
        kept.states, out.states, raw_states(net, x), by_hand(net, x, MASK), strict=True
    ):
        torch.testing.assert_close(all_, torch.stack([r[m].mean(0) for r, m in zip(raw, MASK, strict=True)]))
        torch.testing.assert_close(rest, right)
    quiet = Causal(sink=0.0)
    for rest, right in zip(
        record(quiet, x, pooling="mean:rest").states, by_hand(quiet, x, MASK | True), strict=True
    ):
        torch.testing.assert_close(rest, right)


@pytest.mark.filterwarnings("ignore:Causal uses the first token")
@pytest.mark.parametrize("order", [range(8), [3, 1, 0, 2, 7, 6, 5, 4]])
def test_a_batch_equals_its_stimuli_one_by_one_in_any_order(order):
    net, x = Causal(), tokens()
    together = record(net, x, MASK)
    padded = record(net, nn.functional.pad(x, (0, 0, 0, 9), value=torch.nan), nn.functional.pad(MASK, (0, 9)))
    with DepthRecorder(net, "blocks.*") as rec:
        for row in order:
            rec.mask = MASK[row : row + 1, : LENGTHS[row]]
            net(x[row : row + 1, : LENGTHS[row]])
            rec.collect([row])
    for one, other, more in zip(together.states, rec.trajectory().states, padded.states, strict=True):
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(one, more)


def test_what_the_first_pass_finds_holds_from_then_on():
    net, x = Causal(), tokens()
    with DepthRecorder(net, "blocks.*") as rec:
        net(x)
        with pytest.warns(UserWarning, match="attention sink"):
            rec.collect(torch.arange(8))
        net.sink = 0.0
        net(x)
        rec.collect(torch.arange(8, 16))
    wanted = by_hand(net, x, torch.ones_like(MASK))
    for state, right in zip(rec.trajectory().states, wanted, strict=True):
        torch.testing.assert_close(state[8:], right)


def test_words_in_context_leave_it_open_until_a_stimulus_shows_the_first_token():
    """A mask over the last word hides the first token anyway, and what follows may decide."""
    net, x = Causal(), tokens()
    last = torch.zeros_like(MASK)
    last[:, 5:] = True
    found = record(net, x, last)
    assert {layer.pooling for layer in found.layers} == {"auto"}
    torch.testing.assert_close(found.states[1], raw_states(net, x)[1][:, 5:].mean(1))
    with DepthRecorder(net, "blocks.*") as rec:
        rec.mask = last
        net(x)
        rec.collect(torch.arange(8))
        rec.mask = MASK
        net(x)
        with pytest.warns(UserWarning, match="attention sink"):
            rec.collect(torch.arange(8, 16))
    for state, one, other in zip(rec.trajectory().states, found.states, by_hand(net, x, MASK), strict=True):
        torch.testing.assert_close(state, torch.cat([one, other]))


def test_the_layout_of_sequences_does_not_matter():
    class Turned(Causal):
        """The same with the tokens on the first axis, (K, B, D)."""

        def forward(self, x):
            x = x.transpose(0, 1)
            for depth, block in enumerate(self.blocks):
                if depth == 1:
                    x = x + self.sink * (torch.arange(len(x)) == 0)[:, None, None]
                if depth == 3:
                    x = x * (torch.arange(len(x)) > 0)[:, None, None]
                x = block(x)
            return x

    with pytest.warns(UserWarning, match="attention sink"):
        found = record(Turned(), tokens(), MASK, layout="sequence_first")
    for state, right in zip(found.states, by_hand(Causal(), tokens(), MASK), strict=True):
        torch.testing.assert_close(state, right)


def test_maps_and_vectors_have_no_first_token():
    net = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Conv1d(4, 4, 3), nn.Conv1d(4, 4, 3)).requires_grad_(False)
    x = torch.randn(4, 2, 9)
    x[..., :3] *= 1000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with DepthRecorder(net) as rec:
            net(x)
            state = rec.states[0]
    torch.testing.assert_close(state, net[0](x).mean(2))
    assert [layer.pooling for layer in rec.layers] == ["auto"] * 3


@pytest.mark.filterwarnings("ignore:Causal uses the first token")
def test_parts_of_a_trajectory_agree_about_the_first_token(tmp_path):
    x, last = tokens(), torch.zeros_like(MASK)
    last[:, 5:] = True

    def renumbered(found, start):
        return type(found)(found.states, found.layers, found.stimulus_ids + start)

    out, open_, kept = record(Causal(), x), record(Causal(), x, last), record(Causal(sink=0.0), x)
    joined = concatenate([renumbered(open_, 8), out])
    assert {layer.pooling for layer in joined.layers} == {"auto:rest"}
    with pytest.raises(ValueError, match=r"different ways at 'blocks.0'.*pooling='mean:rest' leaves it out"):
        concatenate([renumbered(kept, 8), out])
    write_shard(tmp_path / "a.safetensors", out)
    assert read_shards(tmp_path).layers == out.layers
    assert joined_pooling({"a": {"mean", "mean:all"}, "b": {"grid:4"}}) == {"a": "mean:all", "b": "grid:4"}


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_transformers_with_a_planted_sink_and_without(kind):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    common = {"vocab_size": 60, "bos_token_id": 0, "eos_token_id": 1}
    if kind == "gpt2":
        config = transformers.GPT2Config(n_embd=32, n_layer=4, n_head=4, n_positions=32, **common)
    else:
        config = transformers.LlamaConfig(
            hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4, **common
        )
    net = transformers.AutoModel.from_config(config).eval().requires_grad_(False)
    ids = torch.randint(2, 60, (8, 7), generator=torch.Generator().manual_seed(0))
    ids[:, 0] = 0
    layers = "h.*" if kind == "gpt2" else "layers.*"

    def states(**options):
        with DepthRecorder(net, layers, **options) as rec:
            rec.mask = MASK
            net(input_ids=ids, attention_mask=MASK.long())
            rec.collect(torch.arange(8))
        return rec.trajectory()

    assert states().layers[0].pooling == "auto:all"  # random weights make no sink
    planted = net.wpe if kind == "gpt2" else net.embed_tokens
    planted.weight[0] *= 1000
    with pytest.warns(UserWarning, match=f"{type(net).__name__} uses the first token"):
        found = states()
    for one, other in zip(found.states, states(pooling="auto:rest").states, strict=True):
        torch.testing.assert_close(one, other)
