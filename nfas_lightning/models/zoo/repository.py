"""The files of an entry's repository: a local folder, the hub, or the hub's cache."""

from __future__ import annotations

import json
import os
import pickle
import re
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import nn

from nfas_lightning.errors import InputError, MissingFileError, UnreadableError
from nfas_lightning.models.optional import require
from nfas_lightning.models.placement import WEIGHT_FILES, as_dtype, cached_file, pretrained, stored_dtypes
from nfas_lightning.models.reach import hub_or_cache
from nfas_lightning.models.text import has_vocabulary
from nfas_lightning.models.zoo.architecture import (
    configuration,
    finish,
    library,
    network_class,
    refuse_for_timm,
)
from nfas_lightning.models.zoo.entry import ZooEntry

__all__ = ["Repository", "weights_folder"]

# what reading a file that is damaged, of another model or out of reach raises in these libraries
_FAILURES = (OSError, RuntimeError, ValueError, KeyError, SafetensorError, pickle.UnpicklingError)
_EXTRACTOR = "preprocessor_config.json"
_SHOWN = 5

T = TypeVar("T")


def weights_folder(entry: ZooEntry, folder: str | Path | None = None) -> Path | None:
    """Return the local folder of an entry's files: what was given, or ``NFAS_WEIGHTS/<name>`` if it is there.

    Raises:
        FileNotFoundError: the folder that was given does not exist.
    """
    if folder is not None:
        path = Path(folder).expanduser()
        if not path.is_dir():
            raise MissingFileError(
                f"No folder {str(path)!r} with the weights of {entry.name} ({entry.address})."
            )
        return path
    root = os.environ.get("NFAS_WEIGHTS")
    path = Path(root).expanduser() / entry.name if root else Path()
    return path if root and path.is_dir() else None


