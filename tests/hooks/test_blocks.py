"""The blocks of a trunk: by structure, and by what one pass shows where structure leaves a choice."""

import pytest
import torch
from torch import nn

from nfas_lightning.hooks import DepthRecorder, resolve_layers
from nfas_lightning.hooks.blocks import SeveralTrunksError
from tests.helpers.encoder import NamedLayers

TIMM = {
    "resnet18": (8, "layer1.0", "layer4.1"),
    "resnet50": (16, "layer1.0", "layer4.2"),
    "efficientnet_b0": (16, "blocks.0.0", "blocks.6.0"),
    "mobilenetv3_small_050": (11, "blocks.0.0", "blocks.4.2"),
    "convnext_atto": (12, "stages.0.blocks.0", "stages.3.blocks.1"),
    "vit_tiny_patch16_224": (12, "blocks.0", "blocks.11"),
    "deit_tiny_patch16_224": (12, "blocks.0", "blocks.11"),
    "beit_base_patch16_224": (12, "blocks.0", "blocks.11"),
    "swin_tiny_patch4_window7_224": (12, "layers.0.blocks.0", "layers.3.blocks.1"),
    "vgg11": (8, "features.1", "features.19"),
    "densenet121": (4, "features.denseblock1", "features.denseblock4"),
    "regnety_002": (13, "s1.b1", "s4.b7"),
}
TORCHVISION = {
    "resnet18": (8, "layer1.0", "layer4.1"),
    "mobilenet_v2": (17, "features.1", "features.17"),
    "efficientnet_v2_s": (40, "features.1.0", "features.6.14"),
    "vit_b_16": (12, "encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_11"),
    "swin_t": (12, "features.1.0", "features.7.1"),
    "convnext_tiny": (18, "features.1.0", "features.7.2"),
    "vgg11": (8, "features.1", "features.19"),
    "alexnet": (5, "features.1", "features.11"),
    "densenet121": (4, "features.denseblock1", "features.denseblock4"),
}


def _summary(names):
    return len(names), names[0], names[-1]


@pytest.mark.parametrize("name", TIMM)
def test_blocks_of_timm(name):
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        model = timm.create_model(name)
    assert _summary(resolve_layers(model)) == TIMM[name]


@pytest.mark.parametrize("name", TORCHVISION)
def test_blocks_of_torchvision(name):
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        model = models.get_model(name, weights=None)
    assert _summary(resolve_layers(model)) == TORCHVISION[name]


