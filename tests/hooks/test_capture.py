"""A batch against its stimuli alone: networks that mix padding in are recorded one stimulus at a time."""

import warnings

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from nfas_lightning import align
from nfas_lightning.alignment import record_trajectory
from nfas_lightning.callbacks import DepthTrajectory
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.hooks.capture import one_stimulus, stimulus_lengths
from nfas_lightning.hooks.trajectory import concatenate
from nfas_lightning.models import FrozenModel, TextPreprocess
from nfas_lightning.models.zoo.stand_ins import stand_in_batch, stand_in_tokenizer
from tests.helpers.training import QUICK

transformers = pytest.importorskip("transformers")
TEXTS = [stimulus.text for stimulus in stand_in_batch("language", 12)["text"]]
EQUAL = [stimulus.text for stimulus in stand_in_batch("language", 12, equal_lengths=True)["text"]]
SMALL = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3,
         "num_attention_heads": 2, "max_position_embeddings": 64}  # fmt: skip


def text_model(kind, **changes):
    config = {"fnet": transformers.FNetConfig, "convbert": transformers.ConvBertConfig,
              "nystromformer": transformers.NystromformerConfig, "bert": transformers.BertConfig,
              "llama": transformers.LlamaConfig}[kind]  # fmt: skip
    own = {"num_landmarks": 64, "segment_means_seq_len": 64} if kind == "nystromformer" else {}
    own |= {"embedding_size": 16} if kind == "convbert" else {}
    torch.manual_seed(0)
    net = transformers.AutoModel.from_config(config(**SMALL, **own))
    preprocess = TextPreprocess(stand_in_tokenizer(60), 64, **changes)
    return FrozenModel(net, preprocess=preprocess, name=kind, modality="language")


def one_by_one(model, stimuli):
    return record_trajectory(model, stimuli, batch_size=1)


