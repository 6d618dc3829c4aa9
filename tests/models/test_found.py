"""The preprocessing that networks bring with them."""

import pytest
import torch
from torch import nn

from nfas_lightning.data.stimuli.texts import TextStimulus
from nfas_lightning.models import FrozenModel, ImagePreprocess, RawStimuli, TextPreprocess
from nfas_lightning.models.found import choose_preprocess, known_preprocess


def batch(size=20):
    return {"image": torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))}


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [("test_resnet", {}, 160), ("test_vit", {}, 160), ("test_vit", {"img_size": 32}, 32)],
)
def test_timm_networks_carry_theirs(name, options, size):
    timm = pytest.importorskip("timm")
    network = timm.create_model(name, **options)
    config = network.pretrained_cfg
    for found in (known_preprocess(network), known_preprocess(torch.compile(network))):
        assert isinstance(found, ImagePreprocess)
        assert (found.height, found.width) == (size, size)
        assert tuple(found.mean.tolist()) == config["mean"]
        assert tuple(found.std.tolist()) == config["std"]
        assert (found.crop_pct, found.interpolation) == (config["crop_pct"], config["interpolation"])
    network(*found(batch()).args)
    model = FrozenModel(network)
    assert model.load().preprocess.height == size
    assert model.info.modality == "vision"
    given = RawStimuli()
    assert FrozenModel(network, preprocess=given).load().preprocess is given


def test_a_timm_network_that_reads_gray_images_has_none_that_is_known():
    timm = pytest.importorskip("timm")
    assert known_preprocess(timm.create_model("test_resnet", in_chans=1)) is None


def test_transformers_networks_find_theirs_where_they_came_from(tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 8}
    config = transformers.ViTConfig(image_size=24, patch_size=8, **sizes)
    fresh = transformers.ViTForImageClassification(config)
    assert known_preprocess(fresh) is None  # nobody has said anything
    fresh.save_pretrained(tmp_path)
    assert known_preprocess(transformers.ViTModel.from_pretrained(tmp_path)) is None
    transformers.ViTImageProcessor(
        size={"height": 24, "width": 24}, image_mean=[0.1, 0.2, 0.3]
    ).save_pretrained(tmp_path)
    network = transformers.ViTForImageClassification.from_pretrained(tmp_path)
    for part in (network, network.vit):
        found = known_preprocess(part)
        assert isinstance(found, ImagePreprocess)
        assert found.mean.tolist() == pytest.approx([0.1, 0.2, 0.3])
    network(*found(batch()).args)


def test_so_do_those_that_read_texts(tmp_path):
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    network = transformers.BertModel.from_pretrained(tmp_path)
    texts = {"text": [TextStimulus("a cat")]}
    found = choose_preprocess(network, texts)
    assert isinstance(found, TextPreprocess)
    assert found(texts).kwargs["input_ids"].tolist() == [[2, 5, 6, 3]]


class Around(nn.Module):
    def __init__(self, prepare):
        super().__init__()
        self.body, self.prepare = pytest.importorskip("timm").create_model("test_resnet"), prepare

    def forward(self, x):
        return self.body(self.prepare(x))


@pytest.mark.parametrize(
    ("prepare", "kind"),
    [(lambda x: x, ImagePreprocess), (lambda x: 1 - x, RawStimuli), (lambda x: x[..., :8], RawStimuli)],
    ids=["nothing", "values", "size"],
)
def test_what_a_module_around_a_network_does_is_seen(prepare, kind, recwarn):
    network = Around(prepare).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert isinstance(choose_preprocess(network, batch()), kind)
    assert not recwarn
    assert network.training
    assert not any(module._forward_pre_hooks for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_one_that_fails_before_it_gets_there_is_told_of():
    def fail(x):
        raise RuntimeError("no")

    with pytest.warns(UserWarning, match="Around brings no configuration"):
        assert isinstance(choose_preprocess(Around(fail), batch()), RawStimuli)


def test_what_torchvisions_weights_want_is_named():
    torchvision = pytest.importorskip("torchvision")
    with pytest.warns(UserWarning, match="ResNet brings no configuration") as caught:
        choose_preprocess(torchvision.models.resnet34(num_classes=10), batch(64))
    (said,) = (str(w.message) for w in caught)
    code = said.partition("weights preprocess=")[2].partition(". If")[0]
    assert code == "lambda batch: torchvision.models.ResNet34_Weights.DEFAULT.transforms()(batch['image'])"
    prepared = eval(code, {"torchvision": torchvision})(batch(64))
    assert prepared.shape == (2, 3, 224, 224)


def test_a_tokenizer_is_nothing_for_images(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "nfas_lightning.models.found.own_preprocess", lambda network: object.__new__(TextPreprocess)
    )
    with pytest.warns(UserWarning, match="Linear brings no configuration"):
        assert isinstance(choose_preprocess(nn.Linear(2, 2), batch()), RawStimuli)


def test_sounds_are_said_with_their_rate():
    sounds = {"audio": torch.zeros(1, 8), "n_samples": torch.tensor([8]), "sampling_rate": 22_050}
    with pytest.warns(UserWarning, match="the sounds as they are, at 22050 Hz: preprocess=AudioPreprocess"):
        choose_preprocess(nn.Linear(8, 8), sounds)
