"""The files of the zoo, and the page about them."""

import tomllib
from collections import Counter
from pathlib import Path

import pytest
import yaml

from nfas_lightning.models import FrozenModel, load_model
from nfas_lightning.models.zoo import read_entry, zoo, zoo_entry
from nfas_lightning.models.zoo.registry import CONFIGS, zoo_files

timm = pytest.importorskip("timm")

ROOT = Path(__file__).parents[3]


def test_fifteen_models_of_each_modality_and_more_beside_them():
    folders = Counter(path.parent.name for path in zoo_files())
    assert [folders[m] for m in ("vision", "audio", "language")] == [15, 15, 15]
    for path in zoo_files():
        if path.parent.name in ("vision", "audio", "language"):
            assert zoo()[path.stem].modality == path.parent.name
    assert {"clip_vit_b32_text", "clap_text", "smolvlm_256m_vision", "smolvlm_256m_language"} <= set(zoo())
    families = {entry.family for entry in zoo().values()}
    assert families >= {
        *("resnet", "vgg", "densenet", "efficientnet", "convnext", "vit", "deit", "beit", "swin", "mae"),
        *("dinov2", "clip", "videomae", "timesformer", "wav2vec2", "hubert", "wavlm", "data2vec"),
        *("unispeech-sat", "sew", "ast", "whisper", "clap", "bert", "roberta", "distilbert", "albert"),
        *("electra", "deberta-v3", "xlnet", "t5", "gpt2", "opt", "gpt-neox", "bloom", "qwen2", "llama"),
    }


