"""Loading by name, offline: random weights and folders written by save_pretrained."""

import importlib
import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from torch import nn

from nfas_lightning.data.stimuli.texts import TextStimulus
from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.models import FrozenModel, ModelSuite, load_model, load_module, reach
from nfas_lightning.models.base import LoadedModel
from nfas_lightning.models.loaders import model_name
from nfas_lightning.models.optional import require
from nfas_lightning.models.preprocess import AudioPreprocess, ClipPreprocess, ImagePreprocess, TextPreprocess

transformers = pytest.importorskip("transformers")
pytest.importorskip("timm")

SMALL = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(autouse=True)
def hub_that_answers(monkeypatch):
    """No test asks the network: each says itself what its hub does."""
    monkeypatch.setattr(reach, "is_reachable", lambda url: True)


def _same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_timm_with_its_own_preprocessing():
    state = torch.get_rng_state()
    loaded = load_model("timm:vit_tiny_patch16_224", weights="random", seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert isinstance(loaded.preprocess, ImagePreprocess)
    assert (loaded.preprocess.height, loaded.preprocess.crop_pct) == (224, 0.9)
    assert (loaded.info.name, loaded.info.modality) == ("vit_tiny_patch16_224_random", "vision")
    assert loaded.info.source == "random (seed 1)"
    assert loaded.info.parameters == sum(p.numel() for p in loaded.module.parameters())
    assert not loaded.module.training
    again = load_model("timm:vit_tiny_patch16_224", weights="random", seed=1)
    other = load_model("timm:vit_tiny_patch16_224", weights="random", seed=2)
    assert _same(loaded.module, again.module)
    assert not _same(loaded.module, other.module)
    assert loaded.info.weights_sha256 == again.info.weights_sha256 != other.info.weights_sha256


def test_torchvision_with_its_own_preprocessing():
    loaded = load_model("torchvision:mobilenet_v3_small", weights="random")
    assert loaded.preprocess.height == 224
    assert loaded.preprocess.resize == 256
    assert loaded.preprocess.interpolation == "bilinear"
    pixels = loaded.preprocess({"image": torch.zeros(1, 3, 60, 80)}).args[0]
    torch.testing.assert_close(
        pixels[0, :, 0, 0], torch.tensor([-2.1179, -2.0357, -1.8044]), atol=1e-4, rtol=0
    )


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
    with pytest.raises(ValueError, match="revision belongs to models of the hub"):
        load_model("timm:resnet18", revision="main")


def test_weights_out_of_reach_name_their_hub_entry(monkeypatch):
    import timm

    def offline(*_, pretrained, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        OSError, match=r"could not be read from timm/resnet18\..*no route to host.*weights='random'"
    ):
        load_model("timm:resnet18")


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
    with pytest.raises(ValueError, match="No packaged model is called 'minilm'"):
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


def test_a_missing_library_names_its_extra(monkeypatch):
    def missing(name, *_):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"timm is needed here.*pip install 'nfas-lightning\[vision\]'"):
        require("timm", "vision")


# transformers


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "on", "mat"]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )


TEXT = {
    "Bert": {**SMALL, "vocab_size": 9, "max_position_embeddings": 12},
    "GPT2": {"n_layer": 3, "n_embd": 16, "n_head": 2, "vocab_size": 9, "bos_token_id": 2, "eos_token_id": 3},
    "Llama": {**SMALL, "num_key_value_heads": 2, "vocab_size": 9},
    "T5": {"d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 3, "num_heads": 2, "vocab_size": 9},
}


def _save(folder, name, options):
    torch.manual_seed(3)
    model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**options))
    model.save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize("name", TEXT)
def test_text_models_from_a_folder_run_and_ignore_padding(name, tokenizer, tmp_path):
    saved = _save(tmp_path, name, TEXT[name])
    tokenizer.save_pretrained(tmp_path)
    loaded = load_model(f"hf:{tmp_path}")
    assert isinstance(loaded.preprocess, TextPreprocess)
    assert (loaded.info.modality, loaded.info.family) == ("language", saved.config.model_type)
    reference = saved.get_encoder() if name == "T5" else saved
    assert _same(loaded.module, reference)
    model = FrozenModel(loaded)
    texts = [TextStimulus("the cat sat on the mat"), TextStimulus("cat"), TextStimulus("on the mat", (7, 10))]
    with DepthRecorder(loaded.module, mask_source=lambda: model.mask) as rec, torch.no_grad():
        model({"text": texts})
        rec.collect([0, 1, 2])
        together = rec.take().stack()
        for i, text in enumerate(texts):
            model({"text": [text]})
            rec.collect([i])
        alone = rec.take().stack()
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert together.shape == (3, 4 if name in ("Bert", "Llama") else 3, 16)


