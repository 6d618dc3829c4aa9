"""The packaged language models: are the weights trained, does padding stay outside, are tokens right."""

import functools
import random

import pytest
import torch
import torch.nn.functional as F

from nfas_lightning.data.stimuli.texts import TextStimulus, carried
from nfas_lightning.hooks.pooling import pool
from nfas_lightning.hooks.recorder import DepthRecorder
from nfas_lightning.packaged_models import PACKAGED, load_packaged
from nfas_lightning.packaged_models.language import _llama_state

pytestmark = pytest.mark.weights  # even random weights need a tokenizer

SENTENCE = ["minilm_l6", "paraphrase_minilm_l3", "multilingual_e5_small"]
DEPTHS = {"multilingual_e5_small": 13, "minilm_l6": 7, "paraphrase_minilm_l3": 4, "smollm2_135m": 31}
PAIRS = [
    ("A man is playing a guitar.", "Someone plays an instrument."),
    ("The stock market fell sharply.", "Shares dropped on Wall Street."),
    ("She boiled water for tea.", "A woman is heating water to make a hot drink."),
]
STORY = (
    "The old man sat by the window and watched the rain fall on the street. He had lived in the same house "
    "for many years, and he knew every sound it made."
)


@functools.lru_cache(maxsize=3)  # the largest holds half a gigabyte: tests stand in an order that needs few
def cached(name, weights):
    return load_packaged(name, weights=weights)


def load(name, weights="pretrained"):
    return cached(name, weights)


def hidden(loaded, texts):
    """Last hidden states (B, K, D), inputs and target mask."""
    inputs = loaded.preprocess({"text": [TextStimulus(text) for text in texts]})
    with torch.no_grad():
        return loaded.module(*inputs.args, **inputs.kwargs).last_hidden_state, inputs


def trajectory(loaded, texts):
    inputs = loaded.preprocess({"text": [TextStimulus(text) for text in texts]})
    recorder = DepthRecorder(
        loaded.module, loaded.layers, pooling=loaded.pooling, mask_source=lambda: inputs.mask
    )
    with torch.no_grad(), recorder:
        loaded.module(*inputs.args, **inputs.kwargs)
        recorder.collect(torch.arange(len(texts)))
    return recorder.trajectory()


def test_every_model_is_here():
    assert set(DEPTHS) == {name for name, entry in PACKAGED.items() if entry.modality == "language"}


@pytest.mark.parametrize("name", SENTENCE)
def test_paraphrases_are_nearer_than_strangers(name):
    def margin(weights):
        states, inputs = hidden(load(name, weights), [text for pair in PAIRS for text in pair])
        shown = inputs.mask.unsqueeze(-1)
        vectors = F.normalize((states * shown).sum(1) / shown.sum(1), dim=1)
        similarity = (vectors @ vectors.T).view(3, 2, 3, 2)
        same = torch.stack([similarity[i, 0, i, 1] for i in range(3)])
        strangers = torch.stack([similarity[i, :, j].max() for i in range(3) for j in range(3) if i != j])
        return float(same.min() - strangers.max()), float(same.mean() - strangers.mean())

    worst, mean = margin("pretrained")
    assert worst > 0.05  # the farthest paraphrase is nearer than the nearest stranger
    untrained_worst, untrained_mean = margin("random")
    assert untrained_worst < 0.05
    assert untrained_mean < mean / 2


def test_e5_tokens_are_those_of_xlm_roberta():
    tokenizer = load("multilingual_e5_small").preprocess.tokenizer
    assert tokenizer("Hello world!")["input_ids"] == [0, 35378, 8999, 38, 2]  # as published with XLM-R
    assert tokenizer("ｈｅｌｌｏ\u200b  wörld\t")["input_ids"] == tokenizer("hello wörld")["input_ids"]
    assert tokenizer.pad_token_id == 1


def test_e5_joins_languages():
    loaded = load("multilingual_e5_small")
    states, inputs = hidden(
        loaded, ["The dog sleeps on the sofa.", "Der Hund schläft auf dem Sofa.", PAIRS[1][0]]
    )
    shown = inputs.mask.unsqueeze(-1)
    vectors = F.normalize((states * shown).sum(1) / shown.sum(1), dim=1)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.1


@pytest.mark.filterwarnings("ignore:LlamaModel uses the first token")
@pytest.mark.parametrize("name", DEPTHS)
def test_card_and_trajectory(name):
    loaded, entry = load(name), PACKAGED[name]
    assert loaded.info.parameters == entry.parameters
    assert loaded.info.source == entry.source
    assert loaded.info.license
    assert ("dequantized" in loaded.info.note) == (name in ("multilingual_e5_small", "smollm2_135m"))
    texts = ["It rained.", STORY]  # the short one is padded
    both = trajectory(loaded, texts)
    assert list(both.layer_names) == loaded.layers
    assert len(both.states) == DEPTHS[name]
    assert not both.is_ragged
    for i, text in enumerate(texts):
        alone = trajectory(loaded, [text])
        for together, single in zip(both.states, alone.states, strict=True):
            assert torch.isfinite(together).all()
            torch.testing.assert_close(
                together[i], single[0], rtol=1e-3, atol=1e-4 * float(single.abs().max())
            )


