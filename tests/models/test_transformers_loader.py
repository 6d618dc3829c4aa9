"""Networks of transformers, from folders that save_pretrained wrote."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from nfas_lightning.alignment import align, record_trajectory
from nfas_lightning.data import CaptionedImages, StimulusSet
from nfas_lightning.data.stimuli.texts import TextStimulus
from nfas_lightning.datamodules import FolderDataModule
from nfas_lightning.hooks import DepthRecorder
from nfas_lightning.models import (
    AudioPreprocess,
    FrozenModel,
    TextPreprocess,
    load_model,
    load_module,
)
from nfas_lightning.models.loaded import LoadedModel
from nfas_lightning.models.transformers_loader import processor_preprocess
from nfas_lightning.scoring import ScoringSettings
from tests.helpers.networks import same_parameters
from tests.helpers.pictures import HALF, PROCESSORS, SHAPES, WITHIN, entry_preprocess, picture, steps_apart

transformers = pytest.importorskip("transformers")
pytest.importorskip("timm")

pytestmark = pytest.mark.usefixtures("hub_that_answers")

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}


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
def test_text_models_from_a_folder_run_and_ignore_padding(name, word_tokenizer, tmp_path):
    saved = _save(tmp_path, name, TEXT[name])
    word_tokenizer.save_pretrained(tmp_path)
    loaded = load_model(f"hf:{tmp_path}")
    assert isinstance(loaded.preprocess, TextPreprocess)
    assert (loaded.info.modality, loaded.info.family) == ("language", saved.config.model_type)
    reference = saved.get_encoder() if name == "T5" else saved
    assert same_parameters(loaded.module, reference)
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


def test_random_weights_read_the_configuration_alone(word_tokenizer, tmp_path):
    saved = _save(tmp_path, "Bert", TEXT["Bert"])
    word_tokenizer.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    twin = load_model(f"hf:{tmp_path}", weights="random", seed=1)
    assert not same_parameters(twin.module, saved)
    assert same_parameters(twin.module, load_model(f"hf:{tmp_path}", weights="random", seed=1).module)
    assert twin.preprocess.max_length == 12
    with pytest.raises(OSError, match=r"The folder '.*' could not be read"):
        load_model(f"hf:{tmp_path}")
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(OSError, match=r"The folder '.*' could not be read"):
        load_model(f"hf:{tmp_path}")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised_and_the_card_says_so(dtype, word_tokenizer, tmp_path):
    saved = _save(tmp_path, "GPT2", TEXT["GPT2"])
    saved.to(dtype).save_pretrained(tmp_path)
    word_tokenizer.save_pretrained(tmp_path)
    loaded = load_model(f"hf:{tmp_path}")
    twin = load_model(f"hf:{tmp_path}", weights="random")
    for model in (loaded, twin):
        assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    assert same_parameters(loaded.module, saved.float())
    assert loaded.info.note == f"Stored in {dtype}, loaded as torch.float32."
    # what is handed over stays as it is
    half = load_module(nn.Sequential(*(nn.Linear(2, 2) for _ in range(3))).to(dtype))
    assert half.info.note == f"Runs in {dtype}."
    assert load_model(half, weights="random").info.note.endswith(f"Runs in {dtype}.")


def test_longformer_is_padded_before_it_pads_itself(word_tokenizer, tmp_path):
    window = {"max_position_embeddings": 40, "attention_window": 8, "pad_token_id": 0}
    _save(tmp_path, "Longformer", {**SMALL, "vocab_size": 9, **window})
    word_tokenizer.model_max_length = 100_001
    word_tokenizer.save_pretrained(tmp_path)
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
    assert same_parameters(loaded.module, saved.get_encoder())
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
        with pytest.raises(ValueError, match=r"holds two networks \(clip\).*Choose one .*#vision, .*#text"):
            load_model(f"hf:{tmp_path / 'pair'}", weights=weights)


@pytest.fixture
def pictures():
    return torch.rand(5, 3, 40, 50, generator=torch.Generator().manual_seed(0))


def _recorded(loaded, stimuli, modality, **options):
    """States of one block after another, (N, L, D), from batches of three and one by one."""
    model, stimuli = FrozenModel(loaded), StimulusSet(stimuli, modality, **options)
    together, alone = (record_trajectory(model, stimuli, batch_size=size) for size in (3, 1))
    for one, other in zip(together.states, alone.states, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    return together


CLIPS = {
    "VideoMAE": {**SMALL, "image_size": 32, "patch_size": 16, "num_frames": 4, "tubelet_size": 2},
    "Timesformer": {**SMALL, "image_size": 32, "patch_size": 16, "num_frames": 4},
    "VJEPA2": {
        "crop_size": 32, "patch_size": 16, "frames_per_clip": 4, "tubelet_size": 2, "hidden_size": 16,
        "num_attention_heads": 2, "num_hidden_layers": 4, "mlp_ratio": 2, "pred_hidden_size": 16,
        "pred_num_attention_heads": 2, "pred_num_hidden_layers": 2, "pred_num_mask_tokens": 2,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CLIPS)
def test_networks_of_clips_sample_as_many_frames_as_they_read(name, tmp_path):
    saved = _save(tmp_path, name, CLIPS[name])
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    if name == "VJEPA2":
        processor = transformers.VJEPA2VideoProcessor(crop_size=32)
    else:
        kind = "VideoMAEImageProcessor" if name == "VideoMAE" else "VideoMAEVideoProcessor"
        processor = getattr(transformers, kind)(**size)
    processor.save_pretrained(tmp_path)
    loaded = load_model(f"hf:{tmp_path}")
    assert (loaded.preprocess.frames, loaded.preprocess.image.height) == (4, 32)
    assert loaded.info.modality == "vision"
    clips = torch.rand(3, 9, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    states = _recorded(loaded, clips, "vision").stack()
    pixels = loaded.preprocess({"clip": clips}).args[0]
    options = {"skip_predictor": True} if name == "VJEPA2" else {}
    with torch.no_grad():
        theirs = saved(pixels, output_hidden_states=True, **options).hidden_states
    expected = torch.stack([state.mean(1) for state in theirs[1:4]], dim=1)
    torch.testing.assert_close(states[:, :3], expected, rtol=1e-4, atol=1e-5)
    assert states.shape == (3, 4, 16)


TOWER = {**SMALL, "num_hidden_layers": 3}
TEXT_TOWER = {**TOWER, "vocab_size": 9, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
SEEN = {**TOWER, "image_size": 32, "patch_size": 16}


@pytest.mark.parametrize("name", ["CLIP", "Siglip"])
def test_the_towers_of_a_pair_are_named_at_the_end(name, word_tokenizer, pictures, tmp_path):
    text = {**TEXT_TOWER, "max_position_embeddings": 8}
    saved = _save(tmp_path, name, {"text_config": text, "vision_config": SEEN})
    getattr(transformers, f"{name}ImageProcessor")(
        size={"height": 32, "width": 32}, do_center_crop=False
    ).save_pretrained(tmp_path)
    word_tokenizer.save_pretrained(tmp_path)
    seen, read = (load_model(f"hf:{tmp_path}#{part}") for part in ("vision", "text"))
    assert (seen.info.modality, read.info.modality) == ("vision", "language")
    assert seen.info.name == f"{tmp_path.name.lower()}_vision"
    assert seen.info.source.endswith("#vision")
    assert same_parameters(seen.module, saved.vision_model)
    assert same_parameters(read.module, saved.text_model)
    assert _recorded(seen, pictures, "vision").stack().shape == (5, 3, 16)
    texts = ["the cat sat", "on mat", "the mat sat on the cat", "cat"]
    states = _recorded(read, texts, "language").stack()
    ids = word_tokenizer("on mat", padding="max_length", max_length=8, return_tensors="pt")["input_ids"]
    with torch.no_grad():  # SigLIP was trained on padded texts that it attends to, CLIP on masked ones
        theirs = saved.text_model(
            ids, attention_mask=None if name == "Siglip" else (ids > 0).long(), output_hidden_states=True
        ).hidden_states
    torch.testing.assert_close(states[1, 0], theirs[1][0, 1:3].mean(0), rtol=1e-4, atol=1e-5)
    assert load_model(f"hf:{tmp_path}#text", weights="random").info.source == "random (seed 0)"
    with pytest.raises(ValueError, match=r"\(.*\) has no part 'audio'; it has 'vision', 'text'"):
        load_model(f"hf:{tmp_path}#audio")
    with pytest.raises(ValueError, match="part must be"):
        FrozenModel(f"hf:{tmp_path}#smell")


def test_the_towers_of_clap_hear_and_read(word_tokenizer, tmp_path):
    audio = {"patch_embeds_hidden_size": 16, "depths": [2, 2, 2, 2], "num_attention_heads": [1, 2, 4, 8]}
    _save(
        tmp_path, "Clap",
        {"text_config": {**TEXT_TOWER, "max_position_embeddings": 12}, "projection_dim": 8,
         "audio_config": {**audio, "hidden_size": 128, "enable_fusion": False}},
    )  # fmt: skip
    transformers.ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(tmp_path)
    word_tokenizer.save_pretrained(tmp_path)
    heard = load_model(f"hf:{tmp_path}#audio")
    assert heard.info.modality == "audio"
    sounds = [torch.rand(n, generator=torch.Generator().manual_seed(n)) - 0.5 for n in (4000, 9000, 6000)]
    trajectory = _recorded(heard, sounds, "audio", sampling_rate=48_000)
    assert trajectory.widths == (16, 16, 32, 32, 64, 64, 128, 128)
    read = load_model(f"hf:{tmp_path}#text")
    assert _recorded(read, ["the cat", "mat", "sat on the mat"], "language").stack().shape == (3, 3, 16)


MARKS = {
    "Llava": ["<image>"],
    "Qwen2VL": ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"],
    "Idefics2": (around := ["<image>", "<fake_token_around_image>", "<end_of_utterance>"]),
    "Idefics3": (tiles := [*around, "<global-img>", "<row_1_col_1>", "<row_1_col_2>"]),
    "SmolVLM": tiles,
}


def _captioning(name, tokenizer, folder):
    """A small vision-language network with its processor."""
    tokenizer = copy.deepcopy(tokenizer)  # whose marks are its own
    tokenizer.add_special_tokens({"additional_special_tokens": MARKS[name]})
    ids = tokenizer.convert_tokens_to_ids(MARKS[name])
    text = {**TEXT_TOWER, "vocab_size": len(tokenizer), "num_key_value_heads": 2}
    if name == "Llava":
        seen = {"model_type": "clip_vision_model", **SEEN, "projection_dim": 8}
        config = {"text_config": {"model_type": "llama", **text}, "image_token_index": ids[0]}
        side = {"height": 32, "width": 32}
        processor = transformers.LlavaProcessor(
            transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=side), tokenizer,
            patch_size=16, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        )  # fmt: skip
    elif name != "Qwen2VL":
        seen = {**SEEN, "patch_size": 8}
        family = "mistral" if name == "Idefics2" else "llama"
        config = {"text_config": {"model_type": family, **text}, "image_token_id": ids[0], "pad_token_id": 0}
        size = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
        if name == "Idefics2":
            heads = {"resampler_n_heads": 2, "num_key_value_heads": 2, "resampler_head_dim": 8}
            config["perceiver_config"] = {"hidden_size": 16, "resampler_n_latents": 4, "resampler_depth": 1}
            config["perceiver_config"] |= {**heads, "initializer_range": 0.2}
            seen["initializer_range"] = config["text_config"]["initializer_range"] = 0.2  # or all look alike
            size = {"size": {"shortest_edge": 20, "longest_edge": 32}}
        else:
            config["scale_factor"] = 2
        images = getattr(transformers, f"{name}ImageProcessor")(**size, do_image_splitting=name == "Idefics3")
        films = [transformers.SmolVLMVideoProcessor(**size)] if name == "SmolVLM" else []
        kind = getattr(transformers, f"{name}Processor")
        processor = kind(images, tokenizer, *films, image_seq_len=4)
    else:
        text["rope_parameters"] = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
        seen = {"depth": 2, "embed_dim": 16, "num_heads": 2, "hidden_size": 16, "patch_size": 8}
        names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
        config = {"text_config": text, **dict(zip(names, ids, strict=True))}
        processor = transformers.Qwen2VLProcessor(
            transformers.Qwen2VLImageProcessor(patch_size=8, min_pixels=256, max_pixels=1024), tokenizer,
            transformers.Qwen2VLVideoProcessor(patch_size=8),
        )  # fmt: skip
    saved = _save(folder, name, {**config, "vision_config": seen})
    processor.save_pretrained(folder)
    return saved, processor, ids[0]


@pytest.mark.parametrize("name", MARKS)
def test_a_vision_language_model_reads_picture_and_caption_together(
    name, word_tokenizer, pictures, tmp_path, monkeypatch
):
    # it writes numbers of videos, which nobody shows it here
    monkeypatch.setattr("transformers.models.smolvlm.processing_smolvlm.num2words", object())
    saved, processor, picture = _captioning(name, word_tokenizer, tmp_path)
    loaded = load_model(f"hf:{tmp_path}")
    assert loaded.info.modality == ""  # that of what it is shown
    captions = ["the cat sat", "mat", "the cat sat on the mat", "on", "cat mat"]
    both = _recorded(loaded, CaptionedImages(pictures, captions), "vision")
    language = "language_model" if name in ("Llava", "Qwen2VL") else "text_model"
    assert both.layer_names == tuple(f"{language}.layers.{i}" for i in range(3))
    others = CaptionedImages(pictures.flip(0), captions), CaptionedImages(pictures, captions[::-1])
    for shown in others:  # each of the two has its part
        changed = record_trajectory(FrozenModel(loaded), StimulusSet(shown, "vision"), batch_size=5).stack()
        assert ((changed - both.stack()).abs().amax((1, 2)) > 1e-3).sum() >= 4
    before, after = MARKS[name][2:] if name == "Qwen2VL" else ("", "")
    shown = Image.fromarray((pictures[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
    prompt = f"{before}{processor.image_token}{after}the cat sat"
    inputs = processor(images=[[shown]], text=[prompt], return_tensors="pt")
    with torch.no_grad():
        theirs = saved(**inputs, output_hidden_states=True).hidden_states[1][0]
    ids = inputs["input_ids"][0]
    counts = (ids == picture) | ((ids >= 4) & (ids < 9))  # patches and words
    torch.testing.assert_close(both.stack()[0, 0], theirs[counts].mean(0), rtol=1e-4, atol=1e-5)
    alone = StimulusSet(captions, "language")
    texts = record_trajectory(FrozenModel(loaded), alone, batch_size=5).stack()
    assert texts.shape == (5, 3, 16)
    assert ((texts - both.stack()).abs().amax((1, 2)) > 1e-3).all()
    if name == "SmolVLM":
        monkeypatch.setattr("transformers.models.smolvlm.processing_smolvlm.num2words", None)
        with pytest.raises(ImportError, match=r"reads needs another package: Package `num2words`"):
            load_model(f"hf:{tmp_path}")


def test_the_config_for_captions_scores_picture_and_caption_together(word_tokenizer, pictures, tmp_path):
    config = yaml.safe_load((CONFIGS / "experiments" / "captions.yaml").read_text())
    assert [name.rpartition("#")[2] for name in config["model"]["init_args"]["models"]][1:] == ["vision"]
    _captioning("Llava", word_tokenizer, tmp_path / "vlm")
    (tmp_path / "captions" / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    words = rng.choice(["the", "cat", "sat", "on", "mat"], (24, 3))
    for i in range(24):
        pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "captions" / "images" / f"{i}.png")
    lines = "\n".join(" ".join(row) for row in words)
    (tmp_path / "captions" / "captions.csv").write_text(f"text\n{lines}\n")
    # responses that follow the caption, which the vision tower can't see
    said = np.stack([(words == word).sum(1) for word in ("cat", "mat")], axis=1)
    np.save(tmp_path / "captions" / "responses.npy", said + 0.1 * rng.normal(size=said.shape))
    given = config["data"]["init_args"] | {"root": str(tmp_path / "captions"), "size": 32}
    settings = ScoringSettings(n_permutations=0, n_bootstrap=0)
    r = {}
    for name in ("vlm", "vlm#vision"):
        brain = FolderDataModule(**given)
        model = f"hf:{tmp_path / name}"
        if "#" in name:  # LLaVA's towers have other names
            loaded = load_model(f"hf:{tmp_path / 'vlm'}")
            image = processor_preprocess(loaded.preprocess.processor.image_processor)
            model = load_module(loaded.module.vision_tower, preprocess=image, modality="vision")
        result = align(model, brain, settings=settings, cache=False, progress=False)
        r[name] = result.scores.query("feature == 'all_blocks'")["r"].mean()
    assert r["vlm"] > 0.6
    assert r["vlm#vision"] < 0.3


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
    # Pillow's, since torchvision resizes with Lanczos from 0.27 on
    once = transformers.SiglipImageProcessorPil(size={"height": 512, "width": 512}, resample=1, **HALF)
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
        ("ViTImageProcessorPil", {"size": {"height": 40, "width": 64}, "resample": 1}),
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