SMALL = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
WAV2VEC2 = {"conv_dim": [4] * 4, "conv_kernel": [10, 3, 3, 3], "conv_stride": [5, 2, 2, 2],
            "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}  # fmt: skip
TINY = {"d_model": 16, "encoder_layers": 3, "decoder_layers": 5, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2}  # fmt: skip
T5 = {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_heads": 2, "num_layers": 3, "num_decoder_layers": 5}
TRANSFORMERS = {
    "Bert": (SMALL, 4, "encoder.layer.0"),
    "Roberta": (SMALL, 4, "encoder.layer.0"),
    "GPT2": ({"n_layer": 4, "n_embd": 16, "n_head": 2}, 4, "h.0"),
    "Llama": ({**SMALL, "num_key_value_heads": 2}, 4, "layers.0"),
    "DistilBert": ({"n_layers": 4, "dim": 16, "n_heads": 2, "hidden_dim": 32}, 4, "transformer.layer.0"),
    "T5": (T5, 3, "encoder.block.0"),
    "Whisper": (TINY, 3, "encoder.layers.0"),
    "Wav2Vec2": ({**SMALL, **WAV2VEC2}, 4, "encoder.layers.0"),
    "Swin": ({"embed_dim": 8, "depths": [1, 2, 1], "num_heads": [1, 1, 1], "image_size": 32}, 4,
             "encoder.layers.0.blocks.0"),
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_blocks_of_transformers(name):
    transformers = pytest.importorskip("transformers")
    options, count, first = TRANSFORMERS[name]
    with torch.device("meta"):
        model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**options))
    names = resolve_layers(model)
    assert (len(names), names[0]) == (count, first)


def test_the_encoder_alone_of_whisper_and_t5():
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        whisper = transformers.WhisperModel(transformers.WhisperConfig(**TINY)).get_encoder()
        t5 = transformers.T5EncoderModel(transformers.T5Config(**T5))
    assert resolve_layers(whisper) == [f"layers.{i}" for i in range(3)]
    assert resolve_layers(t5) == [f"encoder.block.{i}" for i in range(3)]


def test_two_towers_are_ambiguous():
    class Towers(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
            self.text, self.vision = NamedLayers(), nn.TransformerEncoder(layer, 4)

    with pytest.raises(ValueError, match=r"several trunks in Towers.*text\.encoder\.layer\.0"):
        resolve_layers(Towers())
    assert len(resolve_layers(Towers(), "vision.layers.*")) == 4


def test_two_networks_of_one_class_are_not_one_trunk():
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        siamese = nn.ModuleDict({"left": models.resnet18(), "right": models.resnet18()})
        swins = nn.ModuleDict({"left": models.swin_t(), "right": models.swin_t()})
    for model in (siamese, swins):
        with pytest.raises(ValueError, match="several trunks in ModuleDict"):
            resolve_layers(model)


def test_plain_sequential_recurrent_and_rows_of_leaves():
    layers = [nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)]
    assert resolve_layers(nn.Sequential(*layers)) == ["0", "1", "2"]

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.third = nn.LSTM(4, 4), nn.GRU(4, 4), nn.LSTM(4, 4)
            self.head = nn.Linear(4, 2)

    assert resolve_layers(Recurrent()) == ["first", "second", "third"]

    class Row(nn.Module):
        def __init__(self):
            super().__init__()
            self.norms = nn.ModuleList(nn.LayerNorm(4) for _ in range(2))
            self.linears = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    assert resolve_layers(Row()) == ["linears.0", "linears.1", "linears.2"]


class Composite(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)


def holder(**children):
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            for name, child in children.items():
                setattr(self, name, child)

    return Holder()


def blocks(count, width=4):
    return nn.ModuleList(Composite(width) for _ in range(count))


def test_rows_of_other_names_are_other_trunks():
    with pytest.raises(ValueError, match=r"image_blocks\.0 .*; text_blocks\.0 .*a list if one runs after"):
        resolve_layers(holder(image_blocks=blocks(4), text_blocks=blocks(4)))
    both = holder(downs=blocks(3), ups=blocks(3))
    with pytest.raises(ValueError, match="several trunks in Holder"):
        resolve_layers(both)
    assert len(resolve_layers(both, ["downs.*", "ups.*"])) == 6
    for rows in ({"low": 2, "middle": 2, "high": 2}, {"low": 3, "high": 2}):  # short rows are seen too
        with pytest.raises(ValueError, match=r"several trunks in Holder.*high\.0 \.\.\. high\.1"):
            resolve_layers(holder(**{name: blocks(count) for name, count in rows.items()}))


@pytest.mark.parametrize("count", [2, 3])
def test_a_small_row_of_another_name_is_left_out_and_named(count):
    net = holder(blocks=blocks(12), auxiliary=blocks(count))
    with pytest.warns(UserWarning, match=rf"leaves out auxiliary\.0 .* \({count} x Composite\)"):
        assert resolve_layers(net) == [f"blocks.{i}" for i in range(12)]


@pytest.mark.parametrize(
    ("encoder", "decoder"),
    [("blocks", "decoder_blocks"), ("enc_blocks", "dec_blocks"), ("encoder", "decoder")],
)
def test_of_an_encoder_and_a_decoder_the_encoder(encoder, decoder, recwarn):
    names = resolve_layers(holder(**{encoder: blocks(6), decoder: blocks(6)}))
    assert names == [f"{encoder}.{i}" for i in range(6)]
    assert resolve_layers(holder(decoder_blocks=blocks(3))) == [f"decoder_blocks.{i}" for i in range(3)]
    assert not list(recwarn)


def test_stages_whose_names_count_are_one_trunk(recwarn):
    stages = {f"layer{i}": nn.Sequential(*blocks(2, 4 * i)) for i in (1, 2, 3, 4)}
    assert len(resolve_layers(holder(**stages))) == 8
    stages = {f"stage_{i}": holder(blocks=blocks(2)) for i in (1, 2, 3)}
    assert len(resolve_layers(nn.ModuleDict(stages))) == 6
    assert not list(recwarn)


def test_experts_and_heads_are_no_depths():
    mixture = holder(layers=nn.ModuleList(holder(experts=blocks(8), gate=nn.Linear(4, 8)) for _ in range(4)))
    assert resolve_layers(mixture) == [f"layers.{i}" for i in range(4)]
    trunk = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    assert resolve_layers(holder(trunk=trunk, heads=blocks(5))) == ["trunk.0", "trunk.2", "trunk.4"]


def test_every_class_of_a_row_is_taken():
    """As Jamba mixes attention with state-space layers, and VOLO outlookers with transformers."""

    class Attention(Composite):
        pass

    mixed = nn.ModuleList([Composite(), Attention(), Composite(), Composite(), Attention()])
    assert resolve_layers(holder(layers=mixed)) == [f"layers.{i}" for i in range(5)]
    different = nn.ModuleList([Attention(), Composite(), nn.TransformerEncoderLayer(4, 2, 8)])
    assert resolve_layers(holder(layers=different)) == [f"layers.{i}" for i in range(3)]
    stages = {"layer1": nn.Sequential(*blocks(2)), "layer2": nn.Sequential(Attention(8), Attention(8))}
    assert len(resolve_layers(holder(**stages))) == 4


def test_stems_and_transitions_with_one_weight_are_no_blocks():
    def joint():
        return holder(norm=nn.LayerNorm(4), reduction=nn.Linear(4, 4))

    row = nn.Sequential(
        joint(), nn.Sequential(*blocks(2)), joint(), nn.Sequential(*blocks(2)), nn.Linear(4, 4)
    )
    assert resolve_layers(holder(features=row)) == [
        "features.1.0",
        "features.1.1",
        "features.3.0",
        "features.3.1",
    ]
    # where nothing else is there, they are
    assert resolve_layers(holder(features=nn.Sequential(*(joint() for _ in range(4))))) == [
        f"features.{i}" for i in range(4)
    ]


def test_what_is_one_network_in_a_row_gives_its_own_blocks():
    backbone = holder(blocks=blocks(8, 16))
    parts = nn.Sequential(Composite(), backbone, Composite())
    assert resolve_layers(parts) == [f"1.blocks.{i}" for i in range(8)]


def test_stages_of_two_blocks_are_one_trunk_and_three_equal_networks_are_three():
    stages = nn.ModuleList(holder(blocks=blocks(2, width), norm=nn.LayerNorm(width)) for width in (4, 8))
    assert len(resolve_layers(holder(layers=stages))) == 4
    ensemble = nn.ModuleList(holder(embed=nn.Linear(4, 4), blocks=blocks(3)) for _ in range(3))
    with pytest.raises(ValueError, match=r"several trunks.*0\.blocks\.0 .*1\.blocks\.0 .*2\.blocks\.0"):
        resolve_layers(ensemble)


def test_branches_inside_a_stage_are_no_depths():
    """As CrossViT's blocks hold a row for each patch size."""

    def stage():
        branches = nn.ModuleList(nn.Sequential(*blocks(2)) for _ in range(2))
        return holder(blocks=branches, fusion=Composite())

    net = holder(blocks=nn.ModuleList(stage() for _ in range(3)))
    assert resolve_layers(net) == [f"blocks.{i}" for i in range(3)]


MIXED = {
    "tresnet_m": (21, "body.layer1.0", "body.layer4.2"),
    "volo_d1_224": (18, "network.0.0", "network.4.1"),
    "mobilevitv2_050": (9, "stages.0.0", "stages.4.1"),
    "edgenext_xx_small": (12, "stages.0.blocks.0", "stages.3.blocks.1"),
    "davit_tiny": (12, "stages.0.blocks.0.0", "stages.3.blocks.0.1"),
    "botnet26t_256": (8, "stages.0.0", "stages.3.1"),
    "inception_v3": (11, "Mixed_5b", "Mixed_7c"),
    "nest_tiny": (12, "levels.0.transformer_encoder.0", "levels.2.transformer_encoder.7"),
    "cs3darknet_s": (4, "stages.0", "stages.3"),
    "pit_ti_224": (12, "transformers.0.blocks.0", "transformers.2.blocks.3"),
}


@pytest.mark.parametrize("name", MIXED)
def test_blocks_of_other_classes_and_of_every_stage(name):
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        model = timm.create_model(name)
    assert _summary(resolve_layers(model)) == MIXED[name]


HIERARCHICAL = {
    "Swin": ({"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "image_size": 32}, 4),
    "PoolFormer": ({"hidden_sizes": [8, 8, 16, 16], "depths": [1, 2, 1, 1]}, 5),
    "MobileViTV2": ({"image_size": 64, "width_multiplier": 0.25, "n_attn_blocks": [1, 2, 1]}, 5),
    "Segformer": ({"hidden_sizes": [8, 8, 16, 16], "depths": [1, 2, 1, 1]}, 5),
    "Jamba": ({**SMALL, "num_key_value_heads": 2, "attn_layer_period": 2, "attn_layer_offset": 1,
               "num_experts": 2, "use_mamba_kernels": False}, 4),
}  # fmt: skip


@pytest.mark.parametrize("name", HIERARCHICAL)
def test_hierarchical_and_mixed_networks_of_transformers(name):
    transformers = pytest.importorskip("transformers")
    options, count = HIERARCHICAL[name]
    with torch.device("meta"):
        model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**options))
    assert len(resolve_layers(model)) == count


def test_encoders_in_a_row_are_said_and_not_taken_for_depths():
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        model = transformers.CanineModel(transformers.CanineConfig(**SMALL))
    with pytest.warns(
        UserWarning, match=r"leaves out initial_char_encoder\.layer\.0 \(1 x CanineLayer\); final"
    ):
        assert resolve_layers(model) == [f"encoder.layer.{i}" for i in range(4)]


class Runs(nn.Module):
    """Two rows of blocks of one size, and a forward pass of one's choice."""

    def __init__(self, run, first=3, second=3):
        super().__init__()
        self.first, self.second = chain(first), chain(second)
        self.run, self.n_passes = run, 0

    def forward(self, x):
        self.n_passes += 1
        return self.run(self, x)


class Chained(Composite):
    def forward(self, x):
        return self.second(self.first(x).tanh())


def chain(count, width=4):
    return nn.ModuleList(Chained(width) for _ in range(count))


def in_a_row(blocks, x):
    for block in blocks:
        x = block(x)
    return x


def side_by_side(blocks, x):
    return sum(block(x) for block in blocks)


def recorded(network):
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    with DepthRecorder(network) as rec, torch.no_grad():
        network(x)
        rec.collect([0, 1, 2])
        network(x)
        rec.collect([3, 4, 5])
    assert network.n_passes == 2  # what the look counted is put back
    return rec.trajectory()


FIRST, SECOND = [f"first.{i}" for i in range(3)], [f"second.{i}" for i in range(3)]
TOLD = {
    "the second does not run": (lambda net, x: in_a_row(net.first, x), FIRST),
    "the first does not run": (lambda net, x: in_a_row(net.second, x), SECOND),
    "the first works side by side": (lambda net, x: in_a_row(net.second, side_by_side(net.first, x)), SECOND),
    "one feeds the other": (lambda net, x: in_a_row(net.second, in_a_row(net.first, x)), FIRST + SECOND),
    "the other feeds the one": (lambda net, x: in_a_row(net.first, in_a_row(net.second, x)), SECOND + FIRST),
    "a view is handed on": (
        lambda net, x: in_a_row(net.second, in_a_row(net.first, x).view(1, 3, 4)[0]), FIRST + SECOND),
}  # fmt: skip


@pytest.mark.parametrize("what", TOLD)
def test_a_pass_tells_the_trunk_where_structure_leaves_two(what):
    run, names = TOLD[what]
    torch.manual_seed(0)
    network = Runs(run)
    with pytest.raises(SeveralTrunksError, match="several trunks in Runs and can't choose"):
        resolve_layers(network)
    trajectory = recorded(network)
    assert list(trajectory.layer_names) == names
    with DepthRecorder(network, names) as rec, torch.no_grad():
        network(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
        for state, own in zip(trajectory.states, rec.states, strict=True):
            assert torch.equal(state[:3], own)


def test_two_rows_that_run_apart_stay_a_question_with_what_was_seen():
    network = Runs(lambda net, x: in_a_row(net.first, x) + in_a_row(net.second, x))
    told = "all ran, 2 got what the one before made"
    with (
        DepthRecorder(network) as rec,
        pytest.raises(SeveralTrunksError, match=rf"Chained\): {told}; .*: {told}"),
    ):
        network(torch.randn(3, 4))
    network.run = lambda net, x: in_a_row(net.second[:2], in_a_row(net.first[:2], x))
    with rec, pytest.raises(SeveralTrunksError, match="2 of 3 ran"):
        network(torch.randn(3, 4))
    network.run = lambda net, x: in_a_row(net.second, x)
    with rec:
        network(torch.randn(3, 4))  # another pass tells
    assert list(rec.names) == SECOND


def test_a_larger_row_that_does_not_run_gives_way():
    network = Runs(lambda net, x: in_a_row(net.second, x), first=20)
    with pytest.warns(UserWarning, match="records first.0"):
        rec = DepthRecorder(network)
    with rec, torch.no_grad():
        with pytest.warns(UserWarning, match="records second.0 .* leaves out first.0"):
            network(torch.randn(3, 4))
        assert [layer.name for layer in rec.layers] == SECOND


def test_without_a_pass_of_the_network_itself_structure_decides():
    network = Runs(lambda net, x: in_a_row(net.first, x))
    with DepthRecorder(network) as rec:
        in_a_row(network.first, torch.randn(3, 4))
        with pytest.raises(SeveralTrunksError, match="several trunks"):
            _ = rec.states
    network = Runs(lambda net, x, cache: in_a_row(net.first, x))
    network.forward = lambda x, cache: in_a_row(network.first, x)
    told = r"A pass to see which of them run failed: an argument of type object"
    with DepthRecorder(network), pytest.raises(SeveralTrunksError, match=told):
        network(torch.randn(3, 4), object())  # which a pass may change: it is not given twice
