"""What objects show in a notebook."""

from html.parser import HTMLParser

import pandas as pd
import torch
from torch import nn

from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.models import FrozenModel
from nfas_lightning.notebook import card
from nfas_lightning.plotting.style import new_figure
from nfas_lightning.space import NFAS
from tests.helpers.results import make_results

EVIL = "<script>alert(1)</script>"


class _Words(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.words.append(data.strip())


def _shown(thing):
    page = _Words(thing._repr_html_())
    assert "script" not in page.tags
    return [word for word in page.words if word]


def test_a_card_escapes_leaves_out_and_cuts():
    table = pd.DataFrame({"a": [EVIL] * 30, "b": [1 / 3] * 30})
    text = card(EVIL, {EVIL: EVIL, "unknown": None, "empty": [], "zero": 0, "long": "x" * 500}, table)
    page = _Words(text)
    assert "script" not in page.tags
    assert "unknown" not in page.words
    assert "0" in page.words
    assert max(map(len, page.words)) == 160
    assert page.words.count("0.333") == 12


def test_results_show_every_feature_of_every_model():
    results = make_results(n_models=3, n_rois=10)
    results.models["model"] = results.models["model"].replace("hed_vgg16", EVIL)
    words = _shown(results)
    assert words[0] == "RunResults: 9 models"
    assert "SIMULATED: planted, not measured" in words
    mean = results.scores.query("model == 'whisper_base' and feature == 'mean_depth'")["r"].mean()
    assert f"{mean:.3f}" in words
    assert "mean over depth" in words
    assert "feature" not in words  # the name of the columns is no column


def test_a_space_ranks_its_models():
    space = NFAS.from_scores(make_results(n_models=3, n_rois=10))
    words = _shown(space)
    assert words[0] == repr(space)
    best = space.models["model"][int(space.scores.mean(1).argmax())]
    assert next(word for word in words if word in set(space.models["model"])) == best


def test_datamodules_and_responses_say_what_they_hold():
    data = ArrayDataModule(torch.randn(12, 4), torch.randn(2, 12, 3), modality="vision")
    assert "not read yet: setup() reads them" in _shown(data)
    data.setup()
    words = _shown(data)
    assert words[words.index("stimuli") + 1] == "12"
    assert words[words.index("subjects") + 1] == "2"
    words = _shown(data.responses)
    assert words[0] == "Responses"
    assert set(data.responses.rois["roi"]) <= set(words)


def test_networks_show_their_card():
    words = _shown(FrozenModel("timm:resnet18"))
    assert words == ["FrozenModel: timm:resnet18", "weights", "not loaded yet: setup() loads them"]
    words = _shown(FrozenModel(nn.Sequential(nn.Linear(4, 3)), name="mine", modality="vision"))
    assert words[0] == "FrozenModel: mine"
    assert words[words.index("parameters") + 1] == "15"


def test_a_figure_shows_itself_without_a_magic_line():
    figure = new_figure(2, 1)
    picture = figure._repr_png_()
    assert picture[:4] == b"\x89PNG"
    assert int.from_bytes(picture[16:20], "big") == 200  # pixels
