"""The record of a training's alignment on disk: whole after every look, found again by a resumed run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from nfas_lightning.plotting.training import ALL_ROIS
from nfas_lightning.results import ModelResult, reported, subject_scores, write_parquet

__all__ = ["AlignmentCurves", "summarize"]


def summarize(scores: pd.DataFrame) -> pd.DataFrame:
    """Average the reported number over ROIs: one row a feature and network, and one over all ROIs."""
    shown = reported(subject_scores(scores))
    columns = ["r", "r2"]
    by_network = shown.groupby(["feature", "network"], as_index=False)[columns].mean()
    by_network = by_network.loc[by_network["network"] != ""]
    overall = shown.groupby("feature", as_index=False)[columns].mean().assign(network=ALL_ROIS)
    table: pd.DataFrame = pd.concat([by_network, overall], ignore_index=True)
    return table


class AlignmentCurves:
    """Scores of every look at a network in training.

    A folder holds ``alignment/step-00000123.parquet``, the scores of one look, and ``curves.parquet``, their
    means by network. Each file appears whole or not at all.

    Args:
        run_dir: the folder; None keeps everything in memory.
    """

    def __init__(self, run_dir: str | Path | None) -> None:
        self._folder = None if run_dir is None else Path(run_dir)
        self._looks: dict[int, pd.DataFrame] = {}

    def start(self, step: int) -> None:
        """Take up the looks that an earlier part of this training left.

        Args:
            step: optimizer steps done so far; looks after it belong to work that was lost and will be done
                again.

        Raises:
            FileExistsError: a training that begins finds the looks of another.
        """
        self._looks = {}
        if self._folder is None:
            return
        files = sorted((self._folder / "alignment").glob("step-*.parquet"))
        if files and step == 0:
            raise FileExistsError(
                f"{self._folder} holds the alignment curve of an earlier training: choose another run_dir, "
                f"or continue that training from its checkpoint."
            )
        for file in files:
            look = pd.read_parquet(file)
            if int(look["step"].iloc[0]) > step:
                file.unlink()
            else:
                self._looks[int(look["step"].iloc[0])] = look

    def add(self, result: ModelResult, *, step: int, epoch: int, moment: str) -> None:
        """Keep one look.

        Args:
            result: what the look found.
            step: optimizer steps done.
            epoch: epoch that is running, from 0.
            moment: why now: ``"start"``, ``"step"``, ``"epoch"``, ``"checkpoint"`` or ``"end"``.
        """
        card = result.card
        spectrum: dict[str, Any] = {
            "stable_real": card["stable_real"],
            "stable_imag": card["stable_imag"],
            "distance_to_unit_circle": card["distance_to_unit_circle"],
        }
        self._looks[step] = result.scores.assign(step=step, epoch=epoch, moment=moment, **spectrum)
        if self._folder is not None:
            write_parquet(self._folder / "alignment" / f"step-{step:08d}.parquet", self._looks[step])
            write_parquet(self._folder / "curves.parquet", self.table())

    def table(self) -> pd.DataFrame:
        """Return one row a look, feature and network: step, epoch, moment, r, r2, the stable eigenvalue."""
        labels = ["step", "epoch", "moment", "stable_real", "stable_imag", "distance_to_unit_circle"]
        parts = [
            summarize(look).assign(**{label: look[label].iloc[0] for label in labels})
            for _, look in sorted(self._looks.items())
        ]
        if not parts:
            return pd.DataFrame(columns=[*labels, "feature", "network", "r", "r2"])
        table: pd.DataFrame = pd.concat(parts, ignore_index=True)
        return table[[*labels, "feature", "network", "r", "r2"]]
