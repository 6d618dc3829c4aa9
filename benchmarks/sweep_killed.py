"""Kill a sweep halfway, run it again, and compare every table with an uninterrupted run's, to the last bit.

Run: python benchmarks/sweep_killed.py [SWEEP] [--run_dir FOLDER] [--slots 2]
(the default, packaged.yaml without its random twins, takes about an hour of two cores)
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from nfas_lightning.sweep import read_sweep

CLOCK = ["seconds_capture", "seconds_scoring"]
TABLES = ("scores", "spectra", "depth", "rois", "models")


def start(source: str, run_dir: Path, slots: int) -> subprocess.Popen[bytes]:
    """Start `nfas sweep` as a process group of its own."""
    command = [sys.executable, "-m", "nfas_lightning", "sweep", source]
    return subprocess.Popen(
        [*command, "--run_dir", str(run_dir), "--slots", str(slots)], start_new_session=True
    )


def kill_halfway(source: str, run_dir: Path, slots: int) -> tuple[int, int]:
    """Start a sweep and send SIGKILL to all its processes once half of its cells are done: (done, cells)."""
    cells = read_sweep(source, changes={"run_dir": str(run_dir)}).cells
    process = start(source, run_dir, slots)
    try:
        while (done := sum(cell.status()["state"] == "done" for cell in cells)) < len(cells) // 2:
            if process.poll() is not None:
                raise RuntimeError(f"The sweep ended before half of it was done, code {process.returncode}.")
            time.sleep(1)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return done, len(cells)


def rows(path: Path) -> pd.DataFrame:
    """Read a table without the clock's columns, its rows in an order of their own."""
    table = pd.read_parquet(path)
    table = table.drop(columns=[column for column in CLOCK if column in table])
    return table.sort_values(list(table.columns), ignore_index=True)


def main() -> None:
    """Print one line per benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", nargs="?")
    parser.add_argument("--run_dir", type=Path, default=Path("runs/killed"))
    parser.add_argument("--slots", type=int, default=2)
    given = parser.parse_args()
    source, out = given.sweep, given.run_dir
    if source is None:
        out.mkdir(parents=True, exist_ok=True)
        text = Path("configs/sweeps/packaged.yaml").read_text(encoding="utf-8")
        source = str(out / "packaged_without_twins.yaml")
        Path(source).write_text(text.replace("random_twins: true", "random_twins: false"), encoding="utf-8")
    done, n_cells = kill_halfway(source, out / "resumed", given.slots)
    for folder in ("resumed", "whole"):
        if code := start(source, out / folder, given.slots).wait():
            raise SystemExit(code)
    print(f"\nkilled after {done} of {n_cells}, and run again\n")
    print(f"{'benchmark':<20} {'models':>6} {'rows':>7}   tables beside an uninterrupted run's")
    for folder in sorted(path.parent for path in (out / "whole").glob("*/scores.parquet")):
        pairs = [
            (rows(folder / f"{table}.parquet"), rows(out / "resumed" / folder.name / f"{table}.parquet"))
            for table in TABLES
        ]
        same = ["identical" if one.equals(other) else "DIFFERENT" for one, other in pairs]
        answers = ", ".join(f"{table} {answer}" for table, answer in zip(TABLES, same, strict=True))
        said = "identical" if set(same) == {"identical"} else answers
        print(f"{folder.name:<20} {len(pairs[-1][0]):>6} {sum(len(one) for one, _ in pairs):>7}   {said}")


if __name__ == "__main__":
    main()
