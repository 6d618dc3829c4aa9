"""Show whether p values and intervals mean what they say, on data in which nothing is to be found.

    python benchmarks/calibration.py [--datasets 1000] [--part NAME ...] [--workers 2] [--out FOLDER]

Every data set has a seed of its own. Finished blocks of data sets are kept in --out (runs/calibration),
under a digest of the scripts that make the data and of the procedures that they test: a run that was stopped
continues, a changed procedure starts anew. A rate is a mean over data sets of the share of their tests (ROIs)
that reject; its 95 % interval comes from the spread over data sets, so tests of one data set may depend on
each other.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from calibration_film import film
from calibration_intervals import CASES, intervals
from calibration_lags import LAG_CASES, lags
from calibration_sets import Values, blocks, elsewhere, encoding, penalties, power, shuffled, single
from calibration_space import DESIGNS, DRAWS, coverage, space
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn

import nfas_lightning.functional

# the procedures whose change makes finished blocks worthless
SERIES = ("confounds", "fdr", "folds", "nulls", "ridge_null")
SPACE = ("anova", "controls", "fdr", "permanova", "permdisp", "relabeling", "silhouette", "snci")
INTERVALS = ("folds", "intervals")
FILM = (*SERIES, "controls", "permanova")
LAGS = ("folds", "intervals", "latency", "nulls", "ridge_null")
BLOCK = 20  # data sets that are kept, or lost, together
AR = ("0", "0.5", "0.9", "0.95")
SIZES = ("15+15+15", "6+6+6", "4+4+4", "4+6+15")
# name: function, cases, data sets as a share of --datasets, what the two numbers are
PARTS: dict[str, tuple[Callable[[str, int], Values], tuple[str, ...], float, tuple[str, str]]] = {
    "encoding": (
        encoding,
        (*AR, "0.98", "hrf", "0.9 runs", "0.9 nuisances"),
        1, ("p <= .05", "p <= .01"),
    ),
    "wide": (encoding, ("0.9 wide",), 0.5, ("p <= .05", "p <= .01")),
    "single": (single, ("plain", "nuisances", "skewed"), 1, ("p <= .05", "p <= .01")),
    "penalties": (penalties, ("0.95",), 0.4, ("p <= .05", "p <= .01")),
    "blocks": (blocks, AR, 0.25, ("p <= .05", "p <= .01")),
    "elsewhere": (elsewhere, (*AR, "hrf"), 0.6, ("p <= .05", "p <= .01")),
    "power": (power, ("in time", "late"), 0.25, ("p <= .05", "p <= .01")),
    "space": (
        space, (*(f"{kind} {size}" for kind in ("normal", "r2") for size in SIZES), *DESIGNS),
        3, ("p <= .05", "p <= .01"),
    ),
    "film": (film, ("no signal",), 0.1, ("p <= .05", "p <= .01")),
    "intervals": (intervals, tuple(CASES), 0.2, ("of these fits", "of any fit")),
    "lags": (lags, tuple(LAG_CASES), 0.15, ("p <= .05", "p <= .01")),
    "shuffled": (shuffled, AR, 0.25, ("mean r", "naive p <= .05")),
    "coverage": (
        coverage, tuple(f"{kind} x {n}" for kind in DRAWS for n in (4, 8, 15)), 0.02, ("coverage", ""),
    ),
}  # fmt: skip


def work(job: tuple[str, str, int, int]) -> tuple[str, list[Values]]:
    """Run one block of data sets."""
    torch.set_num_threads(1)  # thousands of small problems
    warnings.simplefilter("ignore")
    part, case, first, last = job
    # one seed a data set, whatever the block it falls in and the parts that run
    base = int(hashlib.sha256(f"{part} {case}".encode()).hexdigest()[:7], 16) // 100_000 * 100_000
    return key(job), [PARTS[part][0](case, base + index) for index in range(first, last)]


def key(job: tuple[str, str, int, int]) -> str:
    """Name a block in the file of finished ones."""
    return "|".join(map(str, (*job, digest(job[0]))))


@functools.cache
def digest(part: str) -> str:
    """Return a digest of the data sets and of the procedures that a part tests.

    A solver that becomes faster gives the same numbers, so the ridge and its algebra don't count: a
    calibration of hours would start anew for nothing.
    """
    folder = Path(nfas_lightning.functional.__file__).parent
    names, script = SERIES, "calibration_sets.py"
    if part in ("space", "coverage"):
        names, script = SPACE, "calibration_space.py"
    elif part == "film":
        names, script = FILM, "calibration_film.py"
    elif part == "intervals":
        names, script = INTERVALS, "calibration_intervals.py"
    elif part == "lags":
        names, script = LAGS, "calibration_lags.py"
    scripts = {"calibration_sets.py", script}
    files = [*map(Path(__file__).with_name, sorted(scripts)), *(folder / f"{name}.py" for name in names)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def lines(part: str, found: dict[str, list[list[Values]]]) -> Iterator[str]:
    """Yield a part's table: one row per case and test."""
    _, cases, _, names = PARTS[part]
    title = f"{'case':<20}{'test':<30}{'data sets':>10}"
    yield title + "".join(f"{name:>16}{'95 % interval':>16}" for name in names if name)
    for case in cases:
        sets = [values for block in found[case] for values in block]
        for test in dict.fromkeys(test for values in sets for test in values):
            numbers = np.array([values[test] for values in sets if test in values])
            row = f"{case:<20}{test:<30}{len(numbers):>10}"
            for column in numbers.T:
                if np.isnan(column).all():
                    continue
                mean, half = column.mean(), 1.96 * column.std(ddof=1) / len(column) ** 0.5
                row += f"{mean:>16.4f}{f'{mean - half:.4f} {mean + half:.4f}':>16}"
            yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=int, default=1000)
    parser.add_argument("--part", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/calibration"))
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # for the workers, which read it when they start
    options.out.mkdir(parents=True, exist_ok=True)
    store = options.out / "blocks.jsonl"
    done: dict[str, list[Values]] = {}
    if store.exists():
        done = dict(json.loads(line) for line in store.read_text().splitlines() if line.endswith("]"))
    jobs = {
        (part, case): [
            (part, case, first, min(first + BLOCK, count)) for first in range(0, count, BLOCK)
        ]
        for part in options.part
        for count in [max(2, round(options.datasets * PARTS[part][2]))]
        for case in PARTS[part][1]
    }  # fmt: skip
    todo = [job for group in jobs.values() for job in group if key(job) not in done]
    started = time.perf_counter()
    progress = Progress(
        *Progress.get_default_columns(), TimeElapsedColumn(), console=Console(file=sys.stderr)
    )
    context = multiprocessing.get_context("spawn")
    with context.Pool(options.workers) as pool, progress, store.open("a") as file:
        bar = progress.add_task("blocks of data sets", total=len(todo))
        for name, values in pool.imap_unordered(work, todo):
            done[name] = values
            file.write(json.dumps([name, values]) + "\n")
            file.flush()
            progress.advance(bar)
    for part in options.part:
        print(f"\n{part}: {PARTS[part][0].__doc__}")
        for line in lines(part, {case: [done[key(j)] for j in jobs[part, case]] for case in PARTS[part][1]}):
            print(line)
    print(f"\n{time.perf_counter() - started:.0f} s for {len(todo)} of {sum(map(len, jobs.values()))} blocks")


if __name__ == "__main__":
    main()
