"""Pooling against loops, and blindness to padding."""

from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from nfas_lightning.hooks.layout import infer_layout
from nfas_lightning.hooks.outputs import main_tensor
from nfas_lightning.hooks.pooling import pad_nested, pool

MASK = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 0, 1, 0]], dtype=torch.bool)


@pytest.fixture
def tokens():
    return torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("how", "reduce"),
    [("mean", lambda x: x.mean(0)), ("auto", lambda x: x.mean(0)), ("max", lambda x: x.amax(0)),
     ("last", lambda x: x[-1])],
)  # fmt: skip
def test_masked_pooling_equals_a_loop_over_the_shown_tokens(tokens, how, reduce):
    wanted = torch.stack([reduce(row[mask]) for row, mask in zip(tokens, MASK, strict=True)])
    torch.testing.assert_close(pool(tokens, how, MASK), wanted)


@pytest.mark.parametrize("how", ["auto", "mean", "max", "last"])
def test_hidden_tokens_never_matter_even_when_not_finite(tokens, how):
    wild = tokens.masked_fill(~MASK.unsqueeze(-1), float("nan"))
    torch.testing.assert_close(pool(wild, how, MASK), pool(tokens, how, MASK))


def test_cls_is_the_first_token_though_the_mask_hides_it(tokens):
    torch.testing.assert_close(pool(tokens, "cls", MASK), tokens[:, 0])
    torch.testing.assert_close(pool(tokens, "cls"), tokens[:, 0])
    torch.testing.assert_close(pool(tokens, "last"), tokens[:, -1])


@pytest.mark.parametrize("how", ["mean", "max"])
def test_maps_are_pooled_over_space_in_either_layout(how):
    maps = torch.randn(2, 3, 4, 5)
    wanted = getattr(maps.flatten(2), {"mean": "mean", "max": "amax"}[how])(2)
    torch.testing.assert_close(pool(maps, how), wanted)
    torch.testing.assert_close(pool(maps.movedim(1, -1), how, layout="channels_last"), wanted)
    torch.testing.assert_close(pool(maps[:, :, 0], how, layout="channels_first"), pool(maps[:, :, :1], how))


def test_sequence_first_is_transposed(tokens):
    turned = tokens.transpose(0, 1)
    torch.testing.assert_close(
        pool(turned, "mean", MASK, layout="sequence_first"), pool(tokens, "mean", MASK)
    )
    torch.testing.assert_close(pool(turned, "none", layout="sequence_first"), tokens.flatten(1))


def test_a_mask_over_time_reaches_every_band_of_a_spectrogram():
    maps = torch.randn(2, 3, 4, 5)
    for how in ("mean", "max"):
        wanted = torch.stack([pool(maps[i : i + 1][..., MASK[i]], how)[0] for i in range(2)])
        torch.testing.assert_close(pool(maps, how, MASK), wanted)


@pytest.mark.parametrize("how", ["mean", "max", "last", "cls"])
@pytest.mark.parametrize("mask", [None, MASK])
def test_channels_first_series_are_the_tokens_turned(tokens, how, mask):
    turned = pool(tokens.transpose(1, 2), how, mask, layout="channels_first")
    torch.testing.assert_close(turned, pool(tokens, how, mask))


@pytest.mark.parametrize("how", ["cls", "last"])
@pytest.mark.parametrize("mask", [None, MASK])
def test_a_band_of_a_spectrogram_is_no_token(how, mask):
    with pytest.raises(ValueError, match=f"pooling='{how}' needs tokens"):
        pool(torch.randn(2, 3, 4, 5), how, mask)


def test_flatten_keeps_everything_and_refuses_a_mask(tokens):
    torch.testing.assert_close(pool(tokens, "none", torch.ones(2, 5, dtype=torch.bool)), tokens.flatten(1))
    with pytest.raises(ValueError, match="pooling='none' would keep padding"):
        pool(tokens, "none", MASK)


