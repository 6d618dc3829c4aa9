"""Image and video models of any source on the same clips."""

import pytest
import torch

from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.hooks.recorder import DepthRecorder
from nfas_lightning.models import FrozenModel
from nfas_lightning.models.loaders import load_model
from nfas_lightning.models.preprocess import ClipPreprocess, ImagePreprocess, RawStimuli

transformers = pytest.importorskip("transformers")

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
    with pytest.raises(ValueError, match="VivitImageProcessor scales pixels in a way of its own"):
        load_model(f"hf:{tmp_path}")


def test_a_bare_module_gets_frames_or_clips(stimuli):
    entries = [stimuli[i] for i in range(3)]
    assert RawStimuli()(stimuli.collate(entries)).args[0].shape == (30, 3, 40, 48)
    clips = StimulusSet(stimuli.items, "vision", as_clips=True)
    assert RawStimuli()(clips.collate(entries)).args[0].shape == (3, 10, 3, 40, 48)
