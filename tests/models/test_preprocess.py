"""Images and clips, prepared for networks."""

import pickle

import numpy as np
import pytest
import torch

from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.data.stimuli.texts import TextStimulus
from nfas_lightning.hooks.recorder import DepthRecorder
from nfas_lightning.models import (
    AudioPreprocess,
    ClipPreprocess,
    FrozenModel,
    ImagePreprocess,
    RawStimuli,
    TextPreprocess,
    load_model,
)
from tests.helpers.sounds import padded_tones

transformers = pytest.importorskip("transformers")

HALF = (0.5, 0.5, 0.5)
NONE = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def _image(batch=2, height=50, width=70):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_resizing_equals_pillow(interpolation):
    image_module = pytest.importorskip("PIL.Image")
    image = _image(1, 64, 64)
    pixels = ImagePreprocess(24, **NONE, interpolation=interpolation)({"image": image}).args[0]
    method = getattr(image_module.Resampling, interpolation.upper())
    for channel in range(3):
        pillow = image_module.fromarray(image[0, channel].numpy(), mode="F").resize((24, 24), method)
        wanted = np.clip(np.asarray(pillow), 0, 1)
        np.testing.assert_allclose(pixels[0, channel].numpy(), wanted, atol=1e-4)


def test_the_center_is_cut_out_of_the_resized_image():
    image = _image(1, 40, 60)
    whole = ImagePreprocess((40, 60), **NONE)({"image": image}).args[0]
    assert torch.equal(whole, image)
    cut = ImagePreprocess(20, **NONE, crop_pct=0.5)({"image": image}).args[0]
    assert torch.equal(cut, image[..., 10:30, 20:40])


@pytest.mark.parametrize("shape", [(50, 70), (70, 50), (31, 31), (8, 200)])
@pytest.mark.parametrize("size", [32, (24, 40)])
def test_every_image_reaches_the_size(shape, size):
    pixels = ImagePreprocess(size, HALF, HALF, crop_pct=0.875)({"image": _image(1, *shape)}).args[0]
    assert tuple(pixels.shape[-2:]) == ((size, size) if isinstance(size, int) else size)


def test_values_are_scaled_then_normalized_in_the_networks_channel_order():
    image = _image(2, 8, 8)
    mean, std = (104.0, 116.0, 122.0), (1.0, 2.0, 4.0)
    pixels = ImagePreprocess(8, mean, std, channel_order="bgr", scale=255.0)({"image": image}).args[0]
    wanted = torch.stack([(image[:, 2 - i] * 255 - mean[i]) / std[i] for i in range(3)], dim=1)
    torch.testing.assert_close(pixels, wanted)


def test_images_out_of_range_or_shape_are_refused():
    preprocess = ImagePreprocess(8, HALF, HALF)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got values from 0 to 255"):
        preprocess({"image": torch.tensor([0.0, 255.0]).expand(1, 3, 2, 2)})
    with pytest.raises(ValueError, match=r"float tensor \(B, 3, H, W\).*got \(1, 1, 8, 8\)"):
        preprocess({"image": torch.zeros(1, 1, 8, 8)})
    with pytest.raises(ValueError, match="uint8"):
        preprocess({"image": torch.zeros(1, 3, 8, 8, dtype=torch.uint8)})
    with pytest.raises(ValueError, match=r"reads 'image' and the batch holds \['audio'\]"):
        preprocess({"audio": torch.zeros(1, 8)})
    with pytest.raises(ValueError, match="crop_pct"):
        ImagePreprocess(8, HALF, HALF, crop_pct=1.2)
    with pytest.raises(ValueError, match="interpolation must be one of"):
        ImagePreprocess(8, HALF, HALF, interpolation="nearest")


def test_raw_stimuli_pass_and_audio_brings_its_mask():
    sounds = padded_tones()
    inputs = RawStimuli()(sounds)
    assert inputs.args[0] is sounds["audio"]
    assert inputs.mask.sum(dim=1).tolist() == [800, 500]
    assert RawStimuli()(padded_tones((800, 800))).mask is None


def test_everything_can_be_pickled(tokenizer):
    image = {"image": _image()}
    for preprocess, batch in (
        (ImagePreprocess(8, HALF, HALF), image),
        (AudioPreprocess(16_000, convolutions=[(10, 5)]), padded_tones()),
        (RawStimuli(), image),
    ):
        copied = pickle.loads(pickle.dumps(preprocess))
        assert torch.equal(copied(batch).args[0], preprocess(batch).args[0])
    texts = {"text": [TextStimulus("the cat")]}
    copied = pickle.loads(pickle.dumps(TextPreprocess(tokenizer, 8)))
    assert torch.equal(copied(texts).mask, TextPreprocess(tokenizer, 8)(texts).mask)


def test_resize_says_what_it_can_take():
    for resize, said in (
        (20, "must cover the 24 x 30 pixels"),
        ((24, 29), "must cover"),
        ("fit", "must be one"),
    ):
        with pytest.raises(ValueError, match=said):
            ImagePreprocess((24, 30), (0.5,) * 3, (0.5,) * 3, resize=resize)
    with pytest.raises(ValueError, match="resize in pixels or crop_pct"):
        ImagePreprocess(24, (0.5,) * 3, (0.5,) * 3, resize=30, crop_pct=0.8)


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


