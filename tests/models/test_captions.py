"""What a vision-language network is given; that it reads both is in test_transformers_loader.py."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nfas_lightning.data.stimuli.texts import TextStimulus
from nfas_lightning.models import CaptionPreprocess, TextPreprocess


class Processor:
    """Two tokens per picture, one per word, padded on the left unless it is asked not to."""

    image_token = "<image>"

    def __init__(self, tokenizer):
        tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
        self.tokenizer, self.shown = tokenizer, None

    def __call__(self, *, images, text, **options):
        self.shown = images
        return self.tokenizer([line.replace("<image>", "<image> <image> ") for line in text], **options)


def test_the_mask_shows_pictures_and_words_and_nothing_else(word_tokenizer):
    processor = Processor(word_tokenizer)
    preprocess = CaptionPreprocess(processor, TextPreprocess(word_tokenizer, 12))
    image = torch.rand(2, 3, 4, 4)
    texts = [TextStimulus("the cat sat"), TextStimulus("mat")]
    given = preprocess({"image": image, "text": texts})
    # [CLS] picture picture the cat sat [SEP]
    assert given.mask.tolist() == [[False, *[True] * 5, False], [False, *[True] * 3, *[False] * 3]]
    assert given.kwargs["input_ids"][1].tolist() == [2, 9, 9, 8, 3, 0, 0]
    shown = torch.from_numpy(np.array(processor.shown[1][0])).permute(2, 0, 1)
    torch.testing.assert_close(shown / 255, image[1], atol=0.002, rtol=0)
    assert preprocess({"image": image}).mask.sum(1).tolist() == [2, 2]
    assert preprocess({"text": texts}).mask.sum(1).tolist() == [3, 1]
    with pytest.raises(ValueError, match="is shown pictures here, got clips"):
        preprocess({"image": image, "text": texts, "n_frames": torch.tensor([2])})


def test_processors_without_a_place_for_pictures_are_refused(word_tokenizer):
    bare = SimpleNamespace(tokenizer=word_tokenizer)
    with pytest.raises(ValueError, match="must have an image_token that its tokenizer knows, got ''"):
        CaptionPreprocess(bare, TextPreprocess(word_tokenizer, 12))