def test_the_first_token_of_smollm2_stays_out_and_that_of_its_twin_does_not():
    texts = [STORY, "It rained.", *(text for pair in PAIRS for text in pair)]
    loaded = load("smollm2_135m")
    with pytest.warns(
        UserWarning, match=r"LlamaModel uses the first token as an attention sink \(in block 'layers"
    ):
        found = trajectory(loaded, texts)
    inputs = loaded.preprocess({"text": [TextStimulus(text) for text in texts]})
    with torch.no_grad():
        raw = loaded.module(**inputs.kwargs, output_hidden_states=True).hidden_states[16]
    rest = torch.stack([row[mask][1:].mean(0) for row, mask in zip(raw, inputs.mask, strict=True)])
    all_ = torch.stack([row[mask].mean(0) for row, mask in zip(raw, inputs.mask, strict=True)])
    torch.testing.assert_close(found.states[16], rest, rtol=1e-3, atol=1e-3)
    # with it, one over the number of tokens is most of what differs between the texts
    length = 1 / inputs.mask.sum(dim=1).float()

    def share(states):
        states = states - states.mean(dim=0)
        direction = torch.linalg.svd(states, full_matrices=False)
        return abs(float(torch.corrcoef(torch.stack([direction.U[:, 0], length]))[0, 1]))

    assert share(all_) > 0.98
    assert share(rest) < share(all_) - 0.1
    twin = trajectory(load("smollm2_135m", "random"), texts)
    assert {layer.pooling for layer in twin.layers} == {"auto:all"}


@pytest.mark.filterwarnings("ignore:LlamaModel uses the first token")
def test_a_carrier_phrase_tells_single_words_apart_in_smollm2():
    """Bare words of one token are all the sink."""
    words = ["cat", "house", "music", "water", "king", "red"]
    loaded = load("smollm2_135m")

    def spread(stimuli):
        inputs = loaded.preprocess({"text": stimuli})
        with torch.no_grad():
            states = loaded.module(**inputs.kwargs, output_hidden_states=True).hidden_states[16]
        pooled = pool(states, "mean:rest", inputs.mask)
        return float((pooled - pooled.mean(0)).norm() / pooled.norm())

    bare, phrased = [TextStimulus(word) for word in words], carried(words, "The word is {}")
    assert all(int(loaded.preprocess({"text": [s]}).mask.sum()) == 1 for s in (bare[0], phrased[0]))
    assert spread(bare) < 0.1 < spread(phrased)


def next_token_logits(loaded, text):
    states, inputs = hidden(loaded, [text])
    return states[0] @ loaded.module.embed_tokens.weight.T, inputs.kwargs["input_ids"][0]


def perplexity(loaded, text):
    logits, ids = next_token_logits(loaded, text)
    return float(F.cross_entropy(logits[:-1], ids[1:]).exp())


def test_smollm2_tokens():
    tokenizer = load("smollm2_135m").preprocess.tokenizer
    text = "I've paid $12.50 for 3 cafés,\n\nreally!"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    pieces = tokenizer.convert_ids_to_tokens(ids)
    assert pieces[:8] == ["I", "'ve", "Ġpaid", "Ġ$", "1", "2", ".", "5"]  # digits stand alone
    assert tokenizer("<|im_end|>")["input_ids"] == [2]


def test_smollm2_knows_the_capital_and_english():
    loaded = load("smollm2_135m")
    logits, _ = next_token_logits(loaded, "The capital of France is")
    assert loaded.preprocess.tokenizer.decode([int(logits[-1].argmax())]) == " Paris"
    words = STORY.split()
    random.Random(0).shuffle(words)
    assert perplexity(loaded, STORY) < 30
    assert perplexity(loaded, " ".join(words)) > 10 * perplexity(loaded, STORY)
    untrained = load("smollm2_135m", "random")
    logits, _ = next_token_logits(untrained, "The capital of France is")
    assert loaded.preprocess.tokenizer.decode([int(logits[-1].argmax())]) != " Paris"
    assert perplexity(untrained, STORY) > 10_000


def test_random_weights_are_seeded_and_leave_the_generator():
    before = torch.get_rng_state()
    first, again, other = (
        load_packaged("paraphrase_minilm_l3", weights="random", seed=seed).info.weights_sha256
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)


def test_rotary_halves_are_put_back():
    heads, key_heads, width = 4, 2, 24
    original = {"q": torch.randn(heads * 6, width), "k": torch.randn(key_heads * 6, width)}

    def interleave(weight, n):  # as the converter to GGUF writes it: halves of a head become pairs
        return weight.reshape(n, 2, 3, width).transpose(1, 2).reshape(-1, width)

    tensors = {
        "token_embd.weight": torch.zeros(1),
        "output_norm.weight": torch.zeros(1),
        "blk.5.attn_q.weight": interleave(original["q"], heads),
        "blk.5.attn_k.weight": interleave(original["k"], key_heads),
    }
    state = _llama_state(tensors, heads, key_heads)
    assert torch.equal(state["layers.5.self_attn.q_proj.weight"], original["q"])
    assert torch.equal(state["layers.5.self_attn.k_proj.weight"], original["k"])
