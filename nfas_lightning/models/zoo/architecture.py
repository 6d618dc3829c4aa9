"""Build an entry's network and preprocessing from what its file says: nothing is fetched."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from nfas_lightning.errors import InputError
from nfas_lightning.hooks.selection import resolve_layers
from nfas_lightning.models.adapters import adapt
from nfas_lightning.models.audio import AudioPreprocess, PatchedAudioPreprocess, RepeatedAudioPreprocess
from nfas_lightning.models.loaded import Preprocess
from nfas_lightning.models.optional import require
from nfas_lightning.models.placement import as_dtype, part_of, untrained
from nfas_lightning.models.preprocess import ClipPreprocess, ImagePreprocess
from nfas_lightning.models.text import TextPreprocess
from nfas_lightning.models.timm_loader import untrained_timm
from nfas_lightning.models.zoo.entry import ZooEntry

__all__ = [
    "build_network",
    "build_preprocess",
    "check_network",
    "configuration",
    "finish",
    "library",
    "merged",
    "network_class",
    "refuse_for_timm",
]

_TOLERANCE = 1e-3
"""Share by which a parameter count may differ: releases of a library rename buffers and drop masks; a missing
pooler, head or layer is more."""


def build_network(
    entry: ZooEntry, *, reduced: bool = False, device: str | None = None, **loading: Any
) -> nn.Module:
    """Build an entry's network with its library's initialization, in evaluation mode.

    Args:
        entry: the model.
        reduced: the small network of the same blocks that checks run.
        device: ``"meta"`` builds shapes without values.
        **loading: `dtype`, and of transformers' networks what else `untrained` takes.

    Raises:
        ImportError: the library is missing.
        ValueError: the library knows no such model, class or configuration.
    """
    options = merged(
        entry.architecture.get("options", {}), entry.reduced.get("options", {}) if reduced else {}
    )
    with torch.device(device) if device else nullcontext():
        if entry.library == "timm":
            timm, name = library(entry), entry.architecture["model"]
            if not timm.is_model(name):
                raise InputError(f"{entry.name}: timm {timm.__version__} has no model {name!r}.")
            dtype = loading.pop("dtype", None)
            refuse_for_timm(entry, loading)
            module = untrained_timm(name, **options).to(as_dtype(dtype))
        else:
            config = configuration(entry, reduced=reduced)
            module = untrained(network_class(entry), config, **loading, **options)
        return finish(entry, module)


def refuse_for_timm(entry: ZooEntry, loading: Mapping[str, Any]) -> None:
    """Raise where a network of timm is given what transformers' networks take."""
    if loading:
        raise InputError(f"{entry.name} is of timm, which takes no {', '.join(loading)}: dtype alone.")


def finish(entry: ZooEntry, module: nn.Module) -> nn.Module:
    """Take the part that runs, make its depth visible to hooks, and put it in evaluation mode."""
    if part := entry.architecture.get("part"):
        try:
            module = part_of(module, module.get_submodule(part))
        except AttributeError as error:
            known = ", ".join(name for name, _ in module.named_children())
            raise InputError(f"{entry.name}: the network has no part {part!r}, it has {known}.") from error
    if entry.library == "transformers":
        module, _ = adapt(module)
    return module.eval()


def check_network(entry: ZooEntry, module: nn.Module, *, parameters: bool = True) -> list[str]:
    """Return the blocks to record, once blocks and parameters are what the entry says.

    Raises:
        ValueError: they are not; the message names the hub entry.
    """
    names = resolve_layers(module, entry.layers)
    if len(names) != entry.blocks:
        raise InputError(
            f"{entry.name} ({entry.address}) must have {entry.blocks} blocks, layers={entry.layers!r} finds "
            f"{len(names)}: {names[0]} ... {names[-1]}. Other weights, or another release of {entry.library}?"
        )
    found = sum(parameter.numel() for parameter in module.parameters())
    if parameters and abs(found - entry.parameters) > _TOLERANCE * entry.parameters:
        raise InputError(
            f"{entry.name} ({entry.address}) must have {entry.parameters:,} parameters (within "
            f"{_TOLERANCE:.1%}), got {found:,}. Other weights, or another release of {entry.library}?"
        )
    return names


def library(entry: ZooEntry) -> Any:
    """Import the library that builds the entry.

    Raises:
        ImportError: it is missing; the message names the extra that brings it.
    """
    return require(entry.library, entry.extra)


def network_class(entry: ZooEntry) -> Any:
    """Return the transformers class that the entry names."""
    name = entry.architecture["class"]
    found = getattr(library(entry), name, None)
    if found is None:
        version = library(entry).__version__
        raise InputError(f"{entry.name}: transformers {version} has no class {name!r}.")
    return found


def configuration(entry: ZooEntry, *, reduced: bool = False) -> Any:
    """Return the transformers configuration that the entry writes out."""
    values = dict(entry.architecture.get("config", {}))
    if reduced:
        values = merged(values, entry.reduced.get("config", {}))
    return network_class(entry).config_class(**values)


def merged(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with `overrides` on top, mappings inside mappings included."""
    out = dict(values)
    for key, value in overrides.items():
        both_map = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merged(out[key], value) if both_map else value
    return out


def build_preprocess(values: Mapping[str, Any], tokenizer: Callable[[], Any]) -> Preprocess:
    """Return the preprocessing that an entry describes.

    Args:
        values: ``kind`` and its arguments, one of

            - ``image``: those of `ImagePreprocess`;
            - ``clip``: those of `ClipPreprocess`;
            - ``audio``: ``extractor``, a feature extractor class of transformers, its ``options``, and the
              arguments of `AudioPreprocess`;
            - ``patched_audio`` and ``repeated_audio``: ``extractor`` and ``options``;
            - ``text``: ``max_length`` and ``prefix`` of `TextPreprocess`.
        tokenizer: brings the tokenizer, and is called for ``text`` alone: the others need no file.

    Raises:
        ValueError: an unknown kind.
        TypeError: an argument that the kind does not take.
    """
    rest = {key: value for key, value in values.items() if key != "kind"}
    kind = values["kind"]
    if kind == "image":
        return ImagePreprocess(**_pixels(rest))
    if kind == "clip":
        return ClipPreprocess(rest.pop("frames"), ImagePreprocess(**_pixels(rest)))
    if kind == "text":
        return TextPreprocess(tokenizer(), **rest)
    kinds = {
        "audio": AudioPreprocess,
        "patched_audio": PatchedAudioPreprocess,
        "repeated_audio": RepeatedAudioPreprocess,
    }
    if kind not in kinds:
        raise InputError(
            f"preprocessing: kind must be one of image, clip, text, {', '.join(kinds)}, got {kind!r}."
        )
    extractor_class = getattr(require("transformers", "audio"), rest.pop("extractor"))
    with warnings.catch_warnings():
        # AST was trained with 128 mel bands, of which the lowest hold no frequency of its spectrum
        warnings.filterwarnings("ignore", message="At least one mel filter has all zero values")
        extractor = extractor_class(**rest.pop("options", {}))
    preprocess: Preprocess = kinds[kind](extractor.sampling_rate, extractor, **rest)
    return preprocess


def _pixels(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `ImagePreprocess`; YAML has lists where it takes pairs."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
