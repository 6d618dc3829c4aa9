"""How time and memory grow with the number of stimuli, depths, units and ROIs.

    python benchmarks/growth.py [--repeats 3] [--picture docs/img/growth.png] [--only dmd_joint ...]

One size is doubled at a time while the others stay. Every point runs in a process of its own: the best
wall-clock time of `--repeats` calls, and the memory that a call needs beyond its input (the highest resident
set during the first call, less the resident set before it; Linux only). The last column is the exponent p of
a power law, time ~ size^p, fitted to the upper half of the sizes: 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from nfas_lightning.functional.dmd import dmd
from nfas_lightning.functional.permanova import permanova
from nfas_lightning.functional.ridge import ridge_cv

# what each call is measured at, and the sizes that are doubled in turn
CASES: dict[str, tuple[dict[str, int], dict[str, list[int]]]] = {
    "dmd_joint": (
        {"N": 1000, "L": 24, "D": 768},
        {"N": [250, 500, 1000, 2000, 4000], "L": [6, 12, 24, 48], "D": [192, 384, 768, 1536, 3072]},
    ),
    "dmd_per_stimulus": (
        {"N": 1000, "L": 24, "D": 768},
        {"N": [250, 500, 1000, 2000, 4000], "L": [6, 12, 24, 48], "D": [192, 384, 768, 1536, 3072]},
    ),
    "ridge_cv": (
        {"T": 1000, "P": 384, "R": 200},
        {"T": [250, 500, 1000, 2000, 4000], "P": [96, 192, 384, 768, 1536], "R": [50, 100, 200, 400, 800]},
    ),
    "permanova": ({"M": 45, "R": 400}, {"M": [15, 30, 60, 120], "R": [100, 200, 400, 800]}),
}


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def prepare(name: str, size: dict[str, int]) -> Callable[[], Any]:
    """Make the input of a case; return the call to measure."""
    if name.startswith("dmd"):
        H = random(size["N"], size["L"], size["D"]).cumsum(dim=1)
        return lambda: dmd(H, operator=name.removeprefix("dmd_"))
    if name == "ridge_cv":
        X = random(size["T"], size["P"])
        Y = X[:, :1] + random(size["T"], size["R"])
        return lambda: ridge_cv(X, Y)
    scores = random(size["M"], size["R"])
    return lambda: permanova(torch.cdist(scores, scores), torch.arange(size["M"]) % 3, n_permutations=9999)


def resident(field: str) -> int:
    """Bytes of VmRSS or VmHWM of this process, -1 where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text()
    except FileNotFoundError:
        return -1
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def measure(name: str, size: dict[str, int], repeats: int) -> dict[str, float]:
    """Best seconds of a call, and the bytes it needs beyond its input."""
    prepare(name, {key: min(value, 30) for key, value in size.items()})()  # libraries load on first use
    call = prepare(name, size)
    before = resident("VmRSS")
    if before > 0:
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    seconds, peak = math.inf, -1
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds = min(seconds, time.perf_counter() - start)
        peak = resident("VmHWM") if peak < 0 else peak
    return {"seconds": seconds, "bytes": max(0, peak - before) if before > 0 else math.nan}


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Slope of log time over log size in the upper half of the sizes."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(seconds[half:]), 1)[0])


def draw(results: dict[str, dict[str, list[dict[str, float]]]], path: Path) -> None:
    """Time and memory, a panel a size that grows."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    axes_names = ["N", "L", "D", "T", "P", "R"]
    titles = ["stimuli N", "depths L", "units D", "volumes T", "features P", "ROIs R"]
    colors = {
        "dmd_joint": "#0072b2",
        "dmd_per_stimulus": "#d55e00",
        "ridge_cv": "#009e73",
        "permanova": "#cc79a7",
    }
    figure, panels = plt.subplots(
        2, len(axes_names), figsize=(15, 5.2), sharex="col", sharey="row", layout="constrained"
    )
    for column, (axis, title) in enumerate(zip(axes_names, titles, strict=True)):
        for name, by_axis in results.items():
            if axis not in by_axis:
                continue
            sizes = CASES[name][1][axis]
            for row, (key, scale) in enumerate((("seconds", 1.0), ("bytes", 2**-20))):
                values = [point[key] * scale for point in by_axis[axis]]
                panels[row, column].loglog(sizes, values, "o-", color=colors[name], label=name, markersize=4)
        panels[1, column].set_xlabel(title)
        panels[1, column].set_xticks(
            sizes_of(results, axis), [str(s) for s in sizes_of(results, axis)], fontsize=8
        )
        panels[1, column].minorticks_off()
    panels[0, 0].set_ylabel("time (s)")
    panels[1, 0].set_ylabel("memory beyond the input (MB)")
    handles = {}
    for panel in panels[0]:
        handles |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4, frameon=False)
    for panel in panels.flat:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def sizes_of(results: dict[str, Any], axis: str) -> list[int]:
    """All sizes that a panel shows."""
    return sorted({s for name in results if axis in results[name] for s in CASES[name][1][axis]})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--point", nargs=2, help=argparse.SUPPRESS)  # one point, in the process of its own
    arguments = parser.parse_args()
    if arguments.point:
        name, size = arguments.point
        print(json.dumps(measure(name, json.loads(size), arguments.repeats)))
        return
    points = [
        (name, axis, CASES[name][0] | {axis: size})
        for name in arguments.only
        for axis, sizes in CASES[name][1].items()
        for size in sizes
    ]
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    for name, axis, size in track(points, description="measuring"):
        command = [sys.executable, __file__, "--repeats", str(arguments.repeats)]
        done = subprocess.run(
            [*command, "--point", name, json.dumps(size)], capture_output=True, text=True, check=True
        )
        results.setdefault(name, {}).setdefault(axis, []).append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{torch.get_num_threads()} threads, float32\n")
    print(f"{'call':17} {'size':>5}  {'seconds (memory beyond the input, MB)':75} exponent")
    for name, by_axis in results.items():
        rest = CASES[name][0]
        for axis, measured in by_axis.items():
            sizes = CASES[name][1][axis]
            cells = "  ".join(
                f"{size}: {point['seconds']:.3f} ({point['bytes'] / 2**20:.0f})"
                for size, point in zip(sizes, measured, strict=True)
            )
            slope = exponent(sizes, [point["seconds"] for point in measured])
            print(f"{name:17} {axis:>5}  {cells:75} {slope:5.2f}")
        print(f"{'':17} {'':5}  others at " + ", ".join(f"{key} {value}" for key, value in rest.items()))
    if arguments.picture:
        draw(results, arguments.picture)
        print(f"\nPicture: {arguments.picture}")


if __name__ == "__main__":
    main()
