"""Small untrained networks of timm and transformers, one for each family, with an input for each."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch
import transformers
from torch import Tensor, nn

from nfas_lightning.models.adapters import adapt

__all__ = ["Network", "NotBuiltError", "build", "names"]

_MOST_PARAMETERS = 140e6
_BATCH = 3
_TOKENS = 17  # no multiple of a window or chunk: what a network pads inside shows
_SMALL = (
    "test_",
    "atto",
    "femto",
    "pico",
    "nano",
    "xxt",
    "xxs",
    "tiny",
    "_t",
    "xs",
    "small",
    "_s",
    "b0",
    "18",
)

# What the configurations of transformers call their sizes, with small values that divide each other.
_SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "encoder_hidden_size"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers"), 4),
    **dict.fromkeys(("decoder_layers", "num_decoder_layers"), 4),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads", "num_key_value_heads"), 4),
    **dict.fromkeys(("head_dim", "d_kv", "attention_head_size", "v_head_dim", "kv_channels"), 8),
    **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "index_head_dim"), 8),
    **dict.fromkeys(("intermediate_size", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "hidden_dim"), 64),
    **dict.fromkeys(("ffn_dim", "d_inner", "feedforward_dim"), 64),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "q_lora_rank"), 16),
    **dict.fromkeys(("kv_lora_rank", "embedding_size", "time_step_rank", "mamba_dt_rank"), 16),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "n_group", "topk_group"), 2),
    **dict.fromkeys(("vocab_size", "text_vocab_size", "entity_vocab_size"), 160),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_source_positions"), 256),
    "rotary_dim": 4,
    "layers_per_block": 1,
    "num_groups": 4,
}
_PICTURE: dict[str, Any] = {"image_size": 64, "patch_size": 8}
_SPEECH: dict[str, Any] = {
    "conv_dim": [16, 16, 16],
    "conv_kernel": [10, 3, 3],
    "conv_stride": [5, 2, 2],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
_TOKEN_IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "sep_token_id")


class NotBuiltError(Exception):
    """An architecture that no small random network was built of; the message says why."""


@dataclass
class Network:
    """A network and what it is run on.

    Attributes:
        module: the network, in evaluation mode.
        kwargs: keyword arguments of a pass of three stimuli.
        library: ``"timm"`` or ``"hf"``.
        layers: the blocks to record.
    """

    module: nn.Module
    kwargs: dict[str, Tensor]
    library: str
    layers: str = "auto"

    def rows(self, rows: slice) -> dict[str, Tensor]:
        """The arguments for some of the stimuli."""
        return {key: value[rows] for key, value in self.kwargs.items()}

    def own_states(self) -> list[Tensor]:
        """The states (B, ...) that the library itself returns; none where it can't."""
        if self.library == "timm":
            images = self.kwargs["x"]
            known = inspect.signature(self.module.forward_intermediates).parameters
            options = {"return_prefix_tokens": True} if "return_prefix_tokens" in known else {}
            found = self.module.forward_intermediates(images, intermediates_only=True, **options)
            return [_with_prefix(one) for one in found]
        output = self.module(**self.kwargs, output_hidden_states=True)
        states = getattr(output, "hidden_states", None) or getattr(output, "encoder_hidden_states", None)
        return [state for state in states or () if isinstance(state, Tensor)]


def _with_prefix(one: Any) -> Tensor:
    if isinstance(one, Tensor):
        return one
    maps, prefix = one
    tokens = maps.flatten(2).transpose(1, 2) if maps.ndim == 4 else maps
    return tokens if prefix is None else torch.cat([prefix, tokens], dim=1)


def names() -> list[str]:
    """One name for each family of timm and each architecture of transformers."""
    families = [f"timm:{family}" for family in timm.list_modules() if timm.list_models(module=family)]
    kinds = sorted(transformers.models.auto.modeling_auto.MODEL_MAPPING_NAMES)
    return [*families, *(f"hf:{kind}" for kind in kinds)]


def build(name: str) -> Network:
    """Build the smallest network of a family.

    Raises:
        NotBuiltError: it is too large, or its default configuration can't be made small.
    """
    library, _, family = name.partition(":")
    torch.manual_seed(0)
    return _timm(family) if library == "timm" else _transformers(family)


def _timm(family: str) -> Network:
    known = timm.list_models(module=family)
    hints = [name for hint in _SMALL for name in known if hint in name]
    candidates = list(dict.fromkeys([*hints[:4], *known[:2], *known[-1:]]))
    sizes = {}
    for name in candidates:
        with torch.device("meta"):
            sizes[name] = _n_parameters(timm.create_model(name))
    smallest = min(sizes, key=lambda name: sizes[name])
    if sizes[smallest] > _MOST_PARAMETERS:
        raise NotBuiltError(f"{smallest} has {sizes[smallest] / 1e6:.0f} M parameters")
    module = timm.create_model(smallest)
    size = module.pretrained_cfg["input_size"]
    if not module.pretrained_cfg.get("fixed_input_size", False):
        size = (size[0], min(size[1], 128), min(size[2], 128))
    return Network(_finished(module), {"x": torch.randn(_BATCH, *size)}, "timm")


