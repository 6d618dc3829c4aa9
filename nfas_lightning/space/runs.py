"""Finished runs, joined on the ROI's id where they share an axis, refused where they do not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nfas_lightning.results import RunResults

__all__ = ["join_runs"]


def join_runs(
    runs: str | Path | RunResults | Iterable[str | Path | RunResults],
    *,
    where: str | None = None,
    intersection: bool = False,
) -> RunResults:
    """Join the tables of finished runs.

    Args:
        runs: folders, or what they hold; one alone need not be in a list.
        where: which models, see `RunResults.select`; None: all.
        intersection: keep the ROIs that all runs share, where there are any.

    Raises:
        ValueError: runs on different ROI axes: both are named, with what to do.
    """
    runs = [runs] if isinstance(runs, str | Path | RunResults) else list(runs)
    loaded = [(_name(run, i), _load(run)) for i, run in enumerate(runs)]
    joined = RunResults.concatenate([results for _, results in loaded])
    if where is not None:
        joined = joined.select(where)
        kept = set(joined.scores["dataset"])
        loaded = [(name, run) for name, run in loaded if kept & set(run.scores["dataset"])]
    axes: dict[frozenset[str], list[str]] = {}
    for name, run in loaded:
        axes.setdefault(frozenset(run.scores["roi"]), []).append(name)
    shared = frozenset.intersection(*axes)
    if len(axes) > 1 and not (intersection and shared):
        raise ValueError(_mixed(axes, len(shared), intersection))
    return joined


def _mixed(axes: dict[frozenset[str], list[str]], n_shared: int, asked: bool) -> str:
    described = [
        f"{len(rois)} ROIs ({', '.join(sorted(rois)[:3])}{', ...' if len(rois) > 3 else ''}) of "
        f"{', '.join(names)}"
        for rois, names in axes.items()
    ]
    first = next(iter(axes.values()))
    advice = f"Build a space an axis, e.g. `nfas space {' '.join(first)}`, or extract all with one atlas"
    if n_shared and not asked:
        advice += f"; axis='intersection' (--axis intersection) keeps the {n_shared} ROIs that all share"
    return (
        f"Models of one space must be scored on one ROI axis, got {len(axes)} that share {n_shared} ROIs: "
        f"{'; '.join(described)}. {advice}."
    )


def _load(run: str | Path | RunResults) -> RunResults:
    return run if isinstance(run, RunResults) else RunResults.load(run)


def _name(run: str | Path | RunResults, index: int) -> str:
    if isinstance(run, RunResults):
        return str(run.meta.get("name") or f"run {index}")
    return str(run)
