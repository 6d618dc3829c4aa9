"""Small fits beside busy processes: in one thread, as `one_thread_if_small` has it, and in all of them.

    python benchmarks/busy.py

Each busy process works without a pause until the measurement ends.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable

import torch

from nfas_lightning.functional import ridge_solver as threads
from nfas_lightning.functional.ridge import ridge_cv

SIZES = ((200, 64, 100), (200, 512, 100), (1000, 128, 300))


def spin() -> None:
    """Keep one core busy."""
    while True:
        sum(range(100_000))


def least(run: Callable[[], object], repeats: int) -> float:
    """Least seconds of a few runs."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return min(taken)


def main() -> None:
    """Print seconds in all threads and in one, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--busy", type=int, default=1, help="busy processes")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    others = [multiprocessing.Process(target=spin, daemon=True) for _ in range(options.busy)]
    for other in others:
        other.start()
    small = threads._SMALL
    print(f"{torch.get_num_threads()} threads beside {options.busy} busy processes, ridge_cv")
    for rows, features, targets in SIZES:
        generator = torch.Generator().manual_seed(0)
        X = torch.randn(rows, features, generator=generator)
        Y = torch.randn(rows, targets, generator=generator)
        seconds = []
        for limit in (0.0, small):
            threads._SMALL = limit
            seconds.append(least(lambda X=X, Y=Y: ridge_cv(X, Y, selection="loo"), options.repeats))
        several, one = seconds
        print(
            f"{rows:5} x {features:4}, {targets} targets: {several:6.2f} s in all threads, {one:5.2f} s "
            f"in one, ratio {several / one:.1f}"
        )
    for other in others:
        other.terminate()


if __name__ == "__main__":
    main()
