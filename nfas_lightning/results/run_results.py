"""Result tables: of one model on one benchmark, and of a whole run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import pandas as pd

from nfas_lightning.errors import InputError, MissingFileError, UnreadableError, nearest
from nfas_lightning.notebook import card
from nfas_lightning.results.numbers import LIMITS, reported
from nfas_lightning.results.ranking import Ranking, compare_models
from nfas_lightning.results.subjects import subject_scores
from nfas_lightning.writing import write_parquet, write_text

__all__ = [
    "COLUMNS", "FEATURES", "OPTIONAL", "SIZES", "ModelResult", "RunResults", "empty_table", "naming",
    "query_models",
]  # fmt: skip

COLUMNS: Mapping[str, tuple[str, ...]] = {
    # one row per model, subject, feature and ROI; subject "group" is the mean response of all subjects. r is
    # the feature alone, r_joint with the nuisances, r_partial what it adds; score: which of them p, q, limits
    # and above_ceiling are of. The first two and the last two are what pandas prints into 80 columns
    "scores": (
        "model", "feature", "modality", "family", "dataset", "subject", "network", "r2", "r_joint",
        "r2_joint", "r_partial", "r2_partial", "score", *LIMITS, "p", "q", "ceiling", "above_ceiling",
        "n_volumes", "alpha_at_edge", "simulated", "roi", "r",
    ),
    # one row per model and DMD eigenvalue
    "spectra": (
        "model", "modality", "dataset", "mode", "real", "imag", "modulus", "amplitude", "stable",
        "distance_to_unit_circle",
    ),
    # one row per model and recorded block; weight is |c_l| of the stable mode, r the block's own mean score
    "depth": ("model", "modality", "dataset", "depth", "layer", "width", "weight", "r", "r2"),
    # one row per model: its card, the stable mode and what the run cost
    "models": (
        "model", "modality", "family", "dataset", "twin_of", "weights", "source", "license", "parameters",
        "weights_sha256", "note", "n_blocks", "n_stimuli", "pooling", "state_space", "svd_rank",
        "stable_real", "stable_imag", "distance_to_unit_circle", "reconstruction_error",
        "seconds_capture", "seconds_scoring", "key",
    ),
}  # fmt: skip

OPTIONAL: Mapping[str, tuple[str, ...]] = {
    # one row per model and ROI; draws: r of the stable mode on moved responses, the same moves for all models
    # of the same responses
    "nulls": ("model", "dataset", "seed", "roi", "draws"),
    # one row per model, subject, feature, value ("r", "r2") and what was resampled ("stimuli", "subjects",
    # "both", see BootstrapDraws): the mean over ROIs and its draws. The same `paired`: the same resamples
    "draws": (
        "model", "modality", "dataset", "subject", "feature", "score", "value", "resampled", "n_stimuli",
        "n_subjects", "n_strata", "n_folds", "mean", "n_rois", "paired", "draws",
    ),
    # one row per model, subject, ROI and mode of the depth dynamics; r2 is the mode's part of r2_whole, which
    # all modes explain together, share the quotient
    "modes": (
        "model", "modality", "dataset", "subject", "roi", "network", "mode", "real", "imag", "modulus",
        "depth_constant", "turn", "kind", "r2", "r2_whole", "share", "simulated",
    ),
    # one row per model, lag (s) and block or stable mode, of responses in time; r is the mean over channels
    "lags": (
        "model", "modality", "dataset", "feature", "depth", "layer", "lag", "r", "low", "high", "p_cluster",
    ),
}  # fmt: skip
"""Tables that a run may be without: those are empty, and have no file."""

TIME_COLUMNS = ("channel", "lag", "p_cluster")
"""Columns of ``scores`` for responses in time: sensor (or region), seconds after onset, p of the cluster."""

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


def query_models(models: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return the rows of a models table that a query keeps, maybe none.

    Raises:
        ValueError: the query can't be read; the columns are listed, the closest first.
    """
    try:
        kept = models.query(where)
    except (SyntaxError, KeyError, TypeError, ValueError, pd.errors.UndefinedVariableError) as error:
        unknown = re.search(r"name '([^']+)' is not defined", str(error))
        hint = nearest(unknown[1], map(str, models)) if unknown else ""
        raise InputError(
            f"where must be a query of the models, got {where!r}: {error}.{hint} "
            f"Columns of a model: {list(models)}."
        ) from error
    if not isinstance(kept, pd.DataFrame):
        raise InputError(
            f"where must say yes or no of each model, got {where!r}, which gives a {type(kept).__name__}."
        )
    return kept


class SavedModel(Protocol):
    """What writes itself into a file."""

    def save(self, path: str | Path) -> None:
        """Write the file."""


def empty_table(name: str) -> pd.DataFrame:
    """Return a table of `OPTIONAL` without rows."""
    return pd.DataFrame(columns=list(OPTIONAL[name]), dtype=object)


