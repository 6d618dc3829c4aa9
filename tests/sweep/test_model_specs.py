"""How a sweep names its models."""

import pytest

from nfas_lightning.packaged_models import PACKAGED
from nfas_lightning.results import RunResults
from nfas_lightning.sweep.model_specs import resolve_models
from tests.helpers.sweeps import run, write


def test_models_go_by_name_pattern_file_and_mapping(folder):
    write(folder, ("own", {"seed": 1}))
    specs = resolve_models(
        [
            "minilm_l6",
            "packaged:crepe*",
            "zoo:resnet50",
            "nets/*/*.yaml",
            {"model": "timm:resnet18", "modality": "vision"},
            {"model": "timm:resnet18", "modality": "vision", "weights": "random"},
        ]
    )
    assert [(spec.label, spec.modality) for spec in specs] == [
        ("minilm_l6", "language"),
        *((name, "audio") for name in PACKAGED if name.startswith("crepe")),
        ("resnet50", "vision"),
        ("own", "vision"),
        ("resnet18", "vision"),
        ("resnet18_random", "vision"),
    ]
    built = specs[-3].arguments()
    assert type(built["model"]).__name__ == "Net"
    assert built["layers"] == ["blocks.0", "blocks.1", "blocks.2"]
    assert specs[-4].given == {"model": "zoo:resnet50"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["minilm_l7"], r"no listed model is called 'minilm_l7'. Did you mean .*minilm_l6"),
        (["packaged:zzz*"], "no listed model is called 'packaged:zzz"),
        (["nothing/*.yaml"], "no config file matches"),
        (["timm:resnet18"], "does not tell its modality; add `modality:`"),
        ([{"model": "timm:resnet18", "weights": "random"}], "models: 'timm:resnet18' does not tell"),
        (["minilm_l6", "minilm_l6"], r"once, got \['minilm_l6'\]"),
        ([{"layers": "auto"}], "needs the key 'model'"),
        ([], "at least one model"),
    ],
)
def test_models_that_can_not_be_told_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        resolve_models(given)


def test_models_whose_names_a_folder_can_not_tell_apart_have_folders_of_their_own(folder):
    source = write(folder, ("a b", {"seed": 1}), ("a+b", {"seed": 2}), ("A b", {"seed": 3}))
    report = run(source)
    assert len({str(cell.folder).casefold() for cell in report.done}) == 3
    scores = RunResults.load(folder / "runs" / "toy").scores
    means = scores[scores["feature"] == "stable_mode"].groupby("model")["r"].mean()
    assert set(means.index) == {"a b", "a+b", "A b"}
    assert means.nunique() == 3


def test_a_model_goes_by_the_name_that_its_mapping_gives():
    given = {"model": "timm:resnet18", "modality": "vision"}
    specs = resolve_models([{**given, "name": "first"}, {**given, "name": "second"}])
    assert [spec.label for spec in specs] == ["first", "second"]
    with pytest.raises(ValueError, match=r"must not hold a comma.*\['a,b'\]"):
        resolve_models([{**given, "name": "a,b"}])
