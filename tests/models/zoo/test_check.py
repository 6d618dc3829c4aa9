"""The check of an entry, and that it finds what is wrong."""

from dataclasses import replace

import pytest
from torch import nn

from nfas_lightning.models.zoo import zoo, zoo_entry
from nfas_lightning.models.zoo.architecture import build_network, merged
from nfas_lightning.models.zoo.check import check_entry, check_values
from tests.helpers.zoo import save_files, small_entry

pytest.importorskip("timm")

pytestmark = pytest.mark.usefixtures("no_lock_file")

QUICK = {
    "deit_base",
    "timesformer_base",
    "hubert_base",
    "wav2vec2_large_xlsr53",
    "minilm_l6_v2",
    "xlnet_base",
}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in zoo()]
)
def test_every_entry_passes_its_check(name):
    result = check_entry(zoo_entry(name))
    assert result.problem == ""
    assert (result.blocks, result.parameters) == (zoo()[name].blocks, zoo()[name].parameters)
    assert list(result.widths) == zoo()[name].width_list


def test_a_trajectory_has_one_row_per_stimulus_and_one_depth_per_block():
    H = check_values(zoo_entry("albert_base"))
    assert H.shape == (8, 12, 32)  # one shared block, every run of it a depth
    assert isinstance(check_values(zoo_entry("resnet50")), list)  # ragged


def _changed(name: str, **changes) -> str:
    return check_entry(replace(zoo_entry(name), **changes)).problem


def test_the_check_names_a_wrong_entry():
    minilm = zoo_entry("minilm_l6_v2")
    assert "must have 7 blocks" in _changed("minilm_l6_v2", blocks=7)
    assert "widths 383" in _changed("minilm_l6_v2", widths=383)
    deeper = merged(minilm.architecture, {"config": {"num_hidden_layers": 12}})
    assert "must have 6 blocks" in _changed("minilm_l6_v2", architecture=deeper)
    wider = merged(minilm.architecture, {"config": {"intermediate_size": 1600}})
    assert "must have 22,565,376 parameters" in _changed("minilm_l6_v2", architecture=wider)
    with_pooler = merged(minilm.architecture, {"options": {"add_pooling_layer": True}})
    assert "sentence-transformers/all-MiniLM-L6-v2@c9745ed" in _changed(
        "minilm_l6_v2", architecture=with_pooler
    )
    assert "has no class 'BurtModel'" in _changed("minilm_l6_v2", architecture={"class": "BurtModel"})
    assert "no model 'resnet_50'" in _changed("resnet50", architecture={"model": "resnet_50"})
    assert "matches none" in _changed("minilm_l6_v2", layers="encoder.block.*")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("wav2vec2_base", {"equal_lengths": False}),  # its group norm looks across time
        ("data2vec_audio_base", {"equal_lengths": False, "pass_mask": True}),  # its convolutions reach out
        ("w2v_bert_2", {"pass_mask": False}),
    ],
)
def test_the_check_finds_padding_that_leaks(name, changes):
    entry = zoo_entry(name)
    options = {**entry.preprocessing["options"], "return_attention_mask": True}
    values = {**entry.preprocessing, "options": options, **changes}
    with pytest.raises(AssertionError, match="padding or other stimuli leak in"):
        check_values(replace(entry, preprocessing=values))


def test_the_check_of_a_network_of_texts_of_one_length_sees_that_others_are_refused():
    entry = zoo_entry("minilm_l6_v2")
    check_values(replace(entry, preprocessing={**entry.preprocessing, "equal_lengths": True}))


def test_the_check_finds_a_network_that_ignores_its_input(monkeypatch):
    import nfas_lightning.models.zoo.check as check

    def deaf(entry, **options):
        module = build_network(entry, **options)
        for part in module.modules():
            if isinstance(part, nn.Embedding):
                nn.init.zeros_(part.weight)
        return module

    monkeypatch.setattr(check, "build_network", deaf)
    # without rows in the embeddings every word is the same, and so is every text
    with pytest.raises(AssertionError, match="same state for every stimulus"):
        check_values(replace(zoo_entry("pythia_160m"), pooling="cls"))


def test_the_check_runs_the_weights_of_a_folder(tmp_path):
    entry = small_entry("hubert_base")
    save_files(entry, tmp_path / "files")
    entry = replace(entry, widths=32)
    result = check_entry(entry, tmp_path / "files")
    assert result.problem == ""
    assert result.weights.startswith(f"folder of {entry.address}, sha256 ")
    missing = check_entry(entry, tmp_path / "gone").problem
    assert f"No folder '{tmp_path / 'gone'}' with the weights of hubert_base ({entry.address})" in missing
