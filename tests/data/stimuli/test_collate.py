"""Batches of stimuli of each modality."""

from __future__ import annotations

import pickle

import numpy as np
import torch

from nfas_lightning.data.stimuli.stimulus_set import StimulusSet
from nfas_lightning.data.stimuli.texts import TextStimulus


def test_image_batch():
    images = torch.randint(0, 256, (3, 3, 4, 5), dtype=torch.uint8)
    stimuli = StimulusSet(images, "vision")
    batch = stimuli.collate([stimuli[2], stimuli[0]])
    assert batch["stimulus_id"].tolist() == [2, 0]
    torch.testing.assert_close(batch["image"], images[[2, 0]].float() / 255)


def test_audio_batch_is_padded_on_the_right():
    stimuli = StimulusSet([np.full(3, 16384, np.int16), torch.ones(5)], "audio", sampling_rate=16_000)
    batch = stimuli.collate([stimuli[0], stimuli[1]])
    assert batch["audio"].tolist() == [[0.5, 0.5, 0.5, 0.0, 0.0], [1.0] * 5]
    assert batch["n_samples"].tolist() == [3, 5]
    assert batch["sampling_rate"] == 16_000


def test_text_batch_from_tuples_and_mappings():
    target = TextStimulus("a cat", (2, 5))
    stimuli = StimulusSet([(target, "label"), {"text": "a dog", "id": 7}], "language")
    assert stimuli.collate([stimuli[0], stimuli[1]])["text"] == [target, TextStimulus("a dog")]


def test_collate_survives_pickling_for_workers():
    collate = pickle.loads(pickle.dumps(StimulusSet([torch.zeros(3)], "audio", 8000).collate))
    assert collate([(0, torch.zeros(3))])["sampling_rate"] == 8000


N_IMAGES, TIMES = 12, 3


def images():
    return torch.rand(N_IMAGES, 3, 8, 8, generator=torch.Generator().manual_seed(1))