@dataclass(frozen=True, repr=False)
class ModelResult:
    """Result of one model on one benchmark, as tables with the columns of `COLUMNS`.

    Attributes:
        scores: one row per subject, feature and ROI.
        spectra: one row per DMD eigenvalue.
        depth: one row per recorded block.
        card: the row of the models table.
        nulls, draws, modes, lags: see `OPTIONAL`; empty where nothing was tested, resampled or asked for, and
            where responses are not in time.
        region_model: fitted encoding model, where `ScoringSettings.keep_model` asked for it; a result read
            back is without it, see `RegionModel.load`.
    """

    scores: pd.DataFrame
    spectra: pd.DataFrame
    depth: pd.DataFrame
    card: Mapping[str, Any]
    nulls: pd.DataFrame = field(default_factory=partial(empty_table, "nulls"))
    draws: pd.DataFrame = field(default_factory=partial(empty_table, "draws"))
    modes: pd.DataFrame = field(default_factory=partial(empty_table, "modes"))
    lags: pd.DataFrame = field(default_factory=partial(empty_table, "lags"))
    region_model: SavedModel | None = None

    def __post_init__(self) -> None:
        for name in ("scores", "spectra", "depth"):
            _check_columns(name, getattr(self, name).columns)
        _check_columns("models", self.card)

    def __repr__(self) -> str:
        scores = reported(subject_scores(self.scores))
        features = list(scores["feature"].unique())
        # a random-weights twin has one feature, another one
        feature = "stable_mode" if "stable_mode" in features else features[0]
        r = scores.loc[scores["feature"] == feature, "r"].mean()
        return (
            f"ModelResult({self.card['model']} on {self.card['dataset']}: mean r {r:.3f} of {feature} over "
            f"{scores['roi'].nunique()} ROIs; features {', '.join(features)})"
        )


@dataclass(frozen=True, repr=False)
class RunResults:
    """Tables of a whole run.

    Attributes:
        scores, spectra, depth, models: see `COLUMNS`.
        nulls, draws, modes, lags: see `ModelResult`.
        rois: one row per ROI: ``roi`` and, where known, ``network``, ``hemisphere``, ``x``, ``y``, ``z``.
        meta: experiment name, versions, settings, data hashes, ``simulated``.
    """

    scores: pd.DataFrame
    spectra: pd.DataFrame
    depth: pd.DataFrame
    models: pd.DataFrame
    rois: pd.DataFrame
    meta: Mapping[str, Any] = field(default_factory=dict)
    nulls: pd.DataFrame = field(default_factory=partial(empty_table, "nulls"))
    draws: pd.DataFrame = field(default_factory=partial(empty_table, "draws"))
    modes: pd.DataFrame = field(default_factory=partial(empty_table, "modes"))
    lags: pd.DataFrame = field(default_factory=partial(empty_table, "lags"))

    def __repr__(self) -> str:
        datasets = ", ".join(map(str, self.scores["dataset"].unique()))
        return (
            f"RunResults({len(self.models)} models on {datasets}: {self.scores['roi'].nunique()} ROIs, "
            f"features {', '.join(self.scores['feature'].unique())}; tables "
            f"{', '.join((*COLUMNS, 'rois', *filled(self)))})"
        )

    def _repr_html_(self) -> str:
        shown = reported(subject_scores(self.scores))
        means = shown.pivot_table(index=["modality", "model"], columns="feature", values="r", sort=False)
        known = [name for name in FEATURES if name in means]
        facts = {
            "experiment": self.meta.get("name") or self.meta.get("experiment"),
            "benchmarks": list(shown["dataset"].unique()),
            "ROIs": shown["roi"].nunique(),
            "responses": "SIMULATED: planted, not measured" if self.simulated else "measured",
            "below": "r, mean over ROIs",
        }
        title = f"RunResults: {len(self.models)} model{'s' * (len(self.models) != 1)}"
        table = means[known].rename(columns=FEATURES).reset_index().rename_axis(columns=None)
        return card(title, facts, table)

    @property
    def simulated(self) -> bool:
        """Whether any score was computed on planted responses."""
        return bool(self.scores["simulated"].any())

    def ranking(self, value: Literal["r", "r2"] = "r") -> Ranking:
        """Return which model is better, and how sure; see `compare_models`. Empty without intervals."""
        return compare_models(self.draws, value=value)

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

    def select(self, where: str) -> RunResults:
        """Return the results of the models that a query of `cards` keeps, e.g. ``"family == 'vit'"``.

        Raises:
            ValueError: the query can't be read, or keeps no model.
        """
        kept = query_models(self.cards, where)
        if kept.empty:
            raise InputError(f"where={where!r} keeps none of {len(self.models)} models.")
        pairs = kept[["model", "dataset"]].drop_duplicates()
        names, keys = (*COLUMNS, *OPTIONAL), ["model", "dataset"]
        tables = {name: getattr(self, name).merge(pairs, on=keys) for name in names}
        rois = self.rois[self.rois["roi"].isin(set(tables["scores"]["roi"]))].reset_index(drop=True)
        return RunResults(**tables, rois=rois, meta={**self.meta, "where": where})

    @classmethod
    def load(cls, path: str | Path) -> RunResults:
        """Read the gathered tables of a run folder.

        Raises:
            FileNotFoundError: the folder holds no gathered run.
            ValueError: a file of it is missing or damaged, or lacks columns.
        """
        path = Path(path)
        if not (path / "scores.parquet").is_file():
            inside = [str(found.parent) for found in sorted(path.glob("*/scores.parquet"))]
            hint = f" Runs lie in it, name those: {' '.join(inside)}." if inside else ""
            raise MissingFileError(
                f"{path} holds no scores.parquet: expected the folder of a finished run.{hint}"
            )
        try:
            tables = {name: pd.read_parquet(path / f"{name}.parquet") for name in (*COLUMNS, "rois")}
            meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
            for name in COLUMNS:
                _check_columns(name, tables[name].columns)
            tables |= read_optional(path)
        except (OSError, ValueError) as error:  # pyarrow's and json's own are ValueErrors
            raise InputError(
                f"{path} holds damaged or older tables ({error}): start its run again, "
                "which writes them anew."
            ) from error
        return cls(**tables, meta=meta)

    @classmethod
    def concatenate(cls, runs: Iterable[RunResults], meta: Mapping[str, Any] | None = None) -> RunResults:
        """Join runs on several benchmarks. The ROI axis is the union over runs, joined on ``roi``.

        Raises:
            ValueError: no run, or runs of different responses, where the ROIs of one were only numbered.
        """
        runs = list(runs)
        if not runs:
            raise InputError("Expected at least one run to join, got none.")
        _check_named(runs)
        tables = {name: joined(name, runs) for name in (*COLUMNS, *OPTIONAL, "rois")}
        tables["rois"] = tables["rois"].drop_duplicates("roi", ignore_index=True)
        return cls(**tables, meta={"runs": [dict(run.meta) for run in runs], **(meta or {})})

    def save(self, path: str | Path) -> None:
        """Write every table and meta.json into a folder, each atomically."""
        path = Path(path)
        for name in (*COLUMNS, "rois", *filled(self)):
            with naming(path / f"{name}.parquet"):
                write_parquet(path / f"{name}.parquet", getattr(self, name))
        write_text(path / "meta.json", json.dumps(dict(self.meta), indent=2, default=str))


