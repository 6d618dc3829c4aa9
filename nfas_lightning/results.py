"""Result tables of a run, the folder that keeps them, and the statistics of a space.

A run folder looks so::

    RUN/config.yaml                       what was asked for
    RUN/models/NAME/KEY/*.parquet         one finished model; KEY hashes all that could change a number
    RUN/{scores,spectra,depth,models,rois}.parquet, meta.json     the models together
    RUN/report.html, RUN/figures/

Everything is written beside its place and then renamed, so a killed run leaves either a whole result or none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

__all__ = [
    "COLUMNS",
    "FEATURES",
    "SIZES",
    "ModelResult",
    "RunFolder",
    "RunResults",
    "SpaceStatistics",
    "content_key",
]

COLUMNS: Mapping[str, tuple[str, ...]] = {
    # one row a model, subject, feature and ROI; subject "group" is the mean over subjects
    "scores": (
        "model", "modality", "family", "dataset", "subject", "feature", "roi", "network",
        "r", "r2", "p", "q", "ceiling", "n_volumes", "simulated",
    ),
    # one row a model and DMD eigenvalue
    "spectra": (
        "model", "modality", "dataset", "mode", "real", "imag", "modulus", "amplitude", "stable",
        "distance_to_unit_circle",
    ),
    # one row a model and recorded block; weight is |c_l| of the stable mode, r the block's own mean score
    "depth": ("model", "modality", "dataset", "depth", "layer", "width", "weight", "r", "r2"),
    # one row a model: its card, the stable mode and what the run cost
    "models": (
        "model", "modality", "family", "dataset", "twin_of", "weights", "source", "licence", "parameters",
        "weights_sha256", "note", "n_blocks", "n_stimuli", "pooling", "state_space", "svd_rank",
        "stable_real", "stable_imag", "distance_to_unit_circle", "reconstruction_error",
        "seconds_capture", "seconds_scoring", "key",
    ),
}  # fmt: skip

SIZES = (30e6, 150e6)
"""Parameters at which a model counts as medium, and as large."""

FEATURES: Mapping[str, str] = {
    "stable_mode": "stable mode",
    "last_block": "last block",
    "best_block": "best block (chosen in training)",
    "mean_depth": "mean over depth",
    "all_blocks": "all blocks",
    "random_weights": "random weights",
    "nuisance": "nuisances alone",
}
"""Feature ids of ``scores`` and how a reader sees them: the stable mode and its baselines."""


def content_key(*parts: object) -> str:
    """Return a sha256 over `parts`, the cache key of a result.

    Objects count by their class and attributes, functions by their name: never by where they lie in memory.
    """
    text = json.dumps(parts, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, Tensor):
        return value.tolist()
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if type(value).__repr__ is object.__repr__ and hasattr(value, "__dict__"):
        return [kind, vars(value)]
    return [kind, re.sub(r" at 0x[0-9a-f]+", "", repr(value))]


@dataclass(frozen=True)
class ModelResult:
    """Result of one model on one benchmark, as tables with the columns of `COLUMNS`.

    Attributes:
        scores: one row a subject, feature and ROI.
        spectra: one row a DMD eigenvalue.
        depth: one row a recorded block.
        card: the row of the models table.
    """

    scores: pd.DataFrame
    spectra: pd.DataFrame
    depth: pd.DataFrame
    card: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name in ("scores", "spectra", "depth"):
            _check_columns(name, getattr(self, name).columns)
        _check_columns("models", self.card)


@dataclass(frozen=True)
class RunResults:
    """Tables of a whole run.

    Attributes:
        scores, spectra, depth, models: see `COLUMNS`.
        rois: one row a ROI, with ``roi`` and, where known, ``network``, ``hemisphere``, ``x``, ``y``, ``z``.
        meta: experiment name, versions, settings, data hashes, ``simulated``.
    """

    scores: pd.DataFrame
    spectra: pd.DataFrame
    depth: pd.DataFrame
    models: pd.DataFrame
    rois: pd.DataFrame
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def simulated(self) -> bool:
        """Whether any score was computed on planted responses."""
        return bool(self.scores["simulated"].any())

    @property
    def cards(self) -> pd.DataFrame:
        """The models table with columns to filter and group by: ``size`` and ``objective_kind``.

        ``size`` is ``"small"`` below 30 million parameters, ``"large"`` from 150 million, else ``"medium"``;
        ``objective_kind`` what an objective says before its details, ``"supervised"`` of ``"supervised
        (ImageNet-1k)"``.
        """
        cards = self.models.copy()
        if "parameters" in cards:
            count = pd.to_numeric(cards["parameters"], errors="coerce")
            size = pd.cut(count, [-1, *SIZES, float("inf")], right=False, labels=["small", "medium", "large"])
            cards["size"] = size.astype(object).where(count.notna(), "unknown")
        if "objective" in cards:
            kind = cards["objective"].fillna("").astype(str).str.split(r" \(|,", n=1, regex=True).str[0]
            cards["objective_kind"] = kind.where(kind != "", "unknown")
        return cards

    def select(self, query: str) -> RunResults:
        """Return the results of the models that a query of `cards` keeps, e.g. ``"family == 'vit'"``.

        Raises:
            ValueError: the query can't be read, or keeps no model.
        """
        cards = self.cards
        try:
            kept = cards.query(query)
        except (SyntaxError, KeyError, TypeError, ValueError, pd.errors.UndefinedVariableError) as error:
            raise ValueError(
                f"The filter {query!r} can't be applied: {error}. Columns of a model: {list(cards)}."
            ) from error
        if not isinstance(kept, pd.DataFrame) or kept.empty:
            raise ValueError(f"The filter {query!r} keeps none of {len(cards)} models.")
        pairs = set(zip(kept["model"], kept["dataset"], strict=True))

        def part(table: pd.DataFrame) -> pd.DataFrame:
            rows = [pair in pairs for pair in zip(table["model"], table["dataset"], strict=True)]
            return table[rows].reset_index(drop=True)

        tables = {name: part(getattr(self, name)) for name in COLUMNS}
        rois = self.rois[self.rois["roi"].isin(set(tables["scores"]["roi"]))].reset_index(drop=True)
        return RunResults(**tables, rois=rois, meta={**self.meta, "filter": query})

    @classmethod
    def load(cls, path: str | Path) -> RunResults:
        """Read the gathered tables of a run folder.

        Raises:
            FileNotFoundError: the folder holds no gathered run.
        """
        path = Path(path)
        if not (path / "scores.parquet").is_file():
            raise FileNotFoundError(f"{path} holds no scores.parquet: expected the folder of a finished run.")
        tables = {name: pd.read_parquet(path / f"{name}.parquet") for name in (*COLUMNS, "rois")}
        return cls(**tables, meta=json.loads((path / "meta.json").read_text()))

    @classmethod
    def concatenate(cls, runs: Iterable[RunResults], meta: Mapping[str, Any] | None = None) -> RunResults:
        """Join runs on several benchmarks. The ROI axis is the union over runs, joined on ``roi``."""
        runs = list(runs)
        if not runs:
            raise ValueError("Expected at least one run to join, got none.")
        tables = {
            name: pd.concat([getattr(run, name) for run in runs], ignore_index=True) for name in COLUMNS
        }
        rois = pd.concat([run.rois for run in runs], ignore_index=True).drop_duplicates(
            "roi", ignore_index=True
        )
        merged = {"runs": [dict(run.meta) for run in runs], **(meta or {})}
        return cls(**tables, rois=rois, meta=merged)

    def save(self, path: str | Path) -> None:
        """Write every table and meta.json into a folder, each atomically."""
        path = Path(path)
        for name in (*COLUMNS, "rois"):
            write_parquet(path / f"{name}.parquet", getattr(self, name))
        write_text(path / "meta.json", json.dumps(dict(self.meta), indent=2, default=str))


@dataclass(frozen=True)
class SpaceStatistics:
    """What is known of a space of models; tables that figures and the report are drawn from.

    Groups are modalities, or what `group_by` names; the tables call their column ``modality`` all the same.

    Attributes:
        coordinates: one row a model: ``model``, ``modality``, ``PC1``, ``PC2``, and where there are three
            models or more ``MDS1`` and ``MDS2``, classical scaling of the distances of `mds_metric`.
        explained: share of variance of PC1 and PC2.
        permanova, permdisp, silhouette: ``statistic`` and ``p_value``; empty where fewer than two modalities
            with two models each leave nothing to test.
        pairwise: a row a pair of modalities: ``first``, ``second``, ``statistic``, ``p_value``, ``q_value``.
        silhouette_samples: one row a model: ``model``, ``modality``, ``silhouette``.
        anova: one row a ROI: ``roi``, ``network``, ``statistic``, ``p_value``, ``q_value``, ``eta_squared``.
        snci: one row a modality and ROI: ``modality``, ``roi``, ``network``, ``ratio``, ``bounded``, the 95 %
            limits ``ratio_low``, ``ratio_high``, ``bounded_low``, ``bounded_high``, and where there are two
            modalities ``p_value`` and ``q_value`` (FDR over ROIs) against shuffled models.
        convergence: one row a ROI: ``roi``, ``network``, ``convergence``.
        notes: sentences on what could not be computed, and why.
        nearest: one row a model and neighbour: ``model``, ``modality``, ``rank``, ``neighbour``,
            ``neighbour_modality``, ``distance``.
        stability: one row a model that was left out: ``model``, ``modality``, the statistic and p of
            ``permanova``, ``silhouette``, and the rank correlations over ROIs of ``snci`` (of its own
            modality), ``convergence`` and ``anova`` with those of all models.
        group_by: the column of the models table that groups are of.
        mds_metric: ``"correlation"`` where the space's own metric is euclidean, whose scaling is PCA again.
    """

    coordinates: pd.DataFrame
    explained: tuple[float, float]
    permanova: Mapping[str, float]
    permdisp: Mapping[str, float]
    silhouette: Mapping[str, float]
    pairwise: pd.DataFrame
    silhouette_samples: pd.DataFrame
    anova: pd.DataFrame
    snci: pd.DataFrame
    convergence: pd.DataFrame
    notes: tuple[str, ...] = ()
    nearest: pd.DataFrame = field(default_factory=pd.DataFrame)
    stability: pd.DataFrame = field(default_factory=pd.DataFrame)
    group_by: str = "modality"
    mds_metric: str = "correlation"

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by name, the tests as one of them, groups under the name that they have."""
        tests = {name: getattr(self, name) for name in ("permanova", "permdisp", "silhouette")}
        found = {
            "tests": pd.DataFrame(
                [(name, *(test[key] for key in _TEST)) for name, test in tests.items() if test],
                columns=["test", *_TEST],
            ),
            **{name: getattr(self, name) for name in _TABLES},
        }
        new = {"modality": self.group_by, "neighbour_modality": f"neighbour_{self.group_by}"}
        return {name: table.rename(columns=new) for name, table in found.items()}