def test_vectors_stay_and_nothing_is_a_view():
    vectors = torch.randn(2, 3)
    for how in ("auto", "mean", "cls", "last", "max", "none"):
        state = pool(vectors, how)
        torch.testing.assert_close(state, vectors)
        assert state.data_ptr() != vectors.data_ptr()
    one = torch.randn(1, 1, 3)
    for how in ("cls", "last", "none"):
        assert pool(one, how).data_ptr() != one.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype):
    tokens = torch.full((1, 5000, 1), 100.0, dtype=dtype)
    mask = torch.ones(1, 5000, dtype=torch.bool)
    for given in (None, mask):
        state = pool(tokens, "mean", given)
        assert state.dtype == torch.float32
        torch.testing.assert_close(state, torch.tensor([[100.0]]))
    assert pool(torch.ones(1, 2, 3, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("n_tokens", [5, 3, 2])
def test_strided_convolutions_shorten_the_mask(n_tokens):
    mask = torch.tensor([[True] * 3 + [False] * 2])
    tokens = torch.arange(float(n_tokens)).view(1, n_tokens, 1)
    # strides 1, 2, 4: tokens that saw any of the first three inputs
    shown = {5: 3, 3: 2, 2: 1}[n_tokens]
    torch.testing.assert_close(pool(tokens, "mean", mask), tokens[:, :shown].mean(1))


@pytest.mark.parametrize("stride", [2, 4, 8])
@pytest.mark.parametrize("length", [16, 19])
def test_a_strided_token_counts_if_any_of_its_inputs_does(stride, length):
    mask = torch.rand(3, length, generator=torch.Generator().manual_seed(stride)) < 0.2
    mask[:, -1] = True
    blocks = [range(start, min(start + stride, length)) for start in range(0, length, stride)]
    tokens = torch.randn(3, len(blocks), 2, generator=torch.Generator().manual_seed(0))
    for row in range(3):
        seen = [k for k, inputs in enumerate(blocks) if any(mask[row, i] for i in inputs)]
        torch.testing.assert_close(pool(tokens, "mean", mask)[row], tokens[row, seen].mean(0))
        torch.testing.assert_close(pool(tokens, "last", mask)[row], tokens[row, seen[-1]])


def test_other_lengths_are_refused():
    with pytest.raises(ValueError, match=r"mask has 5 tokens and the block 6.*prepended CLS"):
        pool(torch.zeros(2, 6, 3), "mean", MASK)
    with pytest.raises(ValueError, match="mask has 16000 tokens and the block 49"):
        pool(torch.zeros(1, 49, 3), "mean", torch.ones(1, 16000, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"shape \(B=3, K\).*got \(2, 5\)"):
        pool(torch.zeros(3, 5, 3), "mean", MASK)


def test_a_mask_that_hides_a_stimulus_is_refused(tokens):
    mask = MASK.clone()
    mask[1] = False
    with pytest.raises(ValueError, match=r"hides every token of the stimuli in rows \[1\]"):
        pool(tokens, "mean", mask)


def test_additive_masks_are_refused_and_zeros_and_ones_are_not(tokens):
    wanted = pool(tokens, "mean", MASK)
    for mask in (MASK.float(), MASK.half(), MASK.long()):
        torch.testing.assert_close(pool(tokens, "mean", mask), wanted)
    for hidden in (-1e9, -torch.inf, torch.finfo(torch.float32).min):
        additive = torch.zeros(2, 5).masked_fill(~MASK, hidden)
        with pytest.raises(ValueError, match=r"must hold booleans, True where the token counts.*mask == 0"):
            pool(tokens, "mean", additive)
        torch.testing.assert_close(pool(tokens, "mean", additive == 0), wanted)
    with pytest.raises(ValueError, match=r"hides every token.*give mask == 0"):  # additive, nothing hidden
        pool(tokens, "mean", torch.zeros(2, 5))


def test_wrong_options_and_shapes_are_refused(tokens):
    with pytest.raises(ValueError, match=r"pooling must be one of 'auto'.*got 'average'"):
        pool(tokens, "average")
    with pytest.raises(ValueError, match="needs tokens"):
        pool(torch.zeros(2, 3, 4, 4), "cls")
    with pytest.raises(ValueError, match="needs tokens"):
        pool(torch.zeros(2, 3, 4, 4), "last")
    with pytest.raises(ValueError, match="batch axis and a unit axis"):
        pool(torch.zeros(2))


def test_the_tensor_inside_tuples_mappings_and_model_outputs():
    state, other = torch.randn(2, 3), torch.zeros(1)
    assert main_tensor(state) is state
    assert main_tensor((None, state, other)) is state
    assert main_tensor({"logits": other, "last_hidden_state": state}) is state
    assert main_tensor({"a": None, "b": state}) is state
    outputs = pytest.importorskip("transformers.modeling_outputs")
    assert main_tensor(outputs.BaseModelOutput(last_hidden_state=state)) is state
    with pytest.raises(TypeError, match="without a tensor"):
        main_tensor([None, "x"], "block")
    with pytest.raises(TypeError, match=r"mapping of several tensors, \{'attn': \(1,\), 'h': \(2, 3\)\}"):
        main_tensor({"attn": other, "h": state}, "block")


class Named(NamedTuple):
    attention: torch.Tensor
    hidden: torch.Tensor | None


def test_named_tuples_are_mappings_and_nested_tuples_begin_with_the_state():
    state, weights = torch.randn(2, 5, 8), torch.randn(2, 5, 5)
    with pytest.raises(TypeError, match=r"named tuple of several tensors.*'attention': \(2, 5, 5\)"):
        main_tensor(Named(weights, state), "block")
    assert main_tensor(Named(state, None)) is state
    assert main_tensor(((state, state * 0), weights)) is state
    assert main_tensor([None, (None, state), weights]) is state


def test_attention_weights_before_a_state_are_refused():
    given, state = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    for weights in (torch.randn(2, 5, 5), torch.randn(2, 4, 5, 5)):
        with pytest.raises(TypeError, match=r"looks like attention weights.*return the state first"):
            main_tensor((weights, state), "block", [given])
        assert main_tensor((state, weights), "block", [given]) is state
    # a stage that halves its tokens and hands on what it had before
    halved = torch.randn(2, 2, 16)
    assert main_tensor((halved, state), "stage", [given]) is halved


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensors_are_padded_and_masked(tokens, layout):
    lengths = [3, 4]
    rows = [row[:n] for row, n in zip(tokens, lengths, strict=True)]
    nested = torch.nested.nested_tensor(rows, layout=layout)
    wanted = torch.stack([row.mean(0) for row in rows])
    padded, mask = pad_nested(nested, None)
    assert mask.sum(1).tolist() == lengths
    torch.testing.assert_close(pool(padded, "mean", mask), wanted)
    own = torch.arange(5) < torch.tensor(lengths)[:, None]
    own[1, 0] = False
    padded, mask = pad_nested(nested, own)
    wanted[1] = rows[1][1:].mean(0)
    torch.testing.assert_close(pool(padded, "mean", mask), wanted)
    with pytest.raises(ValueError, match=r"at most 2 tokens.*enable_nested_tensor=False"):
        pad_nested(nested, own[:, :2])


def test_packed_sequences_are_refused():
    packed = pack_padded_sequence(torch.randn(2, 3, 4), torch.tensor([3, 2]), batch_first=True)
    output = nn.LSTM(4, 4, batch_first=True)(packed)
    for value in (packed, output):
        with pytest.raises(TypeError, match="PackedSequence, whose rows are no stimuli"):
            main_tensor(value, "'lstm'")


@pytest.mark.parametrize(
    ("module", "shape", "layout"),
    [
        (nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU()), (4, 6, 9), "channels_first"),
        (nn.Linear(3, 6), (4, 9, 6), "channels_last"),
        (nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), (4, 9, 6), "channels_last"),
        (nn.TransformerEncoderLayer(6, 2, 8), (9, 4, 6), "sequence_first"),
        (nn.GRU(6, 6), (9, 4, 6), "sequence_first"),
        (nn.GRU(6, 6, batch_first=True), (4, 9, 6), "channels_last"),
        (nn.Conv2d(3, 6, 3), (4, 6, 5, 6), "channels_first"),
        (nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6)), (4, 5, 5, 6), "channels_last"),
        # ConvNeXt: linear layers inside, but its maps have channels first
        (nn.Sequential(nn.Conv2d(6, 6, 3), nn.LayerNorm(6), nn.Linear(6, 6)), (4, 6, 5, 7), "channels_first"),
    ],
)  # fmt: skip
def test_layout_is_read_off_the_block(module, shape, layout):
    assert infer_layout(module, torch.zeros(shape)) == layout


def test_a_layout_that_a_block_and_a_shape_leave_open_is_an_error():
    block = nn.Sequential(nn.Conv2d(6, 6, 3), nn.LayerNorm(6), nn.Linear(6, 6))
    with pytest.raises(ValueError, match=r"shape \(4, 6, 5, 6\).*layout='channels_first'.*'channels_last'"):
        infer_layout(block, torch.zeros(4, 6, 5, 6))
    assert infer_layout(block, torch.zeros(4, 6, 5, 6), sibling="channels_last") == "channels_last"
    with pytest.raises(ValueError, match=r"shape \(4, 6, 5, 5\)"):  # without having seen what it was given
        infer_layout(nn.ReLU(), torch.zeros(4, 6, 5, 5))


def test_a_known_batch_overrules_sequence_first():
    block = nn.TransformerEncoderLayer(6, 2, 8)
    assert infer_layout(block, torch.zeros(4, 9, 6), batch=4) == "channels_last"
    # where batch and length are equal, nothing but the block tells: it was built with the batch second
    assert infer_layout(block, torch.zeros(4, 4, 6), batch=4) == "sequence_first"
    assert infer_layout(block, torch.zeros(9, 4, 6), batch=4) == "sequence_first"
