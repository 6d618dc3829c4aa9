"""score_models with networks of one's own: how they are given, and what they are called."""

import pytest
import torch
from torch import nn

from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.models import FrozenModel, ModelInputs, ModelSuite, load_module
from nfas_lightning.models.text import TextPreprocess
from nfas_lightning.runner import score_models
from nfas_lightning.scoring import ScoringSettings

QUICK = ScoringSettings(n_permutations=0)
WORDS = ["the", "a", "cat", "dog", "man", "woman", "ran", "sat", "ate", "saw", "big", "small"]
QUIET = {"settings": QUICK, "report": False, "enable_progress_bar": False, "random_twins": False}


class Block(nn.Module):
    """One depth."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 12)

    def forward(self, x):
        return self.linear(x).tanh()


class Net(nn.Sequential):
    """Blocks over flattened pixels; iterable, as nn.Sequential is."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), *(Block() for _ in range(4)))


class Words(nn.Module):
    """Blocks over embedded tokens."""

    def __init__(self, n_words: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(n_words, 8)
        self.blocks = nn.Sequential(*(nn.Linear(8, 8) for _ in range(3)))

    def forward(self, input_ids, attention_mask, **_):
        return self.blocks(self.embed(input_ids))


def seen() -> ArrayDataModule:
    images = torch.rand(30, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    return ArrayDataModule(images, images.flatten(1)[:, :2], dataset="toy")


def texts() -> ArrayDataModule:
    draws = torch.randint(len(WORDS), (30, 5), generator=torch.Generator().manual_seed(0))
    read = [" ".join(WORDS[i] for i in row) for row in draws.tolist()]
    betas = nn.functional.one_hot(draws).sum(1).float() @ torch.arange(24.0).view(12, 2).sin()
    return ArrayDataModule(read, betas, dataset="toy")


def tokenizer():
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["[PAD]", "[UNK]", *WORDS])}, "[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]", pad_token="[PAD]")


def by_hand(batch):
    ids = torch.tensor([[WORDS.index(w) for w in stimulus.text.split()] for stimulus in batch["text"]])
    return ModelInputs(kwargs={"input_ids": ids, "attention_mask": torch.ones_like(ids)})


@pytest.mark.parametrize("given", ["tokenizer", "function", "modality"])
def test_a_network_that_reads_is_filed_under_language(tmp_path, given):
    preprocess = TextPreprocess(tokenizer(), 16) if given == "tokenizer" else by_hand
    spec = {"model": Words(len(WORDS) + 2), "preprocess": preprocess, "layers": "blocks.*"}
    if given == "modality":
        spec["modality"] = "audio"  # what is said counts
    results = score_models(spec, texts(), tmp_path, **{**QUIET, "random_twins": True})
    expected = "audio" if given == "modality" else "language"
    for table in (results.scores, results.spectra, results.depth, results.models):
        assert set(table["modality"]) == {expected}
    assert "random_weights" in set(results.scores["feature"])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda net: net,
        lambda net: [net],
        lambda net: load_module(net),
        lambda net: (FrozenModel(net),),
        lambda net: FrozenModel(net, pooling="mean", name="net"),
        lambda net: [{"model": net}],
    ],
)
def test_a_network_is_taken_in_whatever_form(tmp_path, wrap):
    results = score_models(wrap(Net()), seen(), tmp_path, **QUIET)
    assert list(results.models["model"]) == ["net"]
    assert list(results.models["modality"]) == ["vision"]


def test_a_frozen_model_is_scored_as_it_was_made(tmp_path):
    made = FrozenModel(Net(), layers=["1", "2", "3"], pooling="max", name="mine")
    results = score_models([made, Net()], seen(), tmp_path, **QUIET)
    assert dict(results.models.set_index("model")["n_blocks"])["mine"] == 3
    assert dict(results.models.set_index("model")["pooling"]) == {"mine": "max", "net": "auto"}


def test_another_preprocessing_is_another_result(tmp_path):
    def dark(batch):
        return ModelInputs((batch["image"] ** 4,))

    net = Net()
    first = score_models(net, seen(), tmp_path, **QUIET)
    second = score_models({"model": net, "preprocess": dark}, seen(), tmp_path, **QUIET)
    assert not second.scores["r"].equals(first.scores["r"])


@pytest.mark.parametrize("given", [5, None, [5], Net, [Net], [ModelSuite([Net()])], {"model": Net}])
def test_what_is_no_model_gets_one_clear_error(tmp_path, given):
    with pytest.raises(TypeError, match=r"Each of models must be a name, an nn\.Module instance.*got"):
        score_models(given, seen(), tmp_path)


def test_names_tell_two_of_a_class_apart(tmp_path):
    nets = [{"model": Net(), "name": name} for name in ("small", "large")]
    results = score_models(nets, seen(), tmp_path, **{**QUIET, "random_twins": True, "report": True})
    assert list(results.models["model"]) == ["small", "large"]
    assert set(results.scores["model"]) == {"small", "large"}
    twins = results.scores.query("feature == 'random_weights'")
    assert set(twins["model"]) == {"small", "large"}


def test_a_name_that_looks_like_markup_is_printed_as_it_is(tmp_path, capsys):
    name = "a[/b][red]"
    results = score_models({"model": Net(), "name": name}, seen(), tmp_path, **{**QUIET, "report": True})
    assert list(results.models["model"]) == [name]
    assert f"✓ {name}: mean r" in capsys.readouterr().out