_TEST = ("statistic", "p_value")
_TABLES = (
    "coordinates", "pairwise", "silhouette_samples", "anova", "snci", "convergence", "nearest", "stability",
)  # fmt: skip


class RunFolder:
    """Folder of one run: each finished model is kept under its key, and found again when a run resumes."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def has(self, model: str, key: str) -> bool:
        """Whether a finished result of this model under this key is there."""
        return (self._folder(model, key) / "card.json").is_file()

    def write(self, model: str, key: str, result: ModelResult) -> None:
        """Keep the result of a model: the folder appears whole or not at all."""
        target = self._folder(model, key)
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".writing-", dir=target.parent))
        try:
            for name in ("scores", "spectra", "depth"):
                getattr(result, name).to_parquet(staging / f"{name}.parquet", index=False)
            (staging / "card.json").write_text(json.dumps({**result.card, "key": key}, default=str))
            if target.exists():
                shutil.rmtree(target)
            os.replace(staging, target)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise

    def read(self, model: str, key: str) -> ModelResult:
        """Read the result of a model back."""
        folder = self._folder(model, key)
        tables = {
            name: pd.read_parquet(folder / f"{name}.parquet") for name in ("scores", "spectra", "depth")
        }
        return ModelResult(**tables, card=json.loads((folder / "card.json").read_text()))

    def gather(
        self, keys: Iterable[tuple[str, str]], rois: pd.DataFrame, meta: Mapping[str, Any]
    ) -> RunResults:
        """Join the results of (model, key) pairs, write the run's tables and return them."""
        results = [self.read(model, key) for model, key in keys]
        if not results:
            raise ValueError(f"No finished model under {self.path}: nothing to gather.")
        scores = pd.concat([result.scores for result in results], ignore_index=True)
        # a random twin is a baseline among the scores and no model of its own
        shown = [result for result in results if not result.card["twin_of"]] or results
        spectra = pd.concat([result.spectra for result in shown], ignore_index=True)
        depth = pd.concat([result.depth for result in shown], ignore_index=True)
        models = pd.DataFrame([dict(result.card) for result in shown])
        run = RunResults(scores, spectra, depth, models, rois.reset_index(drop=True), meta)
        run.save(self.path)
        return run

    def _folder(self, model: str, key: str) -> Path:
        # model names may be hub names or paths; a folder name may not
        safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in model)
        return self.path / "models" / safe / key[:16]


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old file or the new one, never a part."""
    _atomically(path, lambda staging: staging.write_text(text))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a csv file so that a reader sees the old file or the new one, never a part."""
    _atomically(path, lambda staging: table.to_csv(staging, index=False))


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a parquet file so that a reader sees the old file or the new one, never a part."""
    _atomically(path, lambda staging: table.to_parquet(staging, index=False))


def _atomically(path: Path, write: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    staging = Path(name)
    try:
        write(staging)
        os.chmod(staging, 0o644)  # mkstemp's 0600 would lock out the colleagues who share a run folder
        os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)


def _check_columns(table: str, got: Iterable[str]) -> None:
    missing = [column for column in COLUMNS[table] if column not in set(got)]
    if missing:
        raise ValueError(f"Table {table!r} lacks the columns {missing}; expected {list(COLUMNS[table])}.")
