"""The zoo: entries, their check, and that the check finds what is wrong."""

import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.models import ClipPreprocess, FrozenModel, ImagePreprocess, ZooEntry, load_model
from nfas_lightning.models.adapters import adapt
from nfas_lightning.models.random_twin import random_twin
from nfas_lightning.models.zoo import read_entry, zoo, zoo_entry
from nfas_lightning.models.zoo.architecture import build_network, merged
from nfas_lightning.models.zoo.check import check_entry, check_values
from nfas_lightning.models.zoo.preprocess import build_preprocess
from nfas_lightning.models.zoo.registry import CONFIGS, zoo_files
from nfas_lightning.models.zoo.stand_ins import stand_in_batch

transformers = pytest.importorskip("transformers")
timm = pytest.importorskip("timm")

ROOT = Path(__file__).parents[2]
QUICK = {
    "deit_base",
    "timesformer_base",
    "hubert_base",
    "wav2vec2_large_xlsr53",
    "minilm_l6_v2",
    "xlnet_base",
}


# the files


def test_fifteen_models_a_modality_and_more_beside_them():
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
    assert wheel["force-include"] == {"configs/models": "nfas_lightning/models/zoo/configs"}
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
            assert model.layers == "torso.*"
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


# the check


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in zoo()]
)
def test_every_entry_passes_its_check(name):
    result = check_entry(zoo_entry(name))
    assert result.problem == ""
    assert (result.blocks, result.parameters) == (zoo()[name].blocks, zoo()[name].parameters)
    assert list(result.widths) == zoo()[name].width_list


def test_a_trajectory_has_a_row_a_stimulus_and_a_depth_a_block():
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


# architectures whose depth hooks can't see as they come


def _depths(module, layers, inputs):
    with torch.no_grad(), DepthRecorder(module, layers, pooling="none") as recorder:
        module(**inputs)
        return [state.view(len(inputs["input_ids"]), -1, 32) for state in recorder.states]


@pytest.mark.parametrize("name", ["albert_base", "xlnet_base"])
def test_depths_of_albert_and_xlnet_are_the_hidden_states_of_transformers(name):
    entry = zoo_entry(name)
    model_class = getattr(transformers, entry.architecture["class"])
    config = model_class.config_class(**merged(entry.architecture["config"], entry.reduced["config"]))
    torch.manual_seed(0)
    original = model_class(config).eval()
    inputs = {"input_ids": torch.randint(10, 100, (3, 7)), "attention_mask": torch.ones(3, 7).long()}
    with torch.no_grad():
        reference = original(**inputs, output_hidden_states=True)
    adapted, layers = adapt(original)
    depths = _depths(adapted, layers, inputs)
    assert len(depths) == 12
    for depth, state in zip(depths[:-1], reference.hidden_states[1:], strict=False):
        torch.testing.assert_close(depth, state)
    torch.testing.assert_close(depths[-1], reference.last_hidden_state)
    with torch.no_grad():
        torch.testing.assert_close(adapted(**inputs).last_hidden_state, reference.last_hidden_state)
    twin = _depths(random_twin(adapted, 1), layers, inputs)
    assert not torch.equal(twin[0], depths[0])


# preprocessing


def test_clips_are_spaced_evenly_and_a_still_image_does_not_move():
    image = ImagePreprocess(8, (0.0,) * 3, (1.0,) * 3)
    clips = ClipPreprocess(4, image)
    ramp = torch.linspace(0, 1, 8)[None, :, None, None, None].expand(2, 8, 3, 8, 8)
    pixels = clips({"clip": ramp}).args[0]
    assert pixels.shape == (2, 4, 3, 8, 8)
    torch.testing.assert_close(pixels[0, :, 0, 0, 0], torch.linspace(0, 1, 8)[[1, 3, 5, 7]])
    frames = {"image": torch.cat([ramp[0], ramp[0][:2]]), "n_frames": torch.tensor([8, 2])}
    of_two_lengths = clips(frames).args[0]
    torch.testing.assert_close(of_two_lengths[0], pixels[0])
    torch.testing.assert_close(of_two_lengths[1, :, 0, 0, 0], torch.linspace(0, 1, 8)[[0, 0, 1, 1]])
    still = clips({"image": ramp[:, 3]}).args[0]
    assert still.shape == (2, 4, 3, 8, 8)
    assert torch.equal(still[:, 0], still[:, 3])
    with pytest.raises(ValueError, match=r"clip must have shape \(B, F, 3, H, W\)"):
        clips({"clip": torch.zeros(2, 3, 8, 8)})


