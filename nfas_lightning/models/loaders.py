"""Networks by name, and any module: each with its preprocessing and its card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from nfas_lightning.errors import InputError, InputTypeError
from nfas_lightning.functional.checks import check_option
from nfas_lightning.hooks.selection import Layers
from nfas_lightning.hooks.undisturbed import plain_network
from nfas_lightning.models.audio import AudioPreprocess
from nfas_lightning.models.found import known_preprocess
from nfas_lightning.models.loaded import LoadedModel, Preprocess, model_info
from nfas_lightning.models.placement import LOADING
from nfas_lightning.models.preprocess import ClipPreprocess, ImagePreprocess, RawStimuli
from nfas_lightning.models.random_twin import random_twin
from nfas_lightning.models.sources import sources, split_name
from nfas_lightning.models.text import TextPreprocess
from nfas_lightning.models.zoo.entry import ZooEntry

__all__ = ["OF_SOME", "check_label", "load_model", "load_module", "modality_of", "model_name"]

_LONGEST = 200  # characters of a name; folders take 255 bytes
_WEIGHTS = ("pretrained", "random")


def check_label(name: Any) -> None:
    """Raise for a name that no table, folder or terminal could show as it is.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty or dots alone, longer than 200 characters, or holds a line break or another
            character that is not printed.
    """
    if not isinstance(name, str):
        raise InputTypeError(f"A model's name must be text, got {name!r:.80} ({type(name).__name__}).")
    if not name.strip(" .") or len(name) > _LONGEST or not name.isprintable():
        shown = name if len(name) <= 60 else f"{name[:60]}... ({len(name)} characters)"
        raise InputError(
            f"A model's name must be 1 to {_LONGEST} printed characters, more than dots, got {shown!r}: give "
            "another with name=."
        )


def model_name(model: str | nn.Module | LoadedModel | ZooEntry) -> str:
    """Return the name that a model's card will have with its pretrained weights, without loading anything.

    Example:
        >>> model_name("hf:org/Name@1f3a"), model_name(nn.Linear(2, 2))
        ('name', 'linear')
    """
    if isinstance(model, LoadedModel):
        return model.info.name
    if isinstance(model, ZooEntry):
        return model.name
    if isinstance(model, nn.Module):
        return type(model).__name__.lower()
    source, colon, name = model.partition(":")
    if source == "hf":
        return Path(name if Path(name).is_dir() else name.partition("@")[0]).name.lower()
    return name if colon else model


def modality_of(preprocess: Preprocess) -> str:
    """Return the modality that a preprocessing reads; empty where it does not tell."""
    if isinstance(preprocess, TextPreprocess):
        return "language"
    if isinstance(preprocess, AudioPreprocess):
        return "audio"
    return "vision" if isinstance(preprocess, ImagePreprocess | ClipPreprocess) else ""


OF_SOME = {
    "revision": "models of the hub have one ('hf:...', 'zoo:...')",
    "folder": "models of the zoo have one ('zoo:...')",
    "options": "packaged models have them",
    "dtype": "models of 'hf:', 'zoo:' and 'timm:' have one, and a module is cast by module.to(dtype)",
    **dict.fromkeys(LOADING[1:], "models of transformers take it ('hf:...', 'zoo:...')"),
}
"""Arguments that are for models of some sources alone, and which those are."""


def load_model(
    model: str | nn.Module | LoadedModel | ZooEntry,
    *,
    weights: str = "pretrained",
    seed: int = 0,
    **given: Any,
) -> LoadedModel:
    """Load a network by name, or wrap one that is there.

    Args:
        model: one of

            - a bare name, ``"minilm_l6"``: a packaged model, whose weights come inside a Python package;
            - ``"zoo:resnet50"``: a model of the zoo (``configs/models``, `nfas models list`), or an entry;
            - ``"timm:resnet18"`` or ``"torchvision:resnet18"``: an image model of these libraries;
            - ``"hf:org/name@revision"`` or ``"hf:./folder"``: a transformers model;
            - ``"source:name"`` of a source that another package registers, see `ModelSource`;
            - any module, or what a loader returned.
        weights: ``"pretrained"``, or ``"random"`` for the same architecture without its training.
        seed: of the random weights.
        **given: `revision`, `dtype`, `device_map`, `quantization_config`, `attn_implementation`, `options`
            and `folder`, see `FrozenModel`.

    Returns:
        The module in evaluation mode, its preprocessing, the blocks to record and its card.

    Raises:
        ValueError: an unknown name or source, or an argument that its source does not take.
        OSError: the weights can't be reached.
        ImportError: an optional library is missing.
    """
    check_option("weights", weights, _WEIGHTS)
    given = {key: value for key, value in given.items() if value not in (None, {})}
    takes: tuple[str, ...] = ()
    if isinstance(model, str | ZooEntry):
        found, name = split_name(model) if isinstance(model, str) else ("zoo", model)
        source = sources()[found]
        takes = source.takes
    elif not isinstance(model, LoadedModel | nn.Module):
        raise InputTypeError(f"model must be a name or an nn.Module instance, got {model!r}: build it first.")
    for key, value in given.items():
        if key not in takes:
            reason = OF_SOME.get(key, f"expected one of {', '.join(OF_SOME)}")
            raise InputError(f"{model_name(model)!r} takes no {key}, got {value!r}: {reason}.")
    if isinstance(model, LoadedModel):
        return model if weights == "pretrained" else _as_random(model, seed)
    if isinstance(model, nn.Module):
        return load_module(model, weights=weights, seed=seed)
    return source.load(name, weights=weights, seed=seed, **given)


def load_module(
    module: nn.Module,
    *,
    name: str | None = None,
    modality: str | None = None,
    weights: str = "pretrained",
    seed: int = 0,
    preprocess: Preprocess | None = None,
    layers: Layers = "auto",
    pooling: str = "auto",
) -> LoadedModel:
    """Wrap any module.

    Args:
        module: the network; one that `torch.compile` returned is unwrapped and runs as it was.
        name: its name in results; None: its class.
        modality: ``"vision"``, ``"audio"`` or ``"language"``; None: that of `preprocess`, or of the benchmark
            where this does not tell.
        weights: ``"random"`` for a copy with random weights, see `random_twin`.
        seed: of the random weights.
        preprocess: see `LoadedModel`, as the two that follow; None: what the module's own configuration asks
            for (see `known_preprocess`), else the batch's image or audio as it is.
        layers: blocks to record.
        pooling: how a block's output becomes one vector per stimulus.
    """
    check_option("weights", weights, _WEIGHTS)
    module = plain_network(module)  # what was compiled has its names behind a prefix
    family, preprocess = model_name(module), preprocess or known_preprocess(module) or RawStimuli()
    modality = modality or modality_of(preprocess)
    info = model_info(
        module, name=name or family, modality=modality, family=family, source="module", seed=None
    )
    loaded = LoadedModel(module.eval(), preprocess, info, layers, pooling)
    return loaded if weights == "pretrained" else _as_random(loaded, seed)


def _as_random(loaded: LoadedModel, seed: int) -> LoadedModel:
    module, trained = random_twin(loaded.module, seed).eval(), loaded.info
    kept = {name: getattr(trained, name) for name in ("name", "modality", "family", "source")}
    return replace(loaded, module=module, info=model_info(module, **kept, seed=seed))
