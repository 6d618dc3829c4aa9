"""Load a network by name, with its preprocessing and its card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import nn

from nfas_lightning.functional.checks import check_option
from nfas_lightning.hooks.selection import Layers
from nfas_lightning.hooks.undisturbed import plain_network
from nfas_lightning.models.base import LoadedModel, Preprocess
from nfas_lightning.models.found import known_preprocess, timm_preprocess
from nfas_lightning.models.image_config import torchvision_preprocess
from nfas_lightning.models.info import model_info
from nfas_lightning.models.optional import require
from nfas_lightning.models.preprocess import (
    AudioPreprocess,
    ClipPreprocess,
    ImagePreprocess,
    RawStimuli,
    TextPreprocess,
)
from nfas_lightning.models.random_twin import random_twin, seeded
from nfas_lightning.models.reach import check_reachable, hub_or_cache
from nfas_lightning.models.untrained import untrained_timm
from nfas_lightning.models.zoo import ZooEntry, load_zoo, zoo, zoo_entry

__all__ = [
    "check_label",
    "check_name",
    "load_model",
    "load_module",
    "load_timm",
    "load_torchvision",
    "modality_of",
    "model_name",
]

_LONGEST = 200  # characters of a name; folders take 255 bytes
_WEIGHTS = ("pretrained", "random")
_SOURCES = ("zoo", "timm", "torchvision", "hf")


def check_name(model: str) -> None:
    """Raise for a name that `load_model` can't know, without loading anything.

    Names of the zoo and of packaged models are looked up; those of timm, torchvision and the hub show when
    they are loaded.

    Raises:
        ValueError: an unknown name or source; the closest names are listed.
    """
    source, colon, name = model.partition(":")
    if not colon:
        from nfas_lightning.packaged_models.registry import PACKAGED

        if model not in PACKAGED:
            known = [*PACKAGED, *(f"zoo:{entry}" for entry in zoo())]
            # with and without the source, which is what is most often forgotten
            close = [n for n in (f"zoo:{model}",) if n in known] or list(
                dict.fromkeys(
                    [
                        *get_close_matches(model, PACKAGED),
                        *get_close_matches(f"zoo:{model}", known, n=2, cutoff=0.75),
                    ]
                )
            )
            raise ValueError(
                f"No packaged model is called {model!r}. Try one of: {', '.join(close or sorted(PACKAGED))}."
            )
    elif source == "zoo":
        zoo_entry(name)
    elif source not in _SOURCES:
        raise ValueError(
            f"Unknown source {source!r} in {model!r}: expected 'zoo:', 'timm:', 'torchvision:', 'hf:' or a "
            f"bare packaged name."
        )


def check_label(name: Any) -> None:
    """Raise for a name that no table, folder or terminal could show as it is.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty or dots alone, longer than 200 characters, or holds a line break or another
            character that is not printed.
    """
    if not isinstance(name, str):
        raise TypeError(f"A model's name must be text, got {name!r:.80} ({type(name).__name__}).")
    if not name.strip(" .") or len(name) > _LONGEST or not name.isprintable():
        shown = name if len(name) <= 60 else f"{name[:60]}... ({len(name)} characters)"
        raise ValueError(
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


def load_model(
    model: str | nn.Module | LoadedModel | ZooEntry,
    *,
    weights: str = "pretrained",
    seed: int = 0,
    revision: str | None = None,
    options: Mapping[str, Any] | None = None,
    folder: str | None = None,
) -> LoadedModel:
    """Load a network by name, or wrap one that is there.

    Args:
        model: one of

            - a bare name, ``"minilm_l6"``: a model whose weights a registry package carries (`PACKAGED`);
            - ``"zoo:resnet50"``: a model of the zoo (``configs/models``, `nfas models list`), or an entry;
            - ``"timm:resnet18"``: an image model of timm;
            - ``"torchvision:resnet18"``: an image model of torchvision;
            - ``"hf:org/name@revision"`` or ``"hf:./folder"``: a transformers model;
            - any module, or what a loader returned.
        weights: ``"pretrained"``, or ``"random"`` for the same architecture without its training.
        seed: of the random weights.
        revision: commit or tag of a hub model; the same as ``@revision``.
        options: of a packaged model's builder, e.g. ``{"max_seconds": 10}`` for whisper_base.
        folder: of a model of the zoo: a local folder with its repository's files.

    Returns:
        The module in evaluation mode, its preprocessing, the blocks to record and its card.

    Raises:
        ValueError: an unknown name or source.
        OSError: the weights can't be reached.
        ImportError: an optional library is missing.
    """
    check_option("weights", weights, _WEIGHTS)
    if isinstance(model, LoadedModel):
        return model if weights == "pretrained" else _as_random(model, seed)
    if isinstance(model, nn.Module):
        return load_module(model, weights=weights, seed=seed)
    if not isinstance(model, ZooEntry | str):
        raise TypeError(f"model must be a name or an nn.Module instance, got {model!r}: build it first.")
    if isinstance(model, str):
        check_name(model)
    if isinstance(model, ZooEntry) or model.startswith("zoo:"):
        if options:
            raise ValueError(f"options belong to packaged models, got {sorted(options)} for the zoo.")
        entry = model if isinstance(model, ZooEntry) else model.removeprefix("zoo:")
        return load_zoo(entry, weights=weights, seed=seed, revision=revision, folder=folder)
    source, colon, name = model.partition(":")
    if revision is not None and source != "hf":
        raise ValueError(
            f"revision belongs to models of the hub ('hf:...', 'zoo:...'), got {model!r} with {revision!r}."
        )
    if folder is not None:
        raise ValueError(f"folder belongs to models of the zoo ('zoo:...'), got {model!r} with {folder!r}.")
    if options and colon:
        raise ValueError(f"options belong to packaged models, got {model!r} with {sorted(options)}.")
    if not colon:
        from nfas_lightning.packaged_models import load_packaged

        return load_packaged(model, weights=weights, seed=seed, **(options or {}))
    if source == "timm":
        return load_timm(name, weights=weights, seed=seed)
    if source == "torchvision":
        return load_torchvision(name, weights=weights, seed=seed)
    from nfas_lightning.models.transformers_loader import load_transformers

    return load_transformers(name, weights=weights, seed=seed, revision=revision)


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
        pooling: how a block's output becomes one vector a stimulus.
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


def load_timm(name: str, *, weights: str = "pretrained", seed: int = 0, **options: Any) -> LoadedModel:
    """Load an image model of timm with the preprocessing it was trained with.

    Args:
        name: a name of ``timm.list_models()``, with or without a pretrained tag.
        weights: ``"pretrained"`` or ``"random"``, see `untrained_timm`.
        seed: of the random weights.
        **options: of ``timm.create_model``, e.g. ``img_size``.

    Raises:
        ImportError: timm is missing.
        ValueError: timm knows no such model.
        OSError: the pretrained weights can't be reached.
    """
    check_option("weights", weights, _WEIGHTS)
    timm = require("timm", "vision")
    if not timm.is_model(name):
        close = get_close_matches(name.split(".")[0], timm.list_models(), n=5)
        raise ValueError(f"timm has no model {name!r}. Similar names: {', '.join(close) or 'none'}.")
    try:
        if weights == "random":
            module = seeded(seed, lambda: untrained_timm(timm, name, **options))
        else:
            with hub_or_cache():
                module = seeded(seed, lambda: timm.create_model(name, pretrained=True, **options))
    except (OSError, RuntimeError) as error:
        if weights == "random":
            raise
        wanted = timm.get_pretrained_cfg(name)
        hub = getattr(wanted, "hf_hub_id", None) or getattr(wanted, "url", None) or "no hub entry"
        raise OSError(
            f"The weights of 'timm:{name}' could not be read from {hub}: {str(error).rstrip('.')}. Fetch "
            f"them where the hub can be reached (the cache can be copied), or choose weights='random'."
        ) from error
    preprocess = timm_preprocess(module)
    if preprocess is None:
        raise ValueError(
            f"'timm:{name}' does not read RGB images. Give FrozenModel the module and a preprocess."
        )
    origin: dict[str, Any] = getattr(module, "pretrained_cfg", {})
    source = f"timm=={timm.__version__} ({origin.get('tag') or 'untagged'})"
    return _vision(module, preprocess, name, source, weights, seed, license=origin.get("license") or "")


def load_torchvision(name: str, *, weights: str = "pretrained", seed: int = 0) -> LoadedModel:
    """Load an image classifier of torchvision with the preprocessing of its default weights.

    Args:
        name: a name of ``torchvision.models.list_models()``.
        weights: ``"pretrained"`` or ``"random"``.
        seed: of the random weights.

    Raises:
        ImportError: torchvision is missing.
        ValueError: torchvision knows no such model.
        OSError: the pretrained weights can't be reached.
    """
    check_option("weights", weights, _WEIGHTS)
    torchvision = require("torchvision", "vision")
    try:
        default = torchvision.models.get_model_weights(name).DEFAULT
    except ValueError as error:
        raise ValueError(f"torchvision has no model {name!r}: {error}") from error
    pretrained = default if weights == "pretrained" else None
    try:
        if pretrained is not None:
            file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(default.url).path).name
            check_reachable(default.url, file)
        module = seeded(seed, lambda: torchvision.models.get_model(name, weights=pretrained))
    except OSError as error:
        raise OSError(
            f"The weights of 'torchvision:{name}' could not be fetched from {default.url}: "
            f"{str(error).rstrip('.')}. Put the file into torch's hub cache, or choose weights='random'."
        ) from error
    preprocess = torchvision_preprocess(default.transforms())
    return _vision(
        module, preprocess, name, f"torchvision=={torchvision.__version__} ({default})", weights, seed
    )


def _vision(
    module: nn.Module,
    preprocess: ImagePreprocess,
    name: str,
    source: str,
    weights: str,
    seed: int,
    license: str = "",
) -> LoadedModel:
    info = model_info(
        module,
        name=name,
        modality="vision",
        family=type(module).__name__.lower(),
        source=source,
        seed=None if weights == "pretrained" else seed,
        license=license,
    )
    return LoadedModel(module.eval(), preprocess, info)


def _as_random(loaded: LoadedModel, seed: int) -> LoadedModel:
    module = random_twin(loaded.module, seed).eval()
    trained = loaded.info
    info = model_info(
        module,
        name=trained.name,
        modality=trained.modality,
        family=trained.family,
        source=trained.source,
        seed=seed,
    )
    return replace(loaded, module=module, info=info)
