"""Draw the pictures of docs/monitoring.md from two offline Weights & Biases runs, which it makes first.

    python docs/scripts/monitoring_pictures.py

1. A training: docs/examples/resnet_wandb.py, a small ResNet on digits with `BrainAlignment`.
2. A suite: two pretrained sentence models on the simulated listeners of configs/examples.

Everything in the pictures is read from the ``.wandb`` files that the two left, which is what `wandb sync`
would upload: W&B's own pages show the same numbers. Runs that are there already are not made again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.helpers.wandb_offline import OfflineRun, read_runs  # noqa: E402 - the reader that the tests use

CONFIGS = ("score", "sentence_models", "simulated_sentences", "wandb")
PANELS = (
    ("loss", "loss"),
    ("brain/mean_r2", "brain/mean_r2"),
    ("brain/best_baseline_r2", "brain/best_baseline_r2"),
    ("brain/r2/", "brain/r2/<network>, the five highest"),
    ("brain/stable_modulus", "brain/stable_modulus"),
    ("brain/seconds", "brain/seconds"),
)


def main() -> None:
    """Make what is missing, and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "monitoring", help="folder of the runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "img", help="folder of the pictures")
    options = parser.parse_args()
    training, suite = options.runs / "training", options.runs / "suite"
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    if not (training / "wandb").is_dir():
        example = [sys.executable, str(ROOT / "docs/examples/resnet_wandb.py"), "--epochs", "3"]
        subprocess.run([*example, "--run-dir", str(training)], check=True, env=environment)
    if not (suite / "wandb").is_dir():
        files = [
            word for name in CONFIGS for word in ("--config", str(ROOT / f"configs/examples/{name}.yaml"))
        ]
        command = [sys.executable, "-m", "nfas_lightning", "test", *files]
        command += [f"--trainer.logger.save_dir={suite}"]
        subprocess.run(command, check=True, env=environment, cwd=options.runs)
    options.out.mkdir(parents=True, exist_ok=True)
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    draw_training(read_runs(training)[-1], options.out / "monitoring-training.png")
    runs = read_runs(suite)
    draw_group(runs, options.out / "monitoring-group.png")
    model = next(run for run in runs if run.run["job_type"] == "model")
    draw_media(model, ("figures/spectrum", "figures/depth"), options.out / "monitoring-model.png")


def draw_training(run: OfflineRun, path: Path) -> None:
    """Draw the curves that appear beside the loss, over the step that `define_metric` names."""
    figure, axes = plt.subplots(2, 3, figsize=(12, 5.6), layout="constrained")
    for ax, (key, title) in zip(axes.flat, PANELS, strict=True):
        keys = [key]
        if key.endswith("/"):
            ends = {name: run.series(name)[-1][1] for name in run.keys if name.startswith(key)}
            keys = sorted(ends, key=ends.__getitem__, reverse=True)[:5]
        for name in keys:
            steps, values = zip(*run.series(name), strict=True)
            ax.plot(
                steps, values, marker="o" if len(steps) < 20 else None, ms=4, label=name.removeprefix(key)
            )
        if len(keys) > 1:
            ax.legend(fontsize=8, frameon=False)
        ax.set_title(title, loc="left", fontsize=10)
        ax.set_xlabel("trainer/global_step", fontsize=9)
    figure.suptitle("One run of a training: SIMULATED brain responses", fontsize=11)
    figure.savefig(path, dpi=110)


def draw_group(runs: list[OfflineRun], path: Path) -> None:
    """Draw the runs table of a group: one row per run, columns of config and summary."""
    header = (
        "name",
        "job type",
        "group",
        "parameters",
        "weights_sha256",
        "mean_r",
        "mean_r2",
        "best baseline",
    )
    rows = []
    for run in sorted(runs, key=lambda found: found.run["job_type"]):
        last = {key: f"{run.series(f'nfas/{key}')[-1][1]:.4f}" for key in _KEYS if f"nfas/{key}" in run.keys}
        parameters = run.config.get("parameters")
        rows.append(
            (
                run.run["display_name"],
                run.run["job_type"],
                run.run["run_group"],
                "" if parameters is None else f"{parameters / 1e6:.1f} M",
                str(run.config.get("weights_sha256", ""))[:10],
                *(last.get(key, "") for key in _KEYS),
            )
        )
    model = next(run for run in runs if run.run["job_type"] == "model")
    columns, cells = model.table("nfas/rois")
    place = columns.index("r2")
    best = sorted(cells, key=lambda row: row[place], reverse=True)[:6]
    rois = [tuple(f"{x:.3f}" if isinstance(x, float) else str(x) for x in row) for row in best]
    figure, axes = plt.subplots(2, 1, figsize=(14, 4.6), height_ratios=[len(rows), 7], layout="constrained")
    _table(axes[0], header, rows)
    axes[0].set_title("Runs table", loc="left", fontsize=10.5)
    _table(axes[1], tuple(columns), rois)
    axes[1].set_title(
        f"Table nfas/rois of the run '{model.run['display_name']}': the six highest of {len(cells)} ROIs",
        loc="left",
        fontsize=10.5,
    )
    figure.suptitle("The runs of one experiment: SIMULATED brain responses", fontsize=11)
    figure.savefig(path, dpi=110)


_KEYS = ("mean_r", "mean_r2", "best_baseline_r2")


def _table(ax: Axes, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    ax.axis("off")
    table = ax.table(rows, colLabels=header, loc="upper center", cellLoc="left", edges="horizontal")
    table.auto_set_font_size(False)
    table.set_fontsize(9.5)
    table.scale(1, 1.55)
    table.auto_set_column_width(list(range(len(header))))


def draw_media(run: OfflineRun, keys: tuple[str, ...], path: Path) -> None:
    """Put the images of a run under one another."""
    images = [matplotlib.image.imread(run.media(key)[-1]) for key in keys]
    heights = [image.shape[0] for image in images]
    figure, axes = plt.subplots(
        len(keys), 1, figsize=(9, 9 * sum(heights) / max(image.shape[1] for image in images) + 1),
        height_ratios=heights, layout="constrained",
    )  # fmt: skip
    for ax, key, image in zip(axes, keys, images, strict=True):
        ax.imshow(image)
        ax.axis("off")
        ax.set_title(key, loc="left", fontsize=10)
    figure.suptitle(f"Media of the run '{run.run['display_name']}'", fontsize=11)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