def filled(result: ModelResult | RunResults) -> list[str]:
    """Return the names of the optional tables that have rows."""
    return [name for name in OPTIONAL if not getattr(result, name).empty]


def read_optional(folder: Path) -> dict[str, pd.DataFrame]:
    """Read the optional tables that lie in a folder."""
    files = {name: folder / f"{name}.parquet" for name in OPTIONAL}
    return {name: pd.read_parquet(file) for name, file in files.items() if file.is_file()}


def joined(name: str, results: Iterable[ModelResult | RunResults]) -> pd.DataFrame:
    """Return one table of several results; an empty one has no say in the types of columns."""
    tables: list[pd.DataFrame] = [getattr(result, name) for result in results]
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a file where it can't be written: pyarrow tells of a full disk, but not which file met it."""
    try:
        yield
    except OSError as error:
        told = f"{path} could not be written: {error}"
        raise (UnreadableError(error.errno, told) if error.errno else UnreadableError(told)) from error


def _check_named(runs: list[RunResults]) -> None:
    """Refuse to join numbered ROIs of different responses: number 7 of each is another region."""
    unnamed = [run for run in runs if "unnamed" in run.rois and run.rois["unnamed"].eq(True).any()]
    different = {part.get("responses_sha256") for run in runs for part in run.meta.get("runs", [run.meta])}
    if unnamed and len(different) > 1:
        datasets = sorted({str(name) for run in runs for name in run.scores["dataset"].unique()})
        some = ", ".join(unnamed[0].rois["roi"].astype(str)[:3])
        first = unnamed[0].scores["dataset"].iloc[0]
        raise InputError(
            f"Runs are joined on the names of their ROIs, and those of {first!r} have none: {some} are their "
            f"numbers, which in the responses of another run (datasets: {', '.join(datasets)}) are other "
            "regions. Name them, ArrayDataModule(..., rois=[...]) or a "
            "rois.csv in the folder, and score the models again."
        )


def _check_columns(table: str, got: Iterable[str]) -> None:
    missing = [column for column in COLUMNS[table] if column not in set(got)]
    if missing:
        raise InputError(f"Table {table!r} lacks the columns {missing}; expected {list(COLUMNS[table])}.")