def test_every_file_is_a_complete_config_and_the_package_carries_it():
    assert (ROOT / "configs" / "models").resolve() == CONFIGS.resolve()
    with (ROOT / "pyproject.toml").open("rb") as stream:
        wheel = tomllib.load(stream)["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"configs": "nfas_lightning/configs"}
    for path in zoo_files():
        lines = path.read_text().splitlines()
        assert lines[0].startswith("# ")
        shown = f"configs/models/{path.parent.name}/{path.name}"
        assert lines[1].startswith(f"# Run: nfas test --config {shown} --config configs/data/simulated_")


def test_every_config_parses_and_builds_a_frozen_model_without_loading_it():
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(FrozenModel, "model")
    for path in zoo_files():
        config = parser.parse_object(yaml.safe_load(path.read_text()))
        model = parser.instantiate(config).model
        assert isinstance(model, FrozenModel)
        if path.parent.name == "control":
            assert model.layers[-1] == "features_extractor.linear"
        else:
            assert model.module is None  # nothing was built or fetched yet
            assert model.hparams["model"] == path.stem


def test_facts_that_every_entry_must_state():
    for entry in zoo().values():
        assert entry.is_pinned, entry.name
        assert entry.license, entry.name
        assert entry.source == f"https://huggingface.co/{entry.hub}"
        assert entry.paper.startswith("https://"), entry.name
        assert entry.objective, entry.name


def test_timm_entries_repeat_what_timm_says():
    spdx = {"Apache-2.0", "MIT", "BSD-3-Clause", "CC-BY-NC-4.0"}
    for entry in zoo().values():
        if entry.library == "timm":
            card = timm.get_pretrained_cfg(entry.architecture["model"])
            values = entry.preprocessing
            assert entry.hub == card.hf_hub_id
            assert entry.license.lower() == card.license
            assert entry.license in spdx
            assert (3, values["size"], values["size"]) == card.input_size
            assert tuple(values["mean"]) == pytest.approx(card.mean)
            assert tuple(values["std"]) == pytest.approx(card.std)
            assert values["crop_pct"] == card.crop_pct
            assert values["interpolation"] == card.interpolation


# parameter counts from elsewhere: model cards, torchvision's documentation, papers' tables
PUBLISHED = {
    "resnet50": 25_557_032, "vgg16": 138_357_544, "densenet121": 7_978_856, "efficientnet_b0": 5_288_548,
    "vit_base": 86_567_656,
    "convnext_tiny": 28_589_128, "swin_tiny": 28_288_354, "wavlm_base_plus": 94_381_936,
    "data2vec_audio_base": 93_164_288, "wav2vec2_large_xlsr53": 315_438_720, "gpt2": 124_439_808,
    "gpt2_medium": 354_823_168, "opt_125m": 125_239_296, "bloom_560m": 559_214_592,
    "qwen2_5_0_5b": 494_032_768, "distilbert_base": 66_362_880, "xlnet_base": 116_718_336,
}  # fmt: skip


# and of whole networks, of which an entry is a part: (parts, what they lack, published total)
WHOLE = [
    (["bert_base"], 768 * 768 + 768, 109_482_240),  # the pooler
    (["minilm_l6_v2"], 384 * 384 + 384, 22_713_216),
    (["roberta_base"], 768 * 768 + 768, 124_645_632),
    (["albert_base"], 768 * 768 + 768, 11_683_584),
    (["pythia_160m"], 50_304 * 768, 162_322_944),  # the output layer
    (["sew_d_tiny"], 384 * 32 + 32, 24_127_423),
    (["tinyllama_1_1b"], 32_000 * 2048, 1_100_048_384),
    (["clip_vit_b32", "clip_vit_b32_text"], 768 * 512 + 512 * 512 + 1, 151_277_313),  # projections, scale
    (["clap", "clap_text"], 2 * (768 * 512 + 512 + 512 * 512 + 512) + 2, 153_492_890),
    (
        ["smolvlm_256m_vision", "smolvlm_256m_language"],
        768 * 16 * 576 + 49_280 * 576,  # connector and output layer
        256_484_928,
    ),
]


def test_parameters_are_those_published():
    for name, published in PUBLISHED.items():
        assert zoo()[name].parameters == published, name
    for parts, rest, published in WHOLE:
        assert sum(zoo()[name].parameters for name in parts) + rest == published, parts


def test_a_name_an_entry_and_random_weights():
    loaded = load_model("zoo:swin_tiny", weights="random", seed=3)
    assert loaded.info.name == "swin_tiny_random"
    assert (loaded.info.source, loaded.info.objective) == ("random (seed 3)", "none")
    assert len(loaded.layers) == 12
    same = FrozenModel(zoo_entry("swin_tiny"), weights="random", seed=3)
    assert same.module is None
    assert same.info.weights_sha256 == loaded.info.weights_sha256
    with pytest.raises(ValueError, match=r"called 'zoo:swin_tny'. Try one of: zoo:swin_tiny"):
        load_model("zoo:swin_tny")
    with pytest.raises(ValueError, match="packaged models have them"):
        load_model("zoo:swin_tiny", options={"a": 1})
    with pytest.raises(ValueError, match="models of the zoo have one"):
        load_model("timm:resnet18", folder=".")


def test_a_file_that_is_no_entry_is_named(tmp_path):
    source = CONFIGS / "vision" / "deit_base.yaml"
    wrong_name = tmp_path / "deit.yaml"
    wrong_name.write_text(source.read_text())
    with pytest.raises(ValueError, match=r"entry of the file's name, got 'deit_base'"):
        read_entry(wrong_name)
    for before, after, message in (
        ("license:", "licence:", "unexpected keyword argument 'licence'"),
        ("library: timm", "library: keras", "library must be one of"),
        ("blocks: 12", "blocks: 12\n        width: 3", "unexpected keyword argument 'width'"),
        ("widths: 768", "widths: [768, 768]", r"one number or one per block \(12\), got 2"),
        ("kind: image", "size_: 3", "must name its 'kind'"),
        ("hub: timm/deit_base_patch16_224.fb_in1k", "hub: ''", "expected a hub repository and a revision"),
    ):
        broken = tmp_path / "deit_base.yaml"
        broken.write_text(source.read_text().replace(before, after, 1))
        with pytest.raises(ValueError, match=message):
            read_entry(broken)
    assert read_entry(CONFIGS / "control" / "actor_critic.yaml") is None


def test_the_page_on_models_says_what_the_files_say():
    page = (ROOT / "docs" / "models.md").read_text()
    for entry in zoo().values():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{entry.name}` | [{entry.hub}]"))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[2] == f"{entry.parameters / 1e6:.1f} M"
        assert cells[3].startswith(f"{entry.blocks} x {min(entry.width_list)}")
        assert cells[4:] == [entry.objective, f"`{entry.revision[:7]}`", entry.license]
    compared = len(PUBLISHED) + sum(len(parts) for parts, *_ in WHOLE)
    assert f"{len(zoo())} entries in `configs/models/`" in page
    assert f"| all {len(zoo())} entries |" in page
    assert f"Parameter counts of {compared} entries" in page
