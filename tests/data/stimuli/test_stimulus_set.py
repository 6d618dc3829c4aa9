from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from nfas_lightning.data.stimuli.stimulus_set import StimulusSet, guess_modality
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


@pytest.mark.parametrize(
    ("items", "modality", "error", "message"),
    [
        (torch.full((1, 3, 2, 2), 1.5), "vision", ValueError, r"in \[0, 1\], got \[1.5, 1.5\]"),
        (torch.full((1, 3, 2, 2), torch.nan), "vision", ValueError, r"in \[0, 1\]"),
        (torch.zeros(1, 2, 2, 3), "vision", ValueError, r"shape \(3, H, W\), or a clip .* got \(2, 2, 3\)"),
        ([torch.tensor([2.0])], "audio", ValueError, "a peak of 2"),
        ([torch.tensor([torch.nan])], "audio", ValueError, r"\[-1, 1\]"),
        ([torch.zeros(2, 9)], "audio", ValueError, "mono samples"),
        ([3], "language", TypeError, "a string or a TextStimulus"),
        ([{"label": 1}], "language", ValueError, "exactly one of image, audio or text"),
        (["  "], "language", ValueError, "must not be empty"),
    ],
)
def test_a_bad_stimulus_says_which_and_why(items, modality, error, message):
    stimuli = StimulusSet(items, modality, 16_000)
    with pytest.raises(error, match=message):
        stimuli[0]


def test_bad_sets():
    with pytest.raises(ValueError, match="at least one stimulus"):
        StimulusSet([], "language")
    with pytest.raises(ValueError, match="sampling_rate"):
        StimulusSet([torch.zeros(3)], "audio")
    with pytest.raises(TypeError, match="Turn an iterable into a list"):
        StimulusSet(iter(["a"]), "language")
    with pytest.raises(ValueError, match="modality must be one of"):
        StimulusSet(["a"], "smell")
    ragged = StimulusSet([torch.zeros(3, 2, 2), torch.zeros(3, 4, 4)], "vision")
    with pytest.raises(ValueError, match="one size"):
        ragged.collate([ragged[0], ragged[1]])


def test_modality_is_guessed_only_where_it_is_clear():
    assert guess_modality([TextStimulus("a")]) == "language"
    assert guess_modality([(torch.zeros(3, 4, 4), 0)]) == "vision"
    assert guess_modality([torch.zeros(9)], sampling_rate=8000) == "audio"
    for unclear in ([torch.zeros(9)], [torch.zeros(4, 4)], [3]):
        with pytest.raises(ValueError, match=r"Pass (modality|sampling_rate)="):
            guess_modality(unclear)


def test_hash_follows_content_and_order():
    texts = StimulusSet(["a cat", "a dog"], "language")
    assert texts.sha256() == StimulusSet([TextStimulus("a cat"), "a dog"], "language").sha256()
    assert texts.sha256() != StimulusSet(["a dog", "a cat"], "language").sha256()
    assert texts.sha256() != StimulusSet([TextStimulus("a cat", (0, 1)), "a dog"], "language").sha256()
    images = torch.rand(2, 3, 4, 4)
    assert StimulusSet(images, "vision").sha256() == StimulusSet(images.clone(), "vision").sha256()
    assert StimulusSet(images, "vision").sha256() != StimulusSet(images.flip(0), "vision").sha256()


def test_collate_survives_pickling_for_workers():
    collate = pickle.loads(pickle.dumps(StimulusSet([torch.zeros(3)], "audio", 8000).collate))
    assert collate([(0, torch.zeros(3))])["sampling_rate"] == 8000
