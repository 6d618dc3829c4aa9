"""Finished runs, joined on the ROI's id; runs with different ROIs are refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from nfas_lightning.data.tables import parse_csv
from nfas_lightning.errors import InputError, MissingFileError, nearest
from nfas_lightning.results import RunResults

__all__ = ["add_columns", "join_runs"]


def join_runs(
    runs: str | Path | RunResults | Iterable[str | Path | RunResults],
    *,
    where: str | None = None,
    table: str | Path | pd.DataFrame | None = None,
    intersection: bool = False,
) -> RunResults:
    """Join the tables of finished runs.

    Args:
        runs: folders, or what they hold; one alone need not be in a list.
        where: which models, see `RunResults.select`; None: all.
        table: further columns of the models, joined before `where` is asked, see `add_columns`.
        intersection: keep the ROIs that all runs share; else runs on different ROI axes are an error.
    """
    runs = [runs] if isinstance(runs, str | Path | RunResults) else list(runs)
    loaded = [
        (str(run.meta.get("name") or f"run {i}"), run)
        if isinstance(run, RunResults)
        else (str(run), RunResults.load(run))
        for i, run in enumerate(runs)
    ]
    joined = RunResults.concatenate([results for _, results in loaded])
    if table is not None:
        joined = add_columns(joined, table)
    if where is not None:
        joined = joined.select(where)
        kept = set(joined.scores["dataset"])
        loaded = [(name, run) for name, run in loaded if kept & set(run.scores["dataset"])]
    axes: dict[frozenset[str], list[str]] = {}
    for name, run in loaded:
        axes.setdefault(frozenset(run.scores["roi"]), []).append(name)
    shared = frozenset.intersection(*axes)
    if len(axes) > 1 and not (intersection and shared):
        raise InputError(_mixed(axes, len(shared), intersection))
    return joined


def add_columns(results: RunResults, table: str | Path | pd.DataFrame) -> RunResults:
    """Add columns of one's own to the models table of a run.

    Args:
        results: the run.
        table: ``model`` and the columns to add, or the CSV file that holds them (commas, UTF-8, a header;
            empty cells are blank). Models that it does not name stay blank; an unknown name while a model has
            no row is refused as a typing error.
    """
    name = "table" if isinstance(table, pd.DataFrame) else str(table)
    columns = table if isinstance(table, pd.DataFrame) else _read(Path(table))
    if "model" not in columns or columns.shape[1] < 2:
        raise InputError(
            f"{name} must have a column 'model' and at least one other, got {[str(c) for c in columns]}."
        )
    if twice := columns["model"][columns["model"].duplicated()].tolist():
        raise InputError(f"{name} must name each model once, got {twice[:3]} more than once.")
    if there := [column for column in columns if column != "model" and column in results.cards]:
        raise InputError(f"{name} has columns that models have already, {there}: rename or drop them.")
    models = list(dict.fromkeys(results.models["model"]))
    unknown = [model for model in columns["model"] if model not in set(models)]
    blank = [model for model in models if model not in set(columns["model"])]
    if unknown and blank:
        raise InputError(
            f"{name} must name models as the runs do: no run has {unknown[:3]}, while {blank[:3]} "
            f"{'has' if len(blank) == 1 else 'have'} no row.{nearest(str(unknown[0]), blank)} Correct the "
            f"names, or give {blank[0]!r} a row of its own, which may be empty."
        )
    return replace(results, models=results.models.merge(columns, on="model", how="left"))


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise MissingFileError(f"table must be a CSV file with a column 'model'; there is no file {path}.")
    # nothing but an empty cell is blank: a group may be called None or NA
    blank: Any = {"keep_default_na": False, "na_values": [""]}
    return parse_csv(path, sep=",", text=["model"], skipinitialspace=True, **blank)


def _mixed(axes: dict[frozenset[str], list[str]], n_shared: int, asked: bool) -> str:
    described = [
        f"{len(rois)} ROIs ({', '.join(sorted(rois)[:3])}{', ...' if len(rois) > 3 else ''}) of "
        f"{', '.join(names)}"
        for rois, names in axes.items()
    ]
    first = next(iter(axes.values()))
    advice = f"Build one space per axis, e.g. `nfas space {' '.join(first)}`, or extract all with one atlas"
    if n_shared and not asked:
        advice += f"; axis='intersection' (--axis intersection) keeps the {n_shared} ROIs that all share"
    return (
        f"Models of one space must be scored on one ROI axis, got {len(axes)} that share {n_shared} ROIs: "
        f"{'; '.join(described)}. {advice}."
    )
