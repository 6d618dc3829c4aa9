"""Preprocessing against independent oracles, and what must never enter a mask."""

import copy
import pickle

import numpy as np
import pytest
import torch

from nfas_lightning.data.stimuli.texts import TextStimulus, carried
from nfas_lightning.models.preprocess import AudioPreprocess, ImagePreprocess, RawStimuli, TextPreprocess

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


def _sounds(lengths=(800, 500), rate=8000):
    time = torch.arange(max(lengths)) / rate
    tone = torch.sin(2 * torch.pi * 440 * time)
    audio = torch.stack([tone * (torch.arange(max(lengths)) < n) for n in lengths])
    return {"audio": audio, "n_samples": torch.tensor(lengths), "sampling_rate": rate}


def test_resampling_keeps_a_tone_and_its_length():
    inputs = AudioPreprocess(16_000)(_sounds((8000,)))
    wave = inputs.args[0]
    assert wave.shape == (1, 16_000)
    wanted = torch.sin(2 * torch.pi * 440 * torch.arange(16_000) / 16_000)
    torch.testing.assert_close(wave[0, 500:-500], wanted[500:-500], atol=2e-3, rtol=0)


def test_padding_never_changes_a_sound():
    preprocess = AudioPreprocess(11_025)
    both = preprocess(_sounds())
    alone = preprocess(_sounds((500,)))
    n = alone.args[0].shape[1]
    assert torch.equal(both.args[0][1, :n], alone.args[0][0])
    assert both.mask.sum(dim=1).tolist() == [1103, n]
    assert not both.args[0][1, n:].any()


def test_frames_are_counted_as_convolutions_count_them():
    convolutions = [(10, 5), (3, 2), (2, 2)]
    inputs = AudioPreprocess(8000, convolutions=convolutions, pass_mask=True)(_sounds())
    network = torch.nn.Sequential(*(torch.nn.Conv1d(1, 1, k, s) for k, s in convolutions))
    for row, n in enumerate((800, 500)):
        assert inputs.mask[row].sum() == network(torch.zeros(1, 1, n)).shape[-1]
    assert inputs.mask.shape[1] == network(torch.zeros(1, 1, 800)).shape[-1]
    assert inputs.kwargs["attention_mask"].sum(dim=1).tolist() == [800, 500]


def test_sounds_that_a_network_can_not_take_are_refused():
    with pytest.raises(ValueError, match=r"sounds of \[500, 800\] samples.*batch_size=1"):
        AudioPreprocess(8000, equal_lengths=True)(_sounds())
    with pytest.raises(ValueError, match="too short for one frame"):
        AudioPreprocess(8000, convolutions=[(600, 5)])(_sounds())
    with pytest.raises(ValueError, match=r"n_samples must lie between 1 and 800, got \[800, 801\]"):
        AudioPreprocess(8000)({**_sounds(), "n_samples": torch.tensor([800, 801])})


def test_whisper_features_and_their_mask():
    transformers = pytest.importorskip("transformers")
    extractor = transformers.WhisperFeatureExtractor(chunk_length=1)
    inputs = AudioPreprocess(16_000, extractor)(_sounds((16_000, 4_000), 16_000))
    assert inputs.kwargs["input_features"].shape == (2, 80, 100)
    assert inputs.mask.sum(dim=1).tolist() == [100, 25]
    assert "attention_mask" not in inputs.kwargs
    with pytest.raises(ValueError, match="longer than the 1 s"):
        AudioPreprocess(16_000, extractor)(_sounds((16_001,), 16_000))


WORDS = ["the", "cat", "sat", "on", "mat", "un", "##happy", "##ly", "query", ":"]


@pytest.fixture(scope="module")
def tokenizer():
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    raw = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer()
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    raw.enable_truncation(4)  # as some saved tokenizers do: it must not act
    raw.enable_padding(length=12)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


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


def test_raw_stimuli_pass_and_audio_brings_its_mask():
    sounds = _sounds()
    inputs = RawStimuli()(sounds)
    assert inputs.args[0] is sounds["audio"]
    assert inputs.mask.sum(dim=1).tolist() == [800, 500]
    assert RawStimuli()(_sounds((800, 800))).mask is None


def test_everything_can_be_pickled(tokenizer):
    image = {"image": _image()}
    for preprocess, batch in (
        (ImagePreprocess(8, HALF, HALF), image),
        (AudioPreprocess(16_000, convolutions=[(10, 5)]), _sounds()),
        (RawStimuli(), image),
    ):
        copied = pickle.loads(pickle.dumps(preprocess))
        assert torch.equal(copied(batch).args[0], preprocess(batch).args[0])
    texts = {"text": [TextStimulus("the cat")]}
    copied = pickle.loads(pickle.dumps(TextPreprocess(tokenizer, 8)))
    assert torch.equal(copied(texts).mask, TextPreprocess(tokenizer, 8)(texts).mask)