def test_patches_inside_the_sound_are_shown_and_longer_sounds_refused():
    values = {"kind": "patched_audio", "extractor": "ASTFeatureExtractor", "options": {"max_length": 64}}
    preprocess = build_preprocess(values, lambda: None)
    batch = stand_in_batch("audio", 2)  # 9,600 and 4,800 samples: 58 and 28 frames
    inputs = preprocess(batch)
    assert inputs.kwargs["input_values"].shape == (2, 64, 128)
    steps, bands = (64 - 16) // 10 + 1, (128 - 16) // 10 + 1
    assert inputs.mask.shape == (2, 2 + bands * steps)
    assert not inputs.mask[:, :2].any()  # class and distillation tokens
    assert inputs.mask[0, 2 : 2 + steps].tolist() == [True] * 5
    assert inputs.mask[1, 2 : 2 + steps].tolist() == [True, True, False, False, False]
    assert torch.equal(inputs.mask[1, 2:].view(bands, steps), inputs.mask[1, 2 : 2 + steps].expand(bands, -1))
    long = {**batch, "audio": torch.zeros(1, 12_000), "n_samples": torch.tensor([12_000])}
    with pytest.raises(ValueError, match=r"longer than the .* that this network hears"):
        preprocess(long)


def test_unknown_kinds_and_arguments_of_preprocessing_are_refused():
    with pytest.raises(ValueError, match="kind must be one of image, clip, text"):
        build_preprocess({"kind": "smell"}, lambda: None)
    with pytest.raises(TypeError, match="sizes"):
        build_preprocess(
            {"kind": "image", "size": 8, "sizes": 8, "mean": [0] * 3, "std": [1] * 3}, lambda: None
        )


# names and files of one's own


def test_a_name_an_entry_and_random_weights():
    loaded = load_model("zoo:swin_tiny", weights="random", seed=3)
    assert loaded.info.name == "swin_tiny_random"
    assert (loaded.info.source, loaded.info.objective) == ("random (seed 3)", "none")
    assert len(loaded.layers) == 12
    same = FrozenModel(zoo_entry("swin_tiny"), weights="random", seed=3)
    assert same.module is None
    assert same.info.weights_sha256 == loaded.info.weights_sha256
    with pytest.raises(ValueError, match=r"no model 'swin_tny'. Try one of: swin_tiny"):
        load_model("zoo:swin_tny")
    with pytest.raises(ValueError, match="options belong to packaged models"):
        load_model("zoo:swin_tiny", options={"a": 1})
    with pytest.raises(ValueError, match="folder belongs to models of the zoo"):
        load_model("timm:resnet18", folder=".")


def test_a_file_that_is_no_entry_is_named(tmp_path):
    source = CONFIGS / "vision" / "deit_base.yaml"
    wrong_name = tmp_path / "deit.yaml"
    wrong_name.write_text(source.read_text())
    with pytest.raises(ValueError, match=r"entry of the file's name, got 'deit_base'"):
        read_entry(wrong_name)
    for before, after, message in (
        ("license:", "license:", "unexpected keyword argument 'license'"),
        ("library: timm", "library: keras", "library must be one of"),
        ("blocks: 12", "blocks: 12\n        width: 3", "unexpected keyword argument 'width'"),
        ("widths: 768", "widths: [768, 768]", r"one number or one a block \(12\), got 2"),
        ("kind: image", "size_: 3", "must name its 'kind'"),
        ("hub: timm/deit_base_patch16_224.fb_in1k", "hub: ''", "expected a hub repository and a revision"),
    ):
        broken = tmp_path / "deit_base.yaml"
        broken.write_text(source.read_text().replace(before, after, 1))
        with pytest.raises(ValueError, match=message):
            read_entry(broken)
    assert read_entry(CONFIGS / "control" / "actor_critic.yaml") is None


def test_an_entry_checks_its_own_keys():
    entry = zoo_entry("gpt2")
    with pytest.raises(ValueError, match=r"architecture of a transformers model takes .* got .'model'"):
        replace(entry, architecture={"class": "GPT2Model", "model": "gpt2"})
    with pytest.raises(ValueError, match="must name its 'class'"):
        replace(entry, architecture={})
    assert isinstance(entry, ZooEntry)
    assert entry.address == "openai-community/gpt2@607a30d783dfa663caf39e06633721c8d4cfcd7e"


# the page


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


def test_the_pages_example_of_a_module_of_ones_own_runs():
    page = (ROOT / "docs" / "models.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    names: dict = {}
    exec(code, names)  # the page's own example
    model = names["model"]
    with torch.no_grad(), DepthRecorder(model.module, model.layers) as recorder:
        model({"image": torch.rand(2, 3, 80, 80)})
        assert [tuple(state.shape) for state in recorder.states] == [(2, 8)] * 4
