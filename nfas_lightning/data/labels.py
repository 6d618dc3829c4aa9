"""Labels of any kind that people give to rows, events, stimuli and subjects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

__all__ = ["as_list", "as_names", "as_runs", "check_one_run", "runs_of_events"]


def as_list(labels: Any) -> list[Any]:
    """Return labels as Python's own values: NumPy's and torch's neither equal nor print like them."""
    values: list[Any] = labels.tolist() if hasattr(labels, "tolist") else list(labels)
    return values


def as_runs(runs: Any, n_volumes: int) -> tuple[Tensor, dict[Any, int]]:
    """Return the number of each row's run, (T,), and of each label: its own, where all are whole."""
    labels = as_list(runs)
    if np.shape(labels) != (n_volumes,):
        raise ValueError(f"runs must have shape (T={n_volumes},), got {np.shape(labels)}.")
    missing = pd.isna(pd.Series(labels, dtype=object)).to_numpy().nonzero()[0]
    if len(missing):
        raise ValueError(f"runs must name the run of every row, got none for {list(map(int, missing[:5]))}.")
    distinct = dict.fromkeys(labels)
    whole = all(isinstance(run, int) or (isinstance(run, float) and run.is_integer()) for run in distinct)
    numbers = {run: int(run) if whole else place for place, run in enumerate(distinct)}
    return torch.tensor([numbers[run] for run in labels]), numbers


def check_one_run(runs: Any) -> None:
    """Refuse events of several runs where nothing tells the run of each volume: their clocks would mix."""
    distinct = list(dict.fromkeys(as_list(runs)))
    if len(distinct) > 1:
        raise ValueError(
            f"events name {len(distinct)} runs, {distinct[:5]}, each with a clock of its own, but nothing "
            "names the run of each volume: give runs, (T,), or in a folder a volumes.csv with a column 'run'."
        )


def runs_of_events(runs: Any, numbers: Mapping[Any, int]) -> Tensor:
    """Return the number of each event's run, (N,)."""
    labels = as_list(runs)
    if lost := [run for run in dict.fromkeys(labels) if run not in numbers]:
        raise ValueError(
            f"Every run with events needs volumes, got none for the runs {lost[:5]}: runs names "
            f"{list(numbers)[:5]}."
        )
    return torch.tensor([numbers[run] for run in labels])


def as_names(what: str, given: Any, count: int) -> list[str]:
    """Return unique names, of labels of any kind.

    Raises:
        ValueError: another number than `count`, one that is missing, or one that comes twice.
    """
    labels = as_list(given)
    names = list(map(str, labels))
    missing = [
        place for place, label in enumerate(labels) if label is None or label is pd.NA or label != label
    ]
    if missing:
        raise ValueError(f"{what} must name each, got none at {missing[:5]} (counted from 0).")
    if np.shape(labels) != (count,) or len(set(names)) != count:
        repeated = sorted(name for name, times in Counter(names).items() if times > 1)
        raise ValueError(
            f"{what} must be {count} unique names, got {len(names)}: {names[:5]}"
            + (f"; more than once: {repeated[:5]}." if repeated else ".")
        )
    return names
