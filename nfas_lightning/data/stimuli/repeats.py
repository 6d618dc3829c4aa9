"""Stimuli that come several times: a network predicts its own repetition on the other side of a fold."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

__all__ = ["first_places", "same_rows", "warn_of_repeats"]

_SAMPLED = 256  # numbers of a stimulus that are compared before all are


def first_places(contents: Sequence[Hashable]) -> Tensor:
    """Return where each content comes first, (N,).

    Example:
        >>> first_places(["a", "b", "a"])
        tensor([0, 1, 0])
    """
    place: dict[Hashable, int] = {}
    return torch.tensor([place.setdefault(content, i) for i, content in enumerate(contents)])


def same_rows(values: Tensor) -> Tensor:
    """Return the place of the first row of values (N, ...) with the same numbers, (N,).

    Rows are read whole only where a sample of their numbers is the same.
    """
    rows = [row.detach().cpu().reshape(-1) for row in values]
    step = max(1, len(rows[0]) // _SAMPLED)
    sampled = first_places([_bytes(row[::step]) for row in rows])
    several = torch.bincount(sampled, minlength=len(rows))[sampled] > 1
    return first_places(
        [(first, hashlib.sha256(_bytes(row)).digest() if again else b"")
         for row, first, again in zip(rows, sampled.tolist(), several.tolist(), strict=True)]
    )  # fmt: skip


def _bytes(row: Tensor) -> bytes:
    return row.contiguous().view(torch.uint8).numpy().tobytes()


def warn_of_repeats(first: Tensor, ids: Sequence[str], runs: Tensor | None) -> None:
    """Say how many stimuli are identical to another one that folds may part from them.

    Args:
        first: (N,) of `first_places`.
        ids: N names.
        runs: (N,) run of each stimulus's response, which folds never part; None: of a time series.
    """
    together = torch.zeros_like(first) if runs is None else runs.to(first.device)
    sets: dict[int, list[int]] = {}
    for place, same in enumerate(first.tolist()):
        sets.setdefault(same, []).append(place)
    several = [places for places in sets.values() if len(places) > 1]
    if len(torch.unique(together)) > 1:  # whole runs are held out
        several = [places for places in several if len(torch.unique(together[places])) > 1]
    if not several:
        return
    count = sum(map(len, several))
    advice = "estimate one response per stimulus, the mean over its repetitions"
    if runs is not None:
        advice = (
            "average their responses; or groups='identical' of ArrayDataModule and FolderDataModule keeps "
            "them in one fold"
        )
    warnings.warn(
        f"{count} of {len(first)} stimuli are identical to another one, {len(several)} contents in all, such "
        f"as {[ids[place] for place in several[0][:3]]}. On both sides of a fold any network predicts the "
        f"response to their repetition, so scores are too high: {advice}.",
        stacklevel=3,
    )