def test_random_weights_read_the_configuration_alone(tokenizer, tmp_path):
    saved = _save(tmp_path, "Bert", TEXT["Bert"])
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    twin = load_model(f"hf:{tmp_path}", weights="random", seed=1)
    assert not _same(twin.module, saved)
    assert _same(twin.module, load_model(f"hf:{tmp_path}", weights="random", seed=1).module)
    assert twin.preprocess.max_length == 12
    with pytest.raises(OSError, match=r"The folder '.*' could not be read"):
        load_model(f"hf:{tmp_path}")
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(OSError, match=r"The folder '.*' could not be read"):
        load_model(f"hf:{tmp_path}")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised_and_the_card_says_so(dtype, tokenizer, tmp_path):
    saved = _save(tmp_path, "GPT2", TEXT["GPT2"])
    saved.to(dtype).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load_model(f"hf:{tmp_path}")
    twin = load_model(f"hf:{tmp_path}", weights="random")
    for model in (loaded, twin):
        assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    assert _same(loaded.module, saved.float())
    assert loaded.info.note == f"Stored in {dtype}, raised to torch.float32."
    # what is handed over stays as it is
    half = load_module(nn.Sequential(*(nn.Linear(2, 2) for _ in range(3))).to(dtype))
    assert half.info.note == f"Runs in {dtype}."
    assert load_model(half, weights="random").info.note.endswith(f"Runs in {dtype}.")


def test_longformer_is_padded_before_it_pads_itself(tokenizer, tmp_path):
    window = {"max_position_embeddings": 40, "attention_window": 8, "pad_token_id": 0}
    _save(tmp_path, "Longformer", {**SMALL, "vocab_size": 9, **window})
    tokenizer.model_max_length = 100_001
    tokenizer.save_pretrained(tmp_path)
    model = FrozenModel(load_model(f"hf:{tmp_path}"))
    assert (model.load().preprocess.max_length, model.load().preprocess.multiple_of) == (40, 8)
    texts = [TextStimulus("the cat sat on the mat the mat sat"), TextStimulus("cat")]
    with DepthRecorder(model.module, mask_source=lambda: model.mask) as rec, torch.no_grad():
        model({"text": texts})
        together = torch.stack(rec.states, 1)
        assert rec.layers[0].shape == (16, 16)
        model({"text": texts[1:]})
        torch.testing.assert_close(together[1:], torch.stack(rec.states, 1), rtol=1e-4, atol=1e-5)


WHISPER = {"d_model": 16, "encoder_layers": 3, "decoder_layers": 1, "encoder_attention_heads": 2,
           "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 9,
           "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 0,
           "max_source_positions": 50}  # fmt: skip
WAV2VEC2 = {**SMALL, "conv_dim": [4] * 3, "conv_kernel": [10, 3, 3], "conv_stride": [5, 4, 4],
            "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "vocab_size": 9}  # fmt: skip


def _sounds(lengths):
    audio = torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(0)) * 0.1
    for row, n in zip(audio, lengths, strict=True):
        row[n:] = 0
    return {"audio": audio, "n_samples": torch.tensor(lengths), "sampling_rate": 16_000}


def _together_and_alone(loaded: LoadedModel, lengths):
    model, batch = FrozenModel(loaded), _sounds(lengths)
    with DepthRecorder(loaded.module, mask_source=lambda: model.mask) as rec, torch.no_grad():
        model(batch)
        together = [state.clone() for state in rec.states]
        alone = []
        for i, n in enumerate(lengths):
            model({**batch, "audio": batch["audio"][i : i + 1, :n], "n_samples": torch.tensor([n])})
            alone.append(rec.states)
    return torch.stack(together, 1), torch.stack([torch.cat(s, 0) for s in alone])


def test_whisper_gives_its_encoder_and_ignores_padding(tmp_path):
    saved = _save(tmp_path, "Whisper", WHISPER)
    transformers.WhisperFeatureExtractor(chunk_length=1).save_pretrained(tmp_path)
    loaded = load_model(f"hf:{tmp_path}")
    assert isinstance(loaded.preprocess, AudioPreprocess)
    assert _same(loaded.module, saved.get_encoder())
    together, alone = _together_and_alone(loaded, [16_000, 4_000])
    assert together.shape == (2, 3, 16)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_wav2vec2_with_layer_norm_ignores_padding(tmp_path):
    _save(tmp_path, "Wav2Vec2", {**WAV2VEC2, "feat_extract_norm": "layer", "do_stable_layer_norm": True})
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(tmp_path)
    together, alone = _together_and_alone(load_model(f"hf:{tmp_path}"), [3_000, 1_234, 2_000])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


