"""Weights of the zoo: from folders and the hub's cache, and errors where they are not what they should be."""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from nfas_lightning.models import FrozenModel, load_zoo
from nfas_lightning.models.placement import stored_dtypes
from nfas_lightning.models.zoo.architecture import merged
from nfas_lightning.models.zoo.registry import SOURCE, zoo_entry
from nfas_lightning.models.zoo.repository import Repository
from tests.helpers.zoo import save_files, small_entry

transformers = pytest.importorskip("transformers")
pytest.importorskip("timm")

pytestmark = pytest.mark.usefixtures("no_lock_file")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _equal(one, other):
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "bin"])
@pytest.mark.parametrize("name", ["minilm_l6_v2", "deit_base", "whisper_tiny", "clip_vit_b32_text"])
def test_a_folder_of_weights_loads(name, pickled, tmp_path):
    entry = small_entry(name)
    saved = save_files(entry, tmp_path / "files", pickled=pickled)
    part = entry.architecture.get("part")
    expected = saved.get_submodule(part) if part else saved
    loaded = load_zoo(entry, folder=tmp_path / "files")
    assert _equal(loaded.module, expected)
    assert loaded.info.name == name
    assert loaded.info.source == f"folder of {entry.address}"
    assert loaded.info.license == entry.license
    assert not any(parameter.requires_grad for parameter in loaded.module.parameters())
    random = load_zoo(entry, weights="random", folder=tmp_path / "files")
    assert not _equal(random.module, expected)


def test_a_masked_autoencoders_weights_give_its_encoder_on_every_patch(tmp_path):
    """The repository holds an autoencoder, which hides patches at random: the entry takes its encoder."""
    entry = zoo_entry("mae_base")
    shape = merged(entry.architecture["config"], entry.reduced["config"])
    decoder = {f"decoder_{key}": 16 for key in ("hidden_size", "intermediate_size")}
    decoder |= {"decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 4}
    whole = transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(**shape, **decoder)).eval()
    whole.save_pretrained(tmp_path)
    encoder = Repository(entry, "main", tmp_path).network()
    unmasked = transformers.ViTMAEModel.from_pretrained(tmp_path, mask_ratio=0.0).eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    in_order = torch.arange(16.0).expand(2, -1)
    with torch.no_grad():
        expected = unmasked(images, noise=in_order).last_hidden_state
        torch.testing.assert_close(encoder(images).last_hidden_state, expected)


def test_a_folder_beside_others_is_found_by_the_environment(tmp_path, monkeypatch):
    entry = small_entry("deit_base")
    saved = save_files(entry, tmp_path / "all" / "deit_base")
    assert not SOURCE.is_local(entry.name)
    monkeypatch.setenv("NFAS_WEIGHTS", str(tmp_path / "all"))
    assert SOURCE.is_local(entry.name)
    model = FrozenModel(entry)
    model.load()
    assert _equal(model.module, saved)


def test_without_a_configuration_the_entrys_own_is_taken(tmp_path):
    entry = small_entry("gpt2")
    saved = save_files(entry, tmp_path)
    (tmp_path / "config.json").unlink()
    assert _equal(load_zoo(entry, folder=tmp_path).module, saved)


@pytest.mark.parametrize("name", ["minilm_l6_v2", "deit_base"])
def test_files_that_are_missing_damaged_or_another_models_name_the_hub_entry(name, tmp_path):
    entry = small_entry(name)
    save_files(entry, tmp_path)
    file = tmp_path / "model.safetensors"
    state = {key: value.clone() for key, value in load_file(file).items()}  # the file is written over
    where = rf"folder '{tmp_path}' for the hub entry {entry.address}"

    first = next(key for key in state if key.endswith("weight"))
    save_file({key: value for key, value in state.items() if key != first}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=rf"(?s){where}.*{first}"):
        load_zoo(entry, folder=tmp_path)

    save_file({**state, first: state[first][..., :-1].contiguous()}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=rf"(?s){where} does not give {name}"):
        load_zoo(entry, folder=tmp_path)

    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises((ValueError, OSError), match=rf"(?s){where} does not give {name}"):
        load_zoo(entry, folder=tmp_path)

    file.unlink()
    with pytest.raises(
        OSError, match=rf"(?s){where} does not give {name}: it holds no weights.*Expected model"
    ):
        load_zoo(entry, folder=tmp_path)


def test_a_network_of_other_size_is_refused(tmp_path):
    entry = small_entry("minilm_l6_v2")
    deeper = replace(
        entry, architecture=merged(entry.architecture, {"config": {"num_hidden_layers": 7}}), blocks=7
    )
    save_files(deeper, tmp_path)
    with pytest.raises(ValueError, match=rf"minilm_l6_v2 \({entry.address}\) must have 6 blocks"):
        load_zoo(entry, folder=tmp_path)


class _Evil:
    def __reduce__(self):
        return (os.mkdir, ("pwned",))


