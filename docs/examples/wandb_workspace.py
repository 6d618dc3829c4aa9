"""Save a workspace to a W&B project: models side by side, choices of the method, one model, a training.

    pip install wandb-workspaces
    python docs/examples/wandb_workspace.py --entity NAME --project nfas

Run it once, logged in to W&B (`wandb login`). It prints the address of the new view of the project; runs
that come later appear in it. The panels are a start: change them here, or in the browser.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

STEP = "trainer/global_step"
SCORE = "nfas/mean_r.last"  # the summary of a score keeps its best and its last value


def workspace(entity: str, project: str) -> ws.Workspace:
    """Return the workspace, which nobody has saved yet."""
    axes = (wr.Config("settings.svd_rank"), wr.Config("settings.centering"), wr.SummaryMetric(SCORE))
    size, score = wr.Config("parameters"), wr.SummaryMetric(SCORE)
    sections = {
        "Models": [
            wr.BarPlot(title="Mean r over ROIs", metrics=["nfas/mean_r"], max_bars_to_show=50),
            wr.ScatterPlot(title="Score and size", x=size, y=score, log_x=True),
            wr.ScatterPlot(
                title="Stable mode and best baseline, r²",
                x=wr.SummaryMetric("nfas/best_baseline_r2.last"),
                y=wr.SummaryMetric("nfas/mean_r2.last"),
            ),
            wr.WeavePanelSummaryTable(table_name="nfas/models"),
            wr.WeavePanelSummaryTable(table_name="nfas/scores"),
        ],
        "Choices of the method": [
            wr.ParallelCoordinatesPlot(columns=[wr.ParallelCoordinatesPlotColumn(axis) for axis in axes]),
            wr.RunComparer(diff_only="split"),
        ],
        "One model": [
            wr.MediaBrowser(title="Spectrum", media_keys=["figures/spectrum"]),
            wr.MediaBrowser(title="Depth", media_keys=["figures/depth"]),
            wr.WeavePanelSummaryTable(table_name="nfas/rois"),
        ],
        "Training": [
            wr.LinePlot(title="Alignment", x=STEP, y=["brain/mean_r2", "brain/best_baseline_r2"]),
            wr.LinePlot(title="Stable mode, modulus", x=STEP, y=["brain/stable_modulus"]),
            wr.MediaBrowser(title="Networks of the brain", media_keys=["brain/curves"]),
        ],
    }
    return ws.Workspace(
        entity=entity,
        project=project,
        name="Models in brain space",
        sections=[ws.Section(name=name, panels=panels, is_open=True) for name, panels in sections.items()],
    )


def main(args: Sequence[str] | None = None) -> None:
    """Save it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--entity", required=True, help="your W&B name, or your team's")
    parser.add_argument("--project", default="nfas")
    given = parser.parse_args(args)
    workspace(given.entity, given.project).save()


if __name__ == "__main__":
    main()
