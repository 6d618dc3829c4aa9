"""Peak memory of `ridge_cv` and of himalaya beyond their inputs, each in a process of its own.

    python benchmarks/memory.py [--volumes 3000] [--features 1000] [--targets 30000] [--alphas 3]

The peak is that of resident memory (VmHWM, reset before the call). There are few penalties, because they
change the time and hardly the memory. himalaya works on `--targets_batch` targets at a time, on all of them
where that is 0, its default.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from voxels import himalaya, simulate

from nfas_lightning.functional.ridge import ridge_cv


def resident(which: str) -> int:
    """Bytes of VmRSS or VmHWM of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{which}:"))


def measure(tool: str, given: argparse.Namespace) -> None:
    torch.set_num_threads(given.threads)
    X, Y = simulate(given.volumes, given.features, given.targets, 0.0)
    alphas = given.features * torch.logspace(-2, 2, given.alphas, dtype=torch.float64)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins here
    before = resident("VmRSS")
    if tool == "himalaya":
        himalaya(X, Y, alphas.numpy(), given.targets_batch or given.targets)
    else:
        ridge_cv(X, Y, alphas=alphas, keep_preds=tool == "ours, predictions kept", warn=False)
    inputs = X.nbytes + Y.nbytes
    beyond = resident("VmHWM") - before
    print(f"{tool:24} {beyond / 2**30:6.2f} GiB beyond {inputs / 2**30:.2f} GiB of inputs", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--volumes", type=int, default=3000)
    parser.add_argument("--features", type=int, default=1000)
    parser.add_argument("--targets", type=int, default=30_000)
    parser.add_argument("--alphas", type=int, default=3)
    parser.add_argument("--targets_batch", type=int, default=2_000, help="himalaya's; 0: its default, all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tool", help="measure one of them in this process")
    given = parser.parse_args()
    if given.tool:
        measure(given.tool, given)
        return
    print(f"{given.volumes} x {given.features} x {given.targets}, float32, {given.alphas} penalties")
    for tool in ("ours", "ours, predictions kept", "himalaya"):
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--tool", tool], check=True)


if __name__ == "__main__":
    main()
