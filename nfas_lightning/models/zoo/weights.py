"""Fill an entry's network with its pretrained weights, from the hub or from a folder."""

from __future__ import annotations

import json
import os
import pickle
import re
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from nfas_lightning.models.optional import require
from nfas_lightning.models.reach import hub_or_cache
from nfas_lightning.models.text import has_vocabulary
from nfas_lightning.models.zoo.architecture import configuration, finish, library, network_class
from nfas_lightning.models.zoo.entry import ZooEntry

__all__ = [
    "is_local",
    "load_network",
    "load_tokenizer",
    "resolved_revision",
    "stored_preprocessing",
    "weights_folder",
]

_FILES = ("model.safetensors", "pytorch_model.bin")
_SHARDED = tuple(f"{name}.index.json" for name in _FILES)
# what reading a file that is damaged, of another model or out of reach raises in these libraries
_FAILURES = (OSError, RuntimeError, ValueError, KeyError, SafetensorError, pickle.UnpicklingError)
_EXTRACTOR = "preprocessor_config.json"
_SHOWN = 5


def weights_folder(entry: ZooEntry, folder: str | Path | None) -> Path | None:
    """Return the local folder of an entry's files: what was given, or ``NFAS_WEIGHTS/<name>`` if it is there.

    Raises:
        FileNotFoundError: the folder that was given does not exist.
    """
    if folder is not None:
        path = Path(folder).expanduser()
        if not path.is_dir():
            raise FileNotFoundError(
                f"No folder {str(path)!r} with the weights of {entry.name} ({entry.address})."
            )
        return path
    if root := os.environ.get("NFAS_WEIGHTS"):
        path = Path(root).expanduser() / entry.name
        return path if path.is_dir() else None
    return None


def is_local(entry: ZooEntry) -> bool:
    """Whether weights are on this machine: a folder of ``NFAS_WEIGHTS``, or the hub's cache."""
    if weights_folder(entry, None) is not None:
        return True
    hub = require("huggingface_hub", entry.extra)
    found = (
        hub.try_to_load_from_cache(entry.hub, name, revision=entry.revision) for name in (*_FILES, *_SHARDED)
    )
    return any(isinstance(path, str) for path in found)


def load_network(entry: ZooEntry, revision: str, folder: Path | None) -> nn.Module:
    """Return the network with its pretrained weights.

    Code from the hub is never run, and pickled weights are read with ``weights_only``. Weights stored in half
    precision are raised to float32, in which a random network is drawn too.

    Args:
        entry: the model.
        revision: commit, tag or branch of its repository.
        folder: with ``model.safetensors`` or ``pytorch_model.bin`` (transformers: sharded too), and the
            configuration if there is one; None: the hub, or its local cache.

    Raises:
        OSError: nothing can be read there.
        ValueError: what is there are not this model's weights.
    """
    if entry.library == "timm":
        return finish(entry, _reading(entry, revision, folder, lambda: _timm(entry, revision, folder)))
    module, report = _reading(entry, revision, folder, lambda: _transformers(entry, revision, folder))
    part = entry.architecture.get("part", "")
    missing = [key for key in report["missing_keys"] if key.startswith(part)]
    if missing:
        raise ValueError(
            f"{_where(entry, revision, folder)} lacks {len(missing)} tensors of {entry.name}, among them "
            f"{', '.join(sorted(missing)[:_SHOWN])}: these are the weights of another model."
        )
    return finish(entry, module)


def load_tokenizer(entry: ZooEntry, revision: str, folder: Path | None) -> Any:
    """Return the entry's tokenizer, from the folder or the hub.

    Raises:
        OSError: it can't be read, or its vocabulary is missing.
    """
    transformers = require("transformers", "language")
    place, options = _place(entry, revision, folder)
    tokenizer = _reading(
        entry, revision, folder, lambda: transformers.AutoTokenizer.from_pretrained(place, **options)
    )
    if not has_vocabulary(tokenizer):
        raise OSError(
            f"{_where(entry, revision, folder)} has no vocabulary for {entry.name}: expected tokenizer.json "
            f"or the files it is made of."
        )
    return tokenizer


