"""`nfas space`: finished runs joined into one space of models."""

from __future__ import annotations

from pathlib import Path

from nfas_lightning.results import RunResults
from nfas_lightning.runner import report_run

__all__ = ["space"]


def space(
    runs: list[str], *, out: str = "runs/space", feature: str = "stable_mode", value: str = "r2"
) -> None:
    """Join finished runs into one space of models and write its report.

    Args:
        runs: folders of finished runs; their ROIs are joined by id.
        out: folder of the report and the joined tables.
        feature: which feature's scores place a model.
        value: ``r2`` or ``r``.
    """
    joined = RunResults.concatenate([RunResults.load(run) for run in runs], meta={"name": Path(out).name})
    joined.save(out)
    report_run(joined, out, feature=feature, value=value)