def _transformers(kind: str) -> Network:
    try:
        config = _shrunk(transformers.AutoConfig.for_model(kind))
        with torch.device("meta"):
            size = _n_parameters(transformers.AutoModel.from_config(config))
        if size > _MOST_PARAMETERS:
            raise NotBuiltError(f"{size / 1e6:.0f} M parameters when shrunk")
        module = transformers.AutoModel.from_config(config, dtype=torch.float32)
    except NotBuiltError:
        raise
    except Exception as error:
        raise NotBuiltError(f"configuration: {type(error).__name__}: {error}"[:120]) from error
    _, layers = adapt(module)  # as the loader does
    reads = module.main_input_name
    if config.is_encoder_decoder and reads != "pixel_values":
        module = module.get_encoder()
    module = _finished(module)
    return Network(module, _first_that_runs(module, _guesses(reads, config)), "hf", layers)


def _first_that_runs(module: nn.Module, guesses: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The first arguments that a network takes; of none, the first ones, whose error the table then shows."""
    for guess in guesses:
        try:
            with torch.inference_mode():
                module(**guess)
        except Exception:  # noqa: BLE001 - any library's complaint about a guess
            continue
        return guess
    return guesses[0]


def _guesses(reads: str, config: Any) -> list[dict[str, Tensor]]:
    """What a network may read: its main input in the usual orders of axes, or text and pictures together."""
    first = _input(reads, config)
    guesses = [{reads: first}]
    if reads == "input_values" and first.ndim == 2:
        guesses.append({reads: first.unsqueeze(1)})  # codecs want a channel
    elif reads == "input_features":
        guesses.append({reads: first.transpose(1, 2)})
    elif reads in ("input_ids", "pixel_values"):
        guesses.append({key: _input(key, config) for key in ("input_ids", "pixel_values")})
    return guesses


def _shrunk(config: Any) -> Any:
    """The configuration with small sizes, sub-configurations included."""
    for key, value in {**_SIZES, **_PICTURE, **_SPEECH}.items():
        try:
            own = getattr(config, key, None)
            if own is None or isinstance(own, bool | str | Mapping):
                continue
            if isinstance(own, list | tuple) != isinstance(value, list):
                continue
            if key == "patch_size" and own < value:
                continue
            setattr(config, key, value)
        except (AttributeError, NotImplementedError, ValueError, TypeError, RuntimeError):
            continue  # read only: an alias of another size, or one that differs between layers
    for key, value in vars(config).items():
        if isinstance(value, transformers.PretrainedConfig):
            _shrunk(value)
        elif key == "layer_types" and isinstance(value, list):
            config.layer_types = _kinds(value)
    if hasattr(config, "use_cache"):
        config.use_cache = False
    for key in _TOKEN_IDS:
        if isinstance(getattr(config, key, None), int):
            setattr(config, key, 1)
    return config


def _kinds(layer_types: list[str]) -> list[str]:
    """Four layers, each kind among them."""
    kinds = list(dict.fromkeys(layer_types))
    return (kinds * 4)[:4]


def _input(reads: str, config: Any) -> Tensor:
    if reads == "input_ids":
        return torch.randint(5, 150, (_BATCH, _TOKENS))
    if reads == "pixel_values":
        vision = next(
            (c for c in (config, getattr(config, "vision_config", None)) if hasattr(c, "image_size")), None
        )
        size = getattr(vision, "image_size", 64) or 64
        height, width = size if isinstance(size, list | tuple) else (size, size)
        return torch.randn(_BATCH, getattr(vision or config, "num_channels", 3), height, width)
    if reads == "pixel_values_videos":
        size = getattr(config, "image_size", 64)
        return torch.randn(_BATCH, getattr(config, "num_frames", 4), 3, size, size)
    if reads == "input_values":
        bins = getattr(config, "num_mel_bins", None)
        return (
            torch.randn(_BATCH, config.max_length, bins)
            if bins and hasattr(config, "max_length")
            else torch.randn(_BATCH, 4000)
        )
    if reads == "input_features":
        bins = getattr(config, "num_mel_bins", None) or getattr(config, "feature_size", 80)
        return torch.randn(_BATCH, bins, 2 * getattr(config, "max_source_positions", 100))
    raise NotBuiltError(f"reads {reads!r}")


def _n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _finished(module: nn.Module) -> nn.Module:
    """In evaluation mode, with no residual branch scaled to nothing: equal depths would hide a wrong one."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.is_floating_point() and parameter.numel() and not bool(parameter.any()):
                parameter.normal_(0, 0.02)
    return module.eval().requires_grad_(False)
