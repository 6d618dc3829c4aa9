"""Pictures with captions: one stimulus, whose picture and caption both count."""

import pytest
import torch

from nfas_lightning.data import CaptionedImages, StimulusSet, TextStimulus
from nfas_lightning.data.stimuli.stimulus_set import guess_modality

PICTURES = torch.rand(3, 3, 4, 5, generator=torch.Generator().manual_seed(0))
CAPTIONS = ["a cat", "a dog", "a cat"]


def test_batches_hold_both_and_vision_models_see_the_pictures():
    pairs = CaptionedImages(PICTURES, CAPTIONS)
    assert guess_modality(pairs) == "vision"
    stimuli = StimulusSet(pairs, "vision")
    batch = stimuli.collate([stimuli[i] for i in (2, 0)])
    torch.testing.assert_close(batch["image"], PICTURES[[2, 0]])
    assert batch["text"] == [TextStimulus("a cat")] * 2
    mappings = [{"image": image, "text": text} for image, text in zip(PICTURES, CAPTIONS, strict=True)]
    same = StimulusSet(mappings, "vision")
    assert same.sha256() == stimuli.sha256()
    torch.testing.assert_close(same.collate([same[1]])["image"][0], PICTURES[1])


def test_a_change_of_either_is_another_stimulus():
    first = StimulusSet(CaptionedImages(PICTURES, CAPTIONS), "vision")
    for pictures, captions in ((PICTURES.flip(3), CAPTIONS), (PICTURES, ["a cat", "a dog", "a cow"])):
        assert StimulusSet(CaptionedImages(pictures, captions), "vision").sha256() != first.sha256()
    twins = CaptionedImages(PICTURES[[0, 0, 0]], CAPTIONS)
    assert StimulusSet(twins, "vision").identical().tolist() == [0, 1, 0]


def test_wrong_pairs_are_refused():
    with pytest.raises(ValueError, match="captions must be one per picture, got 2 for 3"):
        CaptionedImages(PICTURES, CAPTIONS[:2])
    with pytest.raises(ValueError, match=r"audio or text, or image and text, got .*audio"):
        StimulusSet([{"image": PICTURES[0], "audio": torch.zeros(4)}], "vision")[0]