@dataclass(frozen=True)
class Repository:
    """Where the files of an entry are read.

    Code of a repository is never run, and pickled weights are read with ``weights_only``.

    Attributes:
        entry: the model.
        revision: commit, tag or branch of its repository.
        folder: a copy of the repository; None: the hub, or its local cache.
    """

    entry: ZooEntry
    revision: str
    folder: Path | None = None

    @property
    def source(self) -> str:
        """Where the weights come from, as a card says it."""
        if self.folder is not None:
            return f"folder of {self.entry.hub}@{self.revision}"
        return f"{self.entry.library}:{self.entry.hub}@{self.commit}"

    @property
    def is_local(self) -> bool:
        """Whether weights are on this machine."""
        return self.folder is not None or any(self.cached(name) for name in WEIGHT_FILES)

    @property
    def commit(self) -> str:
        """The commit that the hub's local cache holds for the revision; the revision where it tells none."""
        if self.folder is not None:
            return self.revision
        for name in (*WEIGHT_FILES, "config.json"):
            found = re.search(r"snapshots[/\\]([0-9a-f]{40})[/\\]", str(self.cached(name)))
            if found:
                return found.group(1)
        return self.revision

    def cached(self, name: str) -> Path | None:
        """Return a file's path in the folder or in the hub's cache, None where it is not there."""
        return cached_file(self._place[0], name, self.revision)

    def network(self, *, dtype: str | torch.dtype | None = None, **loading: Any) -> nn.Module:
        """Return the network with its pretrained weights.

        A folder holds ``model.safetensors`` or ``pytorch_model.bin`` (for transformers in shards too), and
        the configuration if there is one.

        Args:
            dtype: see `as_dtype`.
            **loading: of transformers' networks, what else `pretrained` takes.

        Raises:
            OSError: nothing can be read there.
            ValueError: what is there are not this model's weights.
        """
        if self.entry.library == "timm":
            refuse_for_timm(self.entry, loading)
            module = self._reading(self._timm)
            return finish(self.entry, module.to(as_dtype(dtype, stored_dtypes(self.cached))))
        module, report = self._reading(lambda: self._transformers(dtype=dtype, **loading))
        part = self.entry.architecture.get("part", "")
        missing = [key for key in report["missing_keys"] if key.startswith(part)]
        if missing:
            raise InputError(
                f"{self._where} lacks {len(missing)} tensors of {self.entry.name}, among them "
                f"{', '.join(sorted(missing)[:_SHOWN])}: these are the weights of another model."
            )
        return finish(self.entry, module)

    def tokenizer(self) -> Any:
        """Return the entry's tokenizer.

        Raises:
            OSError: it can't be read, or its vocabulary is missing.
        """
        transformers = require("transformers", "language")
        place, options = self._place
        tokenizer = self._reading(
            lambda: transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False, **options)
        )
        if not has_vocabulary(tokenizer):
            raise UnreadableError(
                f"{self._where} has no vocabulary for {self.entry.name}: expected tokenizer.json or the "
                f"files it is made of."
            )
        return tokenizer

    def preprocessing(self) -> dict[str, Any]:
        """Return the entry's preprocessing, with the numbers of the repository's own feature extractor.

        The weights were trained with the repository's numbers, so these win where they differ from the
        entry's.

        Warns:
            UserWarning: they differ.
        """
        entry = self.entry
        options = entry.preprocessing.get("options")
        if options is None:
            return entry.preprocessing
        path = self.cached(_EXTRACTOR) if self.folder is not None else self._extractor_of_hub()
        if path is None:
            return entry.preprocessing
        stored = json.loads(path.read_text(encoding="utf-8"))
        other = {key: stored[key] for key, value in options.items() if key in stored and stored[key] != value}
        if not other:
            return entry.preprocessing
        warnings.warn(
            f"{entry.name}: the feature extractor of {entry.hub}@{self.revision} has {other}, the entry says "
            f"{ {key: options[key] for key in other} }: the repository's numbers are used.",
            UserWarning,
            stacklevel=2,
        )
        return {**entry.preprocessing, "options": {**options, **other}}

    def _extractor_of_hub(self) -> Path | None:
        hub = require("huggingface_hub", self.entry.extra)
        try:
            with hub_or_cache():
                return Path(hub.hf_hub_download(self.entry.hub, _EXTRACTOR, revision=self.revision))
        except OSError:  # it has none, or is out of reach: the entry says what is needed
            return None

    @property
    def _place(self) -> tuple[str, dict[str, Any]]:
        if self.folder is not None:
            return str(self.folder), {"local_files_only": True}
        return self.entry.hub, {"revision": self.revision}

    @property
    def _where(self) -> str:
        hub = f"{self.entry.hub}@{self.revision}"
        if self.folder is None:
            return f"The hub entry {hub}"
        return f"The folder {str(self.folder)!r} for the hub entry {hub}"

    def _reading(self, read: Callable[[], T]) -> T:
        """Run `read`; name the hub entry and what to do where it fails."""
        try:
            with nullcontext() if self.folder is not None else hub_or_cache():
                return read()
        except _FAILURES as error:
            kind = UnreadableError if isinstance(error, OSError) else InputError
            advice = (
                "Fetch the repository where the hub can be reached and give its folder, or let NFAS_WEIGHTS "
                "name a folder with one subfolder per model; or choose weights='random'."
                if self.folder is None
                else f"Expected {' or '.join(WEIGHT_FILES[:2])} of that repository."
            )
            message = f"{self._where} does not give {self.entry.name}: {str(error).rstrip('.')}. {advice}"
            raise kind(message) from error

    def _weight_file(self) -> Path:
        assert self.folder is not None
        names = WEIGHT_FILES if self.entry.library == "transformers" else WEIGHT_FILES[:2]
        for name in names:
            if found := self.cached(name):
                return found
        held = ", ".join(sorted(path.name for path in self.folder.iterdir())[:10]) or "nothing"
        raise MissingFileError(f"it holds no weights ({held})")

    def _timm(self) -> nn.Module:
        overlay: dict[str, Any] = {"hf_hub_id": f"{self.entry.hub}@{self.revision}"}
        if self.folder is not None:
            # a plain state dict by the library's own names, as its hub repositories hold it
            overlay = {"file": str(self._weight_file())}
        architecture = self.entry.architecture
        module: nn.Module = library(self.entry).create_model(
            architecture["model"],
            pretrained=True,
            pretrained_cfg_overlay={**overlay, "custom_load": False},
            **architecture.get("options", {}),
        )
        return module

    def _transformers(self, **loading: Any) -> tuple[nn.Module, dict[str, Any]]:
        place, options = self._place
        if self.folder is not None:
            self._weight_file()
            if self.cached("config.json") is None:
                options["config"] = configuration(self.entry)
        options |= {"output_loading_info": True, **self.entry.architecture.get("options", {})}
        loaded: tuple[nn.Module, dict[str, Any]] = pretrained(
            network_class(self.entry), place, **loading, **options
        )
        return loaded
