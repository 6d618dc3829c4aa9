"""Texts, prepared for networks."""

import copy

import pytest
import torch

from nfas_lightning.data.stimuli.texts import TextStimulus, carried
from nfas_lightning.models import TextPreprocess


def _shown(tokenizer, inputs, row):
    ids = inputs.kwargs["input_ids"][row][inputs.mask[row]]
    return tokenizer.convert_ids_to_tokens(ids.tolist())


def test_special_tokens_and_padding_stay_out_of_the_mask(tokenizer):
    batch = {"text": [TextStimulus("The cat sat on the mat"), TextStimulus("unhappy")]}
    inputs = TextPreprocess(tokenizer, 16)(batch)
    assert inputs.kwargs["input_ids"].shape == (2, 8)
    assert inputs.kwargs["attention_mask"].sum(dim=1).tolist() == [8, 4]
    assert inputs.kwargs["token_type_ids"].sum() == 0
    assert _shown(tokenizer, inputs, 0) == ["the", "cat", "sat", "on", "the", "mat"]
    assert _shown(tokenizer, inputs, 1) == ["un", "##happy"]
    assert inputs.kwargs["input_ids"][1, 4:].tolist() == [0] * 4


@pytest.mark.parametrize(
    "template",
    ["[CLS] $A [SEP]", "[CLS] $A", "$A [SEP]", "$A [SEP] [CLS]", "[CLS] [CLS] $A [SEP] [SEP]", "$A"],
)
def test_whatever_a_tokenizer_adds_stays_out_of_the_mask(tokenizer, template):
    """As BERT and RoBERTa, Llama, T5, XLNet, a decoder with a prompt and GPT-2 write special tokens."""
    from tokenizers.processors import TemplateProcessing

    own = copy.deepcopy(tokenizer)
    own.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    inputs = TextPreprocess(own, 16)({"text": [TextStimulus("the cat sat"), TextStimulus("mat")]})
    added = template.count("[")
    assert inputs.kwargs["attention_mask"].sum(dim=1).tolist() == [3 + added, 1 + added]
    assert _shown(own, inputs, 0) == ["the", "cat", "sat"]
    assert _shown(own, inputs, 1) == ["mat"]


def test_texts_of_unequal_lengths_are_refused_where_padding_would_change_states(tokenizer):
    preprocess = TextPreprocess(tokenizer, 16, equal_lengths=True)
    with pytest.raises(
        ValueError, match=r"texts of \[3, 5\] tokens. Use batch_size=1, or texts of one length"
    ):
        preprocess({"text": [TextStimulus("the cat sat"), TextStimulus("mat")]})
    assert preprocess({"text": [TextStimulus("the cat"), TextStimulus("mat on")]}).mask.sum() == 4


@pytest.mark.parametrize("carrier", ["the {} sat", "the cat on {}", "on the {}: the mat"])
def test_a_carrier_phrase_is_read_and_the_word_alone_is_pooled(tokenizer, carrier):
    words = ["cat", "unhappyly", TextStimulus("the mat", (4, 7))]
    inputs = TextPreprocess(tokenizer, 16)({"text": carried(words, carrier)})
    assert [_shown(tokenizer, inputs, row) for row in range(3)] == [
        ["cat"],
        ["un", "##happy", "##ly"],
        ["mat"],
    ]


@pytest.mark.parametrize("carrier", ["the word is", "{} and {}", "{}", " {} "])
def test_a_carrier_phrase_has_one_place_for_the_word_and_words_beside_it(carrier):
    with pytest.raises(ValueError, match=r"carrier must be a phrase with \{\} once"):
        carried(["cat"], carrier)


@pytest.mark.parametrize(
    ("target", "tokens"),
    [("cat", ["cat"]), ("unhappyly", ["un", "##happy", "##ly"]), ("cat sat", ["cat", "sat"]),
     ("happ", ["##happy"])],
)  # fmt: skip
def test_a_span_shows_the_sub_words_that_overlap_it(tokenizer, target, tokens):
    text = "The cat sat unhappyly on"
    start = text.index(target)
    for prefix in ("", "query: "):
        stimulus = TextStimulus(text, (start, start + len(target)))
        inputs = TextPreprocess(tokenizer, 32, prefix)({"text": [stimulus]})
        assert _shown(tokenizer, inputs, 0) == tokens


def test_a_prefix_is_read_but_not_pooled(tokenizer):
    inputs = TextPreprocess(tokenizer, 16, "query: ")({"text": [TextStimulus("cat sat")]})
    ids = inputs.kwargs["input_ids"][0].tolist()
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "query", ":", "cat", "sat", "[SEP]"]
    assert _shown(tokenizer, inputs, 0) == ["cat", "sat"]


@pytest.mark.parametrize("prefix", ["", "query: "])
def test_the_oldest_context_goes_first(tokenizer, prefix):
    text = "the the the cat sat on the mat"
    stimulus = TextStimulus(text, (text.index("mat"), len(text)))
    kept = 6 - (2 if prefix else 0)
    inputs = TextPreprocess(tokenizer, 8, prefix)({"text": [stimulus]})
    ids = tokenizer.convert_ids_to_tokens(inputs.kwargs["input_ids"][0].tolist())
    assert ids == ["[CLS]", *(["query", ":"] if prefix else []), *text.split()[-kept:], "[SEP]"]
    assert _shown(tokenizer, inputs, 0) == ["mat"]


def test_a_target_out_of_the_window_is_refused(tokenizer):
    text = "the cat sat on the mat"
    preprocess = TextPreprocess(tokenizer, 6)
    with pytest.raises(ValueError, match="'cat' falls out of the window: 8 tokens, of which the last 6 fit"):
        preprocess({"text": [TextStimulus(text, (4, 7))]})
    with pytest.raises(ValueError, match="falls out of the window"):
        preprocess({"text": [TextStimulus(text)]})
    preprocess({"text": [TextStimulus(text, (8, 11))]})


def test_texts_and_tokenizers_that_can_not_work_are_refused(tokenizer):
    with pytest.raises(ValueError, match="No token covers ' '"):
        TextPreprocess(tokenizer, 8)({"text": [TextStimulus("the cat", (3, 4))]})
    with pytest.raises(ValueError, match="needs a fast tokenizer"):
        TextPreprocess(object(), 8)


def test_one_batch_equals_single_texts(tokenizer):
    preprocess = TextPreprocess(tokenizer, 16)
    texts = [TextStimulus("the cat"), TextStimulus("the cat sat on", (4, 7)), TextStimulus("mat")]
    together = preprocess({"text": texts})
    for i, text in enumerate(texts):
        alone = preprocess({"text": [text]})
        n = alone.mask.shape[1]
        assert torch.equal(together.kwargs["input_ids"][i, :n], alone.kwargs["input_ids"][0])
        assert torch.equal(together.mask[i, :n], alone.mask[0])
        assert not together.mask[i, n:].any()
