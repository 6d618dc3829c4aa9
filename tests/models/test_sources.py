"""Where models of a name come from: own sources, registered ones, and a checkout that is not installed."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint

import pytest
from torch import nn

from nfas_lightning.models import FrozenModel, ModelSource, load_model, load_module
from nfas_lightning.models import sources as module
from nfas_lightning.models.sources import listed_models, sources, split_name


@dataclass(frozen=True)
class Entry:
    modality: str = "vision"
    family: str = "tiny"
    license: str = "MIT"
    parameters: int = 6


def load(name, *, weights="pretrained", seed=0, **given):
    return load_module(nn.Linear(2, 2), name=name, weights=weights, seed=seed)


SOURCE = ModelSource(load, takes=("folder",), entries=lambda: {"small": Entry(), "minilm_l6": Entry()})


@pytest.fixture
def registered(monkeypatch):
    """A source of another package, and what is registered besides it."""
    points = [EntryPoint("mylab", f"{__name__}:SOURCE", "nfas_lightning.models")]
    monkeypatch.setattr(module, "entry_points", lambda group: points)
    monkeypatch.setattr(EntryPoint, "load", _load_here(EntryPoint.load))
    sources.cache_clear()
    yield points
    sources.cache_clear()


def _load_here(original):
    def loaded(point):
        return SOURCE if point.name == "mylab" else original(point)

    return loaded


def test_an_installation_registers_the_packaged_models():
    assert list(sources())[:4] == ["zoo", "timm", "torchvision", "hf"]
    assert {"minilm_l6", "zoo:resnet50"} <= set(listed_models())
    assert split_name("minilm_l6") == ("packaged", "minilm_l6")
    assert split_name("packaged:minilm_l6") == ("packaged", "minilm_l6")
    assert split_name("hf:C:/models/x") == ("hf", "C:/models/x")


def test_a_checkout_that_is_not_installed_has_the_packaged_models_too(monkeypatch):
    monkeypatch.setattr(module, "entry_points", lambda group: [])
    sources.cache_clear()
    assert "packaged" in sources()
    sources.cache_clear()


def test_the_entry_point_names_what_the_fallback_names():
    import tomllib
    from pathlib import Path

    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["project"]["entry-points"]["nfas_lightning.models"] == module._FALLBACK


def test_a_registered_source_is_loaded_listed_and_checked(registered, tmp_path):
    assert load_model("mylab:small").info.name == "small"
    assert load_model("small", weights="random", folder=str(tmp_path)).info.name == "small_random"
    assert FrozenModel("mylab:small").load().info.name == "small"
    assert listed_models()["small"] == Entry()
    # of two sources, the first that lists a name has it bare
    assert split_name("minilm_l6")[0] == "packaged"
    assert listed_models()["minilm_l6"].family == "bert"
    assert listed_models()["mylab:minilm_l6"] == Entry()
    with pytest.raises(ValueError, match=r"No model is called 'mylab:smal'\. Try one of: mylab:small"):
        FrozenModel("mylab:smal")
    with pytest.raises(ValueError, match=r"'small' takes no revision, got 'main'"):
        load_model("mylab:small", revision="main")


def test_no_source_takes_the_place_of_an_own_one(registered):
    registered.append(EntryPoint("zoo", "elsewhere:SOURCE", "nfas_lightning.models"))
    assert "resnet50" in sources()["zoo"].entries()


def test_names_that_nobody_has_come_with_the_closest():
    with pytest.raises(ValueError, match=r"Unknown source 'tim' in 'tim:resnet18': expected one of zoo:,"):
        split_name("tim:resnet18")
    with pytest.raises(ValueError, match=r"No model is called 'resnet51'\. Try one of: zoo:resnet50"):
        split_name("resnet51")
    assert split_name("resnet50") == ("zoo", "resnet50")
    assert split_name("whisper_base") == ("packaged", "whisper_base")  # of two with one name
    with pytest.raises(ValueError, match=r"No model is called 'zoo:resnet5'\. Try one of: zoo:resnet50"):
        split_name("zoo:resnet5")
    with pytest.raises(ValueError, match=r"No model is called 'zzzz'\. Try one of: .*minilm_l6"):
        split_name("zzzz")