def stored_preprocessing(entry: ZooEntry, revision: str, folder: Path | None) -> dict[str, Any]:
    """Return the entry's preprocessing, with the numbers of the repository's own feature extractor.

    The weights were trained with the repository's numbers, so these win where they differ from the entry's.

    Warns:
        UserWarning: they differ.
    """
    options = entry.preprocessing.get("options")
    if options is None:
        return entry.preprocessing
    hub = require("huggingface_hub", entry.extra)
    path = folder / _EXTRACTOR if folder is not None else None
    if folder is None:
        try:
            with hub_or_cache():
                path = Path(hub.hf_hub_download(entry.hub, _EXTRACTOR, revision=revision))
        except OSError:  # the repository has none, or it is out of reach: the entry says what is needed
            path = None
    if path is None or not path.is_file():
        return entry.preprocessing
    stored = json.loads(path.read_text(encoding="utf-8"))
    other = {key: stored[key] for key, value in options.items() if key in stored and stored[key] != value}
    if not other:
        return entry.preprocessing
    warnings.warn(
        f"{entry.name}: the feature extractor of {entry.hub}@{revision} has {other}, the entry says "
        f"{ {key: options[key] for key in other} }: the repository's numbers are used.",
        UserWarning,
        stacklevel=2,
    )
    return {**entry.preprocessing, "options": {**options, **other}}


def resolved_revision(entry: ZooEntry, revision: str) -> str:
    """Return the commit that the hub's local cache holds for a revision; the revision where it tells none."""
    hub = require("huggingface_hub", entry.extra)
    for name in (*_FILES, *_SHARDED, "config.json"):
        cached = hub.try_to_load_from_cache(entry.hub, name, revision=revision)
        found = re.search(r"snapshots[/\\]([0-9a-f]{40})[/\\]", cached) if isinstance(cached, str) else None
        if found:
            return found.group(1)
    return revision


def _place(entry: ZooEntry, revision: str, folder: Path | None) -> tuple[str, dict[str, Any]]:
    if folder is not None:
        return str(folder), {"trust_remote_code": False, "local_files_only": True}
    return entry.hub, {"trust_remote_code": False, "revision": revision}


def _where(entry: ZooEntry, revision: str, folder: Path | None) -> str:
    hub = f"{entry.hub}@{revision}"
    return f"The hub entry {hub}" if folder is None else f"The folder {str(folder)!r} for the hub entry {hub}"


def _reading(entry: ZooEntry, revision: str, folder: Path | None, read: Callable[[], Any]) -> Any:
    """Run `read`; name the hub entry and what to do where it fails."""
    where = _where(entry, revision, folder)
    try:
        with nullcontext() if folder is not None else hub_or_cache():
            return read()
    except _FAILURES as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        advice = (
            "Fetch the repository where the hub can be reached and give its folder, or let NFAS_WEIGHTS name "
            "a folder with one subfolder a model; or choose weights='random'."
            if folder is None
            else f"Expected {' or '.join(_FILES)} of that repository."
        )
        raise kind(f"{where} does not give {entry.name}: {str(error).rstrip('.')}. {advice}") from error


def _weight_file(folder: Path, *, sharded: bool) -> Path:
    for name in (*_FILES, *(_SHARDED if sharded else ())):
        if (folder / name).is_file():
            return folder / name
    held = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
    raise FileNotFoundError(f"it holds no weights ({held})")


def _timm(entry: ZooEntry, revision: str, folder: Path | None) -> nn.Module:
    timm = library(entry)
    if folder is not None:
        # a plain state dict by the library's own names, as its hub repositories hold it
        overlay: dict[str, Any] = {"file": str(_weight_file(folder, sharded=False)), "custom_load": False}
    else:
        overlay = {"hf_hub_id": f"{entry.hub}@{revision}", "custom_load": False}
    module: nn.Module = timm.create_model(
        entry.architecture["model"],
        pretrained=True,
        pretrained_cfg_overlay=overlay,
        **entry.architecture.get("options", {}),
    )
    return module


def _transformers(entry: ZooEntry, revision: str, folder: Path | None) -> tuple[nn.Module, dict[str, Any]]:
    place, options = _place(entry, revision, folder)
    if folder is not None:
        _weight_file(folder, sharded=True)
        if not (folder / "config.json").is_file():
            options["config"] = configuration(entry)
    loaded: tuple[nn.Module, dict[str, Any]] = network_class(entry).from_pretrained(
        place,
        weights_only=True,
        output_loading_info=True,
        dtype=torch.float32,
        **options,
        **entry.architecture.get("options", {}),
    )
    return loaded