def test_wav2vec2_with_group_norm_takes_one_length_at_a_time(tmp_path):
    _save(tmp_path, "Wav2Vec2", WAV2VEC2)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    loaded = load_model(f"hf:{tmp_path}")
    with pytest.raises(ValueError, match="norms look across time"):
        _together_and_alone(loaded, [3_000, 2_000])
    together, alone = _together_and_alone(loaded, [2_000, 2_000])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_codec_and_a_pair_of_networks_are_asked_back(tmp_path):
    sizes = {"num_filters": 4, "hidden_size": 8, "codebook_size": 16, "num_lstm_layers": 1}
    codec = transformers.EncodecConfig(**sizes, codebook_dim=8, target_bandwidths=[1.5])
    transformers.EncodecModel(codec).save_pretrained(tmp_path / "codec")
    transformers.EncodecFeatureExtractor().save_pretrained(tmp_path / "codec")
    with pytest.raises(
        ValueError, match=r"EncodecFeatureExtractor .* for encodec in a way of its own.*module"
    ):
        load_model(f"hf:{tmp_path / 'codec'}")
    tower = {**SMALL, "num_attention_heads": 2}
    text, vision = (
        {**tower, "bos_token_id": 0, "eos_token_id": 1},
        {**tower, "image_size": 32, "patch_size": 8},
    )
    pair = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    transformers.CLIPModel(pair).save_pretrained(tmp_path / "pair")
    for weights in ("pretrained", "random"):
        with pytest.raises(ValueError, match=r"holds two networks \(clip\).*CLIPVisionModel.from_pretrained"):
            load_model(f"hf:{tmp_path / 'pair'}", weights=weights)


def test_image_models_take_their_processors_numbers(tmp_path):
    options = {**SMALL, "image_size": 32, "patch_size": 8}
    _save(tmp_path, "ViT", options)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.1] * 3).save_pretrained(
        tmp_path
    )
    loaded = load_model(f"hf:{tmp_path}")
    assert loaded.info.modality == "vision"
    assert (loaded.preprocess.height, loaded.preprocess.interpolation) == (32, "bilinear")
    torch.testing.assert_close(loaded.preprocess.mean, torch.full((3,), 0.1))
    with DepthRecorder(loaded.module) as rec, torch.no_grad():
        FrozenModel(loaded)({"image": torch.rand(2, 3, 40, 50)})
        assert [state.shape for state in rec.states] == [(2, 16)] * 4


def test_a_revision_pins_and_its_absence_warns(monkeypatch):
    asked = []

    def offline(path, **options):
        asked.append((path, options))
        raise OSError("offline")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", offline)
    with pytest.raises(
        OSError, match=r"hub entry 'org/name' at revision abc could not be read: offline.*hf:\./folder"
    ):
        load_model("hf:org/name@abc")
    with pytest.raises(OSError, match="at revision abc"):
        load_model("hf:org/name", revision="abc")
    assert asked == [("org/name", {"trust_remote_code": False, "revision": "abc"})] * 2
    with (
        pytest.warns(UserWarning, match="names no revision"),
        pytest.raises(OSError, match="at revision main"),
    ):
        load_model("hf:org/name")
    with pytest.raises(ValueError, match="Two revisions for 'hf:org/name': 'abc' in the name and 'd'"):
        load_model("hf:org/name@abc", revision="d")
    with pytest.raises(FileNotFoundError, match=r"No folder '\./gone'"):
        load_model("hf:./gone")


def test_missing_tokenizer_and_unknown_inputs_are_named(tmp_path):
    _save(tmp_path, "Bert", TEXT["Bert"])
    with pytest.raises(OSError, match="no readable tokenizer"):
        load_model(f"hf:{tmp_path}")


def test_optional_libraries_are_imported_when_used():
    """Lightning's own metrics import transformers; this package must add nothing to that."""
    code = (
        "import sys, pytorch_lightning; before = set(sys.modules); import nfas_lightning.models; "
        "print({'timm', 'torchvision', 'transformers'} & (set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", ["timm:resnet18", "timm:regnetx_002", "timm:regnetz_005", "zoo:resnet50"])
def test_no_block_of_a_random_residual_network_is_the_identity(name):
    model = FrozenModel(name, weights="random")
    with DepthRecorder(model.load().module, model.layers) as recorder, torch.inference_mode():
        model.module(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
        recorder.collect(torch.arange(2))
    states = recorder.take().states
    assert len(states) > 4
    same = [one.shape == other.shape and torch.equal(one, other) for one, other in pairwise(states)]
    assert not any(same)


def test_a_module_has_the_modality_of_its_preprocessing(tokenizer):
    image = ImagePreprocess(8, (0, 0, 0), (1, 1, 1))
    for preprocess, modality in (
        (image, "vision"),
        (ClipPreprocess(2, image), "vision"),
        (AudioPreprocess(16_000), "audio"),
        (TextPreprocess(tokenizer, 8), "language"),
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
