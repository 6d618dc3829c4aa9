"""Alignment over a training: in memory and on disk, where a resumed training finds it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from nfas_lightning.plotting.training import ALL_ROIS
from nfas_lightning.results import ModelResult, reported, subject_scores
from nfas_lightning.writing import write_parquet

__all__ = ["AlignmentCurves", "network_scalars", "summarize"]

_MAX_NETWORKS = 20  # one scalar each; more belong into the table
_SPECTRUM = ("stable_real", "stable_imag", "distance_to_unit_circle")


def summarize(scores: pd.DataFrame) -> pd.DataFrame:
    """Average the reported score over ROIs: one row per feature and network, and one over all ROIs."""
    shown = reported(subject_scores(scores))
    columns = ["r", "r2"]
    by_network = shown.groupby(["feature", "network"], as_index=False)[columns].mean()
    by_network = by_network.loc[by_network["network"] != ""]
    overall = shown.groupby("feature", as_index=False)[columns].mean().assign(network=ALL_ROIS)
    table: pd.DataFrame = pd.concat([by_network, overall], ignore_index=True)
    return table


def network_scalars(scores: pd.DataFrame, prefix: str) -> dict[str, float]:
    """Return the stable mode's mean r2 over each network of ROIs as ``prefix/r2/network``; none if many."""
    table = summarize(scores)
    stable = table[(table["feature"] == "stable_mode") & (table["network"] != ALL_ROIS)]
    if len(stable) > _MAX_NETWORKS:
        return {}
    return {
        f"{prefix}/r2/{name}": float(r2) for name, r2 in zip(stable["network"], stable["r2"], strict=True)
    }


class AlignmentCurves:
    """Scores of every evaluation of a network in training.

    A folder holds ``alignment/step-00000123.parquet``, the scores of one evaluation, and ``curves.parquet``,
    their means by network. Each file appears whole or not at all.

    Args:
        run_dir: the folder; None keeps everything in memory.
    """

    def __init__(self, run_dir: str | Path | None) -> None:
        self._folder = None if run_dir is None else Path(run_dir)
        self._by_step: dict[int, pd.DataFrame] = {}

    def start(self, step: int) -> None:
        """Take up the evaluations that an earlier part of this training left.

        Args:
            step: optimizer steps done so far; later evaluations belong to work that was lost and will be done
                again.

        Raises:
            FileExistsError: a training that begins finds the evaluations of another.
        """
        self._by_step = {}
        if self._folder is None:
            return
        files = sorted((self._folder / "alignment").glob("step-*.parquet"))
        if files and step == 0:
            raise FileExistsError(
                f"{self._folder} holds the alignment curve of an earlier training: choose another run_dir, "
                f"or continue that training from its checkpoint."
            )
        for file in files:
            scores = pd.read_parquet(file)
            found = int(scores["step"].iloc[0])
            if found > step:
                file.unlink()
            else:
                self._by_step[found] = scores

    def add(self, result: ModelResult, *, step: int, epoch: int, moment: str) -> None:
        """Keep one evaluation.

        Args:
            result: what it found.
            step: optimizer steps done.
            epoch: epoch that is running, from 0.
            moment: why now: ``"start"``, ``"step"``, ``"epoch"``, ``"checkpoint"`` or ``"end"``.
        """
        labels: dict[str, Any] = {"step": step, "epoch": epoch, "moment": moment} | {
            key: result.card[key] for key in _SPECTRUM
        }
        self._by_step[step] = result.scores.assign(**labels)
        if self._folder is not None:
            write_parquet(self._folder / "alignment" / f"step-{step:08d}.parquet", self._by_step[step])
            write_parquet(self._folder / "curves.parquet", self.table())

    def table(self) -> pd.DataFrame:
        """Return one row per evaluation, feature and network.

        Returns:
            Columns ``step``, ``epoch``, ``moment``, the stable eigenvalue (``stable_real``, ``stable_imag``,
            ``distance_to_unit_circle``), ``feature``, ``network``, ``r`` and ``r2``.
        """
        labels = ["step", "epoch", "moment", *_SPECTRUM]
        parts = [
            summarize(scores).assign(**{label: scores[label].iloc[0] for label in labels})
            for _, scores in sorted(self._by_step.items())
        ]
        columns = [*labels, "feature", "network", "r", "r2"]
        if not parts:
            return pd.DataFrame(columns=columns)
        table: pd.DataFrame = pd.concat(parts, ignore_index=True)
        return table[columns]
