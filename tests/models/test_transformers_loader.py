"""Networks of transformers, from folders that save_pretrained wrote."""

import numpy as np
import pytest
import torch
from torch import nn

from nfas_lightning.data.stimuli.texts import TextStimulus
from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.models import (
    AudioPreprocess,
    ClipPreprocess,
    FrozenModel,
    TextPreprocess,
    load_model,
    load_module,
    reach,
)
from nfas_lightning.models.loaded import LoadedModel
from nfas_lightning.models.transformers_loader import processor_preprocess
from nfas_lightning.models.zoo.architecture import build_preprocess
from nfas_lightning.models.zoo.registry import zoo

transformers = pytest.importorskip("transformers")
pytest.importorskip("timm")

SMALL = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(autouse=True)
def hub_that_answers(monkeypatch):
    """No test asks the network: each says itself what its hub does."""
    monkeypatch.setattr(reach, "is_reachable", lambda url: True)


def _same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


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
    assert loaded.info.note == f"Stored in {dtype}, loaded as torch.float32."
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


SHAPES = [(300, 300), (249, 333), (333, 250), (90, 61)]
WITHIN = 1.2  # steps of 1/255
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
EDGE, SQUARE = {"shortest_edge": 224}, {"height": 224, "width": 224}


# the settings that lie beside the weights on the hub
PROCESSORS = {
    "clip_vit_b32": ("CLIPImageProcessor", {"size": EDGE, "crop_size": SQUARE}),
    "siglip_base": ("SiglipImageProcessor", {"size": SQUARE, "resample": 3, **HALF}),
    "dinov2_base": (
        "BitImageProcessor",
        {"size": {"shortest_edge": 256}, "crop_size": SQUARE, "resample": 3, **IMAGENET},
    ),
    "mae_base": ("ViTImageProcessor", {"size": SQUARE, "resample": 2, **IMAGENET}),
    "videomae_base": (
        "VideoMAEImageProcessor",
        {"size": EDGE, "crop_size": SQUARE, "resample": 2, **IMAGENET},
    ),
    "timesformer_base": (
        "VideoMAEImageProcessor",
        {
            "size": EDGE,
            "crop_size": SQUARE,
            "resample": 2,
            "image_mean": [0.45] * 3,
            "image_std": [0.225] * 3,
        },
    ),
}
IMAGE_ENTRIES = {
    entry.name: entry for entry in zoo().values() if entry.preprocessing.get("kind") in ("image", "clip")
}


def picture(shape):
    """Bytes (H, W, 3) with waves, edges and a ramp, between 40 and 215."""
    rows, columns = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    waves = 0.5 + 0.5 * np.sin(rows / 7) * np.cos(columns / 5)
    edges = (rows // 16 + columns // 24) % 2
    return (40 + 175 * np.stack([waves, edges, columns / shape[1]], axis=-1)).round().astype(np.uint8)


def image_part(preprocess):
    return preprocess.image if isinstance(preprocess, ClipPreprocess) else preprocess


def steps_apart(preprocess, theirs, shape):
    """The greatest difference, in steps of 1/255 before normalization; sizes must be equal."""
    tensor = torch.from_numpy(picture(shape)).permute(2, 0, 1)
    ours = preprocess({"image": tensor[None] / 255}).args[0]
    theirs = theirs.reshape(ours.shape)
    return float((((ours - theirs) * preprocess.std.view(3, 1, 1)).abs() * 255 / preprocess.scale).max())


def entry_preprocess(name):
    return image_part(build_preprocess(IMAGE_ENTRIES[name].preprocessing, lambda: None))


@pytest.mark.parametrize("name", list(PROCESSORS))
def test_entries_of_transformers_equal_their_processor(name):
    kind, settings = PROCESSORS[name]
    processor = getattr(transformers, kind)(**settings)
    entry, read = entry_preprocess(name), processor_preprocess(processor)
    for shape in SHAPES:
        theirs = processor(images=picture(shape), return_tensors="pt")["pixel_values"]
        assert steps_apart(entry, theirs, shape) <= WITHIN, shape
        assert steps_apart(read, theirs, shape) <= WITHIN, shape


def test_smolvlm_squashes_as_its_processor_does():
    """Its processor enlarges to 2048 pixels first, for the tiles, which changes the whole image little."""
    processor = transformers.Idefics3ImageProcessor(
        size={"longest_edge": 2048}, max_image_size={"longest_edge": 512}, do_image_splitting=False, **HALF
    )
    once = transformers.SiglipImageProcessor(size={"height": 512, "width": 512}, resample=1, **HALF)
    preprocess, shape = entry_preprocess("smolvlm_256m_vision"), (249, 333)
    assert (
        steps_apart(preprocess, once(images=picture(shape), return_tensors="pt")["pixel_values"], shape)
        <= 1.3
    )
    ours = preprocess({"image": torch.from_numpy(picture(shape)).permute(2, 0, 1)[None] / 255}).args[0]
    theirs = processor(images=picture(shape), return_tensors="pt")["pixel_values"][0]
    assert float((ours - theirs).abs().mean() * 0.5 * 255) < 1  # on average, in steps


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (
            "DeiTImageProcessor",
            {"size": {"height": 80, "width": 80}, "crop_size": {"height": 64, "width": 63}},
        ),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 64}}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
        (
            "MobileViTImageProcessor",
            {"size": {"shortest_edge": 70}, "crop_size": {"height": 64, "width": 64}},
        ),
        ("ViTImageProcessor", {"size": {"height": 40, "width": 64}, "resample": 1}),
        ("ViTImageProcessor", {"size": {"height": 40, "width": 40}, "do_rescale": False}),
    ],
)
def test_other_processors(kind, settings):
    processor = getattr(transformers, kind)(**settings)
    preprocess = processor_preprocess(processor)
    for shape in [(80, 80), (81, 113), (113, 80)]:
        theirs = processor(images=picture(shape), return_tensors="pt")["pixel_values"]
        assert steps_apart(preprocess, theirs, shape) <= WITHIN, shape


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("ViTImageProcessor", {"do_resize": False}, "do_resize=False"),
        ("Idefics3ImageProcessor", {}, "size={'longest_edge': 1456}"),
        ("DetrImageProcessor", {}, "longest_edge"),
        ("ViTImageProcessor", {"size": {"shortest_edge": 64}}, "without a crop"),
        ("EfficientNetImageProcessor", {"include_top": True}, "its pixels differ"),
    ],
)
def test_processors_that_are_not_known_are_refused(kind, settings, said):
    with pytest.raises(ValueError, match=f"{kind} prepares images in a way that is not known") as caught:
        processor_preprocess(getattr(transformers, kind)(**settings))
    assert said in str(caught.value)
