"""The folder that keeps a run.

It looks so::

    RUN/config.yaml                       what was asked for
    RUN/models/NAME/KEY/*.parquet         one finished model; KEY hashes all that could change a number
    RUN/models/NAME/KEY/region_model.safetensors    its encoding model, where it was to be kept
    RUN/{scores,spectra,depth,models,rois,...}.parquet, meta.json     the models together
    RUN/report.html, RUN/figures/

Everything is written beside its place and then renamed, so a killed run leaves either a whole result or none.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from nfas_lightning.errors import InputError
from nfas_lightning.results.run_results import (
    OPTIONAL,
    ModelResult,
    RunResults,
    filled,
    joined,
    naming,
    read_optional,
)
from nfas_lightning.writing import safe_name, staging_place

__all__ = ["RunFolder"]


class RunFolder:
    """Folder of one run: each finished model is kept under its key, and found again when a run resumes."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._known: dict[Path, ModelResult] = {}

    def has(self, model: str, key: str) -> bool:
        """Whether a finished result of this model under this key is there."""
        return (self._folder(model, key) / "card.json").is_file()

    def has_any(self, model: str) -> bool:
        """Whether a finished result of this model is there, under whatever key."""
        return any(self._folder(model, "").glob("*/card.json"))

    def write(self, model: str, key: str, result: ModelResult, *, replace: bool = False) -> None:
        """Keep the result of a model: the folder appears whole or not at all.

        Args:
            model: its name.
            key: of the result.
            result: the tables.
            replace: also where a whole result is there. It stays otherwise: under one key it is the same, and
                another process may be reading it.

        Raises:
            OSError: it can't be written; the file is named.
        """
        target = self._folder(model, key)
        self._known.pop(target, None)
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = staging_place(target)
        staging.mkdir()
        try:
            for name in ("scores", "spectra", "depth", *filled(result)):
                with naming(target / f"{name}.parquet"):
                    getattr(result, name).to_parquet(staging / f"{name}.parquet", index=False)
            if result.region_model is not None:
                with naming(target / "region_model.safetensors"):
                    result.region_model.save(staging / "region_model.safetensors")
            with naming(target / "card.json"):
                (staging / "card.json").write_text(json.dumps({**result.card, "key": key}, default=str))
            self._place(staging, target, replace)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _place(self, staging: Path, target: Path, replace: bool) -> None:
        """Move a result to its place, where another process may just have put one."""
        while True:
            try:
                os.replace(staging, target)
                return
            except OSError:
                if not target.exists():
                    raise
            try:
                if not replace:
                    _read(target)
                    return
            except ValueError:  # a damaged one
                pass
            aside = staging_place(target)
            with suppress(FileNotFoundError):  # another process has moved it
                os.replace(target, aside)
            shutil.rmtree(aside, ignore_errors=True)

    def read(self, model: str, key: str) -> ModelResult:
        """Read the result of a model back, from the disk once: tables are gathered after every model.

        Raises:
            ValueError: a file of it is missing or damaged.
        """
        folder = self._folder(model, key)
        if folder not in self._known:
            self._known[folder] = _read(folder)
        return self._known[folder]

    def others(self, models: Iterable[str]) -> list[str]:
        """Return the names of finished models beside these, without random twins."""
        shown = {safe_name(model) for model in models}
        found = set()
        for path in self.path.glob("models/*/*/card.json"):
            if path.parts[-3] not in shown:
                with suppress(OSError, ValueError, KeyError):  # a damaged one is none
                    card = json.loads(path.read_text())
                    found |= set() if card["twin_of"] else {str(card["model"])}
        return sorted(found)

    def gather(
        self, keys: Iterable[tuple[str, str]], rois: pd.DataFrame, meta: Mapping[str, Any]
    ) -> RunResults:
        """Join the results of (model, key) pairs, write the run's tables and return them."""
        results = [self.read(model, key) for model, key in keys]
        if not results:
            raise InputError(f"No finished model under {self.path}: nothing to gather.")
        scores = joined("scores", results)
        # a random twin is a baseline among the scores and no model of its own
        shown = [result for result in results if not result.card["twin_of"]] or results
        tables = {name: joined(name, shown) for name in ("spectra", "depth", *OPTIONAL)}
        tables["draws"] = joined("draws", results)  # its draws are of a baseline too
        models = pd.DataFrame([dict(result.card) for result in shown])
        run = RunResults(scores, models=models, rois=rois.reset_index(drop=True), meta=meta, **tables)
        run.save(self.path)
        return run

    def _folder(self, model: str, key: str) -> Path:
        # model names may be hub names or paths; a folder name may not
        return self.path / "models" / safe_name(model) / key[:16]


def _read(folder: Path) -> ModelResult:
    try:
        tables: dict[str, Any] = {
            name: pd.read_parquet(folder / f"{name}.parquet") for name in ("scores", "spectra", "depth")
        }
        tables |= read_optional(folder)
        card = json.loads((folder / "card.json").read_text())
        return ModelResult(**tables, card=card)
    except (OSError, ValueError) as error:  # pyarrow's and json's own are ValueErrors
        raise InputError(
            f"{folder} holds a damaged result ({error}): delete that folder, and the model is run again."
        ) from error
