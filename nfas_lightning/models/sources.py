"""Where models of a name come from: the sources of this package, and those that others register."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from nfas_lightning.errors import InputError
from nfas_lightning.models.loaded import LoadedModel

__all__ = ["ModelSource", "listed_models", "sources", "split_name"]

_GROUP = "nfas_lightning.models"
_HERE = {
    "zoo": "nfas_lightning.models.zoo.registry:SOURCE",
    "timm": "nfas_lightning.models.timm_loader:SOURCE",
    "torchvision": "nfas_lightning.models.torchvision_loader:SOURCE",
    "hf": "nfas_lightning.models.transformers_loader:SOURCE",
}
# also an entry point of this package; a checkout that is on the path but not installed has no entry points
_FALLBACK = {"packaged": "nfas_lightning.packaged_models:SOURCE"}


@dataclass(frozen=True)
class ModelSource:
    """Models that are loaded by name.

    A package registers one under the entry point group ``nfas_lightning.models``; in its ``pyproject.toml``::

        [project.entry-points."nfas_lightning.models"]
        mylab = "mylab.models:SOURCE"

    ``mylab:NAME`` then names its models everywhere, a bare ``NAME`` too, and `nfas models list` shows them.

    Attributes:
        load: ``load(name, weights=..., seed=...)``, see `load_model`.
        takes: what else `load` takes: ``"revision"``, ``"folder"``, ``"options"``.
        entries: returns the models by name, dataclasses with at least ``modality``, ``family``, ``license``
            and ``parameters``; empty where a library knows its names.
        is_local: whether the weights of a name are on this machine.
        pinned: what holds the weights of a name to what they are, in a word.
        n_parameters: of a name that `entries` does not list, without a download of weights; 0: not known.
        names: what there is besides `entries`, as far as it is known without a network, for a search.
        check: raises for a name that can't be one, before anything is loaded.
        about: what is known of a name that `entries` does not list, without a download of weights.
        block_names: the blocks of a name that are recorded, without a download; empty where this needs one.
    """

    load: Callable[..., LoadedModel]
    takes: tuple[str, ...] = ()
    entries: Callable[[], Mapping[str, Any]] = dict
    is_local: Callable[[str], bool] = lambda name: False
    pinned: Callable[[str], str] = lambda name: "no"
    n_parameters: Callable[[str], int] = lambda name: 0
    names: Callable[[], Iterable[str]] = tuple
    check: Callable[[str], None] = lambda name: None
    about: Callable[[str], Mapping[str, Any]] = lambda name: {}
    block_names: Callable[[str], list[str]] = lambda name: []


@cache
def sources() -> Mapping[str, ModelSource]:
    """Return every source by the name that stands before the colon, those of this package first."""
    found = {name: EntryPoint(name, value, _GROUP) for name, value in {**_HERE, **_FALLBACK}.items()}
    found |= {point.name: point for point in entry_points(group=_GROUP) if point.name not in _HERE}
    return {name: point.load() for name, point in found.items()}


def listed_models() -> dict[str, Any]:
    """Return the entries of all sources that list theirs, by the name that `load_model` takes.

    Names of registered sources are bare, except where an earlier source has the same.
    """
    listed: dict[str, Any] = {}
    for source, found in sources().items():
        for name, entry in found.entries().items():
            is_bare = source not in _HERE and name not in listed
            listed[name if is_bare else f"{source}:{name}"] = entry
    return listed


def split_name(model: str) -> tuple[str, str]:
    """Return source and name of a model; a bare name is of a registered source, or of the zoo.

    Raises:
        ValueError: an unknown source, or a name that no source lists; the closest names are given.
    """
    source, colon, name = model.partition(":")
    if colon:
        if source not in sources():
            raise InputError(
                f"Unknown source {source!r} in {model!r}: expected one of "
                f"{', '.join(f'{known}:' for known in sources())} or the bare name of a packaged model."
            )
        known = sources()[source].entries()
        if known and name not in known:
            close = get_close_matches(name, known, cutoff=0.4) or sorted(known)
            raise InputError(_unknown(model, [f"{source}:{other}" for other in close]))
        sources()[source].check(name)
        return source, name
    for source, found in sources().items():
        if source not in _HERE and model in found.entries():
            return source, model
    if model in sources()["zoo"].entries():
        return "zoo", model
    listed = listed_models()
    close = get_close_matches(model, listed)
    close += [name for name in get_close_matches(f"zoo:{model}", listed, cutoff=0.75) if name not in close]
    raise InputError(_unknown(model, close or [name for name in listed if ":" not in name]))


def _unknown(model: str, close: list[str]) -> str:
    return f"No model is called {model!r}. Try one of: {', '.join(close)}."
