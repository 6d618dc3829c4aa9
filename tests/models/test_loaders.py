"""Loading by name, and any module: offline, with random weights."""

from pathlib import Path

import pytest
import torch
from torch import nn

from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.models import (
    AudioPreprocess,
    ClipPreprocess,
    FrozenModel,
    ImagePreprocess,
    ModelSuite,
    TextPreprocess,
    load_model,
    load_module,
)
from nfas_lightning.models.loaders import model_name

transformers = pytest.importorskip("transformers")
pytest.importorskip("timm")

pytestmark = pytest.mark.usefixtures("hub_that_answers")


def test_names_nobody_knows():
    with pytest.raises(ValueError, match=r"timm has no model 'resnet_18'.*Similar names: .*resnet"):
        load_model("timm:resnet_18", weights="random")
    with pytest.raises(ValueError, match=r"timm has no model 'resnet5O'. Similar names: resnet50"):
        load_model("timm:resnet5O", weights="random")
    with pytest.raises(TypeError, match=r"an nn\.Module instance"):
        load_model(torch.nn.Linear)
    with pytest.raises(ValueError, match="torchvision has no model 'resnet_18'"):
        load_model("torchvision:resnet_18")
    with pytest.raises(ValueError, match="Unknown source 'keras' in 'keras:vgg'"):
        load_model("keras:vgg")
    with pytest.raises(ValueError, match="weights must be one of"):
        load_model("timm:resnet18", weights="imagenet")
    with pytest.raises(ValueError, match="takes no revision, got 'main': models of the hub have one"):
        load_model("timm:resnet18", revision="main")


def test_a_message_that_ends_a_sentence_gets_no_second_full_stop(monkeypatch):
    import timm
    import torchvision

    def offline(*_, **__):
        raise OSError("make sure your Internet connection is on.")

    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr(torchvision.models, "get_model", offline)
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", offline)
    for name in ("timm:resnet18", "torchvision:resnet18", "hf:org/name@abc"):
        with pytest.raises(OSError, match=r"connection is on\. [A-Z]"):
            load_model(name)


def test_a_bare_name_is_a_packaged_model():
    with pytest.raises(ValueError, match="No model is called 'minilm'"):
        load_model("minilm")


def test_any_module_and_what_a_loader_returned():
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    loaded = load_module(net, name="mine", modality="language", layers=["0"], pooling="max")
    assert (loaded.info.name, loaded.layers, loaded.pooling) == ("mine", ["0"], "max")
    assert load_model(loaded) is loaded
    assert load_model(net).module is net
    twin = load_model(loaded, weights="random", seed=1)
    assert twin.info.name == "mine_random"
    assert twin.info.weights_sha256 != loaded.info.weights_sha256
    assert (twin.layers, twin.pooling) == (["0"], "max")


def test_a_module_has_the_modality_of_its_preprocessing(word_tokenizer):
    image = ImagePreprocess(8, (0, 0, 0), (1, 1, 1))
    for preprocess, modality in (
        (image, "vision"),
        (ClipPreprocess(2, image), "vision"),
        (AudioPreprocess(16_000), "audio"),
        (TextPreprocess(word_tokenizer, 8), "language"),
        (lambda batch: batch, ""),
        (None, ""),
    ):
        assert load_module(nn.Linear(2, 2), preprocess=preprocess).info.modality == modality
        assert FrozenModel(nn.Linear(2, 2), preprocess=preprocess).info.modality == modality
    assert FrozenModel(nn.Linear(2, 2), preprocess=image, modality="audio").info.modality == "audio"
    assert FrozenModel("timm:test_vit", weights="random", name="mine").info.name == "mine_random"


@pytest.mark.parametrize("name", ["timm:test_vit", "torchvision:mobilenet_v3_small", "zoo:resnet50"])
def test_a_name_is_known_before_it_is_loaded(name):
    assert load_model(name, weights="random").info.name == f"{model_name(name)}_random"


def test_a_compiled_module_keeps_the_names_of_its_layers():
    network = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
    loaded = load_module(torch.compile(network), layers=["0", "1", "2"])
    assert loaded.module is network
    assert loaded.info.name == model_name(network)


@pytest.mark.parametrize("name", ["", " ", "..", "a\nb", "a\x1b[31m", "x" * 201])
def test_a_name_that_nothing_could_show_is_refused_before_the_run(name):
    net = nn.Linear(2, 2)
    if name:  # an empty one is none given
        with pytest.raises(ValueError, match="A model's name must be"):
            ModelSuite([{"model": net, "name": name}])
    with pytest.raises(ValueError, match="A model's name must be"):
        FrozenModel(net, name=name)
    with pytest.raises(TypeError, match="A model's name must be text, got 3"):
        FrozenModel(net, name=3)


ROOT = Path(__file__).parents[2]


def test_the_pages_example_of_a_module_of_ones_own_runs():
    page = (ROOT / "docs" / "models.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    names: dict = {}
    exec(code, names)  # the page's own example
    model = names["model"]
    with torch.no_grad(), DepthRecorder(model.module, model.layers) as recorder:
        model({"image": torch.rand(2, 3, 80, 80)})
        assert [tuple(state.shape) for state in recorder.states] == [(2, 8)] * 4
