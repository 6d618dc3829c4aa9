"""The zoo's files, by name, and the loading of one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from nfas_lightning.errors import InputError
from nfas_lightning.functional.checks import check_option
from nfas_lightning.hooks.state_checks import is_quantized
from nfas_lightning.models.loaded import LoadedModel, model_info
from nfas_lightning.models.placement import LOADING, as_dtype, stored_dtypes, stored_note
from nfas_lightning.models.random_twin import seeded, state_sha256
from nfas_lightning.models.sources import ModelSource
from nfas_lightning.models.zoo.architecture import build_network, build_preprocess, check_network
from nfas_lightning.models.zoo.entry import ZooEntry
from nfas_lightning.models.zoo.pins import Pin, check_pin, read_pins
from nfas_lightning.models.zoo.repository import Repository, weights_folder
from nfas_lightning.writing import load_yaml

__all__ = ["CONFIGS", "SOURCE", "load_zoo", "pin_of", "read_entry", "zoo", "zoo_entry", "zoo_files"]

# an installed package carries configs/, a clone has it beside the package
_INSTALLED, _CLONE = (Path(__file__).parents[n] / "configs" / "models" for n in (2, 3))
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else _CLONE
"""Folder of the files."""


def zoo_files() -> Iterator[Path]:
    """Yield the config of every model, entries of the zoo and plain examples, by folder and name."""
    yield from sorted(CONFIGS.glob("*/*.yaml"))


@cache
def zoo() -> Mapping[str, ZooEntry]:
    """Return every entry by name; the files are read once per process."""
    found = (read_entry(path) for path in zoo_files())
    return MappingProxyType({entry.name: entry for entry in found if entry is not None})


def read_entry(path: Path) -> ZooEntry | None:
    """Read the entry of one config; None where its model is something else, e.g. a module of your own.

    Raises:
        ValueError: the entry does not say what an entry must say, or not under its own name.
    """
    config = load_yaml(path.read_text(encoding="utf-8"))
    model = config["model"]["init_args"]["model"]
    if not isinstance(model, dict) or not str(model.get("class_path", "")).endswith("ZooEntry"):
        return None
    try:
        entry = ZooEntry(**model["init_args"])
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} holds no entry of the zoo: {error}") from error
    if entry.name != path.stem:
        raise InputError(f"{path} must hold an entry of the file's name, got {entry.name!r}.")
    return entry


def zoo_entry(name: str) -> ZooEntry:
    """Return the entry of a name.

    Raises:
        ValueError: there is none; the closest names are listed.
    """
    if name not in zoo():
        close = get_close_matches(name, zoo(), cutoff=0.4) or sorted(zoo())
        raise InputError(f"The zoo has no model {name!r}. Try one of: {', '.join(close)}.")
    return zoo()[name]


def load_zoo(
    entry: str | ZooEntry,
    *,
    weights: str = "pretrained",
    seed: int = 0,
    revision: str | None = None,
    folder: str | Path | None = None,
    **loading: Any,
) -> LoadedModel:
    """Load a model of the zoo with its preprocessing and its card.

    Args:
        entry: a name of the zoo, or an entry of your own.
        weights: ``"pretrained"``, or ``"random"`` for the same architecture as its library initializes it.
            Random vision and audio models need no file; language models need their tokenizer.
        seed: of the random weights.
        revision: commit, tag or branch; None: the lock file's, else the entry's.
        folder: local folder with the repository's files; None: ``NFAS_WEIGHTS/<name>`` if it is there, else
            the hub or its cache.
        **loading: `dtype`, `device_map`, `quantization_config`, `attn_implementation`, see `FrozenModel`.

    Returns:
        The module in evaluation mode, its preprocessing, the blocks to record and its card, which holds the
        commit that was read, the hash of the weights, and their precision as stored if another runs.

    Raises:
        OSError: files can't be reached.
        ValueError: unknown name, or files of another model: other shapes, blocks or parameters, or a hash
            that the lock file contradicts.

    Warns:
        UserWarning: the repository's feature extractor has other numbers than the entry.
    """
    check_option("weights", weights, ("pretrained", "random"))
    found = zoo_entry(entry) if isinstance(entry, str) else entry
    pretrained = weights == "pretrained"
    pin = read_pins().get(found.name)
    wanted = revision or (pin.revision if pin and pin.hub == found.hub else found.revision)
    files = Repository(found, wanted, weights_folder(found, folder))
    module = files.network(**loading) if pretrained else seeded(seed, lambda: build_network(found, **loading))
    is_whole = not is_quantized(module)  # bitsandbytes keeps two weights in a number
    layers = check_network(found, module, parameters=is_whole)
    values = files.preprocessing() if pretrained else found.preprocessing
    preprocess = build_preprocess(values, files.tokenizer)
    stored = stored_note(stored_dtypes(files.cached), module) if pretrained else ""
    info = model_info(
        module,
        name=found.name,
        modality=found.modality,
        family=found.family,
        source=files.source if pretrained else "",  # asks the hub's cache
        seed=None if pretrained else seed,
        license=found.license,
        note=" ".join(filter(None, (found.note, stored))),
        objective=found.objective,
    )
    # the lock file has the hash of weights in float32
    if pretrained and is_whole and as_dtype(loading.get("dtype")) == torch.float32:
        check_pin(found.name, found.hub, info.weights_sha256, pin)
    return LoadedModel(module.requires_grad_(False), preprocess, info, layers, found.pooling)


def pin_of(entry: ZooEntry, *, folder: str | Path | None = None, revision: str | None = None) -> Pin:
    """Load a model's weights and return what to write into the lock file.

    Unlike `load_zoo` it asks the entry, not the lock file, so that a pin can be renewed.
    """
    files = Repository(entry, revision or entry.revision, weights_folder(entry, folder))
    module = files.network()
    check_network(entry, module)
    return Pin(entry.hub, files.commit, state_sha256(module))


def _is_local(name: str) -> bool:
    entry = zoo_entry(name)
    return Repository(entry, entry.revision, weights_folder(entry)).is_local


def _pinned(name: str) -> str:
    return "lock file" if name in read_pins() else "commit" if zoo_entry(name).is_pinned else "no"


def _block_names(name: str) -> list[str]:
    return check_network(zoo_entry(name), build_network(zoo_entry(name), device="meta"))


SOURCE = ModelSource(
    load_zoo,
    takes=("revision", "folder", *LOADING),
    entries=zoo,
    is_local=_is_local,
    pinned=_pinned,
    block_names=_block_names,
)
"""The zoo, under ``zoo:`` in front of a name."""