def trainer(callback):
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[callback], barebones=False,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["fnet", "convbert", "nystromformer"])
def test_networks_that_mix_padding_in_are_found_and_shown_one_by_one(kind):
    model, stimuli = text_model(kind), StimulusSet(TEXTS, "language")
    wanted = one_by_one(model, stimuli)
    with pytest.warns(
        UserWarning, match=r"in a batch than alone, first at block '.*of its norm.*batch_size=1"
    ):
        found = record_trajectory(model, stimuli, batch_size=5)
    for one, other in zip(found.states, wanted.states, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("keep", ["memory", "shards"])
def test_a_trainers_loop_does_likewise(keep, tmp_path):
    model, stimuli = text_model("fnet"), StimulusSet(TEXTS, "language")
    wanted = one_by_one(model, stimuli)
    callback = DepthTrajectory(save_dir=tmp_path if keep == "shards" else None, shard_size=4)
    loader = DataLoader(stimuli, 5, collate_fn=stimuli.collate)
    with pytest.warns(UserWarning, match="FNetModel makes other states of a stimulus in a batch than alone"):
        trainer(callback).test(model, loader, verbose=False)
    for one, other in zip(callback.trajectory.states, wanted.states, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_networks_that_keep_padding_out_stay_in_batches_and_nothing_is_said(kind):
    model, stimuli = text_model(kind), StimulusSet(TEXTS, "language")
    sizes = []
    model.module.register_forward_pre_hook(
        lambda m, a, k: sizes.append(len(k["input_ids"])), with_kwargs=True
    )
    record_trajectory(model, stimuli, batch_size=5)
    # the first batch, the first read before it is collected, two stimuli alone, and the rest
    assert sorted(sizes) == [1, 1, 2, 5, 5]
    sizes.clear()
    callback = DepthTrajectory()
    trainer(callback).test(model, DataLoader(stimuli, 5, collate_fn=stimuli.collate), verbose=False)
    assert sorted(sizes) == [1, 1, 2, 5, 5]


def test_padding_that_comes_late_is_looked_at_when_it_comes():
    model, stimuli = text_model("fnet"), StimulusSet([*EQUAL[:6], *TEXTS[:6]], "language")
    wanted = one_by_one(model, stimuli)
    with pytest.warns(UserWarning, match="in a batch than alone"):
        found = record_trajectory(model, stimuli, batch_size=3)
    for one, other in zip(found.states, wanted.states, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record_trajectory(model, StimulusSet(EQUAL, "language"), batch_size=3)


@pytest.mark.filterwarnings("ignore:LlamaModel uses the first token")
def test_processes_decide_alike_about_a_first_token():
    """A text of four does not begin with what makes a sink: the second share alone would find none."""
    model = text_model("llama")
    tokenizer = model.load().preprocess.tokenizer
    model.module.embed_tokens.weight.data[tokenizer.convert_tokens_to_ids("word0")] *= 1000
    texts = [f"word{int(i % 4 == 1)} {text.replace('word0 ', 'word3 ')}" for i, text in enumerate(TEXTS)]
    stimuli = StimulusSet(texts, "language")
    whole = record_trajectory(model, stimuli, batch_size=4)
    assert whole.layers[-1].pooling == "auto:rest"
    own = record_trajectory(model, StimulusSet(texts[1::2], "language"), batch_size=4)
    assert own.layers[-1].pooling == "auto:all"
    shares = [record_trajectory(model, stimuli, batch_size=4, share=(rank, 2)) for rank in (0, 1)]
    joined = concatenate(shares)
    for one, other in zip(joined.states, whole.states, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


class BatchStatistics(nn.Module):
    """Normalizes over the batch in evaluation mode, too."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3, track_running_stats=False))
              for _ in range(3))
        )  # fmt: skip

    def forward(self, x):
        return self.blocks(x)


def test_statistics_of_the_batch_are_found_in_align():
    images = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    brain = ArrayDataModule(images, torch.randn(12, 2), batch_size=4)
    net = BatchStatistics()
    with pytest.warns(UserWarning, match=r"BatchStatistics makes other states.*first at block 'blocks.0'"):
        align(net, brain, settings=QUICK, progress=False)


class Flat(nn.Sequential):
    """Fails for a single stimulus."""

    def __init__(self):
        super().__init__(*(nn.BatchNorm1d(4, track_running_stats=False) for _ in range(3)))


class Squeezed(nn.Sequential):
    """Loses the batch axis of a single stimulus."""

    def __init__(self):
        super().__init__(*(nn.Linear(4, 4) for _ in range(3)))

    def forward(self, x):
        return super().forward(x).squeeze().softmax(1)


@pytest.mark.parametrize(("kind", "why"), [(Flat, "more than 1 value"), (Squeezed, "Dimension out of range")])
@pytest.mark.parametrize("world", [1, 2])
def test_a_network_that_takes_no_single_stimulus_is_recorded_with_a_warning(kind, why, world):
    torch.manual_seed(0)
    stimuli = StimulusSet(torch.rand(6, 3, 4, 4), "vision")
    with pytest.warns(
        UserWarning, match=f"{kind.__name__} could not be shown a single stimulus .*{why}"
    ) as caught:
        found = record_trajectory(
            kind(), stimuli, layers=list("012"), preprocess=lambda b: b["image"][:, 0, 0], share=(0, world)
        )
    assert found.states[0].shape == (6 // world, 4)
    assert sum("single stimulus" in str(warning.message) for warning in caught) == 1


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))

    def forward(self, x):
        x = x.flatten(1)[:, :16]
        for block in self.blocks:
            x = block(x + torch.rand_like(x))
        return x


def test_a_network_that_draws_at_random_is_named_and_the_draws_are_put_back():
    torch.manual_seed(0)
    net, stimuli = Noisy(), StimulusSet(torch.rand(6, 3, 4, 4), "vision")
    before = torch.get_rng_state()
    with pytest.warns(UserWarning, match="Noisy makes different states of one stimulus in two passes"):
        found = record_trajectory(net, stimuli, batch_size=3)
    assert torch.equal(torch.get_rng_state(), before)
    # the passes that look draw nothing of what the batches get; the loader draws a seed before these
    torch.empty((), dtype=torch.int64).random_()
    draws = [(torch.rand(3, 16), torch.rand(3, 16), torch.rand(3, 16)) for _ in range(2)]
    x = torch.stack([stimuli[i][1] for i in range(6)]).flatten(1)[:, :16]
    with torch.no_grad():
        right = net.blocks[0](x + torch.cat([draws[0][0], draws[1][0]]))
    torch.testing.assert_close(found.states[0], right)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_rounding_is_no_dependence(dtype):
    model = text_model("bert")
    model.load().module.to(dtype)
    record_trajectory(model, StimulusSet(TEXTS, "language"), batch_size=6)
    record_trajectory(
        text_model("bert"), StimulusSet(TEXTS, "language"), batch_size=6,
        context=lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    )  # fmt: skip


def test_one_stimulus_of_any_batch():
    sounds = {
        "stimulus_id": torch.tensor([3, 4]),
        "audio": torch.rand(2, 9),
        "n_samples": torch.tensor([9, 4]),
    }
    one = one_stimulus(sounds | {"sampling_rate": 10}, 1)
    assert torch.equal(one["audio"], sounds["audio"][1:, :4])
    assert one["sampling_rate"] == 10
    frames = {
        "stimulus_id": torch.arange(3),
        "image": torch.rand(6, 3, 2, 2),
        "n_frames": torch.tensor([1, 3, 2]),
    }
    assert torch.equal(one_stimulus(frames, 1)["image"], frames["image"][1:4])
    assert torch.equal(one_stimulus(frames, 0)["image"], frames["image"][:1])
    assert stimulus_lengths(frames) == [1, 3, 2]
    assert one_stimulus(frames | {"label": ["a"]}, 0) is None  # whose label is it?
    assert one_stimulus(frames | {"more": {"depth": 1}}, 0) is None
    assert one_stimulus(frames | {"label": list("abc"), "name": "x"}, 2)["label"] == ["c"]


def test_texts_of_unequal_lengths_are_refused_where_that_is_asked_for():
    model = text_model("fnet", equal_lengths=True)
    with pytest.raises(ValueError, match=r"texts of \[.*\] tokens. Use batch_size=1"):
        record_trajectory(model, StimulusSet(TEXTS, "language"), batch_size=5)
    assert one_by_one(model, StimulusSet(TEXTS, "language")).stack().shape == (12, 3, 16)
    record_trajectory(model, StimulusSet(EQUAL, "language"), batch_size=5)