@pytest.mark.parametrize("name", ["minilm_l6_v2", "deit_base"])
def test_a_pickle_that_runs_code_is_refused(name, tmp_path):
    entry = small_entry(name)
    save_files(entry, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with (tmp_path / "pytorch_model.bin").open("wb") as stream:
        pickle.dump({"weight": _Evil()}, stream)
    with pytest.raises((ValueError, OSError), match=f"does not give {name}"):
        load_zoo(entry, folder=tmp_path)
    torch.save({"weight": _Evil()}, tmp_path / "pytorch_model.bin")
    with pytest.raises((ValueError, OSError), match=f"does not give {name}"):
        load_zoo(entry, folder=tmp_path)
    assert not Path("pwned").exists()


def test_a_missing_tokenizer_is_named_for_random_weights_too(tmp_path):
    entry = small_entry("gpt2")
    save_files(entry, tmp_path)
    for file in tmp_path.glob("*token*"):
        file.unlink()
    for weights in ("pretrained", "random"):
        with pytest.raises((OSError, ValueError), match="openai-community/gpt2@607a30d"):
            load_zoo(entry, weights=weights, folder=tmp_path)


def test_the_repositorys_feature_extractor_wins_over_the_entry_with_a_warning(tmp_path):
    entry = small_entry("wavlm_base_plus")
    save_files(entry, tmp_path)
    extractor = tmp_path / "preprocessor_config.json"
    extractor.write_text(json.dumps({"do_normalize": False, "sampling_rate": 16_000}))
    assert not load_zoo(entry, folder=tmp_path).preprocess.feature_extractor.do_normalize
    extractor.write_text(json.dumps({"do_normalize": True, "sampling_rate": 16_000}))
    with pytest.warns(
        UserWarning, match=r"has \{'do_normalize': True\}, the entry says .*False.*numbers are used"
    ):
        loaded = load_zoo(entry, folder=tmp_path)
    assert loaded.preprocess.feature_extractor.do_normalize


_FROM_CACHE = """
import json, sys, warnings
from dataclasses import replace
from nfas_lightning.models import load_zoo
from nfas_lightning.models.zoo.registry import pin_of
from nfas_lightning.models.zoo.repository import Repository
from tests.helpers.zoo import small_entry
out = {}
for name in ("minilm_l6_v2", "deit_base"):
    entry = replace(small_entry(name), revision="main")
    loaded = load_zoo(entry)
    pin = pin_of(entry)
    out[name] = [loaded.info.source, loaded.info.weights_sha256, pin.revision, pin.weights_sha256]
    out[name].append(Repository(entry, "main").is_local)
for name in ("gpt2", "resnet50"):
    for weights in ("pretrained", "random"):
        try:
            load_zoo(small_entry(name), weights=weights)
            out[f"{name} {weights}"] = "loaded"
        except OSError as error:
            out[f"{name} {weights}"] = str(error)
print(json.dumps(out))
"""


@pytest.mark.slow
def test_the_hubs_cache_gives_weights_and_the_commit_behind_a_branch(tmp_path):
    expected = {}
    for name in ("minilm_l6_v2", "deit_base"):
        entry = small_entry(name)
        root = tmp_path / "hub" / f"models--{entry.hub.replace('/', '--')}"
        save_files(entry, root / "snapshots" / COMMIT)
        (root / "refs").mkdir()
        (root / "refs" / "main").write_text(COMMIT)
        expected[name] = load_zoo(entry, folder=root / "snapshots" / COMMIT).info.weights_sha256
    done = subprocess.run(
        [sys.executable, "-c", _FROM_CACHE],
        cwd=tmp_path,
        env={
            **os.environ,
            "HF_HOME": str(tmp_path),
            "HF_HUB_CACHE": str(tmp_path / "hub"),
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(Path(__file__).parents[3]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    out = json.loads(done.stdout.splitlines()[-1])
    for name, library in (("minilm_l6_v2", "transformers"), ("deit_base", "timm")):
        source = f"{library}:{small_entry(name).hub}@{COMMIT}"
        assert out[name] == [source, expected[name], COMMIT, expected[name], True]
    address = r"The hub entry timm/resnet50.a1_in1k@767268603ca0cb0bfe326fa87277f19c419566ef does not give"
    assert out["resnet50 pretrained"].startswith(address)
    assert "NFAS_WEIGHTS" in out["resnet50 pretrained"]
    assert "openai-community/gpt2@607a30d" in out["gpt2 pretrained"]
    assert out["resnet50 random"] == "loaded"  # needs no file
    assert "openai-community/gpt2@607a30d" in out["gpt2 random"]  # needs its tokenizer


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "bin"])
@pytest.mark.parametrize("name", ["gpt2", "deit_base"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_loaded_as_float32_and_the_card_says_so(dtype, name, pickled, tmp_path):
    entry = small_entry(name)
    saved = save_files(entry, tmp_path, pickled=pickled, dtype=dtype)
    loaded = load_zoo(entry, folder=tmp_path)
    assert {parameter.dtype for parameter in loaded.module.parameters()} == {torch.float32}
    assert _equal(loaded.module, saved.float())
    assert loaded.info.note.endswith(f"Stored in {dtype}, loaded as torch.float32.")
    assert loaded.info.note.startswith(entry.note)
    assert "Stored" not in load_zoo(entry, weights="random", folder=tmp_path).info.note


def test_float32_needs_no_word_on_the_card(tmp_path):
    entry = small_entry("deit_base")
    save_files(entry, tmp_path)
    loaded = load_zoo(entry, folder=tmp_path)
    assert {parameter.dtype for parameter in loaded.module.parameters()} == {torch.float32}
    assert loaded.info.note == entry.note


def test_of_weights_in_shards_the_first_tells_the_precision(tmp_path):
    entry = small_entry("gpt2")
    module = save_files(entry, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    module.half().save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    assert stored_dtypes(Repository(entry, "main", tmp_path).cached) == ["torch.float16"]