TINY = {"image_size": 32, "patch_size": 16, "num_frames": 4, "hidden_size": 16, "num_hidden_layers": 3,
        "num_attention_heads": 2, "intermediate_size": 16}  # fmt: skip


def save_tiny(folder, name):
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**TINY))
    model.save_pretrained(folder)
    size = {"height": 32, "width": 32}
    transformers.VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    return model.eval()


@pytest.fixture
def stimuli():
    clips = torch.rand(3, 10, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    return StimulusSet(clips, "vision")


def record(model, stimuli, size):
    model.load()
    with DepthRecorder(model.module, model.layers, pooling=model.pooling) as rec, torch.no_grad():
        for start in range(0, len(stimuli), size):
            batch = stimuli.collate([stimuli[i] for i in range(start, min(start + size, len(stimuli)))])
            model(batch)
            rec.collect(batch["stimulus_id"], batch["n_frames"])
        return rec.take()


@pytest.mark.parametrize("name", ["VideoMAE", "Timesformer"])
def test_a_video_model_reads_clips(name, tmp_path, stimuli):
    saved = save_tiny(tmp_path, name)
    loaded = load_model(f"hf:{tmp_path}")
    assert isinstance(loaded.preprocess, ClipPreprocess)
    assert loaded.info.modality == "vision"
    together, alone = (record(FrozenModel(loaded), stimuli, size) for size in (3, 1))
    assert together.widths == (16, 16, 16)
    batch = stimuli.collate([stimuli[i] for i in range(3)])
    with torch.no_grad():
        pixels = ClipPreprocess(4, ImagePreprocess(32, *[(0.5,) * 3] * 2, interpolation="bilinear"))(
            batch
        ).args[0]
        # transformers' own states: embeddings first
        states = saved(pixels, output_hidden_states=True).hidden_states[1:]
    for depth in range(3):
        torch.testing.assert_close(together.states[depth], states[depth].mean(1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.states[depth], alone.states[depth], rtol=1e-4, atol=1e-5)


def test_random_weights_need_the_configuration_alone(tmp_path, stimuli):
    save_tiny(tmp_path, "VideoMAE")
    (tmp_path / "model.safetensors").unlink()
    trajectory = record(FrozenModel(f"hf:{tmp_path}", weights="random"), stimuli, 2)
    assert len(trajectory.stimulus_ids) == 3


def test_an_image_model_reads_frames_and_its_features_are_averaged(stimuli):
    model = FrozenModel("timm:test_vit", weights="random")
    together, alone = (record(model, stimuli, size) for size in (3, 2))
    frames = StimulusSet(torch.cat([stimuli[i][1] for i in range(3)]), "vision")
    with DepthRecorder(model.module, model.layers, pooling=model.pooling) as rec, torch.no_grad():
        model(frames.collate([frames[i] for i in range(30)]))
        rec.collect(torch.arange(30))
        each = rec.take()
    for depth, state in enumerate(each.states):
        wanted = state.unflatten(0, (3, 10)).mean(1)
        torch.testing.assert_close(together.states[depth], wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone.states[depth], wanted, rtol=1e-4, atol=1e-5)


def test_a_processor_of_another_kind_is_refused(tmp_path):
    save_tiny(tmp_path, "VideoMAE")
    transformers.VivitImageProcessor().save_pretrained(tmp_path)
    with pytest.raises(
        ValueError,
        match=r"VivitImageProcessor .* is not known here \(offset=True\)",
    ):
        load_model(f"hf:{tmp_path}")


def test_a_bare_module_gets_frames_or_clips(stimuli):
    entries = [stimuli[i] for i in range(3)]
    assert RawStimuli()(stimuli.collate(entries)).args[0].shape == (30, 3, 40, 48)
    clips = StimulusSet(stimuli.items, "vision", as_clips=True)
    assert RawStimuli()(clips.collate(entries)).args[0].shape == (3, 10, 3, 40, 48)


def test_a_stride_takes_frames_around_the_middle_of_a_clip():
    image = ImagePreprocess(4, **NONE)
    clip = torch.arange(12.0)[:, None, None, None].expand(12, 3, 4, 4)[None] / 12
    chosen = ClipPreprocess(3, image, stride=2)({"clip": clip}).args[0]
    assert (chosen[0, :, 0, 0, 0] * 12).round().tolist() == [4, 6, 8]
    spread = ClipPreprocess(3, image)({"clip": clip}).args[0]
    assert (spread[0, :, 0, 0, 0] * 12).round().tolist() == [2, 6, 10]
    first = ClipPreprocess(3, image, channels_first=True)({"clip": clip}).args[0]
    assert torch.equal(first.transpose(1, 2), spread)
    still = ClipPreprocess(3, image, stride=5)({"image": clip[0, :2]}).args[0]
    assert still.shape == (2, 3, 3, 4, 4)
    with pytest.raises(ValueError, match=r"must have 15 frames for 3 at a stride of 5, got 12"):
        ClipPreprocess(3, image, stride=5)({"clip": clip})
