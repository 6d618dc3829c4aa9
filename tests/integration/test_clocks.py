"""From raw stimuli through a recorder to volumes: what was planted is found without a lag."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from nfas_lightning.alignment import record_trajectory
from nfas_lightning.callbacks import DepthTrajectory
from nfas_lightning.data import audio_stimuli, word_stimuli
from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.datamodules import ArrayDataModule
from nfas_lightning.functional.correlation import correlate
from nfas_lightning.functional.temporal import hrf_operator
from nfas_lightning.lightning_packages import pl
from nfas_lightning.models import FrozenModel, RawStimuli, TextPreprocess
from nfas_lightning.models.loaded import ModelInputs

transformers = pytest.importorskip("transformers")
N = 300
AT = 2.0 * torch.arange(160).double()


@pytest.fixture(scope="module")
def story():
    """N words: their texts, onsets and a property of each that its response follows."""
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in rng.integers(0, 40, N)]
    onsets = torch.from_numpy(np.cumsum(rng.uniform(0.3, 1.5, N)))
    strength = torch.from_numpy(rng.normal(size=40))
    values = strength[[int(word[1:]) for word in words]]
    return words, onsets, strength, hrf_operator(onsets, AT, tr=2.0) @ values[:, None]


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {
        word: i for i, word in enumerate([*(f"w{i}" for i in range(40)), "[CLS]", "[SEP]", "[UNK]"])
    }
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.BertProcessing(("[SEP]", 41), ("[CLS]", 40))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


class Words(nn.Module):
    """A network whose state of a token is the property of its word, block after block."""

    def __init__(self, strength):
        super().__init__()
        self.table = torch.cat([strength, torch.zeros(3)]).float()
        self.blocks = nn.Sequential(*[nn.Linear(1, 1) for _ in range(3)])
        for block in self.blocks:
            nn.init.ones_(block.weight)
            nn.init.zeros_(block.bias)

    def forward(self, input_ids, **kwargs):
        return self.blocks(self.table[input_ids][..., None])


def features(network, stimuli, preprocess, **options):
    options = {"layers": ["blocks.0", "blocks.1", "blocks.2"], "preprocess": preprocess, **options}
    return record_trajectory(network, stimuli, **options).stack()[:, 0]


def best_lag(stimuli, events, feature, target, **options):
    r = {}
    for lag in np.arange(-10, 6.1, 1.0):
        moved = {**events, "onset": np.asarray(events["onset"]) + lag}
        brain = ArrayDataModule(stimuli, torch.zeros(160, 1), events=moved, tr=2.0, **options)
        brain.setup()
        r[lag] = float(correlate(brain.responses.carry(feature).double(), target))
    return max(r, key=r.get), r[0.0]


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_word_in_its_context_stands_at_its_own_time(story, tokenizer, pooling):
    words, onsets, strength, target = story
    stimuli = word_stimuli(words, window=20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own = features(
            Words(strength), StimulusSet(stimuli, "language"), TextPreprocess(tokenizer, 64), pooling=pooling
        )
    lag, r = best_lag(stimuli, {"onset": onsets}, own, target)
    assert lag == 0
    assert r > 0.999


def test_a_mean_over_the_whole_context_comes_late_and_is_said(story, tokenizer):
    words, onsets, strength, target = story
    stimuli = word_stimuli(words, window=20)
    own = TextPreprocess(tokenizer, 64)

    def whole(batch):
        inputs = own(batch)
        return ModelInputs(kwargs=inputs.kwargs)

    with pytest.warns(UserWarning, match="no mask, so a mean over tokens describes the middle"):
        mean = features(Words(strength), StimulusSet(stimuli, "language"), whole, batch_size=1)
    lag, _ = best_lag(stimuli, {"onset": onsets}, mean, target)
    assert lag < -3
    with pytest.warns(UserWarning, match="pooling='cls' describes a whole context"):
        features(Words(strength), StimulusSet(stimuli, "language"), own, pooling="cls")


class Levels(nn.Module):
    """A network whose state every tenth of a second is the sound's level, block after block."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(*[nn.Linear(1, 1) for _ in range(3)])
        for block in self.blocks:
            nn.init.ones_(block.weight)
            nn.init.zeros_(block.bias)

    def forward(self, sound):
        return self.blocks(sound.abs().unflatten(1, (-1, 20)).mean(dim=2, keepdim=True))


@pytest.mark.parametrize(("pooling", "anchor"), [("mean", "center"), ("last", "end")])
@pytest.mark.parametrize("way", ["align", "trainer"])
def test_sound_stands_at_its_own_time_whichever_way_it_is_recorded(tmp_path, pooling, anchor, way):
    from scipy.io import wavfile

    rng = np.random.default_rng(0)
    level = np.abs(np.convolve(rng.normal(size=60_000), np.hanning(400), "same"))
    wavfile.write(tmp_path / "a.wav", 200, (level / level.max()).astype(np.float32))
    truth = torch.from_numpy(level).view(-1, 20).mean(dim=1, keepdim=True)
    begins = torch.arange(3000).double() / 10
    target = hrf_operator(begins, AT, tr=2.0, durations=torch.full_like(begins, 0.1)) @ truth
    options = {"seconds": 4.0, "hop": 1.0, "sampling_rate": 200}
    windows, events = audio_stimuli(tmp_path / "a.wav", anchor=anchor, **options)

    def recorded(windows):
        if way == "align":
            return features(Levels(), StimulusSet(windows, "audio", 200), RawStimuli(), pooling=pooling)
        brain = ArrayDataModule(windows, torch.zeros(160, 1), events=events, tr=2.0, sampling_rate=200)
        callback = DepthTrajectory(["blocks.0", "blocks.1", "blocks.2"], pooling)
        trainer = pl.Trainer(
            accelerator="cpu", logger=False, callbacks=[callback], enable_progress_bar=False,
            enable_checkpointing=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.test(FrozenModel(Levels()), brain, verbose=False)
        return callback.trajectory.stack()[:, 0]

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Features come")
        feature = recorded(windows)
    lag, r = best_lag(windows, events, feature, target, sampling_rate=200)
    assert lag == 0
    assert r > 0.97
    other, _ = audio_stimuli(tmp_path / "a.wav", anchor="end" if anchor == "center" else "center", **options)
    with pytest.warns(UserWarning, match=f"2 s too {'late' if anchor == 'center' else 'early'}"):
        recorded(other)
